//! tracing's default on the threads that pollscope knows, as long as the service has no subscriber of its own.
//!
//! The global slot is the service's: it may fill it at any time, and finds it empty. So our subscriber is the
//! scoped default of main and of the runtimes' threads, and steps aside as soon as there is a global one: it
//! passes on what still comes to it, and each thread lets go of it at its next park. Spans that it had opened
//! by then end here. Until then it also writes to `log`, where tracing itself would have done so.
//!
//! How the global one is noticed: a new `Dispatch` asks all living subscribers for their interest in all call
//! sites again. What the global one is, only a thread without a scoped default can see.

mod childless;

#[cfg(feature = "tower")]
pub(crate) use childless::scope;

use crate::layer;
use crate::state;
pub(crate) use childless::Childless;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest, NoSubscriber};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};
use tracing_core::callsite::{Identifier, rebuild_interest_cache};
use tracing_core::span::Current;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

type Inner = Layered<layer::Layer<Childless>, Childless>;

/// See the module.
pub(crate) struct Scoped {
    inner: Inner,
    /// Call sites that were registered once.
    known: Mutex<HashSet<Identifier>>,
}

/// Marks ids of our spans: bits of the index that no registry reaches before it holds a billion spans.
const OURS: u64 = 0xff << 30;

static SCOPED: OnceLock<Dispatch> = OnceLock::new();
/// The service's own subscriber.
static GLOBAL: OnceLock<Dispatch> = OnceLock::new();
/// A `Dispatch` was made since a fresh thread last looked for the global one.
static PENDING: AtomicBool = AtomicBool::new(false);
/// One was made at some time: hooks look, too.
static WATCH: AtomicBool = AtomicBool::new(false);
/// Whether tracing would write to `log` as long as there is no subscriber.
static LOGS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static HELD: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Makes it the default of this thread and of the runtimes' threads to come.
pub(crate) fn install() {
    let logs = would_log();
    LOGS.store(logs, Ordering::Relaxed);
    let inner = Childless::default().with(layer::unjoined());
    let scoped = Scoped { inner, known: Mutex::default() };
    if SCOPED.set(Dispatch::new(scoped)).is_err() {
        return;
    }
    if dispatcher::get_default(|current| current.is::<NoSubscriber>()) {
        hold();
    } else {
        // A global one, or one of this thread alone.
        look_from_a_fresh_thread();
    }
    // Where tracing writes to `log` whatever there is, that is done.
    LOGS.store(logs && !would_log(), Ordering::Relaxed);
    state::layer_made();
    // So that there is a call site that a later `Dispatch` asks about.
    let _ = tracing::enabled!(target: "pollscope", Level::ERROR);
}

/// Whether tracing writes events to `log` now: it does with its feature `log`, as long as no default was set.
fn would_log() -> bool {
    tracing::if_log_enabled! { Level::ERROR, { true } else { false } }
}

/// At the start of a runtime's thread.
pub(crate) fn adopt() {
    if SCOPED.get().is_none() || GLOBAL.get().is_some() {
        return;
    }
    match dispatcher::get_default(|current| (!current.is::<NoSubscriber>()).then(|| current.clone())) {
        None => hold(),
        // Nobody but the global one can be default on a fresh thread.
        Some(global) if !global.is::<Scoped>() => note(global),
        Some(_) => {}
    }
}

/// Between two polls: lets go of it where it is not wanted any more, takes it up again where it may be.
pub(crate) fn refresh() {
    let Some(_) = SCOPED.get() else { return };
    let held = HELD.try_with(|held| held.try_borrow().is_ok_and(|held| held.is_some())).unwrap_or(false);
    if held {
        if GLOBAL.get().is_some() {
            let_go();
        } else if WATCH.load(Ordering::Relaxed) && let_go() {
            adopt();
        }
    } else if GLOBAL.get().is_none() {
        let current = dispatcher::get_default(|current| current.is::<NoSubscriber>());
        if current {
            hold();
        } else if PENDING.swap(false, Ordering::Relaxed) {
            look_from_a_fresh_thread();
        }
    }
}

/// The session is over.
pub(crate) fn release() {
    let_go();
}

/// Refreshes before each poll: main's thread may have no parks that anybody tells of.
pub(crate) async fn refreshing<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        refresh();
        future.as_mut().poll(cx)
    })
    .await
}

fn hold() {
    if let Some(scoped) = SCOPED.get() {
        let guard = dispatcher::set_default(scoped);
        // A thread that is ending keeps none.
        let _ = HELD.try_with(|held| held.borrow_mut().replace(guard));
    }
}

/// Takes our default from this thread, if nothing else lies over it; `false` also inside of a subscriber's call.
fn let_go() -> bool {
    if !dispatcher::get_default(|current| current.is::<Scoped>()) {
        return false;
    }
    let guard = HELD.try_with(|held| held.try_borrow_mut().ok().and_then(|mut held| held.take()));
    guard.ok().flatten().is_some()
}

