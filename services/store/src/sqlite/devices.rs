//! Devices that are told of messages.

use async_trait::async_trait;
use im_core::{ClientType, UserId};
use sqlx::Row as _;

use super::SqliteStore;
use super::rows::{json_array, number, text, user};
use crate::{DeviceStore, PushTarget, StoreError, Told};

/// A row that is replaced is the newest again.
const TAKE: &str = "DELETE FROM push_target WHERE token = ?";
const STORE: &str = "INSERT INTO push_target (token, user, type, session) VALUES (?, ?, ?, ?)";
const TRIM: &str = "DELETE FROM push_target WHERE rowid IN (SELECT rowid FROM push_target
    WHERE user = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?)";
const CLEAR_OF_SESSION: &str = "DELETE FROM push_target WHERE user = ? AND session = ?";
const CLEAR_OF_TYPE: &str = "DELETE FROM push_target WHERE user = ? AND type = ?";
const DROP: &str = "DELETE FROM push_target WHERE token = ? AND session = ?";
const TARGETS: &str = "SELECT t.user, t.type, t.token, t.session, coalesce(a.push_shield, 0)
    FROM push_target AS t LEFT JOIN account AS a ON a.id = t.user
    WHERE t.user IN (SELECT value FROM json_each(?)) ORDER BY t.user, t.rowid";

#[async_trait]
impl DeviceStore for SqliteStore {
    async fn set_push_target(&self, target: &PushTarget, most: u32) -> Result<(), StoreError> {
        let PushTarget {
            user,
            client_type,
            token,
            session,
        } = target.clone();
        let user = i64::from(user.get());
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(TAKE)
                    .bind(&token)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(STORE)
                    .bind(&token)
                    .bind(user)
                    .bind(i64::from(client_type.to_wire()))
                    .bind(session.cast_signed())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(TRIM)
                    .bind(user)
                    .bind(i64::from(most))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn clear_push_targets(
        &self,
        user: UserId,
        client_type: ClientType,
        session: u64,
    ) -> Result<(), StoreError> {
        let user = i64::from(user.get());
        self.change(move |connection| {
            Box::pin(async move {
                let of_session = sqlx::query(CLEAR_OF_SESSION)
                    .bind(user)
                    .bind(session.cast_signed())
                    .execute(&mut *connection)
                    .await?;
                if of_session.rows_affected() == 0 {
                    sqlx::query(CLEAR_OF_TYPE)
                        .bind(user)
                        .bind(i64::from(client_type.to_wire()))
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn drop_push_target(&self, token: &str, session: u64) -> Result<bool, StoreError> {
        let query = sqlx::query(DROP)
            .bind(token.to_owned())
            .bind(session.cast_signed());
        Ok(self.change_rows(query).await? > 0)
    }

    async fn push_targets(&self, users: &[UserId]) -> Result<Vec<Told>, StoreError> {
        let rows = sqlx::query(TARGETS)
            .bind(json_array(users.iter().map(|user| user.get())))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                let raw = number(row, 1)?;
                let client_type = ClientType::from_wire(raw)
                    .ok_or_else(|| StoreError::Corrupt(format!("client type {raw}")))?;
                Ok(Told {
                    target: PushTarget {
                        user: user(row, 0)?,
                        client_type,
                        token: text(row, 2)?,
                        session: row.try_get::<i64, _>(3)?.cast_unsigned(),
                    },
                    night_shield: number(row, 4)? != 0,
                })
            })
            .collect()
    }
}
