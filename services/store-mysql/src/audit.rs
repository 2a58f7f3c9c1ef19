//! Audit log and idempotency keys.

use std::sync::Arc;

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::change::next_number;
use crate::rows::{bytes, count, hash, is_duplicate, optional, text, time};
use im_store::{
    AuditEnds, AuditNote, AuditOutcome, AuditPage, AuditPlace, AuditQuery, AuditRetention,
    AuditRow, AuditStore, ChangeNote, KeptAnswer, KeyNote, Store, StoreError, audit_hash,
};

/// Old rows and keys that a new one drops at most.
const DROPPED_AT_ONCE: u32 = 16;

/// Columns of a row, in the order in which [`audit_row`] reads them.
macro_rules! columns {
    () => {
        "number, at, actor, credential, address, request, action, target, was, became, outcome, hash"
    };
}

const ENDS: &str = "SELECT first, first_hash, last, last_hash FROM audit_ends WHERE id = 1";
/// The same, locked up to the commit: rows are written one after the other.
const LOCK_ENDS: &str =
    "SELECT first, first_hash, last, last_hash FROM audit_ends WHERE id = 1 FOR UPDATE";
const INSERT: &str = concat!(
    "INSERT INTO audit_log (",
    columns!(),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
const SET_END: &str = "UPDATE audit_ends SET last = ?, last_hash = ? WHERE id = 1";
const OLDEST: &str = "SELECT number, at, hash FROM audit_log ORDER BY number LIMIT ?";
const DROP_OLD: &str = "DELETE FROM audit_log WHERE number <= ?";
const SET_BEGIN: &str = "UPDATE audit_ends SET first = ?, first_hash = ? WHERE id = 1";
const AFTER: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_log WHERE number > ? ORDER BY number LIMIT ?"
);
/// Before this number, rows to look at, actor, target and action twice each, rows.
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM (SELECT * FROM audit_log WHERE number < ? ORDER BY number DESC LIMIT ?) AS looked
    WHERE (? = '' OR actor = ?) AND (? = '' OR target = ?) AND (? = '' OR action = ?)
    ORDER BY number DESC LIMIT ?"
);
/// The first number that [`LIST`] does not look at.
const LOOKED_AT: &str = "SELECT min(number) FROM
    (SELECT number FROM audit_log WHERE number < ? ORDER BY number DESC LIMIT ?) AS looked";
const ANY_BEFORE: &str = "SELECT EXISTS (SELECT 1 FROM audit_log WHERE number < ?)";

const FORGET_KEY: &str =
    "DELETE FROM idempotency_key WHERE scope = ? AND name = ? AND (at < ? OR at > ?)";
const OLD_KEYS: &str =
    "SELECT max(id) FROM (SELECT id FROM idempotency_key ORDER BY id LIMIT ?) AS oldest";
const FORGET_OLD_KEYS: &str = "DELETE FROM idempotency_key WHERE id <= ? AND (at < ? OR at > ?)";
/// Keys are dropped from the oldest on, so that this is about how many there are; never fewer.
const KEYS: &str = "SELECT coalesce((SELECT max(id) FROM idempotency_key)
    - (SELECT min(id) FROM idempotency_key) + 1, 0)";
const INSERT_KEY: &str = "INSERT INTO idempotency_key (id, scope, name, digest, at, made, answer)
    VALUES (?, ?, ?, ?, ?, ?, ?)";
const HAS_KEY: &str = "SELECT count(*) FROM idempotency_key WHERE scope = ? AND name = ?";
const KEPT: &str = "SELECT digest, made, answer FROM idempotency_key
    WHERE scope = ? AND name = ? AND at >= ? AND at <= ?";

#[async_trait]
impl AuditStore for MysqlStore {
    fn noting(&self, note: ChangeNote) -> Arc<dyn Store> {
        Arc::new(Self {
            inner: Arc::clone(&self.inner),
            note: Some(Arc::new(note)),
        })
    }

    async fn note(&self, note: &ChangeNote) -> Result<(), StoreError> {
        let note = note.clone();
        self.change(move |connection| Box::pin(async move { write(connection, &note, 0).await }))
            .await
    }

