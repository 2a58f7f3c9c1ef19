//! Taking over what another installation has stored. Text becomes part of statements as hexadecimal digits only.

use std::sync::Arc;

use async_trait::async_trait;
use im_core::UserId;
use im_order::Fence;
use im_store::{
    Prepared, StoreError, TransferBatch, TransferState, TransferStore, TransferredAccount,
    TransferredGroup, TransferredMessages, TransferredView, UserProfile,
};
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlConnection;

use crate::MysqlStore;
use crate::append::hexadecimal;
use crate::change::run;
use crate::change_log::{DEPARTMENT, GROUP, PERSON, note_changes};
use crate::directory::next_stamp;
use crate::groups::type_number;
use crate::rows::{bytes, conversation_number, is_out_of_range, list, number, outdated, text};
use crate::tenures::hold;

/// The table is no part of the schema: only a store that takes data over has it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS transfer_state (
    name VARBINARY(191) NOT NULL, value LONGBLOB NOT NULL, PRIMARY KEY (name)) ENGINE = InnoDB";
const STATES: &str =
    "SELECT name, value FROM transfer_state WHERE LEFT(name, LENGTH(?)) = ? ORDER BY name";

/// Rows of one statement.
const ROWS_AT_ONCE: usize = 200;

const DEPARTMENTS: &str =
    "INSERT INTO department (id, parent, name, priority, status, stamp) VALUES ";
/// Assigned from left to right: the stamp is decided by the row as it was. One with another id, which has the same name,
/// is an error.
const OR_DEPARTMENT: &str = " ON DUPLICATE KEY UPDATE
    stamp = IF(parent = VALUES(parent) AND name = VALUES(name) AND priority = VALUES(priority)
        AND status = VALUES(status), stamp, VALUES(stamp)) + 0 * EXP(IF(id = VALUES(id), 0, 1000)),
    parent = VALUES(parent), name = VALUES(name), priority = VALUES(priority), status = VALUES(status)";
const ACCOUNTS: &str =
    "INSERT INTO account (id, name, nick, sex, department, phone, email, domain, avatar,
    signature, status, hash, push_shield, stamp) VALUES ";
/// The same. A hash that a login has renewed stays.
const OR_ACCOUNT: &str = " ON DUPLICATE KEY UPDATE
    stamp = IF(name = VALUES(name) AND nick = VALUES(nick) AND sex = VALUES(sex)
        AND department = VALUES(department) AND phone = VALUES(phone) AND email = VALUES(email)
        AND domain = VALUES(domain) AND avatar = VALUES(avatar) AND signature = VALUES(signature)
        AND status = VALUES(status) AND push_shield = VALUES(push_shield)
        AND (hash = VALUES(hash) OR hash LIKE '$argon2%'), stamp, VALUES(stamp)) + 0 * EXP(IF(id = VALUES(id), 0, 1000)),
    remembered = IF(stamp = VALUES(stamp), NULL, remembered),
    name = VALUES(name), nick = VALUES(nick), sex = VALUES(sex), department = VALUES(department),
    phone = VALUES(phone), email = VALUES(email), domain = VALUES(domain), avatar = VALUES(avatar),
    signature = VALUES(signature), status = VALUES(status), push_shield = VALUES(push_shield),
    hash = IF(hash LIKE '$argon2%', hash, VALUES(hash))";
const ITEMS: &str =
    "INSERT INTO discovery_item (id, name, url, priority, created, updated) VALUES ";
const OR_ITEM: &str = " ON DUPLICATE KEY UPDATE
    updated = IF(name = VALUES(name) AND url = VALUES(url) AND priority = VALUES(priority), updated, VALUES(updated)),
    name = VALUES(name), url = VALUES(url), priority = VALUES(priority)";
const GROUPS: &str = "INSERT INTO chat_group (part, id, name, avatar, creator, type, version, created, updated) VALUES ";
const OR_GROUP: &str = " ON DUPLICATE KEY UPDATE name = VALUES(name), avatar = VALUES(avatar),
    creator = VALUES(creator), type = VALUES(type), version = VALUES(version), updated = VALUES(updated)";
/// A group that was there keeps its conversation.
const CONVERSATIONS: &str = "INSERT INTO conversation (part, conv, number, prior_id, last_id, last_seq, last_time, low_sent) VALUES ";
const OR_CONVERSATION: &str = " ON DUPLICATE KEY UPDATE prior_id = conversation.prior_id + 0 * EXP(IF(conv = VALUES(conv), 0, 1000))";
const MEMBERS: &str = "INSERT INTO group_member
    (part, conv, user, active, joined_id, shield, created, updated, changed_by) VALUES ";
