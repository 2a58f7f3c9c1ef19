//! Copying a database that a server goes on writing to.
//!
//! One long read transaction would keep the server's write-ahead log from starting again, and at the
//! log's limit nothing is stored any more. So the log of messages, whose rows are only ever added, is
//! copied in slices of milliseconds, each a transaction of its own. What is left then, the newest
//! messages and the tables whose rows change, is small and comes from one snapshot: with it the copy is
//! the store at that moment. Indexes and triggers are made afterwards, on the copy alone.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::time::{Instant, sleep};

use super::{BUSY_TIMEOUT, BackupError};

/// The table that is copied in slices, by its key.
const LOG: &str = "message";

/// A slice takes about this long: less than the server waits for readers to leave its log.
const SLICE: Duration = Duration::from_millis(20);

/// Between slices nobody reads, so that the server's log can start again.
const PAUSE: Duration = Duration::from_millis(2);

/// Rows of the first slice, and the most that one may have.
const FIRST_ROWS: i64 = 32;
const MAX_ROWS: i64 = 8_192;

/// Slices after those that hold what was there at the beginning.
const CATCH_UP: u32 = 100;

/// How long the last snapshot may be held.
pub(super) const SNAPSHOT_LIMIT: Duration = Duration::from_secs(30);

/// Copies a store into an empty file, which is complete but not yet on disk afterwards.
pub(super) async fn copy(source: &Path, target: &Path) -> Result<(), BackupError> {
    let mut connection = SqliteConnectOptions::new()
        .filename(target)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .foreign_keys(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query("ATTACH ? AS source")
        .bind(read_only(source))
        .execute(&mut connection)
        .await?;
    let tables = make(&mut connection, "table").await?;
    let has_log = tables.iter().any(|table| table == LOG);
    if has_log {
        slices(&mut connection).await?;
    }
    snapshot(&mut connection, &tables, has_log).await?;
    make(&mut connection, "index").await?;
    // Behind the rows, which were written once already.
    make(&mut connection, "trigger").await?;
    sqlx::query("DETACH source")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

/// Makes what the source has of this kind. Returns the names.
async fn make(connection: &mut SqliteConnection, kind: &str) -> Result<Vec<String>, BackupError> {
    // Those without a text are made with their table.
    let found = sqlx::query(
        "SELECT name, sql FROM source.sqlite_schema \
         WHERE type = ? AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .bind(kind)
    .fetch_all(&mut *connection)
    .await?;
    let mut names = Vec::with_capacity(found.len());
    for row in found {
        let text: String = row.try_get("sql")?;
        // Unqualified, so it is made in the copy.
        sqlx::query(AssertSqlSafe(text))
            .persistent(false)
            .execute(&mut *connection)
            .await?;
        names.push(row.try_get("name")?);
    }
    Ok(names)
}

/// Copies the log as far as it has come, but for a little.
async fn slices(connection: &mut SqliteConnection) -> Result<(), BackupError> {
    let first_end = end(connection, "source").await?;
    let (mut copied, mut rows, mut more) = (0, FIRST_ROWS, CATCH_UP);
    loop {
        let begun = Instant::now();
        let done = sqlx::query(
            "INSERT INTO main.message SELECT * FROM source.message WHERE seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(copied)
        .bind(rows)
        .execute(&mut *connection)
        .await?;
        let taken = begun.elapsed();
        if i64::try_from(done.rows_affected()).unwrap_or(i64::MAX) < rows {
            return Ok(());
        }
        copied = end(connection, "main").await?;
        if copied >= first_end {
            more -= 1;
            if more == 0 {
                return Ok(());
            }
        }
        if taken > SLICE {
            rows = (rows / 2).max(1);
        } else if taken < SLICE / 2 {
            rows = (rows * 2).min(MAX_ROWS);
        }
        sleep(PAUSE).await;
    }
}

/// Copies the rest of the log and every other table, as they are at one moment.
async fn snapshot(
    connection: &mut SqliteConnection,
    tables: &[String],
    has_log: bool,
) -> Result<(), BackupError> {
    let begun = Instant::now();
    let mut all = connection.begin().await?;
    if has_log {
        let copied = end(&mut all, "main").await?;
        sqlx::query("INSERT INTO main.message SELECT * FROM source.message WHERE seq > ?")
            .bind(copied)
            .execute(&mut *all)
            .await?;
    }
    for table in tables.iter().filter(|table| *table != LOG) {
        let table = table.replace('"', "\"\"");
        let text = format!("INSERT INTO main.\"{table}\" SELECT * FROM source.\"{table}\"");
        sqlx::query(AssertSqlSafe(text))
            .persistent(false)
            .execute(&mut *all)
            .await?;
        if begun.elapsed() > SNAPSHOT_LIMIT {
            return Err(BackupError::TooSlow);
        }
    }
    ends(&mut all).await?;
    all.commit().await?;
    Ok(())
}

/// Copies up to where ids were given, also those of rows that are gone.
async fn ends(connection: &mut SqliteConnection) -> Result<(), BackupError> {
    // A store has it when it has tables that never give an id twice.
    let known = sqlx::query("SELECT 1 FROM source.sqlite_schema WHERE name = 'sqlite_sequence'")
        .fetch_optional(&mut *connection)
        .await?;
    if known.is_some() {
        for text in [
            "DELETE FROM main.sqlite_sequence",
            "INSERT INTO main.sqlite_sequence (name, seq) SELECT name, seq FROM source.sqlite_sequence",
        ] {
            sqlx::query(text).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Key of the last message of the source or of the copy.
async fn end(connection: &mut SqliteConnection, schema: &str) -> Result<i64, sqlx::Error> {
    let text = format!("SELECT ifnull(max(seq), 0) FROM {schema}.message");
    let row = sqlx::query(AssertSqlSafe(text))
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

/// A name for SQLite under which nothing is ever written.
fn read_only(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?mode=ro");
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_one_name() {
        let path = Path::new("/data/a b?c#d%e/im.db");
        assert_eq!(
            read_only(path),
            "file:/data/a%20b%3Fc%23d%25e/im.db?mode=ro"
        );
    }
}
