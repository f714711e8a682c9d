//! Markdown tables whose columns line up.

use std::fmt;

/// A table under way.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these heads.
    pub fn new(heads: Vec<String>) -> Table {
        Table { rows: vec![heads] }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0).max(3))
            .collect();
        for (n, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                widths.iter().enumerate().map(|(at, w)| format!("{:w$}", cell(row, at))).collect();
            writeln!(f, "| {} |", cells.join(" | "))?;
            if n == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "| {} |", rules.join(" | "))?;
            }
        }
        Ok(())
    }
}
