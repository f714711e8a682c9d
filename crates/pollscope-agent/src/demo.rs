//! `pollscope demo`: the shop's three services, a bounded load, an agent, a live picture, and a summary of what
//! was found. Everything it starts it ends, and everything it writes it removes.

mod picture;

use crate::agent::{Agent, Says, stop_signal};
use crate::cli::{AgentArgs, Export, Which};
use crate::settings::Settings;
use crate::show;
use anyhow::{Context, Result, bail};
use clap::Args;
use pollscope_wire::{place, sys};
use shop::faults::Fault;
use shop::load::Load;
use shop::{Options, Role};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// What is broken when nothing else is asked for: enough to find, not so much that the shop stands still.
const DEFAULT_FAULTS: [Fault; 3] = [Fault::BlockingCall, Fault::LockAcrossAwait, Fault::LeakedTasks];
/// Time between two pictures.
const PICTURE: Duration = Duration::from_millis(500);
/// Time between two lines, where there is no terminal.
const LINE: Duration = Duration::from_secs(5);
/// For answers that are still under way when the load ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long a service may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// `pollscope demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long it runs
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = crate::cli::length)]
    length: Duration,
    /// Requests a second
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// Faults to switch on [default: blocking_call, lock_across_await, leaked_tasks]
    #[arg(long, value_name = "NAME")]
    fault: Vec<Fault>,
    /// No faults at all
    #[arg(long, conflicts_with = "fault")]
    no_faults: bool,
    #[command(flatten)]
    export: Export,
}

/// `pollscope demo-service`.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    role: Role,
    #[arg(long)]
    orders: Option<SocketAddr>,
    #[arg(long)]
    inventory: Option<SocketAddr>,
    #[arg(long)]
    fault: Vec<Fault>,
}

/// Is one of the shop's services.
pub fn service(arguments: &ServiceArgs) -> Result<()> {
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        orders: arguments.orders,
        inventory: arguments.inventory,
        faults: arguments.fault.clone(),
    };
    shop::run(arguments.role, &options)
}

/// The demo's directory, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Place> {
        let base = place::candidates(|_| None).pop().context("no place for sessions is known here")?;
        let base = base.path.parent().unwrap_or(Path::new("/tmp")).to_owned();
        let path = base.join(format!("pollscope-demo-{}-{}", sys::uid(), std::process::id()));
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot make {} for the demo's sessions", path.display()))?;
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A service of the shop. It ends when its input is closed; what does not end is killed.
struct Started {
    child: Child,
    address: SocketAddr,
}

impl Started {
    async fn new(
        role: Role,
        place: &Path,
        faults: &[Fault],
        others: &[(&str, SocketAddr)],
    ) -> Result<Started> {
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(exe);
        command.args(["demo-service", role.name()]).env("POLLSCOPE_DIR", place).env_remove("POLLSCOPE");
        for (flag, address) in others {
            command.arg(format!("--{flag}")).arg(address.to_string());
        }
        for fault in faults {
            command.args(["--fault", fault.name()]);
        }
        // In a group of its own: a Ctrl-C at the terminal is for the demo, which still has to read them.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", role.name()))?;
        let output = child.stdout.take().context("its output is not ours")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let read = tokio::time::timeout(START, output.read_line(&mut line)).await;
        let address = line.trim().strip_prefix("listening on ").map(str::parse);
        match (read, address) {
            (Ok(Ok(_)), Some(Ok(address))) => Ok(Started { child, address }),
            _ => bail!("{} did not say where it listens: {line:?}", role.name()),
        }
    }

    async fn end(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(Duration::from_secs(3), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// `pollscope demo`.
pub async fn main(arguments: DemoArgs) -> Result<ExitCode> {
    let mut stop = stop_signal()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let place = Place::new()?;
    let faults: Vec<Fault> = match (arguments.no_faults, arguments.fault.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => DEFAULT_FAULTS.to_vec(),
        (false, false) => arguments.fault.clone(),
    };
    let orders = Started::new(Role::Orders, &place.0, &faults, &[]).await?;
    let inventory = Started::new(Role::Inventory, &place.0, &faults, &[]).await?;
    let others = [("orders", orders.address), ("inventory", inventory.address)];
    let gateway = Started::new(Role::Gateway, &place.0, &faults, &others).await?;

    let mut agent_arguments = AgentArgs {
        which: Which { dir: vec![place.0.clone()], ..Which::default() },
        export: arguments.export.clone(),
        state: Some(place.0.join("state")),
        ..AgentArgs::default()
    };
    // A backend is used when one is named; the demo needs none.
    let named = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").is_ok_and(|value| !value.is_empty());
    agent_arguments.export.no_export |= arguments.export.endpoint.is_none() && !named;
    let settings = Settings::resolve(&agent_arguments)?;
    let mut agent = Agent::start(&agent_arguments, &settings, Says::Nothing)?;

    let load = Load { gateway: gateway.address, rate: arguments.rate, length: arguments.length };
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    let head = format!(
        "pollscope demo: gateway, orders, inventory; {} requests/s; faults: {}",
        arguments.rate,
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    );
    let _ = show::write(&format!("{head}\n"));
    let (end, ended) = oneshot::channel::<()>();
    let load = tokio::spawn(load.run_until(async {
        let _ = ended.await;
    }));
    watch(&mut agent, &mut stop, &mut hangup, arguments.length, &head).await;
    drop(end);
    let done = tokio::time::timeout(LAST_ANSWERS, load).await.ok().and_then(Result::ok);

    // While they still live: what waits is shown as waiting.
    agent.turn();
    let text = picture::summary(&mut agent, done);
    for service in [gateway, inventory, orders] {
        service.end().await;
    }
    agent.finish(settings.grace).await?;
    let _ = show::write(&text);
    Ok(ExitCode::SUCCESS)
}

/// Turns the agent and draws, until the time is over or the user has seen enough.
async fn watch(
    agent: &mut Agent,
    stop: &mut mpsc::Receiver<()>,
    hangup: &mut Signal,
    length: Duration,
    head: &str,
) {
    let begin = Instant::now();
    let terminal = std::io::stdout().is_terminal();
    let every = if terminal { PICTURE } else { LINE };
    let mut drawn = begin;
    while begin.elapsed() < length + LAST_ANSWERS {
        tokio::select! {
            _ = stop.recv() => return,
            _ = hangup.recv() => return,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        agent.turn();
        if drawn.elapsed() >= every {
            drawn = Instant::now();
            let written = if terminal {
                show::write(&show::redrawn(&picture::picture(agent, head, begin.elapsed(), length)))
            } else {
                show::write(&picture::line(agent, begin.elapsed()))
            };
            // Whoever looked on is gone. Nothing may be left behind then either.
            if written.is_err() {
                return;
            }
        }
    }
}
