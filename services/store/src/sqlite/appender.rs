//! The thread that stores messages.
//!
//! It owns a connection of its own: a batch is handed over once and answered once, and its rows are
//! bound one after the other to statements that stay prepared. Everything else is written by the
//! connection of [`super::writer`]; whoever uses either holds the lock there, so that none waits inside
//! SQLite.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use im_core::Chain;
use im_order::Fence;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Statement, params};
use tokio::sync::{mpsc, oneshot};

use super::rows::{conversation_key, signed, unavailable, unsigned};
use super::tenures::{FENCE, OWNERSHIP, numbers, on_record, refused};
use super::transfer::PUT_STATE;
use super::writer::Turn;
use super::{Durability, SqliteOptions};
use crate::{DataDir, MessageRow, NewConversation, Prepared, StoreError, TransferState};

const INSERT_MESSAGE: &str = "INSERT INTO message
    (seq, conv, id, sender, type, time, low_sent, retry_key, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
/// Changes nothing when the conversation is not where the writer believes it to be: at ?2, or at the
/// beginning of a gap that ends there.
const ADVANCE: &str = "UPDATE conversation
    SET last_id = ?3, last_seq = ?4, last_time = ?5, low_sent = ?6
    WHERE conv = ?1 AND (last_id = ?2 OR last_id =
        (SELECT g.after FROM id_gap AS g WHERE g.conv = ?1 AND g.through = ?2))";
/// Changes nothing when conversations that start now skip another number of ids.
const INSERT_FIRST_GAP: &str = "INSERT INTO id_gap (conv, after, through)
    SELECT ?1, 0, value FROM meta WHERE name = 'skipped_ids' AND value = ?2";
const INSERT_CONVERSATION: &str = "INSERT INTO conversation
    (conv, kind, a, b, last_id, last_seq, last_time, low_sent)
    VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0)";
const INSERT_PAIR_MEMBER: &str = "INSERT INTO member
    (user, conv, grouped, active, shield, read_id, joined_id, removed_at,
     created, updated, changed_by)
    VALUES (?1, ?2, 0, 1, 0, 0, 0, NULL, ?3, ?3, NULL)";

/// With messages that are taken over.
const SET_READ: &str = "UPDATE member SET read_id = ?1 WHERE user = ?2 AND conv = ?3";

/// How the connection is opened.
struct Settings {
    database: PathBuf,
    options: SqliteOptions,
}

/// Hands batches to the thread, which starts with the first one.
pub(crate) struct Appender {
    settings: Settings,
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
}

enum Job {
    Append {
        batch: Prepared,
        turn: Turn,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Bound the database file.
    #[cfg(feature = "testing")]
    Limit {
        pages: u32,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Close the connection and end.
    Close { reply: oneshot::Sender<()> },
}

impl Appender {
    pub(super) fn new(dir: &DataDir, options: &SqliteOptions) -> Self {
        Self {
            settings: Settings {
                database: dir.database(),
                options: options.clone(),
            },
            jobs: Mutex::default(),
        }
    }

    /// Stores a batch whole or not at all; durable on return. A batch whose caller has gone is stored, and
    /// nobody else writes until that is done.
    pub(super) async fn append(&self, batch: Prepared, turn: Turn) -> Result<(), StoreError> {
        let job = |reply| Job::Append { batch, turn, reply };
        self.ask(job).await
    }

    /// Bounds the database file of a test, as far as this connection writes it.
    #[cfg(feature = "testing")]
    pub(crate) async fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.ask(|reply| Job::Limit { pages, reply }).await
    }

    async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Job,
    ) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        if self.hand_over(job(reply)).is_err() {
            return Err(unavailable("the thread that stores messages cannot start"));
        }
        done.await
            .unwrap_or_else(|_| Err(unavailable("the thread that stores messages has ended")))
    }

    /// Closes the connection and ends the thread.
    pub(super) async fn close(&self) {
        let jobs = self.jobs().take();
        if let Some(jobs) = jobs {
            let (reply, done) = oneshot::channel();
            if jobs.send(Job::Close { reply }).is_ok() {
                // A thread that has ended has closed it.
                done.await.ok();
            }
        }
    }

    fn hand_over(&self, job: Job) -> std::io::Result<()> {
        let mut place = self.jobs();
        let job = match &*place {
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(job)) => job,
            },
            None => job,
        };
        let (jobs, receiver) = mpsc::unbounded_channel();
        let settings = Settings {
            database: self.settings.database.clone(),
            options: self.settings.options.clone(),
        };
        thread::Builder::new()
            .name("store-append".to_owned())
            .spawn(move || serve(&settings, receiver))?;
        // The thread waits for it.
        jobs.send(job).ok();
        *place = Some(jobs);
        Ok(())
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, Option<mpsc::UnboundedSender<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works until told to close, or until nobody can ask any more. A connection that is in doubt is replaced.
fn serve(settings: &Settings, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut waiting = None;
    loop {
        let Some(job) = waiting.take().or_else(|| jobs.blocking_recv()) else {
            return;
        };
        let connection = match settings.connect() {
            Ok(connection) => connection,
            Err(error) => {
                if !job.fail(error) {
                    return;
                }
                continue;
            }
        };
        let ended = match Statements::prepare(&connection) {
            Ok(statements) => {
                waiting = Some(job);
                work(statements, &mut waiting, &mut jobs)
            }
            Err(error) => {
                if !job.fail(error) {
                    return;
                }
                None
            }
        };
        if let Err((_, error)) = connection.close() {
            tracing::warn!(error = %Chain(&error), "the connection that stores messages was not closed in order");
        }
        if let Some(reply) = ended {
            // Nobody may wait for it.
            reply.send(()).ok();
            return;
        }
    }
}