    async fn kept_answer(
        &self,
        scope: &str,
        key: &str,
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let row = sqlx::query(KEPT)
            .bind(scope.as_bytes())
            .bind(key.as_bytes())
            .bind(since.get())
            .bind(now.get())
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(|row| {
            Ok(KeptAnswer {
                digest: hash(&row, 0)?,
                made: count(&row, 1)?,
                answer: bytes(&row, 2)?,
            })
        })
        .transpose()
    }

    async fn list_audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let page = self
            .inner
            .readers
            .in_snapshot(async |reader| page_of(reader, query).await);
        page.await
    }

    async fn read_audit(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, AuditEnds), StoreError> {
        let read = self.inner.readers.in_snapshot(async |reader| {
            let ends = ends(&mut *reader, ENDS).await?;
            let rows = sqlx::query(AFTER)
                .bind(after)
                .bind(limit)
                .fetch_all(reader)
                .await?;
            let rows = rows.iter().map(audit_row).collect::<Result<Vec<_>, _>>()?;
            Ok((rows, ends))
        });
        read.await
    }
}

/// A page of rows, newest first, all of one moment.
async fn page_of(
    reader: &mut MySqlConnection,
    query: &AuditQuery,
) -> Result<AuditPage, StoreError> {
    let before = query.before.unwrap_or(u64::MAX);
    let rows = sqlx::query(LIST)
        .bind(before)
        .bind(query.scan)
        .bind(&query.actor)
        .bind(&query.actor)
        .bind(&query.target)
        .bind(&query.target)
        .bind(&query.action)
        .bind(&query.action)
        .bind(query.limit)
        .fetch_all(&mut *reader)
        .await?;
    let rows = rows.iter().map(audit_row).collect::<Result<Vec<_>, _>>()?;
    let is_full = usize::try_from(query.limit).is_ok_and(|limit| rows.len() >= limit);
    let through = match rows.last() {
        Some(last) if is_full => Some(last.number),
        _ => {
            let row = sqlx::query(LOOKED_AT)
                .bind(before)
                .bind(query.scan)
                .fetch_one(&mut *reader)
                .await?;
            optional(&row, 0)?
        }
    };
    let Some(through) = through else {
        return Ok(AuditPage { rows, next: None });
    };
    let row = sqlx::query(ANY_BEFORE)
        .bind(through)
        .fetch_one(&mut *reader)
        .await?;
    let next = (count(&row, 0)? != 0).then_some(through);
    Ok(AuditPage { rows, next })
}

/// Writes a note in an open transaction.
pub(crate) async fn write(
    connection: &mut MySqlConnection,
    note: &ChangeNote,
    made: u64,
) -> Result<(), StoreError> {
    if let Some(key) = &note.key {
        keep_answer(connection, key, note.row.at, made).await?;
    }
    if note.is_numbered {
        let mut row = note.row.clone();
        row.target.push_str(&made.to_string());
        append(connection, &row, note.keep).await
    } else {
        append(connection, &note.row, note.keep).await
    }
}

async fn append(
    connection: &mut MySqlConnection,
    row: &AuditNote,
    keep: AuditRetention,
) -> Result<(), StoreError> {
    let AuditEnds { end, .. } = ends(&mut *connection, LOCK_ENDS).await?;
    let number = end.number.saturating_add(1);
    let hash = audit_hash(&end, number, row);
    sqlx::query(INSERT)
        .bind(number)
        .bind(row.at.get())
        .bind(&row.actor)
        .bind(&row.credential)
        .bind(&row.address)
        .bind(&row.request)
        .bind(&row.action)
        .bind(&row.target)
        .bind(&row.before)
        .bind(&row.after)
        .bind(match row.outcome {
            AuditOutcome::Done => 0_u8,
            AuditOutcome::Refused => 1,
        })
        .bind(&hash[..])
        .execute(&mut *connection)
        .await?;
    sqlx::query(SET_END)
        .bind(number)
        .bind(&hash[..])
        .execute(&mut *connection)
        .await?;
    drop_old_rows(connection, number, keep).await
}

