//! All that a store holds, in words that every kind of store understands: sections, each a table with its rows in one order.
//!
//! Two stores hold the same if the rows of all sections are the same. A conversation (`conv`) is a number: a group's id, or of
//! a pair the lower user id << 32 | the higher one.

use crate::StoreError;

/// Rows of one page at most.
pub const PAGE_ROWS: usize = 1_000;
/// Bytes at which a page ends; one row may be longer.
pub const PAGE_BYTES: usize = 256 << 10;

/// Name of the section of messages, whose second column is the conversation and whose third one the id.
pub const MESSAGES: &str = "message";
/// Name of the section of conversations.
pub const CONVERSATION: &str = "conversation";

/// A table of the contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is called.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    /// How many of the first columns are the key, by which the rows are in order.
    pub key: usize,
    /// Whether every store has its rows from the beginning: they are set, not added.
    pub is_preset: bool,
}

/// A column of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it is called.
    pub name: &'static str,
    /// What is in it.
    pub kind: ColumnKind,
    /// Whether a row may have nothing in it.
    pub is_optional: bool,
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Numbers, or 64 bits that a store may take for a negative one.
    Number,
    /// Text in UTF-8.
    Text,
    /// Bytes.
    Bytes,
}

/// A field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number.
    Number(u64),
    /// Text or bytes, as the column says.
    Bytes(Vec<u8>),
}

impl Value {
    /// Bytes that it takes, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Number(_) => 8,
            Self::Bytes(bytes) => 4 + bytes.len(),
        }
    }
}

/// Rows of one section that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentPage {
    /// Place of the section in [`SECTIONS`].
    pub section: usize,
    /// The rows, each with a value for every column.
    pub rows: Vec<Vec<Value>>,
}

/// What travels out of a store or into one, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// How many rows each section has.
    Counts(Vec<u64>),
    /// Some rows. Sections come in the order of [`SECTIONS`].
    Rows(ContentPage),
    /// That was all. What ends without it was cut off.
    End,
}

const fn number(name: &'static str) -> Column {
    column(name, ColumnKind::Number)
}

const fn text(name: &'static str) -> Column {
    column(name, ColumnKind::Text)
}

const fn bytes(name: &'static str) -> Column {
    column(name, ColumnKind::Bytes)
}

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column {
        name,
        kind,
        is_optional: false,
    }
}

const fn optional(column: Column) -> Column {
    Column {
        name: column.name,
        kind: column.kind,
        is_optional: true,
    }
}

const fn section(name: &'static str, key: usize, columns: &'static [Column]) -> Section {
    Section {
        name,
        columns,
        key,
        is_preset: false,
    }
}

const fn preset(name: &'static str, key: usize, columns: &'static [Column]) -> Section {
    Section {
        name,
        columns,
        key,
        is_preset: true,
    }
}

/// Every section, in an order in which a store can take them: whatever a row speaks of comes before it.
#[rustfmt::skip]
pub const SECTIONS: &[Section] = &[
    section("department", 1, &[
        number("id"), number("parent"), text("name"), number("priority"), number("status"), number("stamp"),
    ]),
    section("account", 1, &[
        number("id"), text("name"), text("hash"), text("nick"), number("sex"), number("department"), text("phone"),
        text("email"), text("domain"), text("avatar"), text("signature"), number("status"), number("kind"),
        number("push_shield"), number("stamp"), optional(bytes("remembered")), number("remembered_at"),
    ]),
    // number: what the writer calls it.
    section(CONVERSATION, 1, &[
        number("conv"), number("number"), number("last_id"), number("last_seq"), number("last_time"), number("low_sent"),
    ]),
    section("id_gap", 2, &[number("conv"), number("after"), number("through")]),
    section("chat_group", 1, &[
        number("id"), text("name"), text("avatar"), number("creator"), number("type"), number("version"),
        number("created"), number("updated"),
    ]),
    // What of a conversation is one user's alone.
    section("inbox", 2, &[
        number("user"), number("conv"), number("read_id"), optional(number("removed_at")), number("created"),
    ]),
    // Of groups: who is in them, or was.
    section("member", 2, &[
        number("conv"), number("user"), number("active"), number("joined_id"), number("shield"), number("created"),
        number("updated"), optional(number("changed_by")),
    ]),
    section(MESSAGES, 1, &[
        number("seq"), number("conv"), number("id"), number("sender"), number("type"), number("time"),
        number("low_sent"), optional(bytes("retry_key")), bytes("body"),
    ]),
    section("stored_level", 1, &[number("user"), number("bytes"), number("at")]),
    section("login_failure", 1, &[
        number("id"), text("name"), text("address"), number("kind"), number("newest"), bytes("times"),
    ]),
    section("push_target", 1, &[
        number("id"), text("token"), number("user"), number("type"), number("session"),
    ]),
    section("audit_log", 1, &[
        number("number"), number("at"), text("actor"), text("credential"), text("address"), text("request"),
        text("action"), text("target"), text("before"), text("after"), number("outcome"), bytes("hash"),
    ]),
    preset("audit_ends", 1, &[
        number("id"), number("first"), bytes("first_hash"), number("last"), bytes("last_hash"),
    ]),
    section("idempotency_key", 1, &[
        number("id"), text("scope"), text("key"), bytes("digest"), number("at"), number("made"), bytes("answer"),
    ]),
    section("api_token", 1, &[
        number("id"), bytes("hash"), text("owner"), text("label"), text("scopes"), text("addresses"),
        number("created"), number("expires"), number("revoked"), number("used"), text("made_by"), number("bot"),
    ]),
    section("follower", 2, &[text("name"), number("part"), number("epoch"), number("position")]),
    section("follower_retry", 3, &[
        text("name"), number("part"), bytes("key"), number("lane"), number("due"), number("tries"), bytes("body"),
    ]),
    section("subscription", 1, &[
        number("id"), text("url"), text("label"), text("kinds"), text("of_groups"), text("of_senders"), text("secret"),
        text("former_secret"), number("former_until"), number("created"), text("made_by"), number("bot"),
    ]),
    section("delivery", 1, &[
        number("id"), number("subscription"), number("log"), number("state"), number("after"), number("through"),
        number("events"), number("tries"), number("first"), number("last"), number("status"), text("answer"),
    ]),
    section("announcement", 1, &[
        number("id"), number("sender"), bytes("body"), number("audience"), text("named"), number("state"),
        number("reached"), number("position"), number("total"), number("sent"), number("refused"), number("created"),
        number("ended"), text("made_by"), text("failure"),
    ]),
    section("incoming_hook", 1, &[
        number("id"), bytes("hash"), number("sender"), number("receiver"), number("grp"), text("label"),
        number("created"), text("made_by"),
    ]),
    section("change_log", 1, &[number("seq"), number("at"), number("what"), number("id"), number("value")]),
    section("ready_file", 1, &[
        number("id"), text("task"), number("sender"), number("receiver"), text("name"), number("size"), number("stored"),
    ]),
    section("discovery_item", 1, &[
        number("id"), text("name"), text("url"), number("priority"), number("created"), number("updated"),
    ]),
    // The newest number of each kind that was given, so that none comes again.
    preset("counter", 1, &[text("name"), number("value")]),
    // Where the log of each partition ends.
    preset("part", 1, &[number("part"), number("last_seq")]),
];

