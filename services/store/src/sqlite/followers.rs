//! Positions and retries of followers.

use async_trait::async_trait;
use bytes::Bytes;
use im_order::{CommitSeq, Partition};
use sqlx::Row as _;

use super::SqliteStore;
use super::rows::{count, number, position, signed, text};
use crate::{FollowerHold, FollowerRetry, FollowerRow, FollowerStep, FollowerStore, StoreError};

const HOLD: &str = "INSERT INTO follower (name, part, epoch, position) VALUES (?, ?, 1, ?)
    ON CONFLICT (name, part) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, position";
/// Changes nothing unless the epoch is the last one.
const STEP: &str = "UPDATE follower SET position = ?4 WHERE name = ?1 AND part = ?2 AND epoch = ?3";
const PUT: &str = "INSERT INTO follower_retry (name, part, key, lane, due, tries, body)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (name, part, key)
    DO UPDATE SET lane = excluded.lane, due = excluded.due, tries = excluded.tries, body = excluded.body";
const REMOVE: &str = "DELETE FROM follower_retry WHERE name = ? AND part = ? AND key = ?";
const DUE: &str = "SELECT key, lane, due, tries, body FROM follower_retry
    WHERE name = ? AND part = ? AND lane = ? AND due <= ? ORDER BY due LIMIT ?";
const ADVANCE: &str =
    "UPDATE follower_retry SET due = ?3 WHERE name = ?1 AND part = ?2 AND due > ?3";
const COUNT: &str = "SELECT count(*) FROM follower_retry WHERE name = ? AND part = ?";
const LIST: &str = "SELECT f.name, f.epoch, f.position,
        (SELECT count(*) FROM follower_retry AS r WHERE r.name = f.name AND r.part = f.part)
    FROM follower AS f WHERE f.part = ? ORDER BY f.name";
const EPOCH: &str = "SELECT epoch FROM follower WHERE name = ? AND part = ?";
const REWIND: &str = "UPDATE follower SET position = ?1, epoch = epoch + 1
    WHERE name = ?2 AND part = ?3 RETURNING epoch";
/// What a subscription is delivering when it is rewound does not go on.
const DROP_OPEN: &str = "DELETE FROM delivery WHERE state = 0
    AND ((log = 0 AND 'subscription-' || subscription = ?1)
      OR (log = 1 AND 'subscription-' || subscription || '-changes' = ?1))";

#[async_trait]
impl FollowerStore for SqliteStore {
    async fn hold_follower(
        &self,
        name: &str,
        partition: Partition,
        start: CommitSeq,
    ) -> Result<FollowerHold, StoreError> {
        let (name, start) = (name.to_owned(), signed(start.to_wire())?);
        self.change(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(HOLD)
                    .bind(name)
                    .bind(i64::from(partition.to_wire()))
                    .bind(start)
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
        let advancing = sqlx::query(ADVANCE)
            .bind(name.to_owned())
            .bind(i64::from(partition.to_wire()))
            .bind(signed(latest)?);
        self.change_rows(advancing).await
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
        let part = i64::from(partition.to_wire());
        let (epoch, position) = (signed(epoch)?, signed(position.to_wire())?);
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(STEP)
                    .bind(&name)
                    .bind(part)
                    .bind(epoch)
                    .bind(position)
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                for key in remove {
                    sqlx::query(REMOVE)
                        .bind(&name)
                        .bind(part)
                        .bind(key.to_vec())
                        .execute(&mut *connection)
                        .await?;
                }
                for retry in put {
                    sqlx::query(PUT)
                        .bind(&name)
                        .bind(part)
                        .bind(retry.key.to_vec())
                        .bind(i64::from(retry.lane))
                        .bind(signed(retry.due)?)
                        .bind(i64::from(retry.tries))
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
            .bind(name)
            .bind(i64::from(partition.to_wire()))
            .bind(i64::from(lane))
            .bind(signed(until)?)
            .bind(i64::from(rows))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(FollowerRetry {
                    key: Bytes::from(row.try_get::<Vec<u8>, _>(0)?),
                    lane: number(row, 1)?,
                    due: count(row, 2)?,
                    tries: number(row, 3)?,
                    body: Bytes::from(row.try_get::<Vec<u8>, _>(4)?),
                })
            })
            .collect()
    }

    async fn count_retries(&self, name: &str, partition: Partition) -> Result<u64, StoreError> {
        let row = sqlx::query(COUNT)
            .bind(name)
            .bind(i64::from(partition.to_wire()))
            .fetch_one(&self.inner.readers)
            .await?;
        count(&row, 0)
    }

    async fn followers(&self, partition: Partition) -> Result<Vec<FollowerRow>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(i64::from(partition.to_wire()))
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
            .bind(name)
            .bind(i64::from(partition.to_wire()))
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
        let part = i64::from(partition.to_wire());
        let (name, at) = (name.to_owned(), signed(position.to_wire())?);
        self.change(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(REWIND)
                    .bind(at)
                    .bind(&name)
                    .bind(part)
                    .fetch_optional(&mut *connection)
                    .await?;
                let row = row.ok_or(StoreError::NotFound { what: "follower" })?;
                let epoch = count(&row, 0)?;
                sqlx::query(DROP_OPEN)
                    .bind(&name)
                    .execute(&mut *connection)
                    .await?;
                let waiting = sqlx::query(COUNT)
                    .bind(&name)
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
