//! Taking the bodies of old messages away.

use async_trait::async_trait;

use super::SqliteStore;
use super::rows::{GROUP, PAIR, position, signed, time};
use crate::{Expired, RetentionKind, RetentionStep, RetentionStore, StoreError, expired_through};

const MARK: &str = "SELECT coalesce((SELECT value FROM meta WHERE name = ?), 0)";
const LOOK: &str = "SELECT seq, time FROM message WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
const EMPTY: &str = "UPDATE message SET body = x'' WHERE seq > ? AND seq <= ? AND length(body) > 0
    AND (SELECT kind FROM conversation AS c WHERE c.conv = message.conv) = ?";
const SET_MARK: &str = "INSERT INTO meta (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn expire_bodies(&self, step: RetentionStep) -> Result<Expired, StoreError> {
        let until = signed(step.until.to_wire())?;
        let kind = match step.kind {
            RetentionKind::Pairs => PAIR,
            RetentionKind::Groups => GROUP,
        };
        self.change(move |connection| {
            Box::pin(async move {
                let mark = sqlx::query(MARK)
                    .bind(step.kind.mark())
                    .fetch_one(&mut *connection)
                    .await?;
                let mark = position(&mark, 0)?;
                let rows = sqlx::query(LOOK)
                    .bind(signed(mark.to_wire())?)
                    .bind(until)
                    .bind(i64::from(step.rows))
                    .fetch_all(&mut *connection)
                    .await?;
                let messages = rows
                    .iter()
                    .map(|row| Ok((position(row, 0)?, time(row, 1)?)));
                let messages = messages.collect::<Result<Vec<_>, StoreError>>()?;
                let Some((through, has_more)) = expired_through(&step, &messages) else {
                    return Ok(Expired {
                        through: mark,
                        ..Expired::default()
                    });
                };
                let emptied = sqlx::query(EMPTY)
                    .bind(signed(mark.to_wire())?)
                    .bind(signed(through.to_wire())?)
                    .bind(kind)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(SET_MARK)
                    .bind(step.kind.mark())
                    .bind(signed(through.to_wire())?)
                    .execute(connection)
                    .await?;
                Ok(Expired {
                    through,
                    bodies: emptied.rows_affected(),
                    has_more,
                })
            })
        })
        .await
    }
}
