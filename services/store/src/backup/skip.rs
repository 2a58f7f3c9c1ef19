//! Ids that go on above those that clients may hold.
//!
//! Messages that were stored after a backup are lost with a restore, but clients keep them, under ids
//! that would be given once more: they would take the new message for the one that they have. So every
//! conversation skips ids, as a gap that reads treat as empty (see the migration of `id_gap`), and so do
//! conversations and groups that start later, since the backup may not know them.

use std::path::Path;

use im_core::{Conversation, MsgId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

use super::BackupError;
use crate::sqlite::{self, conversation};

/// Newest id of each conversation, skipped ones included.
const NEWEST: &str = "SELECT c.conv, c.kind, c.a, c.b, c.last_id, coalesce((SELECT g.through
    FROM id_gap AS g WHERE g.conv = c.conv AND g.after = c.last_id), c.last_id) AS newest
    FROM conversation AS c ORDER BY newest DESC LIMIT 1";

/// A gap that no message has followed yet grows.
const SKIP: &str = "INSERT INTO id_gap (conv, after, through)
    SELECT conv, last_id, last_id + ?1 FROM conversation WHERE true
    ON CONFLICT (conv, after) DO UPDATE SET through = through + ?1";
const SKIP_OF_NEW: &str = "UPDATE meta SET value = value + ? WHERE name = 'skipped_ids'";
const SKIPPED_OF_NEW: &str = "SELECT value FROM meta WHERE name = 'skipped_ids'";
const SKIP_GROUPS: &str = "UPDATE meta SET value = ? + max(value,
    (SELECT coalesce(max(id), 0) FROM chat_group)) WHERE name = 'greatest_group'";

/// Lets every conversation of a copy that nobody uses skip so many ids.
pub(super) async fn skip(path: &Path, ids: u32) -> Result<(), BackupError> {
    let mut copy = SqliteConnectOptions::new()
        .filename(path)
        // A copy that is not complete is thrown away.
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .foreign_keys(false)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
        .connect()
        .await?;
    sqlite::migrator()
        .run(&mut copy)
        .await
        .map_err(|error| BackupError::Database(Box::new(error)))?;
    check(&mut copy, ids).await?;
    let skipped = i64::from(ids);
    let mut all = copy.begin().await?;
    for statement in [SKIP, SKIP_OF_NEW, SKIP_GROUPS] {
        sqlx::query(statement)
            .bind(skipped)
            .execute(&mut *all)
            .await?;
    }
    all.commit().await?;
    copy.close().await?;
    Ok(())
}

/// Whether every conversation has that many ids left.
async fn check(copy: &mut SqliteConnection, ids: u32) -> Result<(), BackupError> {
    let fits = |newest: i64| newest + i64::from(ids) < i64::from(MsgId::CLIENTS_OWN);
    let row = sqlx::query(NEWEST).fetch_optional(&mut *copy).await?;
    if let Some(row) = row {
        let newest: i64 = row.try_get(5)?;
        if !fits(newest) {
            let of =
                conversation(&row, 1).map_err(|error| BackupError::Database(Box::new(error)))?;
            return Err(BackupError::NoIdsLeft {
                conversation: match of {
                    Conversation::Pair(a, b) => format!("the conversation of users {a} and {b}"),
                    Conversation::Group(group) => format!("group {group}"),
                },
                newest,
                skip: ids,
            });
        }
    }
    let row = sqlx::query(SKIPPED_OF_NEW).fetch_one(copy).await?;
    let newest: i64 = row.try_get(0)?;
    if fits(newest) {
        return Ok(());
    }
    Err(BackupError::NoIdsLeft {
        conversation: "a conversation that starts now".to_owned(),
        newest,
        skip: ids,
    })
}