/// Counters, by name.
pub const COUNTERS: [&str; 11] = [
    "announcement",
    "api_token",
    "change_log",
    "delivery",
    "directory_stamp",
    "discovery_item",
    "greatest_group",
    "incoming_hook",
    "ready_file",
    "skipped_ids",
    "subscription",
];

impl ContentPage {
    /// The section of the rows.
    ///
    /// # Errors
    /// There is no such section, or a row does not fit it.
    pub fn checked(&self) -> Result<&'static Section, StoreError> {
        let section = SECTIONS.get(self.section);
        let section =
            section.ok_or_else(|| StoreError::Corrupt(format!("section {}", self.section)))?;
        let fits = |(column, value): (&Column, &Value)| match value {
            Value::Null => column.is_optional,
            Value::Number(_) => column.kind == ColumnKind::Number,
            Value::Bytes(bytes) => match column.kind {
                ColumnKind::Number => false,
                ColumnKind::Text => std::str::from_utf8(bytes).is_ok(),
                ColumnKind::Bytes => true,
            },
        };
        for row in &self.rows {
            let columns = section.columns;
            if row.len() != columns.len() || !columns.iter().zip(row).all(fits) {
                let name = section.name;
                return Err(StoreError::Corrupt(format!(
                    "a row that does not fit section {name}"
                )));
            }
        }
        Ok(section)
    }
}

/// Gathers rows of one section into pages.
#[derive(Debug)]
pub struct Gathering {
    page: ContentPage,
    bytes: usize,
}

impl Gathering {
    /// Nothing yet of this section.
    pub fn of(section: usize) -> Self {
        Self {
            page: ContentPage {
                section,
                rows: Vec::new(),
            },
            bytes: 0,
        }
    }

    /// Adds a row; a page when it is full with it.
    pub fn add(&mut self, row: Vec<Value>) -> Option<ContentPage> {
        self.bytes += row.iter().map(Value::size).sum::<usize>();
        self.page.rows.push(row);
        let is_full = self.page.rows.len() >= PAGE_ROWS || self.bytes >= PAGE_BYTES;
        if is_full { self.rest() } else { None }
    }

    /// What is left.
    pub fn rest(&mut self) -> Option<ContentPage> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.page.rows);
        let section = self.page.section;
        (!rows.is_empty()).then_some(ContentPage { section, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_rows_and_at_its_bytes() {
        let mut gathering = Gathering::of(3);
        for _ in 1..PAGE_ROWS {
            assert_eq!(gathering.add(vec![Value::Null]), None);
        }
        let full = gathering.add(vec![Value::Null]).unwrap();
        assert_eq!((full.section, full.rows.len()), (3, PAGE_ROWS));
        assert_eq!(gathering.rest(), None);
        let long = Value::Bytes(vec![0; PAGE_BYTES / 2]);
        assert_eq!(gathering.add(vec![long.clone()]), None);
        assert_eq!(gathering.add(vec![long]).unwrap().rows.len(), 2);
    }

    #[test]
    fn a_row_that_does_not_fit_its_section_is_refused() {
        let at = |name: &str| {
            let at = SECTIONS.iter().position(|section| section.name == name);
            at.unwrap()
        };
        let text = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let checked = |row| {
            let page = ContentPage {
                section: at("counter"),
                rows: vec![row],
            };
            page.checked().is_ok()
        };
        assert!(checked(vec![text(b"a"), Value::Number(1)]));
        for row in [
            vec![text(b"a")],
            vec![text(b"\xff"), Value::Number(1)],
            vec![text(b"a"), Value::Null],
            vec![text(b"a"), text(b"1")],
            vec![Value::Number(1), Value::Number(1)],
        ] {
            assert!(!checked(row.clone()), "{row:?}");
        }
    }

    #[test]
    fn every_section_has_a_name_of_its_own_and_its_key_in_front() {
        let mut names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SECTIONS.len());
        for section in SECTIONS {
            assert!((1..=section.columns.len()).contains(&section.key));
        }
        assert!(COUNTERS.is_sorted());
    }
}
