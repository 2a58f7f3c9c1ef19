//! Storing a batch of messages: the hot path.
//!
//! A batch is one text of statements in one round trip, or as few as the server takes, written from integers and hexadecimal
//! digits only. What must hold is a number that goes out of range where it does not: an error, behind which the server
//! runs nothing more of the text, so no COMMIT either. Each text begins with ROLLBACK, since `START TRANSACTION` would
//! commit what a failed one has left.

use std::sync::PoisonError;

use im_core::{Backoff, Conversation};
use im_store::{AppendBatch, ConversationRow, MessageRow, Prepared, StoreError, Touched};
use sqlx::mysql::MySqlConnection;
use tokio::time::{Instant, sleep, timeout};

use crate::MysqlStore;
use crate::change::{LONGEST_WAIT, SHORTEST_WAIT, new_receipt, receipt_text, run};
use crate::rows::{
    conversation_number, count, is_conflict, is_definite, is_duplicate, is_out_of_range, list,
    unavailable,
};
use crate::tenures::{numbers, on_record, refused};
use crate::transfer::put_state;

/// How often a batch is tried that something else gets in the way of.
const ATTEMPTS: u32 = 6;
/// Rows of one INSERT.
const ROWS_AT_ONCE: usize = 512;

impl MysqlStore {
    pub(crate) async fn append_batch(&self, batch: &AppendBatch) -> Result<(), StoreError> {
        if batch.messages.is_empty() && batch.new_conversations.is_empty() {
            return Ok(());
        }
        self.append_prepared(Prepared::of(batch)?).await
    }

    pub(crate) async fn append_prepared(&self, prepared: Prepared) -> Result<(), StoreError> {
        let numbers = self.numbers_of(&prepared).await?;
        let store = self.clone();
        // On a task, since a caller that goes away must leave no transaction half-way.
        let task = tokio::spawn(async move {
            let stored = store.store_batch(&prepared, &numbers).await;
            match &stored {
                Ok(()) => store.know(&prepared),
                // What was believed of conversations may be wrong.
                Err(_) => store.forget_numbers(),
            }
            stored
        });
        task.await
            .unwrap_or_else(|_| Err(unavailable("the batch was interrupted")))
    }

