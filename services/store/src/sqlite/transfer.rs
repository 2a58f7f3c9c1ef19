//! Taking over what another installation has stored.

use async_trait::async_trait;
use im_core::Conversation;
use im_order::Fence;
use sqlx::{Row as _, SqliteConnection};

use super::SqliteStore;
use super::directory::next_stamp;
use super::groups::type_number;
use super::rows::{conversation_key, outdated, text};
use super::tenures::hold;
use crate::{
    Prepared, StoreError, TransferBatch, TransferState, TransferStore, TransferredAccount,
    TransferredGroup, TransferredMember, TransferredMessages, TransferredView, UserProfile,
};

/// The table is no part of the schema: only a store that takes data over has it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS transfer_state
    (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
const STATES: &str =
    "SELECT name, value FROM transfer_state WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name";
pub(super) const PUT_STATE: &str = "INSERT INTO transfer_state (name, value) VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

const DEPARTMENT: &str = "INSERT INTO department (id, parent, name, priority, status, stamp)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, name = excluded.name,
    priority = excluded.priority, status = excluded.status, stamp = excluded.stamp
    WHERE (department.parent, department.name, department.priority, department.status)
        <> (excluded.parent, excluded.name, excluded.priority, excluded.status)";
/// Whoever is there and differs is changed. A hash that a login has renewed stays.
const ACCOUNT: &str = "INSERT INTO account (id, name, nick, sex, department, phone, email, domain, avatar,
        signature, status, hash, push_shield, stamp)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, nick = excluded.nick, sex = excluded.sex,
    department = excluded.department, phone = excluded.phone, email = excluded.email, domain = excluded.domain,
    avatar = excluded.avatar, signature = excluded.signature, status = excluded.status,
    push_shield = excluded.push_shield, stamp = excluded.stamp, remembered = NULL,
    hash = CASE WHEN account.hash LIKE '$argon2%' THEN account.hash ELSE excluded.hash END
    WHERE (account.name, account.nick, account.sex, account.department, account.phone, account.email,
        account.domain, account.avatar, account.signature, account.status, account.push_shield)
        <> (excluded.name, excluded.nick, excluded.sex, excluded.department, excluded.phone, excluded.email,
        excluded.domain, excluded.avatar, excluded.signature, excluded.status, excluded.push_shield)
    OR (account.hash <> excluded.hash AND account.hash NOT LIKE '$argon2%')";
const DISCOVERY_ITEM: &str =
    "INSERT INTO discovery_item (id, name, url, priority, created, updated)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (id) DO UPDATE SET name = excluded.name, url = excluded.url,
    priority = excluded.priority, updated = excluded.updated
    WHERE (discovery_item.name, discovery_item.url, discovery_item.priority)
        <> (excluded.name, excluded.url, excluded.priority)";
const GROUP: &str = "INSERT INTO chat_group (id, conv, name, avatar, creator, type, version, created, updated)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO UPDATE SET name = excluded.name,
    avatar = excluded.avatar, creator = excluded.creator, type = excluded.type, version = excluded.version,
    updated = excluded.updated";
/// Nothing for a group that was there.
const GROUP_CONVERSATION: &str = "INSERT INTO conversation
    (conv, kind, a, b, last_id, last_seq, last_time, low_sent)
    SELECT ?2, 2, ?1, 0, 0, 0, 0, 0 WHERE NOT EXISTS
        (SELECT 1 FROM conversation WHERE kind = 2 AND a = ?1 AND b = 0)";
const MEMBER: &str = "INSERT INTO member
    (user, conv, grouped, active, shield, read_id, joined_id, removed_at, created, updated, changed_by)
    SELECT ?1, conv, 1, ?3, 0, ?4, ?5, NULL, ?6, ?7, NULL FROM chat_group WHERE id = ?2
    ON CONFLICT (user, conv) DO UPDATE SET active = excluded.active, read_id = excluded.read_id,
        joined_id = excluded.joined_id, updated = excluded.updated";
const VIEW: &str = "UPDATE member SET read_id = coalesce(?5, read_id), removed_at = coalesce(?6, removed_at),
        shield = coalesce(?7, shield)
    WHERE user = ?1 AND conv = (SELECT conv FROM conversation WHERE kind = ?2 AND a = ?3 AND b = ?4)";

#[async_trait]
impl TransferStore for SqliteStore {
    async fn begin_transfer(&self) -> Result<(), StoreError> {
        self.change_rows(sqlx::query(TABLE)).await.map(drop)
    }

    async fn transfer_states(&self, prefix: &str) -> Result<Vec<TransferState>, StoreError> {
        let rows = sqlx::query(STATES)
            .bind(prefix)
            .fetch_all(&self.inner.readers)
            .await?;
        let state = |row| {
            Ok(TransferState {
                name: text(row, 0)?,
                value: row.try_get(1)?,
            })
        };
        rows.iter().map(state).collect()
    }

