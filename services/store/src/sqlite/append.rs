//! Storing a batch of messages: the hot path.
//!
//! Each statement that the driver runs wakes its caller once, and a wake-up costs as much as storing a
//! message. So a batch is one statement, which by itself is a transaction: an INSERT of all messages into
//! a view, whose trigger stores each and moves its conversation on. Only a batch that starts
//! conversations, or is too long, takes several, in one text between `BEGIN IMMEDIATE` and `COMMIT`.
//! Texts differ only in their numbers of rows. Those are rounded up to a few sizes, so that each text is
//! prepared once: missing messages are rows of NULLs that the INSERT filters out.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use im_core::Conversation;
use im_core::time::UnixSeconds;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Executor as _, Sqlite};

use super::SqliteStore;
use super::rows::{conversation_key, fenced, signed};
use crate::{AppendBatch, ConversationRow, MessageRow, NewConversation, StoreError};

/// Rows in one statement at most: 512 × 9 = 4,608 bound values of the 32,766 that SQLite takes.
const MAX_ROWS: usize = 512;
/// New conversations in one statement.
const MAX_NEW: usize = 64;

/// A conversation that is not where the writer believes it to be gets NULL for its newest id, which
/// the column refuses: the batch fails as fenced. View and trigger are the writing connection's own.
const APPENDING: &str = "CREATE TEMP VIEW appending AS
    SELECT seq, conv, id, sender, type, time, low_sent, retry_key, body FROM main.message;
    CREATE TEMP TRIGGER append INSTEAD OF INSERT ON appending BEGIN
        INSERT INTO message (seq, conv, id, sender, type, time, low_sent, retry_key, body)
            VALUES (NEW.seq, NEW.conv, NEW.id, NEW.sender, NEW.type, NEW.time, NEW.low_sent,
                NEW.retry_key, NEW.body);
        UPDATE conversation SET last_id = CASE last_id WHEN NEW.id - 1 THEN NEW.id END,
            last_seq = NEW.seq, last_time = NEW.time, low_sent = NEW.low_sent
            WHERE conv = NEW.conv;
    END";
const INSERT_MESSAGES: &str = "INSERT INTO appending SELECT * FROM (VALUES ";
const INSERT_CONVERSATIONS: &str = "INSERT INTO conversation
    (conv, kind, a, b, last_id, last_seq, last_time, low_sent)
    SELECT column1, column2, column3, column4, 0, 0, 0, 0 FROM (VALUES ";
const INSERT_PAIR_MEMBERS: &str = "INSERT INTO member
    (user, conv, grouped, active, shield, read_id, joined_id, removed_at,
     created, updated, changed_by)
    SELECT column1, column2, 0, 1, 0, 0, 0, NULL, column3, column3, NULL FROM (VALUES ";
const PRESENT_ROWS: &str = ") WHERE column1 IS NOT NULL;";
/// Makes a connection able to append.
pub(super) async fn prepare(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute(APPENDING).await.map(|_| ())
}

/// Statement texts by shape.
#[derive(Default)]
pub(super) struct Texts {
    by_shape: HashMap<Shape, Arc<str>>,
}

/// What one text does. Numbers of rows are already rounded up.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Shape {
    begin: bool,
    starts: usize,
    messages: usize,
    commit: bool,
}

/// A conversation that the batch adds to.
struct Touched {
    first_time: UnixSeconds,
    newest: u32,
}

impl SqliteStore {
    pub(super) async fn append_batch(&self, batch: &AppendBatch) -> Result<(), StoreError> {
        if batch.messages.is_empty() && batch.new_conversations.is_empty() {
            return Ok(());
        }
        let touched = touched(&batch.messages)?;
        if batch
            .new_conversations
            .iter()
            .any(|new| matches!(new.conversation, Conversation::Group(_)))
        {
            return Err(StoreError::Corrupt(
                "a batch starts a group's conversation".into(),
            ));
        }
        self.check_wal_limit()?;
        let mut writer = self.inner.writer.lock_first().await?;
        let (connection, texts) = writer.batch()?;
        let stored = run(connection, texts, batch, &touched).await;
        match stored {
            Ok(()) => writer.batch_done(),
            Err(_) => writer.batch_failed().await,
        }
        drop(writer);
        if stored.is_ok() {
            self.note_growth(batch, touched.len());
        }
        stored.map_err(fenced)
    }
}

/// Runs the transaction in as few texts as its size allows: one, unless conversations start or a
/// statement would be too long.
async fn run(
    connection: &mut SqliteConnection,
    texts: &mut Texts,
    batch: &AppendBatch,
    touched: &HashMap<ConversationRow, Touched>,
) -> Result<(), sqlx::Error> {
    let alone = batch.new_conversations.is_empty() && batch.messages.len() <= MAX_ROWS;
    let mut begin = !alone;
    for starts in batch.new_conversations.chunks(MAX_NEW) {
        let shape = Shape {
            begin,
            starts: rounded_up(starts.len()),
            ..Shape::default()
        };
        bind_starts(texts.query(shape), starts, shape.starts, touched)
            .execute(&mut *connection)
            .await?;
        begin = false;
    }

    let mut chunks = batch.messages.chunks(MAX_ROWS);
    loop {
        let messages = chunks.next().unwrap_or_default();
        let last = chunks.len() == 0;
        let shape = Shape {
            begin,
            starts: 0,
            messages: rounded_up(messages.len()),
            commit: last && !alone,
        };
        let mut query = texts.query(shape);
        for message in messages {
            query = bind_message(query, message)?;
        }
        query = bind_nulls(query, 9 * (shape.messages - messages.len()));
        if alone {
            // What it changed is the only thing that the statement answers, and comes after the commit;
            // that nothing else follows would be another wake-up.
            return match connection.fetch_many(query).try_next().await? {
                Some(_) => Ok(()),
                None => Err(sqlx::Error::WorkerCrashed),
            };
        }
        query.execute(&mut *connection).await?;
        if last {
            return Ok(());
        }
        begin = false;
    }
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds the conversations, then both members of each.
fn bind_starts<'q>(
    mut query: Statement<'q>,
    starts: &[NewConversation],
    rows: usize,
    touched: &HashMap<ConversationRow, Touched>,
) -> Statement<'q> {
    for start in starts {
        let (kind, a, b) = conversation_key(start.conversation);
        query = query.bind(start.row.0).bind(kind).bind(a).bind(b);
    }
    query = bind_nulls(query, 4 * (rows - starts.len()));
    for start in starts {
        let (_, a, b) = conversation_key(start.conversation);
        let time = touched
            .get(&start.row)
            .map_or(0, |t| i64::from(t.first_time));
        query = query.bind(a).bind(start.row.0).bind(time);
        query = query.bind(b).bind(start.row.0).bind(time);
    }
    bind_nulls(query, 6 * (rows - starts.len()))
}

