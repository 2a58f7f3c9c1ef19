//! Discovery items.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{number, text, time};
use crate::{DiscoveryItem, DiscoveryItemRow, DiscoveryItemStore, StoreError};

/// Columns of an item, in the order in which [`item`] reads them.
macro_rules! columns {
    () => {
        "id, name, url, priority, created, updated"
    };
}

const HOW_MANY: &str = "SELECT count(*) FROM discovery_item";
const INSERT: &str = "INSERT INTO discovery_item (name, url, priority, created, updated)
    VALUES (?1, ?2, ?3, ?4, ?4)";
const LIST: &str = concat!("SELECT ", columns!(), " FROM discovery_item ORDER BY id");
const ONE: &str = concat!("SELECT ", columns!(), " FROM discovery_item WHERE id = ?");
const CHANGE: &str =
    "UPDATE discovery_item SET name = ?, url = ?, priority = ?, updated = ? WHERE id = ?";
const REMOVE: &str = "DELETE FROM discovery_item WHERE id = ?";

#[async_trait]
impl DiscoveryItemStore for SqliteStore {
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
                    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
                    if number(&row, 0)? >= most {
                        return Err(StoreError::Full {
                            what: "discovery items",
                        });
                    }
                    let done = sqlx::query(INSERT)
                        .bind(item.name)
                        .bind(item.url)
                        .bind(i64::from(item.priority))
                        .bind(i64::from(now))
                        .execute(connection)
                        .await?;
                    let id = done.last_insert_rowid();
                    u32::try_from(id).map_err(|_| StoreError::Corrupt(format!("item id {id}")))
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
            .bind(i64::from(id))
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
        let query = sqlx::query(CHANGE)
            .bind(item.name)
            .bind(item.url)
            .bind(i64::from(item.priority))
            .bind(i64::from(now))
            .bind(i64::from(id));
        self.change(move |connection| {
            Box::pin(async move { found(query.execute(connection).await?.rows_affected()) })
        })
        .await
    }

    async fn remove_discovery_item(&self, id: u32) -> Result<(), StoreError> {
        let query = sqlx::query(REMOVE).bind(i64::from(id));
        self.change(move |connection| {
            Box::pin(async move { found(query.execute(connection).await?.rows_affected()) })
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

fn item(row: &SqliteRow) -> Result<DiscoveryItemRow, StoreError> {
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
