//! SPEC.md says what the code does: each table under a heading with a module's or enum's name holds just that
//! one's constants, and the bodies of records have as many words as their encoders write.
#![cfg(not(loom))]

use pollscope_wire::layout::{self, SECTIONS};
use pollscope_wire::record::{Birth, Job, Poll, SpanEnd, SpanOpen, TaskEnd};
use pollscope_wire::{hist, ids::Who, layout::Counter, request};
use std::collections::BTreeMap;

const SPEC: &str = include_str!("../SPEC.md");
const SOURCES: [(&str, &str); 2] =
    [("layout", include_str!("../src/layout.rs")), ("record", include_str!("../src/record.rs"))];
/// Constants that say how large a thing is, not where it stands.
const SIZES: [&str; 3] = ["WORDS", "RING_WORDS", "HEAD_WORDS"];

type Constants = BTreeMap<String, u64>;

/// `12`, `1 << 3`, `16 + 2 * BUCKETS`.
fn evaluate(expression: &str) -> u64 {
    let term = |text: &str| -> u64 {
        let factors = text.split('*').map(|factor| match factor.trim() {
            "BUCKETS" => hist::BUCKETS as u64,
            number => number.parse().unwrap_or_else(|_| panic!("`{expression}` is more than this reads")),
        });
        factors.product()
    };
    match expression.split_once("<<") {
        Some((base, shift)) => term(base) << term(shift),
        None => expression.split('+').map(term).sum(),
    }
}

/// The constants of each public module and numbered enum of a source, by `source::name`.
fn constants() -> BTreeMap<String, Constants> {
    let mut all = BTreeMap::new();
    for (source, text) in SOURCES {
        let mut open: Option<(String, bool, Constants)> = None;
        for line in text.lines() {
            if line == "}" {
                if let Some((name, _, constants)) = open.take()
                    && !constants.is_empty()
                {
                    all.insert(format!("{source}::{name}"), constants);
                }
            } else if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(" {"))
            {
                open = Some((name.to_owned(), true, Constants::new()));
            } else if let Some(name) = line.strip_prefix("pub enum ").and_then(|rest| rest.strip_suffix(" {"))
            {
                open = Some((name.to_owned(), false, Constants::new()));
            } else if let Some((_, module, constants)) = &mut open {
                let line = line.trim();
                let pair = if *module {
                    line.strip_prefix("pub const ")
                        .and_then(|rest| rest.split_once(':'))
                        .and_then(|(name, rest)| Some((name, rest.split_once('=')?.1.trim_end_matches(';'))))
                } else {
                    line.strip_suffix(',').and_then(|rest| rest.split_once(" = "))
                };
                if let Some((name, value)) = pair
                    && !SIZES.contains(&name)
                {
                    constants.insert(name.to_owned(), evaluate(value));
                }
            }
        }
    }
    all
}

/// The cells of each row of the first table below a heading that ends with `ending`.
fn table(ending: &str) -> Vec<Vec<String>> {
    let mut lines = SPEC.lines().skip_while(|line| !(line.starts_with('#') && line.ends_with(ending)));
    assert!(lines.next().is_some(), "no heading ends with `{ending}`");
    let rows = lines
        .take_while(|line| !line.starts_with('#'))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let row = row.replace("\\|", "¦");
        row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    rows.skip(2).map(cells).collect()
}

#[test]
fn every_table_holds_the_constants_of_its_module() {
    let all = constants();
    assert!(all.len() > 20, "{:?}", all.keys());
    for (name, constants) in &all {
        let mut told = Constants::new();
        for row in table(&format!("(`{name}`)")) {
            let value: u64 = row[0].parse().unwrap();
            let words = row.len() == 4;
            if words {
                assert_eq!(row[1].parse::<u64>().unwrap(), value * 8, "{name}: byte of word {value}");
            }
            let before = told.insert(row[if words { 2 } else { 1 }].clone(), value);
            assert_eq!(before, None, "{name} tells {row:?} twice");
        }
        assert_eq!(&told, constants, "{name}: SPEC.md on the left, the source on the right");
    }
}

