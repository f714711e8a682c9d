//! The table of workloads: what each contender adds to tokio alone, per operation.

use crate::contenders::{self, Contender};
use crate::follow;
use crate::report::Table;
use crate::stats::Spread;
use anyhow::ensure;

/// One row.
pub struct Workload {
    pub name: &'static str,
    /// What the row says.
    pub title: &'static str,
    /// The program's word for it.
    pub word: &'static str,
    pub workers: usize,
    pub times: u64,
}

const fn row(
    name: &'static str,
    title: &'static str,
    word: &'static str,
    workers: usize,
    times: u64,
) -> Workload {
    Workload { name, title, word, workers, times }
}

/// All rows.
pub const WORKLOADS: &[Workload] = &[
    row("poll", "self-waking poll", "poll", 0, 3_000_000),
    row("poll-2", "the same, 2 workers", "poll", 2, 2_000_000),
    row("wake", "wake of a task that is scheduled, from another thread", "wake", 1, 3_000_000),
    row("spawn", "spawn to end of a tiny task", "spawn", 0, 500_000),
    row("ping-pong", "mpsc ping-pong round trip, 2 tasks", "ping-pong", 0, 500_000),
    row("span", "span with 3 fields", "span", 0, 500_000),
    row("open-span", "self-waking poll in an open span", "open-span", 0, 2_000_000),
    row("job", "job of the blocking pool", "job", 0, 50_000),
];

/// Measures and prints.
pub fn run(rounds: usize, size: u64, names: &[String], rows: &[String]) -> anyhow::Result<()> {
    let contenders = contenders::chosen(names)?;
    for name in rows {
        let known: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        ensure!(known.contains(&name.as_str()), "no workload `{name}`; there are: {}", known.join(", "));
    }
    contenders::build(&contenders)?;
    let mut columns = vec!["added per".to_owned(), "bare".to_owned()];
    columns.extend(contenders.iter().map(|contender| contender.name.to_owned()));
    let mut table = Table::new(columns);
    for workload in WORKLOADS.iter().filter(|w| rows.is_empty() || rows.iter().any(|name| name == w.name)) {
        eprintln!("{} ({} rounds)", workload.title, rounds);
        let measured = measure(workload, rounds, size, &contenders)?;
        let mut cells =
            vec![format!("{}, ns", workload.title), measured.bare.map_or_else(dash, |s| figure(s.median))];
        cells.extend(measured.added.iter().map(|added| added.map_or_else(dash, difference)));
        table.row(cells);
    }
    print!("{table}");
    Ok(())
}

struct Measured {
    bare: Option<Spread>,
    added: Vec<Option<Spread>>,
}

/// Each contender beside tokio alone, in turn, in every round.
fn measure(
    workload: &Workload,
    rounds: usize,
    size: u64,
    contenders: &[Contender],
) -> anyhow::Result<Measured> {
    let times = (workload.times * size / 100).max(100);
    let mut bare = Vec::new();
    let mut added = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for (contender, added) in contenders.iter().zip(&mut added) {
            if contender.lacks.contains(&workload.word) {
                continue;
            }
            let run = |of: &Contender| {
                let dir = follow::scratch()?;
                // Some are far slower: the same number would take minutes.
                let slow = of.package == "bench-console" && workload.word != "poll";
                let times = if slow { (times / 10).max(100) } else { times };
                follow::nanos(of, dir.path(), workload.word, times, workload.workers)
            };
            // Who comes first changes, so that a machine that slows down favours nobody.
            let (with, without) = if round % 2 == 0 {
                let without = run(&contender.base())?;
                (run(contender)?, without)
            } else {
                (run(contender)?, run(&contender.base())?)
            };
            added.push(with - without);
            if !contender.unstable {
                bare.push(without);
            }
        }
    }
    Ok(Measured { bare: Spread::of(&bare), added: added.iter().map(|added| Spread::of(added)).collect() })
}

fn dash() -> String {
    "-".to_owned()
}

fn figure(nanos: f64) -> String {
    if nanos < 10.0 { format!("{nanos:.1}") } else { format!("{nanos:.0}") }
}

fn difference(added: Spread) -> String {
    let sign = |nanos: f64| format!("{}{}", if nanos < 0.0 { "" } else { "+" }, figure(nanos));
    format!("{} ({} to {})", sign(added.median), sign(added.least), sign(added.most))
}
