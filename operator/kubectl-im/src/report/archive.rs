//! A gzipped tar of texts: the same texts give the same bytes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// Longest path, bytes: that of the oldest form, which everybody reads.
const PATH: usize = 100;

/// Packs files under their paths, in this order. Paths that do not fit are cut at their end.
pub(super) fn pack(files: &[(String, String)]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    for (path, text) in files {
        gzip.write_all(&head(path, text.len()))?;
        gzip.write_all(text.as_bytes())?;
        let rest = text.len() % BLOCK;
        if rest > 0 {
            gzip.write_all(&vec![0; BLOCK - rest])?;
        }
    }
    gzip.write_all(&[0; 2 * BLOCK])?;
    gzip.finish()
}

/// The head of a file without a time and without an owner.
fn head(path: &str, bytes: usize) -> Vec<u8> {
    let mut end = path.len().min(PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    let mut head = Vec::with_capacity(BLOCK);
    let mut field = |text: &str, width: usize| {
        head.extend(text.bytes().take(width));
        head.resize(head.len() + width.saturating_sub(text.len()), 0);
    };
    field(path.get(..end).unwrap_or_default(), PATH);
    field("0000644", 8);
    field("0000000", 8);
    field("0000000", 8);
    field(&format!("{bytes:011o}"), 12);
    field("00000000000", 12);
    // While the sum is taken its own place is blank.
    field("        ", 8);
    field("0", 1);
    field("", 100);
    field("ustar", 6);
    field("00", 2);
    field("", 247);
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (place, byte) in head.iter_mut().skip(148).zip(sum.bytes()) {
        *place = byte;
    }
    head
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_what_is_packed_and_the_same_texts_are_the_same_bytes() {
        let long = format!("{}ä", "x".repeat(99));
        let files = [
            ("r/one.yaml".to_owned(), "a: 1\n".to_owned()),
            ("r/two.log".to_owned(), "y".repeat(1_024)),
            (long.clone(), String::new()),
        ];
        let packed = pack(&files).unwrap();
        assert_eq!(packed, pack(&files).unwrap());
        let mut tar = Command::new("tar")
            .env("TZ", "UTC")
            .args(["--list", "--verbose", "--gzip", "--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&packed).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("5 1970-01-01"), "{text}");
        assert!(lines[1].contains("1024 1970") && lines[1].ends_with("r/two.log"));
        assert!(lines[2].ends_with(&"x".repeat(99)), "{text}");
    }
}
