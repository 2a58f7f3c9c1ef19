//! Discovery items.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use sqlx::mysql::MySqlRow;

use crate::MysqlStore;
use crate::change::next_number;
use crate::rows::{narrow, number, text, time};
use im_store::{DiscoveryItem, DiscoveryItemRow, DiscoveryItemStore, StoreError};

/// Columns of an item, in the order in which [`item`] reads them.
macro_rules! columns {
    () => {
        "id, name, url, priority, created, updated"
    };
}

const HOW_MANY: &str = "SELECT count(*) FROM discovery_item";
const INSERT: &str = "INSERT INTO discovery_item (id, name, url, priority, created, updated)
    VALUES (?, ?, ?, ?, ?, ?)";
const LIST: &str = concat!("SELECT ", columns!(), " FROM discovery_item ORDER BY id");
const ONE: &str = concat!("SELECT ", columns!(), " FROM discovery_item WHERE id = ?");
const CHANGE: &str =
    "UPDATE discovery_item SET name = ?, url = ?, priority = ?, updated = ? WHERE id = ?";
const REMOVE: &str = "DELETE FROM discovery_item WHERE id = ?";

#[async_trait]
impl DiscoveryItemStore for MysqlStore {
    async fn create_discovery_item(
        &self,
        item: &DiscoveryItem,
        now: UnixSeconds,
        most: u32,
    ) -> Result<u32, StoreError> {
        let item = item.clone();
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    // Behind the counter's lock nobody else adds one.
                    let id = narrow(next_number(&mut *connection, "discovery_item").await?)?;
                    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
                    if number(&row, 0)? >= most {
                        return Err(StoreError::Full {
                            what: "discovery items",
                        });
                    }
                    sqlx::query(INSERT)
                        .bind(id)
                        .bind(item.name)
                        .bind(item.url)
                        .bind(item.priority)
                        .bind(now.get())
                        .bind(now.get())
                        .execute(connection)
                        .await?;
                    Ok(id)
                })
            },
            |id| u64::from(*id),
        );
        work.await
    }

    async fn discovery_items(&self) -> Result<Vec<DiscoveryItemRow>, StoreError> {
        let rows = sqlx::query(LIST).fetch_all(&self.inner.readers).await?;
        rows.iter().map(item).collect()
    }

    async fn discovery_item(&self, id: u32) -> Result<Option<DiscoveryItemRow>, StoreError> {
        let row = sqlx::query(ONE)
            .bind(id)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(item).transpose()
    }

    async fn change_discovery_item(
        &self,
        id: u32,
        item: &DiscoveryItem,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let item = item.clone();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(CHANGE)
                    .bind(item.name)
                    .bind(item.url)
                    .bind(item.priority)
                    .bind(now.get())
                    .bind(id)
                    .execute(connection)
                    .await?;
                found(done.rows_affected())
            })
        })
        .await
    }

    async fn remove_discovery_item(&self, id: u32) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(REMOVE).bind(id).execute(connection).await?;
                found(done.rows_affected())
            })
        })
        .await
    }
}

fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound {
            what: "discovery item",
        });
    }
    Ok(())
}

fn item(row: &MySqlRow) -> Result<DiscoveryItemRow, StoreError> {
    Ok(DiscoveryItemRow {
        id: number(row, 0)?,
        item: DiscoveryItem {
            name: text(row, 1)?,
            url: text(row, 2)?,
            priority: number(row, 3)?,
        },
        created: time(row, 4)?,
        updated: time(row, 5)?,
    })
}
