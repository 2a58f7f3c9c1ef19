//! What only administrators do.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use sqlx::sqlite::SqliteQueryResult;
use sqlx::{Encode, Sqlite, Type};

use super::SqliteStore;
use super::accounts::{contains, profile, profile_columns};
use super::directory::next_stamp;
use super::groups::record;
use super::import;
use super::rows::{group, is_unique_violation, json_array, number, text, user};
use crate::{AdministrationStore, GroupRecord, ListPage, PeopleQuery, StoreError, UserProfile};

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

/// People by name: ?1 from this name on, ?2 before this one, ?3 but not this one, ?4 rows, ?5 department,
/// ?6 status. Each has an index in which its people stand by name; with both filters that of the department.
macro_rules! people {
    ($filter:literal) => {
        concat!(
            "SELECT ",
            profile_columns!(),
            " FROM account WHERE name >= ?1 AND name < ?2 AND name <> ?3 AND kind = 0",
            $filter,
            " ORDER BY name LIMIT ?4"
        )
    };
}
const PEOPLE: &str = people!("");
const PEOPLE_OF_DEPARTMENT: &str = people!(" AND department = ?5");
const PEOPLE_WITH_STATUS: &str = people!(" AND status = ?6");
const PEOPLE_OF_DEPARTMENT_WITH_STATUS: &str = people!(" AND department = ?5 AND +status = ?6");
const GROUP_SIZES: &str = "SELECT g.id, count(*) FROM chat_group AS g
    JOIN member AS m ON m.conv = g.conv AND m.grouped = 1 AND m.active = 1
    WHERE g.id IN (SELECT value FROM json_each(?)) GROUP BY g.id ORDER BY g.id";
const GROUP_MEMBER_NAMES: &str = "SELECT g.id, a.name FROM chat_group AS g
    JOIN member AS m ON m.conv = g.conv AND m.grouped = 1 AND m.active = 1
    JOIN account AS a ON a.id = m.user
    WHERE g.id IN (SELECT value FROM json_each(?)) ORDER BY g.id, m.user";
const MEMBERS_AFTER: &str = "SELECT a.id, a.name, a.nick, a.sex, a.department, a.phone, a.email,
    a.domain, a.avatar, a.signature, a.status, a.kind
    FROM member AS m JOIN account AS a ON a.id = m.user
    WHERE m.conv = (SELECT conv FROM chat_group WHERE id = ?1) AND m.grouped = 1 AND m.active = 1
      AND m.user > ?2 ORDER BY m.user LIMIT ?3";

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
                rows_set(done, what)
            })
        })
        .await
    }
}

/// What became of a statement that sets a value that may have to be unique.
fn rows_set(
    done: Result<SqliteQueryResult, sqlx::Error>,
    what: &'static str,
) -> Result<(), StoreError> {
    match done {
        Ok(done) if done.rows_affected() == 0 => Err(StoreError::NotFound { what }),
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => Err(StoreError::Taken { what: "name" }),
        Err(error) => Err(error.into()),
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
        let (user, name) = (i64::from(user.get()), name.to_owned());
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let done = sqlx::query(REMOVE_ACCOUNT)
                    .bind(name)
                    .bind(i64::from(stamp))
                    .bind(user)
                    .execute(&mut *connection)
                    .await;
                rows_set(done, "user")?;
                sqlx::query(CLEAR_TARGETS)
                    .bind(user)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
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
        self.change(move |connection| {
            Box::pin(async move { rows_set(query.execute(connection).await, "group") })
        })
        .await
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
        self.change(move |connection| {
            Box::pin(
                async move { rows_set(query.execute(connection).await, "member of the group") },
            )
        })
        .await
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

    async fn people_by_name(&self, query: &PeopleQuery) -> Result<Vec<UserProfile>, StoreError> {
        let statement = match (query.department, query.status) {
            (None, None) => PEOPLE,
            (Some(_), None) => PEOPLE_OF_DEPARTMENT,
            (None, Some(_)) => PEOPLE_WITH_STATUS,
            (Some(_), Some(_)) => PEOPLE_OF_DEPARTMENT_WITH_STATUS,
        };
        let after = query.after.as_deref().unwrap_or_default();
        let rows = sqlx::query(statement)
            .bind(after.max(query.prefix.as_str()))
            .bind(format!("{}{}", query.prefix, char::MAX))
            .bind(after)
            .bind(i64::from(query.limit))
            .bind(query.department.map(i64::from))
            .bind(query.status.map(i64::from))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn group_sizes(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, u32)>, StoreError> {
        let rows = sqlx::query(GROUP_SIZES)
            .bind(json_array(groups.iter().map(|group| group.get())))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| Ok((group(row, 0)?, number(row, 1)?)))
            .collect()
    }

    async fn group_member_names(
        &self,
        groups: &[GroupId],
    ) -> Result<Vec<(GroupId, String)>, StoreError> {
        let rows = sqlx::query(GROUP_MEMBER_NAMES)
            .bind(json_array(groups.iter().map(|group| group.get())))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| Ok((group(row, 0)?, text(row, 1)?)))
            .collect()
    }

    async fn group_members_after(
        &self,
        group: GroupId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserProfile>, StoreError> {
        let rows = sqlx::query(MEMBERS_AFTER)
            .bind(i64::from(group.get()))
            .bind(i64::from(after))
            .bind(i64::from(limit))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn create_department(
        &self,
        path: &[String],
        now: UnixSeconds,
    ) -> Result<u32, StoreError> {
        let path = path.to_vec();
        self.change_numbered(
            move |connection| {
                Box::pin(async move { import::create_department(connection, &path, now).await })
            },
            |id| u64::from(*id),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row as _};

    use super::*;
    use crate::testing::TempStore;

    #[tokio::test]
    async fn people_by_name_are_read_in_the_order_of_an_index() {
        let temp = TempStore::open().await;
        for (statement, index) in [
            (PEOPLE, "sqlite_autoindex_account_1 (name>? AND name<?)"),
            (
                PEOPLE_OF_DEPARTMENT,
                "account_by_department (department=? AND name>? AND name<?)",
            ),
            (
                PEOPLE_WITH_STATUS,
                "account_by_status (status=? AND name>? AND name<?)",
            ),
            (
                PEOPLE_OF_DEPARTMENT_WITH_STATUS,
                "account_by_department (department=? AND name>? AND name<?)",
            ),
        ] {
            let plan = format!("EXPLAIN QUERY PLAN {statement}");
            let rows = sqlx::query(AssertSqlSafe(plan))
                .fetch_all(&temp.store.inner.readers)
                .await
                .unwrap();
            let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            // One step: nothing is sorted.
            assert_eq!(steps, [format!("SEARCH account USING INDEX {index}")]);
        }
    }
}
