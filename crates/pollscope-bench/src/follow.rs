//! One run of a contender's program, in a directory of its own, and an agent beside it if one is wanted.

use crate::contenders::Contender;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No run of a program may take longer.
const LONGEST: Duration = Duration::from_secs(300);

/// A directory for what a run writes: in memory, as sessions are.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let shared = Path::new("/dev/shm");
    let parent = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::Builder::new().prefix("pollscope-bench-").tempdir_in(parent);
    dir.context("no directory for what the runs write")
}

/// The program of a contender, to be run in `dir`.
pub fn command(contender: &Contender, dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(contender.program());
    command.args(arguments).env("POLLSCOPE_DIR", dir).env("BENCH_DIR", dir).env("RUST_LOG", "off");
    command.envs(contender.env.iter().copied());
    command
}

/// Nanoseconds per operation, as the program tells them.
pub fn nanos(
    contender: &Contender,
    dir: &Path,
    workload: &str,
    times: u64,
    workers: usize,
) -> anyhow::Result<f64> {
    let (times, workers) = (times.to_string(), workers.to_string());
    let mut run = command(contender, dir, &[workload, &times, &workers]);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("{} did not start", contender.program().display()))?;
    let begin = Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > LONGEST {
            end(&mut child);
            bail!("{}, {workload}: not done after {} s", contender.name, LONGEST.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse().with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{}, {workload}: {}, told `{}`\n{errors}", contender.name, output.status, told.trim())
    })
}

/// Ends a program that this one started.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
