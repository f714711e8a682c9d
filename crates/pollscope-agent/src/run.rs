//! `pollscope run -- CMD`: an agent and a command together. The command is what counts: its exit code is ours,
//! its signals are passed on, and a failing agent does not stop it. Of the sessions only those are followed that begin
//! with the command or after it.

use crate::agent::{Agent, Says};
use crate::cli::RunArgs;
use crate::observe::now;
use crate::settings::Settings;
use crate::show;
use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, wait};
use std::ffi::OsStr;
use std::future::poll_fn;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::task::Poll;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The shell's code for a command that is not found.
const NOT_FOUND: u8 = 127;
/// The shell's code for one that cannot be run.
const NO_PROGRAM: u8 = 126;

/// Time between two looks at the command, where its end is not told.
const LOOK: Duration = Duration::from_millis(50);

/// What is passed on.
const PASSED: [fn() -> SignalKind; 6] = [
    SignalKind::terminate,
    SignalKind::hangup,
    SignalKind::interrupt,
    SignalKind::quit,
    SignalKind::user_defined1,
    SignalKind::user_defined2,
];

/// `pollscope run`.
pub async fn main(mut arguments: RunArgs) -> Result<ExitCode> {
    // Other services' sessions are not ours to export.
    arguments.agent.which.since = Some(now());
    let (program, rest) = arguments.command.split_first().context("no command is named")?;
    let mut passed = Passed::new(&PASSED);
    // Before there is a child: no end may be missed.
    let children = Passed::listen(SignalKind::child());
    let mut child = match Command::new(program).args(rest).spawn() {
        Ok(child) => Running { child, children },
        Err(error) => return Ok(not_started(program, &error)),
    };
    let started = Settings::resolve(&arguments.agent).and_then(|settings| {
        let agent = Agent::start(&arguments.agent, &settings, Says::Export)?;
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

/// Where no runtime can be made, there is no agent: the command takes this process's place.
pub fn instead(arguments: &RunArgs, why: &std::io::Error) -> ExitCode {
    show::say(format_args!("no agent beside the command: {why}"));
    let Some((program, rest)) = arguments.command.split_first() else { return ExitCode::FAILURE };
    let error = std::process::Command::new(program).args(rest).exec();
    not_started(program, &error)
}

fn not_started(program: &OsStr, error: &std::io::Error) -> ExitCode {
    show::say(format_args!("cannot start {}: {error}", program.to_string_lossy()));
    ExitCode::from(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NO_PROGRAM })
}

/// The shell's way: 128 + the signal's number.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(code as u8)
}

/// The command, until it has ended.
struct Running {
    child: Child,
    /// Tells that some child has ended; `None`: we cannot be told.
    children: Option<Signal>,
}

impl Running {
    /// Waits for the command. Whatever else ends meanwhile is reaped: a pid 1, or a subreaper, is given the orphans of
    /// its descendants.
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        loop {
            while let Some((ended, status)) = wait(WaitOptions::NOHANG)? {
                if ended == pid {
                    return Ok(ExitStatus::from_raw(status.as_raw()));
                }
            }
            match &mut self.children {
                Some(children) => drop(children.recv().await),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Signals that are passed on to the command. One typed at the terminal reaches it anyway, as one of the
/// foreground's processes: we only must not end before it.
struct Passed(Vec<(SignalKind, Signal)>);

impl Passed {
    /// One that cannot be listened for is not passed on; the command runs all the same.
    fn new(kinds: &[fn() -> SignalKind]) -> Passed {
        let listen = |kind: &fn() -> SignalKind| Some((kind(), Passed::listen(kind())?));
        Passed(kinds.iter().filter_map(listen).collect())
    }

    fn listen(kind: SignalKind) -> Option<Signal> {
        let number = kind.as_raw_value();
        let said = |error: &std::io::Error| show::say(format_args!("signal {number} is not heard: {error}"));
        signal(kind).inspect_err(said).ok()
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

    async fn wait(&mut self, child: &mut Running) -> Result<ExitStatus> {
        let pid = Pid::from_child(&child.child);
        let typed = |kind| [SignalKind::interrupt(), SignalKind::quit()].contains(&kind);
        loop {
            let kind = tokio::select! {
                status = child.wait() => return status.context("cannot wait for the command"),
                kind = self.next() => kind,
            };
            if typed(kind) && std::io::stdin().is_terminal() {
                continue;
            }
            let signal = rustix::process::Signal::from_named_raw(kind.as_raw_value());
            if let Some(signal) = signal {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_that_cannot_be_listened_for_leaves_the_others() {
        let kill = || SignalKind::from_raw(9);
        let passed = Passed::new(&[kill, SignalKind::user_defined1]);
        assert_eq!(passed.0.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [SignalKind::user_defined1()]);
    }
}
