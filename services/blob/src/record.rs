//! What is kept beside the bytes of a blob, and how it is written behind them.
//!
//! Behind the content stand the record as JSON, its length (32 bit, little-endian) and eight bytes that
//! say what it is. So the content begins at offset 0 and both are one object: neither can be without the
//! other, on any store.

use bytes::Bytes;
use im_core::time::UnixSeconds;
use serde::{Deserialize, Serialize};

use crate::{BlobError, BlobInfo, BlobName};

/// The longest media type, in bytes.
pub const CONTENT_TYPE_BYTES: usize = 127;

/// The longest tag, in bytes.
pub const TAG_BYTES: usize = 1024;

/// The last bytes of every object. The digit is the version.
const MAGIC: &[u8; 8] = b"\nimblob1";

/// The longest record with its length and [`MAGIC`], in bytes: a tag doubles as hexadecimal.
pub(crate) const TAIL_BYTES: usize = 4096;

/// What the owner of a blob says about it when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobMeta {
    content_type: String,
    tag: Bytes,
}

/// A description that is longer than it may be, or no media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// The media type is longer than [`CONTENT_TYPE_BYTES`], or not of visible ASCII.
    #[error("give a media type of at most 127 visible ASCII characters")]
    ContentType,
    /// The tag is longer than [`TAG_BYTES`].
    #[error("give a tag of at most 1024 bytes")]
    Tag,
}

impl BlobMeta {
    /// A media type as in HTTP, and bytes that mean something to the owner alone.
    ///
    /// # Errors
    /// One of them is longer than its bound, or the media type has other characters than visible ASCII
    /// and spaces.
    pub fn new(content_type: impl Into<String>, tag: impl Into<Bytes>) -> Result<Self, MetaError> {
        let (content_type, tag) = (content_type.into(), tag.into());
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
        if content_type.len() > CONTENT_TYPE_BYTES || !content_type.bytes().all(is_plain) {
            return Err(MetaError::ContentType);
        }
        if tag.len() > TAG_BYTES {
            return Err(MetaError::Tag);
        }
        Ok(Self { content_type, tag })
    }

    /// The media type.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The owner's bytes.
    pub fn tag(&self) -> &Bytes {
        &self.tag
    }
}

/// The record as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    size: u64,
    blake3: String,
    created: u32,
    content_type: String,
    tag: String,
}

/// What stands behind the content of this blob.
pub(crate) fn tail(info: &BlobInfo) -> Result<Vec<u8>, BlobError> {
    let stored = Stored {
        size: info.size,
        blake3: hex(&info.blake3),
        created: info.created.get(),
        content_type: info.meta.content_type.clone(),
        tag: hex(&info.meta.tag),
    };
    let mut tail = serde_json::to_vec(&stored).map_err(|_| BlobError::Corrupt("record"))?;
    let length = u32::try_from(tail.len()).map_err(|_| BlobError::Corrupt("record"))?;
    tail.extend_from_slice(&length.to_le_bytes());
    tail.extend_from_slice(MAGIC);
    Ok(tail)
}

/// Reads the record of an object of `length` bytes from its last bytes, of which there must be
/// [`TAIL_BYTES`] unless it is shorter.
pub(crate) fn read_tail(name: BlobName, length: u64, last: &[u8]) -> Result<BlobInfo, BlobError> {
    let (rest, magic) = last
        .split_last_chunk::<8>()
        .ok_or(BlobError::Corrupt("shorter than its record"))?;
    if magic != MAGIC {
        return Err(BlobError::Corrupt("not written by this store"));
    }
    let (rest, record_len) = rest
        .split_last_chunk::<4>()
        .ok_or(BlobError::Corrupt("shorter than its record"))?;
    let record_len = u32::from_le_bytes(*record_len) as usize;
    let record = rest
        .len()
        .checked_sub(record_len)
        .and_then(|start| rest.get(start..))
        .ok_or(BlobError::Corrupt("length of the record"))?;
    let stored: Stored =
        serde_json::from_slice(record).map_err(|_| BlobError::Corrupt("record"))?;
    if stored.size.checked_add(record_len as u64 + 12) != Some(length) {
        return Err(BlobError::Corrupt("length of the content"));
    }
    let hash = unhex(&stored.blake3)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(BlobError::Corrupt("hash"))?;
    let tag = unhex(&stored.tag).ok_or(BlobError::Corrupt("tag"))?;
    let meta =
        BlobMeta::new(stored.content_type, tag).map_err(|_| BlobError::Corrupt("description"))?;
    Ok(BlobInfo {
        name,
        size: stored.size,
        blake3: hash,
        created: UnixSeconds::from_wire(stored.created),
        meta,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| {
        let value = digit(*high)? << 4 | digit(*low)?;
        u8::try_from(value).ok()
    });
    rest.is_empty().then(|| bytes.collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> BlobInfo {
        BlobInfo {
            name: BlobName::from_bytes([7; 16]),
            size: 5,
            blake3: *blake3::hash(b"hello").as_bytes(),
            created: UnixSeconds::from_wire(1_700_000_000),
            meta: BlobMeta::new("image/png", vec![0, 1, 255]).unwrap(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let info = info();
        let mut object = b"hello".to_vec();
        object.extend(tail(&info).unwrap());
        let length = object.len() as u64;
        assert_eq!(read_tail(info.name, length, &object).unwrap(), info);
    }

    #[test]
    fn the_longest_description_fits_into_the_bound_of_a_tail() {
        let meta = BlobMeta::new("\"".repeat(CONTENT_TYPE_BYTES), vec![255; TAG_BYTES]).unwrap();
        let longest = BlobInfo {
            size: u64::MAX,
            created: UnixSeconds::MAX,
            meta,
            ..info()
        };
        assert!(tail(&longest).unwrap().len() <= TAIL_BYTES);
        let long = "a".repeat(CONTENT_TYPE_BYTES + 1);
        assert_eq!(BlobMeta::new(long, ""), Err(MetaError::ContentType));
        assert_eq!(BlobMeta::new("a\nb", ""), Err(MetaError::ContentType));
        assert_eq!(
            BlobMeta::new("", vec![0; TAG_BYTES + 1]),
            Err(MetaError::Tag)
        );
    }

    #[test]
    fn a_damaged_object_is_never_taken_for_whole() {
        let info = info();
        let mut object = b"hello".to_vec();
        object.extend(tail(&info).unwrap());
        for cut in 0..object.len() {
            let short = &object[..cut];
            assert!(read_tail(info.name, cut as u64, short).is_err(), "{cut}");
        }
        let length = object.len() as u64;
        let longer = read_tail(info.name, length + 1, &object);
        assert!(matches!(longer, Err(BlobError::Corrupt(_))));
        let mut huge = object.clone();
        let at = huge.len() - 12;
        huge[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let huge = read_tail(info.name, length, &huge);
        assert!(matches!(huge, Err(BlobError::Corrupt(_))));
    }
}