    async fn store_batch(&self, batch: &Prepared, conversations: &[u64]) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut slot = inner.appender.lock().await;
        let mut backoff = Backoff::new(SHORTEST_WAIT, LONGEST_WAIT);
        let mut tries = 1;
        let mut across_gaps = false;
        loop {
            let receipt = new_receipt();
            let texts = texts(batch, conversations, receipt, across_gaps, inner.max_text)?;
            let mut connection = inner.take_appender(&mut slot).await?;
            let running = run_all(&mut connection, texts);
            let error = match timeout(inner.options.commit_timeout, running).await {
                Ok(Ok(())) => {
                    *slot = Some((connection, Instant::now()));
                    return Ok(());
                }
                Ok(Err(error)) if is_definite(&error) => {
                    let rolled_back = run(&mut connection, "ROLLBACK".to_owned()).await;
                    if is_conflict(&error) && tries < ATTEMPTS {
                        // Nobody but the owner can have changed what the batch rests on.
                        tries += 1;
                        *slot = rolled_back.is_ok().then_some((connection, Instant::now()));
                        sleep(backoff.step()).await;
                        continue;
                    }
                    if !is_duplicate(&error) && !is_out_of_range(&error) {
                        *slot = rolled_back.is_ok().then_some((connection, Instant::now()));
                        return Err(error.into());
                    }
                    let fence = &batch.batch.fence;
                    let found = on_record(&mut connection, fence.partition).await?;
                    run(&mut connection, "ROLLBACK".to_owned()).await?;
                    *slot = Some((connection, Instant::now()));
                    let may_be_gap =
                        found.tenure == fence.tenure && found.end == fence.span.after();
                    if may_be_gap && !across_gaps && is_out_of_range(&error) {
                        // Only a store that was restored has gaps: others never look for them.
                        across_gaps = true;
                        continue;
                    }
                    return Err(refused(fence, found));
                }
                Ok(Err(error)) => error.into(),
                Err(_) => unavailable("a commit is not answered"),
            };
            drop(connection);
            return inner.settle(receipt, error).await;
        }
    }

    /// Numbers of the conversations that the batch adds to, in the order of [`Prepared::touched`].
    async fn numbers_of(&self, batch: &Prepared) -> Result<Vec<u64>, StoreError> {
        let mut found: Vec<Option<u64>> = Vec::with_capacity(batch.touched.len());
        let mut missing = Vec::new();
        {
            let mut known = self
                .inner
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for (row, _) in &batch.touched {
                let new = batch.batch.new_conversations.iter();
                let number = match new.into_iter().find(|new| new.row == *row) {
                    Some(new) => Some(conversation_number(new.conversation)),
                    None => known.get(&row.0).copied(),
                };
                if number.is_none() {
                    missing.push(u64::try_from(row.0).map_err(|_| StoreError::Outdated)?);
                }
                found.push(number);
            }
        }
        if !missing.is_empty() {
            let part = batch.batch.fence.partition;
            let text = format!(
                "SELECT number, conv FROM conversation WHERE part = {part} AND number IN ({})",
                list(missing)
            );
            let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(text))
                .fetch_all(&self.inner.readers)
                .await?;
            let mut looked_up = std::collections::HashMap::with_capacity(rows.len());
            for row in &rows {
                looked_up.insert(count(row, 0)?, count(row, 1)?);
            }
            for ((row, _), number) in batch.touched.iter().zip(&mut found) {
                if number.is_none() {
                    *number = looked_up.get(&row.0.unsigned_abs()).copied();
                }
            }
        }
        let found: Option<Vec<u64>> = found.into_iter().collect();
        // The writer believes in a conversation that there is not; whether it is still the owner is said first.
        match found {
            Some(found) => Ok(found),
            None => {
                let fence = &batch.batch.fence;
                numbers(fence).map(drop)?;
                let found = self
                    .inner
                    .readers
                    .with(async |connection| on_record(connection, fence.partition).await);
                Err(refused(fence, found.await?))
            }
        }
    }

    fn know(&self, batch: &Prepared) {
        let mut known = self
            .inner
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for new in &batch.batch.new_conversations {
            known.insert(new.row.0, conversation_number(new.conversation));
        }
    }

    /// Forgets what the writer calls conversations.
    pub(crate) fn forget_numbers(&self) {
        let mut known = self
            .inner
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

async fn run_all(connection: &mut MySqlConnection, texts: Vec<String>) -> Result<(), sqlx::Error> {
    for text in texts {
        run(connection, text).await?;
    }
    Ok(())
}

/// The statements of a batch as texts of at most about `longest` bytes, the last of which ends with COMMIT.
fn texts(
    batch: &Prepared,
    conversations: &[u64],
    receipt: u64,
    across_gaps: bool,
    longest: usize,
) -> Result<Vec<String>, StoreError> {
    let [part, epoch, after, through] = numbers(&batch.batch.fence)?;
    let mut texts = Texts::new(longest);
    texts.statement("ROLLBACK");
    // First of all, so that whoever is no owner any more waits for nothing and changes nothing.
    texts.statement(&format!(
        "UPDATE part SET last_seq = {through} + 0 * EXP(IF(epoch = {epoch} AND last_seq = {after}, 0, 1000)) WHERE part = {part}"
    ));
    texts.statement(&receipt_text(receipt));
    start(&mut texts, batch, part)?;
    let by_row = |row: ConversationRow| {
        let at = batch.touched.binary_search_by_key(&row, |(row, _)| *row);
        at.ok().and_then(|at| conversations.get(at)).copied()
    };
    let mut rows = Vec::with_capacity(batch.batch.messages.len());
    for message in &batch.batch.messages {
        let conversation = by_row(message.row)
            .ok_or_else(|| StoreError::Corrupt("a message of no conversation".to_owned()))?;
        rows.push(message_row(part, conversation, message));
    }
    texts.insert(
        "INSERT INTO message (part, seq, conv, id, sender, type, time, low_sent, retry_key, body) VALUES ",
        rows,
        "",
    );
    let is_new = |row| {
        batch
            .batch
            .new_conversations
            .iter()
            .any(|new| new.row == row)
    };
    let mut rows = Vec::with_capacity(batch.touched.len());
    for ((row, touched), conversation) in batch.touched.iter().zip(conversations) {
        if !is_new(*row) {
            rows.push((
                *conversation,
                conversation_row(part, *conversation, *row, Some(touched), batch)?,
            ));
        }
    }
    rows.sort_unstable_by_key(|(conversation, _)| *conversation);
    if across_gaps {
        let conversations = rows.iter().map(|(conversation, _)| *conversation);
        texts.statement(&format!(
            "UPDATE conversation AS c JOIN id_gap AS g ON g.conv = c.conv AND g.after = c.last_id
                SET c.last_id = g.through WHERE c.part = {part} AND c.conv IN ({})",
            list(conversations)
        ));
    }
    // Assigned from left to right: the first one sees the row as it was.
    texts.insert(
        CONVERSATION,
        rows.into_iter().map(|(_, row)| row).collect(),
        " ON DUPLICATE KEY UPDATE prior_id = VALUES(prior_id) + 0 * EXP(IF(conv = VALUES(conv) AND number = VALUES(number)
            AND last_id = VALUES(prior_id), 0, 1000)),
            last_id = VALUES(last_id), last_seq = VALUES(last_seq), last_time = VALUES(last_time),
            low_sent = VALUES(low_sent)",
    );
    let mut read = Vec::with_capacity(2 * batch.read.len());
    for (row, users, read_id) in &batch.read {
        let conversation = by_row(*row)
            .ok_or_else(|| StoreError::Corrupt("a read position of no conversation".to_owned()))?;
        let read_id = read_id.get();
        read.extend(users.map(|user| ((user, conversation), read_id)));
    }
    read.sort_unstable();
    let read = read.into_iter();
    let read = read
        .map(|((user, conversation), read_id)| format!("({user},{conversation},{read_id},NULL,0)"));
    texts.insert(
        "INSERT INTO inbox (user, conv, read_id, removed_at, created) VALUES ",
        read.collect(),
        " ON DUPLICATE KEY UPDATE read_id = VALUES(read_id)",
    );
    for state in &batch.states {
        texts.statement(&put_state(state));
    }
    texts.statement("COMMIT");
    Ok(texts.done)
}

