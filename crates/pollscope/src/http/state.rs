//! `tracestate`: what callers sent with their traces, kept while their requests are under way.
//!
//! It is found by the trace's id, so that a client passes it on from any task and thread that works for the
//! request. A trace without one costs a load.

use http::HeaderValue;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The latest state of a trace, and how many requests hold it.
type States = HashMap<u128, (HeaderValue, usize)>;

static COUNT: AtomicUsize = AtomicUsize::new(0);

fn states() -> MutexGuard<'static, States> {
    static STATES: LazyLock<Mutex<States>> = LazyLock::new(Default::default);
    STATES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a trace's state until it is dropped.
#[derive(Debug)]
pub(crate) struct Carried {
    trace: u128,
}

impl Carried {
    pub fn new(trace: u128, state: HeaderValue) -> Carried {
        let mut states = states();
        let holders = states.get(&trace).map_or(0, |(_, holders)| *holders);
        states.insert(trace, (state, holders + 1));
        COUNT.store(states.len(), Ordering::Relaxed);
        Carried { trace }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut states = states();
        if let Some((_, holders)) = states.get_mut(&self.trace) {
            *holders -= 1;
            if *holders == 0 {
                states.remove(&self.trace);
            }
        }
        COUNT.store(states.len(), Ordering::Relaxed);
    }
}

/// What came with a trace.
pub(super) fn state_of(trace: u128) -> Option<HeaderValue> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    states().get(&trace).map(|(state, _)| state.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_until_its_last_request_is_over() {
        let value = HeaderValue::from_static("vendor=1");
        let first = Carried::new(7, value.clone());
        let second = Carried::new(7, value.clone());
        drop(first);
        assert_eq!(state_of(7), Some(value));
        assert_eq!(state_of(8), None);
        drop(second);
        assert_eq!(state_of(7), None);
    }
}