const OR_MEMBER: &str =
    " ON DUPLICATE KEY UPDATE active = VALUES(active), joined_id = VALUES(joined_id),
    updated = VALUES(updated)";
const INBOXES: &str = "INSERT INTO inbox (user, conv, read_id, removed_at, created) VALUES ";
const OR_INBOX: &str = " ON DUPLICATE KEY UPDATE read_id = VALUES(read_id)";

/// A state as a statement of the open transaction.
pub(crate) fn put_state(state: &TransferState) -> String {
    format!(
        "INSERT INTO transfer_state (name, value) VALUES ({},{}) ON DUPLICATE KEY UPDATE value = VALUES(value)",
        hex(state.name.as_bytes()),
        hex(&state.value)
    )
}

#[async_trait]
impl TransferStore for MysqlStore {
    async fn begin_transfer(&self) -> Result<(), StoreError> {
        let mut connection = self.inner.changers.acquire().await?;
        run(&mut connection, TABLE.to_owned()).await?;
        Ok(())
    }

    async fn transfer_states(&self, prefix: &str) -> Result<Vec<TransferState>, StoreError> {
        let rows = sqlx::query(STATES)
            .bind(prefix.as_bytes())
            .bind(prefix.as_bytes())
            .fetch_all(&self.inner.readers)
            .await?;
        let state = |row| {
            Ok(TransferState {
                name: text(row, 0)?,
                value: bytes(row, 1)?,
            })
        };
        rows.iter().map(state).collect()
    }

