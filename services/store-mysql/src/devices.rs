//! Devices that are told of messages.

use async_trait::async_trait;
use im_core::{ClientType, UserId};
use sqlx::AssertSqlSafe;

use crate::MysqlStore;
use crate::change::next_number;
use crate::rows::{count, list, number, text, user};
use im_store::{DeviceStore, PushTarget, StoreError, Told};

/// A row that is replaced is the newest again.
const TAKE: &str = "DELETE FROM push_target WHERE token = ?";
const STORE: &str =
    "INSERT INTO push_target (id, token, user, type, session) VALUES (?, ?, ?, ?, ?)";
const EXCESS: &str = "SELECT id FROM push_target WHERE user = ? ORDER BY id DESC LIMIT 1 OFFSET ?";
const TRIM: &str = "DELETE FROM push_target WHERE user = ? AND id <= ?";
const CLEAR_OF_SESSION: &str = "DELETE FROM push_target WHERE user = ? AND session = ?";
const CLEAR_OF_TYPE: &str = "DELETE FROM push_target WHERE user = ? AND type = ?";
const DROP: &str = "DELETE FROM push_target WHERE token = ? AND session = ?";

#[async_trait]
impl DeviceStore for MysqlStore {
    async fn set_push_target(&self, target: &PushTarget, most: u32) -> Result<(), StoreError> {
        let PushTarget {
            user,
            client_type,
            token,
            session,
        } = target.clone();
        let user = user.get();
        self.change(move |connection| {
            Box::pin(async move {
                // Behind the counter's lock nobody else takes the token.
                let id = next_number(&mut *connection, "push_target").await?;
                sqlx::query(TAKE)
                    .bind(token.as_bytes())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(STORE)
                    .bind(id)
                    .bind(token.as_bytes())
                    .bind(user)
                    .bind(client_type.to_wire())
                    .bind(session)
                    .execute(&mut *connection)
                    .await?;
                let excess = sqlx::query(EXCESS)
                    .bind(user)
                    .bind(most)
                    .fetch_optional(&mut *connection)
                    .await?;
                if let Some(excess) = excess {
                    sqlx::query(TRIM)
                        .bind(user)
                        .bind(count(&excess, 0)?)
                        .execute(connection)
                        .await?;
                }
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
        let user = user.get();
        self.change(move |connection| {
            Box::pin(async move {
                let of_session = sqlx::query(CLEAR_OF_SESSION)
                    .bind(user)
                    .bind(session)
                    .execute(&mut *connection)
                    .await?;
                if of_session.rows_affected() == 0 {
                    sqlx::query(CLEAR_OF_TYPE)
                        .bind(user)
                        .bind(client_type.to_wire())
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn drop_push_target(&self, token: &str, session: u64) -> Result<bool, StoreError> {
        let token = token.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(DROP)
                    .bind(token.as_bytes())
                    .bind(session)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    async fn push_targets(&self, users: &[UserId]) -> Result<Vec<Told>, StoreError> {
        let asking = format!(
            "SELECT t.user, t.type, t.token, t.session, coalesce(a.push_shield, 0)
                FROM push_target AS t LEFT JOIN account AS a ON a.id = t.user
                WHERE t.user IN ({}) ORDER BY t.user, t.id",
            list(users.iter().map(|user| user.get()))
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(asking))
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
                        session: count(row, 3)?,
                    },
                    night_shield: number(row, 4)? != 0,
                })
            })
            .collect()
    }
}
