//! The steps of the schema before the store is opened: which are missing, and making them.

use std::path::Path;

use sqlx::migrate::Migration;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::SqliteOptions;
use super::open::{migrator, schema_version, write_options};
use super::rows::unsigned;
use crate::data_dir::database_of;
use crate::{DataDir, OpenError, SchemaState, SchemaStep, StoreError, tables_named};

/// The table of the steps that were made.
const MIGRATIONS: &str = "_sqlx_migrations";
const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
const APPLIED: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success = 1";

/// Where the schema of a directory's store is. A server may be using it, and nothing is changed.
///
/// # Errors
/// The layout is of a later version, or the database cannot be read.
pub(super) async fn state(dir: &Path) -> Result<SchemaState, OpenError> {
    DataDir::check_layout(dir)?;
    let database = database_of(dir);
    // An empty file is one that was made and never written.
    let is_there = tokio::fs::metadata(&database).await;
    if !is_there.is_ok_and(|found| found.len() > 0) {
        return Ok(with_steps(None, &[], 0));
    }
    let mut connection = SqliteConnectOptions::new()
        .filename(&database)
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(StoreError::from)?;
    let state = read(&mut connection).await?;
    connection.close().await.map_err(StoreError::from)?;
    Ok(state)
}

async fn read(connection: &mut SqliteConnection) -> Result<SchemaState, StoreError> {
    let rows = sqlx::query(TABLES).fetch_all(&mut *connection).await?;
    let tables = rows.iter().map(|row| row.try_get(0));
    let tables: Vec<String> = tables.collect::<Result<_, _>>()?;
    if !tables.iter().any(|table| table == MIGRATIONS) {
        return Ok(with_steps(None, &[], 0));
    }
    let row = sqlx::query(APPLIED).fetch_one(&mut *connection).await?;
    let newest: i64 = row.try_get(0)?;
    let mut counts = Vec::new();
    let migrator = migrator();
    for step in migrator.iter().filter(|step| step.version > newest) {
        let mut rows = 0;
        for table in tables_named(step.sql.as_str(), &tables) {
            let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let row = sqlx::query(count).fetch_one(&mut *connection).await?;
            rows += unsigned(row.try_get(0)?)?;
        }
        counts.push(rows);
    }
    Ok(with_steps(narrow(newest), &counts, newest))
}

/// The state of a store that has the steps up to `newest`; the others are about so many rows.
fn with_steps(found: Option<u32>, counts: &[u64], newest: i64) -> SchemaState {
    let migrator = migrator();
    let missing = migrator.iter().filter(|step| step.version > newest);
    let counts = counts.iter().copied().chain(std::iter::repeat(0));
    let missing = missing.zip(counts);
    SchemaState {
        found,
        needed: narrow(schema_version()).unwrap_or(0),
        missing: missing.map(|(step, rows)| step_of(step, rows)).collect(),
    }
}

/// A step for people. The store is its process's alone, so none is made while a server goes on.
fn step_of(step: &Migration, rows: u64) -> SchemaStep {
    SchemaStep {
        number: narrow(step.version).unwrap_or(0),
        name: step.description.clone().into_owned(),
        is_online: false,
        rows,
    }
}

fn narrow(version: i64) -> Option<u32> {
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Makes what is missing, step by step, while the directory is ours.
///
/// # Errors
/// A server holds the directory, a later version was here, or a step fails.
pub(super) async fn run(
    dir: &Path,
    options: &SqliteOptions,
    tell: &mut dyn FnMut(SchemaStep),
) -> Result<(), OpenError> {
    let held = DataDir::open(dir)?;
    let state = state(dir).await?;
    if state.is_too_new() {
        return Err(OpenError::TooNew {
            found: state.found.unwrap_or(0),
            known: state.needed,
        });
    }
    let made = held.make_database();
    made.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let connecting = write_options(&held, options).connect().await;
    let mut connection = connecting.map_err(StoreError::from)?;
    for step in state.missing {
        let making = migrator().run_to(step.number.into(), &mut connection).await;
        making.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        tell(step);
    }
    connection.close().await.map_err(StoreError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::*;
    use crate::DataDirError;

    async fn upgraded(dir: &Path) -> Result<Vec<u32>, OpenError> {
        let mut told = Vec::new();
        let options = SqliteOptions::default();
        run(dir, &options, &mut |step| told.push(step.number)).await?;
        Ok(told)
    }

    #[tokio::test]
    async fn the_steps_that_are_missing_are_told_and_made_and_no_others() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        // Looking makes nothing.
        let none = state(&dir).await.unwrap();
        assert_eq!((none.found, none.missing.len()), (None, 14));
        assert!(!dir.try_exists().unwrap());

        // A store of an earlier version.
        let held = DataDir::open(&dir).unwrap();
        let options = write_options(&held, &SqliteOptions::default());
        let mut connection = options.connect().await.unwrap();
        migrator().run_to(12, &mut connection).await.unwrap();
        let token = "INSERT INTO api_token VALUES (1, x'00', 'a', 'b', '', '', 0, 0, 0, 0, 'c')";
        connection.execute(token).await.unwrap();
        let before = state(&dir).await.unwrap();
        assert_eq!((before.found, before.needed), (Some(12), 14));
        let steps = before.missing.iter();
        let steps: Vec<_> = steps
            .map(|step| (step.number, step.name.as_str(), step.rows))
            .collect();
        assert_eq!(steps, [(13, "bots", 1), (14, "bot_subscriptions", 0)]);
        assert!(before.missing.iter().all(|step| !step.is_online));

        // While somebody has the directory, nothing is made.
        connection.close().await.unwrap();
        let refused = upgraded(&dir).await.unwrap_err();
        assert!(
            matches!(refused, OpenError::Dir(DataDirError::Held { .. })),
            "{refused:?}"
        );
        drop(held);
        assert_eq!(upgraded(&dir).await.unwrap(), [13, 14]);
        let after = state(&dir).await.unwrap();
        assert_eq!((after.found, after.missing.len()), (Some(14), 0));
        assert_eq!(upgraded(&dir).await.unwrap(), [0_u32; 0]);

        // A later version was here.
        let held = DataDir::open(&dir).unwrap();
        let options = write_options(&held, &SqliteOptions::default());
        let mut connection = options.connect().await.unwrap();
        let later = "UPDATE _sqlx_migrations SET version = 99 WHERE version = 14";
        connection.execute(later).await.unwrap();
        connection.close().await.unwrap();
        drop(held);
        assert!(state(&dir).await.unwrap().is_too_new());
        let refused = upgraded(&dir).await;
        assert!(
            matches!(
                refused,
                Err(OpenError::TooNew {
                    found: 99,
                    known: 14
                })
            ),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_place_without_a_store_gets_one() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        let told = upgraded(&dir).await.unwrap();
        assert_eq!(told, (1..=14).collect::<Vec<_>>());
        let held = DataDir::open(&dir).unwrap();
        let store = crate::SqliteStore::open(held, SqliteOptions::default());
        store.await.unwrap().close().await.unwrap();
    }
}
