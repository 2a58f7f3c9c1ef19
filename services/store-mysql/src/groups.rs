//! Groups, their members and versions.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use im_order::Fence;
use im_store::{
    GroupChange, GroupMember, GroupRecord, GroupStore, GroupType, MemberChange, NewGroup,
    StoreError,
};
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::change::run;
use crate::change_log::{GROUP, note_changes};
use crate::rows::{FIRST_PAIR, group, list, number, outdated, text, user};
use crate::tenures::hold;

/// A restore leaves numbers out that clients may know groups by. The fence is held: nobody else makes groups meanwhile.
const NEXT_GROUP: &str = "SELECT 1 + greatest((SELECT coalesce(max(id), 0) FROM chat_group),
    (SELECT value FROM meta WHERE name = 'greatest_group'))";
const INSERT_GROUP: &str = "INSERT INTO chat_group
    (part, id, name, avatar, creator, type, version, created, updated)
    VALUES (0, ?, ?, ?, ?, ?, 1, ?, ?)";
const INSERT_CONVERSATION: &str = "INSERT INTO conversation
    (part, conv, number, prior_id, last_id, last_seq, last_time, low_sent) VALUES (0, ?, ?, 0, 0, 0, 0, 0)";
const INSERT_FIRST_GAP: &str = "INSERT INTO id_gap (conv, after, through)
    SELECT ?, 0, value FROM meta WHERE name = 'skipped_ids' AND value > 0";
const VERSION: &str = "SELECT version FROM chat_group WHERE part = 0 AND id = ?";
const SET_VERSION: &str =
    "UPDATE chat_group SET version = ?, updated = ? WHERE part = 0 AND id = ?";
const CREATED_BY: &str = "SELECT count(*) FROM chat_group WHERE creator = ? AND type = ?";
pub(crate) const ALL_GROUPS: &str =
    "SELECT id, name, avatar, creator, type, version FROM chat_group
    ORDER BY updated DESC, id DESC";
/// Of the user's inbox, what lies below the first pair are groups.
const GROUPS_OF: &str = "SELECT g.id, g.name, g.avatar, g.creator, g.type, g.version
    FROM inbox AS i
    JOIN group_member AS m ON m.part = 0 AND m.conv = i.conv AND m.user = i.user AND m.active = 1
    JOIN chat_group AS g ON g.part = 0 AND g.id = i.conv
    WHERE i.user = ? AND i.conv < ? ORDER BY g.updated DESC, g.id DESC";
const MEMBERS: &str = "SELECT user, joined_id, shield FROM group_member
    WHERE part = 0 AND conv = ? AND active = 1 ORDER BY user";
const MEMBER: &str = "SELECT user, joined_id, shield FROM group_member
    WHERE part = 0 AND conv = ? AND user = ? AND active = 1";
const SET_SHIELD: &str = "UPDATE group_member SET shield = ?
    WHERE part = 0 AND conv = ? AND user = ? AND active = 1";

#[async_trait]
impl GroupStore for MysqlStore {
    async fn create_group(&self, fence: Fence, new: &NewGroup) -> Result<GroupId, StoreError> {
        let new = new.clone();
        let row = u64::try_from(new.row.0)
            .map_err(|_| StoreError::Corrupt(format!("conversation row {}", new.row.0)))?;
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    hold(&mut *connection, &fence).await?;
                    let next = sqlx::query(NEXT_GROUP).fetch_one(&mut *connection).await?;
                    let id = number(&next, 0)?;
                    sqlx::query(INSERT_GROUP)
                        .bind(id)
                        .bind(&new.name)
                        .bind(&new.avatar)
                        .bind(new.creator.map_or(0, UserId::get))
                        .bind(type_number(new.group_type))
                        .bind(new.now.get())
                        .bind(new.now.get())
                        .execute(&mut *connection)
                        .await
                        .map_err(outdated)?;
                    sqlx::query(INSERT_CONVERSATION)
                        .bind(u64::from(id))
                        .bind(row)
                        .execute(&mut *connection)
                        .await
                        .map_err(outdated)?;
                    sqlx::query(INSERT_FIRST_GAP)
                        .bind(u64::from(id))
                        .execute(&mut *connection)
                        .await?;
                    join(&mut *connection, id, &new.members, 0, new.now, new.creator).await?;
                    note_changes(connection, GROUP, &[(id, 1)]).await?;
                    GroupId::from_wire(id)
                        .ok_or_else(|| StoreError::Corrupt(format!("group id {id}")))
                })
            },
            |group| group.get().into(),
        );
        work.await
    }

    async fn change_members(&self, fence: Fence, change: &GroupChange) -> Result<u32, StoreError> {
        let change = change.clone();
        let work = self.change_numbered(
            move |connection| {
                Box::pin(async move {
                    let group = change.group.get();
                    hold(&mut *connection, &fence).await?;
                    let row = sqlx::query(VERSION)
                        .bind(group)
                        .fetch_optional(&mut *connection)
                        .await?
                        .ok_or(StoreError::NotFound { what: "group" })?;
                    let version = number(&row, 0)?.saturating_add(1);
                    let GroupChange {
                        users,
                        last_id,
                        now,
                        by,
                        ..
                    } = &change;
                    match change.change {
                        MemberChange::Add => {
                            join(&mut *connection, group, users, *last_id, *now, *by).await?;
                        }
                        MemberChange::Remove => {
                            leave(&mut *connection, group, users, *now, *by).await?;
                        }
                    }
                    sqlx::query(SET_VERSION)
                        .bind(version)
                        .bind(now.get())
                        .bind(group)
                        .execute(&mut *connection)
                        .await?;
                    note_changes(connection, GROUP, &[(group, version)]).await?;
                    Ok(version)
                })
            },
            |version| u64::from(*version),
        );
        work.await
    }

    async fn groups_created_by(&self, user: UserId, kind: GroupType) -> Result<u32, StoreError> {
        let row = sqlx::query(CREATED_BY)
            .bind(user.get())
            .bind(type_number(kind))
            .fetch_one(&self.inner.readers)
            .await?;
        number(&row, 0)
    }

    async fn groups(&self, ids: &[GroupId]) -> Result<Vec<GroupRecord>, StoreError> {
        let text = format!(
            "SELECT id, name, avatar, creator, type, version FROM chat_group
                WHERE part = 0 AND id IN ({}) ORDER BY id",
            list(ids.iter().map(|id| id.get()))
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(text))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn groups_of(&self, user: Option<UserId>) -> Result<Vec<GroupRecord>, StoreError> {
        let query = match user {
            Some(user) => sqlx::query(GROUPS_OF).bind(user.get()).bind(FIRST_PAIR),
            None => sqlx::query(ALL_GROUPS),
        };
        let rows = query.fetch_all(&self.inner.readers).await?;
        rows.iter().map(record).collect()
    }

    async fn members(&self, group: GroupId) -> Result<Vec<GroupMember>, StoreError> {
        let rows = sqlx::query(MEMBERS)
            .bind(u64::from(group.get()))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(member).collect()
    }

    async fn member(
        &self,
        group: GroupId,
        user: UserId,
    ) -> Result<Option<GroupMember>, StoreError> {
        let row = sqlx::query(MEMBER)
            .bind(u64::from(group.get()))
            .bind(user.get())
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(member).transpose()
    }

    async fn set_shield(
        &self,
        group: GroupId,
        user: UserId,
        shielded: bool,
    ) -> Result<bool, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(SET_SHIELD)
                    .bind(u8::from(shielded))
                    .bind(u64::from(group.get()))
                    .bind(user.get())
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }
}

