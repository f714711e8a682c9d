//! Tables and trees for the terminal.

use crate::cli::{SessionsArgs, TracesArgs};
use crate::json;
use crate::observe::{Observed, now, vanished};
use anyhow::{Result, bail};
use pollscope_collect::SessionStatus;
use pollscope_model::Nanos;
use pollscope_model::render::{Style, render_trace};
use pollscope_model::text::{self, clean, fit, fit_left};
use pollscope_model::traces::{TraceQuery, TraceTree};
use pollscope_model::view::TaskList;
use std::io::{IsTerminal, Write, stdout};
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

/// The terminal's columns, 100 where there is none.
pub fn columns() -> usize {
    size().0
}

/// The terminal's columns and rows, 100 and 40 where there is none.
pub fn size() -> (usize, usize) {
    let said = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let asked =
        rustix::termios::tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let asked = asked.map_or((100, 40), |size| (size.ws_col.into(), size.ws_row.into()));
    (said("COLUMNS").unwrap_or(asked.0), said("LINES").unwrap_or(asked.1))
}

/// Puts a picture in the place of the one before, without a moment of nothing between them.
pub fn redraw(picture: &str) -> std::io::Result<()> {
    let lines: String = picture.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    write(&format!("\x1b[H{lines}\x1b[J"))
}

/// Clears the terminal, if it is one.
pub fn clear_screen() {
    if stdout().is_terminal() {
        print!("\x1b[H\x1b[2J");
    }
}

/// Says something on standard error. Outside names give the terminal no orders; a line break stays, for errors
/// that show where in a file they are.
pub fn say(text: std::fmt::Arguments<'_>) {
    let text: Vec<String> = text.to_string().split('\n').map(clean).collect();
    eprintln!("pollscope: {}", text.join("\n"));
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

/// Rows in columns that are as wide as they need to be; the columns named in `right` are set to the right.
pub fn table(head: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| text::columns(&row[column]));
        cells.chain([text::columns(head[column])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        let mut out = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let gap = widths[column] - text::columns(cell);
            let pad = " ".repeat(gap);
            out += &if right.contains(&column) { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        text += out.trim_end();
        text.push('\n');
    };
    line(head);
    for row in &rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

/// What stands below a table: tasks that are not recorded, and records that were lost.
fn notes(observed: &Observed) -> Vec<String> {
    let mut notes = Vec::new();
    for session in observed.model.sessions() {
        let service = session.info().service();
        for coverage in session.coverage() {
            let Some(alive) = coverage.alive.filter(|alive| *alive > coverage.recorded) else { continue };
            notes.push(format!(
                "{service}: {} of {alive} tasks on runtime {} are recorded; the rest is spawned without pollscope",
                coverage.recorded, coverage.runtime
            ));
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
    let dirs: Vec<String> = observed.collector.dirs().iter().map(|dir| dir.display().to_string()).collect();
    let none = format!("no session found in {}; `pollscope doctor` says why", dirs.join(", "));
    lines([none].into_iter().chain(refused(observed)))
}

/// How a verb ends that had nothing to show: says so on standard error, whatever it printed.
pub fn nothing(why: &str) -> ExitCode {
    eprint!("{why}");
    ExitCode::FAILURE
}

/// Prints live tasks.
pub fn tasks(observed: &Observed, list: &TaskList, as_json: bool) -> Result<()> {
    if as_json {
        let rows: Vec<_> = list.rows.iter().map(json::task).collect();
        let asked = serde_json::json!({"live": list.live, "matching": list.matching, "tasks": rows});
        return print(&json::answer(observed, asked));
    }
    let now = now();
    let rows: Vec<Vec<String>> = list
        .rows
        .iter()
        .map(|row| {
            let (state, _) = json::doing(row.doing);
            vec![
                fit(&row.service, 14),
                fit(row.label(), 26),
                format!("{state} {}", row.since(now)),
                row.totals.busy.to_string(),
                row.totals.scheduled.to_string(),
                row.totals.idle.to_string(),
                row.totals.polls.to_string(),
                row.totals.wakes.to_string(),
                row.age.to_string(),
                fit_left(&row.location.to_string(), 34),
            ]
        })
        .collect();
    let names = ["SERVICE", "TASK", "STATE", "BUSY", "SCHED", "IDLE", "POLLS", "WAKES", "AGE", "SPAWNED AT"];
    let mut text = table(&names, &[3, 4, 5, 6, 7, 8], &rows);
    if list.matching > list.rows.len() {
        text += &format!("{} of {} tasks; --limit shows more\n", list.rows.len(), list.matching);
    }
    text += &lines(notes(observed));
    print(&text)
}

/// `pollscope sessions`.
pub fn sessions(arguments: &SessionsArgs) -> Result<ExitCode> {
    let mut observed = Observed::new(&arguments.which);
    observed.look();
    let all = observed.sessions();
    // That there is none is an answer, unless some were asked for.
    let chosen = arguments.which.service.is_some() || arguments.which.session.is_some();
    if arguments.json {
        print(&json::answer(&observed, serde_json::json!({})))?;
    } else if !all.is_empty() {
        print(&sessions_table(&observed, &all))?;
    } else if !chosen {
        print(&nothing_found(&observed))?;
    }
    let none = all.is_empty() && chosen;
    Ok(if none { nothing(&nothing_found(&observed)) } else { ExitCode::SUCCESS })
}

fn sessions_table(observed: &Observed, all: &[SessionStatus]) -> String {
    let now = now();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|status| {
            let lost: u64 = status.lost.iter().sum();
            let total = lost + status.read.iter().sum::<u64>();
            let tasks = observed.model.session(status.id).map_or(0, |session| session.live_tasks());
            vec![
                status.info.service().to_owned(),
                status.info.pid.to_string(),
                json::state(status.state).to_owned(),
                now.since(status.info.started).to_string(),
                tasks.to_string(),
                total.to_string(),
                lost.to_string(),
                format!("{:.1} MiB", status.bytes as f64 / (1 << 20) as f64),
                status.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            ]
        })
        .collect();
    let names = ["SERVICE", "PID", "STATE", "AGE", "TASKS", "RECORDS", "LOST", "SIZE", "SESSION"];
    table(&names, &[1, 3, 4, 5, 6, 7], &rows) + &lines(refused(observed))
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
            observed.traces.find(&query, arguments.slowest.unwrap_or(arguments.limit))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1000".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &[1], &rows), "NAME     N\na        1\nlong  1000\n");
    }
}
