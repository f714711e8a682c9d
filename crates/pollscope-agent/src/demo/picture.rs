//! What the demo shows: a picture that fits the terminal while it runs, and what was found at its end.

use crate::agent::Agent;
use crate::observe::now;
use crate::show;
use crate::table::{Column, table};
use pollscope_model::Nanos;
use pollscope_model::event::{Location, TraceId};
use pollscope_model::render::render_trace;
use pollscope_model::summary::{SlowTrace, Summary};
use pollscope_model::traces::TraceQuery;
use pollscope_model::view::{GroupRow, TaskFilter};
use std::io::IsTerminal;
use std::time::Duration;

/// A line longer than that is hard to follow.
const WIDEST: usize = 110;
/// Spawns shown at most.
const SPAWNS: usize = 14;
/// Findings of one kind.
const MOST: usize = 5;
/// Shorter polls and waits are no findings.
const WORTH_TELLING: Nanos = Nanos(1_000_000);
/// Trees at the end.
const TREES: usize = 2;

const SPAWN: [Column; 8] = [
    Column::name("SERVICE", 8, 14),
    Column::name("TASK", 12, 28),
    Column::number("LIVE"),
    Column::number("SPAWNED").goes(3),
    Column::number("BUSY").goes(1),
    Column::number("SCHED").goes(2),
    Column::number("WORST POLL"),
    Column::place("SPAWNED AT", 12, 34),
];

/// One line of how it goes, where there is no terminal.
pub fn line(agent: &Agent, elapsed: Duration) -> String {
    let worst =
        agent.model.sessions().flat_map(|session| session.worst_polls().next()).map(|poll| poll.own()).max();
    let worst = worst.map_or_else(String::new, |worst| format!(", worst poll {worst}"));
    format!("{:>3.0}s  {}{worst}\n", elapsed.as_secs_f64(), counts(agent))
}

fn counts(agent: &Agent) -> String {
    let live: usize = agent.model.sessions().map(|session| session.live_tasks()).sum();
    format!("{live} tasks live, {} traces", agent.traces.len())
}

