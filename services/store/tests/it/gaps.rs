//! Ids that a restore skips: stored gaps, which reads treat as empty.

use std::path::Path;

use im_core::{Conversation, GroupId, MsgId};
use im_store::{
    BackupError, ConversationRow, DataDir, GroupStore, MemberChange, MessageStore, Preview,
    ReadLimit, ReadPosition, SessionStore, SqliteOptions, SqliteStore, StoreError, backup, restore,
    testing::TempStore,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use crate::log::{Known, Log, id, pair, standing, user};
use im_store::contract::groups::change;

/// A store that was restored, and what its writer knows then.
struct Restored {
    store: SqliteStore,
    log: Log,
}

impl Restored {
    async fn new(from: &Path, to: &Path, skip: u32, rows: &[Conversation]) -> Self {
        restore(from, to, skip).await.unwrap();
        let dir = DataDir::open(to).unwrap();
        let store = SqliteStore::open(dir, SqliteOptions::default())
            .await
            .unwrap();
        let (end, ConversationRow(last)) = store.log_end().await.unwrap();
        let mut log = Log {
            seq: end.to_wire(),
            rows: last,
            ..Log::default()
        };
        let states = store.conversation_states(rows).await.unwrap();
        for (conversation, state) in rows.iter().zip(states) {
            let state = state.unwrap();
            let known = Known {
                row: state.row,
                last_id: state.last_id,
                low_sent: state.low_sent,
            };
            log.known.insert(*conversation, known);
        }
        Self { store, log }
    }

    async fn send(&mut self, sender: u32, conversation: Conversation) -> u32 {
        let sent = self.log.send(sender, conversation, 100, "after").msg_id;
        self.log.commit(&self.store).await.unwrap();
        sent.get()
    }

    async fn read(&self, reader: u32, conversation: Conversation, read_id: u32) {
        let position = ReadPosition {
            user: user(reader),
            conversation,
            read_id,
        };
        self.store.store_read_positions(&[position]).await.unwrap();
    }

    /// Unread messages in a conversation, by its line, by the total, and by the same with a position
    /// that is not stored yet.
    async fn unread(&self, reader: u32, conversation: Conversation, pending: u32) -> u32 {
        let pending = ReadPosition {
            user: user(reader),
            conversation,
            read_id: pending,
        };
        let found = self
            .store
            .unread_sessions(user(reader), &[pending], Preview::rows(10))
            .await
            .unwrap();
        let all: u32 = found.views.iter().map(|v| v.unread(user(reader))).sum();
        assert_eq!(u64::from(all), found.total);
        found
            .views
            .iter()
            .find(|view| view.conversation == conversation)
            .map_or(0, |view| view.unread(user(reader)))
    }

    async fn ids(&self, conversation: Conversation, from: u32, rows: u32) -> Vec<u32> {
        let from = MsgId::from_wire(from);
        let limit = ReadLimit::rows(rows);
        let page = self.store.history(conversation, from, 0, limit).await;
        page.unwrap().iter().map(|m| m.msg_id.get()).collect()
    }
}

const GROUP_OF_LATER: u32 = 1_002;

#[tokio::test]
async fn a_restored_conversation_goes_on_above_what_clients_may_hold() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    let group = log.group(&store, &[1, 2], 1).await;
    let (talk, team) = (pair(1, 2), Conversation::Group(group));
    for sender in [1, 2, 1] {
        log.send(sender, talk, 10, "before");
        log.send(sender, team, 10, "before");
    }
    log.commit(&store).await.unwrap();
    let file = dir.path().join("copy");
    backup(dir.path(), &file).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut again = Restored::new(&file, &out.path().join("a"), 1000, &[talk, team]).await;

    // Nothing has changed for readers until somebody writes.
    for (reader, count) in [(1, 1), (2, 2)] {
        assert_eq!(again.unread(reader, talk, 0).await, count);
        assert_eq!(again.unread(reader, team, 0).await, 3);
    }
    assert_eq!(again.store.latest_id(talk).await.unwrap(), Some(id(3)));
    for conversation in [talk, team] {
        again.read(2, conversation, 1003).await;
        assert_eq!(again.unread(2, conversation, 0).await, 0);
        assert_eq!(again.send(1, conversation).await, 1004);
        assert_eq!(again.send(1, conversation).await, 1005);
        assert_eq!(again.ids(conversation, 0, 3).await, [1005, 1004, 3]);
        assert_eq!(again.ids(conversation, 500, 2).await, [3, 2]);
        assert_eq!(again.unread(2, conversation, 0).await, 2);
        // Positions before, inside and at the end of the gap, pending and stored.
        for position in [3, 4, 500, 1002, 1003] {
            assert_eq!(again.unread(2, conversation, position).await, 2);
            again.read(2, conversation, position).await;
            assert_eq!(again.unread(2, conversation, 0).await, 2, "{position}");
        }
        assert_eq!(again.unread(2, conversation, 1004).await, 1);
    }
    // Who has read nothing has the messages of before to read as well.
    assert_eq!(again.unread(1, talk, 0).await, 1);
    assert_eq!(again.unread(1, team, 0).await, 5);
    let recent = again
        .store
        .recent_sessions(user(1), crate::log::at(0), Preview::rows(10))
        .await
        .unwrap();
    assert_eq!(
        recent.iter().map(|view| view.skipped).collect::<Vec<_>>(),
        [1000, 1000]
    );
}

