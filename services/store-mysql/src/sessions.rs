//! A user's view of his conversations.
//!
//! *Assumptions.* Inbox rows are not touched by messages, so nothing here knows that somebody has read what he sent
//! himself: the caller stores a read position for the sender of a group message, and for pairs leaves own messages out by
//! `low_sent`. Read positions are clamped to the newest id, so that no position runs ahead of messages to come.
//!
//! Numbers of all conversations that may be listed are read first, chosen from here, and only then bodies.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use im_core::time::UnixSeconds;
use im_core::{Conversation, UserId};
use im_store::{
    MESSAGE_BYTES, MemberView, Preview, ReadPosition, SessionStore, StoreError, StoredMessage,
    Unread,
};
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::change::run;
use crate::rows::{
    FIRST_PAIR, bytes, conversation, conversation_number, count, list, msg_id, narrow, number,
    optional, position, time, user,
};

/// Positions stored in one statement.
const POSITIONS_AT_ONCE: usize = 1000;

/// Conversations of a user's inbox that he is a member of, and how far they have got. The parameter is the user.
macro_rules! inbox {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM inbox AS i
            STRAIGHT_JOIN conversation AS c ON c.part = 0 AND c.conv = i.conv
            LEFT JOIN group_member AS g ON g.part = 0 AND g.conv = i.conv AND g.user = i.user
                AND i.conv < 4294967296
            WHERE i.user = ? AND (i.conv >= 4294967296 OR g.active = 1)
              AND c.last_id > coalesce(g.joined_id, 0)"
        )
    };
}

/// Not updated later than a time, and rows.
const RECENT: &str = concat!(
    inbox!(
        "i.conv, i.read_id, coalesce(g.joined_id, 0), i.removed_at, c.last_id, c.last_seq, c.last_time"
    ),
    " AND c.last_time > ? AND (i.removed_at IS NULL OR c.last_id > i.removed_at)
    ORDER BY c.last_time DESC, c.last_seq DESC LIMIT ?"
);
const BEHIND: &str = concat!(
    inbox!(
        "i.conv, i.read_id, coalesce(g.joined_id, 0), i.removed_at, c.last_id, c.last_seq, c.last_time"
    ),
    " AND c.last_id > i.read_id"
);
const READ_POSITION: &str = "SELECT i.read_id FROM inbox AS i
    LEFT JOIN group_member AS g ON g.part = 0 AND g.conv = i.conv AND g.user = i.user AND i.conv < 4294967296
    WHERE i.user = ? AND i.conv = ? AND (i.conv >= 4294967296 OR g.active = 1)";
const REMOVE: &str = "UPDATE inbox AS i JOIN conversation AS c ON c.part = 0 AND c.conv = i.conv
    LEFT JOIN group_member AS g ON g.part = 0 AND g.conv = i.conv AND g.user = i.user AND i.conv < 4294967296
    SET i.removed_at = c.last_id, i.read_id = c.last_id
    WHERE i.user = ? AND i.conv = ? AND (i.conv >= 4294967296 OR g.active = 1)
      AND c.last_id > coalesce(g.joined_id, 0)
      AND (i.removed_at IS NULL OR c.last_id > i.removed_at)";
/// The user four times, the time behind the first one, and the rows.
const RELATED: &str = "SELECT IF(i.conv >> 32 = i.user, i.conv & 4294967295, i.conv >> 32) AS other
        FROM inbox AS i JOIN conversation AS c ON c.part = 0 AND c.conv = i.conv
        WHERE i.user = ? AND i.conv >= 4294967296 AND c.last_time >= ?
    UNION
    SELECT o.user FROM inbox AS i
        JOIN group_member AS m ON m.part = 0 AND m.conv = i.conv AND m.user = i.user AND m.active = 1
        JOIN group_member AS o ON o.part = 0 AND o.conv = i.conv AND o.active = 1 AND o.user <> i.user
        WHERE i.user = ? AND i.conv < 4294967296
    UNION
    SELECT o.id FROM account AS u JOIN account AS o ON o.department = u.department
        WHERE u.id = ? AND u.department <> 0 AND o.status <> 3 AND o.id <> u.id
    ORDER BY other LIMIT ?";

/// A conversation that may be listed.
struct Met {
    conversation: Conversation,
    number: u64,
    read_id: u32,
    joined_id: u32,
    removed_at: Option<u32>,
    last_id: u32,
    last_seq: u64,
    last_time: UnixSeconds,
}

