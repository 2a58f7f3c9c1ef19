//! Failed logins by name and address.

use im_core::time::UnixSeconds;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::change::next_number;
use crate::rows::{bytes, count as number, text};
use im_store::{EVERY_ADDRESS, FailurePage, FailureQuery, LoginFailures, NewFailure, StoreError};

/// Failures remembered per (name, address) at most; any bound of theirs lies below.
const MAX_FAILURES: usize = 128;

const TIMES: &str = "SELECT times FROM login_failure WHERE name = ? AND address = ?";
const STORE: &str = "INSERT INTO login_failure (id, name, address, kind, newest, times)
    VALUES (?, ?, ?, ?, ?, ?)
    ON DUPLICATE KEY UPDATE kind = VALUES(kind), newest = VALUES(newest), times = VALUES(times)";
const DROP_OLD: &str = "DELETE FROM login_failure WHERE kind IN (0, 1, 2) AND newest < ?";
const DROP_AHEAD: &str = "DELETE FROM login_failure WHERE kind IN (0, 1, 2) AND newest > ?";
const EXCESS: &str = "SELECT newest, id FROM login_failure WHERE kind = ?
    ORDER BY newest DESC, id DESC LIMIT 1 OFFSET ?";
const DROP_EXCESS: &str = "DELETE FROM login_failure
    WHERE kind = ? AND newest <= ? AND (newest < ? OR id <= ?)";
const CLEAR: &str = "DELETE FROM login_failure WHERE name = ? AND address = ?";
const REDUCE: &str =
    "UPDATE login_failure SET newest = ?, times = ? WHERE name = ? AND address = ?";
const FORGET: &str = "DELETE FROM login_failure WHERE name = ?";
/// From when to when, above, name or all twice, behind which time twice and row, rows.
const LIST: &str = "SELECT times, name, address, newest, id FROM login_failure
    WHERE newest >= ? AND newest <= ? AND length(times) > 4 * ? AND (? = '' OR name = ?)
      AND (newest < ? OR (newest = ? AND id < ?))
    ORDER BY newest DESC, id DESC LIMIT ?";

/// Column `kind`.
mod kind {
    pub(super) const UNKNOWN: u8 = 0;
    pub(super) const KNOWN: u8 = 1;
    pub(super) const KEPT: u8 = 2;
}

pub(crate) async fn counts(
    connection: &mut MySqlConnection,
    name: &str,
    addresses: &[&str],
    since: UnixSeconds,
    now: UnixSeconds,
) -> Result<Vec<u32>, StoreError> {
    let mut counts = Vec::with_capacity(addresses.len());
    for address in addresses {
        let mut times = times_of(connection, name, address).await?;
        times.retain(|time| (since..=now).contains(time));
        counts.push(count(&times));
    }
    Ok(counts)
}

