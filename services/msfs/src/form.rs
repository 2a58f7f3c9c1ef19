//! The forms in which the original clients send pictures: `multipart/form-data`, read as it comes in.
//!
//! The file is the first part that has a file name; parts before it are left out, what follows is not read.
//! What is missing has the original's error code. Memory is bounded: content is handed on at once, heads and
//! other parts share one allowance.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::name::{BadFileName, Ending};

/// Longest boundary, bytes; that of RFC 2046 has 70.
const MAX_BOUNDARY: usize = 256;

/// Why a form holds no file. The numbers are the original's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    /// Heads, or parts that are no file, are longer than the allowance.
    TooLong = 1,
    /// No part says what it is.
    NoDisposition = 2,
    /// No part has a file name.
    NoFileName = 3,
    /// The request's type has no boundary.
    NoBoundary = 4,
    /// The boundary is not in the body.
    NoPart = 5,
    /// The part of the file says no type.
    NoType = 6,
    /// The head of a part has no end.
    NoHeadEnd = 7,
    /// The file has no end.
    NoEnd = 8,
    /// The extension is too long, or none of letters and digits.
    Extension = 9,
    /// The file name has no extension.
    NoExtension = 10,
    /// The file name is too long.
    FileName = 11,
}

impl From<BadFileName> for FormError {
    fn from(bad: BadFileName) -> Self {
        match bad {
            BadFileName::TooLong => Self::FileName,
            BadFileName::NoExtension => Self::NoExtension,
            BadFileName::Extension => Self::Extension,
        }
    }
}

/// What has been read of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The file begins; its name ends so.
    File(Ending),
    /// The next bytes of it.
    Content(Bytes),
    /// It is whole.
    End,
}

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first boundary.
    Preamble,
    /// Right behind a boundary.
    Boundary,
    /// In the head of a part.
    Head,
    /// In a part that is no file.
    Other,
    /// In the file.
    File,
    /// Behind the file.
    Rest,
}

/// A form on its way in.
#[derive(Debug)]
pub(crate) struct Form {
    /// The boundary with the line end and the dashes before it.
    delimiter: Finder<'static>,
    at: At,
    buffer: BytesMut,
    /// Bytes of heads and other parts that may still come.
    allowance: usize,
    has_disposition: bool,
}

impl Form {
    /// A form with the boundary of this `Content-Type`. Heads, and parts that are no file, may have
    /// `allowance` bytes together.
    pub(crate) fn new(content_type: &[u8], allowance: usize) -> Result<Self, FormError> {
        let boundary = boundary(content_type).ok_or(FormError::NoBoundary)?;
        let delimiter = [b"\r\n--", boundary].concat();
        Ok(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            at: At::Preamble,
            // As if a line had ended before the first boundary.
            buffer: BytesMut::from(&b"\r\n"[..]),
            allowance,
            has_disposition: false,
        })
    }

    /// Takes bytes and tells what they hold.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, FormError> {
        let mut events = Vec::new();
        if self.at != At::Rest {
            self.buffer.extend_from_slice(bytes);
        }
        while self.step(&mut events)? {}
        Ok(events)
    }

    /// The body has ended.
    pub(crate) fn finish(&self) -> Result<(), FormError> {
        match self.at {
            At::Rest => Ok(()),
            At::Preamble => Err(FormError::NoPart),
            At::Head => Err(FormError::NoHeadEnd),
            At::File => Err(FormError::NoEnd),
            At::Boundary | At::Other => Err(self.no_file()),
        }
    }

    fn no_file(&self) -> FormError {
        if self.has_disposition {
            FormError::NoFileName
        } else {
            FormError::NoDisposition
        }
    }

    /// Goes on by one piece; false when more must come.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, FormError> {
        match self.at {
            At::Preamble | At::Other => {
                let (bytes, found) = self.until_delimiter();
                self.spend(bytes.len())?;
                Ok(found)
            }
            At::File => {
                let (bytes, found) = self.until_delimiter();
                if !bytes.is_empty() {
                    events.push(Event::Content(bytes));
                }
                if found {
                    events.push(Event::End);
                    self.at = At::Rest;
                    self.buffer = BytesMut::new();
                }
                Ok(found)
            }
            At::Boundary => match self.buffer.get(..2) {
                Some(b"--") => Err(self.no_file()),
                Some(_) => {
                    self.at = At::Head;
                    Ok(true)
                }
                None => Ok(false),
            },
            At::Head => self.head(events),
            At::Rest => Ok(false),
        }
    }

    /// Takes what stands before the next delimiter, and the delimiter, if it is there; else what cannot be
    /// part of one.
    fn until_delimiter(&mut self) -> (Bytes, bool) {
        let length = self.delimiter.needle().len();
        if let Some(at) = self.delimiter.find(&self.buffer) {
            let bytes = self.buffer.split_to(at).freeze();
            self.buffer.advance(length);
            self.at = match self.at {
                At::File => At::File,
                _ => At::Boundary,
            };
            return (bytes, true);
        }
        let sure = self.buffer.len().saturating_sub(length - 1);
        (self.buffer.split_to(sure).freeze(), false)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), FormError> {
        self.allowance = self
            .allowance
            .checked_sub(bytes)
            .ok_or(FormError::TooLong)?;
        Ok(())
    }

    fn head(&mut self, events: &mut Vec<Event>) -> Result<bool, FormError> {
        // The line end behind the boundary belongs to it, so that a head without lines has its end too.
        let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") else {
            // The last three bytes may belong to the end.
            let too_long = self.buffer.len() > self.allowance.saturating_add(3);
            return if too_long {
                Err(FormError::TooLong)
            } else {
                Ok(false)
            };
        };
        let head = self.buffer.split_to(end).freeze();
        self.buffer.advance(4);
        self.spend(head.len())?;
        let head = Head::read(&head);
        self.has_disposition |= head.disposition.is_some();
        let file = head.disposition.and_then(file_name);
        let Some(name) = file else {
            self.at = At::Other;
            return Ok(true);
        };
        let ending = Ending::of_file(name)?;
        if !head.has_type {
            return Err(FormError::NoType);
        }
        self.at = At::File;
        events.push(Event::File(ending));
        Ok(true)
    }
}

/// What the head of a part says.
#[derive(Debug, Default)]
struct Head<'a> {
    disposition: Option<&'a [u8]>,
    has_type: bool,
}

impl<'a> Head<'a> {
    fn read(head: &'a [u8]) -> Self {
        let mut this = Self::default();
        for line in head.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if let Some(value) = field(line, b"content-disposition:") {
                this.disposition = this.disposition.or(Some(value));
            }
            this.has_type |= field(line, b"content-type:").is_some();
        }
        this
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then_some(value)
}

/// The file name of a disposition: in quotes, or up to the next parameter.
fn file_name(disposition: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"filename=";
    let at = memchr::memmem::find(disposition, KEY)?;
    let rest = disposition.get(at + KEY.len()..)?;
    value(rest)
}

/// The boundary of a `Content-Type`.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"boundary=";
    let at = memchr::memmem::find(content_type, KEY)?;
    let value = value(content_type.get(at + KEY.len()..)?)?;
    (1..=MAX_BOUNDARY).contains(&value.len()).then_some(value)
}

/// The value of a parameter. Quotes that do not close hold none.
fn value(rest: &[u8]) -> Option<&[u8]> {
    match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = memchr::memchr(b'"', quoted)?;
            quoted.get(..end)
        }
        None => rest
            .split(|byte| *byte == b';')
            .next()
            .map(<[u8]>::trim_ascii),
    }
}

#[cfg(test)]
mod tests;