#[async_trait]
impl SessionStore for MysqlStore {
    async fn recent_sessions(
        &self,
        user: UserId,
        updated_after: UnixSeconds,
        limit: Preview,
    ) -> Result<Vec<MemberView>, StoreError> {
        let rows = sqlx::query(RECENT)
            .bind(user.get())
            .bind(updated_after.get())
            .bind(limit.rows)
            .fetch_all(&self.inner.readers)
            .await?;
        let met = rows.iter().map(met).collect::<Result<Vec<_>, _>>()?;
        let mut views = self.views(met).await?;
        self.cut(&mut views, limit).await?;
        Ok(views)
    }

    async fn unread_sessions(
        &self,
        user: UserId,
        positions: &[ReadPosition],
        limit: Preview,
    ) -> Result<Unread, StoreError> {
        let mut pending: HashMap<Conversation, u32> = HashMap::new();
        for position in positions.iter().filter(|position| position.user == user) {
            let read = pending.entry(position.conversation).or_default();
            *read = position.read_id.max(*read);
        }
        let rows = sqlx::query(BEHIND)
            .bind(user.get())
            .fetch_all(&self.inner.readers)
            .await?;
        let mut behind = rows.iter().map(met).collect::<Result<Vec<_>, _>>()?;
        for met in &mut behind {
            let read = pending.get(&met.conversation).copied();
            met.read_id = met.read_id.max(read.unwrap_or(0));
        }
        behind.retain(|met| met.last_id > met.read_id);
        behind.sort_unstable_by_key(|met| std::cmp::Reverse((met.last_time, met.last_seq)));
        let mut views = self.views(behind).await?;
        views.retain(|view| view.unread(user) > 0);
        let total = views.iter().map(|view| u64::from(view.unread(user))).sum();
        let limit = Preview {
            rows: limit.rows.max(1),
            ..limit
        };
        self.cut(&mut views, limit).await?;
        Ok(Unread { views, total })
    }

    async fn read_position(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<u32, StoreError> {
        let row = sqlx::query(READ_POSITION)
            .bind(user.get())
            .bind(conversation_number(conversation))
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map_or(Ok(0), |row| number(&row, 0))
    }

    async fn store_read_positions(&self, positions: &[ReadPosition]) -> Result<(), StoreError> {
        // In the order of keys, so that two who store positions of one user wait for each other in line.
        let mut newest: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        for position in positions {
            let number = conversation_number(position.conversation);
            let read = newest.entry((position.user.get(), number)).or_default();
            *read = position.read_id.max(*read);
        }
        let newest: Vec<_> = newest.into_iter().collect();
        for positions in newest.chunks(POSITIONS_AT_ONCE) {
            let positions = positions.to_vec();
            self.change(move |connection| {
                Box::pin(async move { store_positions(connection, &positions).await })
            })
            .await?;
        }
        Ok(())
    }

    async fn remove_session(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<bool, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(REMOVE)
                    .bind(user.get())
                    .bind(conversation_number(conversation))
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    async fn related_users(
        &self,
        user: UserId,
        since: UnixSeconds,
        limit: u32,
    ) -> Result<Vec<UserId>, StoreError> {
        let rows = sqlx::query(RELATED)
            .bind(user.get())
            .bind(since.get())
            .bind(user.get())
            .bind(user.get())
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(|row| self::user(row, 0)).collect()
    }
}

impl MysqlStore {
    /// What is listed of these conversations, in their order, without bodies.
    async fn views(&self, met: Vec<Met>) -> Result<Vec<MemberView>, StoreError> {
        let mut views = Vec::with_capacity(met.len());
        for met in met.chunks(POSITIONS_AT_ONCE) {
            let rows = sqlx::raw_sql(AssertSqlSafe(numbers_of(met)))
                .fetch_all(&self.inner.readers)
                .await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                found.insert(count(row, 0)?, row);
            }
            for met in met {
                let row = found.get(&met.number).ok_or_else(|| {
                    StoreError::Corrupt(format!("no message {} of the log", met.last_seq))
                })?;
                views.push(view(met, row)?);
            }
        }
        Ok(views)
    }

    /// Keeps the first ones within the limit, and gives those bodies that are not too long.
    async fn cut(&self, views: &mut Vec<MemberView>, limit: Preview) -> Result<(), StoreError> {
        views.truncate(usize::try_from(limit.rows).unwrap_or(usize::MAX));
        let numbers = views.iter().map(|view| view.newest.seq.to_wire());
        let sizes = format!(
            "SELECT seq, length(body) FROM message WHERE part = 0 AND seq IN ({})",
            list(numbers)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sizes))
            .fetch_all(&self.inner.readers)
            .await?;
        let mut sizes = HashMap::with_capacity(rows.len());
        for row in &rows {
            let size = usize::try_from(count(row, 1)?).unwrap_or(usize::MAX);
            sizes.insert(count(row, 0)?, if size <= limit.body { size } else { 0 });
        }
        let given = |view: &MemberView| sizes.get(&view.newest.seq.to_wire()).copied().unwrap_or(0);
        let (mut total, mut kept) = (0_usize, 0);
        for view in views.iter() {
            total = total.saturating_add(given(view) + MESSAGE_BYTES);
            if total > limit.bytes && kept > 0 {
                break;
            }
            kept += 1;
        }
        views.truncate(kept);
        let wanted = views.iter().filter(|view| given(view) > 0);
        let bodies = format!(
            "SELECT seq, body FROM message WHERE part = 0 AND seq IN ({})",
            list(wanted.map(|view| view.newest.seq.to_wire()))
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(bodies))
            .fetch_all(&self.inner.readers)
            .await?;
        let mut bodies = HashMap::with_capacity(rows.len());
        for row in &rows {
            bodies.insert(count(row, 0)?, Bytes::from(bytes(row, 1)?));
        }
        for view in views {
            let body = bodies.remove(&view.newest.seq.to_wire());
            view.newest.body = body.unwrap_or_default();
        }
        Ok(())
    }
}

