//! Spans that need no subscriber: what `#[pollscope::instrument]` expands to.

#[cfg(feature = "tower")]
use super::RemoteParent;
#[cfg(feature = "tracing")]
use super::bridged;
use super::{OpenSpan, Parent, SpanRef, attribute};
use crate::recorder::{self, Recorder};
pub use crate::span::attribute::FieldValue;
use pin_project_lite::pin_project;
use pollscope_wire::record::{source, span as flags};
use pollscope_wire::sys;
use pollscope_wire::table::CallsiteDef;
use std::fmt::{Debug, Display};
use std::future::Future;
#[cfg(feature = "tower")]
use std::panic::Location;
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
    fn id(&'static self, r: &mut Recorder, kind: u8) -> u32 {
        r.callsite(self as *const _ as usize, |global| {
            global.session.callsite(&CallsiteDef {
                kind,
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
    open: Opened,
}

/// What it is.
#[expect(clippy::large_enum_variant, reason = "no second allocation a span")]
enum Opened {
    Nothing,
    Own(OpenSpan),
    /// A span of `tracing`, whose exporter is another.
    #[cfg(feature = "tracing")]
    Bridged(tracing::Span),
}

impl Opened {
    fn of(open: Option<OpenSpan>) -> Opened {
        open.map_or(Opened::Nothing, Opened::Own)
    }

    fn enter(&self) {
        match self {
            Opened::Nothing => {}
            Opened::Own(span) => {
                recorder::with(|r| span.enter(r));
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => bridged::enter(span),
        }
    }

    fn mark(&self, bits: u16) {
        match self {
            Opened::Nothing => {}
            Opened::Own(span) => span.mark(bits),
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => bridged::mark(span, bits),
        }
    }

    fn has(&self, bit: u16) -> bool {
        match self {
            Opened::Nothing => false,
            Opened::Own(span) => span.has(bit),
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => crate::layer::with_open(span, |open| open.has(bit)).unwrap_or(false),
        }
    }
}

/// The callsite of requests at the place where their layer was made.
#[cfg(feature = "tower")]
fn request_callsite(r: &mut Recorder, location: &'static Location<'static>) -> u32 {
    // An odd address: what is spawned at the same place has a callsite of its own.
    r.callsite(location as *const _ as usize | 1, |global| {
        global.session.callsite(&CallsiteDef {
            kind: 2,
            name: "HTTP",
            target: "pollscope::http",
            file: location.file(),
            line: location.line(),
            column: location.column(),
            severity: 9,
        })
    })
}

impl DirectSpan {
    /// No span.
    pub const NONE: DirectSpan = DirectSpan { open: Opened::Nothing };

    /// Opens a child of `parent`.
    pub fn open(
        callsite: &'static CallsiteStatic,
        parent: Parent,
        fields: &[(&'static str, FieldValue<'_>)],
    ) -> DirectSpan {
        if crate::config::spans() == crate::Spans::Off {
            return DirectSpan::NONE;
        }
        #[cfg(feature = "tracing")]
        if super::may_join()
            && let Some(span) = bridged::open(callsite, parent, fields)
        {
            return DirectSpan { open: Opened::Bridged(span) };
        }
        super::settle_current();
        let open = recorder::with(|r| {
            let now = sys::tick();
            let id = callsite.id(r, 2);
            let (parent, remote) = parent.split(r.entered.last().copied());
            let task = r.frame.task;
            let span = OpenSpan::open_under(r, parent, remote, id, 0, source::CODE, task, now).owned();
            for (key, value) in fields {
                attribute::of_span(r, &span, key, value, now);
            }
            Opened::Own(span)
        });
        DirectSpan { open: open.unwrap_or(Opened::Nothing) }
    }

    /// Opens the span of a request under its caller's, else under the current one.
    #[cfg(feature = "tower")]
    pub(crate) fn of_request(
        location: &'static Location<'static>,
        source: u8,
        remote: Option<RemoteParent>,
        fields: &[(&'static str, FieldValue<'_>)],
    ) -> DirectSpan {
        if crate::config::spans() == crate::Spans::Off {
            return DirectSpan::NONE;
        }
        #[cfg(feature = "tracing")]
        if super::may_join()
            && let Some(span) = bridged::open_request(location, remote, fields)
        {
            return DirectSpan { open: Opened::Bridged(span) };
        }
        super::settle_current();
        let open = recorder::with(|r| {
            let now = sys::tick();
            let id = request_callsite(r, location);
            // A request served belongs to its caller, not to what the connection does.
            let parent = if remote.is_some() { None } else { r.entered.last().copied() };
            let task = r.frame.task;
            let span = OpenSpan::open_under(r, parent, remote, id, 0, source, task, now);
            for (key, value) in fields {
                attribute::of_span(r, &span, key, value, now);
            }
            span
        });
        DirectSpan { open: Opened::of(open) }
    }

    /// Records one more attribute.
    pub fn record(&self, key: &'static str, value: FieldValue<'_>) {
        match &self.open {
            Opened::Nothing => {}
            Opened::Own(span) => {
                recorder::with(|r| attribute::of_span(r, span, key, &value, sys::tick()));
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => bridged::record(span, key, &value),
        }
    }

    /// Links each of `causes`.
    pub fn follows_from<C: SpanRef>(&self, causes: impl IntoIterator<Item = C>) {
        if !self.is_recorded() {
            return;
        }
        for cause in causes.into_iter().filter_map(|cause| cause.context()) {
            match &self.open {
                Opened::Nothing => {}
                Opened::Own(span) => {
                    recorder::with(|r| span.link(r, cause));
                }
                #[cfg(feature = "tracing")]
                Opened::Bridged(span) => {
                    bridged::link(span, cause);
                }
            }
        }
    }

    /// Records an error as an event, and marks the span.
    pub fn error(&self, callsite: &'static CallsiteStatic, text: &str) {
        match &self.open {
            Opened::Nothing => {}
            Opened::Own(span) => {
                span.mark(flags::ERROR);
                recorder::with(|r| {
                    let id = callsite.id(r, 3);
                    attribute::event(r, span.local(), id, &[("error", FieldValue::from(text))]);
                });
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => bridged::error(span, callsite, text),
        }
    }

    /// Runs a closure within the span.
    pub fn in_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        run()
    }

    /// Enters the span, just opened, until it is closed: when the guard is dropped.
    #[inline]
    pub fn entered(&mut self) -> EnteredSpan<'_> {
        match &self.open {
            Opened::Nothing => {}
            Opened::Own(span) => {
                recorder::with(|r| span.enter_at_once(r));
            }
            other => other.enter(),
        }
        let panicking = self.is_recorded() && std::thread::panicking();
        EnteredSpan { open: &mut self.open, panicking }
    }

    /// Enters the span until the guard is dropped.
    pub fn enter(&self) -> Entered<'_> {
        self.open.enter();
        Entered { span: self, panicking: std::thread::panicking() }
    }

    /// Enters the span in a task that goes on with it, though it is another one's.
    #[cfg(feature = "tower")]
    pub(crate) fn follow(&self) -> Entered<'_> {
        match &self.open {
            Opened::Nothing => {}
            Opened::Own(span) => {
                recorder::with(|r| span.follow(r));
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => {
                crate::layer::with_open(span, |open| recorder::with(|r| open.follow(r)));
            }
        }
        self.enter()
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
        match &self.open {
            Opened::Nothing => run(),
            Opened::Own(span) => {
                recorder::with(|r| span.show_as_current(r));
                let _shown = Shown(span);
                run()
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => bridged::as_current(span, run),
        }
    }

    /// Whether it is a span.
    pub fn is_recorded(&self) -> bool {
        !matches!(self.open, Opened::Nothing)
    }

    /// Marks it as dropped before its end, unless a panic tells more.
    pub(crate) fn cancelled(&self) {
        match &self.open {
            Opened::Own(span) => span.cancelled(),
            other => {
                if !other.has(flags::PANICKED) {
                    other.mark(flags::CANCELLED);
                }
            }
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn mark(&self, bits: u16) {
        self.open.mark(bits);
    }

    #[cfg(feature = "tower")]
    pub(crate) fn context(&self) -> Option<super::Context> {
        match &self.open {
            Opened::Nothing => None,
            Opened::Own(span) => Some(span.context()),
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => bridged::context(span),
        }
    }
}

impl Drop for DirectSpan {
    fn drop(&mut self) {
        if let Opened::Own(span) = &self.open
            && recorder::with(|r| span.close(r, 0)).is_none()
        {
            span.abandon();
        }
    }
}

/// What a span that is left now has come to: somebody else's panic may have been under way before.
pub(crate) fn status_by_panic(before: bool) -> u16 {
    if std::thread::panicking() && !before { flags::PANICKED | flags::ERROR } else { 0 }
}

/// A span entered on this thread for all of its life; left and closed when it is dropped.
#[must_use = "the span is closed when it is dropped"]
pub struct EnteredSpan<'a> {
    open: &'a mut Opened,
    panicking: bool,
}

impl Drop for EnteredSpan<'_> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.open, Opened::Nothing) {
            self.end();
        }
    }
}

impl EnteredSpan<'_> {
    #[inline(never)]
    fn end(&mut self) {
        let status = status_by_panic(self.panicking);
        match &self.open {
            Opened::Nothing => {}
            Opened::Own(span) => {
                if recorder::with(|r| span.exit_and_close(r, status)).is_none() {
                    span.abandon();
                }
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => {
                bridged::mark(span, status);
                bridged::exit(span);
            }
        }
        *self.open = Opened::Nothing;
    }
}

/// A span entered on this thread.
#[must_use = "the span is left when the guard is dropped"]
pub struct Entered<'a> {
    span: &'a DirectSpan,
    panicking: bool,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        match &self.span.open {
            Opened::Nothing => {}
            Opened::Own(span) => {
                span.mark(status_by_panic(self.panicking));
                recorder::with(|r| span.exit(r));
            }
            #[cfg(feature = "tracing")]
            Opened::Bridged(span) => {
                bridged::mark(span, status_by_panic(self.panicking));
                bridged::exit(span);
            }
        }
    }
}

pin_project! {
    /// A future that enters a span at each poll.
    pub struct Instrumented<F> {
        // Dropped within the span, as soon as it is over.
        #[pin]
        inner: Option<F>,
        span: DirectSpan,
    }

    impl<F> PinnedDrop for Instrumented<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_some() {
                this.span.cancelled();
                let _entered = this.span.enter();
                this.inner.set(None);
            }
        }
    }
}