#[tokio::test]
async fn who_joins_before_or_after_a_restore_counts_what_came_since() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    let group = log.group(&store, &[1, 2], 1).await;
    let team = Conversation::Group(group);
    log.send(1, team, 10, "before");
    log.commit(&store).await.unwrap();
    let join = change(group, MemberChange::Add, &[3], 1);
    let fence = standing(&store).await;
    store.change_members(fence, &join).await.unwrap();
    let file = dir.path().join("copy");
    backup(dir.path(), &file).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut again = Restored::new(&file, &out.path().join("a"), 1000, &[team]).await;
    let last = again.log.known[&team].last_id;
    let join = change(group, MemberChange::Add, &[4], last);
    let fence = standing(&again.store).await;
    again.store.change_members(fence, &join).await.unwrap();
    assert!(again.store.remove_session(user(2), team).await.unwrap());
    for reader in [3, 4] {
        assert_eq!(again.unread(reader, team, 0).await, 0);
        let listed = again
            .store
            .recent_sessions(user(reader), crate::log::at(0), Preview::rows(10))
            .await;
        assert_eq!(listed.unwrap(), [], "nothing came since");
    }
    assert_eq!(again.send(1, team).await, 1002);
    for reader in [2, 3, 4] {
        assert_eq!(again.unread(reader, team, 0).await, 1);
    }
}

#[tokio::test]
async fn what_starts_after_a_restore_starts_above_the_gap() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    log.group(&store, &[1, 2], 1).await;
    assert_eq!(store.skipped_ids().await.unwrap(), 0);
    let file = dir.path().join("copy");
    backup(dir.path(), &file).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut again = Restored::new(&file, &out.path().join("a"), 1000, &[]).await;
    assert_eq!(again.store.skipped_ids().await.unwrap(), 1000);
    let made = again.log.group(&again.store, &[1, 2], 1).await;
    assert_eq!(made, GroupId::from_wire(GROUP_OF_LATER).unwrap());
    let (talk, team) = (pair(5, 6), Conversation::Group(made));
    again.log.known.get_mut(&team).unwrap().last_id = 1000;
    assert_eq!(again.send(1, team).await, 1001);
    assert_eq!(again.unread(2, team, 0).await, 1);

    // A writer that does not know of it is told to read again.
    again.log.send(5, talk, 100, "first");
    let before = again.log.clone();
    again.log.batch.messages[0].msg_id = id(7);
    let refused = again.log.commit(&again.store).await;
    assert!(matches!(refused, Err(StoreError::Outdated)), "{refused:?}");
    again.log = before;
    again.log.batch.messages[0].msg_id = id(1001);
    again.log.commit(&again.store).await.unwrap();
    again.log.known.get_mut(&talk).unwrap().last_id = 1001;
    assert_eq!(again.send(6, talk).await, 1002);
    assert_eq!(again.unread(6, talk, 0).await, 1);
    assert_eq!(again.unread(5, talk, 0).await, 1);
    assert_eq!(again.ids(talk, 0, 5).await, [1002, 1001]);
}

