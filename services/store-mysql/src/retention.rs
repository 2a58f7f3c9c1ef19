//! Taking the bodies of old messages away.

use async_trait::async_trait;
use im_store::{
    Expired, RetentionKind, RetentionStep, RetentionStore, StoreError, expired_through,
};

use crate::MysqlStore;
use crate::rows::{FIRST_PAIR, position, time};

/// Locks the row, so that two processes do not take the same step.
const MARK: &str = "SELECT value FROM meta WHERE name = ? FOR UPDATE";
const FIRST_MARK: &str = "INSERT IGNORE INTO meta (name, value) VALUES (?, 0)";
const LOOK: &str = "SELECT seq, time FROM message WHERE part = 0 AND seq > ? AND seq <= ?
    ORDER BY seq LIMIT ?";
const EMPTY: &str = "UPDATE message SET body = '' WHERE part = 0 AND seq > ? AND seq <= ?
    AND (conv < ?) = ? AND length(body) > 0";
const SET_MARK: &str = "UPDATE meta SET value = ? WHERE name = ?";

#[async_trait]
impl RetentionStore for MysqlStore {
    async fn expire_bodies(&self, step: RetentionStep) -> Result<Expired, StoreError> {
        let name = step.kind.mark().as_bytes();
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(FIRST_MARK)
                    .bind(name)
                    .execute(&mut *connection)
                    .await?;
                let mark = sqlx::query(MARK)
                    .bind(name)
                    .fetch_one(&mut *connection)
                    .await?;
                let mark = position(&mark, 0)?;
                let rows = sqlx::query(LOOK)
                    .bind(mark.to_wire())
                    .bind(step.until.to_wire())
                    .bind(step.rows)
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
                    .bind(mark.to_wire())
                    .bind(through.to_wire())
                    .bind(FIRST_PAIR)
                    .bind(step.kind == RetentionKind::Groups)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(SET_MARK)
                    .bind(through.to_wire())
                    .bind(name)
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