/// Members join, those who left before anew: nothing of a former membership stays but when it began. Whoever is a member
/// stays as he is.
async fn join(
    connection: &mut MySqlConnection,
    group: u32,
    users: &[UserId],
    last_id: u32,
    now: UnixSeconds,
    by: Option<UserId>,
) -> Result<(), StoreError> {
    let members = format!(
        "SELECT user FROM group_member WHERE part = 0 AND conv = {group} AND active = 1 AND user IN ({})",
        list(users.iter().map(|user| user.get()))
    );
    let members = sqlx::raw_sql(AssertSqlSafe(members))
        .fetch_all(&mut *connection)
        .await?;
    let members = members.iter().map(|row| user(row, 0));
    let members = members.collect::<Result<std::collections::HashSet<_>, _>>()?;
    let mut users: Vec<u32> = users
        .iter()
        .filter(|user| !members.contains(user))
        .map(|user| user.get())
        .collect();
    users.sort_unstable();
    users.dedup();
    if users.is_empty() {
        return Ok(());
    }
    let by = by.map_or_else(|| "NULL".to_owned(), |by| by.to_string());
    let now = now.get();
    let rows = |row: &dyn Fn(u32) -> String| {
        let rows: Vec<String> = users.iter().map(|user| row(*user)).collect();
        rows.join(",")
    };
    let joining = format!(
        "INSERT INTO group_member (part, conv, user, active, joined_id, shield, created, updated, changed_by)
            VALUES {} ON DUPLICATE KEY UPDATE active = 1, joined_id = VALUES(joined_id), shield = 0,
            updated = VALUES(updated), changed_by = VALUES(changed_by);
        INSERT INTO inbox (user, conv, read_id, removed_at, created)
            VALUES {} ON DUPLICATE KEY UPDATE read_id = VALUES(read_id), removed_at = NULL",
        rows(&|user| format!("(0,{group},{user},1,{last_id},0,{now},{now},{by})")),
        rows(&|user| format!("({user},{group},{last_id},NULL,{now})")),
    );
    run(connection, joining).await?;
    Ok(())
}

async fn leave(
    connection: &mut MySqlConnection,
    group: u32,
    users: &[UserId],
    now: UnixSeconds,
    by: Option<UserId>,
) -> Result<(), StoreError> {
    let by = by.map_or_else(|| "NULL".to_owned(), |by| by.to_string());
    let leaving = format!(
        "UPDATE group_member SET active = 0, updated = {}, changed_by = {by}
            WHERE part = 0 AND conv = {group} AND active = 1 AND user IN ({})",
        now.get(),
        list(users.iter().map(|user| user.get()))
    );
    run(connection, leaving).await?;
    Ok(())
}

pub(crate) fn type_number(group_type: GroupType) -> u8 {
    match group_type {
        GroupType::Normal => 1,
        GroupType::Temporary => 2,
    }
}

fn member(row: &MySqlRow) -> Result<GroupMember, StoreError> {
    Ok(GroupMember {
        user: user(row, 0)?,
        joined_id: number(row, 1)?,
        shielded: number(row, 2)? != 0,
    })
}

pub(crate) fn record(row: &MySqlRow) -> Result<GroupRecord, StoreError> {
    let group_type = match number(row, 4)? {
        1 => GroupType::Normal,
        2 => GroupType::Temporary,
        other => return Err(StoreError::Corrupt(format!("group type {other}"))),
    };
    Ok(GroupRecord {
        id: group(row, 0)?,
        name: text(row, 1)?,
        avatar: text(row, 2)?,
        creator: UserId::from_wire(number(row, 3)?),
        group_type,
        version: number(row, 5)?,
    })
}