#[cold]
fn look_from_a_fresh_thread() {
    let look = || dispatcher::get_default(|current| (!current.is::<NoSubscriber>()).then(|| current.clone()));
    let found = std::thread::Builder::new().name("pollscope-look".to_owned()).spawn(look);
    match found.map(std::thread::JoinHandle::join) {
        Ok(Ok(Some(global))) => note(global),
        Ok(Ok(None)) => {}
        _ => WATCH.store(true, Ordering::Relaxed),
    }
}

/// There is a global one.
#[cold]
fn note(global: Dispatch) {
    let ours = layer::has_layer(&global);
    if GLOBAL.set(global).is_ok() {
        if !ours {
            state::foreign_subscriber();
        }
        rebuild_interest_cache();
    }
}

/// The global one, and whether it was found just now: then it was not asked yet whether it is interested.
fn global() -> Option<(&'static Dispatch, bool)> {
    if let Some(global) = GLOBAL.get() {
        return Some((global, false));
    }
    if !PENDING.load(Ordering::Relaxed) || !PENDING.swap(false, Ordering::Relaxed) {
        return None;
    }
    look_from_a_fresh_thread();
    GLOBAL.get().map(|global| (global, true))
}

/// An id of our registry, from one that was given out.
fn untagged(id: &Id) -> Option<Id> {
    (id.into_u64() & OURS == OURS).then(|| Id::from_u64(id.into_u64() & !OURS))
}

fn tagged(id: &Id) -> Id {
    Id::from_u64(id.into_u64() | OURS)
}

/// The subscriber that a span belongs to, the registry that holds it, and its id there.
pub(crate) fn home<'a>(dispatch: &'a Dispatch, id: &Id) -> Option<(&'a Dispatch, &'a Registry, Id)> {
    let Some(scoped) = dispatch.downcast_ref::<Scoped>() else {
        return Some((dispatch, dispatch.downcast_ref()?, id.clone()));
    };
    match (untagged(id), GLOBAL.get()) {
        (Some(id), _) => Some((dispatch, scoped.registry()?, id)),
        (None, Some(global)) => Some((global, global.downcast_ref()?, id.clone())),
        (None, None) => None,
    }
}

/// An id of the registry that has `known`, as that one is given out.
pub(crate) fn like(known: &Id, id: Id) -> Id {
    if untagged(known).is_some() { tagged(&id) } else { id }
}

/// Whom a dispatch speaks for now.
pub(crate) fn front(dispatch: &Dispatch) -> &Dispatch {
    let global = dispatch.is::<Scoped>().then(global).flatten();
    global.map_or(dispatch, |(global, _)| global)
}

/// The id under which our own layer finds a span.
pub(crate) fn own_id(id: &Id) -> Id {
    untagged(id).unwrap_or_else(|| id.clone())
}

impl Scoped {
    fn registry(&self) -> Option<&Registry> {
        (&self.inner as &dyn Subscriber).downcast_ref()
    }

    fn log(&self, metadata: &Metadata<'_>, target: &str, level: log::Level, told: fmt::Arguments<'_>) {
        let of_log = log::Metadata::builder().level(level).target(target).build();
        let logger = log::logger();
        if level <= log::max_level() && logger.enabled(&of_log) {
            let record = log::Record::builder()
                .metadata(of_log)
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .args(told)
                .build();
            logger.log(&record);
        }
    }

    fn log_fields(&self, metadata: &Metadata<'_>, fields: &dyn Fn(&mut dyn Visit), empty: bool) {
        let target = if empty { "tracing::span" } else { metadata.target() };
        let told = Fields { fields, first: false };
        self.log(metadata, target, level_of(*metadata.level()), format_args!("{};{told}", metadata.name()));
    }

    /// What tracing says of a span's life, at its lowest level.
    fn log_life(&self, id: &Id, target: &str, what: &str) {
        if LOGS.load(Ordering::Relaxed)
            && log::max_level() == log::LevelFilter::Trace
            && let Some(span) = self.registry().and_then(|registry| registry.span(id))
        {
            let metadata = span.metadata();
            self.log(metadata, target, log::Level::Trace, format_args!("{what} {};", metadata.name()));
        }
    }
}

fn level_of(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}

/// Whether `log` may want it.
fn is_logged(metadata: &Metadata<'_>) -> bool {
    LOGS.load(Ordering::Relaxed) && level_of(*metadata.level()) <= log::max_level()
}

