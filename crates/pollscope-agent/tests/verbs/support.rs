//! Services and the binary `pollscope`, each started beside a test and ended with it.

use pollscope_testkit::{Place, Service};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Names the service that a child of this test binary plays.
pub const SERVICE: &str = "POLLSCOPE_TEST_SERVICE";

/// Starts a service, and waits until it is ready.
pub fn service(place: &Place, play: &str) -> Service {
    service_with(place, play, &[])
}

/// The same with environment variables.
pub fn service_with(place: &Place, play: &str, environment: &[(&str, &str)]) -> Service {
    service_by(&std::env::current_exe().unwrap(), place, play, environment)
}

/// The same by a copy of this test binary.
pub fn service_by(binary: &Path, place: &Place, play: &str, environment: &[(&str, &str)]) -> Service {
    let mut all = vec![(SERVICE, play)];
    all.extend_from_slice(environment);
    let arguments = ["service::plays_a_service", "--exact", "--nocapture"];
    let mut service = Service::start_with(binary.to_str().unwrap(), place, &arguments, &all);
    // The test harness speaks first.
    for _ in 0..10 {
        if service.line() == "ready" {
            return service;
        }
    }
    panic!("the service {play} did not become ready");
}

/// The binary, with nothing of this process's environment that would steer it.
pub fn pollscope(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollscope"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("POLLSCOPE") || name.starts_with("OTEL") || name.starts_with("XDG") {
            command.env_remove(&*name);
        }
    }
    command.args(arguments).env_remove("COLUMNS").env("LANG", "C.UTF-8").env_remove("LC_ALL");
    command.stdin(Stdio::null()).current_dir(std::env::temp_dir());
    command
}

/// Runs a verb on a place's sessions.
pub fn ask(place: &Place, arguments: &[&str]) -> Asked {
    let mut command = pollscope(arguments);
    command.args(["--dir", place.path().to_str().unwrap()]);
    Asked::of(command.output().unwrap())
}

/// The same as the user `nobody`; only root may.
pub fn ask_as_nobody(dir: &Path, arguments: &[&str]) -> Asked {
    // The binary may lie where only root may look: it is opened before.
    let binary = std::fs::File::open(env!("CARGO_BIN_EXE_pollscope")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/proc/self/fd/0"]);
    command.args(arguments).arg("--dir").arg(dir).stdin(binary).env_remove("POLLSCOPE_DIR");
    Asked::of(command.current_dir("/").output().unwrap())
}

/// Says who may read a file.
pub fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Asked {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Asked {
    pub fn of(output: Output) -> Asked {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Asked { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The line that begins with, or has, a text.
    #[track_caller]
    pub fn line(&self, with: &str) -> &str {
        let line = self.out.lines().find(|line| line.contains(with));
        line.unwrap_or_else(|| panic!("no line with {with:?} in {self:#?}"))
    }
}

/// Looks again and again, for at most 20 s, until there is something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An agent with its pages.
pub struct Agent {
    child: Child,
    pub address: String,
}

impl Agent {
    /// Starts it on a place's sessions, its state beside them.
    pub fn start(place: &Place, arguments: &[&str]) -> Agent {
        let dir = place.path().to_str().unwrap();
        let state = place.path().join("state");
        let mut command = pollscope(&["agent", "--dir", dir, "--listen", "127.0.0.1:0"]);
        command.arg("--state").arg(state).args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.find_map(|line| {
            let line = line.unwrap();
            line.split_once("on http://").map(|(_, address)| address.to_owned())
        });
        let address = said.expect("the agent says where its pages are");
        // What it says later is of no interest, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        Agent { child, address }
    }

    /// Asks for a page: status, head and body.
    pub fn page(&self, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    /// One value of `/metrics`.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let (_, _, page) = self.page("GET", "/metrics");
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Asks it to end; how it did.
    pub fn end(mut self) -> Option<i32> {
        signal(self.child.id(), "TERM");
        wait_for("the agent's end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that the test started.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}