const CONVERSATION: &str = "INSERT INTO conversation (part, conv, number, prior_id, last_id, last_seq, last_time, low_sent) VALUES ";

/// Begins the new pairs: their rows in both inboxes, what of their ids is skipped, and the conversations.
fn start(texts: &mut Texts, batch: &Prepared, part: u64) -> Result<(), StoreError> {
    let (mut inboxes, mut gaps, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for new in &batch.batch.new_conversations {
        let Conversation::Pair(low, high) = new.conversation else {
            continue;
        };
        let number = conversation_number(new.conversation);
        let touched = batch.touched(new.row);
        let time = touched.map_or(0, |touched| touched.first_time.get());
        for user in [low, high] {
            inboxes.push(((user, number), format!("({user},{number},0,NULL,{time})")));
        }
        let before = touched.map_or(0, |touched| touched.before);
        if before > 0 {
            gaps.push(format!(
                "INSERT INTO id_gap (conv, after, through)
                    SELECT {number}, 0, value + 0 * EXP(IF(value = {before}, 0, 1000)) FROM meta WHERE name = 'skipped_ids'"
            ));
        }
        rows.push((
            number,
            conversation_row(part, number, new.row, touched, batch)?,
        ));
    }
    inboxes.sort_unstable_by_key(|(key, _)| *key);
    rows.sort_unstable_by_key(|(number, _)| *number);
    texts.insert(
        "INSERT INTO inbox (user, conv, read_id, removed_at, created) VALUES ",
        inboxes.into_iter().map(|(_, row)| row).collect(),
        "",
    );
    for gap in gaps {
        texts.statement(&gap);
    }
    texts.insert(
        CONVERSATION,
        rows.into_iter().map(|(_, row)| row).collect(),
        "",
    );
    Ok(())
}

fn conversation_row(
    part: u64,
    conversation: u64,
    row: ConversationRow,
    touched: Option<&Touched>,
    batch: &Prepared,
) -> Result<String, StoreError> {
    let number = u64::try_from(row.0)
        .map_err(|_| StoreError::Corrupt(format!("conversation row {}", row.0)))?;
    let Some(touched) = touched else {
        return Ok(format!("({part},{conversation},{number},0,0,0,0,0)"));
    };
    let newest = batch.message(touched.newest)?;
    Ok(format!(
        "({part},{conversation},{number},{},{},{},{},{})",
        touched.before,
        newest.msg_id.get(),
        newest.seq,
        newest.time.get(),
        newest.low_sent,
    ))
}

fn message_row(part: u64, conversation: u64, message: &MessageRow) -> String {
    let MessageRow {
        seq,
        row: _,
        msg_id,
        sender,
        msg_type,
        time,
        low_sent,
        key,
        body,
    } = message;
    let mut text = String::with_capacity(120 + 2 * body.len());
    text.push_str(&format!(
        "({part},{seq},{conversation},{},{},{msg_type},{},{low_sent},",
        msg_id.get(),
        sender.get(),
        time.get(),
    ));
    match key {
        Some(key) => hexadecimal(&mut text, &key.0),
        None => text.push_str("NULL"),
    }
    text.push(',');
    hexadecimal(&mut text, body);
    text.push(')');
    text
}

/// Bytes as a literal of SQL.
pub(crate) fn hexadecimal(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS.get(usize::from(half)).copied().unwrap_or(b'0'));
    text.push_str("x'");
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text.push('\'');
}

/// Statements gathered into texts.
struct Texts {
    done: Vec<String>,
    longest: usize,
}

impl Texts {
    fn new(longest: usize) -> Self {
        Self {
            done: vec![String::new()],
            longest,
        }
    }

    fn statement(&mut self, statement: &str) {
        let is_full =
            |last: &String| !last.is_empty() && last.len() + statement.len() + 1 > self.longest;
        if self.done.last().is_none_or(is_full) {
            self.done.push(String::new());
        }
        if let Some(last) = self.done.last_mut() {
            if !last.is_empty() {
                last.push(';');
            }
            last.push_str(statement);
        }
    }

    /// As few statements as the bounds allow; none without rows.
    fn insert(&mut self, head: &str, rows: Vec<String>, tail: &str) {
        let mut statement = String::new();
        let mut count = 0;
        for row in rows {
            let is_full = count >= ROWS_AT_ONCE
                || statement.len() + row.len() + tail.len() + 1 > self.longest / 2;
            if count > 0 && is_full {
                statement.push_str(tail);
                self.statement(&statement);
                statement.clear();
                count = 0;
            }
            statement.push_str(if count == 0 { head } else { "," });
            statement.push_str(&row);
            count += 1;
        }
        if count > 0 {
            statement.push_str(tail);
            self.statement(&statement);
        }
    }
}
