//! Spans that need no subscriber: what `#[pollscope::instrument]` expands to.

use super::{OpenSpan, RemoteParent, attribute};
use crate::recorder::{self, Recorder};
pub use crate::span::attribute::FieldValue;
use pin_project_lite::pin_project;
use pollscope_wire::record::{source, span as flags};
use pollscope_wire::sys;
use pollscope_wire::table::CallsiteDef;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The static facts of an instrumented function.
#[derive(Debug)]
pub struct CallsiteStatic {
    /// Name.
    pub name: &'static str,
    /// Target.
    pub target: &'static str,
    /// File.
    pub file: &'static str,
    /// Line.
    pub line: u32,
    /// OpenTelemetry's severity number.
    pub severity: u8,
}

impl CallsiteStatic {
    pub(crate) fn id(&'static self, r: &mut Recorder) -> u32 {
        r.callsite(self as *const _ as usize, |global| {
            global.session.callsite(&CallsiteDef {
                kind: 2,
                name: self.name,
                target: self.target,
                file: self.file,
                line: self.line,
                column: 0,
                severity: self.severity,
            })
        })
    }
}

/// An open span, closed when it is dropped; nothing, where nothing is recorded.
#[must_use = "a span is closed when it is dropped"]
pub struct DirectSpan {
    open: Option<OpenSpan>,
}

impl DirectSpan {
    /// Opens a child of the current span, or a root.
    pub fn open(callsite: &'static CallsiteStatic, fields: &[(&'static str, FieldValue<'_>)]) -> DirectSpan {
        DirectSpan::open_as(callsite, source::CODE, None, fields)
    }

    pub(crate) fn open_as(
        callsite: &'static CallsiteStatic,
        source: u8,
        remote: Option<RemoteParent>,
        fields: &[(&'static str, FieldValue<'_>)],
    ) -> DirectSpan {
        let open = recorder::with(|r| {
            let now = sys::tick();
            let id = callsite.id(r);
            // A request served belongs to its caller, not to what the connection does.
            let parent = if remote.is_some() { None } else { r.entered.last().copied() };
            let task = r.frame.task;
            let span = OpenSpan::open_under(r, parent, remote, id, 0, source, task, now);
            for (key, value) in fields {
                attribute::of_span(r, &span, key, value, now);
            }
            span
        });
        DirectSpan { open }
    }

    /// Records one more attribute.
    pub fn record(&self, key: &'static str, value: FieldValue<'_>) {
        if let Some(span) = &self.open {
            recorder::with(|r| attribute::of_span(r, span, key, &value, sys::tick()));
        }
    }

    /// Records an error: its text, and the span's status.
    pub fn error(&self, text: &str) {
        if let Some(span) = &self.open {
            span.mark(flags::ERROR);
        }
        self.record("error", FieldValue::from(text));
    }

    /// Runs a closure within the span.
    pub fn in_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        run()
    }

    /// Enters the span until the guard is dropped.
    pub fn enter(&self) -> Entered<'_> {
        if let Some(span) = &self.open {
            recorder::with(|r| span.enter(r));
        }
        Entered { span: self }
    }

    /// Runs a closure with the span as the current one, counting no time: what is opened in it is below it.
    #[cfg(feature = "tower")]
    pub(crate) fn as_current<R>(&self, run: impl FnOnce() -> R) -> R {
        struct Shown<'a>(&'a OpenSpan);
        impl Drop for Shown<'_> {
            fn drop(&mut self) {
                recorder::with(|r| self.0.hide(r));
            }
        }
        let _shown = self.open.as_ref().map(|span| {
            recorder::with(|r| span.show_as_current(r));
            Shown(span)
        });
        run()
    }

    #[cfg(feature = "tower")]
    pub(crate) fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    #[cfg(feature = "tower")]
    pub(crate) fn mark(&self, bits: u16) {
        if let Some(span) = &self.open {
            span.mark(bits);
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn context(&self) -> Option<super::Context> {
        self.open.as_ref().map(OpenSpan::context)
    }
}

impl Drop for DirectSpan {
    fn drop(&mut self) {
        if let Some(span) = self.open.take() {
            let status = if std::thread::panicking() { flags::PANICKED | flags::ERROR } else { 0 };
            recorder::with(|r| span.close(r, status));
        }
    }
}

/// A span entered on this thread.
#[must_use = "the span is left when the guard is dropped"]
pub struct Entered<'a> {
    span: &'a DirectSpan,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(span) = &self.span.open {
            recorder::with(|r| span.exit(r));
        }
    }
}

pin_project! {
    /// A future that enters a span at each poll.
    pub struct Instrumented<F> {
        #[pin]
        inner: F,
        span: DirectSpan,
        done: bool,
    }

    impl<F> PinnedDrop for Instrumented<F> {
        fn drop(this: Pin<&mut Self>) {
            if !this.done && let Some(span) = &this.span.open {
                span.mark(flags::CANCELLED);
            }
        }
    }
}

impl<F> Instrumented<F> {
    /// Enters `span` at each poll of `inner`.
    pub fn new(inner: F, span: DirectSpan) -> Instrumented<F> {
        Instrumented { inner, span, done: false }
    }
}

impl<F: Future> Instrumented<F> {
    /// Gives the span back with the result, so that more can be recorded on it.
    pub fn observed(self) -> Observed<F> {
        Observed { inner: self }
    }
}

pin_project! {
    /// Gives the span back with the result.
    pub struct Observed<F> {
        #[pin]
        inner: Instrumented<F>,
    }
}

impl<F: Future> Future for Observed<F> {
    type Output = (F::Output, DirectSpan);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.project().inner;
        let polled = inner.as_mut().poll(cx);
        polled.map(|output| {
            let span = std::mem::replace(inner.project().span, DirectSpan { open: None });
            (output, span)
        })
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let polled = this.inner.poll(cx);
        drop(entered);
        *this.done = polled.is_ready();
        polled
    }
}

/// A value by its `Debug`.
pub fn debug(value: &dyn Debug) -> FieldValue<'static> {
    FieldValue::from(format!("{value:?}"))
}

/// A value by its `Display`.
pub fn display(value: &dyn Display) -> FieldValue<'static> {
    FieldValue::from(value.to_string())
}

/// Records the error of a result, as `text` shows it.
pub fn result_error<T, E>(result: Result<T, E>, span: &DirectSpan, text: fn(&E) -> String) -> Result<T, E> {
    if let Err(error) = &result {
        span.error(&text(error));
    }
    result
}
