//! A real store whose writes fail on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{ClientType, Conversation, GroupId, MsgId, RetryKey, UserId};
use im_order::{CommitSeq, Fence, Ownership, Partition};
use im_store::*;
use tokio::sync::mpsc::{Receiver, Sender};

/// Faults to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The store is not reachable at all.
    pub(super) away: AtomicBool,
    /// So many appends fail with nothing stored.
    pub(super) appends: AtomicUsize,
    /// So many appends are stored and report a failure all the same.
    pub(super) answers: AtomicUsize,
    /// So many appends find that the writer is wrong about the store.
    pub(super) outdated: AtomicUsize,
    /// Appends that were tried.
    pub(super) tried: AtomicUsize,
}

#[derive(Clone)]
pub(super) struct Faulty {
    pub(super) inner: SqliteStore,
    pub(super) faults: Arc<Faults>,
}

fn broken() -> StoreError {
    StoreError::Unavailable("injected".into())
}

impl Faulty {
    fn check(&self) -> Result<(), StoreError> {
        if self.faults.away.load(Ordering::SeqCst) {
            Err(broken())
        } else {
            Ok(())
        }
    }
}

fn next(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

macro_rules! pass_on {
    ($store:ident { $(fn $name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $store for Faulty {
            $(async fn $name(&self, $($arg: $kind),*) -> Result<$answer, StoreError> {
                self.check()?;
                self.inner.$name($($arg),*).await
            })*
        }
    };
}

#[async_trait]
impl MessageStore for Faulty {
    async fn log_end(&self) -> Result<(CommitSeq, ConversationRow), StoreError> {
        self.check()?;
        self.inner.log_end().await
    }

    async fn skipped_ids(&self) -> Result<u32, StoreError> {
        self.check()?;
        self.inner.skipped_ids().await
    }

    async fn conversation_states(
        &self,
        wanted: &[Conversation],
    ) -> Result<Vec<Option<ConversationState>>, StoreError> {
        self.check()?;
        self.inner.conversation_states(wanted).await
    }

    async fn recent_keys(
        &self,
        since: UnixSeconds,
        max_messages: u32,
    ) -> Result<Vec<RecentKey>, StoreError> {
        self.check()?;
        self.inner.recent_keys(since, max_messages).await
    }

    async fn recent_group_senders(
        &self,
        seconds: u32,
        max_messages: u32,
    ) -> Result<Vec<ReadPosition>, StoreError> {
        self.check()?;
        self.inner.recent_group_senders(seconds, max_messages).await
    }

    async fn append(&self, batch: &AppendBatch) -> Result<(), StoreError> {
        self.faults.tried.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        if next(&self.faults.appends) {
            return Err(broken());
        }
        if next(&self.faults.outdated) {
            return Err(StoreError::Outdated);
        }
        self.inner.append(batch).await?;
        if next(&self.faults.answers) {
            Err(broken())
        } else {
            Ok(())
        }
    }

    async fn read_log(
        &self,
        after: CommitSeq,
        limit: ReadLimit,
    ) -> Result<Vec<LogEntry>, StoreError> {
        self.check()?;
        self.inner.read_log(after, limit).await
    }

    async fn history(
        &self,
        conversation: Conversation,
        from: Option<MsgId>,
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.history(conversation, from, oldest, limit).await
    }

    async fn history_after(
        &self,
        conversation: Conversation,
        after: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.history_after(conversation, after, limit).await
    }

    async fn by_ids(
        &self,
        conversation: Conversation,
        ids: &[u32],
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.by_ids(conversation, ids, oldest, limit).await
    }

    async fn room(&self) -> Result<Room, StoreError> {
        self.inner.room().await
    }

    async fn latest_id(&self, conversation: Conversation) -> Result<Option<MsgId>, StoreError> {
        self.inner.latest_id(conversation).await
    }
}

#[async_trait]
impl AuditStore for Faulty {
    fn noting(&self, note: ChangeNote) -> Arc<dyn Store> {
        self.inner.noting(note)
    }

    async fn note(&self, note: &ChangeNote) -> Result<(), StoreError> {
        self.inner.note(note).await
    }

    async fn kept_answer(
        &self,
        scope: &str,
        key: &str,
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        self.inner.kept_answer(scope, key, since, now).await
    }

    async fn list_audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.inner.list_audit(query).await
    }

    async fn read_audit(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, AuditEnds), StoreError> {
        self.inner.read_audit(after, limit).await
    }
}

pass_on!(AccountStore {
    fn credentials(name: &str) -> Option<Credentials>;
    fn profiles(ids: &[UserId]) -> Vec<UserProfile>;
    fn profile_by_name(name: &str) -> Option<UserProfile>;
    fn find_profiles(matching: &str, after: u32, limit: u32) -> Vec<UserProfile>;
    fn set_hash(user: UserId, hash: &str) -> ();
    fn set_status(user: UserId, status: u32, now: UnixSeconds) -> ();
    fn set_signature(user: UserId, text: &str, now: UnixSeconds) -> ();
    fn set_avatar(user: UserId, url: &str, now: UnixSeconds) -> ();
    fn push_shield(user: UserId) -> Option<u32>;
    fn set_push_shield(user: UserId, status: u32) -> bool;
    fn store_logins(logins: &[VerifiedLogin]) -> Vec<bool>;
    fn renew_remembered(users: &[UserId], now: UnixSeconds, before: UnixSeconds) -> ();
    fn login_failures(
        name: &str,
        addresses: &[&str],
        since: UnixSeconds,
        now: UnixSeconds
    ) -> Vec<u32>;
    fn add_login_failure(failure: &NewFailure<'_>) -> Vec<u32>;
    fn clear_login_failures(name: &str, addresses: &[&str]) -> ();
    fn list_login_failures(query: &FailureQuery<'_>) -> FailurePage;
    fn forget_login_failures(name: &str) -> u64;
});
pass_on!(AdministrationStore {
    fn login_names() -> Vec<(UserId, String)>;
    fn rename_account(user: UserId, name: &str, now: UnixSeconds) -> ();
    fn remove_account(user: UserId, name: &str, now: UnixSeconds) -> ();
    fn list_groups(user: Option<UserId>, page: &ListPage) -> Vec<GroupRecord>;
    fn rename_group(group: GroupId, name: &str, now: UnixSeconds) -> ();
    fn set_group_owner(group: GroupId, owner: UserId, now: UnixSeconds) -> ();
    fn department_sizes() -> Vec<(u32, u32)>;
    fn rename_department(department: u32, name: &str, now: UnixSeconds) -> ();
    fn move_department(department: u32, parent: u32, now: UnixSeconds) -> ();
    fn remove_department(department: u32, into: u32, now: UnixSeconds) -> u32;
    fn people_by_name(query: &PeopleQuery) -> Vec<UserProfile>;
    fn group_sizes(groups: &[GroupId]) -> Vec<(GroupId, u32)>;
    fn group_member_names(groups: &[GroupId]) -> Vec<(GroupId, String)>;
    fn group_members_after(group: GroupId, after: u32, limit: u32) -> Vec<UserProfile>;
    fn create_department(path: &[String], now: UnixSeconds) -> u32;
});
pass_on!(AnnouncementStore {
    fn count_audience(sender: UserId, audience: &Audience) -> u32;
    fn create_announcement(announcement: &NewAnnouncement, bounds: AnnouncementBounds) -> u32;
    fn announcements() -> Vec<AnnouncementRow>;
    fn announcement(id: u32) -> Option<AnnouncementRow>;
    fn begin_announcement() -> Option<AnnouncementRow>;
    fn announcement_people(id: u32, after: u32, limit: u32) -> Vec<UserId>;
    fn keys_behind(sender: UserId, position: CommitSeq, keys: &[RetryKey]) -> Vec<RetryKey>;
    fn step_announcement(step: &AnnouncementStep) -> bool;
    fn cancel_announcement(id: u32, now: UnixSeconds) -> bool;
    fn fail_announcement(id: u32, why: &str, now: UnixSeconds) -> bool;
});
pass_on!(IncomingHookStore {
    fn create_incoming_hook(hook: &NewIncomingHook, most: u32) -> u32;
    fn incoming_hooks(before: u32, limit: u32) -> Vec<IncomingHookRow>;
    fn incoming_hook(id: u32) -> Option<IncomingHookRow>;
    fn remove_incoming_hook(id: u32) -> ();
});
pass_on!(ChangeLogStore {
    fn change_log_end() -> CommitSeq;
    fn changes_after(after: CommitSeq, limit: u32) -> Vec<ChangeRow>;
    fn note_ready_file(file: &ReadyFile) -> bool;
    fn trim_changes(since: UnixSeconds, most: u32) -> u64;
});
pass_on!(DirectoryStore {
    fn users_since(stamp: UnixSeconds, limit: u32) -> DirectoryPage;
    fn directory_stamp() -> UnixSeconds;
    fn stamp_before(stamp: UnixSeconds) -> UnixSeconds;
    fn departments_since(stamp: UnixSeconds) -> Vec<DepartmentRecord>;
    fn import(import: &DirectoryImport) -> ImportOutcome;
    fn rehearse_import(import: &DirectoryImport) -> ImportOutcome;
});
pass_on!(SessionStore {
    fn recent_sessions(user: UserId, updated_after: UnixSeconds, limit: Preview) -> Vec<MemberView>;
    fn unread_sessions(user: UserId, positions: &[ReadPosition], limit: Preview) -> Unread;
    fn read_position(user: UserId, conversation: Conversation) -> u32;
    fn store_read_positions(positions: &[ReadPosition]) -> ();
    fn remove_session(user: UserId, conversation: Conversation) -> bool;
    fn related_users(user: UserId, since: UnixSeconds, limit: u32) -> Vec<UserId>;
});
pass_on!(GroupStore {
    fn create_group(fence: Fence, group: &NewGroup) -> GroupId;
    fn change_members(fence: Fence, change: &GroupChange) -> u32;
    fn groups_created_by(user: UserId, kind: GroupType) -> u32;
    fn groups(ids: &[GroupId]) -> Vec<GroupRecord>;
    fn groups_of(user: Option<UserId>) -> Vec<GroupRecord>;
    fn members(group: GroupId) -> Vec<GroupMember>;
    fn set_shield(group: GroupId, user: UserId, shielded: bool) -> bool;
});
pass_on!(TenureStore {
    fn take(partition: Partition) -> Ownership;
    fn ownership(partition: Partition) -> Ownership;
});
pass_on!(MeterStore {
    fn stored_levels() -> Vec<StoredLevel>;
    fn store_levels(levels: &[StoredLevel]) -> ();
});
pass_on!(TokenStore {
    fn create_token(token: &NewToken, since: UnixSeconds, most: u32) -> u32;
    fn tokens(owner: &str, before: u32, limit: u32) -> Vec<TokenRow>;
    fn token(id: u32) -> Option<TokenRow>;
    fn revoke_token(id: u32, now: UnixSeconds) -> ();
    fn note_token_use(id: u32, day: UnixSeconds) -> ();
});
pass_on!(BotStore {
    fn create_bot(bot: &NewBot, token: &NewToken, bounds: BotBounds, now: UnixSeconds) -> MadeBot;
    fn bots(after: &str, limit: u32) -> Vec<UserProfile>;
    fn change_bot(bot: UserId, shown: &BotShown, status: u32, now: UnixSeconds) -> ();
    fn remove_bot(bot: UserId, name: &str, now: UnixSeconds) -> ();
    fn replace_bot_token(
        bot: UserId,
        token: &NewToken,
        former_until: UnixSeconds,
        bounds: BotBounds
    ) -> u32;
    fn read_for_bot(read: BotRead) -> BotPage;
});
pass_on!(DiscoveryItemStore {
    fn create_discovery_item(item: &DiscoveryItem, now: UnixSeconds, most: u32) -> u32;
    fn discovery_items() -> Vec<DiscoveryItemRow>;
    fn discovery_item(id: u32) -> Option<DiscoveryItemRow>;
    fn change_discovery_item(id: u32, item: &DiscoveryItem, now: UnixSeconds) -> ();
    fn remove_discovery_item(id: u32) -> ();
});
pass_on!(DeviceStore {
    fn set_push_target(target: &PushTarget, most: u32) -> ();
    fn clear_push_targets(user: UserId, client_type: ClientType, session: u64) -> ();
    fn drop_push_target(token: &str, session: u64) -> bool;
    fn push_targets(users: &[UserId]) -> Vec<Told>;
});
pass_on!(FollowerStore {
    fn hold_follower(name: &str, partition: Partition, start: CommitSeq) -> FollowerHold;
    fn advance_retries(name: &str, partition: Partition, latest: u64) -> u64;
    fn step_follower(step: &FollowerStep) -> bool;
    fn due_retries(
        name: &str,
        partition: Partition,
        lane: u32,
        until: u64,
        rows: u32
    ) -> Vec<FollowerRetry>;
    fn count_retries(name: &str, partition: Partition) -> u64;
    fn followers(partition: Partition) -> Vec<FollowerRow>;
    fn follower_epoch(name: &str, partition: Partition) -> Option<u64>;
    fn rewind_follower(name: &str, partition: Partition, position: CommitSeq) -> FollowerRow;
});
pass_on!(SubscriptionStore {
    fn create_subscription(
        subscription: &NewSubscription,
        partition: Partition,
        start: CommitSeq,
        most: u32
    ) -> u32;
    fn subscriptions(partition: Partition) -> Vec<SubscriptionRow>;
    fn set_subscription_secret(id: u32, secret: &str, former_until: UnixSeconds) -> ();
    fn remove_subscription(id: u32) -> ();
    fn step_subscription(holding: Holding<'_>, step: &SubscriptionStep) -> Option<Vec<u64>>;
    fn deliveries(
        subscription: u32,
        state: Option<DeliveryState>,
        before: u64,
        limit: u32
    ) -> Vec<DeliveryRow>;
    fn deliveries_to_make() -> Vec<DeliveryRow>;
    fn deliver_again(subscription: u32, delivery: u64) -> bool;
});

pass_on!(TransferStore {
    fn begin_transfer() -> ();
    fn transfer_states(prefix: &str) -> Vec<TransferState>;
    fn transfer(fence: Fence, batch: &TransferBatch) -> ();
    fn transfer_messages(messages: &TransferredMessages) -> ();
});
pass_on!(RetentionStore {
    fn expire_bodies(step: RetentionStep) -> Expired;
});
pass_on!(ContentStore {
    fn read_contents(to: Sender<Content>) -> ();
    fn fill(fence: Fence, from: Receiver<Content>) -> ();
});
