//! An executor for hyper: what hyper spawns is spawned through pollscope.

use std::future::Future;

/// Spawns what hyper gives it (connections, HTTP/2 streams) as recorded tasks.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Executor;

impl Executor {
    /// An executor for the current runtime.
    pub fn new() -> Executor {
        Executor
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        drop(crate::task::Builder::new().name("hyper").detached().spawn(future));
    }
}