fn bind_message<'q>(
    query: Statement<'q>,
    message: &MessageRow,
) -> Result<Statement<'q>, sqlx::Error> {
    Ok(query
        .bind(signed(message.seq.0).map_err(|e| sqlx::Error::Encode(e.into()))?)
        .bind(message.row.0)
        .bind(i64::from(message.msg_id.get()))
        .bind(i64::from(message.sender.get()))
        .bind(i64::from(message.msg_type))
        .bind(i64::from(message.time))
        .bind(i64::from(message.low_sent))
        .bind(message.key.map(|key| key.0.to_vec()))
        .bind(message.body.to_vec()))
}

fn bind_nulls(mut query: Statement<'_>, values: usize) -> Statement<'_> {
    for _ in 0..values {
        query = query.bind(None::<i64>);
    }
    query
}

/// What happens to each conversation, and whether positions and ids follow each other.
fn touched(messages: &[MessageRow]) -> Result<HashMap<ConversationRow, Touched>, StoreError> {
    let mut touched: HashMap<ConversationRow, Touched> = HashMap::with_capacity(messages.len());
    let first = messages.first().map_or(0, |message| message.seq.0);
    for (seq, message) in (first..).zip(messages) {
        if message.seq.0 != seq {
            return Err(StoreError::Corrupt(format!(
                "batch skips log position {seq}"
            )));
        }
        let id = message.msg_id.get();
        let entry = touched.entry(message.row).or_insert(Touched {
            first_time: message.time,
            newest: id - 1,
        });
        if entry.newest != id - 1 {
            return Err(StoreError::Corrupt(format!(
                "batch skips an id before {id}"
            )));
        }
        entry.newest = id;
    }
    Ok(touched)
}

/// The next size with a prepared text: powers of two and the numbers half-way between them, so that
/// at most a third of a statement is padding.
fn rounded_up(rows: usize) -> usize {
    if rows <= 2 {
        return rows;
    }
    let power = rows.next_power_of_two();
    let between = power / 4 * 3;
    if rows <= between { between } else { power }
}

impl Texts {
    fn query(&mut self, shape: Shape) -> Statement<'static> {
        let text = self
            .by_shape
            .entry(shape)
            .or_insert_with(|| shape.text().into());
        // Built from constants and placeholders only.
        sqlx::query(AssertSqlSafe(Arc::clone(text)))
    }
}

impl Shape {
    fn text(self) -> String {
        let mut sql = String::new();
        if self.begin {
            sql.push_str("BEGIN IMMEDIATE;");
        }
        if self.starts > 0 {
            sql.push_str(INSERT_CONVERSATIONS);
            push_rows(&mut sql, self.starts, "(?,?,?,?)");
            sql.push_str(PRESENT_ROWS);
            sql.push_str(INSERT_PAIR_MEMBERS);
            push_rows(&mut sql, 2 * self.starts, "(?,?,?)");
            sql.push_str(PRESENT_ROWS);
        }
        if self.messages > 0 {
            sql.push_str(INSERT_MESSAGES);
            push_rows(&mut sql, self.messages, "(?,?,?,?,?,?,?,?,?)");
            sql.push_str(PRESENT_ROWS);
        }
        if self.commit {
            sql.push_str("COMMIT");
        }
        sql
    }
}

fn push_rows(sql: &mut String, rows: usize, row: &str) {
    sql.push_str(row);
    for _ in 1..rows {
        sql.push(',');
        sql.push_str(row);
    }
}