impl<F> Instrumented<F> {
    /// Enters `span` at each poll of `inner`.
    pub fn new(inner: F, span: DirectSpan) -> Instrumented<F> {
        Instrumented { inner: Some(inner), span }
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
            let span = std::mem::replace(inner.project().span, DirectSpan::NONE);
            (output, span)
        })
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { panic!("polled after it was over") };
        let _entered = this.span.enter();
        let polled = inner.poll(cx);
        if polled.is_ready() {
            this.inner.set(None);
        }
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

/// An error's text by its `Debug`.
pub fn text_by_debug<E: Debug>(error: &E) -> String {
    format!("{error:?}")
}

/// An error's text by its `Display`.
pub fn text_by_display<E: Display>(error: &E) -> String {
    error.to_string()
}

/// What `err` can be asked of.
#[diagnostic::on_unimplemented(
    message = "`err` needs a function that returns a `Result`",
    label = "this function returns `{Self}`",
    note = "remove `err`, or use `ret` to record what is returned"
)]
pub trait Fallible {
    /// Of the error.
    type Error;
    /// The error, if it is one.
    fn failure(&self) -> Option<&Self::Error>;
}

impl<T, E> Fallible for Result<T, E> {
    type Error = E;
    fn failure(&self) -> Option<&E> {
        self.as_ref().err()
    }
}

/// Records the error of a result, as `text` shows it.
pub fn result_error<R: Fallible>(
    result: &R,
    span: &DirectSpan,
    callsite: &'static CallsiteStatic,
    text: fn(&R::Error) -> String,
) {
    if span.is_recorded()
        && let Some(error) = result.failure()
    {
        span.error(callsite, &text(error));
    }
}
