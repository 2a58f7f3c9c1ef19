//! Failed logins by name and address.

use im_core::time::UnixSeconds;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows::text;
use crate::{EVERY_ADDRESS, FailurePage, FailureQuery, LoginFailures, NewFailure, StoreError};

/// Failures remembered per (name, address) at most; any bound of theirs lies below.
const MAX_FAILURES: usize = 128;

const TIMES: &str = "SELECT times FROM login_failure WHERE name = ? AND address = ?";
const STORE: &str = "INSERT INTO login_failure (name, address, kind, newest, times)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (name, address) DO UPDATE SET
        kind = excluded.kind, newest = excluded.newest, times = excluded.times";
const DROP_OLD: &str = "DELETE FROM login_failure WHERE kind IN (0, 1, 2) AND newest < ?";
const DROP_AHEAD: &str = "DELETE FROM login_failure WHERE kind IN (0, 1, 2) AND newest > ?";
const DROP_EXCESS: &str = "DELETE FROM login_failure WHERE id IN
    (SELECT id FROM login_failure WHERE kind = ? ORDER BY newest DESC, id DESC LIMIT -1 OFFSET ?)";
const CLEAR: &str = "DELETE FROM login_failure WHERE name = ? AND address = ?";
const REDUCE: &str =
    "UPDATE login_failure SET newest = ?, times = ? WHERE name = ? AND address = ?";
const FORGET: &str = "DELETE FROM login_failure WHERE name = ?";
/// ?1 and ?2 from when to when, ?3 above, ?4 name or all, ?5 and ?6 behind which time and row, ?7 rows.
const LIST: &str = "SELECT times, name, address, newest, id FROM login_failure
    WHERE newest >= ?1 AND newest <= ?2 AND length(times) > 4 * ?3 AND (?4 = '' OR name = ?4)
      AND (newest < ?5 OR (newest = ?5 AND id < ?6))
    ORDER BY newest DESC, id DESC LIMIT ?7";

/// Column `kind`.
mod kind {
    pub(super) const UNKNOWN: i64 = 0;
    pub(super) const KNOWN: i64 = 1;
    pub(super) const KEPT: i64 = 2;
}

pub(super) async fn counts(
    connection: &mut SqliteConnection,
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

pub(super) async fn add(
    connection: &mut SqliteConnection,
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
            .bind(i64::from(limit))
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
        sqlx::query(DROP_EXCESS)
            .bind(kind)
            .bind(i64::from(max_pairs))
            .execute(&mut *connection)
            .await?;
    }
    Ok(counts)
}

pub(super) async fn clear(
    connection: &mut SqliteConnection,
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
                    .bind(i64::from(*newest))
                    .bind(blob(&times))
                    .bind(name)
                    .bind(address)
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn list(
    connection: &mut SqliteConnection,
    query: &FailureQuery<'_>,
) -> Result<FailurePage, StoreError> {
    let (time, id) = query.behind.map_or((i64::MAX, i64::MAX), split_place);
    let rows = sqlx::query(LIST)
        .bind(i64::from(query.since))
        .bind(i64::from(query.now))
        .bind(i64::from(query.above))
        .bind(query.name)
        .bind(time)
        .bind(id)
        .bind(i64::from(query.limit))
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
fn place(row: &SqliteRow) -> Result<u128, StoreError> {
    let (time, id): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
    Ok(u128::from(time.unsigned_abs()) << 64 | u128::from(id.unsigned_abs()))
}

fn split_place(place: u128) -> (i64, i64) {
    let part = |bits: u128| i64::try_from(bits).unwrap_or(i64::MAX);
    (part(place >> 64), part(place & u128::from(u64::MAX)))
}

pub(super) async fn forget(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<u64, StoreError> {
    let done = sqlx::query(FORGET).bind(name).execute(connection).await?;
    Ok(done.rows_affected())
}

async fn times_of(
    connection: &mut SqliteConnection,
    name: &str,
    address: &str,
) -> Result<Vec<UnixSeconds>, StoreError> {
    let row = sqlx::query(TIMES)
        .bind(name)
        .bind(address)
        .fetch_optional(connection)
        .await?;
    Ok(row.as_ref().map(times).transpose()?.unwrap_or_default())
}

async fn store(
    connection: &mut SqliteConnection,
    name: &str,
    address: &str,
    kind: i64,
    times: &[UnixSeconds],
) -> Result<(), StoreError> {
    sqlx::query(STORE)
        .bind(name)
        .bind(address)
        .bind(kind)
        .bind(i64::from(times.last().copied().unwrap_or_default()))
        .bind(blob(times))
        .execute(connection)
        .await?;
    Ok(())
}

async fn drop_row(
    connection: &mut SqliteConnection,
    name: &str,
    address: &str,
) -> Result<(), StoreError> {
    sqlx::query(CLEAR)
        .bind(name)
        .bind(address)
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

fn times(row: &SqliteRow) -> Result<Vec<UnixSeconds>, StoreError> {
    let blob: Vec<u8> = row.try_get(0)?;
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
