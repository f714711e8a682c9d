//! Where no session can be made, nothing is recorded: one line says so, and all runs as with tokio and std alone.
//! `RUSTFLAGS="--cfg nowhere"` makes any system such a one.
#![cfg(any(nowhere, not(any(target_os = "linux", target_os = "macos"))))]

use pollscope::FutureExt;
use std::process::Command;
use tracing_subscriber::prelude::*;

/// Tells the service apart from the test that runs it.
const SERVICE: &str = "POLLSCOPE_TEST_SERVICE";

#[pollscope::instrument(err)]
async fn double(n: u32) -> Result<u32, std::fmt::Error> {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    Ok(2 * n)
}

#[pollscope::main(service = "nowhere", worker_threads = 2)]
async fn service() -> u32 {
    tracing_subscriber::registry().with(pollscope::layer()).init();
    let span = tracing::info_span!("outer", n = 1).entered();
    assert_eq!(pollscope::current().trace_id(), None);
    drop(span);
    let named = pollscope::spawn_named("named", double(1)).await.unwrap().unwrap();
    let blocking = pollscope::spawn_blocking(|| 3).await.unwrap();
    let within = double(2).in_task("within").await.unwrap();
    let mut set = pollscope::JoinSet::from_iter([double(3)]);
    let joined = set.join_next().await.unwrap().unwrap().unwrap();
    let thread = pollscope::thread::spawn(|| pollscope::job("job", || 4)).join().unwrap();
    named + blocking + within + joined + thread
}

#[test]
fn a_service_runs_unrecorded_and_says_so_once() {
    if std::env::var_os(SERVICE).is_some() {
        assert_eq!(service(), 2 + 3 + 4 + 6 + 4);
        assert!(!pollscope::init().is_recording());
        return;
    }
    let dir = std::env::temp_dir().join(format!("pollscope-test-nowhere-{}", std::process::id()));
    let run = |off: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--nocapture", "--test-threads=1"]).env(SERVICE, "1");
        command.env("POLLSCOPE_DIR", &dir).env("POLLSCOPE", off);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    assert_eq!(run("off"), "");
    let line = "pollscope: nothing is recorded: pollscope records on Linux and macOS\n";
    assert_eq!(run(""), line.repeat(2), "once for each `init`");
    assert!(!dir.exists());
}
