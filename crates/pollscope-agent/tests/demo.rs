//! `pollscope demo` tells what is broken, and leaves nothing behind however it ends.
#![cfg(feature = "demo")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Demo {
    child: Child,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let child = Command::new(env!("CARGO_BIN_EXE_pollscope"))
            .arg("demo")
            .args(arguments)
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        Demo { child }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it keeps its sessions in, if that is there.
    fn places(&self) -> Vec<PathBuf> {
        let ours = format!("-{}", self.child.id());
        let names = |dir: &str| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let demos = ["/dev/shm", "/tmp"].into_iter().flat_map(names);
        demos
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("pollscope-demo-") && name.ends_with(&ours)
            })
            .collect()
    }

    /// The processes of its services: those that record into its place.
    fn services(&self, place: &str) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let running = entries.filter(|entry| {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(place)
        });
        running.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until it has ended, and holds that nothing is left of it.
    #[track_caller]
    fn leaves_nothing(mut self) {
        let place = format!("pollscope-demo-{}-{}", rustix::process::getuid().as_raw(), self.child.id());
        let until = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(Instant::now() < until, "the demo has not ended after 60 s");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}");
        assert!(self.places().is_empty(), "{:?}", self.places());
        assert!(self.services(&place).is_empty(), "{:?}", self.services(&place));
    }

    /// Waits until its services run.
    fn running(&mut self) -> BufReader<std::process::ChildStdout> {
        let mut output = BufReader::new(self.child.stdout.take().expect("stdout was piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its output can be read");
        assert!(line.starts_with("pollscope demo: gateway, orders, inventory"), "{line:?}");
        let place = self.places().pop().expect("a place for its sessions");
        let name = place.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(self.services(&name).len(), 3);
        output
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_ends_by_itself_and_tells_what_is_broken() {
    let mut demo = Demo::start(&["--for", "4s"]);
    let mut said = String::new();
    demo.running().read_to_string(&mut said).expect("its output can be read");
    demo.leaves_nothing();
    assert!(said.contains(" requests answered, 0 failed"), "{said}");
    for found in [
        "Slowest traces, one of each kind\n  `",
        "  a poll of `GET` (gateway, spawned at examples/shop/src/net.rs:",
        "`forgotten` (gateway, spawned at examples/shop/src/faults.rs:",
        "in 3 services",
    ] {
        assert!(said.contains(found), "no {found:?} in\n{said}");
    }
    assert!(!said.contains("crates/pollscope/src"), "no place of pollscope's own:\n{said}");
}

#[test]
fn it_ends_cleanly_when_it_is_asked_to_or_nobody_reads_on() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut demo = Demo::start(&["--for", "60s"]);
        let mut output = demo.running();
        kill_process(demo.pid(), signal).expect("it runs");
        let mut said = String::new();
        output.read_to_string(&mut said).expect("its output can be read");
        assert!(said.contains("What was found") && said.contains(" requests answered"), "{said}");
        demo.leaves_nothing();
    }
    let mut demo = Demo::start(&["--for", "60s"]);
    drop(demo.running());
    demo.leaves_nothing();
}
