//! Announcements: one message to many people, sent by steps, each of which is stored.

use async_trait::async_trait;
use bytes::Bytes;
use im_core::time::UnixSeconds;
use im_core::{RetryKey, UserId};
use im_order::CommitSeq;

use crate::StoreError;

/// For whom an announcement is. People who may not log in and its sender are left out, whenever their turn
/// comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    Everybody,
    /// Whoever is in one of these departments, by id.
    Departments(Vec<u32>),
    /// These people.
    People(Vec<UserId>),
}

/// An announcement to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAnnouncement {
    /// Who says it.
    pub sender: UserId,
    /// Opaque body of the message.
    pub body: Bytes,
    /// To whom.
    pub audience: Audience,
    /// When it was made.
    pub created: UnixSeconds,
    /// Who made it.
    pub made_by: String,
}

/// How far an announcement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnnouncementState {
    /// Others are sent before it.
    Waiting = 0,
    /// It is being sent.
    Running = 1,
    /// Everybody has it, or was refused.
    Done = 2,
    /// It was cancelled: whoever had it by then keeps it.
    Cancelled = 3,
    /// Its message can never be stored: whoever had it by then keeps it.
    Failed = 4,
}

impl AnnouncementState {
    /// From its number.
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Waiting),
            1 => Some(Self::Running),
            2 => Some(Self::Done),
            3 => Some(Self::Cancelled),
            4 => Some(Self::Failed),
            _ => None,
        }
    }

    /// Whether more of it is to be sent.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// An announcement as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncementRow {
    /// Id from 1, never given twice.
    pub id: u32,
    /// What was kept; the body is empty where it is not asked for, and once it has ended.
    pub announcement: NewAnnouncement,
    /// How far it is.
    pub state: AnnouncementState,
    /// Everybody up to this user id has had their turn.
    pub reached: u32,
    /// Where the log ended before the step behind `reached`: no message of that step lies before.
    pub position: CommitSeq,
    /// For how many people it was when it was made.
    pub total: u32,
    /// How many have it.
    pub sent: u32,
    /// To how many it could not be sent.
    pub refused: u32,
    /// When it was done, cancelled or failed.
    pub ended: Option<UnixSeconds>,
    /// Why it has failed; otherwise empty.
    pub failure: String,
}

/// What was done for the people from `after` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncementStep {
    /// Which announcement.
    pub id: u32,
    /// [`AnnouncementRow::reached`] before it.
    pub after: u32,
    /// The same behind it.
    pub reached: u32,
    /// Where the log ends behind it.
    pub position: CommitSeq,
    /// Messages in it.
    pub sent: u32,
    /// People to whom it could not be sent.
    pub refused: u32,
    /// When the announcement was done with it.
    pub ended: Option<UnixSeconds>,
}

/// How many announcements there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncementBounds {
    /// Of those that wait or are being sent.
    pub open: u32,
    /// Of those that have ended; the oldest beyond them go.
    pub ended: u32,
}

/// Announcements.
#[async_trait]
pub trait AnnouncementStore: Send + Sync + 'static {
    /// How many people an audience has now, without the sender.
    ///
    /// # Errors
    /// As every call.
    async fn count_audience(&self, sender: UserId, audience: &Audience) -> Result<u32, StoreError>;

    /// Keeps an announcement behind those that wait; its id.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are as many open ones as there may be, otherwise as every call.
    async fn create_announcement(
        &self,
        announcement: &NewAnnouncement,
        bounds: AnnouncementBounds,
    ) -> Result<u32, StoreError>;

    /// All of them, the newest first, without their bodies and the ids of their audiences: as many as creations
    /// allowed.
    ///
    /// # Errors
    /// As every call.
    async fn announcements(&self) -> Result<Vec<AnnouncementRow>, StoreError>;

    /// One of them, without its body.
    ///
    /// # Errors
    /// As every call.
    async fn announcement(&self, id: u32) -> Result<Option<AnnouncementRow>, StoreError>;

    /// The oldest one that is open, with its body. One that waited runs from now on, and its position is the end
    /// of the log.
    ///
    /// # Errors
    /// As every call.
    async fn begin_announcement(&self) -> Result<Option<AnnouncementRow>, StoreError>;

    /// Whose turn it is: people of its audience with greater ids than `after`, ascending, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn announcement_people(
        &self,
        id: u32,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserId>, StoreError>;

    /// Which of these keys messages of this sender have that were stored behind a position. Costs a look at each
    /// message behind it.
    ///
    /// # Errors
    /// As every call.
    async fn keys_behind(
        &self,
        sender: UserId,
        position: CommitSeq,
        keys: &[RetryKey],
    ) -> Result<Vec<RetryKey>, StoreError>;

    /// Stores a step; `false` when nothing more of the announcement is to be sent: it has ended with this step,
    /// or was cancelled before, and the step is counted all the same.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when `after` is not how far it was, [`StoreError::NotFound`], otherwise as every
    /// call.
    async fn step_announcement(&self, step: &AnnouncementStep) -> Result<bool, StoreError>;

    /// Cancels an announcement; `false` when it had ended before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn cancel_announcement(&self, id: u32, now: UnixSeconds) -> Result<bool, StoreError>;

    /// Ends an announcement whose message can never be stored; `false` when it had ended before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn fail_announcement(
        &self,
        id: u32,
        why: &str,
        now: UnixSeconds,
    ) -> Result<bool, StoreError>;
}
