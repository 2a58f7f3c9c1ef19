//! Reading: frames as what fills a store. Everything is checked; whoever fills a store commits after the last frame only.

use std::io::Read;

use im_store::{Content, ContentPage, PAGE_ROWS, SECTIONS};

use super::rows::{take_number, take_row};
use super::sums::{Summing, Sums};
use super::{HEADER, Header, LONGEST, MAGIC, ROWS, SECTION_END, TRAILER};
use crate::MigrateError;

/// Frames that come.
struct Frames<R> {
    from: R,
    /// Of all bytes so far.
    hasher: blake3::Hasher,
}

impl<R: Read> Frames<R> {
    fn bytes(&mut self, length: u32) -> Result<Vec<u8>, MigrateError> {
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(length.into()).read_to_end(&mut bytes);
        read.map_err(MigrateError::ReadArchive)?;
        if u32::try_from(bytes.len()).ok() != Some(length) {
            return Err(odd("it is cut off"));
        }
        Ok(bytes)
    }

    /// Kind and payload of the next frame. That of the last one is no part of what it vouches for.
    fn next(&mut self) -> Result<(u8, Vec<u8>), MigrateError> {
        let head = self.bytes(5)?;
        let (kind, length) = head.split_first().ok_or_else(|| odd("it is cut off"))?;
        let length = length.try_into().map(u32::from_le_bytes);
        let length = length.map_err(|_| odd("it is cut off"))?;
        if length > LONGEST {
            return Err(odd("a frame is too long"));
        }
        let payload = self.bytes(length)?;
        if *kind != TRAILER {
            self.hasher.update(&head);
            self.hasher.update(&payload);
        }
        Ok((*kind, payload))
    }
}

/// Reads everything, whose parts `each` takes: the counts, then rows, but not the end, which is when this returns.
///
/// # Errors
/// It is no archive, one of another version, cut off or damaged; or what `each` says.
pub(crate) fn read(
    from: impl Read,
    each: &mut dyn FnMut(Content) -> Result<(), MigrateError>,
) -> Result<(Header, Sums), MigrateError> {
    let mut frames = Frames {
        from,
        hasher: blake3::Hasher::new(),
    };
    let magic = frames.bytes(8)?;
    if magic != MAGIC {
        return Err(odd("it does not begin as one"));
    }
    frames.hasher.update(&magic);
    let (kind, json) = frames.next()?;
    let header = if kind == HEADER {
        serde_json::from_slice::<Header>(&json).ok()
    } else {
        None
    };
    let header = header.ok_or_else(|| odd("its first frame makes no sense"))?;
    if let Some(why) = header.unknown() {
        return Err(MigrateError::Archive(why));
    }
    each(Content::Counts(header.counts()))?;
    let mut sums = Summing::new();
    let mut section = 0;
    loop {
        let (kind, payload) = frames.next()?;
        let mut rest = payload.as_slice();
        match kind {
            ROWS => {
                at_section(&mut rest, section)?;
                rows(rest, section, &mut sums, each)?;
            }
            SECTION_END => {
                at_section(&mut rest, section)?;
                let rows = take_number(&mut rest).map_err(odd)?;
                let (found, hash) = sums
                    .section(section)
                    .ok_or_else(|| odd("one section too many"))?;
                let told = header.sections.get(section).map(|section| section.rows);
                if found != rows || told != Some(rows) || rest != hash {
                    let name = SECTIONS.get(section).map_or("?", |section| section.name);
                    return Err(MigrateError::Archive(format!("section {name} is damaged")));
                }
                section += 1;
            }
            TRAILER => {
                if section != SECTIONS.len() || payload != *frames.hasher.finalize().as_bytes() {
                    return Err(odd("it is damaged"));
                }
                let more = (&mut frames.from).take(1).read_to_end(&mut Vec::new());
                if more.map_err(MigrateError::ReadArchive)? > 0 {
                    return Err(odd("something follows its end"));
                }
                return Ok((header, sums.finish()));
            }
            _ => return Err(odd("a frame is of no known kind")),
        }
    }
}

/// Takes the place of a section off the beginning, which must be the one that is read.
fn at_section(rest: &mut &[u8], section: usize) -> Result<(), MigrateError> {
    let place = take_number(rest).map_err(odd)?;
    if usize::try_from(place).ok() == Some(section) {
        return Ok(());
    }
    Err(odd("a section is out of its order"))
}

fn rows(
    mut rest: &[u8],
    place: usize,
    sums: &mut Summing,
    each: &mut dyn FnMut(Content) -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    let section = SECTIONS
        .get(place)
        .ok_or_else(|| odd("one section too many"))?;
    while !rest.is_empty() {
        let mut page = ContentPage {
            section: place,
            rows: Vec::new(),
        };
        while !rest.is_empty() && page.rows.len() < PAGE_ROWS {
            page.rows.push(take_row(&mut rest, section).map_err(odd)?);
        }
        sums.page(&page);
        each(Content::Rows(page))?;
    }
    Ok(())
}

fn odd(why: &str) -> MigrateError {
    MigrateError::Archive(why.to_owned())
}
