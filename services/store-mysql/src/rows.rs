//! Values in and out of rows, and errors of the driver.

use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, MsgId, UserId};
use im_order::CommitSeq;
use im_store::{HASH_BYTES, StoreError};
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{Row as _, ValueRef as _};

/// The number of a conversation: a group's id, or of a pair the lower id << 32 | the higher one.
pub(crate) fn conversation_number(conversation: Conversation) -> u64 {
    match conversation {
        Conversation::Pair(low, high) => u64::from(low.get()) << 32 | u64::from(high.get()),
        Conversation::Group(group) => group.get().into(),
    }
}

/// Numbers of groups lie below this one, those of pairs above.
pub(crate) const FIRST_PAIR: u64 = 1 << 32;

/// Reads the number of a conversation.
pub(crate) fn conversation(row: &MySqlRow, at: usize) -> Result<Conversation, StoreError> {
    let number = count(row, at)?;
    let part = |bits: u64| u32::try_from(bits).unwrap_or(0);
    let (low, high) = (part(number >> 32), part(number & u64::from(u32::MAX)));
    let pair = UserId::from_wire(low).zip(UserId::from_wire(high));
    let found = if number < FIRST_PAIR {
        GroupId::from_wire(high).map(Conversation::Group)
    } else {
        pair.map(|(low, high)| Conversation::Pair(low, high))
    };
    found.ok_or_else(|| StoreError::Corrupt(format!("conversation {number}")))
}

pub(crate) fn number(row: &MySqlRow, at: usize) -> Result<u32, StoreError> {
    narrow(count(row, at)?)
}

pub(crate) fn narrow(value: u64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("number {value}")))
}

pub(crate) fn time(row: &MySqlRow, at: usize) -> Result<UnixSeconds, StoreError> {
    number(row, at).map(UnixSeconds::from_wire)
}

pub(crate) fn position(row: &MySqlRow, at: usize) -> Result<CommitSeq, StoreError> {
    count(row, at).map(CommitSeq::from_wire)
}

/// A number that is not negative.
pub(crate) fn count(row: &MySqlRow, at: usize) -> Result<u64, StoreError> {
    optional(row, at)?.ok_or_else(|| StoreError::Corrupt("no number".to_owned()))
}

/// The same of a column that may be null. Columns are unsigned. What is computed may be signed, and is decimal, which
/// travels as digits, where an unsigned and a signed number meet, as in `coalesce(max(seq), 0)`.
pub(crate) fn optional(row: &MySqlRow, at: usize) -> Result<Option<u64>, StoreError> {
    let odd = |number: &dyn std::fmt::Display| StoreError::Corrupt(format!("count {number}"));
    if let Ok(value) = row.try_get::<Option<u64>, _>(at) {
        return Ok(value);
    }
    if let Ok(value) = row.try_get::<Option<i64>, _>(at) {
        let number = value.map(|value| u64::try_from(value).map_err(|_| odd(&value)));
        return number.transpose();
    }
    if row.try_get_raw(at)?.is_null() {
        return Ok(None);
    }
    let digits = text(row, at)?;
    digits.parse().map(Some).map_err(|_| odd(&digits))
}

/// Text of any column: those that are compared byte by byte are binary.
pub(crate) fn text(row: &MySqlRow, at: usize) -> Result<String, StoreError> {
    let bytes = bytes(row, at)?;
    String::from_utf8(bytes).map_err(|_| StoreError::Corrupt("text that is not UTF-8".to_owned()))
}

pub(crate) fn bytes(row: &MySqlRow, at: usize) -> Result<Vec<u8>, StoreError> {
    Ok(row.try_get_unchecked(at)?)
}

pub(crate) fn hash(row: &MySqlRow, at: usize) -> Result<[u8; HASH_BYTES], StoreError> {
    bytes(row, at)?
        .try_into()
        .map_err(|_| StoreError::Corrupt("a hash of a wrong length".to_owned()))
}

pub(crate) fn user(row: &MySqlRow, at: usize) -> Result<UserId, StoreError> {
    UserId::from_wire(number(row, at)?).ok_or_else(|| zero("user"))
}

pub(crate) fn group(row: &MySqlRow, at: usize) -> Result<GroupId, StoreError> {
    GroupId::from_wire(number(row, at)?).ok_or_else(|| zero("group"))
}

pub(crate) fn msg_id(row: &MySqlRow, at: usize) -> Result<MsgId, StoreError> {
    MsgId::from_wire(number(row, at)?).ok_or_else(|| zero("message"))
}

fn zero(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} id 0"))
}

/// A number of bytes; more than the database can count is as much as there can be.
pub(crate) fn size(bytes: usize) -> u64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).unsigned_abs()
}

/// Numbers as the inside of `IN (…)`; none is in an empty list.
pub(crate) fn list(numbers: impl IntoIterator<Item = impl Into<u64>>) -> String {
    let numbers = numbers.into_iter().map(|number| number.into().to_string());
    let list = numbers.collect::<Vec<_>>().join(",");
    if list.is_empty() {
        "NULL".to_owned()
    } else {
        list
    }
}

pub(crate) fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable(reason.into())
}

/// What the server says about an error, if it comes from there.
pub(crate) fn code(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// A value is there already that must be unique.
const DUPLICATE: [u16; 2] = [1062, 1586];
/// Two transactions got in each other's way; of this one nothing is stored. Deadlock, lock wait, changed row (Galera),
/// TiDB's conflicts.
const CONFLICT: [u16; 5] = [1213, 1205, 1020, 9007, 8022];
/// The server ended the call, whatever had become of it: killed, shut down, error during commit.
const ENDED: [u16; 7] = [1053, 1077, 1180, 1317, 1927, 1969, 4031];
/// The text of the fence has failed.
const OUT_OF_RANGE: u16 = 1690;

pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| DUPLICATE.contains(&code))
}

pub(crate) fn is_out_of_range(error: &sqlx::Error) -> bool {
    code(error) == Some(OUT_OF_RANGE)
}

/// Whether the whole transaction can be tried again at once.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| CONFLICT.contains(&code))
}

/// The same of an error that has become one of the store.
pub(crate) fn is_conflict_of_store(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(source) => source.downcast_ref().is_some_and(is_conflict),
        _ => false,
    }
}

/// Whether the server has said that nothing of a transaction is stored whose COMMIT it was asked for.
pub(crate) fn is_definite(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| !ENDED.contains(&code))
}

/// The error of a write whose keys the caller chose: they are in use already.
pub(crate) fn outdated(error: sqlx::Error) -> StoreError {
    if is_duplicate(&error) {
        StoreError::Outdated
    } else {
        error.into()
    }
}
