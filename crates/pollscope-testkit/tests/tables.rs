//! What a session tells beside its rings: loaded modules, and counter rows of its runtimes.

mod common;

use common::facts::facts;
use common::model;
use pollscope_model::event::{Event, TaskOutcome};
use pollscope_testkit::{Place, Service};
use pollscope_wire::layout::{RowKind, row};
use pollscope_wire::reader::SessionFiles;
use std::time::{Duration, Instant};

fn scripted(place: &Place, scenario: &str) -> (Service, SessionFiles) {
    let mut service = Service::start(env!("CARGO_BIN_EXE_scripted"), place, &[scenario]);
    service.ready();
    let files = SessionFiles::open(&place.sessions()[0]).expect("the session opens");
    (service, files)
}

#[test]
#[cfg(target_os = "linux")]
fn modules_stand_where_the_kernel_mapped_them() {
    let place = Place::new();
    let (service, files) = scripted(&place, "times");
    let modules = files.modules().expect("the table can be read");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", service.pid())).expect("it lives");
    let exe = env!("CARGO_BIN_EXE_scripted");
    for (module, end_of_path) in [(&modules[0], exe), (find(&modules, "libc.so"), "libc.so.6")] {
        let mut lines = maps.lines().filter(|line| line.ends_with(end_of_path));
        let first = lines.next().and_then(|line| line.split('-').next()).expect("it is mapped");
        assert_eq!(u64::from_str_radix(first, 16), Ok(module.base), "{}", module.path);
        let code = maps.lines().find(|line| line.ends_with(end_of_path) && line.contains(" r-xp "));
        let code = code.and_then(|line| line.split(['-', ' ']).nth(1)).expect("its code is mapped");
        let end = u64::from_str_radix(code, 16).expect("an address");
        assert_eq!(module.end.next_multiple_of(4096), end, "{}", module.path);
    }
    assert!(service.finish().success());
}

fn find<'a>(
    modules: &'a [pollscope_wire::modules::Module],
    name: &str,
) -> &'a pollscope_wire::modules::Module {
    modules.iter().find(|module| module.path.contains(name)).expect("the library is loaded")
}

