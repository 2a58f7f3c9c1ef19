//! The form in which everything that a store holds travels: a stream of frames that says of itself what is in it.
//!
//! Eight bytes of magic, then frames: one byte of kind, four of length (little-endian), and so many bytes.
//!
//! | Kind | Holds |
//! |---|---|
//! | 1, first | JSON: form, program, source, time, and every section with its columns and its number of rows |
//! | 2 | rows of one section: its place in the first frame (a varint), then row after row |
//! | 3 | the end of a section: place, number of rows, BLAKE3 of its rows |
//! | 4, last | BLAKE3 of everything before this frame |
//!
//! A row has a field for each column: of a number its varint (LEB128), of text and bytes their length and themselves; what may be
//! missing has one byte before it, 0 or 1. Every section is there, in the order of the first frame. Nothing follows the last
//! frame. So a stream that was cut, or of which a byte was changed, is noticed.

pub(crate) mod read;
pub(crate) mod rows;
pub(crate) mod sums;
pub(crate) mod write;

use im_store::{ColumnKind, SECTIONS};
use serde::{Deserialize, Serialize};

/// Form of the stream that this program writes, and the only one that it reads.
pub(crate) const FORM: u32 = 1;
pub(crate) const MAGIC: &[u8; 8] = b"imarch\r\n";
/// Longest frame, bytes: a page and the longest row that a store may have.
pub(crate) const LONGEST: u32 = 1 << 30;

pub(crate) const HEADER: u8 = 1;
pub(crate) const ROWS: u8 = 2;
pub(crate) const SECTION_END: u8 = 3;
pub(crate) const TRAILER: u8 = 4;

/// The first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// As [`FORM`].
    pub(crate) form: u32,
    /// Version of the program that wrote it.
    pub(crate) program: String,
    /// Kind of store, and the step of its schema.
    pub(crate) source: String,
    /// When, Unix seconds.
    pub(crate) at: u32,
    /// What follows.
    pub(crate) sections: Vec<SectionHeader>,
}

/// A section as the first frame tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SectionHeader {
    pub(crate) name: String,
    /// Name and kind of each column; a kind ends with `?` where a field may be missing.
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) rows: u64,
}

impl Header {
    /// Of what this program knows, with these numbers of rows.
    pub(crate) fn new(source: &str, at: u32, counts: &[u64]) -> Self {
        let sections = SECTIONS.iter().enumerate().map(|(place, section)| {
            let columns = section.columns.iter().map(|column| {
                let kind = match column.kind {
                    ColumnKind::Number => "number",
                    ColumnKind::Text => "text",
                    ColumnKind::Bytes => "bytes",
                };
                let mark = if column.is_optional { "?" } else { "" };
                (column.name.to_owned(), format!("{kind}{mark}"))
            });
            SectionHeader {
                name: section.name.to_owned(),
                columns: columns.collect(),
                rows: counts.get(place).copied().unwrap_or(0),
            }
        });
        Self {
            form: FORM,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            source: source.to_owned(),
            at,
            sections: sections.collect(),
        }
    }

    /// Numbers of rows, by section.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.sections.iter().map(|section| section.rows).collect()
    }

    /// Why what follows cannot be read, if it cannot.
    pub(crate) fn unknown(&self) -> Option<String> {
        if self.form != FORM {
            return Some(format!(
                "it has form {}, and this program reads {FORM}",
                self.form
            ));
        }
        let ours = Self::new(&self.source, self.at, &self.counts());
        let differs = |(theirs, ours): &(&SectionHeader, &SectionHeader)| theirs != ours;
        let mut both = self.sections.iter().zip(&ours.sections);
        let name = match both.find(differs) {
            Some((theirs, _)) => theirs.name.as_str(),
            None if self.sections.len() != ours.sections.len() => "the last",
            None => return None,
        };
        Some(format!(
            "section {name} is of another version ({}): export with this program, which brings the old store up to date",
            self.program
        ))
    }
}

#[cfg(test)]
mod tests;
