//! pollscope with an agent attached, with one that does not read, and with one held to a tenth of a core: what that
//! does to the service, and what is lost.

use crate::contenders::{self, BARE, Contender};
use crate::follow;
use crate::report::Table;
use crate::sink::Sink;
use crate::stats::Spread;
use crate::table::{WORKLOADS, Workload};
use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much longer than in the table of contenders a run is: an agent that keeps up or falls behind takes seconds to see.
const LONGER: u64 = 10;

/// What becomes of the agent while the service works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agent {
    None,
    Attached,
    /// It does not run until the work is done.
    Behind,
    /// It runs 10 of every 100 ms.
    Tenth,
}

impl Agent {
    fn title(self) -> &'static str {
        match self {
            Agent::None => "no agent",
            Agent::Attached => "attached, exporting",
            Agent::Behind => "stopped meanwhile",
            Agent::Tenth => "held to 0.1 core",
        }
    }
}

/// Measures and prints.
pub fn run(rounds: usize, size: u64) -> anyhow::Result<()> {
    let pollscope = contenders::ALL[0];
    contenders::build(&[pollscope])?;
    // An agent looks for sessions more than once a second.
    let pollscope = Contender { env: &[("BENCH_WAIT_MS", "1500")], ..pollscope };
    let program = contenders::build_agent()?;
    let sink = Sink::start()?;
    let heads = [
        "agent",
        "added, ns",
        "records written",
        "read",
        "lost",
        "spans sent",
        "agent CPU, s",
        "records/s of its CPU",
    ];
    for workload in WORKLOADS.iter().filter(|w| ["poll", "ping-pong", "span"].contains(&w.name)) {
        eprintln!("{} ({rounds} rounds)", workload.title);
        let mut table = Table::new(heads.map(str::to_owned).to_vec());
        let times = (workload.times * LONGER * size / 100).max(1000);
        for agent in [Agent::None, Agent::Attached, Agent::Behind, Agent::Tenth] {
            let mut added = Vec::new();
            let mut last = None;
            for _ in 0..rounds {
                let dir = follow::scratch()?;
                let bare = follow::nanos(&BARE, dir.path(), workload.word, times, workload.workers)?;
                let (with, seen) = beside(&program, &pollscope, agent, &sink, workload, times)?;
                added.push(with - bare);
                last = seen.or(last);
            }
            table.row(line(agent, Spread::of(&added), last));
        }
        println!("{}, {times} operations\n\n{table}", workload.title);
    }
    Ok(())
}

fn line(agent: Agent, added: Option<Spread>, seen: Option<Seen>) -> Vec<String> {
    let added =
        added.map_or_else(String::new, |s| format!("{:+.0} ({:+.0} to {:+.0})", s.median, s.least, s.most));
    let mut cells = vec![agent.title().to_owned(), added];
    if let Some(seen) = seen {
        let speed = if seen.cpu > 0.0 {
            format!("{:.1} M", seen.read as f64 / seen.cpu / 1e6)
        } else {
            String::new()
        };
        cells.extend([
            (seen.read + seen.lost).to_string(),
            seen.read.to_string(),
            seen.lost.to_string(),
            seen.spans.to_string(),
            format!("{:.2}", seen.cpu),
            speed,
        ]);
    }
    cells
}

/// What an agent did during one run.
#[derive(Clone, Copy)]
struct Seen {
    read: u64,
    lost: u64,
    spans: u64,
    cpu: f64,
}

fn beside(
    program: &Path,
    contender: &Contender,
    agent: Agent,
    sink: &Sink,
    workload: &Workload,
    times: u64,
) -> anyhow::Result<(f64, Option<Seen>)> {
    let dir = follow::scratch()?;
    let run = || follow::nanos(contender, dir.path(), workload.word, times, workload.workers);
    if agent == Agent::None {
        return Ok((run()?, None));
    }
    let state = follow::scratch()?;
    let before = sink.spans();
    let mut running = Running::start(program, dir.path(), state.path(), &sink.endpoint)?;
    let hold = match agent {
        Agent::Behind => {
            running.signal(Signal::STOP)?;
            None
        }
        Agent::Tenth => Some(Hold::start(running.child.id())),
        Agent::None | Agent::Attached => None,
    };
    let idle = running.cpu()?;
    let nanos = run()?;
    drop(hold);
    running.signal(Signal::CONT)?;
    // All that it can still read, it has read when nothing more comes.
    let begin = Instant::now();
    let mut read = (0, 0);
    while begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(700));
        let now = running.records()?;
        if now == read && now.0 > 0 {
            break;
        }
        read = now;
    }
    let cpu = running.cpu()? - idle;
    running.stop();
    Ok((nanos, Some(Seen { read: read.0, lost: read.1, spans: sink.spans() - before, cpu })))
}

/// An agent under way.
pub struct Running {
    pub child: Child,
    port: u16,
}

impl Running {
    /// Starts one and waits until it is ready.
    pub fn start(program: &Path, dir: &Path, state: &Path, endpoint: &str) -> anyhow::Result<Running> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.arg("agent").arg("--dir").arg(dir).arg("--state").arg(state);
        command.args(["--endpoint", endpoint, "--protocol", "http/protobuf"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{} did not start", program.display()))?;
        let running = Running { child, port };
        let begin = Instant::now();
        while running.page("/readyz").is_err() {
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(10), "the agent was not ready after 10 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    fn page(&self, path: &str) -> anyhow::Result<String> {
        let uri = format!("http://127.0.0.1:{}{path}", self.port).parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client: Client<_, Empty<axum::body::Bytes>> =
                Client::builder(TokioExecutor::new()).build_http();
            let answer = client.get(uri).await?;
            anyhow::ensure!(answer.status().is_success(), "{path}: {}", answer.status());
            Ok(String::from_utf8_lossy(&answer.into_body().collect().await?.to_bytes()).into_owned())
        })
    }

    /// Records read and lost so far.
    pub fn records(&self) -> anyhow::Result<(u64, u64)> {
        let page = self.page("/metrics")?;
        let sum = |name: &str| {
            let lines = page.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
        };
        Ok((sum("pollscope_agent_records_read_total"), sum("pollscope_agent_records_lost_total")))
    }

    /// Seconds of CPU that it has used.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has a number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it as an agent ends.
    pub fn stop(&mut self) {
        let _ = self.signal(Signal::CONT);
        let _ = self.signal(Signal::TERM);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(8) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        follow::end(&mut self.child);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        follow::end(&mut self.child);
    }
}

/// Seconds of CPU that a process has used.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("a process's stat is not as known")?;
    Ok((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// Lets a process run 10 of every 100 ms, until dropped.
struct Hold {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hold {
    fn start(pid: u32) -> Hold {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return };
            while !seen.load(Ordering::Relaxed) {
                for (signal, length) in [(Signal::STOP, 90), (Signal::CONT, 10)] {
                    if kill_process(pid, signal).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(length));
                }
            }
        });
        Hold { over, thread: Some(thread) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
