//! What only administrators do.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use sqlx::mysql::{MySql, MySqlConnection, MySqlQueryResult};
use sqlx::{AssertSqlSafe, Encode, Type};

use crate::MysqlStore;
use crate::accounts::{contains, profile, profile_columns};
use crate::change_log::{DEPARTMENT, GROUP, PERSON, note_changes};
use crate::directory::next_stamp;
use crate::groups::record;
use crate::import;
use crate::rows::{group, is_duplicate, list, number, text, user};
use im_store::{AdministrationStore, GroupRecord, ListPage, PeopleQuery, StoreError, UserProfile};

const LOGIN_NAMES: &str = "SELECT id, name FROM account ORDER BY id";
const RENAME_ACCOUNT: &str = "UPDATE account SET name = ?, stamp = ? WHERE id = ?";
const REMOVE_ACCOUNT: &str = "UPDATE account SET name = ?, stamp = ?, status = 3, hash = '',
    phone = '', email = '', signature = '', remembered = NULL WHERE id = ?";
const CLEAR_TARGETS: &str = "DELETE FROM push_target WHERE user = ?";
/// After, pattern, user or 0 twice, rows.
const LIST_GROUPS: &str = "SELECT g.id, g.name, g.avatar, g.creator, g.type, g.version
    FROM chat_group AS g
    WHERE g.part = 0 AND g.id > ? AND lower(g.name) LIKE lower(?) ESCAPE '!'
      AND EXISTS (SELECT 1 FROM group_member AS m WHERE m.part = 0 AND m.conv = g.id
                  AND m.active = 1 AND (? = 0 OR m.user = ?))
    ORDER BY g.id LIMIT ?";
const RENAME_GROUP: &str =
    "UPDATE chat_group SET name = ?, version = version + 1, updated = ? WHERE part = 0 AND id = ?";
/// Owner, time, group, owner.
const SET_GROUP_OWNER: &str =
    "UPDATE chat_group SET creator = ?, version = version + 1, updated = ?
    WHERE part = 0 AND id = ? AND EXISTS (SELECT 1 FROM group_member AS m WHERE m.part = 0
        AND m.conv = chat_group.id AND m.user = ? AND m.active = 1)";
const GROUP_VERSION: &str = "SELECT version FROM chat_group WHERE part = 0 AND id = ?";
const SIZES: &str = "SELECT department, count(*) FROM account WHERE status <> 3 AND department <> 0
    GROUP BY department ORDER BY department";
const RENAME_DEPARTMENT: &str = "UPDATE department SET name = ?, stamp = ? WHERE id = ?";
const MOVE_DEPARTMENT: &str = "UPDATE department SET parent = ?, stamp = ? WHERE id = ?";
const REMOVE_DEPARTMENT: &str = "UPDATE department SET status = 1, stamp = ? WHERE id = ?";
const PEOPLE_IN: &str = "SELECT id FROM account WHERE department = ? ORDER BY id FOR UPDATE";
const MOVE_PEOPLE: &str = "UPDATE account SET department = ?, stamp = ? WHERE department = ?";

/// People by name: from this name on, before this one, but not this one, department, status, rows. Each has an index in which its people stand by name; with both filters that of the department.
macro_rules! people {
    ($index:literal, $filter:literal) => {
        concat!(
            "SELECT ",
            profile_columns!(),
            " FROM account",
            $index,
            " WHERE name >= ? AND name < ? AND name <> ? AND kind = 0",
            $filter,
            " ORDER BY name LIMIT ?"
        )
    };
}
const PEOPLE: &str = people!(" FORCE INDEX (by_name)", "");
const PEOPLE_OF_DEPARTMENT: &str = people!(" FORCE INDEX (by_department)", " AND department = ?");
const PEOPLE_WITH_STATUS: &str = people!(" FORCE INDEX (by_status)", " AND status = ?");
const PEOPLE_OF_DEPARTMENT_WITH_STATUS: &str = people!(
    " FORCE INDEX (by_department)",
    " AND department = ? AND status = ?"
);
const MEMBERS_AFTER: &str = "SELECT a.id, a.name, a.nick, a.sex, a.department, a.phone, a.email,
    a.domain, a.avatar, a.signature, a.status, a.kind
    FROM group_member AS m JOIN account AS a ON a.id = m.user
    WHERE m.part = 0 AND m.conv = ? AND m.active = 1 AND m.user > ? ORDER BY m.user LIMIT ?";

impl MysqlStore {
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
        V: for<'q> Encode<'q, MySql> + Type<MySql> + Clone + Send + 'static,
    {
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let done = sqlx::query(statement)
                    .bind(value)
                    .bind(stamp.get())
                    .bind(id)
                    .execute(&mut *connection)
                    .await;
                rows_set(done, what)?;
                let kind = if what == "user" { PERSON } else { DEPARTMENT };
                note_changes(connection, kind, &[(id, stamp.get())]).await
            })
        })
        .await
    }
}

