//! Who may add to the log, and the condition of every transaction that does.

use async_trait::async_trait;
use im_order::{CommitSeq, Fence, Ownership, Partition, Tenure};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{count, position, signed};
use crate::{StoreError, TenureStore};

/// Changes nothing unless the partition is in this tenure and ends there.
/// ?1 partition, ?2 tenure, ?3 where it ends, ?4 where it ends afterwards.
pub(super) const FENCE: &str =
    "UPDATE part SET last_seq = ?4 WHERE part = ?1 AND tenure = ?2 AND last_seq = ?3";
pub(super) const OWNERSHIP: &str = "SELECT tenure, last_seq FROM part WHERE part = ?1";
const TAKE: &str = "UPDATE part SET tenure = tenure + 1 WHERE part = ?1 RETURNING tenure, last_seq";
const NEWEST: &str = "SELECT coalesce(max(seq), 0) FROM message";

#[async_trait]
impl TenureStore for SqliteStore {
    async fn take(&self, partition: Partition) -> Result<Ownership, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(TAKE)
                    .bind(i64::from(partition.to_wire()))
                    .fetch_optional(&mut *connection)
                    .await?;
                let taken = ownership(partition, row.as_ref())?;
                let newest = sqlx::query(NEWEST).fetch_one(connection).await?;
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
        .await
    }

    async fn ownership(&self, partition: Partition) -> Result<Ownership, StoreError> {
        let row = sqlx::query(OWNERSHIP)
            .bind(i64::from(partition.to_wire()))
            .fetch_optional(&self.inner.readers)
            .await?;
        ownership(partition, row.as_ref())
    }
}

/// Binds the open transaction to a fence.
pub(super) async fn hold(
    connection: &mut SqliteConnection,
    fence: &Fence,
) -> Result<(), StoreError> {
    let [partition, tenure, after, through] = numbers(fence)?;
    let done = sqlx::query(FENCE)
        .bind(partition)
        .bind(tenure)
        .bind(after)
        .bind(through)
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let row = sqlx::query(OWNERSHIP)
        .bind(partition)
        .fetch_optional(connection)
        .await?;
    Err(refused(fence, ownership(fence.partition, row.as_ref())?))
}

/// The parameters of [`FENCE`].
pub(super) fn numbers(fence: &Fence) -> Result<[i64; 4], StoreError> {
    if fence.tenure == Tenure::NONE {
        let partition = fence.partition;
        return Err(StoreError::Corrupt(format!(
            "a change of partition {partition} by somebody who has not taken it"
        )));
    }
    Ok([
        i64::from(fence.partition.to_wire()),
        signed(fence.tenure.to_wire())?,
        signed(fence.span.after().to_wire())?,
        signed(fence.span.through().to_wire())?,
    ])
}

/// Why a fence does not hold when the store has that on record.
pub(super) fn refused(fence: &Fence, found: Ownership) -> StoreError {
    match fence.lost_to(found) {
        Some(lost) => StoreError::Fenced(lost),
        None => StoreError::Outdated,
    }
}

/// What the store has on record of a partition, from its columns: tenure and end.
pub(super) fn on_record(
    partition: Partition,
    row: Option<(u64, u64)>,
) -> Result<Ownership, StoreError> {
    let (tenure, end) =
        row.ok_or_else(|| StoreError::Corrupt(format!("no partition {partition}")))?;
    Ok(Ownership {
        partition,
        tenure: Tenure::from_wire(tenure),
        end: CommitSeq::from_wire(end),
    })
}

fn ownership(partition: Partition, row: Option<&SqliteRow>) -> Result<Ownership, StoreError> {
    let row = row
        .map(|row| Ok::<_, StoreError>((count(row, 0)?, count(row, 1)?)))
        .transpose()?;
    on_record(partition, row)
}
