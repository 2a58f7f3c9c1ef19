//! Storing a batch of messages: the hot path.
//!
//! Each statement given to the driver costs a trip to the connection's thread and back (about 19 µs),
//! so a whole transaction travels as one text: `BEGIN IMMEDIATE`, one INSERT with all messages, one
//! UPDATE with all conversations, `COMMIT`. Texts differ only in their numbers of rows. Those are
//! rounded up to a few sizes, so that each text is prepared once: missing messages are rows of NULLs
//! that the INSERT filters out, missing conversations repeat the last one.

use std::collections::HashMap;
use std::sync::Arc;

use im_core::Conversation;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Sqlite};

use super::SqliteStore;
use super::rows::{conversation_key, fenced, signed};
use crate::{AppendBatch, ConversationRow, MessageRow, NewConversation, StoreError};

/// Rows in one statement at most: 512 × 9 = 4,608 bound values of the 32,766 that SQLite takes.
const MAX_ROWS: usize = 512;
/// New conversations in one statement.
const MAX_NEW: usize = 64;

const INSERT_MESSAGES: &str = "INSERT INTO message
    (seq, conv, id, sender, type, time, low_sent, retry_key, body)
    SELECT * FROM (VALUES ";
const INSERT_CONVERSATIONS: &str = "INSERT INTO conversation
    (conv, kind, a, b, last_id, last_seq, last_time, low_sent)
    SELECT column1, column2, column3, column4, 0, 0, 0, 0 FROM (VALUES ";
const INSERT_PAIR_MEMBERS: &str = "INSERT INTO member
    (user, conv, grouped, active, shield, read_id, joined_id, removed_at,
     created, updated, changed_by)
    SELECT column1, column2, 0, 1, 0, 0, 0, NULL, column3, column3, NULL FROM (VALUES ";
const PRESENT_ROWS: &str = ") WHERE column1 IS NOT NULL;";
/// A conversation that is not where the writer believes it to be gets NULL for its newest id, which
/// the column refuses: the batch fails as fenced.
const UPDATE_CONVERSATIONS: &str = "UPDATE conversation SET
    last_id = CASE last_id WHEN v.column2 THEN v.column3 END,
    last_seq = v.column4, last_time = v.column5, low_sent = v.column6
    FROM (VALUES ";
const OF_CONVERSATION: &str = ") AS v WHERE conversation.conv = v.column1;";

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
    conversations: usize,
    commit: bool,
}

/// A conversation that the batch adds to.
struct Touched<'a> {
    /// Newest id before the batch.
    before: u32,
    first_time: u32,
    newest: &'a MessageRow,
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
    touched: &HashMap<ConversationRow, Touched<'_>>,
) -> Result<(), sqlx::Error> {
    let mut begin = true;
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

    let conversations: Vec<&Touched<'_>> = touched.values().collect();
    let mut messages = batch.messages.chunks(MAX_ROWS);
    let mut conversations = conversations.chunks(MAX_ROWS);
    loop {
        let some_messages = messages.next().unwrap_or_default();
        let some_conversations = if messages.len() == 0 {
            conversations.next().unwrap_or_default()
        } else {
            &[]
        };
        let commit = messages.len() == 0 && conversations.len() == 0;
        let shape = Shape {
            begin,
            starts: 0,
            messages: rounded_up(some_messages.len()),
            conversations: match some_conversations.len() {
                0 => 0,
                rows => rows.next_power_of_two(),
            },
            commit,
        };
        let mut query = texts.query(shape);
        for message in some_messages {
            query = bind_message(query, message)?;
        }
        query = bind_nulls(query, 9 * (shape.messages - some_messages.len()));
        let padding = some_conversations.last().into_iter().cycle();
        for conversation in some_conversations
            .iter()
            .chain(padding)
            .take(shape.conversations)
        {
            query = bind_conversation(query, conversation)?;
        }
        query.execute(&mut *connection).await?;
        if commit {
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
    touched: &HashMap<ConversationRow, Touched<'_>>,
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

fn bind_conversation<'q>(
    query: Statement<'q>,
    touched: &Touched<'_>,
) -> Result<Statement<'q>, sqlx::Error> {
    let newest = touched.newest;
    Ok(query
        .bind(newest.row.0)
        .bind(i64::from(touched.before))
        .bind(i64::from(newest.msg_id.get()))
        .bind(signed(newest.seq.0).map_err(|e| sqlx::Error::Encode(e.into()))?)
        .bind(i64::from(newest.time))
        .bind(i64::from(newest.low_sent)))
}

/// What happens to each conversation, and whether positions and ids follow each other.
fn touched(messages: &[MessageRow]) -> Result<HashMap<ConversationRow, Touched<'_>>, StoreError> {
    let mut touched: HashMap<ConversationRow, Touched<'_>> = HashMap::with_capacity(messages.len());
    let first = messages.first().map_or(0, |message| message.seq.0);
    for (seq, message) in (first..).zip(messages) {
        if message.seq.0 != seq {
            return Err(StoreError::Corrupt(format!(
                "batch skips log position {seq}"
            )));
        }
        let id = message.msg_id.get();
        let entry = touched.entry(message.row).or_insert(Touched {
            before: id - 1,
            first_time: message.time,
            newest: message,
        });
        let is_first = entry.before == id - 1;
        if !is_first && entry.newest.msg_id.get() != id - 1 {
            return Err(StoreError::Corrupt(format!(
                "batch skips an id before {id}"
            )));
        }
        entry.newest = message;
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
        if self.conversations > 0 {
            sql.push_str(UPDATE_CONVERSATIONS);
            push_rows(&mut sql, self.conversations, "(?,?,?,?,?,?)");
            sql.push_str(OF_CONVERSATION);
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
