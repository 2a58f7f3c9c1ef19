//! A user's view of his conversations.
//!
//! *Assumptions.* Member rows are not touched by messages, so nothing here knows that somebody has
//! read what he sent himself: the caller stores a read position for the sender of a group message,
//! and for pairs leaves own messages out by `low_sent`. Read positions are clamped to the newest id,
//! so that no position runs ahead of messages to come.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{Conversation, UserId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::messages::message;
use super::rows::{conversation, conversation_key, count, number, size, time, user};
use crate::{MemberView, Preview, ReadPosition, SessionStore, StoreError, Unread};

/// Positions stored in one statement.
const POSITIONS_AT_ONCE: usize = 1000;

/// How many ids between the read position of row `x` and its newest message belong to no message: a gap
/// behind the newest message is not met yet.
macro_rules! skipped {
    () => {
        "coalesce((SELECT sum(g.through - max(g.after, x.read_id, x.joined_id)) FROM id_gap AS g
            WHERE g.conv = x.conv AND g.through > max(x.read_id, x.joined_id)
              AND g.after < x.last_id), 0) AS skipped"
    };
}

/// How many messages up to the read position of row `x` the user with the lower id of a pair has sent.
/// The position may lie in a gap.
macro_rules! low_read {
    () => {
        "coalesce((SELECT r.low_sent FROM message AS r
            WHERE x.kind = 1 AND r.conv = x.conv AND r.id <= x.read_id
            ORDER BY r.id DESC LIMIT 1), 0) AS low_read"
    };
}

/// Lists the conversations of `chosen`, a table that `$with` defines: within the numbers of rows and
/// bytes, newest first, bodies up to a length. Parameters: ?1 user, ?2 rows, ?3 bytes, ?4 length.
macro_rules! listed {
    ($with:expr, $where:expr) => {
        concat!(
            "WITH ",
            $with,
            ", newest AS MATERIALIZED (
                SELECT x.*, CASE WHEN length(n.body) <= ?4 THEN length(n.body) ELSE 0 END AS given
                FROM (SELECT *, sum(unread) OVER () AS total FROM chosen ",
            $where,
            " ORDER BY last_time DESC, last_seq DESC LIMIT ?2) AS x
                CROSS JOIN message AS n ON n.seq = x.last_seq),
            sized AS MATERIALIZED (
                SELECT *, sum(given + 96) OVER
                    (ORDER BY last_time DESC, last_seq DESC ROWS UNBOUNDED PRECEDING) AS bytes
                FROM newest)
            SELECT x.kind, x.a, x.b, x.read_id, x.joined_id, x.removed_at, x.last_time, x.low_read,
                n.seq, n.id, n.sender, n.type, n.time, n.low_sent,
                CASE WHEN x.given > 0 THEN n.body ELSE x'' END, x.total, x.skipped
            FROM sized AS x CROSS JOIN message AS n ON n.seq = x.last_seq
            WHERE x.bytes <= ?3 OR x.bytes = x.given + 96
            ORDER BY x.last_time DESC, x.last_seq DESC"
        )
    };
}

/// ?5 not updated later than this.
const RECENT: &str = listed!(
    concat!(
        "met AS MATERIALIZED (
        SELECT m.conv, m.joined_id, m.removed_at, m.read_id, c.kind, c.a, c.b, c.last_id, c.last_seq,
            c.last_time, 0 AS unread
        FROM member AS m CROSS JOIN conversation AS c ON c.conv = m.conv
        WHERE m.user = ?1 AND m.active = 1 AND c.last_id > m.joined_id AND c.last_time > ?5
          AND (m.removed_at IS NULL OR c.last_id > m.removed_at)
        ORDER BY c.last_time DESC, c.last_seq DESC LIMIT ?2),
    chosen AS MATERIALIZED (SELECT *, ",
        low_read!(),
        ", ",
        skipped!(),
        " FROM met AS x)"
    ),
    ""
);

/// ?5 positions that are not stored yet, a JSON array of [kind, a, b, read id]. Everything that is
/// counted stands in the rows of conversations; of messages, only that at the read position is looked
/// up.
const UNREAD: &str = listed!(
    concat!(
        "pending AS MATERIALIZED (
        SELECT value ->> 0 AS kind, value ->> 1 AS a, value ->> 2 AS b, max(value ->> 3) AS read_id
        FROM json_each(?5) GROUP BY 1, 2, 3),
    behind AS MATERIALIZED (
        SELECT m.conv, m.joined_id, m.removed_at, c.kind, c.a, c.b, c.last_id, c.last_seq,
            c.last_time, c.low_sent, max(m.read_id, coalesce((SELECT p.read_id FROM pending AS p
                WHERE p.kind = c.kind AND p.a = c.a AND p.b = c.b), 0)) AS read_id
        FROM member AS m CROSS JOIN conversation AS c ON c.conv = m.conv
        WHERE m.user = ?1 AND m.active = 1 AND c.last_id > max(m.read_id, m.joined_id)),
    met AS MATERIALIZED (SELECT *, ",
        low_read!(),
        ", ",
        skipped!(),
        " FROM behind AS x WHERE x.last_id > x.read_id),
    chosen AS MATERIALIZED (
        SELECT *, CASE WHEN kind = 2 THEN last_id - max(read_id, joined_id) - skipped
            WHEN a = ?1 THEN last_id - read_id - skipped - (low_sent - low_read)
            ELSE low_sent - low_read END AS unread
        FROM met)"
    ),
    "WHERE unread > 0"
);

const READ_POSITION: &str = "SELECT m.read_id FROM conversation AS c
    JOIN member AS m ON m.conv = c.conv AND m.user = ? AND m.active = 1
    WHERE c.kind = ? AND c.a = ? AND c.b = ?";

