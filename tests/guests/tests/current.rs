//! `pollscope::current()` allocates nothing, wherever it is asked.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use pollscope_testkit::Place;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tracing::info_span;
use tracing_subscriber::prelude::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// What is current, found without an allocation.
#[track_caller]
fn current() -> pollscope::Current {
    let before = allocations();
    let current = pollscope::current();
    let _ =
        (current.trace_id(), current.span_id(), current.sampled(), current.task_id(), current.task_name());
    assert_eq!(allocations(), before);
    current
}

#[pollscope::instrument]
fn instrumented() -> pollscope::Current {
    pollscope::current();
    current()
}

#[tokio::test]
async fn what_is_current_is_found_without_an_allocation() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(allocations(), before + 1, "they are counted");
    assert_eq!(current(), pollscope::Current::default());

    let place = Place::new();
    let guard = pollscope::Config::from_env().dir(place.path()).init();
    assert!(guard.is_recording());
    // The thread's first event registers it.
    pollscope::current();
    assert_eq!(current().span_id(), None);
    let in_spans = || {
        info_span!("a span").in_scope(|| {
            // Beside OpenTelemetry the first who asks begins the span there.
            pollscope::current();
            let outer = current();
            assert!(outer.trace_id().is_some() && outer.span_id().is_some() && outer.sampled());
            assert_eq!(instrumented().trace_id(), outer.trace_id());
            assert_ne!(instrumented().span_id(), outer.span_id());
        });
    };
    let provider = SdkTracerProvider::builder().build();
    let theirs = tracing_opentelemetry::layer().with_tracer(provider.tracer("current"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(pollscope::layer()), in_spans);
    tracing::subscriber::with_default(
        tracing_subscriber::registry().with(pollscope::layer()).with(theirs),
        in_spans,
    );
    let task = pollscope::spawn_named("named", async { current() });
    let of_task = task.await.unwrap();
    assert_eq!((of_task.task_name(), of_task.task_id().is_some()), (Some("named"), true));
}