/// Looks up what belongs to each conversation: its newest message without the body; how many messages up to the read position the
/// lower user of a pair has sent, where the position may lie in a gap; and how many ids of those behind the position
/// belong to no message, where a gap behind the newest one is not met yet.
fn numbers_of(met: &[Met]) -> String {
    let rows = met.iter().map(|met| {
        let Met {
            number,
            read_id,
            joined_id,
            last_id,
            last_seq,
            ..
        } = met;
        format!("SELECT {number} AS conv, {last_seq} AS seq, {read_id} AS read_id, {last_id} AS last_id,
            {} AS seen", read_id.max(joined_id))
    });
    let rows = rows.collect::<Vec<_>>().join(" UNION ALL ");
    format!(
        "SELECT x.conv, n.seq, n.id, n.sender, n.type, n.time, n.low_sent,
            coalesce((SELECT r.low_sent FROM message AS r
                WHERE x.conv >= {FIRST_PAIR} AND r.conv = x.conv AND r.id <= x.read_id
                ORDER BY r.id DESC LIMIT 1), 0),
            CAST(coalesce((SELECT sum(g.through - greatest(g.after, x.seen)) FROM id_gap AS g
                WHERE g.conv = x.conv AND g.through > x.seen AND g.after < x.last_id), 0) AS UNSIGNED)
        FROM ({rows}) AS x STRAIGHT_JOIN message AS n ON n.part = 0 AND n.seq = x.seq"
    )
}

fn met(row: &MySqlRow) -> Result<Met, StoreError> {
    Ok(Met {
        conversation: conversation(row, 0)?,
        number: count(row, 0)?,
        read_id: number(row, 1)?,
        joined_id: number(row, 2)?,
        removed_at: optional(row, 3)?.map(narrow).transpose()?,
        last_id: number(row, 4)?,
        last_seq: count(row, 5)?,
        last_time: time(row, 6)?,
    })
}

/// A row of [`numbers_of`], and what was known before.
fn view(met: &Met, row: &MySqlRow) -> Result<MemberView, StoreError> {
    Ok(MemberView {
        conversation: met.conversation,
        read_id: met.read_id,
        low_sent_at_read: number(row, 7)?,
        skipped: number(row, 8)?,
        joined_id: met.joined_id,
        removed_at: met.removed_at,
        newest: StoredMessage {
            seq: position(row, 1)?,
            msg_id: msg_id(row, 2)?,
            sender: user(row, 3)?,
            msg_type: number(row, 4)?,
            time: time(row, 5)?,
            low_sent: number(row, 6)?,
            body: Bytes::new(),
        },
        updated: met.last_time,
    })
}

async fn store_positions(
    connection: &mut MySqlConnection,
    positions: &[((u32, u64), u32)],
) -> Result<(), StoreError> {
    let rows = positions.iter().map(|((user, number), read)| {
        format!("SELECT {user} AS user, {number} AS conv, {read} AS read_id")
    });
    let rows = rows.collect::<Vec<_>>().join(" UNION ALL ");
    let storing = format!(
        "UPDATE ({rows}) AS p
            STRAIGHT_JOIN conversation AS c ON c.part = 0 AND c.conv = p.conv
            STRAIGHT_JOIN inbox AS i ON i.user = p.user AND i.conv = p.conv
            SET i.read_id = greatest(i.read_id, least(p.read_id, c.last_id))
            WHERE i.read_id < least(p.read_id, c.last_id)"
    );
    run(connection, storing).await?;
    Ok(())
}