/// The parameter is a JSON array of [user, kind, a, b, read id].
const STORE_POSITIONS: &str = "UPDATE member SET read_id = p.read_id
    FROM (SELECT j.value ->> 0 AS user, c.conv AS conv,
              min(max(j.value ->> 4), c.last_id) AS read_id
          FROM json_each(?) AS j CROSS JOIN conversation AS c
          WHERE c.kind = j.value ->> 1 AND c.a = j.value ->> 2 AND c.b = j.value ->> 3
          GROUP BY 1, 2) AS p
    WHERE member.user = p.user AND member.conv = p.conv AND member.read_id < p.read_id";

const REMOVE: &str = "UPDATE member SET removed_at = c.last_id, read_id = c.last_id
    FROM conversation AS c
    WHERE c.kind = ? AND c.a = ? AND c.b = ? AND member.user = ? AND member.conv = c.conv
      AND member.active = 1 AND c.last_id > member.joined_id
      AND (member.removed_at IS NULL OR c.last_id > member.removed_at)";

const RELATED: &str = "SELECT CASE WHEN c.a = ?1 THEN c.b ELSE c.a END AS other
        FROM member AS m CROSS JOIN conversation AS c ON c.conv = m.conv
        WHERE m.user = ?1 AND m.grouped = 0 AND c.last_time >= ?2
    UNION
    SELECT o.user FROM member AS m CROSS JOIN member AS o ON o.conv = m.conv AND o.grouped = 1
        WHERE m.user = ?1 AND m.grouped = 1 AND m.active = 1 AND o.active = 1 AND o.user <> ?1
    UNION
    SELECT o.id FROM account AS u CROSS JOIN account AS o ON o.department = u.department
        WHERE u.id = ?1 AND u.department <> 0 AND o.status <> 3 AND o.id <> ?1
    ORDER BY other LIMIT ?3";

#[async_trait]
impl SessionStore for SqliteStore {
    async fn recent_sessions(
        &self,
        user: UserId,
        updated_after: UnixSeconds,
        limit: Preview,
    ) -> Result<Vec<MemberView>, StoreError> {
        let rows = sqlx::query(RECENT)
            .bind(i64::from(user.get()))
            .bind(i64::from(limit.rows))
            .bind(size(limit.bytes))
            .bind(size(limit.body))
            .bind(i64::from(updated_after))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(view).collect()
    }

    async fn unread_sessions(
        &self,
        user: UserId,
        positions: &[ReadPosition],
        limit: Preview,
    ) -> Result<Unread, StoreError> {
        let own = positions.iter().filter(|position| position.user == user);
        let pending: Vec<String> = own
            .map(|position| {
                let (kind, a, b) = conversation_key(position.conversation);
                format!("[{kind},{a},{b},{}]", position.read_id)
            })
            .collect();
        let rows = sqlx::query(UNREAD)
            .bind(i64::from(user.get()))
            .bind(i64::from(limit.rows.max(1)))
            .bind(size(limit.bytes))
            .bind(size(limit.body))
            .bind(format!("[{}]", pending.join(",")))
            .fetch_all(&self.inner.readers)
            .await?;
        let total = rows.first().map_or(Ok(0), |row| count(row, 15))?;
        let views = rows.iter().map(view).collect::<Result<_, _>>()?;
        Ok(Unread { views, total })
    }

    async fn read_position(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<u32, StoreError> {
        let (kind, a, b) = conversation_key(conversation);
        let row = sqlx::query(READ_POSITION)
            .bind(i64::from(user.get()))
            .bind(kind)
            .bind(a)
            .bind(b)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map_or(Ok(0), |row| number(&row, 0))
    }

    async fn store_read_positions(&self, positions: &[ReadPosition]) -> Result<(), StoreError> {
        for positions in positions.chunks(POSITIONS_AT_ONCE) {
            let items: Vec<String> = positions
                .iter()
                .map(|position| {
                    let (kind, a, b) = conversation_key(position.conversation);
                    format!("[{},{kind},{a},{b},{}]", position.user, position.read_id)
                })
                .collect();
            let query = sqlx::query(STORE_POSITIONS).bind(format!("[{}]", items.join(",")));
            self.change_rows(query).await?;
        }
        Ok(())
    }

    async fn remove_session(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<bool, StoreError> {
        let (kind, a, b) = conversation_key(conversation);
        let query = sqlx::query(REMOVE)
            .bind(kind)
            .bind(a)
            .bind(b)
            .bind(i64::from(user.get()));
        Ok(self.change_rows(query).await? > 0)
    }

    async fn related_users(
        &self,
        user: UserId,
        since: UnixSeconds,
        limit: u32,
    ) -> Result<Vec<UserId>, StoreError> {
        let rows = sqlx::query(RELATED)
            .bind(i64::from(user.get()))
            .bind(i64::from(since))
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| self::user(row, 0)).collect()
    }
}

fn view(row: &SqliteRow) -> Result<MemberView, StoreError> {
    let removed_at: Option<i64> = row.try_get(5)?;
    let removed_at = removed_at
        .map(u32::try_from)
        .transpose()
        .map_err(|_| StoreError::Corrupt("removal at no message id".into()))?;
    Ok(MemberView {
        conversation: conversation(row, 0)?,
        read_id: number(row, 3)?,
        joined_id: number(row, 4)?,
        removed_at,
        updated: time(row, 6)?,
        low_sent_at_read: number(row, 7)?,
        skipped: number(row, 16)?,
        newest: message(row, 8)?,
    })
}