/// Drops the oldest rows beyond what is kept, a few at a time; the new one always stays.
async fn drop_old_rows(
    connection: &mut MySqlConnection,
    newest: u64,
    keep: AuditRetention,
) -> Result<(), StoreError> {
    let rows = sqlx::query(OLDEST)
        .bind(DROPPED_AT_ONCE)
        .fetch_all(&mut *connection)
        .await?;
    let mut begin = None;
    for row in &rows {
        let place = AuditPlace {
            number: count(row, 0)?,
            hash: hash(row, 2)?,
        };
        let is_beyond = newest.saturating_sub(place.number) >= keep.rows.max(1);
        let is_old = time(row, 1)? < keep.since && place.number < newest;
        if !is_beyond && !is_old {
            break;
        }
        begin = Some(place);
    }
    let Some(begin) = begin else { return Ok(()) };
    sqlx::query(DROP_OLD)
        .bind(begin.number)
        .execute(&mut *connection)
        .await?;
    sqlx::query(SET_BEGIN)
        .bind(begin.number)
        .bind(&begin.hash[..])
        .execute(connection)
        .await?;
    Ok(())
}

async fn keep_answer(
    connection: &mut MySqlConnection,
    key: &KeyNote,
    now: UnixSeconds,
    made: u64,
) -> Result<(), StoreError> {
    let (since, now) = (key.since.get(), now.get());
    // Behind the counter's lock nobody else keeps one.
    let id = next_number(&mut *connection, "idempotency_key").await?;
    sqlx::query(FORGET_KEY)
        .bind(key.scope.as_bytes())
        .bind(key.key.as_bytes())
        .bind(since)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query(OLD_KEYS)
        .bind(DROPPED_AT_ONCE)
        .fetch_one(&mut *connection)
        .await?;
    if let Some(through) = optional(&row, 0)? {
        sqlx::query(FORGET_OLD_KEYS)
            .bind(through)
            .bind(since)
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    let row = sqlx::query(HAS_KEY)
        .bind(key.scope.as_bytes())
        .bind(key.key.as_bytes())
        .fetch_one(&mut *connection)
        .await?;
    if count(&row, 0)? > 0 {
        return Err(StoreError::Repeated);
    }
    let row = sqlx::query(KEYS).fetch_one(&mut *connection).await?;
    if count(&row, 0)? >= key.most {
        return Err(StoreError::Full {
            what: "idempotency keys",
        });
    }
    let done = sqlx::query(INSERT_KEY)
        .bind(id)
        .bind(key.scope.as_bytes())
        .bind(key.key.as_bytes())
        .bind(&key.digest[..])
        .bind(now)
        .bind(made)
        .bind(&key.answer)
        .execute(connection)
        .await;
    match done {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate(&error) => Err(StoreError::Repeated),
        Err(error) => Err(error.into()),
    }
}

async fn ends(
    connection: &mut MySqlConnection,
    statement: &'static str,
) -> Result<AuditEnds, StoreError> {
    let row = sqlx::query(statement).fetch_one(connection).await?;
    let place = |at| {
        Ok::<_, StoreError>(AuditPlace {
            number: count(&row, at)?,
            hash: hash(&row, at + 1)?,
        })
    };
    Ok(AuditEnds {
        begin: place(0)?,
        end: place(2)?,
    })
}

fn audit_row(row: &MySqlRow) -> Result<AuditRow, StoreError> {
    let outcome = match count(row, 10)? {
        0 => AuditOutcome::Done,
        1 => AuditOutcome::Refused,
        other => return Err(StoreError::Corrupt(format!("audit outcome {other}"))),
    };
    Ok(AuditRow {
        number: count(row, 0)?,
        note: AuditNote {
            at: time(row, 1)?,
            actor: text(row, 2)?,
            credential: text(row, 3)?,
            address: text(row, 4)?,
            request: text(row, 5)?,
            action: text(row, 6)?,
            target: text(row, 7)?,
            before: text(row, 8)?,
            after: text(row, 9)?,
            outcome,
        },
        hash: hash(row, 11)?,
    })
}
