//! Tables and trees for the terminal.

use crate::cli::{SessionsArgs, TracesArgs};
use crate::json;
use crate::missing;
use crate::observe::{Observed, now, vanished};
use crate::table::{Column, table};
use anyhow::{Result, bail};
use pollscope_collect::{SessionStatus, State};
use pollscope_model::render::{Style, render_trace};
use pollscope_model::text::{clean, fit};
use pollscope_model::traces::{TraceQuery, TraceTree};
use pollscope_model::view::{TaskList, TaskRow};
use pollscope_model::{Nanos, Session};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// Columns to fill, and how.
pub fn style(ascii: bool) -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    // Without any locale a terminal of today still shows UTF-8; `C` and `POSIX` say that it may not.
    let plain = locale.is_some_and(|name| name == "C" || name == "POSIX");
    Style { unicode: !ascii && !plain, color: stdout().is_terminal() && !no_color }
}

/// The columns to fill, 100 where nothing says how many there are.
pub fn columns() -> usize {
    room().unwrap_or(100)
}

/// The columns that a line may take, where `COLUMNS` or a terminal says so.
pub fn room() -> Option<usize> {
    said("COLUMNS").or(terminal().map(|(columns, _)| columns))
}

/// The terminal's columns and rows, 100 and 40 where there is none.
pub fn size() -> (usize, usize) {
    let rows = said("LINES").or(terminal().map(|(_, rows)| rows));
    (columns(), rows.unwrap_or(40))
}

fn said(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok().filter(|said| *said > 0)
}

