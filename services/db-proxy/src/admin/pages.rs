//! Pages of lists: as many rows as were asked for, and no more bytes than any gRPC client takes.

use prost::Message;

use super::AdminService;
use super::cursor::Listed;

/// Bytes of the rows of a page: below the 4 MiB at which gRPC clients stop reading by default.
pub(super) const PAGE_BYTES: usize = 3 << 20;

/// Tag and length of a row inside its list, at most.
const ROW_OVERHEAD: usize = 6;

/// Rows in one answer: the default, and the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) default: u32,
    pub(super) most: u32,
}

impl Limits {
    /// What a request asks for, which is 0 where it leaves that to us.
    pub(super) fn of(self, asked: u32) -> u32 {
        match asked {
            0 => self.default,
            asked => asked.min(self.most),
        }
    }
}

/// The rows of one page, filled one by one in the order of their places.
#[derive(Debug)]
pub(super) struct Page<R> {
    rows: Vec<R>,
    limit: usize,
    bytes: usize,
    last: Option<u128>,
    is_cut: bool,
}

impl<R: Message> Page<R> {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            rows: Vec::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            bytes: 0,
            last: None,
            is_cut: false,
        }
    }

    /// Whether the row has found room. The first always does: a list goes on.
    pub(super) fn takes(&mut self, place: u128, row: R) -> bool {
        let bytes = self.bytes + row.encoded_len() + ROW_OVERHEAD;
        let is_full = self.rows.len() >= self.limit || bytes > PAGE_BYTES;
        if is_full && !self.rows.is_empty() {
            self.is_cut = true;
            return false;
        }
        self.rows.push(row);
        self.bytes = bytes;
        self.last = Some(place);
        true
    }

    /// The rows, and whether others had no room.
    pub(super) fn into_rows(self) -> (Vec<R>, bool) {
        (self.rows, self.is_cut)
    }
}

impl AdminService {
    /// The rows of a page, and the cursor of the next one: empty when nothing follows.
    pub(super) fn end_page<R>(&self, listed: Listed<'_>, page: Page<R>) -> (Vec<R>, String) {
        let next = match page.last {
            Some(last) if page.is_cut => self.cursors.make(listed, last),
            _ => String::new(),
        };
        (page.rows, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bytes` of a page; both lengths inside have two bytes.
    fn row(bytes: usize) -> String {
        let row = "x".repeat(bytes - ROW_OVERHEAD - 1 - prost::length_delimiter_len(bytes));
        assert_eq!(row.encoded_len() + ROW_OVERHEAD, bytes);
        row
    }

    #[test]
    fn a_page_is_full_at_its_bytes_and_one_byte_more_is_the_next_page() {
        let half = PAGE_BYTES / 2;
        let mut page = Page::new(10);
        assert!(page.takes(1, row(half)) && page.takes(2, row(PAGE_BYTES - half)));
        assert_eq!((page.last, page.is_cut), (Some(2), false));
        let mut page = Page::new(10);
        assert!(page.takes(1, row(half)) && !page.takes(2, row(PAGE_BYTES - half + 1)));
        assert_eq!((page.last, page.is_cut), (Some(1), true));
    }

    #[test]
    fn a_page_holds_as_many_rows_as_were_asked_for_and_at_least_one() {
        let mut page = Page::new(2);
        assert!(page.takes(1, row(100)) && page.takes(2, row(100)) && !page.takes(3, row(100)));
        let mut page = Page::new(2);
        assert!(page.takes(1, row(2 * PAGE_BYTES)) && !page.takes(2, row(100)));
    }
}
