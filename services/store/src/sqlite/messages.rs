//! The log and conversations: reads.

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use im_core::time::UnixSeconds;
use im_core::{Conversation, MsgId, RetryKey};
use im_order::CommitSeq;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{
    GROUP, conversation, conversation_key, json_array, msg_id, number, position, signed, size,
    time, user,
};
use crate::{
    AppendBatch, ConversationRow, ConversationState, LogEntry, MessageStore, ReadLimit,
    ReadPosition, RecentKey, Room, StoreError, StoredMessage,
};

/// Conversations looked up in one statement.
const STATES_AT_ONCE: usize = 512;

const LOG_END: &str = "SELECT coalesce((SELECT max(seq) FROM message), 0),
    coalesce((SELECT max(conv) FROM conversation), 0)";

const SKIPPED_IDS: &str = "SELECT value FROM meta WHERE name = 'skipped_ids'";

/// The parameter is a JSON array of [kind, a, b]. A gap behind the newest message counts.
const STATES: &str = "SELECT j.key, c.conv, coalesce((SELECT g.through FROM id_gap AS g
        WHERE g.conv = c.conv AND g.after = c.last_id), c.last_id), c.last_seq, c.low_sent
    FROM json_each(?) AS j CROSS JOIN conversation AS c
    WHERE c.kind = j.value ->> 0 AND c.a = j.value ->> 1 AND c.b = j.value ->> 2";

/// Looks back from the end for the newest message that is too old, within the bounded number.
const RECENT_KEYS: &str = "SELECT retry_key, id, seq, time FROM message
    WHERE retry_key IS NOT NULL
      AND seq > (SELECT coalesce(max(seq), 0) FROM message) - ?1
      AND seq > coalesce((SELECT seq FROM message
            WHERE time < ?2 AND seq > (SELECT max(seq) FROM message) - ?1
            ORDER BY seq DESC LIMIT 1), 0)
    ORDER BY seq";

/// The age is counted from the newest message: nothing is known of how long nobody served.
const RECENT_GROUP_SENDERS: &str = "SELECT m.sender, c.kind, c.a, c.b, max(m.id)
    FROM message AS m JOIN conversation AS c ON c.conv = m.conv
    WHERE c.kind = ?1
      AND m.seq > (SELECT coalesce(max(seq), 0) FROM message) - ?2
      AND m.seq > coalesce((SELECT seq FROM message
            WHERE time < (SELECT time FROM message ORDER BY seq DESC LIMIT 1) - ?3
              AND seq > (SELECT max(seq) FROM message) - ?2
            ORDER BY seq DESC LIMIT 1), 0)
    GROUP BY m.sender, m.conv";

