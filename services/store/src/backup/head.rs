//! What the first bytes of a database file say about its length.

/// Bytes of a database file's head.
pub(super) const BYTES: usize = 100;

const MAGIC: &[u8] = b"SQLite format 3\0";

/// Places of numbers in the head, each big-endian.
const PAGE_SIZE: usize = 16;
const CHANGES: usize = 24;
const PAGES: usize = 28;
const PAGES_VALID_FOR: usize = 92;

/// How many bytes a database file must have, if this is the head of one and it says so.
pub(super) fn database_bytes(head: &[u8]) -> Option<u64> {
    if !head.starts_with(MAGIC) {
        return None;
    }
    // A number of pages that an old program has not kept up is none.
    if number(head, CHANGES)? != number(head, PAGES_VALID_FOR)? {
        return None;
    }
    let size: [u8; 2] = head.get(PAGE_SIZE..)?.get(..2)?.try_into().ok()?;
    let size = match u16::from_be_bytes(size) {
        // The largest size does not fit.
        1 => 65_536,
        size => u64::from(size),
    };
    Some(size * u64::from(number(head, PAGES)?))
}

fn number(head: &[u8], at: usize) -> Option<u32> {
    let bytes = head.get(at..)?.get(..4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: u16, pages: u32, valid_for: u32) -> Vec<u8> {
        let mut head = vec![0; BYTES];
        head[..16].copy_from_slice(MAGIC);
        head[16..18].copy_from_slice(&size.to_be_bytes());
        head[24..28].copy_from_slice(&7_u32.to_be_bytes());
        head[28..32].copy_from_slice(&pages.to_be_bytes());
        head[92..96].copy_from_slice(&valid_for.to_be_bytes());
        head
    }

    #[test]
    fn the_length_is_pages_times_their_size() {
        assert_eq!(database_bytes(&head(1024, 3, 7)), Some(3072));
        assert_eq!(
            database_bytes(&head(1, u32::MAX, 7)),
            Some(281_474_976_645_120)
        );
    }

    #[test]
    fn a_head_that_is_none_says_nothing() {
        let whole = head(1024, 3, 7);
        for text in [&b""[..], b"no database", &whole[1..], &whole[..95]] {
            assert_eq!(database_bytes(text), None);
        }
        assert_eq!(database_bytes(&head(1024, 3, 6)), None, "not kept up");
    }
}
