//! A forked child records nothing, and its parent's session stands as if it had never been. Without the test
//! harness: a process with one thread may fork and go on.
#![cfg(target_os = "linux")]

use pollscope::FutureExt;
use pollscope_wire::layout::State;
use pollscope_wire::reader::SessionFiles;
use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(code: i32) -> !;
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// All bytes of the session.
fn bytes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "lock"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}

/// Everything that a child might do to a session.
fn in_the_child(session: pollscope::Guard, mut held: Pin<Box<impl Future>>, waker: Waker) {
    assert!(!session.is_recording());
    let _ = poll(held.as_mut());
    drop(waker.clone());
    waker.wake();
    drop(held);
    let mut fresh = Box::pin(async {}.in_task("of the child"));
    assert!(poll(fresh.as_mut()).is_ready());
    pollscope::job("of the child", || ());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = pollscope::runtime(&mut builder).build().unwrap();
    runtime.block_on(async { pollscope::spawn(async {}).await.unwrap() });
    std::thread::spawn(|| pollscope::job("on a thread of the child", || ())).join().unwrap();
    drop(session);
}

fn main() {
    let dir = std::env::temp_dir().join(format!("pollscope-test-fork-{}", std::process::id()));
    let session = pollscope::Config::from_env().dir(&dir).init();
    let own = session.session_dir().expect("a session").to_owned();
    let mut held = Box::pin(pending::<()>().in_task("of the parent"));
    let mut waker = None;
    let mut keeper = Box::pin(
        std::future::poll_fn(|cx| {
            waker = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .in_task("keeper"),
    );
    assert!(poll(keeper.as_mut()).is_ready());
    drop(keeper);
    let _ = poll(held.as_mut());
    let before = bytes(&own);
    for exits in [true, false] {
        // SAFETY: this process has one thread, so the child's memory is whole; the child ends below.
        let pid = unsafe { fork() };
        if pid == 0 {
            let held = std::mem::replace(&mut held, Box::pin(pending().in_task("unused")));
            in_the_child(session, held, waker.expect("it was kept"));
            if exits {
                // By way of exit handlers and destructors of thread-locals.
                std::process::exit(0);
            }
            // SAFETY: ends the child at once.
            unsafe { _exit(0) };
        }
        let mut status = 0;
        // SAFETY: `status` lives over the call, which writes to it.
        assert_eq!(unsafe { waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0, "the child came to a good end");
    }
    assert!(before == bytes(&own), "the child wrote into its parent's session");
    assert!(session.is_recording());

    // A command is a fork too; and the parent goes on recording.
    assert!(Command::new("true").status().unwrap().success());
    let files = SessionFiles::open(&own).unwrap();
    assert_eq!(files.header().unwrap().state, State::Running as u32);
    let _ = poll(held.as_mut());
    drop(held);
    assert!(before != bytes(&own), "the parent records");
    drop(session);
    assert_eq!(files.header().unwrap().state, State::Closed as u32);
    std::fs::remove_dir_all(&dir).unwrap();
    println!("test a_forked_child_records_nothing ... ok");
}
