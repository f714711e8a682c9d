//! The README shows this service whole.

#[test]
fn the_readme_shows_this_service_whole() {
    let letters = |text: &str| text.split_whitespace().collect::<String>();
    let source = include_str!("../src/main.rs");
    let code: Vec<&str> = source.lines().filter(|line| !line.starts_with("//!")).collect();
    let readme = include_str!("../../../README.md");
    let shown = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole = letters(&code.join("\n"));
    assert!(whole.contains("#[pollscope::main"), "there is a service");
    // Lines may be broken elsewhere.
    assert!(shown.into_iter().any(|block| letters(block) == whole), "no block of the README is this service");
}
