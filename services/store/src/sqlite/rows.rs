//! Values in and out of rows, and errors of the driver.

use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, MsgId, UserId};
use im_order::CommitSeq;
use sqlx::Row;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteError, SqliteRow};

use crate::StoreError;

/// A conversation as the columns (kind, a, b).
pub(super) fn conversation_key(conversation: Conversation) -> (i64, i64, i64) {
    match conversation {
        Conversation::Pair(low, high) => (PAIR, low.get().into(), high.get().into()),
        Conversation::Group(group) => (GROUP, group.get().into(), 0),
    }
}

/// Column `kind` of a pair.
pub(super) const PAIR: i64 = 1;
/// Column `kind` of a group.
pub(super) const GROUP: i64 = 2;

/// Reads (kind, a, b) from column `at` on.
pub(crate) fn conversation(row: &SqliteRow, at: usize) -> Result<Conversation, StoreError> {
    let kind: i64 = row.try_get(at)?;
    match kind {
        PAIR => Ok(Conversation::Pair(user(row, at + 1)?, user(row, at + 2)?)),
        GROUP => Ok(Conversation::Group(group(row, at + 1)?)),
        _ => Err(StoreError::Corrupt(format!("conversation kind {kind}"))),
    }
}

pub(super) fn number(row: &SqliteRow, at: usize) -> Result<u32, StoreError> {
    let value: i64 = row.try_get(at)?;
    u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("number {value}")))
}

pub(super) fn time(row: &SqliteRow, at: usize) -> Result<UnixSeconds, StoreError> {
    number(row, at).map(UnixSeconds::from_wire)
}

pub(super) fn position(row: &SqliteRow, at: usize) -> Result<CommitSeq, StoreError> {
    count(row, at).map(CommitSeq::from_wire)
}

pub(super) fn count(row: &SqliteRow, at: usize) -> Result<u64, StoreError> {
    unsigned(row.try_get(at)?)
}

/// SQLite's signed number as a count of something.
pub(super) fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("count {value}")))
}

pub(super) fn text(row: &SqliteRow, at: usize) -> Result<String, StoreError> {
    Ok(row.try_get(at)?)
}

pub(super) fn user(row: &SqliteRow, at: usize) -> Result<UserId, StoreError> {
    UserId::from_wire(number(row, at)?).ok_or_else(|| zero("user"))
}

pub(super) fn group(row: &SqliteRow, at: usize) -> Result<GroupId, StoreError> {
    GroupId::from_wire(number(row, at)?).ok_or_else(|| zero("group"))
}

pub(super) fn msg_id(row: &SqliteRow, at: usize) -> Result<MsgId, StoreError> {
    MsgId::from_wire(number(row, at)?).ok_or_else(|| zero("message"))
}

/// A count as SQLite's signed number.
pub(super) fn signed(count: u64) -> Result<i64, StoreError> {
    i64::try_from(count).map_err(|_| StoreError::Corrupt(format!("count {count}")))
}

/// A number of bytes as SQLite's signed number; more than that is as much as there can be.
pub(super) fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Numbers as a JSON array, to be bound as one parameter and unfolded by `json_each`.
pub(super) fn json_array(numbers: impl Iterator<Item = u32>) -> String {
    let mut text = String::from("[");
    for number in numbers {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&number.to_string());
    }
    text.push(']');
    text
}

pub(super) fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable(reason.into())
}

fn zero(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} id 0"))
}

/// Extended result codes of SQLite that say "this key is there already": UNIQUE, PRIMARYKEY, ROWID.
const UNIQUE_CODES: [i32; 3] = [2067, 1555, 2579];
/// Primary result codes CORRUPT and NOTADB.
const CORRUPT_CODES: [i32; 2] = [11, 26];

/// Whether the error is a violation of a unique key.
pub(super) fn is_unique_violation(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| UNIQUE_CODES.contains(&code))
}

/// The error of a write whose keys the caller chose: they are in use already.
pub(super) fn outdated(error: sqlx::Error) -> StoreError {
    if is_unique_violation(&error) {
        StoreError::Outdated
    } else {
        error.into()
    }
}

/// The extended result code, if the error is one of SQLite.
fn code(error: &sqlx::Error) -> Option<i32> {
    let error = error.as_database_error()?;
    let code = error.try_downcast_ref::<SqliteError>()?.code()?;
    code.parse().ok()
}

/// Only messages are stored this way, whose keys the writer chose.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code);
        match code {
            Some(code) if UNIQUE_CODES.contains(&code) => Self::Outdated,
            Some(code) if CORRUPT_CODES.contains(&(code & 0xff)) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let primary = code(&error).map(|code| code & 0xff);
        match (&error, primary) {
            (_, Some(code)) if CORRUPT_CODES.contains(&code) => Self::Corrupt(error.to_string()),
            (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}
