//! What the first bytes of a backup say about its length: it is a database file.

/// Bytes of a database file's head.
pub(crate) const BYTES: usize = 100;

const MAGIC: &[u8] = b"SQLite format 3\0";

/// What is to be thought of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As long as it says.
    Whole,
    /// Not as long as it says.
    CutOff {
        /// What its head says.
        expected: u64,
    },
    /// No backup.
    Foreign,
}

/// Judges a file by its first [`BYTES`] and its length.
pub(crate) fn judge(head: &[u8], found: u64) -> Verdict {
    match length(head) {
        None => Verdict::Foreign,
        Some(expected) if expected == found => Verdict::Whole,
        Some(expected) => Verdict::CutOff { expected },
    }
}

fn length(head: &[u8]) -> Option<u64> {
    if !head.starts_with(MAGIC) || head.len() < BYTES {
        return None;
    }
    let number = |from: usize| -> Option<u32> {
        let bytes = head.get(from..)?.get(..4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    // A number of pages that an old program has not kept up is none.
    if number(24)? != number(92)? {
        return None;
    }
    let size: [u8; 2] = head.get(16..)?.get(..2)?.try_into().ok()?;
    let size = match u16::from_be_bytes(size) {
        // The largest size does not fit.
        1 => 65_536,
        size => u64::from(size),
    };
    Some(size * u64::from(number(28)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_if_it_has_the_length_that_its_head_says() {
        let mut head = vec![0; BYTES];
        head[..16].copy_from_slice(MAGIC);
        head[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        head[28..32].copy_from_slice(&3_u32.to_be_bytes());
        assert_eq!(judge(&head, 12_288), Verdict::Whole);
        let expected = 12_288;
        assert_eq!(judge(&head, 12_287), Verdict::CutOff { expected });
        assert_eq!(judge(&head[..99], 99), Verdict::Foreign);
        assert_eq!(judge(b"ustar", 5), Verdict::Foreign);
        head[92] = 1;
        assert_eq!(judge(&head, 12_288), Verdict::Foreign);
    }
}
