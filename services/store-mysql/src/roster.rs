//! Processes that share the store, and who of them has the log.

use async_trait::async_trait;
use im_order::{Ownership, Partition, Replica, Roster, Tenure};
use im_store::{RosterStore, Start, StoreError};
use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::rows::{count, unavailable};
use crate::tenures::{TAKE_SEEN, on_record};

const JOIN: &str =
    "INSERT INTO replica (name, instance, beat, at) VALUES (?, ?, 0, UNIX_TIMESTAMP())
    ON DUPLICATE KEY UPDATE instance = VALUES(instance), beat = 0, at = VALUES(at)";
const BEAT: &str =
    "UPDATE replica SET beat = beat + 1, at = UNIX_TIMESTAMP() WHERE name = ? AND instance = ?";
const REPLICAS: &str = "SELECT instance, beat, name FROM replica";
const OWNER: &str = "SELECT p.epoch, t.instance, t.name FROM part AS p
    LEFT JOIN tenure AS t ON t.part = p.part AND t.epoch = p.epoch AND t.given = 0
    WHERE p.part = ?";
const NOTE: &str =
    "INSERT INTO tenure (part, epoch, name, instance, from_seq, given) VALUES (?, ?, ?, ?, ?, 0)";
const HELD: &str = "SELECT count(*) FROM tenure
    WHERE part = ? AND epoch = ? AND name = ? AND instance = ? AND given = 0";
const GIVE: &str =
    "UPDATE tenure AS t JOIN part AS p ON p.part = t.part AND p.epoch = t.epoch SET t.given = 1
    WHERE t.part = ? AND t.name = ? AND t.instance = ?";
const LEAVE: &str = "DELETE FROM replica WHERE name = ? AND instance = ?";
const FORGET: &str = "DELETE FROM replica WHERE at < UNIX_TIMESTAMP() - 86400";

/// Somebody who takes the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taker {
    pub(crate) name: Vec<u8>,
    pub(crate) instance: u64,
}

#[async_trait]
impl RosterStore for MysqlStore {
    async fn join(&self, me: Start<'_>) -> Result<(), StoreError> {
        sqlx::query(JOIN)
            .bind(me.name.as_bytes())
            .bind(me.instance)
            .execute(&self.inner.changers)
            .await?;
        Ok(())
    }

    async fn beat(&self, me: Start<'_>) -> Result<Roster, StoreError> {
        let mut connection = self.inner.changers.acquire().await?;
        sqlx::query(BEAT)
            .bind(me.name.as_bytes())
            .bind(me.instance)
            .execute(&mut *connection)
            .await?;
        let rows = sqlx::query(REPLICAS).fetch_all(&mut *connection).await?;
        let replicas = rows.iter().map(replica).collect::<Result<_, _>>()?;
        let row = sqlx::query(OWNER)
            .bind(Partition::ONLY.to_wire())
            .fetch_one(&mut *connection)
            .await?;
        let name: Option<Vec<u8>> = row.try_get(2)?;
        let owner = match name {
            Some(name) => Some((text(name)?, count(&row, 1)?)),
            None => None,
        };
        Ok(Roster {
            replicas,
            owner,
            tenure: Tenure::from_wire(count(&row, 0)?),
        })
    }

    async fn claim(&self, me: Start<'_>, seen: Tenure) -> Result<bool, StoreError> {
        let taker = Taker {
            name: me.name.as_bytes().to_vec(),
            instance: me.instance,
        };
        let claiming = taker.clone();
        let is_taken = self
            .change_if(
                move |connection| {
                    Box::pin(async move {
                        let part = Partition::ONLY.to_wire();
                        let taken = sqlx::query(TAKE_SEEN)
                            .bind(part)
                            .bind(seen.to_wire())
                            .execute(&mut *connection)
                            .await?;
                        if taken.rows_affected() == 0 {
                            return Ok(false);
                        }
                        let owned = on_record(&mut *connection, Partition::ONLY).await?;
                        note(connection, owned, &claiming).await?;
                        Ok(true)
                    })
                },
                |taken: &bool| taken.then_some(0),
            )
            .await?;
        if is_taken {
            let tenure = Tenure::from_wire(seen.to_wire() + 1);
            *self.inner.taker() = Some((taker, tenure));
        }
        Ok(is_taken)
    }

    async fn give(&self, me: Start<'_>) -> Result<(), StoreError> {
        sqlx::query(GIVE)
            .bind(Partition::ONLY.to_wire())
            .bind(me.name.as_bytes())
            .bind(me.instance)
            .execute(&self.inner.changers)
            .await?;
        sqlx::query(LEAVE)
            .bind(me.name.as_bytes())
            .bind(me.instance)
            .execute(&self.inner.changers)
            .await?;
        Ok(())
    }
}

impl MysqlStore {
    /// Forgets processes that have not been there for a day; how many.
    pub(crate) async fn forget_replicas(&self) -> Result<u64, StoreError> {
        let done = sqlx::query(FORGET).execute(&self.inner.changers).await?;
        Ok(done.rows_affected())
    }
}

/// Writes down who has taken the log; the default is nobody in particular.
pub(crate) async fn note(
    connection: &mut MySqlConnection,
    owned: Ownership,
    taker: &Taker,
) -> Result<(), StoreError> {
    sqlx::query(NOTE)
        .bind(owned.partition.to_wire())
        .bind(owned.tenure.to_wire())
        .bind(&taker.name)
        .bind(taker.instance)
        .bind(owned.end.to_wire())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a tenure is this process's.
pub(crate) async fn holds(
    connection: &mut MySqlConnection,
    partition: Partition,
    tenure: u64,
    taker: &Taker,
) -> Result<bool, StoreError> {
    let row = sqlx::query(HELD)
        .bind(partition.to_wire())
        .bind(tenure)
        .bind(&taker.name)
        .bind(taker.instance)
        .fetch_one(connection)
        .await?;
    Ok(count(&row, 0)? > 0)
}

fn replica(row: &MySqlRow) -> Result<Replica, StoreError> {
    Ok(Replica {
        name: text(row.try_get(2)?)?,
        instance: count(row, 0)?,
        beat: count(row, 1)?,
    })
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| unavailable("the name of a process is no text"))
}
