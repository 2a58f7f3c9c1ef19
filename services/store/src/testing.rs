//! A store in a temporary directory, for tests of this crate and others.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor};

use crate::{DataDir, SqliteOptions, SqliteStore, StoreError};

/// A store and its directory, which goes away with it.
pub struct TempStore {
    /// The store.
    pub store: SqliteStore,
    /// Where it lives.
    pub dir: tempfile::TempDir,
}

impl TempStore {
    /// Opens an empty store with the default options.
    pub async fn open() -> Self {
        Self::open_with(SqliteOptions::default()).await
    }

    /// Opens an empty store.
    pub async fn open_with(options: SqliteOptions) -> Self {
        let dir = tempfile::tempdir().expect("make a temporary directory");
        let data_dir = DataDir::open(dir.path()).expect("open the temporary directory");
        let store = SqliteStore::open(data_dir, options)
            .await
            .expect("open the store");
        Self { store, dir }
    }

    /// Another process that begins to read, as a backup tool does.
    pub async fn foreign_reader(&self) -> ForeignReader {
        let options = SqliteConnectOptions::new().filename(self.store.data_dir().database());
        let mut connection = options
            .read_only(true)
            .connect()
            .await
            .expect("open the database");
        connection.execute("BEGIN").await.expect("begin to read");
        let mut reader = ForeignReader(connection);
        reader.messages().await;
        reader
    }
}

/// A reader that keeps the write-ahead log from starting again while it lives.
pub struct ForeignReader(SqliteConnection);

impl ForeignReader {
    /// Messages that were stored when it began.
    pub async fn messages(&mut self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM message")
            .fetch_one(&mut self.0)
            .await
            .expect("read the messages")
    }
}

impl SqliteStore {
    /// Bounds the database file, as a full disk would; `None` lifts the bound.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn limit_pages(&self, pages: Option<u32>) -> Result<(), StoreError> {
        let pages = pages.unwrap_or(u32::MAX - 1);
        let sql = format!("PRAGMA max_page_count = {pages}");
        let mut writer = self.inner.writer.lock().await?;
        // Built from a number.
        writer.connection()?.execute(AssertSqlSafe(sql)).await?;
        self.inner.appender.limit_pages(pages).await
    }
}
