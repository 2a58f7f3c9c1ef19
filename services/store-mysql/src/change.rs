//! Changes beside messages, each a transaction of its own.
//!
//! Every transaction that writes, those of messages too, leaves a receipt. Whoever loses the answer to a COMMIT writes the
//! same receipt: that waits for the lost transaction, and either finds its receipt, or keeps it from ever being stored.
//! Transactions that got in each other's way are tried again. One that has begun is stored whoever still waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_core::{Backoff, Chain};
use im_store::{ChangeCounts, ChangeNote, StoreError};
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySql, MySqlConnection, MySqlQueryResult};
use sqlx::pool::PoolConnection;
use tokio::time::{Instant, sleep, timeout};

use crate::rows::{count, is_conflict_of_store, is_definite, is_duplicate, unavailable};
use crate::{Inner, MysqlStore, audit};

/// How often a transaction is tried that others get in the way of.
const ATTEMPTS: u32 = 8;
/// Between two of them.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(2);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(500);

const READ_RECEIPT: &str = "SELECT void FROM receipt WHERE id = ?";

/// What a change does in its transaction.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Changes and their transactions, since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    tried: AtomicU64,
    commits: AtomicU64,
}

impl Changes {
    pub(crate) fn counts(&self) -> ChangeCounts {
        ChangeCounts {
            changes: self.tried.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
        }
    }
}

impl MysqlStore {
    /// Makes a change in a transaction. `Ok` after the commit. The work may run several times.
    pub(crate) async fn change<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut MySqlConnection) -> Work<'c, T> + Clone + Send + 'static,
    {
        self.change_numbered(work, |_| 0).await
    }

    /// The same, where the change gives something a number, which its note has.
    pub(crate) async fn change_numbered<T, W>(
        &self,
        work: W,
        made: fn(&T) -> u64,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut MySqlConnection) -> Work<'c, T> + Clone + Send + 'static,
    {
        self.change_if(work, move |value| Some(made(value))).await
    }

    /// The same, where there may be nothing to change: then no number is given, nothing is stored and no note is written.
    pub(crate) async fn change_if<T, W, M>(&self, work: W, made: M) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut MySqlConnection) -> Work<'c, T> + Clone + Send + 'static,
        M: Fn(&T) -> Option<u64> + Send + Sync + 'static,
    {
        let (inner, note) = (Arc::clone(&self.inner), self.note.clone());
        inner.changes.tried.fetch_add(1, Ordering::Relaxed);
        // On a task, since a caller that goes away must leave no transaction half-way.
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::new(SHORTEST_WAIT, LONGEST_WAIT);
            let mut tries = 1;
            loop {
                let done = inner.attempt(work.clone(), &made, note.as_deref()).await;
                match done {
                    Err(error) if tries < ATTEMPTS && is_conflict_of_store(&error) => {
                        tries += 1;
                        sleep(backoff.step()).await;
                    }
                    done => return done,
                }
            }
        });
        task.await
            .unwrap_or_else(|_| Err(unavailable("the change was interrupted")))
    }
}

