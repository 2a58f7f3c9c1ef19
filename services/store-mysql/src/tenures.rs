//! Who may add to the log, and the condition of every transaction that does.

use async_trait::async_trait;
use im_order::{CommitSeq, Fence, FenceLost, Ownership, Partition, Tenure};
use im_store::{StoreError, TenureStore};
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::roster::{Taker, holds, note};
use crate::rows::{count, position};

/// Changes nothing unless the partition is in this tenure and ends there.
const FENCE: &str = "UPDATE part SET last_seq = ? WHERE part = ? AND epoch = ? AND last_seq = ?";
const OWNERSHIP: &str = "SELECT epoch, last_seq FROM part WHERE part = ?";
const TAKE: &str = "UPDATE part SET epoch = epoch + 1 WHERE part = ?";
pub(crate) const TAKE_SEEN: &str = "UPDATE part SET epoch = epoch + 1 WHERE part = ? AND epoch = ?";
const NEWEST: &str = "SELECT coalesce(max(seq), 0) FROM message WHERE part = ?";

#[async_trait]
impl TenureStore for MysqlStore {
    async fn take(&self, partition: Partition) -> Result<Ownership, StoreError> {
        let taker = self.inner.taker().clone();
        let taken = self
            .change(move |connection| {
                Box::pin(async move {
                    let part = partition.to_wire();
                    sqlx::query(TAKE)
                        .bind(part)
                        .execute(&mut *connection)
                        .await?;
                    let taken = on_record(&mut *connection, partition).await?;
                    if let Some((taker, tenure)) = &taker {
                        check_held(&mut *connection, taken, taker, *tenure).await?;
                    }
                    let taker = taker.map(|(taker, _)| taker).unwrap_or_default();
                    note(&mut *connection, taken, &taker).await?;
                    let newest = sqlx::query(NEWEST).bind(part).fetch_one(connection).await?;
                    let newest = position(&newest, 0)?;
                    if newest != taken.end {
                        let end = taken.end;
                        return Err(StoreError::Corrupt(format!(
                            "partition {partition} ends at {end}, its newest message is {newest}"
                        )));
                    }
                    Ok(taken)
                })
            })
            .await?;
        // Whoever was owner before may have begun conversations, and so may a database that lost its end.
        self.forget_numbers();
        Ok(taken)
    }

    async fn ownership(&self, partition: Partition) -> Result<Ownership, StoreError> {
        let row = sqlx::query(OWNERSHIP)
            .bind(partition.to_wire())
            .fetch_optional(&self.inner.readers)
            .await?;
        ownership(partition, row.as_ref())
    }
}

/// A process that was to have the log has it still, just before this taking.
async fn check_held(
    connection: &mut MySqlConnection,
    taken: Ownership,
    taker: &Taker,
    held: Tenure,
) -> Result<(), StoreError> {
    let partition = taken.partition;
    let before = Tenure::from_wire(taken.tenure.to_wire().saturating_sub(1));
    if holds(connection, partition, before.to_wire(), taker).await? {
        return Ok(());
    }
    Err(StoreError::Fenced(FenceLost {
        partition,
        held,
        found: before,
    }))
}

/// Binds the open transaction to a fence.
pub(crate) async fn hold(
    connection: &mut MySqlConnection,
    fence: &Fence,
) -> Result<(), StoreError> {
    let [part, epoch, after, through] = numbers(fence)?;
    let done = sqlx::query(FENCE)
        .bind(through)
        .bind(part)
        .bind(epoch)
        .bind(after)
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let found = on_record(connection, fence.partition).await?;
    Err(refused(fence, found))
}

/// Partition, tenure, where it ends, and where it ends afterwards.
pub(crate) fn numbers(fence: &Fence) -> Result<[u64; 4], StoreError> {
    if fence.tenure == Tenure::NONE {
        let partition = fence.partition;
        return Err(StoreError::Corrupt(format!(
            "a change of partition {partition} by somebody who has not taken it"
        )));
    }
    Ok([
        fence.partition.to_wire().into(),
        fence.tenure.to_wire(),
        fence.span.after().to_wire(),
        fence.span.through().to_wire(),
    ])
}

/// Why a fence does not hold when the store has that on record.
pub(crate) fn refused(fence: &Fence, found: Ownership) -> StoreError {
    match fence.lost_to(found) {
        Some(lost) => StoreError::Fenced(lost),
        None => StoreError::Outdated,
    }
}

/// What the store has on record of a partition.
pub(crate) async fn on_record(
    connection: &mut MySqlConnection,
    partition: Partition,
) -> Result<Ownership, StoreError> {
    let row = sqlx::query(OWNERSHIP)
        .bind(partition.to_wire())
        .fetch_optional(connection)
        .await?;
    ownership(partition, row.as_ref())
}

fn ownership(partition: Partition, row: Option<&MySqlRow>) -> Result<Ownership, StoreError> {
    let row = row.ok_or_else(|| StoreError::Corrupt(format!("no partition {partition}")))?;
    Ok(Ownership {
        partition,
        tenure: Tenure::from_wire(count(row, 0)?),
        end: CommitSeq::from_wire(count(row, 1)?),
    })
}
