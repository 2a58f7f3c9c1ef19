//! Small changes of accounts, settings and the like, gathered: those that wait while others are being
//! stored share one transaction, so that many people who change something at once cost few commits.
//!
//! Each change is a savepoint: one that fails takes nothing of the others with it. They are answered
//! after the commit. A change whose caller has gone before its turn is left out; one that has begun is
//! stored whoever still waits for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Connection as _, Sqlite, SqliteConnection};
use tokio::sync::oneshot;

use super::SqliteStore;
use super::rows::unavailable;
use crate::{ChangeNote, StoreError};

/// What a change does in its savepoint.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// A statement with its values.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// The changes that wait.
#[derive(Default)]
pub(super) struct Changes {
    waiting: Mutex<Waiting>,
    done: AtomicU64,
    commits: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Box<dyn Change>>,
    /// A task stores them.
    is_served: bool,
}

/// Changes and the transactions that stored them, since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Changes that were tried, those that failed included.
    pub changes: u64,
    /// Transactions.
    pub commits: u64,
}

impl SqliteStore {
    /// Makes a change, in one transaction with others that wait. `Ok` after the commit.
    pub(super) async fn change<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        self.change_numbered(work, |_| 0).await
    }

    /// The same, where the change gives something a number, which its note has.
    pub(super) async fn change_numbered<T, W>(
        &self,
        work: W,
        made: fn(&T) -> u64,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        match self.note.clone() {
            None => self.gather(work).await,
            Some(note) => self.gather(noted(work, made, note)).await,
        }
    }

    async fn gather<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (reply, done) = oneshot::channel();
        let change = Gathered {
            work: Some(work),
            result: None,
            reply,
        };
        let is_served = {
            let mut waiting = self.inner.changes.lock();
            waiting.queue.push_back(Box::new(change));
            std::mem::replace(&mut waiting.is_served, true)
        };
        if !is_served {
            // On a task, since a caller that goes away must not end what others wait for.
            tokio::spawn(store_changes(self.clone()));
        }
        done.await
            .unwrap_or_else(|_| Err(unavailable("the change was interrupted")))
    }

    /// The same with one statement: how many rows it changed.
    pub(super) async fn change_rows(&self, query: Statement) -> Result<u64, StoreError> {
        self.change(move |connection| {
            Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
        })
        .await
    }

    /// How many changes shared how many transactions.
    pub fn change_counts(&self) -> ChangeCounts {
        let Changes { done, commits, .. } = &self.inner.changes;
        ChangeCounts {
            changes: done.load(Ordering::Relaxed),
            commits: commits.load(Ordering::Relaxed),
        }
    }

    /// One transaction with those that wait when it begins, and those that come meanwhile, up to the
    /// bound. An error concerns the whole of it.
    async fn store_some(&self, batch: &mut Vec<Box<dyn Change>>) -> Result<(), StoreError> {
        let changes = &self.inner.changes;
        let mut writer = self.inner.writer.lock().await?;
        let Some(first) = changes.next() else {
            return Ok(());
        };
        batch.push(first);
        let mut transaction = writer.begin().await?;
        loop {
            if let Some(change) = batch.last_mut() {
                change.run(&mut transaction).await?;
            }
            if batch.len() >= self.inner.options.gathered_changes {
                break;
            }
            match changes.next() {
                Some(change) => batch.push(change),
                None => break,
            }
        }
        transaction.commit().await?;
        changes.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The same work, which writes a note behind it.
fn noted<T, W>(
    work: W,
    made: fn(&T) -> u64,
    note: Arc<ChangeNote>,
) -> impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
{
    move |connection| {
        Box::pin(async move {
            let done = work(&mut *connection).await?;
            let number = made(&done);
            super::audit::write(connection, &note, number).await?;
            Ok(done)
        })
    }
}

/// Stores changes until none waits.
async fn store_changes(store: SqliteStore) {
    let mut task = Task(Some(store));
    while let Some(store) = &task.0 {
        let changes = &store.inner.changes;
        let mut batch = Vec::new();
        let stored = store.store_some(&mut batch).await;
        if stored.is_err() && batch.is_empty() {
            // There is no connection, for those who wait as little as for the next.
            batch.extend(changes.lock().queue.drain(..));
        }
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        changes.done.fetch_add(count, Ordering::Relaxed);
        let ended = {
            let mut waiting = changes.lock();
            waiting.is_served = !waiting.queue.is_empty();
            !waiting.is_served
        };
        if ended {
            // Who is answered may want to close the store.
            task.0 = None;
        }
        for change in batch {
            change.answer(stored.as_ref().err().map(same));
        }
    }
}

impl Changes {
    /// The next one that somebody waits for.
    fn next(&self) -> Option<Box<dyn Change>> {
        let mut waiting = self.lock();
        loop {
            let change = waiting.queue.pop_front()?;
            if change.is_wanted() {
                return Some(change);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change under the lock is complete in itself.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task, as long as it has the store. Should it end before it means to, those who wait are told,
/// and the next change starts another.
struct Task(Option<SqliteStore>);

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(store) = self.0.take() {
            let mut waiting = store.inner.changes.lock();
            waiting.is_served = false;
            let left = std::mem::take(&mut waiting.queue);
            drop(waiting);
            drop(left);
        }
    }
}

/// One change, whatever it gives.
trait Change: Send {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;

    /// Does it in a savepoint and keeps the result. An error means that the transaction is lost.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> Work<'a, ()>;

    /// Tells the result, or that the transaction was lost.
    fn answer(self: Box<Self>, lost: Option<StoreError>);
}

struct Gathered<T, W> {
    work: Option<W>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Change for Gathered<T, W>
where
    T: Send,
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> Work<'a, ()> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return Ok(());
            };
            let mut savepoint = connection.begin().await?;
            let result = work(&mut savepoint).await;
            match result {
                Ok(_) => savepoint.commit().await?,
                // Fails when SQLite has given up the whole transaction, as it does on a full disk.
                Err(_) => savepoint.rollback().await?,
            }
            self.result = Some(result);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, lost: Option<StoreError>) {
        let result = match (lost, self.result) {
            // Its own error says more.
            (_, Some(Err(error))) | (Some(error), _) => Err(error),
            (None, Some(done)) => done,
            (None, None) => Err(unavailable("the change was not tried")),
        };
        // The caller may have gone.
        drop(self.reply.send(result));
    }
}

/// The same error for one more caller.
fn same(error: &StoreError) -> StoreError {
    match error {
        StoreError::NotFound { what } => StoreError::NotFound { what },
        StoreError::Taken { what } => StoreError::Taken { what },
        StoreError::Fenced(lost) => StoreError::Fenced(*lost),
        StoreError::Outdated => StoreError::Outdated,
        StoreError::Repeated => StoreError::Repeated,
        StoreError::NotEmpty { table } => StoreError::NotEmpty { table },
        StoreError::Full { what } => StoreError::Full { what },
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Unavailable(source) => StoreError::Unavailable(source.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use im_core::UserId;
    use im_core::time::UnixSeconds;
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Executor as _};

    use super::*;

    const THEN: UnixSeconds = UnixSeconds::from_wire(100);
    use crate::testing::TempStore;
    use crate::{
        AccountStore as _, DirectoryImport, DirectoryStore as _, ImportedUser, SqliteOptions,
    };

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    async fn people(count: u32, options: SqliteOptions) -> TempStore {
        let temp = TempStore::open_with(options).await;
        let users = (1..=count).map(|n| ImportedUser {
            name: format!("u{n}"),
            ..ImportedUser::default()
        });
        let import = DirectoryImport {
            users: users.collect(),
            now: THEN,
        };
        temp.store.import(&import).await.unwrap();
        temp
    }

    async fn signature(store: &SqliteStore, id: u32) -> String {
        let mut found = store.profiles(&[user(id)]).await.unwrap();
        found.pop().unwrap().signature
    }

    /// Signatures that all wait until the writing connection is free: their results and the commits.
    async fn sign(store: &SqliteStore, ids: &[u32]) -> (Vec<Result<(), StoreError>>, u64) {
        let before = store.change_counts();
        let busy = store.inner.writer.lock().await.unwrap();
        let signing = ids.iter().map(|id| async move {
            let text = format!("signature of {id}");
            store.set_signature(user(*id), &text, THEN).await
        });
        let release = async {
            while store.inner.changes.lock().queue.len() < ids.len() {
                tokio::task::yield_now().await;
            }
            drop(busy);
        };
        let (results, ()) = tokio::join!(futures::future::join_all(signing), release);
        (results, store.change_counts().commits - before.commits)
    }

    #[tokio::test]
    async fn changes_that_wait_share_a_commit_and_a_failed_one_takes_no_other_with_it() {
        let temp = people(20, SqliteOptions::default()).await;
        let ids: Vec<u32> = (1..=21).collect();
        let (results, commits) = sign(&temp.store, &ids).await;
        assert_eq!(commits, 1);
        let failed: Vec<u32> = ids
            .iter()
            .zip(&results)
            .filter_map(|(id, result)| result.is_err().then_some(*id))
            .collect();
        assert_eq!(failed, [21]);
        let error = results.into_iter().next_back().unwrap().unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        let page = temp.store.users_since(THEN, 100).await.unwrap();
        let stamps: Vec<u32> = page.users.iter().map(|entry| entry.stamp.get()).collect();
        assert_eq!(stamps, (101..=120).collect::<Vec<_>>(), "one stamp each");
        for id in 1..=20 {
            assert_eq!(
                signature(&temp.store, id).await,
                format!("signature of {id}")
            );
        }
    }

    #[tokio::test]
    async fn a_commit_takes_so_many_changes_at_most() {
        let options = SqliteOptions {
            gathered_changes: 8,
            ..SqliteOptions::default()
        };
        let temp = people(20, options).await;
        let (results, commits) = sign(&temp.store, &(1..=20).collect::<Vec<_>>()).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(commits, 3);
    }

    #[tokio::test]
    async fn who_goes_away_before_their_turn_changes_nothing_and_others_are_served() {
        let temp = people(3, SqliteOptions::default()).await;
        let store = &temp.store;
        let busy = store.inner.writer.lock().await.unwrap();
        let mut gone = Box::pin(store.set_signature(user(1), "gone", THEN));
        let mut stays = Box::pin(store.set_signature(user(2), "stays", THEN));
        // The first one begins the task that serves both.
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(gone);
        drop(busy);
        stays.await.unwrap();
        assert_eq!(signature(store, 1).await, "");
        assert_eq!(signature(store, 2).await, "stays");
        assert_eq!(store.change_counts().changes, 1);
    }

    #[tokio::test]
    async fn a_lost_transaction_is_an_error_for_all_of_it_and_leaves_nothing() {
        let options = SqliteOptions {
            busy_timeout: std::time::Duration::from_millis(10),
            ..SqliteOptions::default()
        };
        let temp = people(3, options).await;
        let store = &temp.store;
        let mut other = SqliteConnectOptions::new()
            .filename(store.data_dir().database())
            .connect()
            .await
            .unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        let (results, commits) = sign(store, &[1, 2, 3]).await;
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        }
        assert_eq!(commits, 0);
        other.execute("ROLLBACK").await.unwrap();
        assert_eq!(signature(store, 2).await, "");
        let (results, commits) = sign(store, &[1, 2, 3]).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(commits, 1);
    }
}
