//! The log and conversations: reads.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::time::UnixSeconds;
use im_core::{Conversation, MsgId, RetryKey};
use im_order::CommitSeq;
use im_store::{
    AppendBatch, ConversationRow, ConversationState, LogEntry, MessageStore, ReadLimit,
    ReadPosition, RecentKey, Room, StoreError, StoredMessage,
};
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlRow;

use crate::MysqlStore;
use crate::rows::{
    FIRST_PAIR, bytes, conversation, conversation_number, count, list, msg_id, number, position,
    size, time, user,
};

/// Conversations looked up in one statement.
const STATES_AT_ONCE: usize = 512;

const LOG_END: &str = "SELECT (SELECT last_seq FROM part WHERE part = 0),
    (SELECT coalesce(max(number), 0) FROM conversation WHERE part = 0)";

const SKIPPED_IDS: &str = "SELECT value FROM meta WHERE name = 'skipped_ids'";

/// Looks back from the end for the newest message that is too old, within the bounded number: behind which place. The
/// parameters are the number, a time and the number again.
macro_rules! behind {
    ($time:expr) => {
        concat!(
            "(SELECT greatest(
                CAST(coalesce((SELECT max(seq) FROM message WHERE part = 0), 0) AS SIGNED) - ?,
                CAST(coalesce((SELECT seq FROM message WHERE part = 0 AND time < ",
            $time,
            " AND seq > CAST(coalesce((SELECT max(seq) FROM message WHERE part = 0), 0) AS SIGNED) - ?
                ORDER BY seq DESC LIMIT 1), 0) AS SIGNED), 0))"
        )
    };
}

const RECENT_KEYS: &str = concat!(
    "SELECT retry_key, id, seq, time FROM message
    WHERE part = 0 AND retry_key IS NOT NULL AND seq > ",
    behind!("?"),
    " ORDER BY seq"
);

/// The age is counted from the newest message: nothing is known of how long nobody served.
const RECENT_GROUP_SENDERS: &str = concat!(
    "SELECT sender, conv, max(id) FROM message WHERE part = 0 AND conv < ? AND seq > ",
    behind!(
        "(SELECT greatest(CAST(time AS SIGNED) - ?, 0) FROM message WHERE part = 0
            ORDER BY seq DESC LIMIT 1)"
    ),
    " GROUP BY sender, conv"
);

/// Chooses rows by their sizes before any body is read: `$chosen` selects seq and the size of as many rows as are wanted;
/// the last parameter is the bytes.
macro_rules! within_bytes {
    ($chosen:expr, $order:expr) => {
        concat!(
            "SELECT m.seq, m.id, m.sender, m.type, m.time, m.low_sent, m.body, m.conv FROM (
                SELECT seq, size, sum(size) OVER (ORDER BY ",
            $order,
            " ROWS UNBOUNDED PRECEDING) AS total FROM (",
            $chosen,
            ") AS chosen) AS s
            STRAIGHT_JOIN message AS m ON m.part = 0 AND m.seq = s.seq
            WHERE s.total <= ? OR s.total = s.size ORDER BY m.",
            $order
        )
    };
}

const LOG: &str = within_bytes!(
    "SELECT seq, length(body) + 96 AS size FROM message WHERE part = 0 AND seq > ?
        ORDER BY seq LIMIT ?",
    "seq"
);

const HISTORY: &str = within_bytes!(
    "SELECT seq, length(body) + 96 AS size FROM message WHERE conv = ? AND id BETWEEN ? AND ?
        ORDER BY id DESC LIMIT ?",
    "seq DESC"
);

const HISTORY_AFTER: &str = within_bytes!(
    "SELECT seq, length(body) + 96 AS size FROM message WHERE conv = ? AND id > ?
        ORDER BY id LIMIT ?",
    "seq"
);

const LATEST_ID: &str =
    "SELECT last_id FROM conversation WHERE part = 0 AND conv = ? AND last_id > 0";

#[async_trait]
impl MessageStore for MysqlStore {
    async fn log_end(&self) -> Result<(CommitSeq, ConversationRow), StoreError> {
        let row = sqlx::query(LOG_END).fetch_one(&self.inner.readers).await?;
        Ok((position(&row, 0)?, conversation_row(&row, 1)?))
    }

    async fn skipped_ids(&self) -> Result<u32, StoreError> {
        let row = sqlx::query(SKIPPED_IDS)
            .fetch_one(&self.inner.readers)
            .await?;
        number(&row, 0)
    }

    async fn recent_keys(
        &self,
        since: UnixSeconds,
        max_messages: u32,
    ) -> Result<Vec<RecentKey>, StoreError> {
        let rows = sqlx::query(RECENT_KEYS)
            .bind(i64::from(max_messages))
            .bind(since.get())
            .bind(i64::from(max_messages))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(recent_key).collect()
    }

    async fn recent_group_senders(
        &self,
        seconds: u32,
        max_messages: u32,
    ) -> Result<Vec<ReadPosition>, StoreError> {
        let rows = sqlx::query(RECENT_GROUP_SENDERS)
            .bind(FIRST_PAIR)
            .bind(i64::from(max_messages))
            .bind(i64::from(seconds))
            .bind(i64::from(max_messages))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ReadPosition {
                    user: user(row, 0)?,
                    conversation: conversation(row, 1)?,
                    read_id: number(row, 2)?,
                })
            })
            .collect()
    }

    async fn conversation_states(
        &self,
        wanted: &[Conversation],
    ) -> Result<Vec<Option<ConversationState>>, StoreError> {
        let mut states = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(STATES_AT_ONCE) {
            let found = self.some_states(wanted).await?;
            states.extend(wanted.iter().map(|one| found.get(one).cloned()));
        }
        Ok(states)
    }

    async fn append(&self, batch: &AppendBatch) -> Result<(), StoreError> {
        self.append_batch(batch).await
    }

    async fn read_log(
        &self,
        after: CommitSeq,
        limit: ReadLimit,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let rows = sqlx::query(LOG)
            .bind(after.to_wire())
            .bind(limit.rows)
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(entry).collect()
    }

    async fn history(
        &self,
        conversation: Conversation,
        from: Option<MsgId>,
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let rows = sqlx::query(HISTORY)
            .bind(conversation_number(conversation))
            .bind(oldest)
            .bind(from.map_or(u32::MAX, MsgId::get))
            .bind(limit.rows)
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| message(row, 0)).collect()
    }

    async fn history_after(
        &self,
        conversation: Conversation,
        after: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let rows = sqlx::query(HISTORY_AFTER)
            .bind(conversation_number(conversation))
            .bind(after)
            .bind(limit.rows)
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| message(row, 0)).collect()
    }

    async fn by_ids(
        &self,
        conversation: Conversation,
        ids: &[u32],
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let chosen = format!(
            "SELECT seq, length(body) + 96 AS size FROM message WHERE conv = {}
                AND id IN ({}) AND id >= {oldest} ORDER BY id DESC LIMIT {}",
            conversation_number(conversation),
            list(ids.iter().copied()),
            limit.rows,
        );
        let head = within_bytes!("@", "seq DESC").replace('@', &chosen);
        let text = head.replace('?', &size(limit.bytes).to_string());
        let rows = sqlx::raw_sql(AssertSqlSafe(text))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| message(row, 0)).collect()
    }

    async fn room(&self) -> Result<Room, StoreError> {
        // Of the server's disks nothing is known here.
        Ok(Room::default())
    }

    async fn latest_id(&self, conversation: Conversation) -> Result<Option<MsgId>, StoreError> {
        let row = sqlx::query(LATEST_ID)
            .bind(conversation_number(conversation))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(|row| msg_id(row, 0)).transpose()
    }
}

