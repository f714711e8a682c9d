//! The house stands as ARCHITECTURE.md draws it: its table of crates and imports is compared with cargo's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Imports = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/pollscope-agent is two below the root")
}

/// The table's rows: crate, and what it may import; `None` for "all but ..".
fn drawn() -> BTreeMap<String, Result<BTreeSet<String>, BTreeSet<String>>> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `pollscope"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |list: &str| -> BTreeSet<String> {
            list.split(',').map(str::trim).filter(|name| *name != "nothing").map(full_name).collect()
        };
        let may = match cells[3].strip_prefix("all but ") {
            Some(list) => Err(names(list)),
            None => Ok(names(cells[3])),
        };
        (cells[1].trim_matches('`').to_owned(), may)
    })
    .collect()
}

fn full_name(short: &str) -> String {
    if short.starts_with("pollscope") { short.to_owned() } else { format!("pollscope-{short}") }
}

/// The workspace's packages, as cargo tells them.
fn packages() -> Vec<serde_json::Value> {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The folder of a package, below the root.
fn folder(package: &serde_json::Value) -> String {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

/// What the crates of `crates/` import from one another, tests apart.
fn built() -> Imports {
    let name = |package: &serde_json::Value| package["name"].as_str().unwrap().to_owned();
    packages()
        .iter()
        .filter(|package| folder(package).starts_with("crates/"))
        .map(|package| {
            let imports = package["dependencies"].as_array().unwrap().iter();
            let imports = imports.filter(|import| import["kind"].as_str() != Some("dev")).map(name);
            (name(package), imports.filter(|import| import.starts_with("pollscope")).collect())
        })
        .collect()
}

#[test]
fn every_import_runs_in_the_direction_that_is_drawn() {
    let (drawn, built) = (drawn(), built());
    assert_eq!(drawn.keys().collect::<Vec<_>>(), built.keys().collect::<Vec<_>>(), "crates drawn and built");
    for (name, imports) in &built {
        let wrong: Vec<_> = match &drawn[name] {
            Ok(may) => imports.difference(may).collect(),
            Err(may_not) => imports.intersection(may_not).collect(),
        };
        assert!(wrong.is_empty(), "{name} imports {wrong:?}, which ARCHITECTURE.md does not allow");
    }
}

#[test]
fn unsafe_code_stays_in_the_crates_that_are_named_for_it() {
    let may = ["pollscope-wire", "pollscope"];
    for name in built().keys().filter(|name| !may.contains(&name.as_str())) {
        let source = root().join("crates").join(name).join("src");
        let entry = ["lib.rs", "main.rs"]
            .map(|file| source.join(file))
            .into_iter()
            .find(|path| path.exists())
            .unwrap();
        let text = std::fs::read_to_string(&entry).unwrap();
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{} lacks #![forbid(unsafe_code)]",
            entry.display()
        );
    }
}

/// The README's "Its features".
fn features_page() -> String {
    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, from) = page.split_once("### Its features\n").unwrap();
    from.split("\n#").next().unwrap().to_owned()
}

#[test]
fn the_readme_names_every_feature() {
    let named: BTreeMap<String, bool> = features_page()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let names = cells[1].split(", ").map(|name| name.trim_matches('`').to_owned());
            names.map(|name| (name, cells[2] == "yes")).collect::<Vec<_>>()
        })
        .collect();
    let manifest = std::fs::read_to_string(root().join("crates/pollscope/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let features = manifest["features"].as_table().unwrap();
    let default: BTreeSet<&str> =
        features["default"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let there = features.keys().filter(|name| *name != "default");
    let there: BTreeMap<String, bool> =
        there.map(|name| (name.clone(), default.contains(name.as_str()))).collect();
    assert_eq!(named, there);
}

/// The crates that pollscope brings into a service, but for tokio, tracing and what these need.
fn crates_added(features: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "-q", "-p", "pollscope", "-e", "normal", "--prefix", "depth", "--no-dedupe"])
        .args(features)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let (mut all, mut known, mut below_known) = (BTreeSet::new(), BTreeSet::new(), false);
    for line in String::from_utf8(tree.stdout).unwrap().lines() {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap();
        let (depth, name) = line.split_at(digits);
        let name: Vec<&str> = name.split(' ').take(2).collect();
        if depth == "0" || depth == "1" {
            below_known = ["tokio", "tracing"].contains(&name[0]);
        }
        all.insert(name.join(" "));
        if below_known {
            known.insert(name.join(" "));
        }
    }
    assert!(known.iter().any(|name| name.starts_with("tokio ")), "it stands on tokio");
    all.difference(&known).cloned().collect()
}