/// What became of a statement that sets a value that may have to be unique.
fn rows_set(
    done: Result<MySqlQueryResult, sqlx::Error>,
    what: &'static str,
) -> Result<(), StoreError> {
    match done {
        Ok(done) if done.rows_affected() == 0 => Err(StoreError::NotFound { what }),
        Ok(_) => Ok(()),
        Err(error) if is_duplicate(&error) => Err(StoreError::Taken { what: "name" }),
        Err(error) => Err(error.into()),
    }
}

#[async_trait]
impl AdministrationStore for MysqlStore {
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
        let (user, name) = (user.get(), name.to_owned());
        self.change(move |connection| {
            Box::pin(async move {
                let stamp = next_stamp(connection, now).await?;
                let done = sqlx::query(REMOVE_ACCOUNT)
                    .bind(name)
                    .bind(stamp.get())
                    .bind(user)
                    .execute(&mut *connection)
                    .await;
                rows_set(done, "user")?;
                sqlx::query(CLEAR_TARGETS)
                    .bind(user)
                    .execute(&mut *connection)
                    .await?;
                note_changes(connection, PERSON, &[(user, stamp.get())]).await
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
            .bind(page.after)
            .bind(contains(&page.matching))
            .bind(user.map_or(0, UserId::get))
            .bind(user.map_or(0, UserId::get))
            .bind(page.limit)
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
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(RENAME_GROUP)
                    .bind(name)
                    .bind(now.get())
                    .bind(group.get())
                    .execute(&mut *connection)
                    .await;
                rows_set(done, "group")?;
                note_group(connection, group).await
            })
        })
        .await
    }

    async fn set_group_owner(
        &self,
        group: GroupId,
        owner: UserId,
        now: UnixSeconds,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(SET_GROUP_OWNER)
                    .bind(owner.get())
                    .bind(now.get())
                    .bind(group.get())
                    .bind(owner.get())
                    .execute(&mut *connection)
                    .await;
                rows_set(done, "member of the group")?;
                note_group(connection, group).await
            })
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
                let stamp = next_stamp(connection, now).await?.get();
                let done = sqlx::query(REMOVE_DEPARTMENT)
                    .bind(stamp)
                    .bind(department)
                    .execute(&mut *connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::NotFound { what: "department" });
                }
                note_changes(&mut *connection, DEPARTMENT, &[(department, stamp)]).await?;
                let rows = sqlx::query(PEOPLE_IN)
                    .bind(department)
                    .fetch_all(&mut *connection)
                    .await?;
                let people = rows.iter().map(|row| Ok((number(row, 0)?, stamp)));
                let people = people.collect::<Result<Vec<_>, StoreError>>()?;
                sqlx::query(MOVE_PEOPLE)
                    .bind(into)
                    .bind(stamp)
                    .bind(department)
                    .execute(&mut *connection)
                    .await?;
                note_changes(connection, PERSON, &people).await?;
                Ok(u32::try_from(people.len()).unwrap_or(u32::MAX))
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
        let mut people = sqlx::query(statement)
            .bind(after.max(query.prefix.as_str()))
            .bind(format!("{}{}", query.prefix, char::MAX))
            .bind(after);
        for filter in [query.department, query.status].into_iter().flatten() {
            people = people.bind(filter);
        }
        let rows = people
            .bind(query.limit)
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(profile).collect()
    }

    async fn group_sizes(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, u32)>, StoreError> {
        let asking = format!(
            "SELECT conv, count(*) FROM group_member
                WHERE part = 0 AND active = 1 AND conv IN ({}) GROUP BY conv ORDER BY conv",
            list(groups.iter().map(|group| group.get()))
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(asking))
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
        let asking = format!(
            "SELECT m.conv, a.name FROM group_member AS m JOIN account AS a ON a.id = m.user
                WHERE m.part = 0 AND m.active = 1 AND m.conv IN ({}) ORDER BY m.conv, m.user",
            list(groups.iter().map(|group| group.get()))
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(asking))
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
            .bind(u64::from(group.get()))
            .bind(after)
            .bind(limit)
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

/// Writes that a group has another version.
async fn note_group(connection: &mut MySqlConnection, group: GroupId) -> Result<(), StoreError> {
    let row = sqlx::query(GROUP_VERSION)
        .bind(group.get())
        .fetch_one(&mut *connection)
        .await?;
    let version = number(&row, 0)?;
    note_changes(connection, GROUP, &[(group.get(), version)]).await
}
