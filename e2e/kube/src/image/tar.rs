//! Just enough of the ustar format (POSIX.1-1988) for image layers, and to read what was written here.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

/// Size of a header, and the unit to which contents are filled up.
const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

/// A file or folder owned by root, from the beginning of time.
pub(super) struct Entry<'a> {
    kind: u8,
    mode: u32,
    content: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(super) fn file(content: &'a [u8]) -> Self {
        Self {
            kind: b'0',
            mode: 0o644,
            content,
        }
    }

    pub(super) fn folder() -> Self {
        Self {
            kind: b'5',
            mode: 0o755,
            content: &[],
        }
    }

    pub(super) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
}

impl Archive {
    /// Appends an entry. The name is at most 100 bytes; a folder's ends in a slash.
    pub(super) fn add(&mut self, name: &str, entry: &Entry<'_>) {
        debug_assert!(name.len() <= 100, "name too long for ustar: {name}");
        let mut header = Vec::with_capacity(BLOCK);
        field(&mut header, name.as_bytes(), 100);
        field(&mut header, octal(u64::from(entry.mode), 8).as_bytes(), 8);
        field(&mut header, octal(0, 8).as_bytes(), 8);
        field(&mut header, octal(0, 8).as_bytes(), 8);
        field(
            &mut header,
            octal(entry.content.len() as u64, 12).as_bytes(),
            12,
        );
        field(&mut header, octal(0, 12).as_bytes(), 12);
        let checksum_at = header.len();
        // The sum is taken with blanks in its own place.
        header.extend_from_slice(b"        ");
        header.push(entry.kind);
        field(&mut header, b"", 100);
        field(&mut header, b"ustar\x0000", 8);
        header.resize(BLOCK, 0);
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        header.splice(checksum_at..checksum_at + sum.len(), sum.bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(entry.content);
        self.fill();
    }

    /// The archive with its end mark.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn fill(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

/// `value` in octal digits that fill a field of this width up to its closing zero byte.
fn octal(value: u64, width: usize) -> String {
    format!("{value:0width$o}", width = width - 1)
}

fn field(header: &mut Vec<u8>, value: &[u8], width: usize) {
    let end = header.len() + width;
    header.extend_from_slice(value);
    header.resize(end, 0);
}

/// The files of an archive by name.
pub(super) fn files(archive: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut rest = archive;
    loop {
        let (header, content) = rest
            .split_at_checked(BLOCK)
            .context("ends within a header")?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        ensure!(
            header.get(257..262) == Some(b"ustar"),
            "is no ustar archive"
        );
        let name = until_zero(header.get(..100))?;
        let size = until_zero(header.get(124..136))?;
        let size = usize::from_str_radix(size.trim(), 8)
            .with_context(|| format!("{name}: {size:?} is no size"))?;
        let (file, after) = content
            .split_at_checked(size)
            .with_context(|| format!("ends within {name}"))?;
        if header.get(156) == Some(&b'0') {
            files.insert(name.to_owned(), file.to_vec());
        }
        let fill = size.next_multiple_of(BLOCK) - size;
        rest = after.get(fill..).context("ends within a block")?;
    }
}

fn until_zero(field: Option<&[u8]>) -> anyhow::Result<&str> {
    let field = field.context("has a short header")?;
    let end = field.iter().position(|byte| *byte == 0);
    let text = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
    std::str::from_utf8(text).context("has a header that is no text")
}