#[test]
fn a_service_gets_as_many_crates_as_the_readme_says() {
    let said = features_page().replace('\n', " ");
    for (features, before, after) in [
        (&[][..], "the default features add ", " crates, three of them pollscope's own"),
        (&["--no-default-features"], "Without default features it is ", " crates"),
    ] {
        let number = said.split_once(before).unwrap().1.split_once(after).unwrap().0;
        let added = crates_added(features);
        assert_eq!(number, added.len().to_string(), "with {features:?}: {added:#?}");
    }
}

/// The packages that may be published: eight of them.
fn published() -> Vec<serde_json::Value> {
    let may = |package: &serde_json::Value| package["publish"].is_null();
    let all: Vec<_> = packages().into_iter().filter(may).collect();
    assert_eq!(all.len(), 8);
    all
}

#[test]
fn what_is_published_has_its_licenses_with_it() {
    for package in published() {
        let folder = folder(&package);
        assert_eq!(package["license"], "MIT OR Apache-2.0", "{folder}");
        for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let own = std::fs::read(root().join(&folder).join(license));
            let own = own.unwrap_or_else(|error| panic!("{license} of {folder}: {error}"));
            assert!(own == std::fs::read(root().join(license)).unwrap(), "{license} of {folder}");
        }
    }
}

/// What a registry asks of a package, and shows of it; tests are not built from there.
#[test]
fn what_is_published_can_be() {
    let published = published();
    let names: BTreeSet<&str> = published.iter().map(|package| package["name"].as_str().unwrap()).collect();
    for package in &published {
        let folder = folder(package);
        for key in ["description", "repository", "rust_version"] {
            assert!(package[key].as_str().is_some_and(|text| !text.is_empty()), "{folder} has no {key}");
        }
        let readme = package["readme"].as_str().unwrap_or_else(|| panic!("{folder} has no readme"));
        assert!(root().join(&folder).join(readme).exists(), "{folder}: {readme}");
        for key in ["keywords", "categories"] {
            assert!((1..=5).contains(&package[key].as_array().unwrap().len()), "{key} of {folder}");
        }
        let imports = package["dependencies"].as_array().unwrap().iter();
        for import in imports.filter(|import| !import["path"].is_null() && import["kind"] != "dev") {
            let name = import["name"].as_str().unwrap();
            assert!(names.contains(name), "{folder} needs {name}, which is not published");
            assert_ne!(import["req"], "*", "{folder} needs {name} of some version");
        }
    }
}

/// As Keep a Changelog has it: what is not released first, versions with their dates, each a link; six kinds of change.
#[test]
fn the_changelog_keeps_its_form() {
    let page = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let is_date = |date: &str| date.split('-').map(str::len).eq([4, 2, 2]);
    let mut versions = Vec::new();
    for line in page.lines() {
        if let Some(version) = line.strip_prefix("## ") {
            let (name, date) = version.strip_prefix('[').unwrap().split_once(']').unwrap();
            let dated = date.strip_prefix(" - ").is_some_and(is_date);
            assert!(if name == "Unreleased" { date.is_empty() } else { dated }, "{line}");
            assert!(page.contains(&format!("\n[{name}]: https://")), "{name} is no link");
            versions.push(name);
        } else if let Some(kind) = line.strip_prefix("### ") {
            let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
            assert!(kinds.contains(&kind) && !versions.is_empty(), "{line}");
        }
    }
    assert_eq!(versions.first(), Some(&"Unreleased"));
}
