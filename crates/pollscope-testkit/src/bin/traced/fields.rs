//! Spans of `tracing` with every field that means something, and with events.

use std::sync::Barrier;
use std::time::Duration;
use tracing::{Level, debug, error, info_span, span, trace, warn};

pub fn run() {
    special();
    values();
    long_texts();
    events();
    busy();
    links();
}

pub fn special() {
    info_span!("named at birth", otel.name = "birth name").in_scope(|| ());
    let later =
        info_span!("named later", otel.name = tracing::field::Empty, otel.kind = tracing::field::Empty);
    later.record("otel.name", "later name");
    later.record("otel.kind", "client");
    drop(later);
    for kind in ["server", "CLIENT", "Producer", "consumer", "internal"] {
        info_span!("kind", otel.name = kind, otel.kind = kind).in_scope(|| ());
    }
    info_span!("status ok", otel.status_code = "OK").in_scope(|| ());
    info_span!("status error", otel.status_code = "ERROR").in_scope(|| ());
    info_span!("status described", otel.status_code = ?Shown("error"), otel.status_description = "sold out")
        .in_scope(|| ());
    let late = info_span!("status late", otel.status_code = tracing::field::Empty);
    late.record("otel.status_code", "error");
    drop(late);
}

/// Debug without quotation marks.
struct Shown(&'static str);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no number")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

pub fn values() {
    let error = Outer("x".parse::<i32>().expect_err("x is no number"));
    let span = info_span!(
        "values",
        truth = true,
        signed = i64::MIN,
        unsigned = u64::MAX,
        wide = i128::MAX,
        share = 0.25,
        text = "words",
        shown = %"displayed",
        debugged = ?Some(1),
        problem = &error as &(dyn std::error::Error + 'static),
        twice = 1,
        never = tracing::field::Empty,
    );
    span.record("twice", 2);
    span.in_scope(|| ());
}

/// Texts of 16 KiB and of one letter more; the letters have two bytes.
fn long_texts() {
    let whole = "é".repeat(8 * 1024);
    info_span!("whole", text = whole.as_str()).in_scope(|| ());
    info_span!("cut", text = format!("{whole}é").as_str())
        .in_scope(|| warn!(text = format!("x{whole}").as_str()));
    let many = info_span!("many values", n = tracing::field::Empty);
    for n in 0..200 {
        many.record("n", n);
    }
}

pub fn events() {
    let root = info_span!("events");
    let _entered = root.enter();
    trace!("below the level");
    debug!("below the level");
    tracing::info!("below the level");
    warn!(stock = 3, low = true, "a warning");
    info_span!("failed by an event").in_scope(|| error!("it broke"));
    info_span!("an exception").in_scope(|| error!(error = %"sold out"));
    info_span!("right in spite of it", otel.status_code = "ok").in_scope(|| error!("told, and mended"));
    let elsewhere = info_span!("elsewhere");
    warn!(parent: &elsewhere, "not of the current span");
    span!(parent: None, Level::INFO, "a root of its own").in_scope(|| ());
}

/// Two threads are in `together` at the same time, then nobody is, then one for a moment; `again` is entered within itself, and thrice in all.
fn busy() {
    let together = info_span!("together");
    let meet = Barrier::new(2);
    let part = || {
        together.in_scope(|| {
            meet.wait();
            std::thread::sleep(Duration::from_millis(30));
            meet.wait();
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(part);
        part();
    });
    std::thread::sleep(Duration::from_millis(50));
    together.in_scope(|| ());
    let again = info_span!("again");
    again.in_scope(|| {
        std::thread::sleep(Duration::from_millis(5));
        again.in_scope(|| std::thread::sleep(Duration::from_millis(5)));
        std::thread::sleep(Duration::from_millis(5));
    });
    std::thread::sleep(Duration::from_millis(40));
    again.in_scope(|| std::thread::sleep(Duration::from_millis(5)));
}

pub fn links() {
    let first = info_span!("first cause");
    let second = info_span!("second cause");
    let effect = info_span!("effect");
    effect.follows_from(&first);
    effect.in_scope(|| effect.follows_from(&second));
}
