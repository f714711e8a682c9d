//! `pollscope run -- CMD`: an agent and a command together. The command is what counts: its exit code is ours,
//! its signals are passed on, and a failing agent does not stop it.

use crate::agent::Agent;
use crate::cli::RunArgs;
use crate::settings::Settings;
use crate::show;
use anyhow::{Context, Result};
use std::future::poll_fn;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::task::Poll;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The shell's code for a command that is not found.
const NOT_FOUND: u8 = 127;
/// The shell's code for one that cannot be run.
const NO_PROGRAM: u8 = 126;

/// `pollscope run`.
pub async fn main(arguments: RunArgs) -> Result<ExitCode> {
    let (program, rest) = arguments.command.split_first().context("no command is named")?;
    let mut passed = Passed::new()?;
    let mut child = match Command::new(program).args(rest).spawn() {
        Ok(child) => child,
        Err(error) => {
            show::say(format_args!("cannot start {}: {error}", program.to_string_lossy()));
            return Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound {
                NOT_FOUND
            } else {
                NO_PROGRAM
            }));
        }
    };
    let started = Settings::resolve(&arguments.agent).and_then(|settings| {
        let agent = Agent::start(&arguments.agent, &settings, true)?;
        Ok((agent, settings))
    });
    let (mut agent, settings) = match started {
        Ok(started) => started,
        Err(error) => {
            show::say(format_args!("no agent beside the command: {error:#}"));
            return Ok(code(passed.wait(&mut child).await?));
        }
    };
    let (tell, mut stop) = mpsc::channel(1);
    let (status, ()) = tokio::join!(
        async {
            let status = passed.wait(&mut child).await;
            let _ = tell.send(()).await;
            status
        },
        agent.run(&mut stop)
    );
    if let Err(error) = agent.finish(settings.grace).await {
        show::say(format_args!("{error:#}"));
    }
    Ok(code(status?))
}

/// The shell's way: 128 + the signal's number.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(code as u8)
}

/// Signals that are passed on to the command. One typed at the terminal reaches it anyway, as one of the
/// foreground's processes: we only must not end before it.
struct Passed(Vec<(SignalKind, Signal)>);

impl Passed {
    fn new() -> Result<Passed> {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let listen = |kind| Ok((kind, signal(kind).context("cannot listen for signals")?));
        Ok(Passed(kinds.into_iter().map(listen).collect::<Result<_>>()?))
    }

    async fn next(&mut self) -> SignalKind {
        poll_fn(|cx| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }

    async fn wait(&mut self, child: &mut Child) -> Result<ExitStatus> {
        let pid = child.id();
        let typed = |kind| [SignalKind::interrupt(), SignalKind::quit()].contains(&kind);
        loop {
            let kind = tokio::select! {
                status = child.wait() => return status.context("cannot wait for the command"),
                kind = self.next() => kind,
            };
            if typed(kind) && std::io::stdin().is_terminal() {
                continue;
            }
            let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
            let signal = rustix::process::Signal::from_named_raw(kind.as_raw_value());
            if let (Some(pid), Some(signal)) = (pid, signal) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}
