//! Levels of meters.

use async_trait::async_trait;
use im_core::time::UnixSeconds;

use crate::MysqlStore;
use crate::change::run;
use crate::rows::{count, list, number, user};
use im_store::{MeterStore, StoreError, StoredLevel};

const LEVELS: &str = "SELECT user, bytes, at FROM stored_level ORDER BY user";
#[async_trait]
impl MeterStore for MysqlStore {
    async fn stored_levels(&self) -> Result<Vec<StoredLevel>, StoreError> {
        let rows = sqlx::query(LEVELS).fetch_all(&self.inner.readers).await?;
        let level = |row| {
            Ok(StoredLevel {
                user: user(row, 0)?,
                bytes: count(row, 1)?,
                at: UnixSeconds::from_wire(number(row, 2)?),
            })
        };
        rows.iter().map(level).collect()
    }

    async fn store_levels(&self, levels: &[StoredLevel]) -> Result<(), StoreError> {
        let (gone, kept): (Vec<&StoredLevel>, Vec<&StoredLevel>) =
            levels.iter().partition(|level| level.bytes == 0);
        let mut text = format!(
            "DELETE FROM stored_level WHERE user IN ({})",
            list(gone.iter().map(|level| level.user.get()))
        );
        let rows: Vec<String> = kept
            .iter()
            .map(|level| format!("({},{},{})", level.user, level.bytes, level.at.get()))
            .collect();
        if !rows.is_empty() {
            text.push_str("; INSERT INTO stored_level (user, bytes, at) VALUES ");
            text.push_str(&rows.join(","));
            text.push_str(" ON DUPLICATE KEY UPDATE bytes = VALUES(bytes), at = VALUES(at)");
        }
        self.change(move |connection| {
            Box::pin(async move {
                run(connection, text).await?;
                Ok(())
            })
        })
        .await
    }
}
