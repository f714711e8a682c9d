//! The current span: what children inherit, and what [`current`] shows.

use super::SpanRef;
use crate::recorder;
use pollscope_wire::ids;
use pollscope_wire::layout::task;
use std::sync::atomic::Ordering;

/// What a span's children need of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) local: u64,
    pub(crate) trace: u128,
    pub(crate) span: u64,
    pub(crate) sampled: bool,
    /// Tracing's id of a span whose ids are not known yet; else 0.
    pub(crate) later: u64,
    /// The local id of the first span of its trace in this process; 0 if that is not known.
    pub(crate) root: u64,
}

/// The current span and task, as [`current`] found them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Current {
    pub(super) local: u64,
    pub(super) root: u64,
    trace: u128,
    span: u64,
    sampled: bool,
    task: u64,
    name: [u8; 32],
}

impl Current {
    /// The trace id, if there is a current span; it prints as 32 hexadecimal digits by `{:032x}`.
    pub fn trace_id(&self) -> Option<u128> {
        (self.trace != 0).then_some(self.trace)
    }

    /// The span id, if there is a current span; it prints as 16 hexadecimal digits by `{:016x}`.
    pub fn span_id(&self) -> Option<u64> {
        (self.span != 0).then_some(self.span)
    }

    /// Whether the trace is exported.
    pub fn sampled(&self) -> bool {
        self.sampled
    }

    /// Runs a closure with this span as the current one, on any thread: what is opened in it is below the span.
    /// No time counts for the span itself.
    ///
    /// ```
    /// let here = pollscope::current();
    /// std::thread::spawn(move || here.in_scope(|| pollscope::job("render", || ()))).join().unwrap();
    /// ```
    pub fn in_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        struct Shown(Option<Context>);
        impl Drop for Shown {
            fn drop(&mut self) {
                let Some(context) = self.0 else { return };
                recorder::with(|r| r.leave(context.local));
            }
        }
        let context = self.context();
        if let Some(context) = context {
            recorder::with(|r| r.enter(context));
        }
        let _shown = Shown(context);
        run()
    }

    /// The span's local id.
    #[cfg(feature = "tracing")]
    pub(super) fn context_local(&self) -> Option<u64> {
        (self.local != 0).then_some(self.local)
    }

    /// The current task's name, cut to 32 bytes.
    pub fn task_name(&self) -> Option<&str> {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        std::str::from_utf8(&self.name[..end]).ok().filter(|name| !name.is_empty())
    }

    /// pollscope's id of the current task.
    pub fn task_id(&self) -> Option<u64> {
        (self.task != 0).then_some(self.task)
    }
}

/// The name of the task that is being polled, from its slot: this thread alone writes it, at birth.
fn name_of(r: &recorder::Recorder) -> [u8; 32] {
    let mut name = [0; 32];
    if r.frame.task != 0
        && let Some(slot) = r.global.session.task(ids::slot_of(r.frame.task))
    {
        for (place, word) in name.chunks_exact_mut(8).zip(&slot[task::NAME..]) {
            place.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
    }
    name
}

/// The current span and task of this thread. Allocates nothing.
pub fn current() -> Current {
    super::settle_current();
    recorder::with(|r| {
        let span = r.entered.last();
        Current {
            local: span.map_or(0, |span| span.local),
            root: span.map_or(0, |span| span.root),
            trace: span.map_or(0, |span| span.trace),
            span: span.map_or(0, |span| span.span),
            sampled: span.is_some_and(|span| span.sampled),
            task: r.frame.task,
            name: name_of(r),
        }
    })
    .unwrap_or_default()
}
