//! Mains of every kind under `#[pollscope::main]`: `mains KIND`. Each prints `ready`, and ends when its input is
//! closed.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("plain") => plain(),
        Some("several") => several().expect("it goes well"),
        Some("not_send") => not_send(Rc::new(1)),
        Some("current_thread") => current_thread(),
        Some("local") => local(),
        Some("failing") => return failing().map_or(ExitCode::from(7), |()| ExitCode::SUCCESS),
        Some("panicking") => panicking(),
        #[cfg(tokio_unstable)]
        Some("shutting_down") => shutting_down(),
        Some("returning") => return returning().into(),
        other => panic!("no main {other:?}"),
    }
    ExitCode::SUCCESS
}

/// Says that all is set, and keeps the runtime a little busy until the input is closed.
async fn wait() {
    println!("ready");
    std::io::stdout().flush().expect("the test reads what is printed");
    let closed = Arc::new(AtomicBool::new(false));
    let tell = closed.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        tell.store(true, Ordering::Relaxed);
    });
    while !closed.load(Ordering::Relaxed) {
        pollscope::spawn(async {}).await.expect("it ends");
        let pause = pollscope::spawn_blocking(|| std::thread::sleep(Duration::from_millis(10)));
        pause.await.expect("it ends");
    }
}

#[pollscope::main]
async fn plain() {
    pollscope::spawn_named("child", async {}).await.expect("it ends");
    wait().await;
}

#[pollscope::main(
    service = "several",
    worker_threads = 3,
    flavor = "multi_thread",
    name = "threads",
    crate = "tokio"
)]
async fn several() -> Result<(), Box<dyn std::error::Error>> {
    pollscope::spawn_named("child", async {}).await?;
    wait().await;
    Ok(())
}

/// What it holds over an await cannot go to another thread.
#[pollscope::main(service = String::from("not_send").as_str())]
async fn not_send(held: Rc<u32>) {
    tokio::task::yield_now().await;
    assert_eq!(Rc::strong_count(&held), 1);
    wait().await;
}

#[pollscope::main(flavor = "current_thread", start_paused = true)]
async fn current_thread() {
    let begin = tokio::time::Instant::now();
    // The clock stands: it jumps as soon as nothing else is to do.
    let far = Duration::from_secs(3600);
    pollscope::spawn_named("child", tokio::time::sleep(far)).await.expect("it ends");
    assert!(begin.elapsed() >= far);
    wait().await;
}

#[pollscope::main(flavor = "local", service = "local")]
async fn local() {
    let held = Rc::new(2);
    let twin = held.clone();
    let child = pollscope::spawn_local(async move {
        tokio::task::yield_now().await;
        *twin
    });
    assert_eq!(child.await.expect("it ends"), *held);
    wait().await;
}

#[pollscope::main]
async fn failing() -> Result<(), String> {
    Err(String::from("as the script says"))
}

#[pollscope::main]
async fn panicking() {
    panic!("as the script says");
}

#[pollscope::main]
async fn returning() -> impl std::process::Termination + Into<ExitCode> {
    if std::env::args().count() > 1 {
        return ExitCode::from(9);
    }
    ExitCode::SUCCESS
}

/// A task's panic takes the runtime with it.
#[cfg(tokio_unstable)]
#[pollscope::main(flavor = "current_thread", unhandled_panic = "shutdown_runtime")]
async fn shutting_down() {
    pollscope::spawn(async { panic!("as the script says") });
    std::future::pending::<()>().await;
}