#[test]
fn the_source_is_read_as_the_compiler_reads_it() {
    let all = constants();
    assert_eq!(all["layout::row"]["SECOND_HISTOGRAM"], layout::row::SECOND_HISTOGRAM as u64);
    assert_eq!(all["layout::task"]["RUNTIME"], layout::task::RUNTIME as u64);
    assert_eq!(all["record::span"]["IDS_LATER"], pollscope_wire::record::span::IDS_LATER as u64);
    assert_eq!(all["layout::Section"]["Runtimes"], layout::Section::Runtimes as u64);
}

#[test]
fn sections_are_as_large_as_told() {
    let told: Vec<Vec<String>> = SPEC
        .lines()
        .skip_while(|line| !line.starts_with("| section "))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect();
    let made: Vec<Vec<String>> = SECTIONS
        .iter()
        .map(|(kind, stride, count)| vec![format!("{kind:?}"), stride.to_string(), count.to_string()])
        .collect();
    assert_eq!(told, made);
}

#[test]
fn bodies_have_as_many_words_as_are_written() {
    // The last row's word, and that the rows between go up: a row "to word n" stands for several.
    let words = |kind: &str| {
        let rows: Vec<usize> =
            table(&format!("Body of `{kind}`")).iter().map(|row| row[0].parse().unwrap()).collect();
        assert!(rows.is_sorted_by(|a, b| a < b) && rows[0] == 0, "{kind}: {rows:?}");
        rows.last().unwrap() + 1
    };
    assert_eq!(words("POLL"), Poll::default().encode_short().1.len());
    assert_eq!(words("TASK_BIRTH"), Birth::default().encode().len());
    assert_eq!(words("TASK_END"), TaskEnd::default().encode().1.len());
    assert_eq!(words("JOB"), Job::default().encode().1.len());
    assert_eq!(words("SPAN_OPEN"), SpanOpen::default().encode().len());
    assert_eq!(words("SPAN_END"), SpanEnd::default().encode().1.len());
}

#[test]
fn numbers_told_in_prose_are_those_of_the_code() {
    for told in [
        format!("version {}.{}", layout::ABI_MAJOR, layout::ABI_MINOR),
        format!("{} bytes of header", layout::HEADER_BYTES),
        format!("whole blocks of {} bytes", layout::BLOCK_BYTES),
        format!("Records follow from word {}", layout::BLOCK_HEADER_WORDS),
        format!("at most {} bytes", layout::LONGEST_TEXT),
        format!("{} buckets, one word each", hist::BUCKETS),
        format!("{} slots of {} words, {} bytes", request::SLOTS, request::WORDS, request::BYTES),
        format!("Slot {} means", pollscope_wire::ids::NO_SLOT),
        format!("at most {}.", pollscope_wire::record::VALUE_MAX),
    ] {
        assert!(SPEC.contains(&told), "SPEC.md does not say `{told}`");
    }
}

#[test]
fn wakers_have_the_kinds_told() {
    let rows: Vec<&str> =
        SPEC.lines().skip_while(|line| !line.starts_with("| kind | name")).skip(2).collect();
    let kinds =
        [0, Who::TASK, Who::DRIVER, Who::THREAD, Who::ITSELF, Who::YIELD, Who::COMPLETING, Who::DROPPING];
    let names = ["UNKNOWN", "TASK", "DRIVER", "THREAD", "ITSELF", "YIELD", "COMPLETING", "DROPPING"];
    for (row, (kind, name)) in rows.iter().zip(kinds.iter().zip(names)) {
        assert!(row.starts_with(&format!("| {kind}    | `{name}`")), "{row}");
    }
    assert_eq!(Who::UNKNOWN, Who::new(0, 0));
}

#[test]
fn every_kind_of_record_has_a_body_or_needs_none() {
    for row in table("(`record::kind`)") {
        let bare: bool = ["PAD", "TICK", "MORE"].contains(&row[1].as_str());
        assert!(bare || !table(&format!("Body of `{}`", row[1])).is_empty());
    }
    assert_eq!(table("(`layout::Counter`)").len(), Counter::NAMES.len());
}