impl MysqlStore {
    /// States of those that exist. A gap behind the newest message counts.
    async fn some_states(
        &self,
        wanted: &[Conversation],
    ) -> Result<HashMap<Conversation, ConversationState>, StoreError> {
        let numbers = wanted.iter().map(|wanted| conversation_number(*wanted));
        let text = format!(
            "SELECT c.conv, c.number, coalesce((SELECT g.through FROM id_gap AS g
                    WHERE g.conv = c.conv AND g.after = c.last_id), c.last_id), c.last_seq, c.low_sent
                FROM conversation AS c WHERE c.part = 0 AND c.conv IN ({})",
            list(numbers)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(text))
            .fetch_all(&self.inner.readers)
            .await?;
        let mut states = HashMap::with_capacity(rows.len());
        for row in &rows {
            let state = ConversationState {
                row: conversation_row(row, 1)?,
                last_id: number(row, 2)?,
                last_seq: position(row, 3)?,
                low_sent: number(row, 4)?,
            };
            states.insert(conversation(row, 0)?, state);
        }
        Ok(states)
    }
}

/// Reads (seq, id, sender, type, time, low_sent, body) from column `at` on.
pub(crate) fn message(row: &MySqlRow, at: usize) -> Result<StoredMessage, StoreError> {
    Ok(StoredMessage {
        seq: position(row, at)?,
        msg_id: msg_id(row, at + 1)?,
        sender: user(row, at + 2)?,
        msg_type: number(row, at + 3)?,
        time: time(row, at + 4)?,
        low_sent: number(row, at + 5)?,
        body: Bytes::from(bytes(row, at + 6)?),
    })
}

/// The same, and the conversation behind it.
pub(crate) fn entry(row: &MySqlRow) -> Result<LogEntry, StoreError> {
    Ok(LogEntry {
        conversation: conversation(row, 7)?,
        message: message(row, 0)?,
    })
}

fn conversation_row(row: &MySqlRow, at: usize) -> Result<ConversationRow, StoreError> {
    let number = count(row, at)?;
    let number = i64::try_from(number);
    let number = number.map_err(|_| StoreError::Corrupt("a great conversation row".to_owned()))?;
    Ok(ConversationRow(number))
}

pub(crate) fn retry_key(row: &MySqlRow, at: usize) -> Result<RetryKey, StoreError> {
    let key = bytes(row, at)?
        .try_into()
        .map_err(|_| StoreError::Corrupt("retry key of odd length".to_owned()))?;
    Ok(RetryKey(key))
}

fn recent_key(row: &MySqlRow) -> Result<RecentKey, StoreError> {
    Ok(RecentKey {
        key: retry_key(row, 0)?,
        msg_id: msg_id(row, 1)?,
        seq: position(row, 2)?,
        time: time(row, 3)?,
    })
}