impl Inner {
    async fn attempt<T, W>(
        &self,
        work: W,
        made: &(impl Fn(&T) -> Option<u64> + Sync),
        note: Option<&ChangeNote>,
    ) -> Result<T, StoreError>
    where
        W: for<'c> FnOnce(&'c mut MySqlConnection) -> Work<'c, T>,
    {
        let mut connection = self.changers.acquire().await?;
        let receipt = new_receipt();
        let changing = async {
            let begin = format!("START TRANSACTION; {}", receipt_text(receipt));
            run(&mut connection, begin).await?;
            let value = work(&mut connection).await?;
            let number = made(&value);
            if let Some((note, number)) = note.zip(number) {
                audit::write(&mut connection, note, number).await?;
            }
            Ok((value, number.is_some()))
        };
        let changed = timeout(self.options.change_timeout, changing).await;
        match changed {
            Ok(Ok((value, false))) => {
                self.roll_back(connection).await;
                Ok(value)
            }
            Ok(Ok((value, true))) => {
                self.commit(connection, receipt).await?;
                self.changes.commits.fetch_add(1, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => {
                self.roll_back(connection).await;
                Err(error)
            }
            Err(_) => {
                connection.close_on_drop();
                Err(unavailable("the database does not answer"))
            }
        }
    }

    async fn commit(
        &self,
        mut connection: PoolConnection<MySql>,
        receipt: u64,
    ) -> Result<(), StoreError> {
        let committing = run(&mut connection, "COMMIT".to_owned());
        let error = match timeout(self.options.commit_timeout, committing).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if is_definite(&error) => {
                self.roll_back(connection).await;
                return Err(error.into());
            }
            Ok(Err(error)) => error.into(),
            Err(_) => unavailable("a commit is not answered"),
        };
        connection.close_on_drop();
        drop(connection);
        self.settle(receipt, error).await
    }

    async fn roll_back(&self, mut connection: PoolConnection<MySql>) {
        let rolling = run(&mut connection, "ROLLBACK".to_owned());
        if !matches!(
            timeout(self.options.commit_timeout, rolling).await,
            Ok(Ok(_))
        ) {
            connection.close_on_drop();
        }
    }

    /// Whether a transaction is stored whose COMMIT was not answered, for good: `error` says why it was not, and is
    /// what is given when it never will be.
    pub(crate) async fn settle(&self, receipt: u64, error: StoreError) -> Result<(), StoreError> {
        tracing::warn!(error = %Chain(&error), "a commit was not answered: asking whether it is stored");
        let end = Instant::now() + self.options.doubt_timeout;
        let mut backoff = Backoff::new(SHORTEST_WAIT, LONGEST_WAIT);
        loop {
            match timeout(self.options.doubt_timeout, self.take_receipt(receipt)).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => return Err(error),
                Ok(Err(unknown)) if Instant::now() >= end => return Err(unknown),
                Ok(Err(_)) => sleep(backoff.step()).await,
                Err(_) => return Err(unavailable("the database does not answer")),
            }
        }
    }

    /// Takes a receipt's place, or finds it: whether its transaction is stored.
    async fn take_receipt(&self, receipt: u64) -> Result<bool, StoreError> {
        let mut connection = self.connect().await?;
        let voiding = format!(
            "{}; INSERT INTO receipt (id, at, void) VALUES ({receipt}, UNIX_TIMESTAMP(), 1)",
            self.session
        );
        match run(&mut connection, voiding).await {
            Ok(_) => Ok(false),
            Err(error) if is_duplicate(&error) => {
                let row = sqlx::query(READ_RECEIPT)
                    .bind(receipt)
                    .fetch_one(&mut connection)
                    .await?;
                // Our own, when the answer to that was lost too.
                Ok(count(&row, 0)? == 0)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A number that no other transaction has.
pub(crate) fn new_receipt() -> u64 {
    rand::random()
}

/// Leaves a receipt in the open transaction.
pub(crate) fn receipt_text(receipt: u64) -> String {
    format!("INSERT INTO receipt (id, at, void) VALUES ({receipt}, UNIX_TIMESTAMP(), 0)")
}

/// Runs statements of our own words, integers and hexadecimal digits, in one go; the first that fails ends it.
pub(crate) async fn run(
    connection: &mut MySqlConnection,
    text: String,
) -> Result<MySqlQueryResult, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await
}

/// Takes the next number of a kind, such as no other transaction has or had. The row stays locked up to the commit.
pub(crate) async fn next_number(
    connection: &mut MySqlConnection,
    kind: &'static str,
) -> Result<u64, StoreError> {
    next_numbers(connection, kind, 1).await
}

/// Takes several of them: the last one.
pub(crate) async fn next_numbers(
    connection: &mut MySqlConnection,
    kind: &'static str,
    how_many: u64,
) -> Result<u64, StoreError> {
    let done = sqlx::query("UPDATE meta SET value = LAST_INSERT_ID(value + ?) WHERE name = ?")
        .bind(how_many)
        .bind(kind)
        .execute(connection)
        .await?;
    if done.rows_affected() != 1 {
        return Err(StoreError::Corrupt(format!("no counter of {kind}")));
    }
    Ok(done.last_insert_id())
}
