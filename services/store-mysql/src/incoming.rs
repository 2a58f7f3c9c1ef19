//! Incoming hooks.

use async_trait::async_trait;
use im_core::{GroupId, Peer, UserId};
use sqlx::mysql::MySqlRow;

use crate::MysqlStore;
use crate::change::next_number;
use crate::rows::{hash, narrow, number, text, time, user};
use im_store::{IncomingHookRow, IncomingHookStore, NewIncomingHook, StoreError};

/// Columns of a hook, in the order in which [`hook`] reads them.
macro_rules! columns {
    () => {
        "id, hash, sender, receiver, grp, label, created, made_by"
    };
}

const HOW_MANY: &str = "SELECT count(*) FROM incoming_hook";
const INSERT: &str = "INSERT INTO incoming_hook
    (id, hash, sender, receiver, grp, label, created, made_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM incoming_hook WHERE id < ? ORDER BY id DESC LIMIT ?"
);
const ONE: &str = concat!("SELECT ", columns!(), " FROM incoming_hook WHERE id = ?");
const REMOVE: &str = "DELETE FROM incoming_hook WHERE id = ?";

#[async_trait]
impl IncomingHookStore for MysqlStore {
    async fn create_incoming_hook(
        &self,
        hook: &NewIncomingHook,
        most: u32,
    ) -> Result<u32, StoreError> {
        let hook = hook.clone();
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    // Behind the counter's lock nobody else adds one.
                    let id = narrow(next_number(&mut *connection, "incoming_hook").await?)?;
                    let row = sqlx::query(HOW_MANY).fetch_one(&mut *connection).await?;
                    if number(&row, 0)? >= most {
                        return Err(StoreError::Full {
                            what: "incoming hooks",
                        });
                    }
                    let (receiver, group) = match hook.to {
                        Peer::User(user) => (user.get(), 0),
                        Peer::Group(group) => (0, group.get()),
                    };
                    sqlx::query(INSERT)
                        .bind(id)
                        .bind(hook.hash.to_vec())
                        .bind(hook.sender.get())
                        .bind(receiver)
                        .bind(group)
                        .bind(hook.label)
                        .bind(hook.created.get())
                        .bind(hook.made_by)
                        .execute(connection)
                        .await?;
                    Ok(id)
                })
            },
            |id| u64::from(*id),
        );
        work.await
    }

    async fn incoming_hooks(
        &self,
        before: u32,
        limit: u32,
    ) -> Result<Vec<IncomingHookRow>, StoreError> {
        let rows = sqlx::query(LIST)
            .bind(before)
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(hook).collect()
    }

    async fn incoming_hook(&self, id: u32) -> Result<Option<IncomingHookRow>, StoreError> {
        let row = sqlx::query(ONE)
            .bind(id)
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(hook).transpose()
    }

    async fn remove_incoming_hook(&self, id: u32) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(REMOVE).bind(id).execute(connection).await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::NotFound {
                        what: "incoming hook",
                    });
                }
                Ok(())
            })
        })
        .await
    }
}

fn hook(row: &MySqlRow) -> Result<IncomingHookRow, StoreError> {
    let (receiver, group) = (number(row, 3)?, number(row, 4)?);
    let to = match (UserId::from_wire(receiver), GroupId::from_wire(group)) {
        (Some(user), None) => Peer::User(user),
        (None, Some(group)) => Peer::Group(group),
        _ => return Err(StoreError::Corrupt("a hook without a receiver".to_owned())),
    };
    Ok(IncomingHookRow {
        id: number(row, 0)?,
        hook: NewIncomingHook {
            hash: hash(row, 1)?,
            sender: user(row, 2)?,
            to,
            label: text(row, 5)?,
            created: time(row, 6)?,
            made_by: text(row, 7)?,
        },
    })
}