/// Chooses rows by their sizes before any body is read: `$chosen` selects seq, the order and the size
/// of as many rows as are wanted; ? the bytes.
macro_rules! within_bytes {
    ($columns:expr, $from:expr, $chosen:expr, $order:expr) => {
        concat!(
            "WITH sized AS MATERIALIZED (
                SELECT seq, sum(size) OVER (ORDER BY ",
            $order,
            " ROWS UNBOUNDED PRECEDING) AS total, size FROM (",
            $chosen,
            "))
            SELECT m.seq, m.id, m.sender, m.type, m.time, m.low_sent, m.body",
            $columns,
            " FROM sized AS s CROSS JOIN message AS m ON m.seq = s.seq ",
            $from,
            " WHERE s.total <= ? OR s.total = s.size ORDER BY m.",
            $order
        )
    };
}

const LOG: &str = within_bytes!(
    ", c.kind, c.a, c.b",
    "CROSS JOIN conversation AS c ON c.conv = m.conv",
    "SELECT seq, length(body) + 96 AS size FROM message WHERE seq > ? ORDER BY seq LIMIT ?",
    "seq"
);

const HISTORY: &str = within_bytes!(
    "",
    "",
    "SELECT seq, id, length(body) + 96 AS size FROM message
        WHERE conv = (SELECT conv FROM conversation WHERE kind = ? AND a = ? AND b = ?)
          AND id BETWEEN ? AND ?
        ORDER BY id DESC LIMIT ?",
    "seq DESC"
);

const HISTORY_AFTER: &str = within_bytes!(
    "",
    "",
    "SELECT seq, id, length(body) + 96 AS size FROM message
        WHERE conv = (SELECT conv FROM conversation WHERE kind = ? AND a = ? AND b = ?)
          AND id > ?
        ORDER BY id LIMIT ?",
    "seq"
);

const BY_IDS: &str = within_bytes!(
    "",
    "",
    "SELECT seq, id, length(body) + 96 AS size FROM message
        WHERE conv = (SELECT conv FROM conversation WHERE kind = ? AND a = ? AND b = ?)
          AND id IN (SELECT value FROM json_each(?)) AND id >= ?
        ORDER BY id DESC LIMIT ?",
    "seq DESC"
);

const LATEST_ID: &str =
    "SELECT last_id FROM conversation WHERE kind = ? AND a = ? AND b = ? AND last_id > 0";

#[async_trait]
impl MessageStore for SqliteStore {
    async fn log_end(&self) -> Result<(CommitSeq, ConversationRow), StoreError> {
        let row = sqlx::query(LOG_END).fetch_one(&self.inner.readers).await?;
        Ok((position(&row, 0)?, ConversationRow(row.try_get(1)?)))
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
        let mut rows = sqlx::query(RECENT_KEYS)
            .bind(i64::from(max_messages))
            .bind(i64::from(since))
            .fetch(&self.inner.readers);
        let mut keys = Vec::new();
        while let Some(row) = rows.try_next().await? {
            keys.push(recent_key(&row)?);
        }
        Ok(keys)
    }

    async fn recent_group_senders(
        &self,
        seconds: u32,
        max_messages: u32,
    ) -> Result<Vec<ReadPosition>, StoreError> {
        let rows = sqlx::query(RECENT_GROUP_SENDERS)
            .bind(GROUP)
            .bind(i64::from(max_messages))
            .bind(i64::from(seconds))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(ReadPosition {
                    user: user(row, 0)?,
                    conversation: conversation(row, 1)?,
                    read_id: number(row, 4)?,
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
            states.extend(self.some_states(wanted).await?);
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
            .bind(signed(after.to_wire())?)
            .bind(i64::from(limit.rows))
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LogEntry {
                    conversation: conversation(row, 7)?,
                    message: message(row, 0)?,
                })
            })
            .collect()
    }

    async fn history(
        &self,
        conversation: Conversation,
        from: Option<MsgId>,
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let (kind, a, b) = conversation_key(conversation);
        let rows = sqlx::query(HISTORY)
            .bind(kind)
            .bind(a)
            .bind(b)
            .bind(i64::from(oldest))
            .bind(i64::from(from.map_or(u32::MAX, MsgId::get)))
            .bind(i64::from(limit.rows))
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
        let (kind, a, b) = conversation_key(conversation);
        let rows = sqlx::query(HISTORY_AFTER)
            .bind(kind)
            .bind(a)
            .bind(b)
            .bind(i64::from(after))
            .bind(i64::from(limit.rows))
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
        let (kind, a, b) = conversation_key(conversation);
        let rows = sqlx::query(BY_IDS)
            .bind(kind)
            .bind(a)
            .bind(b)
            .bind(json_array(ids.iter().copied()))
            .bind(i64::from(oldest))
            .bind(i64::from(limit.rows))
            .bind(size(limit.bytes))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| message(row, 0)).collect()
    }

    async fn room(&self) -> Result<Room, StoreError> {
        Ok(Room {
            disk: self.look_at_free_space().await,
            log_held: self.log_use().held,
        })
    }

    async fn latest_id(&self, conversation: Conversation) -> Result<Option<MsgId>, StoreError> {
        let (kind, a, b) = conversation_key(conversation);
        let row = sqlx::query(LATEST_ID)
            .bind(kind)
            .bind(a)
            .bind(b)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(|row| msg_id(row, 0)).transpose()
    }
}

impl SqliteStore {
    async fn some_states(
        &self,
        wanted: &[Conversation],
    ) -> Result<Vec<Option<ConversationState>>, StoreError> {
        let keys = json_triples(
            wanted
                .iter()
                .map(|conversation| conversation_key(*conversation)),
        );
        let rows = sqlx::query(STATES)
            .bind(keys)
            .fetch_all(&self.inner.readers)
            .await?;
        let mut states: Vec<Option<ConversationState>> = vec![None; wanted.len()];
        for row in &rows {
            *slot(&mut states, row.try_get(0)?)? = Some(ConversationState {
                row: ConversationRow(row.try_get(1)?),
                last_id: number(row, 2)?,
                last_seq: position(row, 3)?,
                low_sent: number(row, 4)?,
            });
        }
        Ok(states)
    }
}

/// Reads (seq, id, sender, type, time, low_sent, body) from column `at` on.
pub(super) fn message(row: &SqliteRow, at: usize) -> Result<StoredMessage, StoreError> {
    Ok(StoredMessage {
        seq: position(row, at)?,
        msg_id: msg_id(row, at + 1)?,
        sender: user(row, at + 2)?,
        msg_type: number(row, at + 3)?,
        time: time(row, at + 4)?,
        low_sent: number(row, at + 5)?,
        body: Bytes::from(row.try_get::<Vec<u8>, _>(at + 6)?),
    })
}

fn recent_key(row: &SqliteRow) -> Result<RecentKey, StoreError> {
    let key: Vec<u8> = row.try_get(0)?;
    let key = key
        .try_into()
        .map_err(|_| StoreError::Corrupt("retry key of odd length".into()))?;
    Ok(RecentKey {
        key: RetryKey(key),
        msg_id: msg_id(row, 1)?,
        seq: position(row, 2)?,
        time: time(row, 3)?,
    })
}

fn slot<T>(slots: &mut [T], index: i64) -> Result<&mut T, StoreError> {
    usize::try_from(index)
        .ok()
        .and_then(|index| slots.get_mut(index))
        .ok_or_else(|| StoreError::Corrupt(format!("index {index}")))
}

fn json_triples(triples: impl Iterator<Item = (i64, i64, i64)>) -> String {
    let items: Vec<String> = triples.map(|(a, b, c)| format!("[{a},{b},{c}]")).collect();
    format!("[{}]", items.join(","))
}
