//! What the tools say: results on standard output, complaints on standard error.

use std::io::{self, Write};

use serde_json::Value;

/// Prints a line. A reader that has gone away is no error.
pub(crate) fn print(text: &str) {
    drop(writeln!(io::stdout().lock(), "{text}"));
}

/// Prints a line on standard error.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints an error with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut text = format!("imd: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A transparent error repeats its source.
        if cause != last {
            text.push_str(": ");
            text.push_str(cause.trim_end());
        }
        last = cause;
    }
    note(&text);
}

/// Rows under headings, or the same as JSON.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, columns aligned, without spaces at the ends of lines.
    pub(crate) fn render(&self) -> String {
        let heading_row = self
            .headings
            .iter()
            .map(|h| (*h).to_owned())
            .collect::<Vec<_>>();
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = std::iter::once(&heading_row).chain(&self.rows);
                cells
                    .filter_map(|row| row.get(column))
                    .map(|c| c.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let lines = std::iter::once(&heading_row).chain(&self.rows).map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Prints either form of a result.
pub(crate) fn show(json: bool, value: &Value, text: impl FnOnce() -> String) {
    if json {
        print(&format!("{value:#}"));
    } else {
        print(&text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["id", "name"]);
        table.row(vec!["7".to_owned(), "ann".to_owned()]);
        table.row(vec!["1234".to_owned(), String::new()]);
        assert_eq!(table.render(), "id    name\n7     ann\n1234");
    }
}
