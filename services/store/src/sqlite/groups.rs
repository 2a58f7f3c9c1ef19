//! Groups, their members and versions.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use im_order::Fence;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::rows::{group, json_array, number, outdated, text, user};
use super::tenures::hold;
use crate::{
    GroupChange, GroupMember, GroupRecord, GroupStore, GroupType, MemberChange, NewGroup,
    StoreError,
};

/// A restore leaves numbers out that clients may know groups by.
const INSERT_GROUP: &str = "INSERT INTO chat_group
    (id, conv, name, avatar, creator, type, version, created, updated)
    VALUES (1 + max((SELECT coalesce(max(id), 0) FROM chat_group),
            (SELECT value FROM meta WHERE name = 'greatest_group')),
        ?1, ?2, ?3, ?4, ?5, 1, ?6, ?6)";
const INSERT_CONVERSATION: &str = "INSERT INTO conversation
    (conv, kind, a, b, last_id, last_seq, last_time, low_sent) VALUES (?, 2, ?, 0, 0, 0, 0, 0)";
const INSERT_FIRST_GAP: &str = "INSERT INTO id_gap (conv, after, through)
    SELECT ?, 0, value FROM meta WHERE name = 'skipped_ids' AND value > 0";
/// ?1 members as a JSON array, ?2 conversation, ?3 newest id, ?4 time, ?5 who does it. Joining anew
/// leaves nothing of the former membership but when it began.
const JOIN: &str = "INSERT INTO member
    (user, conv, grouped, active, shield, read_id, joined_id, removed_at,
     created, updated, changed_by)
    SELECT value, ?2, 1, 1, 0, ?3, ?3, NULL, ?4, ?4, ?5 FROM json_each(?1) WHERE true
    ON CONFLICT (user, conv) DO UPDATE SET active = 1, shield = 0, read_id = excluded.read_id,
        joined_id = excluded.joined_id, removed_at = NULL, updated = excluded.updated,
        changed_by = excluded.changed_by
    WHERE active = 0";
const LEAVE: &str = "UPDATE member SET active = 0, updated = ?3, changed_by = ?4
    WHERE conv = ?2 AND active = 1 AND user IN (SELECT value FROM json_each(?1))";
const CONVERSATION_AND_VERSION: &str = "SELECT conv, version FROM chat_group WHERE id = ?";
const SET_VERSION: &str = "UPDATE chat_group SET version = ?, updated = ? WHERE id = ?";
const CREATED_BY: &str = "SELECT count(*) FROM chat_group WHERE creator = ? AND type = ?";
const GROUPS: &str = "SELECT id, name, avatar, creator, type, version FROM chat_group
    WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id";
const ALL_GROUPS: &str = "SELECT id, name, avatar, creator, type, version FROM chat_group
    ORDER BY updated DESC, id DESC";
const GROUPS_OF: &str = "SELECT g.id, g.name, g.avatar, g.creator, g.type, g.version
    FROM member AS m CROSS JOIN chat_group AS g ON g.conv = m.conv
    WHERE m.user = ? AND m.grouped = 1 AND m.active = 1
    ORDER BY g.updated DESC, g.id DESC";
const MEMBERS: &str = "SELECT m.user, m.joined_id, m.shield FROM member AS m
    WHERE m.conv = (SELECT conv FROM chat_group WHERE id = ?) AND m.grouped = 1 AND m.active = 1
    ORDER BY m.user";
const MEMBER: &str = "SELECT m.user, m.joined_id, m.shield FROM member AS m
    WHERE m.user = ?2 AND m.conv = (SELECT conv FROM chat_group WHERE id = ?1)
      AND m.grouped = 1 AND m.active = 1";
const SET_SHIELD: &str = "UPDATE member SET shield = ?
    WHERE user = ? AND active = 1 AND conv = (SELECT conv FROM chat_group WHERE id = ?)";

