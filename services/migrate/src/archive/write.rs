//! Writing: what a store sends, as frames.

use std::io::Write;

use im_store::{Content, SECTIONS};

use super::rows::put_number;
use super::sums::{Summing, Sums};
use super::{HEADER, Header, MAGIC, ROWS, SECTION_END, TRAILER};
use crate::MigrateError;

/// Frames on their way.
pub(crate) struct Writer<W> {
    out: W,
    /// Of all bytes so far.
    hasher: blake3::Hasher,
    sums: Summing,
    /// The section that is not ended.
    section: usize,
    header: Option<Header>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            hasher: blake3::Hasher::new(),
            sums: Summing::new(),
            section: 0,
            header: None,
        }
    }

    /// Writes what comes; the number of rows in it. `source` and `at` are for the first frame.
    ///
    /// # Errors
    /// It cannot be written, or comes in another order than it should.
    pub(crate) fn put(
        &mut self,
        content: &Content,
        source: &str,
        at: u32,
    ) -> Result<u64, MigrateError> {
        match content {
            Content::Counts(counts) => {
                let header = Header::new(source, at, counts);
                let json = serde_json::to_vec(&header);
                let json = json.map_err(|error| MigrateError::Archive(error.to_string()))?;
                self.bytes(MAGIC)?;
                self.frame(HEADER, &json)?;
                self.header = Some(header);
                Ok(0)
            }
            Content::Rows(page) => {
                if page.section < self.section || self.header.is_none() {
                    return Err(odd("rows out of their order"));
                }
                self.end_sections(page.section)?;
                let rows = self
                    .sums
                    .page(page)
                    .ok_or_else(|| odd("an unknown section"))?;
                let mut payload = place(page.section);
                payload.extend_from_slice(&rows);
                self.frame(ROWS, &payload)?;
                Ok(u64::try_from(page.rows.len()).unwrap_or(u64::MAX))
            }
            Content::End => Ok(0),
        }
    }

    /// Writes the last frame; what everything was.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(mut self) -> Result<(Sums, Header), MigrateError> {
        self.end_sections(SECTIONS.len())?;
        let sum = *self.hasher.finalize().as_bytes();
        self.frame(TRAILER, &sum)?;
        self.out.flush().map_err(MigrateError::WriteArchive)?;
        let header = self.header.ok_or_else(|| odd("no beginning"))?;
        Ok((self.sums.finish(), header))
    }

    /// Ends the sections before this one.
    fn end_sections(&mut self, before: usize) -> Result<(), MigrateError> {
        while self.section < before {
            let sum = self.sums.section(self.section);
            let (rows, hash) = sum.ok_or_else(|| odd("an unknown section"))?;
            let mut payload = place(self.section);
            put_number(&mut payload, rows);
            payload.extend_from_slice(&hash);
            self.frame(SECTION_END, &payload)?;
            self.section += 1;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), MigrateError> {
        let length = u32::try_from(payload.len());
        let length = length.map_err(|_| odd("a row is too long"))?;
        self.bytes(&[kind])?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(payload)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), MigrateError> {
        self.hasher.update(bytes);
        self.out
            .write_all(bytes)
            .map_err(MigrateError::WriteArchive)
    }
}

fn place(section: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    put_number(&mut payload, u64::try_from(section).unwrap_or(u64::MAX));
    payload
}

fn odd(why: &str) -> MigrateError {
    MigrateError::Archive(why.to_owned())
}