impl Subscriber for Scoped {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if let Some(global) = GLOBAL.get() {
            return global.register_callsite(metadata);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let again = !known.insert(metadata.callsite());
        drop(known);
        if again {
            PENDING.store(true, Ordering::Relaxed);
            WATCH.store(true, Ordering::Relaxed);
            // Who makes a `Dispatch` here will most likely set it: this thread is free for it at once.
            let_go();
        }
        let interest = self.inner.register_callsite(metadata);
        if LOGS.load(Ordering::Relaxed) { Interest::sometimes() } else { interest }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        match GLOBAL.get() {
            // It gives its own.
            Some(_) => Some(LevelFilter::OFF),
            // A logger's own level may change unnoticed.
            None if LOGS.load(Ordering::Relaxed) => None,
            None => self.inner.max_level_hint(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match global() {
            Some((global, _)) => global.enabled(metadata),
            None => self.inner.enabled(metadata) || is_logged(metadata),
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let metadata = attributes.metadata();
        let ours = attributes.parent().and_then(untagged);
        match global() {
            Some((global, fresh)) if !fresh || global.enabled(metadata) => {
                if ours.is_some() {
                    // It does not know that parent.
                    return global.new_span(&Attributes::new_root(metadata, attributes.values()));
                }
                return global.new_span(attributes);
            }
            _ => {}
        }
        if is_logged(metadata) {
            self.log_fields(metadata, &|visit| attributes.record(visit), attributes.is_empty());
        }
        let id = match (ours, attributes.parent()) {
            (Some(parent), _) => {
                self.inner.new_span(&Attributes::child_of(parent, metadata, attributes.values()))
            }
            // Somebody else's: here it is none.
            (None, Some(_)) => self.inner.new_span(&Attributes::new_root(metadata, attributes.values())),
            (None, None) => self.inner.new_span(attributes),
        };
        tagged(&id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        match untagged(span) {
            Some(id) => {
                self.inner.record(&id, values);
                if LOGS.load(Ordering::Relaxed)
                    && let Some(span) = self.registry().and_then(|registry| registry.span(&id))
                    && is_logged(span.metadata())
                {
                    self.log_fields(span.metadata(), &|visit| values.record(visit), values.is_empty());
                }
            }
            None => pass(|global| global.record(span, values)),
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        match (untagged(span), untagged(follows)) {
            (Some(span), Some(follows)) => self.inner.record_follows_from(&span, &follows),
            (None, None) => pass(|global| global.record_follows_from(span, follows)),
            _ => {}
        }
    }

    fn event(&self, event: &Event<'_>) {
        match global() {
            Some((global, fresh)) => {
                if !fresh || global.enabled(event.metadata()) {
                    global.event(event);
                }
            }
            None => {
                if self.inner.event_enabled(event) {
                    self.inner.event(event);
                }
                let metadata = event.metadata();
                if is_logged(metadata) {
                    let told = Fields { fields: &|visit| event.record(visit), first: true };
                    let level = level_of(*metadata.level());
                    self.log(metadata, metadata.target(), level, format_args!("{told}"));
                }
            }
        }
    }

    fn enter(&self, span: &Id) {
        match untagged(span) {
            Some(id) => {
                self.inner.enter(&id);
                self.log_life(&id, "tracing::span::active", "->");
            }
            None => pass(|global| global.enter(span)),
        }
    }

    fn exit(&self, span: &Id) {
        match untagged(span) {
            Some(id) => {
                self.inner.exit(&id);
                self.log_life(&id, "tracing::span::active", "<-");
            }
            None => pass(|global| global.exit(span)),
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        match (untagged(id), GLOBAL.get()) {
            (Some(id), _) => tagged(&self.inner.clone_span(&id)),
            (None, Some(global)) => global.clone_span(id),
            (None, None) => id.clone(),
        }
    }

    fn try_close(&self, id: Id) -> bool {
        match (untagged(&id), GLOBAL.get()) {
            (Some(id), _) => {
                self.log_life(&id, "tracing::span", "--");
                self.inner.try_close(id)
            }
            (None, Some(global)) => global.try_close(id),
            (None, None) => false,
        }
    }

    fn current_span(&self) -> Current {
        if let Some(global) = GLOBAL.get() {
            let current = global.current_span();
            if current.id().is_some() {
                return current;
            }
        }
        match self.inner.current_span().into_inner() {
            Some((id, metadata)) => Current::new(tagged(&id), metadata),
            None => Current::none(),
        }
    }
}

/// To the service's own subscriber; where there is none, it is about no span of ours.
fn pass(call: impl FnOnce(&Dispatch)) {
    if let Some(global) = GLOBAL.get() {
        call(global);
    }
}

/// Fields as tracing writes them to `log`.
struct Fields<'a> {
    fields: &'a dyn Fn(&mut dyn Visit),
    /// Whether nothing stands before them.
    first: bool,
}

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Written<'a, 'b> {
            f: &'a mut fmt::Formatter<'b>,
            first: bool,
            result: fmt::Result,
        }
        impl Visit for Written<'_, '_> {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let told = match (std::mem::take(&mut self.first), field.name()) {
                    (true, "message") => write!(self.f, "{value:?}"),
                    (true, name) => write!(self.f, "{name}={value:?}"),
                    (false, name) => write!(self.f, " {name}={value:?}"),
                };
                self.result = self.result.and(told);
            }
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "message" {
                    self.record_debug(field, &format_args!("{value}"));
                } else {
                    self.record_debug(field, &value);
                }
            }
        }
        let mut written = Written { f, first: self.first, result: Ok(()) };
        (self.fields)(&mut written);
        written.result
    }
}