#[async_trait]
impl GroupStore for SqliteStore {
    async fn create_group(&self, fence: Fence, new: &NewGroup) -> Result<GroupId, StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        hold(&mut tx, &fence).await?;
        let done = sqlx::query(INSERT_GROUP)
            .bind(new.row.0)
            .bind(&new.name)
            .bind(&new.avatar)
            .bind(new.creator.map_or(0, |creator| i64::from(creator.get())))
            .bind(type_number(new.group_type))
            .bind(i64::from(new.now))
            .execute(&mut *tx)
            .await
            .map_err(outdated)?;
        let id = done.last_insert_rowid();
        sqlx::query(INSERT_CONVERSATION)
            .bind(new.row.0)
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(outdated)?;
        sqlx::query(INSERT_FIRST_GAP)
            .bind(new.row.0)
            .execute(&mut *tx)
            .await?;
        join(&mut tx, &new.members, new.row.0, 0, new.now, new.creator).await?;
        let group = u32::try_from(id).ok().and_then(GroupId::from_wire);
        let group = group.ok_or_else(|| StoreError::Corrupt(format!("group id {id}")))?;
        self.write_note(&mut tx, group.get().into()).await?;
        tx.commit().await?;
        Ok(group)
    }

    async fn change_members(&self, fence: Fence, change: &GroupChange) -> Result<u32, StoreError> {
        let group = i64::from(change.group.get());
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        hold(&mut tx, &fence).await?;
        let row = sqlx::query(CONVERSATION_AND_VERSION)
            .bind(group)
            .fetch_optional(&mut *tx)
            .await?
            .ok_or(StoreError::NotFound { what: "group" })?;
        let conversation: i64 = row.try_get(0)?;
        let version = number(&row, 1)?.saturating_add(1);
        match change.change {
            MemberChange::Add => {
                let GroupChange {
                    users,
                    last_id,
                    now,
                    by,
                    ..
                } = change;
                join(&mut tx, users, conversation, *last_id, *now, *by).await?;
            }
            MemberChange::Remove => {
                sqlx::query(LEAVE)
                    .bind(json_array(change.users.iter().map(|user| user.get())))
                    .bind(conversation)
                    .bind(i64::from(change.now))
                    .bind(change.by.map(|by| i64::from(by.get())))
                    .execute(&mut *tx)
                    .await?;
            }
        }
        sqlx::query(SET_VERSION)
            .bind(i64::from(version))
            .bind(i64::from(change.now))
            .bind(group)
            .execute(&mut *tx)
            .await?;
        self.write_note(&mut tx, version.into()).await?;
        tx.commit().await?;
        Ok(version)
    }

    async fn groups_created_by(&self, user: UserId, kind: GroupType) -> Result<u32, StoreError> {
        let row = sqlx::query(CREATED_BY)
            .bind(i64::from(user.get()))
            .bind(type_number(kind))
            .fetch_one(&self.inner.readers)
            .await?;
        number(&row, 0)
    }

    async fn groups(&self, ids: &[GroupId]) -> Result<Vec<GroupRecord>, StoreError> {
        let rows = sqlx::query(GROUPS)
            .bind(json_array(ids.iter().map(|id| id.get())))
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter().map(record).collect()
    }

    async fn groups_of(&self, user: Option<UserId>) -> Result<Vec<GroupRecord>, StoreError> {
        let query = match user {
            Some(user) => sqlx::query(GROUPS_OF).bind(i64::from(user.get())),
            None => sqlx::query(ALL_GROUPS),
        };
        query
            .fetch_all(&self.inner.readers)
            .await?
            .iter()
            .map(record)
            .collect()
    }

    async fn members(&self, group: GroupId) -> Result<Vec<GroupMember>, StoreError> {
        let rows = sqlx::query(MEMBERS)
            .bind(i64::from(group.get()))
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
            .bind(i64::from(group.get()))
            .bind(i64::from(user.get()))
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
        let query = sqlx::query(SET_SHIELD)
            .bind(i64::from(shielded))
            .bind(i64::from(user.get()))
            .bind(i64::from(group.get()));
        Ok(self.change_rows(query).await? > 0)
    }
}

async fn join(
    connection: &mut SqliteConnection,
    users: &[UserId],
    conversation: i64,
    last_id: u32,
    now: UnixSeconds,
    by: Option<UserId>,
) -> Result<(), StoreError> {
    sqlx::query(JOIN)
        .bind(json_array(users.iter().map(|user| user.get())))
        .bind(conversation)
        .bind(i64::from(last_id))
        .bind(i64::from(now))
        .bind(by.map(|by| i64::from(by.get())))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn type_number(group_type: GroupType) -> i64 {
    match group_type {
        GroupType::Normal => 1,
        GroupType::Temporary => 2,
    }
}

fn member(row: &SqliteRow) -> Result<GroupMember, StoreError> {
    Ok(GroupMember {
        user: user(row, 0)?,
        joined_id: number(row, 1)?,
        shielded: number(row, 2)? != 0,
    })
}

pub(super) fn record(row: &SqliteRow) -> Result<GroupRecord, StoreError> {
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
