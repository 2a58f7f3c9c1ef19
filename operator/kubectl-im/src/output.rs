//! What is said, and how a command ends.

use std::io::{self, Write as _};
use std::process::ExitCode;

use jiff::SignedDuration;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, or as it is to be.
    Done,
    /// Not ready, not valid, not in time, or refused.
    NotSo,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NotSo => Self::from(3),
        }
    }
}

/// Why something is not done although it could be: a person has to decide or to wait.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("refused: {0}")]
pub(crate) struct Refusal(pub(crate) String);

/// An error that ends with the code of refusals.
pub(crate) fn refused(why: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Refusal(why.into()))
}

/// Prints a text as it is.
pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// Says a line to the person at the terminal, beside what is printed.
#[allow(clippy::print_stderr, reason = "the one place that speaks to a person")]
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

/// Columns as wide as their widest cell, two blanks apart. A table without rows is nothing.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let mut widths: Vec<usize> = Vec::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// A time that has passed or remains, in its largest unit, such as `3h`.
pub(crate) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "länger"], ["bbbbb", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            table(&["ONE", "TWO"], &rows),
            "ONE    TWO\na      länger\nbbbbb\n"
        );
        assert_eq!(table(&["ONE"], &[]), "");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        let told = [-5, 0, 119, 120, 7_199, 7_200, 172_799, 172_800]
            .map(|seconds| span(SignedDuration::from_secs(seconds)));
        assert_eq!(told, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }
}
