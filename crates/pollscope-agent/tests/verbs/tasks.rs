//! `pollscope tasks`: the table, its orders, JSON, and names that would spoil it.

use crate::support::{Asked, ask, pollscope, service, service_with, wait_for};
use pollscope_testkit::Place;
use std::io::Read;
use std::process::Stdio;

/// The names in the table's second column, from the top.
fn order(place: &Place, sort: &str) -> Vec<String> {
    let json = ask(place, &["tasks", "--json", "--sort", sort]).json();
    let tasks = json["tasks"].as_array().unwrap().iter();
    tasks.filter_map(|task| task["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn every_live_task_has_a_row() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let asked = ask(&place, &["tasks"]);
    assert_eq!(asked.code, Some(0));
    let head: Vec<&str> = asked.out.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        ["SERVICE", "TASK", "STATE", "BUSY", "SCHED", "IDLE", "POLLS", "WAKES", "AGE", "SPAWNED", "AT"]
    );
    let blocker: Vec<&str> = asked.line("blocker").split_whitespace().collect();
    assert_eq!(&blocker[..3], ["till", "blocker", "idle"]);
    let busy: f64 = blocker[4].strip_suffix("ms").expect("milliseconds").parse().unwrap();
    assert!((30.0..1000.0).contains(&busy), "{busy} ms: it blocked for 30");
    assert_eq!(blocker[7], "1", "polls: {blocker:?}");
    assert!(blocker.last().unwrap().contains("service.rs:"));
}

#[test]
fn rows_stand_in_the_order_that_was_asked_for() {
    let place = Place::new();
    let _service = service(&place, "calm");
    assert_eq!(order(&place, "busy")[..2], ["blocker", "waiter"]);
    assert_eq!(order(&place, "idle")[..2], ["waiter", "blocker"]);
    assert_eq!(order(&place, "name")[..2], ["blocker", "waiter"]);
    assert_eq!(order(&place, "age")[..2], ["waiter", "blocker"], "oldest first");
    for sort in ["state", "scheduled", "polls", "wakes"] {
        assert_eq!(order(&place, sort).len(), 2);
    }
}

#[test]
fn json_has_times_in_nanoseconds_and_ids() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let json = ask(&place, &["tasks", "--json"]).json();
    let tasks = json["tasks"].as_array().unwrap();
    assert_eq!(json["live"].as_u64().unwrap(), tasks.len() as u64);
    let blocker = tasks.iter().find(|task| task["name"] == "blocker").unwrap();
    let number = |key: &str| blocker[key].as_u64().unwrap_or_else(|| panic!("no {key} in {blocker}"));
    assert!(number("busy") >= 30_000_000 && number("busy") < 1_000_000_000);
    assert!(number("age") >= number("busy") + number("idle") + number("scheduled"));
    assert_eq!((number("polls"), number("wakes")), (1, 0));
    assert!(number("size") > 0 && number("id") > 0);
    assert_eq!(blocker["state"], "idle");
    assert!(blocker["future"].as_str().unwrap().contains("calm"), "{blocker}");
}

#[test]
fn names_cannot_spoil_the_table() {
    let place = Place::new();
    let _service = service(&place, "names");
    let asked = ask(&place, &["tasks"]);
    assert!(!asked.out.contains(['\x1b', '\x07']), "a name gives the terminal no orders");
    assert!(asked.line("clear").contains("?[2J?clear"));
    assert!(asked.line("longlong").contains("…"), "cut, and said so");
    // All places stand one below the other, however wide the names.
    let asked_json = ask(&place, &["tasks", "--json"]).json();
    let tasks = asked_json["tasks"].as_array().unwrap();
    assert!(tasks.iter().any(|task| task["name"] == "\x1b[2J\x07clear"), "JSON has it as it is");
    let wide = |line: &str| -> usize {
        let before = &line[..line.find("idle").unwrap()];
        before.chars().map(|c| if c > '\u{1100}' && c != '…' { 2 } else { 1 }).sum()
    };
    let columns: Vec<usize> = asked.out.lines().filter(|line| line.contains(" idle ")).map(wide).collect();
    assert!(columns.len() >= 4 && columns.iter().all(|column| *column == columns[0]), "{}", asked.out);
}

#[test]
fn a_limit_says_what_it_left_out() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let asked = ask(&place, &["tasks", "--limit", "1", "--sort", "busy"]);
    assert!(asked.out.lines().nth(1).unwrap().contains("blocker"));
    assert!(asked.line("--limit").starts_with("1 of "), "{asked:?}");
}

#[test]
fn tasks_beside_pollscope_are_said_to_be_there() {
    let place = Place::new();
    let _service = service(&place, "uncovered");
    let said = wait_for("the number of tasks alive", || {
        let asked = ask(&place, &["tasks"]);
        asked.out.lines().find(|line| line.contains("are recorded")).map(str::to_owned)
    });
    assert!(said.starts_with("till: ") && said.contains("of 1"), "{said}");
}

