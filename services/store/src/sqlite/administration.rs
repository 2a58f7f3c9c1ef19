//! What only administrators do.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use sqlx::{Encode, Sqlite, Type};

use super::SqliteStore;
use super::accounts::contains;
use super::directory::next_stamp;
use super::groups::record;
use super::rows::{is_unique_violation, number, text, user};
use crate::{AdministrationStore, GroupRecord, ListPage, StoreError};

const LOGIN_NAMES: &str = "SELECT id, name FROM account ORDER BY id";
const RENAME_ACCOUNT: &str = "UPDATE account SET name = ?, stamp = ? WHERE id = ?";
const REMOVE_ACCOUNT: &str = "UPDATE account SET name = ?, stamp = ?, status = 3, hash = '',
    phone = '', email = '', signature = '', remembered = NULL WHERE id = ?";
const CLEAR_TARGETS: &str = "DELETE FROM push_target WHERE user = ?";
/// ?1 user or 0, ?2 after, ?3 pattern, ?4 rows.
const LIST_GROUPS: &str = "SELECT g.id, g.name, g.avatar, g.creator, g.type, g.version
    FROM chat_group AS g
    WHERE g.id > ?2 AND g.name LIKE ?3 ESCAPE '\\'
      AND EXISTS (SELECT 1 FROM member AS m WHERE m.conv = g.conv AND m.grouped = 1
                  AND m.active = 1 AND (?1 = 0 OR m.user = ?1))
    ORDER BY g.id LIMIT ?4";
const RENAME_GROUP: &str =
    "UPDATE chat_group SET name = ?, version = version + 1, updated = ? WHERE id = ?";
/// ?1 owner, ?2 time, ?3 group.
const SET_GROUP_OWNER: &str =
    "UPDATE chat_group SET creator = ?1, version = version + 1, updated = ?2
    WHERE id = ?3 AND EXISTS (SELECT 1 FROM member AS m WHERE m.conv = chat_group.conv
                              AND m.user = ?1 AND m.grouped = 1 AND m.active = 1)";
const SIZES: &str = "SELECT department, count(*) FROM account WHERE status <> 3 AND department <> 0
    GROUP BY department ORDER BY department";
const RENAME_DEPARTMENT: &str = "UPDATE department SET name = ?, stamp = ? WHERE id = ?";
const MOVE_DEPARTMENT: &str = "UPDATE department SET parent = ?, stamp = ? WHERE id = ?";
const REMOVE_DEPARTMENT: &str = "UPDATE department SET status = 1, stamp = ? WHERE id = ?";
const MOVE_PEOPLE: &str = "UPDATE account SET department = ?, stamp = ? WHERE department = ?";

impl SqliteStore {
    /// Runs a statement that sets a value, a stamp and then takes the id.
    async fn set<V>(
        &self,
        statement: &'static str,
        what: &'static str,
        id: u32,
        value: V,
        now: UnixSeconds,
    ) -> Result<(), StoreError>
    where
        V: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + Send + 'static,
    {
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let done = sqlx::query(statement)
                    .bind(value)
                    .bind(i64::from(stamp))
                    .bind(i64::from(id))
                    .execute(connection)
                    .await;
                match done {
                    Ok(done) if done.rows_affected() == 0 => Err(StoreError::NotFound { what }),
                    Ok(_) => Ok(()),
                    Err(error) if is_unique_violation(&error) => {
                        Err(StoreError::Taken { what: "name" })
                    }
                    Err(error) => Err(error.into()),
                }
            })
        })
        .await
    }
}

#[async_trait]
impl AdministrationStore for SqliteStore {
    async fn login_names(&self) -> Result<Vec<(UserId, String)>, StoreError> {
        let rows = sqlx::query(LOGIN_NAMES)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| Ok((user(row, 0)?, text(row, 1)?)))
            .collect()
    }

    async fn rename_account(
        &self,
        user: UserId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.set(RENAME_ACCOUNT, "user", user.get(), name.to_owned(), now)
            .await
    }

    async fn remove_account(
        &self,
        user: UserId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.set(REMOVE_ACCOUNT, "user", user.get(), name.to_owned(), now)
            .await?;
        let query = sqlx::query(CLEAR_TARGETS).bind(i64::from(user.get()));
        self.change_rows(query).await?;
        Ok(())
    }

    async fn list_groups(
        &self,
        user: Option<UserId>,
        page: &ListPage,
    ) -> Result<Vec<GroupRecord>, StoreError> {
        let rows = sqlx::query(LIST_GROUPS)
            .bind(user.map_or(0, |user| i64::from(user.get())))
            .bind(i64::from(page.after))
            .bind(contains(&page.matching))
            .bind(i64::from(page.limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn rename_group(
        &self,
        group: GroupId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(RENAME_GROUP)
            .bind(name.to_owned())
            .bind(i64::from(now))
            .bind(i64::from(group.get()));
        match self.change_rows(query).await? {
            0 => Err(StoreError::NotFound { what: "group" }),
            _ => Ok(()),
        }
    }

    async fn set_group_owner(
        &self,
        group: GroupId,
        owner: UserId,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(SET_GROUP_OWNER)
            .bind(i64::from(owner.get()))
            .bind(i64::from(now))
            .bind(i64::from(group.get()));
        match self.change_rows(query).await? {
            0 => Err(StoreError::NotFound {
                what: "member of the group",
            }),
            _ => Ok(()),
        }
    }

    async fn department_sizes(&self) -> Result<Vec<(u32, u32)>, StoreError> {
        let rows = sqlx::query(SIZES).fetch_all(&self.inner.readers).await?;
        rows.iter()
            .map(|row| Ok((number(row, 0)?, number(row, 1)?)))
            .collect()
    }

    async fn rename_department(
        &self,
        department: u32,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.set(RENAME_DEPARTMENT, "department", department, name, now)
            .await
    }

    async fn move_department(
        &self,
        department: u32,
        parent: u32,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        let parent = i64::from(parent);
        self.set(MOVE_DEPARTMENT, "department", department, parent, now)
            .await
    }

    async fn remove_department(
        &self,
        department: u32,
        into: u32,
        now: UnixSeconds,
    ) -> Result<u32, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = i64::from(next_stamp(connection, now).await?);
                let done = sqlx::query(REMOVE_DEPARTMENT)
                    .bind(stamp)
                    .bind(i64::from(department))
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::NotFound { what: "department" });
                }
                let done = sqlx::query(MOVE_PEOPLE)
                    .bind(i64::from(into))
                    .bind(stamp)
                    .bind(i64::from(department))
                    .execute(connection)
                    .await?;
                Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
            })
        })
        .await
    }
}
