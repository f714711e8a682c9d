//! The table of variables at [`pollscope::Config`] is whole: what is read stands in it, and what stands in it is
//! read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of variables that stand between two `mark`s.
fn names(text: &str, mark: char) -> Vec<String> {
    let is_name = |text: &&str| {
        (text.starts_with("POLLSCOPE") || text.starts_with("OTEL_"))
            && text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    text.split(mark).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_variable_that_is_read_stands_in_the_table_and_the_other_way_round() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&here.join("src"), &mut files);
    sources(&here.join("../pollscope-wire/src"), &mut files);
    let mut read = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source can be read");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        read.extend(lines.flat_map(|line| names(line, '"')));
    }
    let config = std::fs::read_to_string(here.join("src/config.rs")).expect("a source can be read");
    let rows = config.lines().filter_map(|line| line.strip_prefix("/// | ")?.split('|').next());
    let told: BTreeSet<String> = rows.flat_map(|cell| names(cell, '`')).collect();
    assert!(read.len() >= 10, "the sources are read: {read:?}");
    assert_eq!(read, told);
}