#[test]
fn tasks_whose_ends_were_lost_are_told() {
    let place = Place::new();
    let _service = service_with(&place, "vanishing", &[("POLLSCOPE_RING_BYTES", "65536")]);
    let asked = ask(&place, &["tasks"]);
    let told = asked.line(" vanished: ").split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(told >= 10, "{asked:?}");
    assert!(!asked.out.contains("short"), "they are over: {asked:?}");
    let json = ask(&place, &["tasks", "--json"]).json();
    assert!(json["sessions"][0]["vanished"].as_u64().unwrap() >= 10, "{json}");
    let other = Place::new();
    let _calm = service(&other, "calm");
    assert!(!ask(&other, &["tasks"]).out.contains("vanished"));
}

#[test]
fn watching_goes_on_until_it_is_told_to_stop() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let mut command = pollscope(&["tasks", "--watch", "--dir", place.path().to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    // Two tables, one second apart.
    while String::from_utf8_lossy(&seen).matches("SERVICE").count() < 2 {
        let mut part = [0; 4096];
        let n = out.read(&mut part).unwrap();
        assert!(n > 0, "it ended by itself");
        seen.extend_from_slice(&part[..n]);
    }
    crate::support::signal(child.id(), "INT");
    let status = wait_for("the end", || child.try_wait().unwrap());
    assert!(status.success());
    assert!(!seen.contains(&0x1b), "no orders to a terminal that is none");
}

/// Columns that a line takes; the tests' names have characters of one and of two.
fn wide(line: &str) -> usize {
    line.chars().map(|c| if ('\u{1100}'..'\u{ff00}').contains(&c) && c != '…' { 2 } else { 1 }).sum()
}

#[test]
fn tables_keep_to_the_columns_that_there_are() {
    let place = Place::new();
    let name = "a-service-with-a-name-that-is-longer-than-any-table-has-room-for";
    let _service = service_with(&place, "names", &[("OTEL_SERVICE_NAME", name)]);
    let at = |verb: &str, columns: &str| {
        let mut command = pollscope(&[verb, "--dir", place.path().to_str().unwrap()]);
        Asked::of(command.env("COLUMNS", columns).output().unwrap())
    };
    for (verb, columns) in [("tasks", 80), ("tasks", 40), ("sessions", 80), ("sessions", 60)] {
        let asked = at(verb, &columns.to_string());
        assert!(asked.line("a-servi").contains('…'), "{asked:?}");
        // What is said below the table is prose, which a terminal may break.
        let mut table = asked.out.lines().filter(|line| !line.contains("are recorded"));
        assert!(table.all(|line| wide(line) <= columns), "{verb} at {columns}: {}", asked.out);
    }
    let narrow = at("tasks", "80");
    assert!(narrow.line("more columns have").contains("WAKES"), "{narrow:?}");
    assert!(narrow.line("longlong").contains("service.rs:"), "where it is stays: {narrow:?}");
    assert!(!at("tasks", "200").out.contains("more columns"));
    let piped = ask(&place, &["sessions"]);
    assert!(piped.out.contains(name), "nothing is cut where nobody says how wide a line is: {piped:?}");
}

#[test]
fn watching_in_a_terminal_redraws_in_place_and_in_its_height() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let place = Place::new();
    let _service = service(&place, "uncovered");
    let _other = service(&place, "names");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let out = std::fs::OpenOptions::new().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 8, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&out, size).unwrap();
    let mut command = pollscope(&["tasks", "--watch", "--dir", place.path().to_str().unwrap()]);
    let mut child = command.env_remove("LINES").stdout(out).spawn().unwrap();
    drop(command);
    let mut terminal = std::fs::File::from(terminal);
    let mut seen = String::new();
    while seen.matches("\x1b[J").count() < 2 {
        let mut part = [0; 4096];
        let n = terminal.read(&mut part).unwrap();
        seen += &String::from_utf8_lossy(&part[..n]);
    }
    crate::support::signal(child.id(), "INT");
    assert!(wait_for("the end", || child.try_wait().unwrap()).success());
    assert!(seen.starts_with("\x1b[H") && !seen.contains("\x1b[2J"), "{seen:?}");
    for picture in seen.split("\x1b[H").skip(1) {
        let picture = picture.replace("\x1b[K", "").replace("\x1b[J", "");
        assert!(picture.lines().count() < 8, "the last line is the cursor's: {picture}");
        assert!(picture.lines().all(|line| wide(line) <= 70), "{picture}");
        assert!(picture.contains("SERVICE") && picture.contains(" tasks; more lines show more"), "{picture}");
        assert!(!picture.contains('\x1b'), "{picture:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new();
    let _service = service(&place, "calm");
    let mut command = pollscope(&["tasks", "--watch", "--dir", place.path().to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = wait_for("the end", || child.try_wait().unwrap());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}
