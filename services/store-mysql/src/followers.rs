//! Positions and retries of followers.

use async_trait::async_trait;
use bytes::Bytes;
use im_order::{CommitSeq, Partition};

use crate::MysqlStore;
use crate::rows::{bytes, count, number, position, text};
use im_store::{FollowerHold, FollowerRetry, FollowerRow, FollowerStep, FollowerStore, StoreError};

const HOLD: &str = "INSERT INTO follower (name, part, epoch, position) VALUES (?, ?, 1, ?)
    ON DUPLICATE KEY UPDATE epoch = epoch + 1";
const HELD: &str = "SELECT epoch, position FROM follower WHERE name = ? AND part = ?";
/// Changes nothing unless the epoch is the last one.
const STEP: &str = "UPDATE follower SET position = ? WHERE name = ? AND part = ? AND epoch = ?";
const PUT: &str = "INSERT INTO follower_retry (name, part, item, lane, due, tries, body)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON DUPLICATE KEY UPDATE lane = VALUES(lane), due = VALUES(due), tries = VALUES(tries), body = VALUES(body)";
const REMOVE: &str = "DELETE FROM follower_retry WHERE name = ? AND part = ? AND item = ?";
const DUE: &str = "SELECT item, lane, due, tries, body FROM follower_retry
    WHERE name = ? AND part = ? AND lane = ? AND due <= ? ORDER BY due LIMIT ?";
const ADVANCE: &str = "UPDATE follower_retry SET due = ? WHERE name = ? AND part = ? AND due > ?";
const COUNT: &str = "SELECT count(*) FROM follower_retry WHERE name = ? AND part = ?";
const LIST: &str = "SELECT f.name, f.epoch, f.position,
        (SELECT count(*) FROM follower_retry AS r WHERE r.name = f.name AND r.part = f.part)
    FROM follower AS f WHERE f.part = ? ORDER BY f.name";
const EPOCH: &str = "SELECT epoch FROM follower WHERE name = ? AND part = ?";
const REWIND: &str = "UPDATE follower SET position = ?, epoch = epoch + 1
    WHERE name = ? AND part = ?";
/// What a subscription is delivering when it is rewound does not go on.
const DROP_OPEN: &str = "DELETE FROM delivery WHERE state = 0
    AND ((log = 0 AND concat('subscription-', subscription) = ?)
      OR (log = 1 AND concat('subscription-', subscription, '-changes') = ?))";

#[async_trait]
impl FollowerStore for MysqlStore {
    async fn hold_follower(
        &self,
        name: &str,
        partition: Partition,
        start: CommitSeq,
    ) -> Result<FollowerHold, StoreError> {
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(HOLD)
                    .bind(name.as_bytes())
                    .bind(partition.to_wire())
                    .bind(start.to_wire())
                    .execute(&mut *connection)
                    .await?;
                let row = sqlx::query(HELD)
                    .bind(name.as_bytes())
                    .bind(partition.to_wire())
                    .fetch_one(connection)
                    .await?;
                Ok(FollowerHold {
                    epoch: count(&row, 0)?,
                    position: position(&row, 1)?,
                })
            })
        })
        .await
    }

    async fn advance_retries(
        &self,
        name: &str,
        partition: Partition,
        latest: u64,
    ) -> Result<u64, StoreError> {
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(ADVANCE)
                    .bind(latest)
                    .bind(name.as_bytes())
                    .bind(partition.to_wire())
                    .bind(latest)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }

    async fn step_follower(&self, step: &FollowerStep) -> Result<bool, StoreError> {
        let FollowerStep {
            name,
            partition,
            epoch,
            position,
            put,
            remove,
        } = step.clone();
        let part = partition.to_wire();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(STEP)
                    .bind(position.to_wire())
                    .bind(name.as_bytes())
                    .bind(part)
                    .bind(epoch)
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                for key in remove {
                    sqlx::query(REMOVE)
                        .bind(name.as_bytes())
                        .bind(part)
                        .bind(key.to_vec())
                        .execute(&mut *connection)
                        .await?;
                }
                for retry in put {
                    sqlx::query(PUT)
                        .bind(name.as_bytes())
                        .bind(part)
                        .bind(retry.key.to_vec())
                        .bind(retry.lane)
                        .bind(retry.due)
                        .bind(retry.tries)
                        .bind(retry.body.to_vec())
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(true)
            })
        })
        .await
    }

    async fn due_retries(
        &self,
        name: &str,
        partition: Partition,
        lane: u32,
        until: u64,
        rows: u32,
    ) -> Result<Vec<FollowerRetry>, StoreError> {
        let rows = sqlx::query(DUE)
            .bind(name.as_bytes())
            .bind(partition.to_wire())
            .bind(lane)
            .bind(until)
            .bind(rows)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(FollowerRetry {
                    key: Bytes::from(bytes(row, 0)?),
                    lane: number(row, 1)?,
                    due: count(row, 2)?,
                    tries: number(row, 3)?,
                    body: Bytes::from(bytes(row, 4)?),
                })
            })
            .collect()
    }

    async fn count_retries(&self, name: &str, partition: Partition) -> Result<u64, StoreError> {
        let row = sqlx::query(COUNT)
            .bind(name.as_bytes())
            .bind(partition.to_wire())
            .fetch_one(&self.inner.readers)
            .await?;
        count(&row, 0)
    }

    async fn followers(&self, partition: Partition) -> Result<Vec<FollowerRow>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(partition.to_wire())
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(FollowerRow {
                    name: text(row, 0)?,
                    epoch: count(row, 1)?,
                    position: position(row, 2)?,
                    retries: count(row, 3)?,
                })
            })
            .collect()
    }

    async fn follower_epoch(
        &self,
        name: &str,
        partition: Partition,
    ) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query(EPOCH)
            .bind(name.as_bytes())
            .bind(partition.to_wire())
            .fetch_optional(&self.inner.readers)
            .await?;
        row.map(|row| count(&row, 0)).transpose()
    }

    async fn rewind_follower(
        &self,
        name: &str,
        partition: Partition,
        position: CommitSeq,
    ) -> Result<FollowerRow, StoreError> {
        let (part, name) = (partition.to_wire(), name.to_owned());
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(REWIND)
                    .bind(position.to_wire())
                    .bind(name.as_bytes())
                    .bind(part)
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::NotFound { what: "follower" });
                }
                let row = sqlx::query(EPOCH)
                    .bind(name.as_bytes())
                    .bind(part)
                    .fetch_one(&mut *connection)
                    .await?;
                let epoch = count(&row, 0)?;
                sqlx::query(DROP_OPEN)
                    .bind(&name)
                    .bind(&name)
                    .execute(&mut *connection)
                    .await?;
                let waiting = sqlx::query(COUNT)
                    .bind(name.as_bytes())
                    .bind(part)
                    .fetch_one(connection)
                    .await?;
                let retries = count(&waiting, 0)?;
                Ok(FollowerRow {
                    name,
                    epoch,
                    position,
                    retries,
                })
            })
        })
        .await
    }
}
