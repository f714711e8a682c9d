//! Names and paths as a terminal can show them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Control characters, and those that turn the direction of text, are shown as `?`: a name gives no orders.
pub fn clean(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '?' } else { c }).collect()
}

/// Keeps the beginning.
pub fn fit(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let kept = text.chars().take_while(|c| take(&mut left, *c));
    kept.chain(['…']).collect()
}

/// Keeps the end of a path: first its whole names, then what fits.
pub fn fit_left(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let whole = text.match_indices('/').map(|(at, _)| &text[at + 1..]).find(|rest| columns(rest) <= room);
    if let Some(whole) = whole {
        return whole.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let mut kept: Vec<char> = text.chars().rev().take_while(|c| take(&mut left, *c)).collect();
    kept.push('…');
    kept.into_iter().rev().collect()
}

/// Takes a character's columns from what is left; whether they were there.
fn take(left: &mut usize, c: char) -> bool {
    let rest = left.checked_sub(c.width().unwrap_or(0));
    rest.inspect(|rest| *left = *rest).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(columns("日本"), 4);
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit_left("日本語", 5), "…本語");
    }

    #[test]
    fn what_fits_stays_and_what_is_cut_is_marked() {
        assert_eq!((fit("abc", 3), fit("abcd", 3)), ("abc".to_owned(), "ab…".to_owned()));
        assert_eq!(fit_left("crates/very/long/path.rs:10", 12), "path.rs:10");
        assert_eq!(fit_left("averylongpath.rs:10", 8), "…h.rs:10");
    }

    #[test]
    fn a_name_gives_the_terminal_no_orders() {
        assert_eq!(clean("\x1b[2Jx\u{202e}"), "?[2Jx?");
    }
}