    async fn transfer(&self, fence: Fence, batch: &TransferBatch) -> Result<(), StoreError> {
        let batch = Arc::new(batch.clone());
        self.change(move |connection| {
            Box::pin(async move {
                hold(&mut *connection, &fence).await?;
                people(&mut *connection, &batch).await?;
                put_groups(&mut *connection, &batch.groups).await?;
                put_members(&mut *connection, &batch).await?;
                for view in &batch.views {
                    put_view(&mut *connection, view).await?;
                }
                for state in &batch.states {
                    run(&mut *connection, put_state(state)).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn transfer_messages(&self, messages: &TransferredMessages) -> Result<(), StoreError> {
        self.append_prepared(Prepared::of_transfer(messages)?).await
    }
}

/// Bytes as a literal of SQL.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len() + 3);
    hexadecimal(&mut text, bytes);
    text
}

pub(crate) fn quoted(text: &str) -> String {
    format!("_utf8mb4 {}", hex(text.as_bytes()))
}

/// Writes rows, some at once.
async fn put(
    connection: &mut MySqlConnection,
    head: &str,
    rows: Vec<String>,
    tail: &str,
) -> Result<(), StoreError> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let text = format!("{head}{}{tail}", rows.join(","));
        run(&mut *connection, text).await.map_err(taken)?;
    }
    Ok(())
}

/// Somebody else has what is to be one's own.
fn taken(error: sqlx::Error) -> StoreError {
    if is_out_of_range(&error) {
        StoreError::Outdated
    } else {
        outdated(error)
    }
}

/// Which of these rows have this stamp.
async fn stamped(
    connection: &mut MySqlConnection,
    table: &str,
    ids: impl Iterator<Item = u32>,
    stamp: u32,
) -> Result<Vec<(u32, u32)>, StoreError> {
    let text = format!(
        "SELECT id FROM {table} WHERE stamp = {stamp} AND id IN ({})",
        list(ids)
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(text))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((number(row, 0)?, stamp)))
        .collect()
}

/// Departments, accounts and links.
async fn people(connection: &mut MySqlConnection, batch: &TransferBatch) -> Result<(), StoreError> {
    let TransferBatch {
        departments,
        accounts,
        discovery_items,
        now,
        ..
    } = batch;
    if !departments.is_empty() || !accounts.is_empty() {
        let stamp = next_stamp(connection, *now).await?.get();
        let rows = departments.iter().map(|department| {
            format!(
                "({},{},{},{},{},{stamp})",
                department.id,
                department.parent,
                quoted(&department.name),
                department.priority,
                department.status
            )
        });
        put(connection, DEPARTMENTS, rows.collect(), OR_DEPARTMENT).await?;
        let ids = departments.iter().map(|department| department.id);
        let changed = stamped(connection, "department", ids, stamp).await?;
        note_changes(connection, DEPARTMENT, &changed).await?;
        let rows = accounts.iter().map(|account| account_row(account, stamp));
        put(connection, ACCOUNTS, rows.collect(), OR_ACCOUNT).await?;
        let ids = accounts.iter().map(|account| account.profile.id.get());
        let changed = stamped(connection, "account", ids, stamp).await?;
        note_changes(connection, PERSON, &changed).await?;
    }
    let rows = discovery_items.iter().map(|(id, item)| {
        let (name, url, now) = (quoted(&item.name), quoted(&item.url), now.get());
        format!("({id},{name},{url},{},{now},{now})", item.priority)
    });
    put(connection, ITEMS, rows.collect(), OR_ITEM).await?;
    if let Some(greatest) = discovery_items.iter().map(|(id, _)| id).max() {
        let counter = format!(
            "UPDATE meta SET value = GREATEST(value, {greatest}) WHERE name = 'discovery_item'"
        );
        run(connection, counter).await?;
    }
    Ok(())
}

fn account_row(account: &TransferredAccount, stamp: u32) -> String {
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
    let [name, nick, phone, email, domain, avatar, signature, hash] = [
        name,
        nick,
        phone,
        email,
        domain,
        avatar,
        signature,
        &account.hash,
    ]
    .map(|text| quoted(text));
    let shield = account.push_shield;
    format!(
        "({id},{name},{nick},{sex},{department},{phone},{email},{domain},{avatar},{signature},{status},{hash},{shield},{stamp})"
    )
}

async fn put_groups(
    connection: &mut MySqlConnection,
    groups: &[TransferredGroup],
) -> Result<(), StoreError> {
    if groups.is_empty() {
        return Ok(());
    }
    let rows = groups.iter().map(|group| {
        let record = &group.record;
        format!(
            "(0,{},{},{},{},{},{},{},{})",
            record.id,
            quoted(&record.name),
            quoted(&record.avatar),
            record.creator.map_or(0, UserId::get),
            type_number(record.group_type),
            record.version,
            group.created.get(),
            group.updated.get(),
        )
    });
    put(connection, GROUPS, rows.collect(), OR_GROUP).await?;
    let rows = groups
        .iter()
        .map(|group| format!("(0,{},{},0,0,0,0,0)", group.record.id, group.row.0));
    put(connection, CONVERSATIONS, rows.collect(), OR_CONVERSATION).await?;
    let changed = groups.iter();
    let changed = changed.map(|group| (group.record.id.get(), group.record.version));
    note_changes(connection, GROUP, &changed.collect::<Vec<_>>()).await
}

async fn put_members(
    connection: &mut MySqlConnection,
    batch: &TransferBatch,
) -> Result<(), StoreError> {
    let rows = batch.members.iter().map(|member| {
        format!(
            "(0,{},{},{},{},0,{},{},NULL)",
            member.group,
            member.user,
            u8::from(member.active),
            member.joined_id,
            member.created.get(),
            member.updated.get(),
        )
    });
    put(connection, MEMBERS, rows.collect(), OR_MEMBER).await?;
    let rows = batch.members.iter().map(|member| {
        let created = member.created.get();
        format!(
            "({},{},{},NULL,{created})",
            member.user, member.group, member.read_id
        )
    });
    put(connection, INBOXES, rows.collect(), OR_INBOX).await
}

async fn put_view(
    connection: &mut MySqlConnection,
    view: &TransferredView,
) -> Result<(), StoreError> {
    let (user, conversation) = (view.user, conversation_number(view.conversation));
    let mut sets = Vec::new();
    sets.extend(view.read_id.map(|id| format!("read_id = {id}")));
    sets.extend(view.removed_at.map(|id| format!("removed_at = {id}")));
    if !sets.is_empty() {
        let sets = sets.join(", ");
        let text = format!("UPDATE inbox SET {sets} WHERE user = {user} AND conv = {conversation}");
        run(connection, text).await?;
    }
    if let Some(shield) = view.shield {
        let shield = u8::from(shield);
        let text = format!(
            "UPDATE group_member SET shield = {shield} WHERE part = 0 AND conv = {conversation} AND user = {user}"
        );
        run(connection, text).await?;
    }
    Ok(())
}
