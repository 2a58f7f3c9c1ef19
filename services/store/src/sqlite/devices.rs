//! Push tokens of phones.

use async_trait::async_trait;
use im_core::{ClientType, UserId};

use super::SqliteStore;
use super::rows::{json_array, number, text, user};
use crate::{DeviceStore, DeviceToken, StoreError};

const TAKE: &str = "DELETE FROM device_token WHERE token = ? AND user <> ?";
const STORE: &str = "INSERT INTO device_token (user, type, token) VALUES (?, ?, ?)
    ON CONFLICT (user) DO UPDATE SET type = excluded.type, token = excluded.token";
const CLEAR: &str = "DELETE FROM device_token WHERE user = ?";
const TOKENS: &str = "SELECT user, type, token FROM device_token
    WHERE user IN (SELECT value FROM json_each(?)) ORDER BY user";

#[async_trait]
impl DeviceStore for SqliteStore {
    async fn set_device_token(&self, token: &DeviceToken) -> Result<(), StoreError> {
        let DeviceToken {
            user,
            client_type,
            token,
        } = token.clone();
        let user = i64::from(user.get());
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(TAKE)
                    .bind(&token)
                    .bind(user)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(STORE)
                    .bind(user)
                    .bind(i64::from(client_type.to_wire()))
                    .bind(&token)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn clear_device_token(&self, user: UserId) -> Result<(), StoreError> {
        let query = sqlx::query(CLEAR).bind(i64::from(user.get()));
        self.change_rows(query).await?;
        Ok(())
    }

    async fn device_tokens(&self, users: &[UserId]) -> Result<Vec<DeviceToken>, StoreError> {
        let rows = sqlx::query(TOKENS)
            .bind(json_array(users.iter().map(|user| user.get())))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                let raw = number(row, 1)?;
                let client_type = ClientType::from_wire(raw)
                    .ok_or_else(|| StoreError::Corrupt(format!("client type {raw}")))?;
                Ok(DeviceToken {
                    user: user(row, 0)?,
                    client_type,
                    token: text(row, 2)?,
                })
            })
            .collect()
    }
}