/// Stores batches with one connection, until it is in doubt or to be closed: who is told then.
fn work(
    mut statements: Statements<'_>,
    waiting: &mut Option<Job>,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
) -> Option<oneshot::Sender<()>> {
    loop {
        match waiting.take().or_else(|| jobs.blocking_recv())? {
            Job::Append { batch, turn, reply } => {
                let stored = statements.append(&batch);
                let is_lost = stored.is_err() && !statements.undo();
                drop(turn);
                // The caller may have gone.
                reply.send(stored).ok();
                if is_lost {
                    tracing::warn!("the connection that stores messages is replaced");
                    return None;
                }
            }
            #[cfg(feature = "testing")]
            Job::Limit { pages, reply } => {
                let connection = statements.connection;
                let set =
                    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
                reply.send(set.map_err(StoreError::from)).ok();
            }
            Job::Close { reply } => return Some(reply),
        }
    }
}

impl Job {
    /// There is no connection; false when the thread is to end.
    fn fail(self, error: rusqlite::Error) -> bool {
        // Whoever asked may have gone.
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error.into()))),
            #[cfg(feature = "testing")]
            Self::Limit { reply, .. } => drop(reply.send(Err(error.into()))),
            Self::Close { reply } => {
                reply.send(()).ok();
                return false;
            }
        }
        true
    }
}

impl Settings {
    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.database, flags)?;
        let options = &self.options;
        connection.busy_timeout(options.busy_timeout)?;
        let synchronous = match options.durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        let set = |name: &str, value: &dyn rusqlite::ToSql| {
            connection.pragma_update_and_check(None, name, value, |_| Ok(()))
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -i64::from(options.writer_cache_kib))?;
        set("wal_autocheckpoint", &0)?;
        set("journal_size_limit", &options.log_file_bytes())?;
        Ok(connection)
    }
}

/// Statements that stay prepared.
struct Statements<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    fence: Statement<'c>,
    commit: Statement<'c>,
    roll_back: Statement<'c>,
    message: Statement<'c>,
    advance: Statement<'c>,
    conversation: Statement<'c>,
    first_gap: Statement<'c>,
    member: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            fence: connection.prepare(FENCE)?,
            commit: connection.prepare("COMMIT")?,
            roll_back: connection.prepare("ROLLBACK")?,
            message: connection.prepare(INSERT_MESSAGE)?,
            advance: connection.prepare(ADVANCE)?,
            conversation: connection.prepare(INSERT_CONVERSATION)?,
            first_gap: connection.prepare(INSERT_FIRST_GAP)?,
            member: connection.prepare(INSERT_PAIR_MEMBER)?,
        })
    }

    /// One transaction. After an error call [`Self::undo`].
    fn append(&mut self, batch: &Prepared) -> Result<(), StoreError> {
        self.begin.execute([])?;
        self.hold(&batch.batch.fence)?;
        for start in &batch.batch.new_conversations {
            self.start(batch, start)?;
        }
        for message in &batch.batch.messages {
            self.insert(message)?;
        }
        for (row, touched) in &batch.touched {
            let newest = batch.message(touched.newest)?;
            let changed = self.advance.execute(params![
                row.0,
                touched.before,
                newest.msg_id.get(),
                signed(newest.seq.to_wire())?,
                newest.time.get(),
                newest.low_sent,
            ])?;
            if changed != 1 {
                return Err(StoreError::Outdated);
            }
        }
        if !batch.read.is_empty() {
            let mut set = self.connection.prepare(SET_READ)?;
            for (row, users, read) in &batch.read {
                for user in users {
                    set.execute(params![read.get(), user.get(), row.0])?;
                }
            }
        }
        for TransferState { name, value } in &batch.states {
            self.connection.execute(PUT_STATE, params![name, value])?;
        }
        self.commit.execute([])?;
        Ok(())
    }

    fn hold(&mut self, fence: &Fence) -> Result<(), StoreError> {
        if self.fence.execute(numbers(fence)?)? == 1 {
            return Ok(());
        }
        let partition = fence.partition;
        let row = self
            .connection
            .query_row(OWNERSHIP, [partition.to_wire()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?;
        let row = row
            .map(|(tenure, end)| Ok::<_, StoreError>((unsigned(tenure)?, unsigned(end)?)))
            .transpose()?;
        Err(refused(fence, on_record(partition, row)?))
    }

    fn start(&mut self, batch: &Prepared, start: &NewConversation) -> Result<(), StoreError> {
        let (kind, a, b) = conversation_key(start.conversation);
        let row = start.row.0;
        self.conversation.execute(params![row, kind, a, b])?;
        let touched = batch.touched(start.row);
        let before = touched.map_or(0, |touched| touched.before);
        if before > 0 && self.first_gap.execute(params![row, before])? != 1 {
            return Err(StoreError::Outdated);
        }
        let time = touched.map_or(0, |touched| touched.first_time.get());
        for user in [a, b] {
            self.member.execute(params![user, row, time])?;
        }
        Ok(())
    }

    fn insert(&mut self, message: &MessageRow) -> Result<(), StoreError> {
        let key = message.key.as_ref().map(|key| key.0.as_slice());
        self.message.execute(params![
            signed(message.seq.to_wire())?,
            message.row.0,
            message.msg_id.get(),
            message.sender.get(),
            message.msg_type,
            message.time.get(),
            message.low_sent,
            key,
            &message.body[..],
        ])?;
        Ok(())
    }

    /// Undoes what is open of a batch that failed; false when the connection is in doubt.
    fn undo(&mut self) -> bool {
        // SQLite has often rolled back by itself.
        self.connection.is_autocommit() || self.roll_back.execute([]).is_ok()
    }
}
