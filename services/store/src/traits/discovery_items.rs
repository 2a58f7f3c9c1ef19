//! Discovery items: links that clients show to everybody.

use async_trait::async_trait;
use im_core::time::UnixSeconds;

use crate::StoreError;

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryItem {
    /// What clients show.
    pub name: String,
    /// Where it leads.
    pub url: String,
    /// Its place among the others, as clients understand it.
    pub priority: u32,
}

/// A link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryItemRow {
    /// Id from 1, never given twice.
    pub id: u32,
    /// What it says.
    pub item: DiscoveryItem,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it was changed last.
    pub updated: UnixSeconds,
}

/// Discovery items.
#[async_trait]
pub trait DiscoveryItemStore: Send + Sync + 'static {
    /// Keeps an item; its id.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are `most` already, otherwise as every call.
    async fn create_discovery_item(
        &self,
        item: &DiscoveryItem,
        now: UnixSeconds,
        most: u32,
    ) -> Result<u32, StoreError>;

    /// All items by id.
    ///
    /// # Errors
    /// As every call.
    async fn discovery_items(&self) -> Result<Vec<DiscoveryItemRow>, StoreError>;

    /// One item.
    ///
    /// # Errors
    /// As every call.
    async fn discovery_item(&self, id: u32) -> Result<Option<DiscoveryItemRow>, StoreError>;

    /// Puts other words into an item.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn change_discovery_item(
        &self,
        id: u32,
        item: &DiscoveryItem,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Removes an item.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn remove_discovery_item(&self, id: u32) -> Result<(), StoreError>;
}
