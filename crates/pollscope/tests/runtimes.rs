//! Runtimes come and go: nothing of them stays.
#![cfg(target_os = "linux")]

use tokio::runtime::Builder;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_runtime_that_is_dropped_is_gone() {
    let dir = std::env::temp_dir().join(format!("pollscope-test-runtimes-{}", std::process::id()));
    let session = pollscope::Config::from_env().dir(&dir).init();
    assert!(session.is_recording());
    let round = || {
        let runtime = pollscope::runtime(Builder::new_current_thread().enable_all()).build().unwrap();
        runtime.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(1)).await });
    };
    round();
    let before = descriptors();
    (0..20).for_each(|_| round());
    assert_eq!(descriptors(), before);
    drop(session);
    std::fs::remove_dir_all(&dir).unwrap();
}