#[tokio::test]
async fn a_second_restore_skips_above_the_first() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    let (busy, quiet) = (pair(1, 2), pair(1, 3));
    log.send(1, busy, 10, "before");
    log.send(1, quiet, 10, "before");
    log.commit(&store).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name);
    backup(dir.path(), &path("copy")).await.unwrap();
    let mut first = Restored::new(&path("copy"), &path("a"), 10, &[busy, quiet]).await;
    assert_eq!(first.send(2, busy).await, 12);
    backup(&path("a"), &path("second")).await.unwrap();
    let mut second = Restored::new(&path("second"), &path("b"), 10, &[busy, quiet]).await;
    assert_eq!(second.send(2, busy).await, 23);
    assert_eq!(second.send(3, quiet).await, 22);
    assert_eq!(second.ids(busy, 0, 5).await, [23, 12, 1]);
    assert_eq!(second.unread(1, busy, 0).await, 2);
    assert_eq!(second.unread(1, busy, 5).await, 2, "inside the first gap");
    assert_eq!(second.unread(1, busy, 15).await, 1, "inside the second");
    assert_eq!(second.unread(1, quiet, 0).await, 1);
    assert_eq!(second.store.skipped_ids().await.unwrap(), 20);
}

#[tokio::test]
async fn ids_that_clients_take_for_their_own_are_not_skipped_into() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    log.send(1, pair(1, 2), 10, "before");
    log.commit(&store).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name);
    backup(dir.path(), &path("copy")).await.unwrap();
    let most = MsgId::CLIENTS_OWN - 2;
    for skip in [most + 1, u32::MAX] {
        let error = restore(&path("copy"), &path("a"), skip).await.unwrap_err();
        assert!(matches!(error, BackupError::NoIdsLeft { newest: 1, .. }));
        let said =
            format!("skip {skip} ids: the conversation of users 1 and 2 has used or skipped 1,");
        assert!(error.to_string().starts_with(&said), "{error}");
        assert_eq!(
            std::fs::read_dir(path("a"))
                .unwrap()
                .filter(|entry| {
                    let name = entry.as_ref().unwrap().file_name();
                    name.to_string_lossy().starts_with("im.db")
                })
                .count(),
            0
        );
    }
    restore(&path("copy"), &path("a"), most).await.unwrap();
    backup(&path("a"), &path("full")).await.unwrap();
    let error = restore(&path("full"), &path("b"), 1).await.unwrap_err();
    assert!(matches!(error, BackupError::NoIdsLeft { .. }), "{error}");
    restore(&path("full"), &path("b"), 0).await.unwrap();
}

/// Backups of the versions before there were gaps are brought up to date by a restore that skips.
#[tokio::test]
async fn a_backup_of_an_earlier_version_is_restored_with_a_gap() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    log.send(1, pair(1, 2), 10, "before");
    log.commit(&store).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("copy");
    backup(dir.path(), &file).await.unwrap();
    let mut old = SqliteConnectOptions::new()
        .filename(&file)
        .connect()
        .await
        .unwrap();
    old.execute(
        "DROP TABLE part; DROP TABLE id_gap; DELETE FROM _sqlx_migrations WHERE version >= 4;
         DROP TABLE audit_log; DROP TABLE audit_ends; DROP TABLE idempotency_key;
         DROP TABLE api_token; DROP INDEX account_by_status;
         DROP TABLE push_target; DROP TABLE follower; DROP TABLE follower_retry;
         DROP TABLE subscription; DROP TABLE delivery; DROP TABLE announcement;
         DROP TABLE incoming_hook; DROP TABLE change_log; DROP TABLE ready_file;
         DROP TRIGGER group_made; DROP TRIGGER group_changed; DROP TRIGGER person_made;
         DROP TRIGGER person_changed; DROP TRIGGER department_made; DROP TRIGGER department_changed;
         DROP INDEX account_of_bots; ALTER TABLE account DROP COLUMN kind; DROP TABLE discovery_item;
         CREATE TABLE device_token (user INTEGER PRIMARY KEY, type INTEGER NOT NULL,
             token TEXT NOT NULL UNIQUE);
         DELETE FROM meta WHERE name IN ('skipped_ids', 'greatest_group')",
    )
    .await
    .unwrap();
    drop(old);
    for (skip, next) in [(0, 2), (5, 7)] {
        let place = out.path().join(format!("skip-{skip}"));
        let mut again = Restored::new(&file, &place, skip, &[pair(1, 2)]).await;
        assert_eq!(again.send(2, pair(1, 2)).await, next);
    }
}
