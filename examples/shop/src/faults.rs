//! Faults that can be switched on one by one, at start or by `POST /faults/NAME?on=1`.

use anyhow::{Result, bail};
use std::future::poll_fn;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A handler calls something that blocks its worker.
    BlockingCall,
    /// A lock is held while its holder waits for something else.
    LockAcrossAwait,
    /// A task wakes itself again and again.
    SelfWakeSpin,
    /// A task is spawned for each request and never ends.
    LeakedTasks,
    /// The database takes its time.
    SlowDisk,
    /// A spawned task panics.
    Panic,
    /// A task waits for something that nobody will tell it.
    LostWake,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] = [
        Fault::BlockingCall,
        Fault::LockAcrossAwait,
        Fault::SelfWakeSpin,
        Fault::LeakedTasks,
        Fault::SlowDisk,
        Fault::Panic,
        Fault::LostWake,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::BlockingCall => "blocking_call",
            Fault::LockAcrossAwait => "lock_across_await",
            Fault::SelfWakeSpin => "self_wake_spin",
            Fault::LeakedTasks => "leaked_tasks",
            Fault::SlowDisk => "slow_disk",
            Fault::Panic => "panic",
            Fault::LostWake => "lost_wake",
        }
    }

    /// Whether it is on in this process.
    pub fn is_on(self) -> bool {
        ON[self as usize].load(Ordering::Relaxed)
    }

    /// Switches it.
    pub fn switch(self, on: bool) {
        ON[self as usize].store(on, Ordering::Relaxed);
    }
}

static ON: [AtomicBool; Fault::ALL.len()] = [const { AtomicBool::new(false) }; Fault::ALL.len()];

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Fault> {
        match Fault::ALL.into_iter().find(|fault| fault.name() == name) {
            Some(fault) => Ok(fault),
            None => {
                let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
                bail!("no fault {name:?}: there are {}", names.join(", "))
            }
        }
    }
}

/// Switches faults on.
pub fn switch_on(faults: &[Fault]) {
    for fault in faults {
        fault.switch(true);
    }
}

/// What a handler should not call: 40 ms of somebody else's synchronous code.
pub fn blocking_call() {
    if Fault::BlockingCall.is_on() {
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// A task that should wait, and spins: for 20 ms each time.
pub async fn self_wake_spin() {
    if Fault::SelfWakeSpin.is_on() {
        let until = Instant::now() + Duration::from_millis(20);
        poll_fn(|cx| {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// The tasks that one request leaves behind.
pub fn leave_behind() {
    if Fault::LeakedTasks.is_on() {
        pollscope::task::Builder::new().name("forgotten").detached().spawn(std::future::pending::<()>());
    }
    if Fault::LostWake.is_on() {
        pollscope::task::Builder::new().name("unheard").detached().spawn(async {
            // The waker is not kept by anybody: nothing can ever wake this.
            poll_fn(|_| Poll::<()>::Pending).await;
        });
    }
    if Fault::Panic.is_on() {
        pollscope::task::Builder::new()
            .name("careless")
            .detached()
            .spawn(async { panic!("the fault `panic` is on") });
    }
}