    async fn transfer(&self, fence: Fence, batch: &TransferBatch) -> Result<(), StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        hold(&mut tx, &fence).await?;
        people(&mut tx, batch).await?;
        for group in &batch.groups {
            put_group(&mut tx, group).await?;
        }
        for member in &batch.members {
            put_member(&mut tx, member).await?;
        }
        for view in &batch.views {
            put_view(&mut tx, view).await?;
        }
        for TransferState { name, value } in &batch.states {
            sqlx::query(PUT_STATE)
                .bind(name)
                .bind(value)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn transfer_messages(&self, messages: &TransferredMessages) -> Result<(), StoreError> {
        self.append_prepared(Prepared::of_transfer(messages)?).await
    }
}

/// Departments, accounts and links.
async fn people(
    connection: &mut SqliteConnection,
    batch: &TransferBatch,
) -> Result<(), StoreError> {
    let TransferBatch {
        departments,
        accounts,
        discovery_items,
        now,
        ..
    } = batch;
    if !departments.is_empty() || !accounts.is_empty() {
        let stamp = i64::from(next_stamp(connection, *now).await?);
        for department in departments {
            sqlx::query(DEPARTMENT)
                .bind(i64::from(department.id))
                .bind(i64::from(department.parent))
                .bind(&department.name)
                .bind(i64::from(department.priority))
                .bind(i64::from(department.status))
                .bind(stamp)
                .execute(&mut *connection)
                .await
                .map_err(outdated)?;
        }
        for account in accounts {
            put_account(connection, account, stamp).await?;
        }
    }
    for (id, item) in discovery_items {
        sqlx::query(DISCOVERY_ITEM)
            .bind(i64::from(*id))
            .bind(&item.name)
            .bind(&item.url)
            .bind(i64::from(item.priority))
            .bind(i64::from(*now))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn put_account(
    connection: &mut SqliteConnection,
    account: &TransferredAccount,
    stamp: i64,
) -> Result<(), StoreError> {
    let UserProfile {
        id,
        name,
        nick,
        sex,
        department,
        phone,
        email,
        domain,
        avatar,
        signature,
        status,
        kind: _,
    } = &account.profile;
    sqlx::query(ACCOUNT)
        .bind(i64::from(id.get()))
        .bind(name)
        .bind(nick)
        .bind(i64::from(*sex))
        .bind(i64::from(*department))
        .bind(phone)
        .bind(email)
        .bind(domain)
        .bind(avatar)
        .bind(signature)
        .bind(i64::from(*status))
        .bind(&account.hash)
        .bind(i64::from(account.push_shield))
        .bind(stamp)
        .execute(connection)
        .await
        .map_err(outdated)?;
    Ok(())
}

async fn put_group(
    connection: &mut SqliteConnection,
    group: &TransferredGroup,
) -> Result<(), StoreError> {
    let record = &group.record;
    let id = i64::from(record.id.get());
    sqlx::query(GROUP_CONVERSATION)
        .bind(id)
        .bind(group.row.0)
        .execute(&mut *connection)
        .await
        .map_err(outdated)?;
    sqlx::query(GROUP)
        .bind(id)
        .bind(group.row.0)
        .bind(&record.name)
        .bind(&record.avatar)
        .bind(record.creator.map_or(0, |creator| i64::from(creator.get())))
        .bind(type_number(record.group_type))
        .bind(i64::from(record.version))
        .bind(i64::from(group.created))
        .bind(i64::from(group.updated))
        .execute(connection)
        .await
        .map_err(outdated)?;
    Ok(())
}

async fn put_member(
    connection: &mut SqliteConnection,
    member: &TransferredMember,
) -> Result<(), StoreError> {
    sqlx::query(MEMBER)
        .bind(i64::from(member.user.get()))
        .bind(i64::from(member.group.get()))
        .bind(i64::from(member.active))
        .bind(i64::from(member.read_id))
        .bind(i64::from(member.joined_id))
        .bind(i64::from(member.created))
        .bind(i64::from(member.updated))
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_view(
    connection: &mut SqliteConnection,
    view: &TransferredView,
) -> Result<(), StoreError> {
    let (kind, a, b) = conversation_key(view.conversation);
    let is_group = matches!(view.conversation, Conversation::Group(_));
    sqlx::query(VIEW)
        .bind(i64::from(view.user.get()))
        .bind(kind)
        .bind(a)
        .bind(b)
        .bind(view.read_id.map(i64::from))
        .bind(view.removed_at.map(i64::from))
        .bind(view.shield.filter(|_| is_group).map(i64::from))
        .execute(connection)
        .await?;
    Ok(())
}