#[test]
fn a_runtimes_row_says_how_long_its_threads_were_parked() {
    let place = Place::new();
    // One worker, which by the script sleeps 70 ms and blocks 70 ms.
    let (service, mut files) = scripted(&place, "times");
    let header = files.header().expect("a header");
    let elapsed = || (pollscope_wire::sys::monotonic() - header.start_monotonic) as f64 / 1e6;
    let milliseconds = |ticks: u64| (ticks as f64 / elapsed_ticks(&header) as f64 * elapsed()) as u64;
    // The last stretch counts when the worker parks, which may be after it said that it is ready.
    let until = Instant::now() + Duration::from_secs(10);
    let (key, sum) = loop {
        let mut rows = files.rows().expect("rows can be read");
        rows.retain(|key, _| files.key(*key).is_ok_and(|key| key.kind == RowKind::Runtime as u8));
        assert_eq!(rows.len(), 1, "one runtime");
        let (key, sum) = rows.pop_first().expect("one runtime");
        if milliseconds(sum.get(row::BUSY)) >= 65 || Instant::now() > until {
            break (key, sum);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(files.key(key).map(|key| key.runtime).ok(), Some(1));
    assert!(sum.get(row::POLLS) >= 2, "{} parks", sum.get(row::POLLS));
    // The thread goes on while its row is read, and the reader may be stopped meanwhile.
    let mut apart = || {
        let rows = files.rows().expect("rows can be read");
        let parks: u64 = rows[&key].histograms[1].iter().sum();
        parks.abs_diff(rows[&key].get(row::POLLS))
    };
    assert!((0..50).any(|_| apart() <= 1), "each park counts once in the histogram");
    // By the script 70 ms of each.
    assert!(milliseconds(sum.get(row::IDLE)) >= 65, "parked {} ms", milliseconds(sum.get(row::IDLE)));
    assert!(milliseconds(sum.get(row::BUSY)) >= 65, "busy {} ms", milliseconds(sum.get(row::BUSY)));
    assert!(
        sum.get(row::IDLE) + sum.get(row::BUSY) <= elapsed_ticks(&header),
        "one thread is not in two places"
    );
    assert!(service.finish().success());
}

#[test]
fn each_runtime_has_its_own_rows_and_coverage() {
    let place = Place::new();
    let mut service = Service::start(env!("CARGO_BIN_EXE_tasked"), &place, &["runtimes"]);
    service.ready();
    let model = model(&place);
    let coverage = model.sessions().next().expect("a session").coverage();
    for (name, workers) in [("main", 2), ("by tokio", 1), ("single", 1)] {
        let of = coverage.iter().find(|coverage| &*coverage.runtime == name);
        let of = of.unwrap_or_else(|| panic!("no {name} in {coverage:?}"));
        assert_eq!((of.workers, of.alive.is_some()), (workers, true), "{name}");
    }
    let mut files = SessionFiles::open(&place.sessions()[0]).expect("the session opens");
    let rows = files.rows().expect("rows can be read");
    let mut spawned: Vec<(u32, u64)> = rows
        .iter()
        .filter_map(|(key, row)| {
            let of = files.key(*key).expect("a key");
            let is_it = files.string(of.name).is_ok_and(|name| name == "on each");
            is_it.then(|| (of.runtime, row.get(row::SPAWNED)))
        })
        .collect();
    spawned.sort_unstable();
    assert_eq!(spawned.len(), 3, "{spawned:?}");
    assert!(spawned.iter().all(|(runtime, tasks)| *runtime > 0 && *tasks == 1), "{spawned:?}");
    assert!(service.finish().success());
}

/// Ticks since the session began: this process reads the same counter.
fn elapsed_ticks(header: &pollscope_wire::reader::Header) -> u64 {
    pollscope_wire::sys::clock_kind();
    pollscope_wire::sys::tick() - header.start_tick
}

/// Counters and events are two accounts of the same: for every name, rows summed over threads are the sums of its
/// tasks' ends.
#[test]
fn rows_are_the_sums_of_their_tasks() {
    let place = Place::new();
    let (service, mut files) = scripted(&place, "fates");
    let facts = facts(&place);
    let header = files.header().expect("a header");
    let elapsed = pollscope_wire::sys::monotonic() - header.start_monotonic;
    let rate = elapsed as f64 / elapsed_ticks(&header) as f64;
    let rows = files.rows().expect("rows can be read");
    for name in ["finisher", "aborted", "panicker", "joiner", "outer", "inner", "outlived"] {
        let mut sum = pollscope_wire::reader::RowSum::default();
        for (key, row) in &rows {
            let of = files.key(*key).expect("a key");
            if of.kind == RowKind::Task as u8 && files.string(of.name).is_ok_and(|text| text == name) {
                sum.sums.iter_mut().zip(row.sums).for_each(|(sum, word)| *sum += word);
            }
        }
        let ends: Vec<_> = facts
            .iter()
            .filter_map(|event| match event {
                Event::TaskEnded(end) if end.birth.name.as_deref() == Some(name) => Some(end),
                _ => None,
            })
            .collect();
        let count = |how| ends.iter().filter(|end| end.outcome == how).count() as u64;
        assert_eq!(sum.get(row::SPAWNED), ends.len() as u64, "{name}");
        assert_eq!(sum.get(row::FINISHED), count(TaskOutcome::Finished), "{name}");
        assert_eq!(sum.get(row::CANCELLED), count(TaskOutcome::Cancelled), "{name}");
        assert_eq!(sum.get(row::PANICKED), count(TaskOutcome::Panicked), "{name}");
        assert_eq!(sum.get(row::POLLS), ends.iter().map(|end| end.totals.polls).sum::<u64>(), "{name}");
        let times = |of: fn(&pollscope_model::event::TaskTotals) -> u64| -> u64 {
            ends.iter().map(|end| of(&end.totals)).sum()
        };
        for (what, word, told) in [
            ("busy", row::BUSY, times(|totals| totals.busy.0)),
            ("nested", row::NESTED, times(|totals| totals.nested.0)),
            ("scheduled", row::SCHEDULED, times(|totals| totals.scheduled.0)),
            ("idle", row::IDLE, times(|totals| totals.idle.0)),
        ] {
            // Both come from the same ticks; only the rate that is taken for them differs a little.
            let counted = sum.get(word) as f64 * rate;
            let apart = (counted - told as f64).abs();
            assert!(apart <= told as f64 / 100.0 + 1000.0, "{name}: {what}: {counted} counted, {told} told");
        }
    }
    assert!(service.finish().success());
}
