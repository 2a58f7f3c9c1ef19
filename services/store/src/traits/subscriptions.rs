//! Subscriptions: receivers that are told of what is stored, and what each was told.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};

use crate::StoreError;

/// A subscription to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// Where requests go.
    pub url: String,
    /// What for.
    pub label: String,
    /// Kinds of events; words without spaces.
    pub kinds: Vec<String>,
    /// Only of these groups; empty = of all, and of pairs of people.
    pub groups: Vec<u32>,
    /// Only of these senders; empty = of all.
    pub senders: Vec<u32>,
    /// The bot whose subscription it is: only about what others write to it, and in its groups.
    pub bot: Option<UserId>,
    /// What signs; a word without spaces.
    pub secret: String,
    /// When it was made.
    pub created: UnixSeconds,
    /// Who made it.
    pub made_by: String,
}

/// A subscription as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Id from 1, never given twice.
    pub id: u32,
    /// What was kept.
    pub subscription: NewSubscription,
    /// The secret before, and until when it signs too.
    pub former: Option<(String, UnixSeconds)>,
    /// In the log of messages.
    pub messages: LogPlace,
    /// In the log of changes.
    pub changes: LogPlace,
}

/// How far a subscription has come in one of the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// Of its follower: another one when it was rewound or has another secret.
    pub epoch: u64,
    /// Everything up to here was delivered or given up.
    pub position: CommitSeq,
}

/// Which log a delivery is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SubscribedLog {
    /// That of messages.
    #[default]
    Messages = 0,
    /// That of changes.
    Changes = 1,
}

impl SubscribedLog {
    /// From its number.
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Messages),
            1 => Some(Self::Changes),
            _ => None,
        }
    }

    /// Name of the follower whose position is that of a subscription in this log.
    pub fn follower(self, id: u32) -> String {
        match self {
            Self::Messages => format!("subscription-{id}"),
            Self::Changes => format!("subscription-{id}-changes"),
        }
    }

    /// The log that a follower of this name reads.
    pub fn of_follower(name: &str) -> Self {
        if name.starts_with("subscription-") && name.ends_with("-changes") {
            Self::Changes
        } else {
            Self::Messages
        }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It is being delivered.
    Open = 0,
    /// The receiver has taken it.
    Delivered = 1,
    /// It was given up.
    Dead = 2,
    /// It is to be delivered again.
    Again = 3,
}

impl DeliveryState {
    /// From its number.
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Open),
            1 => Some(Self::Delivered),
            2 => Some(Self::Dead),
            3 => Some(Self::Again),
            _ => None,
        }
    }
}

/// A part of the log as one receiver was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Id from 1, never given twice; 0 for a new one.
    pub id: u64,
    /// Whose.
    pub subscription: u32,
    /// Of which log.
    pub log: SubscribedLog,
    /// What became of it.
    pub state: DeliveryState,
    /// Behind this position,
    pub after: CommitSeq,
    /// up to this one.
    pub through: CommitSeq,
    /// Events in it.
    pub events: u32,
    /// How often it was tried.
    pub tries: u32,
    /// When it was tried first; the moment at which it was stored before that.
    pub first: UnixSeconds,
    /// When it was tried last.
    pub last: UnixSeconds,
    /// HTTP status of the last answer; 0 for none.
    pub status: u32,
    /// What the receiver said last, or why there is no answer.
    pub answer: String,
}

/// What whoever delivers stores in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionStep {
    /// Whose.
    pub subscription: u32,
    /// In which log.
    pub log: SubscribedLog,
    /// Epoch of the subscription in it, as it was listed.
    pub epoch: u64,
    /// Its new position; `None` leaves it.
    pub position: Option<CommitSeq>,
    /// Rows to add (id 0) or to replace.
    pub deliveries: Vec<DeliveryRow>,
    /// Delivered ones that stay, and as many that were given up; the oldest beyond them go.
    pub keep: u32,
}

/// Who holds the name under which deliveries are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding<'a> {
    /// The name.
    pub name: &'a str,
    /// Epoch of the hold.
    pub epoch: u64,
    /// Of which partition.
    pub partition: Partition,
}

/// Subscriptions and deliveries.
#[async_trait]
pub trait SubscriptionStore: Send + Sync + 'static {
    /// Keeps a subscription that begins behind `start`, and at the end of the log of changes; its id.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are `most` already, otherwise as every call.
    async fn create_subscription(
        &self,
        subscription: &NewSubscription,
        partition: Partition,
        start: CommitSeq,
        most: u32,
    ) -> Result<u32, StoreError>;

    /// All of them by id: as many as creations allowed.
    ///
    /// # Errors
    /// As every call.
    async fn subscriptions(&self, partition: Partition)
    -> Result<Vec<SubscriptionRow>, StoreError>;

    /// Takes a new secret; the one before signs too until then. The next epoch of the subscription begins.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn set_subscription_secret(
        &self,
        id: u32,
        secret: &str,
        former_until: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Forgets a subscription with its deliveries and its position.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn remove_subscription(&self, id: u32) -> Result<(), StoreError>;

    /// Stores a step whole or not at all; the ids of the rows that were added, in their order. `None`, and
    /// nothing is stored, when the name is held by somebody else or another epoch of the subscription has begun.
    ///
    /// # Errors
    /// As every call.
    async fn step_subscription(
        &self,
        holding: Holding<'_>,
        step: &SubscriptionStep,
    ) -> Result<Option<Vec<u64>>, StoreError>;

    /// Deliveries of a subscription, newest first: those with smaller ids than `before`, in this state or in
    /// any, at most `limit`.
    ///
    /// # Errors
    /// As every call.
    async fn deliveries(
        &self,
        subscription: u32,
        state: Option<DeliveryState>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// What is being delivered, and of what is to be delivered again the oldest of each subscription; by id.
    ///
    /// # Errors
    /// As every call.
    async fn deliveries_to_make(&self) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Marks a delivery that ended as one to be made again; `false` when it is being delivered.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn deliver_again(&self, subscription: u32, delivery: u64) -> Result<bool, StoreError>;
}
