//! Scripted services and what to expect of them.
//!
//! The binary `scripted` plays services whose times are known; [`Service`] starts one beside a test, in a
//! session directory of its own ([`Place`]). What the test expects comes from the script, not from pollscope.
#![forbid(unsafe_code)]

mod read;

pub use read::{finished, model, model_of, named};

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A directory for sessions, on tmpfs where there is one, removed at the end.
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// A new, empty one.
    pub fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = Path::new("/dev/shm");
        let base = if base.is_dir() { base.to_owned() } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("pollscope-testkit-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a fresh directory for sessions can be made");
        Place { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The session directories in it.
    pub fn sessions(&self) -> Vec<PathBuf> {
        let mut sessions: Vec<PathBuf> = std::fs::read_dir(&self.path)
            .expect("the place can be listed")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("s-")))
            .collect();
        sessions.sort();
        sessions
    }
}

impl Default for Place {
    fn default() -> Self {
        Place::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A scripted service under way; killed at the end if it still runs.
pub struct Service {
    child: Child,
    stdin: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    errors: Option<JoinHandle<String>>,
}

impl Service {
    /// Starts `binary` (the path of `scripted`) with a scenario and its arguments.
    pub fn start(binary: &str, place: &Place, arguments: &[&str]) -> Service {
        Service::start_with(binary, place, arguments, &[])
    }

    /// The same with environment variables.
    pub fn start_with(
        binary: &str,
        place: &Place,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Service {
        Service::start_by(binary, place, arguments, environment, Stdio::inherit())
    }

    /// The same; what it says on standard error is kept for [`Service::finish_heard`].
    pub fn start_heard(
        binary: &str,
        place: &Place,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Service {
        let mut service = Service::start_by(binary, place, arguments, environment, Stdio::piped());
        let mut errors = service.child.stderr.take().expect("stderr was piped");
        service.errors = Some(std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        }));
        service
    }

    fn start_by(
        binary: &str,
        place: &Place,
        arguments: &[&str],
        environment: &[(&str, &str)],
        errors: Stdio,
    ) -> Service {
        let mut child = Command::new(binary)
            .args(arguments)
            .env("POLLSCOPE_DIR", place.path())
            // Panics are part of some scripts: a line tells of each.
            .env("RUST_BACKTRACE", "0")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the scripted service starts");
        let stdin = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("stdout was piped"));
        Service { child, stdin, output, errors: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints; empty when it has ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the service's output can be read");
        line.trim_end().to_owned()
    }

    /// Waits for its line `ready`.
    pub fn ready(&mut self) -> &mut Self {
        assert_eq!(self.line(), "ready");
        self
    }

    /// Kills it, with no chance to say goodbye.
    pub fn kill(&mut self) {
        self.child.kill().expect("the service can be killed");
        self.child.wait().expect("the service can be waited for");
    }

    /// Closes its input, which asks it to end, and waits for that, at most 20 s.
    pub fn finish(mut self) -> ExitStatus {
        self.end()
    }

    /// The same; and what it said on standard error.
    pub fn finish_heard(mut self) -> (ExitStatus, String) {
        let status = self.end();
        let heard = self.errors.take().map(|errors| errors.join().expect("it only reads"));
        (status, heard.unwrap_or_default())
    }

    fn end(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("the service can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "the service did not end within 20 s of being asked");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