pub(crate) async fn add(
    connection: &mut MySqlConnection,
    failure: &NewFailure<'_>,
) -> Result<Vec<u32>, StoreError> {
    let NewFailure {
        name,
        known,
        addresses,
        now,
        since,
        max_pairs,
        kept_above,
    } = *failure;
    for (statement, limit) in [(DROP_OLD, since), (DROP_AHEAD, now)] {
        sqlx::query(statement)
            .bind(limit.get())
            .execute(&mut *connection)
            .await?;
    }
    let mut counts = Vec::with_capacity(addresses.len());
    for address in addresses {
        let mut times = times_of(connection, name, address).await?;
        times.retain(|time| (since..=now).contains(time));
        times.push(now);
        let excess = times.len().saturating_sub(MAX_FAILURES);
        times.drain(..excess);
        let kind = if !known {
            kind::UNKNOWN
        } else if *address == EVERY_ADDRESS || count(&times) > kept_above {
            kind::KEPT
        } else {
            kind::KNOWN
        };
        store(connection, name, address, kind, &times).await?;
        counts.push(count(&times));
    }
    for kind in [kind::UNKNOWN, kind::KNOWN] {
        let first = sqlx::query(EXCESS)
            .bind(kind)
            .bind(max_pairs)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(first) = first else { continue };
        let (newest, id) = (number(&first, 0)?, number(&first, 1)?);
        sqlx::query(DROP_EXCESS)
            .bind(kind)
            .bind(newest)
            .bind(newest)
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(counts)
}

pub(crate) async fn clear(
    connection: &mut MySqlConnection,
    name: &str,
    addresses: &[&str],
) -> Result<(), StoreError> {
    let Some((first, others)) = addresses.split_first() else {
        return Ok(());
    };
    let cleared = times_of(connection, name, first).await?;
    drop_row(connection, name, first).await?;
    for address in others {
        let mut times = times_of(connection, name, address).await?;
        for time in &cleared {
            if let Some(place) = times.iter().position(|other| other == time) {
                times.remove(place);
            }
        }
        match times.iter().max() {
            None => drop_row(connection, name, address).await?,
            Some(newest) => {
                sqlx::query(REDUCE)
                    .bind(newest.get())
                    .bind(blob(&times))
                    .bind(name.as_bytes())
                    .bind(address.as_bytes())
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn list(
    connection: &mut MySqlConnection,
    query: &FailureQuery<'_>,
) -> Result<FailurePage, StoreError> {
    let (time, id) = query.behind.map_or((u64::MAX, u64::MAX), split_place);
    let rows = sqlx::query(LIST)
        .bind(query.since.get())
        .bind(query.now.get())
        .bind(query.above)
        .bind(query.name.as_bytes())
        .bind(query.name.as_bytes())
        .bind(time)
        .bind(time)
        .bind(id)
        .bind(query.limit)
        .fetch_all(connection)
        .await?;
    let mut failures = Vec::with_capacity(rows.len());
    let mut last = None;
    for row in &rows {
        let place = place(row)?;
        last = Some(place);
        let mut times = times(row)?;
        times.retain(|time| (query.since..=query.now).contains(time));
        let Some(newest) = times.iter().max().filter(|_| count(&times) > query.above) else {
            continue;
        };
        failures.push(LoginFailures {
            name: text(row, 1)?,
            address: text(row, 2)?,
            count: count(&times),
            newest: *newest,
            place,
        });
    }
    let is_full = usize::try_from(query.limit).is_ok_and(|limit| rows.len() >= limit);
    Ok(FailurePage {
        failures,
        next: last.filter(|_| is_full),
    })
}

/// The time of the newest failure, then the row.
fn place(row: &MySqlRow) -> Result<u128, StoreError> {
    Ok(u128::from(number(row, 3)?) << 64 | u128::from(number(row, 4)?))
}

fn split_place(place: u128) -> (u64, u64) {
    let part = |bits: u128| u64::try_from(bits).unwrap_or(u64::MAX);
    (part(place >> 64), part(place & u128::from(u64::MAX)))
}

pub(crate) async fn forget(
    connection: &mut MySqlConnection,
    name: &str,
) -> Result<u64, StoreError> {
    let done = sqlx::query(FORGET)
        .bind(name.as_bytes())
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

async fn times_of(
    connection: &mut MySqlConnection,
    name: &str,
    address: &str,
) -> Result<Vec<UnixSeconds>, StoreError> {
    let row = sqlx::query(TIMES)
        .bind(name.as_bytes())
        .bind(address.as_bytes())
        .fetch_optional(connection)
        .await?;
    Ok(row.as_ref().map(times).transpose()?.unwrap_or_default())
}

async fn store(
    connection: &mut MySqlConnection,
    name: &str,
    address: &str,
    kind: u8,
    times: &[UnixSeconds],
) -> Result<(), StoreError> {
    let id = next_number(&mut *connection, "login_failure").await?;
    sqlx::query(STORE)
        .bind(id)
        .bind(name.as_bytes())
        .bind(address.as_bytes())
        .bind(kind)
        .bind(times.last().copied().unwrap_or_default().get())
        .bind(blob(times))
        .execute(connection)
        .await?;
    Ok(())
}

async fn drop_row(
    connection: &mut MySqlConnection,
    name: &str,
    address: &str,
) -> Result<(), StoreError> {
    sqlx::query(CLEAR)
        .bind(name.as_bytes())
        .bind(address.as_bytes())
        .execute(connection)
        .await?;
    Ok(())
}

fn count(times: &[UnixSeconds]) -> u32 {
    u32::try_from(times.len()).unwrap_or(u32::MAX)
}

fn blob(times: &[UnixSeconds]) -> Vec<u8> {
    times
        .iter()
        .flat_map(|time| time.get().to_le_bytes())
        .collect()
}

fn times(row: &MySqlRow) -> Result<Vec<UnixSeconds>, StoreError> {
    let blob = bytes(row, 0)?;
    let (times, rest) = blob.as_chunks::<4>();
    if rest.is_empty() {
        Ok(times
            .iter()
            .map(|bytes| UnixSeconds::from_wire(u32::from_le_bytes(*bytes)))
            .collect())
    } else {
        Err(StoreError::Corrupt(
            "login failure times of odd length".into(),
        ))
    }
}