/// A screen full: what runs, and one of the latest traces.
pub fn picture(agent: &Agent, head: &str, elapsed: Duration, length: Duration) -> String {
    let (columns, rows) = show::size();
    let mut lines = wrapped(head, columns, 0);
    let elapsed = elapsed.min(length);
    lines.push(format!("{:.0}s of {:.0}s, {}", elapsed.as_secs_f64(), length.as_secs_f64(), counts(agent)));
    lines.push(String::new());
    // Half for the tasks, half for a trace; the last line stays free for the cursor.
    let room = rows.saturating_sub(lines.len() + 2);
    let groups = agent.model.task_groups(&TaskFilter::default());
    let spawns = groups.iter().take((room / 2).saturating_sub(1).min(SPAWNS)).map(row).collect::<Vec<_>>();
    lines.extend(table(&SPAWN, &spawns, Some(columns)).lines().map(str::to_owned));
    lines.push(String::new());
    let room = rows.saturating_sub(lines.len() + 1);
    if let Some(tree) =
        agent.traces.find(&TraceQuery::default(), 8).iter().max_by_key(|tree| tree.nodes.len())
    {
        let tree = render_trace(tree, columns.min(WIDEST), show::style(false));
        let all: Vec<&str> = tree.lines().collect();
        let shown = if all.len() > room { room.saturating_sub(1) } else { all.len() };
        lines.extend(all[..shown].iter().map(ToString::to_string));
        if shown < all.len() {
            lines.push(format!("and {} more lines", all.len() - shown));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn row(group: &GroupRow) -> Vec<String> {
    vec![
        group.service.to_string(),
        group.label.to_string(),
        group.live.to_string(),
        group.spawned.to_string(),
        (group.totals.busy - group.totals.nested).to_string(),
        group.totals.scheduled.to_string(),
        group.poll_time.max().to_string(),
        short(&group.key.location),
    ]
}

/// A place by its file and the folder that it is in.
fn short(location: &Location) -> String {
    let text = location.to_string();
    let cut = text.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    text[cut..].to_owned()
}

/// Lines of at most so many columns; those after the first begin further right.
fn wrapped(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = text[..text.len() - text.trim_start().len()].to_owned();
    let mut bare = true;
    for word in text.split_whitespace() {
        if !bare && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            bare = true;
        }
        if !bare {
            line.push(' ');
        }
        line.push_str(word);
        bare = false;
    }
    lines.push(line);
    lines
}

/// What was found.
pub fn summary(agent: &mut Agent, done: Option<shop::load::Done>) -> String {
    let columns = show::size().0;
    // Lines are broken for people only.
    let room = if std::io::stdout().is_terminal() { columns } else { usize::MAX };
    let mut found = agent.model.summary(now(), &agent.traces, agent.traces.len().max(MOST));
    // What is still under way shows only a part of itself.
    found.slowest.retain(|slow| agent.traces.get(slow.trace).is_some_and(|tree| tree.orphans() == 0));
    let slowest = slowest_of_each(&found);
    found.worst_polls.retain(|poll| poll.own >= WORTH_TELLING);
    found.longest_scheduled.retain(|wait| wait.scheduled >= WORTH_TELLING);
    let mut text = String::from("\nWhat was found\n==============\n");
    if let Some(done) = done {
        text += &format!("{} requests answered, {} failed\n", done.good, done.failed);
    }
    let mut section = |title: &str, mut lines: Vec<String>, none: &str| {
        if lines.is_empty() && !none.is_empty() {
            lines.push(none.to_owned());
        }
        if lines.is_empty() {
            return;
        }
        text += &format!("\n{title}\n");
        for line in lines.iter().take(MOST).flat_map(|line| wrapped(&format!("  {line}"), room, 4)) {
            text += &line;
            text.push('\n');
        }
    };
    section("Slowest traces, one of each kind", told(&slowest), "no trace was seen");
    section("Worst polls", told(&found.worst_polls), "none held its thread for 1 ms");
    section(
        "Longest waits for a worker",
        told(&found.longest_scheduled),
        "none was ready for 1 ms before it ran",
    );
    section("Panics", told(&found.panicked), "");
    section("Suspects", told(&found.suspects), "");
    section("What was seen of each", seen(agent), "no session was read");
    for slow in slowest.iter().take(TREES) {
        text += &tree(agent, slow.trace, columns);
    }
    text
}

/// How much of it this was made of.
fn seen(agent: &Agent) -> Vec<String> {
    let of = |session: &pollscope_model::Session| {
        let (service, lost) = (session.info().service().to_owned(), session.records().lost());
        let all = session.coverage().into_iter();
        all.map(move |one| format!("{service}: {one}; {lost} records were lost")).collect::<Vec<_>>()
    };
    agent.model.sessions().flat_map(of).collect()
}

fn told<T: ToString>(found: &[T]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

/// Of traces that begin alike the slowest.
fn slowest_of_each(found: &Summary) -> Vec<SlowTrace> {
    let mut each: Vec<SlowTrace> = Vec::new();
    for slow in &found.slowest {
        if !each.iter().any(|known| (&known.name, &known.location) == (&slow.name, &slow.location)) {
            each.push(slow.clone());
        }
    }
    each
}

fn tree(agent: &Agent, trace: TraceId, columns: usize) -> String {
    agent
        .traces
        .get(trace)
        .map(|tree| format!("\n{}", render_trace(&tree, columns.min(WIDEST), show::style(false))))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_go_on_further_right() {
        assert_eq!(wrapped("  one two three", 9, 4), ["  one two", "    three"]);
        assert_eq!(wrapped("short", 20, 4), ["short"]);
        assert_eq!(wrapped("averylongword next", 5, 2), ["averylongword", "  next"]);
    }

    #[test]
    fn a_place_is_its_file_and_one_folder() {
        let at = |file: &str| short(&Location { file: file.into(), line: 7, column: 1 });
        assert_eq!(at("examples/shop/src/net.rs"), "src/net.rs:7");
        assert_eq!(at("net.rs"), "net.rs:7");
    }
}
