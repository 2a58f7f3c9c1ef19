//! Levels of meters.

use async_trait::async_trait;
use im_core::time::UnixSeconds;

use super::SqliteStore;
use super::rows::{count, json_array, number, signed, user};
use crate::{MeterStore, StoreError, StoredLevel};

const LEVELS: &str = "SELECT user, bytes, at FROM stored_level ORDER BY user";
/// The parameter is a JSON array of [user, bytes, at].
const STORE: &str = "INSERT INTO stored_level (user, bytes, at)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
    ON CONFLICT (user) DO UPDATE SET bytes = excluded.bytes, at = excluded.at";
const FORGET: &str = "DELETE FROM stored_level WHERE user IN (SELECT value FROM json_each(?))";

#[async_trait]
impl MeterStore for SqliteStore {
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
        let gone = json_array(gone.iter().map(|level| level.user.get()));
        let mut rows = Vec::with_capacity(kept.len());
        for level in kept {
            let bytes = signed(level.bytes)?;
            rows.push(format!("[{},{bytes},{}]", level.user, level.at.get()));
        }
        let rows = format!("[{}]", rows.join(","));
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(FORGET)
                    .bind(gone)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(STORE).bind(rows).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}
