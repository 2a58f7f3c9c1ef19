//! The log of changes, which triggers write.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{number, position, signed, text, time, user};
use crate::{ChangeLogStore, ChangeRow, Changed, ReadyFile, StoreError};

/// The end as the table remembers it whose rows may have gone.
pub(super) const END: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change_log'), 0)";
const AFTER: &str =
    "SELECT seq, at, what, change_log.id, value, task, sender, receiver, name, size, stored
    FROM change_log LEFT JOIN ready_file ON what = 4 AND ready_file.id = change_log.id
    WHERE seq > ? ORDER BY seq LIMIT ?";
const NOTE_FILE: &str = "INSERT INTO ready_file (task, sender, receiver, name, size, stored)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (task) DO NOTHING";
const DROP_OLD: &str = "DELETE FROM change_log WHERE at < ? AND seq IN
    (SELECT seq FROM change_log ORDER BY seq LIMIT 1000)";
/// Places are given one after the other, so the ends of the table tell how many rows it has without a look at each.
const DROP_MANY: &str = "DELETE FROM change_log WHERE seq <= coalesce(
    min((SELECT max(seq) FROM change_log) - ?1, (SELECT min(seq) FROM change_log) + 999), 0)";

#[async_trait]
impl ChangeLogStore for SqliteStore {
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
            .bind(signed(after.to_wire())?)
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(change).collect()
    }

    async fn note_ready_file(&self, file: &ReadyFile) -> Result<bool, StoreError> {
        let noting = sqlx::query(NOTE_FILE)
            .bind(file.task.clone())
            .bind(i64::from(file.from.get()))
            .bind(i64::from(file.to.get()))
            .bind(file.name.clone())
            .bind(i64::from(file.size))
            .bind(i64::from(file.stored));
        Ok(self.change_rows(noting).await? > 0)
    }

    async fn trim_changes(&self, since: UnixSeconds, most: u32) -> Result<u64, StoreError> {
        let old = sqlx::query(DROP_OLD).bind(i64::from(since));
        let many = sqlx::query(DROP_MANY).bind(i64::from(most));
        let dropped = self.change_rows(old).await?;
        Ok(dropped + self.change_rows(many).await?)
    }
}

fn change(row: &SqliteRow) -> Result<ChangeRow, StoreError> {
    let (what, id) = (number(row, 2)?, number(row, 3)?);
    let changed = match what {
        1 => Changed::Group(id),
        2 => Changed::Person(id),
        3 => Changed::Department(id),
        4 => Changed::File(ReadyFile {
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
