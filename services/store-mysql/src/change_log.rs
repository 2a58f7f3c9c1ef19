//! The log of changes, which every transaction writes that changes a group or the directory.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use im_store::{ChangeLogStore, ChangeRow, Changed, ReadyFile, StoreError};
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::change::{next_number, next_numbers, run};
use crate::rows::{narrow, number, optional, position, text, time, user};

/// Column `what`.
pub(crate) const GROUP: u32 = 1;
pub(crate) const PERSON: u32 = 2;
pub(crate) const DEPARTMENT: u32 = 3;
const FILE: u32 = 4;

/// The end as the counter remembers it whose rows may have gone.
pub(crate) const END: &str = "SELECT value FROM meta WHERE name = 'change_log'";
const AFTER: &str =
    "SELECT c.seq, c.at, c.what, c.id, c.value, f.task, f.sender, f.receiver, f.name, f.size, f.stored
    FROM change_log AS c LEFT JOIN ready_file AS f ON c.what = 4 AND f.id = c.id
    WHERE c.seq > ? ORDER BY c.seq LIMIT ?";
const HAS_FILE: &str = "SELECT count(*) FROM ready_file WHERE task = ?";
const NOTE_FILE: &str = "INSERT INTO ready_file (id, task, sender, receiver, name, size, stored)
    VALUES (?, ?, ?, ?, ?, ?, ?)";
/// Up to where the oldest thousand reach of which some are too old, and which are too many.
const ENDS: &str = "SELECT
    (SELECT max(seq) FROM (SELECT seq FROM change_log ORDER BY seq LIMIT 1000) AS oldest),
    (SELECT min(seq) FROM change_log), (SELECT max(seq) FROM change_log)";
const DROP_FILES: &str =
    "DELETE f FROM ready_file AS f JOIN change_log AS c ON c.what = 4 AND c.id = f.id
    WHERE c.seq <= ? AND c.at < ?";
const DROP: &str = "DELETE FROM change_log WHERE seq <= ? AND at < ?";
/// Rows that are written in one statement.
const ROWS_AT_ONCE: usize = 1000;
/// Rows that are dropped of each kind in one call.
const DROPPED_AT_ONCE: u64 = 1000;

#[async_trait]
impl ChangeLogStore for MysqlStore {
    async fn change_log_end(&self) -> Result<CommitSeq, StoreError> {
        let row = sqlx::query(END).fetch_one(&self.inner.readers).await?;
        position(&row, 0)
    }

    async fn changes_after(
        &self,
        after: CommitSeq,
        limit: u32,
    ) -> Result<Vec<ChangeRow>, StoreError> {
        let rows = sqlx::query(AFTER)
            .bind(after.to_wire())
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(change).collect()
    }

    async fn note_ready_file(&self, file: &ReadyFile) -> Result<bool, StoreError> {
        let file = file.clone();
        self.change(move |connection| {
            Box::pin(async move {
                // Behind the counter's lock nobody else notes the same.
                let id = narrow(next_number(&mut *connection, "ready_file").await?)?;
                let row = sqlx::query(HAS_FILE)
                    .bind(file.task.as_bytes())
                    .fetch_one(&mut *connection)
                    .await?;
                if number(&row, 0)? > 0 {
                    return Ok(false);
                }
                sqlx::query(NOTE_FILE)
                    .bind(id)
                    .bind(file.task.as_bytes())
                    .bind(file.from.get())
                    .bind(file.to.get())
                    .bind(&file.name)
                    .bind(file.size)
                    .bind(file.stored.get())
                    .execute(&mut *connection)
                    .await?;
                note_changes(connection, FILE, &[(id, 0)]).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn trim_changes(&self, since: UnixSeconds, most: u32) -> Result<u64, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(ENDS).fetch_one(&mut *connection).await?;
                let old = optional(&row, 0)?.unwrap_or(0);
                let dropped = drop_rows(&mut *connection, old, since.get()).await?;
                let row = sqlx::query(ENDS).fetch_one(&mut *connection).await?;
                let (first, last) = (optional(&row, 1)?, optional(&row, 2)?);
                let Some((first, last)) = first.zip(last) else {
                    return Ok(dropped);
                };
                // Places are given one after the other, so the ends tell how many rows there are.
                let many = last.saturating_sub(most.into());
                let many = many.min(first.saturating_add(DROPPED_AT_ONCE - 1));
                Ok(dropped + drop_rows(connection, many, u32::MAX).await?)
            })
        })
        .await
    }
}

async fn drop_rows(
    connection: &mut MySqlConnection,
    through: u64,
    before: u32,
) -> Result<u64, StoreError> {
    sqlx::query(DROP_FILES)
        .bind(through)
        .bind(before)
        .execute(&mut *connection)
        .await?;
    let dropped = sqlx::query(DROP)
        .bind(through)
        .bind(before)
        .execute(connection)
        .await?;
    Ok(dropped.rows_affected())
}

/// Writes in the open transaction what has changed: ids, and the version or stamp that each has now.
pub(crate) async fn note_changes(
    connection: &mut MySqlConnection,
    what: u32,
    changed: &[(u32, u32)],
) -> Result<(), StoreError> {
    for changed in changed.chunks(ROWS_AT_ONCE) {
        let how_many = u64::try_from(changed.len()).unwrap_or(u64::MAX);
        let last = next_numbers(&mut *connection, "change_log", how_many).await?;
        let first = last.saturating_sub(how_many) + 1;
        let rows = (first..).zip(changed);
        let rows =
            rows.map(|(seq, (id, value))| format!("({seq},UNIX_TIMESTAMP(),{what},{id},{value})"));
        let rows = rows.collect::<Vec<_>>().join(",");
        let noting = format!("INSERT INTO change_log (seq, at, what, id, value) VALUES {rows}");
        run(&mut *connection, noting).await?;
    }
    Ok(())
}

fn change(row: &MySqlRow) -> Result<ChangeRow, StoreError> {
    let (what, id) = (number(row, 2)?, number(row, 3)?);
    let changed = match what {
        GROUP => Changed::Group(id),
        PERSON => Changed::Person(id),
        DEPARTMENT => Changed::Department(id),
        FILE => Changed::File(ReadyFile {
            task: text(row, 5)?,
            from: user(row, 6)?,
            to: user(row, 7)?,
            name: text(row, 8)?,
            size: number(row, 9)?,
            stored: time(row, 10)?,
        }),
        other => return Err(StoreError::Corrupt(format!("change of {other}"))),
    };
    Ok(ChangeRow {
        seq: position(row, 0)?,
        at: time(row, 1)?,
        changed,
        value: number(row, 4)?,
    })
}
