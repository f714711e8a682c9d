//! Beside another exporter of tracing's spans: what a layer asks it and tells it, by way of the subscriber that both
//! are in.

use super::{Recording, nearest};
use crate::config::{Spans, spans};
use crate::otel::{self, SpanContext, SpanHandle};
use crate::recorder;
use crate::scoped;
use crate::span::{self, Context as SpanOf, OpenSpan};
use crate::state::say;
use pollscope_wire::record::span as flags;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use tracing::dispatcher::WeakDispatch;
use tracing::span::Id;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Where the ids of spans come from that another exporter has.
pub(super) enum Source {
    /// A minor of tracing-opentelemetry that is a feature of this build.
    Bound,
    /// The service's own closure.
    Given(Box<dyn Fn(SpanHandle<'_>) -> Option<SpanContext> + Send + Sync>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Bound => "Bound",
            Source::Given(_) => "Given",
        })
    }
}

/// What it has to do with another exporter of its spans.
#[derive(Debug, Default)]
pub(super) struct Join {
    pub source: Option<Source>,
    /// The subscriber that it is in, for the source.
    pub dispatch: OnceLock<WeakDispatch>,
    /// The source no longer knows spans that close.
    pub late: AtomicBool,
}

/// The joins of all layers, by the address of the registry that holds their spans: some wrappers, such as one for
/// reloading, let nobody see what they hold.
static JOINS: Mutex<Vec<(usize, Weak<Join>)>> = Mutex::new(Vec::new());

/// Asks about our layer in a subscriber, if it has it.
fn with_join<R>(dispatch: &Dispatch, ask: impl FnOnce(&Join) -> R) -> Option<R> {
    if let Some(recording) = dispatch.downcast_ref::<Recording>() {
        return Some(ask(&recording.join));
    }
    let home = std::ptr::from_ref(dispatch.downcast_ref::<Registry>()?).addr();
    let joins = JOINS.lock().unwrap_or_else(PoisonError::into_inner);
    let join = joins.iter().filter(|(at, _)| *at == home).find_map(|(_, join)| join.upgrade());
    drop(joins);
    join.map(|join| ask(&join))
}

/// Whether our layer is in a subscriber.
pub(crate) fn has_layer(dispatch: &Dispatch) -> bool {
    with_join(dispatch, |_| ()).is_some()
}

impl Join {
    /// Notes the subscriber that it is in.
    pub fn is_in(this: &Arc<Join>, dispatch: &Dispatch) {
        let _ = this.dispatch.set(dispatch.downgrade());
        if this.source.is_some() {
            let _ = JOINED.set(dispatch.downgrade());
        }
        if let Some(registry) = dispatch.downcast_ref::<Registry>() {
            let mut joins = JOINS.lock().unwrap_or_else(PoisonError::into_inner);
            joins.retain(|(_, join)| join.strong_count() > 0);
            joins.push((std::ptr::from_ref(registry).addr(), Arc::downgrade(this)));
        }
    }

    /// An `Option` of a layer does not tell it of its subscriber, nor does who reloads one: it is the one that has a
    /// span of ours under this id, and the thread's own as spans are entered, left and closed.
    #[cold]
    pub fn look_around(this: &Arc<Join>, id: &Id, local: u64) {
        tracing::dispatcher::get_default(|dispatch| {
            let Some((dispatch, registry, _)) = scoped::home(dispatch, id) else { return };
            let Some(span) = registry.span(id) else { return };
            if span.extensions().get::<OpenSpan>().is_some_and(|open| open.local() == local) {
                Join::is_in(this, dispatch);
            }
        });
    }

    /// The nearest of a span and those around it that is recorded.
    #[cold]
    pub fn nearest(&self, id: &Id) -> Option<SpanOf> {
        let dispatch = self.dispatch.get().and_then(WeakDispatch::upgrade)?;
        nearest(dispatch.downcast_ref::<Registry>()?, &scoped::own_id(id))
    }

    fn find(&self, of: SpanHandle<'_>) -> Option<SpanContext> {
        match self.source.as_ref()? {
            Source::Bound => otel::find(of),
            Source::Given(find) => find(of).filter(SpanContext::is_valid),
        }
    }

