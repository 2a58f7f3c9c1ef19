//! Durable facts behind traits, with one implementation: SQLite.
//!
//! `db-proxy` is the only role that uses this crate. Every write takes effect in one transaction
//! and is on disk when the call returns (`synchronous=FULL`). The log has one owner at a
//! time, who chooses positions ([`im_order::CommitSeq`]) and the ids inside conversations: it takes the log
//! ([`TenureStore::take`]), and every transaction that adds to the log or changes groups and members
//! carries its [`im_order::Fence`]. Whoever was owner before gets [`StoreError::Fenced`], and nothing of
//! theirs is stored.

mod audit_chain;
mod backup;
mod contents;
#[cfg(feature = "contract")]
pub mod contract;
mod data_dir;
mod error;
mod import_plan;
mod place;
mod prepared;
mod private_file;
mod schema;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod traits;

pub use audit_chain::{BadAuditRow, audit_hash, follow_audit};
pub use backup::{BackupCopy, BackupError, SKIPPED_IDS, backup, restore, restore_stream, spool};
pub use contents::{
    CONVERSATION, COUNTERS, Column, ColumnKind, Content, ContentPage, Gathering, MESSAGES,
    PAGE_BYTES, PAGE_ROWS, SECTIONS, Section, Value,
};
pub use data_dir::{DataDir, DataDirError};
pub use error::StoreError;
pub use import_plan::{Departments, ImportPlan, ImportedAccount, KnownIds, NewDepartment};
pub use place::{OpenError, StoreKind, StorePlace, StoreUrlError, store_at, store_in};
pub use prepared::{Prepared, Touched};
pub use private_file::make_private_file;
pub use schema::{SchemaState, SchemaStep, tables_named};
pub use sqlite::{ChangeCounts, Durability, LogUse, Maintenance, SqliteOptions, SqliteStore};
pub use traits::accounts::{
    AccountKind, AccountStore, Credentials, DirectoryEntry, DirectoryPage, EVERY_ADDRESS,
    FailurePage, FailureQuery, LoginFailures, MAC_BYTES, NewFailure, Remembered, UserProfile,
    VerifiedLogin,
};
pub use traits::administration::{AdministrationStore, ListPage, PeopleQuery};
pub use traits::announcements::{
    AnnouncementBounds, AnnouncementRow, AnnouncementState, AnnouncementStep, AnnouncementStore,
    Audience, NewAnnouncement,
};
pub use traits::audit::{
    AuditEnds, AuditNote, AuditOutcome, AuditPage, AuditPlace, AuditQuery, AuditRetention,
    AuditRow, AuditStore, ChangeNote, HASH_BYTES, KeptAnswer, KeyNote,
};
pub use traits::bots::{BotBounds, BotPage, BotRead, BotShown, BotStore, MadeBot, NewBot};
pub use traits::changes::{ChangeLogStore, ChangeRow, Changed, ReadyFile};
pub use traits::contents::ContentStore;
pub use traits::devices::{DeviceStore, PushTarget, Told};
pub use traits::directory::{
    DepartmentRecord, DirectoryImport, DirectoryStore, FieldChange, ImportChange, ImportOutcome,
    ImportedUser,
};
pub use traits::discovery_items::{DiscoveryItem, DiscoveryItemRow, DiscoveryItemStore};
pub use traits::followers::{
    FollowerHold, FollowerRetry, FollowerRow, FollowerStep, FollowerStore,
};
pub use traits::groups::{
    GroupChange, GroupMember, GroupRecord, GroupStore, GroupType, MemberChange, NewGroup,
};
pub use traits::incoming::{IncomingHookRow, IncomingHookStore, NewIncomingHook};
pub use traits::life::{StoreLife, StoreUsage};
pub use traits::messages::{
    AppendBatch, ConversationRow, ConversationState, LogEntry, MESSAGE_BYTES, MessageRow,
    MessageStore, NewConversation, ReadLimit, RecentKey, Room, StoredMessage,
};
pub use traits::meters::{MeterStore, StoredLevel};
pub use traits::retention::{
    Expired, RetentionKind, RetentionStep, RetentionStore, expired_through,
};
pub use traits::roster::{RosterStore, Start};
pub use traits::sessions::{MemberView, Preview, ReadPosition, SessionStore, Unread};
pub use traits::subscriptions::{
    DeliveryRow, DeliveryState, Holding, LogPlace, NewSubscription, SubscribedLog, SubscriptionRow,
    SubscriptionStep, SubscriptionStore,
};
pub use traits::tenures::TenureStore;
pub use traits::tokens::{NewToken, TokenRow, TokenStore};
pub use traits::transfer::{
    TransferBatch, TransferState, TransferStore, TransferredAccount, TransferredGroup,
    TransferredMember, TransferredMessages, TransferredView,
};

/// Everything a db-proxy needs; implemented by whatever implements all parts.
pub trait Store:
    AccountStore
    + AdministrationStore
    + AnnouncementStore
    + AuditStore
    + BotStore
    + ChangeLogStore
    + ContentStore
    + DirectoryStore
    + DiscoveryItemStore
    + MessageStore
    + SessionStore
    + GroupStore
    + IncomingHookStore
    + DeviceStore
    + FollowerStore
    + MeterStore
    + RetentionStore
    + SubscriptionStore
    + TenureStore
    + TokenStore
    + TransferStore
{
}

impl<T> Store for T where
    T: AccountStore
        + AdministrationStore
        + AnnouncementStore
        + AuditStore
        + BotStore
        + ChangeLogStore
        + ContentStore
        + DirectoryStore
        + DiscoveryItemStore
        + MessageStore
        + SessionStore
        + GroupStore
        + IncomingHookStore
        + DeviceStore
        + FollowerStore
        + MeterStore
        + RetentionStore
        + SubscriptionStore
        + TenureStore
        + TokenStore
        + TransferStore
{
}

/// An open store: what it holds, and its life.
pub trait OpenStore: Store + StoreLife {}

impl<T: Store + StoreLife> OpenStore for T {}
