//! Tables: columns are as wide as they need to be. Where there is no room for all of it, long names are cut, and
//! columns that matter less are left out.

use pollscope_model::text::{clean, columns, fit, fit_left};

/// Between two columns.
const GAP: usize = 2;

/// One column.
#[derive(Clone, Copy)]
pub struct Column {
    name: &'static str,
    right: bool,
    cut: Option<fn(&str, usize) -> String>,
    least: usize,
    most: usize,
    /// The column with the greatest number is left out first; 0 stays.
    goes: u8,
}

impl Column {
    /// Words that are never cut.
    pub const fn words(name: &'static str) -> Column {
        Column { name, right: false, cut: None, least: 0, most: usize::MAX, goes: 0 }
    }

    /// Numbers: set to the right, never cut.
    pub const fn number(name: &'static str) -> Column {
        Column { right: true, ..Column::words(name) }
    }

    /// Names, of which the beginning stays.
    pub const fn name(name: &'static str, least: usize, most: usize) -> Column {
        Column { cut: Some(fit), least, most, ..Column::words(name) }
    }

    /// Places in code, of which the end stays.
    pub const fn place(name: &'static str, least: usize, most: usize) -> Column {
        Column { cut: Some(fit_left), least, most, ..Column::words(name) }
    }

    /// The same, left out where there is no room: the greatest number first.
    pub const fn goes(self, goes: u8) -> Column {
        Column { goes, ..self }
    }

    fn least(&self, wide: usize) -> usize {
        if self.cut.is_some() { wide.min(self.least.max(columns(self.name))) } else { wide }
    }
}

/// Rows below their head. `room`: the columns that a line may take.
pub fn table(all: &[Column], rows: &[Vec<String>], room: Option<usize>) -> String {
    let room = room.unwrap_or(usize::MAX);
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let mut widths: Vec<usize> = all.iter().map(|column| columns(column.name)).collect();
    for (at, column) in all.iter().enumerate() {
        let widest = rows.iter().map(|row| columns(&row[at])).max().unwrap_or(0);
        widths[at] = widths[at].max(widest.min(column.most));
    }
    let shown = shown(all, &mut widths, room);
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        let mut out = String::new();
        for &at in &shown {
            let cell = match all[at].cut {
                Some(cut) => cut(cells[at], widths[at]),
                None => cells[at].to_owned(),
            };
            let pad = " ".repeat(widths[at].saturating_sub(columns(&cell)));
            out += &if all[at].right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        text += &fit(out.trim_end(), room);
        text.push('\n');
    };
    line(&all.iter().map(|column| column.name).collect::<Vec<_>>());
    for row in &rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let left: Vec<&str> = (0..all.len()).filter(|at| !shown.contains(at)).map(|at| all[at].name).collect();
    if !left.is_empty() {
        text += &fit(&format!("more columns have {}", left.join(", ")), room);
        text.push('\n');
    }
    text
}

/// The columns that there is room for; their widths are brought down to it.
fn shown(all: &[Column], widths: &mut [usize], room: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..all.len()).collect();
    let gaps = |shown: &[usize]| GAP * shown.len().saturating_sub(1);
    loop {
        let needed = shown.iter().map(|&at| all[at].least(widths[at])).sum::<usize>() + gaps(&shown);
        let first = shown.iter().copied().filter(|&at| all[at].goes > 0).max_by_key(|&at| all[at].goes);
        match first {
            Some(first) if needed > room => shown.retain(|&at| at != first),
            _ => break,
        }
    }
    let least: Vec<usize> = all.iter().zip(&*widths).map(|(column, wide)| column.least(*wide)).collect();
    let total = shown.iter().map(|&at| widths[at]).sum::<usize>() + gaps(&shown);
    for _ in room..total {
        let widest = shown.iter().copied().filter(|&at| widths[at] > least[at]).max_by_key(|&at| widths[at]);
        let Some(widest) = widest else { break };
        widths[widest] -= 1;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(&["a", "1"]), row(&["long", "1000"])];
        let text = table(&[Column::words("NAME"), Column::number("N")], &rows, None);
        assert_eq!(text, "NAME     N\na        1\nlong  1000\n");
    }

    #[test]
    fn names_are_cut_before_a_column_is_left_out() {
        let all = [
            Column::name("NAME", 4, usize::MAX),
            Column::number("N").goes(2),
            Column::place("AT", 5, usize::MAX).goes(1),
        ];
        let rows = [row(&["a-long-name", "1000", "src/net.rs:7"])];
        let text = table(&all, &rows, Some(24));
        assert_eq!(text, "NAME         N  AT\na-long-…  1000  net.rs:7\n");
        assert_eq!(table(&all, &rows, Some(12)), "NAME   AT\na-lo…  …rs:7\nmore column…\n");
        assert_eq!(table(&all, &rows, Some(3)), "NA…\na-…\nmo…\n");
    }
}