    /// Settles the ids of a span that waits for them. `local`: if it is that one, for another registry's span may have
    /// the same id.
    fn settle(
        &self,
        dispatch: &Dispatch,
        registry: &Registry,
        id: &Id,
        local: Option<u64>,
    ) -> Option<SpanOf> {
        let span = registry.span(id)?;
        // Nothing of it may be held while its exporter looks at it, too.
        let (context, parent) = {
            let extensions = span.extensions();
            let open = extensions.get::<OpenSpan>()?;
            if local.is_some_and(|local| local != open.local()) {
                return None;
            }
            (open.context(), open.waiting_under())
        };
        if context.later == 0 {
            return Some(context);
        }
        let found = self.find(SpanHandle { id, dispatch });
        let parent = match parent {
            Some(parent) if parent.later != 0 => {
                let id = Id::from_u64(parent.later);
                self.settle(dispatch, registry, &id, Some(parent.local)).or(Some(parent))
            }
            parent => parent,
        };
        let extensions = span.extensions();
        let open = extensions.get::<OpenSpan>()?;
        recorder::with(|r| open.settle(r, found, parent));
        Some(open.context())
    }

    /// The same inside of a subscriber's call, if it waits.
    pub fn settle_here<S>(this: &Arc<Join>, id: &Id, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let waiting = |span: &SpanRef<'_, S>| {
            let extensions = span.extensions();
            extensions.get::<OpenSpan>().filter(|open| open.waits()).map(OpenSpan::local)
        };
        if this.source.is_none() {
            return;
        }
        let Some(local) = ctx.span(id).and_then(|span| waiting(&span)) else { return };
        if this.dispatch.get().is_none() {
            Join::look_around(this, id, local);
        }
        if let Some(dispatch) = this.dispatch.get().and_then(WeakDispatch::upgrade)
            && let Some(registry) = dispatch.downcast_ref::<Registry>()
        {
            this.settle(&dispatch, registry, id, Some(local));
        }
    }
}

impl Join {
    /// Gives a span's own exporter our numbers, at its end.
    pub fn tell<S>(&self, id: &Id, span: &SpanRef<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if !matches!(self.source, Some(Source::Bound)) {
            return;
        }
        let told = {
            let extensions = span.extensions();
            let open = extensions.get::<OpenSpan>().filter(|open| open.has(flags::FOREIGN));
            open.and_then(|open| recorder::with(|r| open.told(r)))
        };
        if let (Some(told), Some(dispatch)) = (told, self.dispatch.get().and_then(WeakDispatch::upgrade))
            && !otel::tell(SpanHandle { id, dispatch: &dispatch }, &told)
            && !self.late.swap(true, Ordering::Relaxed)
        {
            say(format_args!(
                "the OpenTelemetry layer lets go of a span before pollscope can tell it how its time was spent: \
                 put .with(pollscope::layer()) before it"
            ));
        }
    }
}

/// The current span waits for its ids, and somebody needs them.
#[cold]
pub(crate) fn settle_current(current: SpanOf) {
    let id = Id::from_u64(current.later);
    let settle = |dispatch: &Dispatch| settle_if(dispatch, &id, Some(current.local));
    // Inside of a subscriber's call, such as a formatter's, there is no default.
    let _ = tracing::dispatcher::get_default(settle)
        .or_else(|| settle(&JOINED.get().and_then(WeakDispatch::upgrade)?))
        .or_else(|| joined().find_map(|dispatch| settle(&dispatch)));
}

/// The subscriber whose spans have another exporter: the first of them, mostly the only one.
static JOINED: OnceLock<WeakDispatch> = OnceLock::new();

/// All of these that are in use.
fn joined() -> impl Iterator<Item = Dispatch> {
    let joins = JOINS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let joins = joins.into_iter().filter_map(|(_, join)| join.upgrade());
    joins.filter(|join| join.source.is_some()).filter_map(|join| join.dispatch.get()?.upgrade())
}

/// Settles a span of a subscriber.
pub(crate) fn settle_in(dispatch: &Dispatch, id: &Id) -> Option<SpanOf> {
    settle_if(dispatch, id, None)
}

fn settle_if(dispatch: &Dispatch, id: &Id, local: Option<u64>) -> Option<SpanOf> {
    let (home, registry, id) = scoped::home(dispatch, id)?;
    with_join(home, |join| join.settle(home, registry, &id, local))?
}

/// Whether spans opened here have another exporter: an OpenTelemetry layer beside ours.
pub(crate) fn joins() -> bool {
    let joined = |dispatch: &Dispatch| {
        with_join(scoped::front(dispatch), |join| join.source.is_some()).unwrap_or(false)
    };
    span::may_join() && spans() == Spans::Join && tracing::dispatcher::get_default(joined)
}
