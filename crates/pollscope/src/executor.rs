//! An executor for hyper: what hyper spawns is spawned through pollscope.

use std::future::Future;
use std::panic::Location;

/// Spawns what hyper gives it (connections, HTTP/2 streams) as recorded tasks.
#[derive(Clone, Copy, Debug)]
pub struct Executor {
    location: &'static Location<'static>,
}

impl Executor {
    /// An executor for the current runtime; what hyper spawns is shown as spawned where this is called.
    #[track_caller]
    pub fn new() -> Executor {
        Executor { location: Location::caller() }
    }
}

impl Default for Executor {
    #[track_caller]
    fn default() -> Self {
        Executor::new()
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(
            crate::task::Builder::new()
                .name("hyper")
                .within(crate::task::Within::Nothing)
                .spawn_at(future, self.location),
        );
    }
}
