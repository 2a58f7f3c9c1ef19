//! What the tools say: results on standard output, complaints on standard error.
//!
//! Whatever passes through here is harmless to a terminal, whoever wrote it: see [`im_core::text`].

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use im_core::text::{is_unseen, printable};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

/// Prints lines. A reader that has gone away is no error.
pub(crate) fn print(text: &str) {
    drop(writeln!(io::stdout().lock(), "{}", harmless(text)));
}

/// Prints lines on standard error.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{}", harmless(text)));
}

/// The lines of a text, each without anything that drives a terminal.
fn harmless(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// A value as JSON on several lines; what a terminal would obey is escaped as JSON does it.
pub(crate) fn json(value: &Value) -> String {
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        if is_unseen(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &Value) {
    print(&json(value));
}

/// Prints an error with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    note(&format!("imd: {}", causes(error)));
}

/// The same on one line, whatever lines its causes have: who reads a server's log takes each for another
/// event. At a terminal it keeps them.
pub(crate) fn complain_in_a_line(error: &anyhow::Error) {
    tell_kubernetes(&one_line(&causes(error)));
    if io::stderr().is_terminal() {
        complain(error);
    } else {
        note(&format!("imd: {}", one_line(&causes(error))));
    }
}

/// Where Kubernetes looks for what a container that ends has to say; its kubelet makes the file.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What it reads of that, bytes.
const TERMINATION_BYTES: usize = 4096;

/// Says why a server ends where Kubernetes shows it with the pod, if it runs in one.
pub(crate) fn tell_kubernetes(line: &str) {
    leave(Path::new(TERMINATION_LOG), line);
}

fn leave(file: &Path, line: &str) {
    let mut line = line.to_owned();
    while line.len() > TERMINATION_BYTES {
        line.pop();
    }
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(file) {
        drop(file.write_all(line.as_bytes()));
    }
}

/// An error with its causes, each once.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut last = error.to_string();
    let mut text = last.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A transparent error repeats its source.
        if cause != last {
            text.push_str(": ");
            text.push_str(cause.trim_end());
        }
        last = cause;
    }
    text
}

/// A text with its lines behind one another.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
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

    /// Adds a row; it stays one whatever is in its cells.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| printable(cell).into_owned());
        self.rows.push(cells.collect());
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
                    .map(|cell| cell.width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let lines = std::iter::once(&heading_row).chain(&self.rows).map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let blanks = " ".repeat(width.saturating_sub(cell.width()));
                format!("{cell}{blanks}")
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A time of Unix seconds, as people read it.
pub(crate) fn time(seconds: u32) -> String {
    let time = jiff::Timestamp::from_second(seconds.into());
    time.map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Says on standard error that a list goes on, and how to see the rest.
pub(crate) fn tell_more(next: &str) {
    if !next.is_empty() {
        note(&format!(
            "there are more: the same with --cursor {next} goes on"
        ));
    }
}

/// Says on standard error that what is shown is as it is, not as it would be.
pub(crate) fn tell_dry_run(dry_run: bool) {
    if dry_run {
        note("dry run: this can be done, and nothing was changed");
    }
}

/// Prints either form of a result.
pub(crate) fn show(json: bool, value: &Value, text: impl FnOnce() -> String) {
    if json {
        print_json(value);
    } else {
        print(&text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_many_lines_is_one_with_every_cause_once() {
        let error = anyhow::anyhow!("line 2\n  |\n2 | x = 1\n").context("read f");
        assert_eq!(one_line(&causes(&error)), "read f: line 2 | 2 | x = 1");
        let same = anyhow::anyhow!("listen").context("listen").context("start");
        assert_eq!(causes(&same), "start: listen");
    }

    #[test]
    fn kubernetes_is_told_where_it_has_made_a_file_and_no_more_than_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        leave(&file, "nobody asked");
        assert!(!file.try_exists().unwrap());
        std::fs::write(&file, "before").unwrap();
        leave(&file, "open the store: no");
        let read = || std::fs::read_to_string(&file).unwrap();
        assert_eq!(read(), "open the store: no");
        leave(&file, &"é".repeat(TERMINATION_BYTES));
        assert_eq!(read(), "é".repeat(TERMINATION_BYTES / 2));
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["id", "name"]);
        table.row(vec!["7".to_owned(), "ann".to_owned()]);
        table.row(vec!["1234".to_owned(), String::new()]);
        assert_eq!(table.render(), "id    name\n7     ann\n1234");
    }

    #[test]
    fn columns_keep_their_place_with_wide_characters() {
        let mut table = Table::new(&["name", "nick"]);
        table.row(vec!["李雷".to_owned(), "Li".to_owned()]);
        table.row(vec!["ann".to_owned(), "Ann".to_owned()]);
        assert_eq!(table.render(), "name  nick\n李雷  Li\nann   Ann");
    }

    #[test]
    fn names_that_would_drive_a_terminal_keep_their_row_and_are_harmless() {
        let mut table = Table::new(&["name"]);
        table.row(vec!["\u{1b}[2J\u{1b}[31mred\nline\u{202e}".to_owned()]);
        let text = table.render();
        assert_eq!(text, "name\n\\u{1b}[2J\\u{1b}[31mred\\u{a}line\\u{202e}");
        assert_eq!(harmless("a\u{1b}\nb"), "a\\u{1b}\nb");
        let value = serde_json::json!({"name": "\u{9b}x\u{202e}\u{e0041}"});
        let text = json(&value);
        assert!(
            !text.contains(['\u{9b}', '\u{202e}', '\u{e0041}']),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