fn terminal() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Puts a picture in the place of the one before, without a moment of nothing between them. What does not fit the
/// terminal is cut; the last line stays free for the cursor.
pub fn redrawn(picture: &str) -> String {
    let rows = size().1.saturating_sub(1);
    let lines: String = picture.lines().take(rows).map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// Says something on standard error. Outside names give the terminal no orders; a line break stays, for errors
/// that show where in a file they are.
pub fn say(text: std::fmt::Arguments<'_>) {
    let text: Vec<String> = text.to_string().split('\n').map(clean).collect();
    tell(&format!("pollscope: {}\n", text.join("\n")));
}

/// Writes to standard error. Nobody may listen there any more: that is no reason to end.
fn tell(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// Writes to standard output, now.
pub fn write(text: &str) -> std::io::Result<()> {
    stdout().write_all(text.as_bytes())?;
    stdout().flush()
}

/// Prints, and takes a closed pipe as the reader's wish to see no more.
pub fn print(text: &str) -> Result<()> {
    match write(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Of a session that is over: when that was, and what its threads were in the middle of.
fn last_moment(session: &Session) -> Vec<String> {
    let Some((how, at)) = session.ended() else { return Vec::new() };
    let service = session.info().service();
    let ago = now().since(at);
    let (pid, how) = (session.info().pid, json::state(State::Over(how)));
    let mut said = vec![format!("{service} (pid {pid}) {how} {ago} ago; this is how it stood then")];
    said.extend(session.polls_now(now()).into_iter().map(|poll| {
        let task = poll.label.map_or_else(|| format!("task {}", poll.task.0), |label| format!("`{label}`"));
        format!(
            "{service}: thread {} ({}) was {} into a poll of {task}",
            poll.thread, poll.os_id, poll.length
        )
    }));
    said
}

/// What stands below a table: how a session that is over stood, coverage, tasks that are not recorded, and records that were lost.
fn notes(observed: &Observed) -> Vec<String> {
    let mut notes = Vec::new();
    for session in observed.model.sessions() {
        let service = session.info().service();
        notes.extend(last_moment(session));
        let all = session.coverage();
        if all.is_empty() {
            notes.push(format!("{service}: no runtime has said how many tasks are alive"));
        }
        for coverage in all {
            let rest = if coverage.unseen() > 0 { "; the rest is spawned without pollscope" } else { "" };
            notes.push(format!("{service}: {coverage}{rest}"));
        }
        let vanished = vanished(session);
        if vanished > 0 {
            notes.push(format!(
                "{service}: {vanished} tasks vanished: they are over, but how they ended was lost"
            ));
        }
    }
    for status in observed.sessions() {
        let service = status.info.service();
        let lost: u64 = status.lost.iter().sum();
        if lost > 0 {
            let [polls, ends, others] = status.lost;
            notes.push(format!(
                "{service}: {lost} records were overwritten before they were read ({polls} polls, {ends} span ends, {others} others)"
            ));
        }
        notes.extend(status.refused.iter().map(|(name, count)| format!("{service}: {name}: {count}")));
    }
    notes
}

/// Directories that cannot be read as sessions.
fn refused(observed: &Observed) -> impl Iterator<Item = String> {
    observed.refused.iter().map(|(path, why)| format!("{}: {why}", path.display()))
}

/// Lines with outside names in them: none of these breaks its line.
fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| clean(&line) + "\n").collect()
}

/// Where no session was found.
pub fn nothing_found(observed: &Observed) -> String {
    let reasons = missing::reasons(observed);
    if !reasons.is_empty() {
        return lines(reasons);
    }
    let dirs: Vec<String> = observed.collector.dirs().iter().map(|dir| dir.display().to_string()).collect();
    lines([format!("no session found in {}; `pollscope doctor` says why", dirs.join(", "))])
}

/// How a verb ends that had nothing to show: says so on standard error, whatever it printed.
pub fn nothing(why: &str) -> ExitCode {
    tell(why);
    ExitCode::FAILURE
}

const TASKS: [Column; 10] = [
    Column::name("SERVICE", 8, 14),
    Column::name("TASK", 12, 26),
    Column::words("STATE"),
    Column::number("BUSY").goes(1),
    Column::number("SCHED").goes(3),
    Column::number("IDLE").goes(4),
    Column::number("POLLS").goes(5),
    Column::number("WAKES").goes(7),
    Column::number("AGE").goes(6),
    Column::place("SPAWNED AT", 14, 34).goes(2),
];

/// Live tasks as JSON.
pub fn tasks_json(observed: &Observed, list: &TaskList) -> String {
    let rows: Vec<_> = list.rows.iter().map(json::task).collect();
    json::answer(observed, serde_json::json!({"live": list.live, "matching": list.matching, "tasks": rows}))
}

/// Live tasks as a table, in at most `height` lines.
pub fn tasks(observed: &Observed, list: &TaskList, height: Option<usize>) -> String {
    let now = now();
    let mut notes = notes(observed);
    if let Some(height) = height {
        notes.truncate(height / 3);
        let room = columns();
        notes.iter_mut().for_each(|note| *note = fit(&clean(note), room));
    }
    // Beside the notes there are the head, and what is said of rows and columns left out.
    let most = height.map_or(usize::MAX, |height| height.saturating_sub(notes.len() + 3));
    let shown = list.rows.len().min(most);
    let row = |row: &TaskRow| {
        vec![
            row.service.to_string(),
            row.label().to_owned(),
            format!("{} {}", json::doing(row.doing).0, row.since(now)),
            row.totals.busy.to_string(),
            row.totals.scheduled.to_string(),
            row.totals.idle.to_string(),
            row.totals.polls.to_string(),
            row.totals.wakes.to_string(),
            row.age.to_string(),
            row.location.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = list.rows[..shown].iter().map(row).collect();
    let mut text = table(&TASKS, &rows, room());
    if list.matching > shown {
        let how = if shown < list.rows.len() { "more lines show" } else { "--limit shows" };
        text += &format!("{shown} of {} tasks; {how} more\n", list.matching);
    }
    text + &lines(notes)
}

const SESSIONS: [Column; 10] = [
    Column::name("SERVICE", 8, usize::MAX),
    Column::number("PID"),
    Column::words("STATE"),
    Column::number("AGE").goes(2),
    Column::number("TASKS"),
    Column::number("COVERED").goes(4),
    Column::number("RECORDS").goes(1),
    Column::number("LOST"),
    Column::number("SIZE").goes(3),
    Column::name("SESSION", 12, usize::MAX),
];

/// `pollscope sessions`.
pub fn sessions(arguments: &SessionsArgs) -> Result<ExitCode> {
    let mut observed = Observed::new(&arguments.which);
    observed.look();
    let all = observed.sessions();
    if arguments.json {
        print(&json::answer(&observed, serde_json::json!({})))?;
    } else if !all.is_empty() {
        print(&sessions_table(&observed, &all))?;
    }
    Ok(if all.is_empty() { nothing(&nothing_found(&observed)) } else { ExitCode::SUCCESS })
}

fn sessions_table(observed: &Observed, all: &[SessionStatus]) -> String {
    let now = now();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|status| {
            let lost: u64 = status.lost.iter().sum();
            let total = lost + status.read.iter().sum::<u64>();
            let session = observed.model.session(status.id);
            let tasks = session.map_or(0, |session| session.live_tasks());
            let covered = session.and_then(covered);
            vec![
                status.info.service().to_owned(),
                status.info.pid.to_string(),
                json::state(status.state).to_owned(),
                now.since(status.info.started).to_string(),
                tasks.to_string(),
                covered.unwrap_or_else(|| "?".to_owned()),
                total.to_string(),
                lost.to_string(),
                format!("{:.1} MiB", status.bytes as f64 / (1 << 20) as f64),
                status.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            ]
        })
        .collect();
    table(&SESSIONS, &rows, room()) + &lines(refused(observed))
}

/// Tasks recorded of tasks alive on its runtimes; `None`: none has said how many are.
fn covered(session: &Session) -> Option<String> {
    let all = session.coverage();
    let told: Vec<_> = all.iter().filter_map(|one| Some((one.recorded, one.alive?))).collect();
    let sum = |(r, a): (u64, u64), (recorded, alive): &(u64, u64)| (r + recorded, a + *alive.max(recorded));
    let (recorded, alive) = told.iter().fold((0, 0), sum);
    (!told.is_empty()).then(|| format!("{recorded} of {alive}"))
}

/// `pollscope traces`.
pub fn traces(arguments: &TracesArgs) -> Result<ExitCode> {
    let mut observed = Observed::new(&arguments.which);
    observed.look();
    let trees: Vec<TraceTree> = match &arguments.trace {
        Some(digits) => observed.traces.by_prefix(digits),
        None => {
            let query = TraceQuery {
                service: None,
                min: arguments.min.map(|min| Nanos(min.as_nanos() as u64)),
                errors: arguments.errors,
                slowest: arguments.slowest.is_some(),
            };
            observed.traces.find(&query, arguments.slowest.map_or(arguments.limit, NonZeroUsize::get))
        }
    };
    let found = trees.len();
    let narrow = arguments.min.is_some() || arguments.errors;
    if arguments.json {
        let trees: Vec<_> = trees.iter().map(json::trace).collect();
        print(&json::answer(&observed, serde_json::json!({ "traces": trees })))?;
    }
    if observed.sessions().is_empty() {
        return Ok(nothing(&nothing_found(&observed)));
    }
    if let (true, Some(trace)) = (found == 0, &arguments.trace) {
        bail!("no trace {trace} stands in the rings: it may have been overwritten, or never recorded");
    }
    if found == 0 {
        let which = if narrow { "such trace" } else { "trace" };
        return Ok(nothing(&format!(
            "no {which} stands in the rings; `pollscope doctor` says what may be missing\n"
        )));
    }
    if arguments.json {
        return Ok(ExitCode::SUCCESS);
    }
    let style = style(arguments.ascii);
    let width = arguments.width.unwrap_or_else(columns);
    let mut text = String::new();
    for tree in &trees {
        text += &render_trace(tree, width, style);
        text.push('\n');
    }
    text += &lines(notes(&observed));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
