//! How the rest of the role reaches the writer.

use std::sync::Arc;

use im_core::{GroupId, UserId};
use im_store::{ChangeNote, GroupRecord, GroupType, MemberChange, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::job::{GroupJob, Job, SendBatch};
use crate::publication::Publication;

/// A group to make. Names, limits and the existence of users are checked by the caller.
#[derive(Debug)]
pub struct CreateGroup {
    /// Its name.
    pub name: String,
    /// Address of its picture; may be empty.
    pub avatar: String,
    /// Whose group it is; may change it. `None`: nobody's.
    pub creator: Option<UserId>,
    /// Whether its members may add others.
    pub group_type: GroupType,
    /// In any order; repetitions are dropped. The creator is a member only if named.
    pub members: Vec<UserId>,
    /// What is written with it, in its transaction.
    pub note: Option<ChangeNote>,
}

/// Pushes that tell of a member change, made from its result at its place in the log: after every
/// message that the old members got, before every message that the new ones get.
pub type Notice = Box<dyn FnOnce(&MembersChanged) -> Vec<Publication> + Send>;

/// A member change. Permission is decided by the writer: an administrator (`by` = `None`) and the
/// creator may do everything; members of a temporary group may add users and leave themselves.
pub struct ChangeMembers {
    /// Which group.
    pub group: GroupId,
    /// Whether users are added or removed.
    pub change: MemberChange,
    /// In any order; repetitions, members to add and strangers to remove are left out.
    pub users: Vec<UserId>,
    /// Who wants it; `None`: an administrator.
    pub by: Option<UserId>,
    /// What is published with it.
    pub notice: Option<Notice>,
    /// What is written with it, in its transaction; nothing when nobody is really added or removed.
    pub note: Option<ChangeNote>,
}

/// A group after it was made or changed.
#[derive(Clone, Debug)]
pub struct MembersChanged {
    /// The group with its new version.
    pub group: GroupRecord,
    /// Users that were really added or removed, ascending.
    pub changed: Vec<UserId>,
    /// Members now, ascending.
    pub members: Vec<UserId>,
}

/// Why a group was left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupRefusal {
    /// It does not exist (the protocol has no answer to that).
    NoSuchGroup,
    /// The asking user may not do this.
    NotAllowed,
    /// All users to add are members already.
    NothingToAdd,
    /// It would have more members than allowed.
    TooLarge,
}

/// Why the writer did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// It stops.
    #[error("reach the writer, which is stopping")]
    Stopping,
    /// A rule speaks against it.
    #[error("change the group: {0:?}")]
    Refused(GroupRefusal),
    /// The store failed.
    #[error("store the change")]
    Store(#[from] StoreError),
}

/// Handle of the writer; cheap to clone.
#[derive(Clone)]
pub struct WriterHandle {
    jobs: mpsc::UnboundedSender<Job>,
    bounds: Arc<QueueBounds>,
}

/// Weights of what may wait; the channel itself has no bound because these have.
struct QueueBounds {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_messages: u32,
    max_bytes: u32,
}

/// Room in the writer's queue, given back when the job is done.
#[derive(Debug)]
pub(crate) struct Room {
    _messages: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl WriterHandle {
    /// A handle, and a function that tells how many messages wait.
    pub(super) fn new(
        jobs: mpsc::UnboundedSender<Job>,
        max_messages: u32,
        max_bytes: u32,
    ) -> (Self, impl Fn() -> usize + Send + Sync + use<>) {
        let (max_messages, max_bytes) = (max_messages.max(1), max_bytes.max(1));
        let messages = Arc::new(Semaphore::new(permits(max_messages)));
        let bytes = Arc::new(Semaphore::new(permits(max_bytes)));
        let free = Arc::clone(&messages);
        let fill = move || permits(max_messages).saturating_sub(free.available_permits());
        let bounds = QueueBounds {
            messages,
            bytes,
            max_messages,
            max_bytes,
        };
        (
            Self {
                jobs,
                bounds: Arc::new(bounds),
            },
            fill,
        )
    }

    /// Messages and bytes that wait to be stored.
    pub fn waiting(&self) -> (usize, usize) {
        let QueueBounds {
            messages,
            bytes,
            max_messages,
            max_bytes,
        } = &*self.bounds;
        let used =
            |all: u32, free: &Semaphore| permits(all).saturating_sub(free.available_permits());
        (used(*max_messages, messages), used(*max_bytes, bytes))
    }

    /// Hands over sends of one link, in order; waits while the queue is full, in messages and in bytes.
    /// The results go to the batch's sink.
    ///
    /// # Errors
    /// [`WriterError::Stopping`]: nothing of the batch is stored or answered.
    pub async fn send(&self, mut batch: SendBatch) -> Result<(), WriterError> {
        batch.room = Some(self.room(batch.sends.len(), batch.bytes()).await?);
        batch.queued();
        self.jobs
            .send(Job::Sends(batch))
            .map_err(|_| WriterError::Stopping)
    }

    /// The same if there is room now.
    ///
    /// # Errors
    /// The batch, when there is no room, or the writer stops.
    pub fn try_send(&self, mut batch: SendBatch) -> Result<(), SendBatch> {
        let bounds = &self.bounds;
        let (messages, bytes) = (batch.sends.len(), batch.bytes());
        let room = [
            try_take(&bounds.messages, messages, bounds.max_messages),
            try_take(&bounds.bytes, bytes, bounds.max_bytes),
        ];
        let [Some(messages), Some(bytes)] = room else {
            return Err(batch);
        };
        batch.room = Some(Room {
            _messages: messages,
            _bytes: bytes,
        });
        batch.queued();
        match self.jobs.send(Job::Sends(batch)) {
            Err(mpsc::error::SendError(Job::Sends(batch))) => Err(batch),
            _ => Ok(()),
        }
    }

    /// Makes a group; waits while the queue is full.
    ///
    /// # Errors
    /// The writer stops, a rule speaks against it, or the store fails.
    pub async fn create_group(&self, group: CreateGroup) -> Result<MembersChanged, WriterError> {
        self.group_job(GroupJob::Create(group)).await
    }

    /// Changes the members of a group; waits while the queue is full.
    ///
    /// # Errors
    /// The writer stops, a rule speaks against it, or the store fails.
    pub async fn change_members(
        &self,
        change: ChangeMembers,
    ) -> Result<MembersChanged, WriterError> {
        self.group_job(GroupJob::Change(change)).await
    }

    async fn group_job(&self, job: GroupJob) -> Result<MembersChanged, WriterError> {
        let room = self.room(1, 0).await?;
        let (reply, result) = oneshot::channel();
        self.jobs
            .send(Job::Group {
                job: Box::new(job),
                reply,
                _room: room,
            })
            .map_err(|_| WriterError::Stopping)?;
        result.await.map_err(|_| WriterError::Stopping)?
    }

    /// Waits until the writer has ended: it takes nothing, and answers nothing any more.
    pub async fn ended(&self) {
        self.jobs.closed().await;
    }

    async fn room(&self, messages: usize, bytes: usize) -> Result<Room, WriterError> {
        let bounds = &self.bounds;
        Ok(Room {
            _messages: take(&bounds.messages, messages, bounds.max_messages).await?,
            _bytes: take(&bounds.bytes, bytes, bounds.max_bytes).await?,
        })
    }
}

/// Takes `amount` of a semaphore of `max`; more than there is at all means all of it.
async fn take(
    semaphore: &Arc<Semaphore>,
    amount: usize,
    max: u32,
) -> Result<OwnedSemaphorePermit, WriterError> {
    let amount = u32::try_from(amount).unwrap_or(u32::MAX).min(max);
    let taken = Arc::clone(semaphore).acquire_many_owned(amount).await;
    taken.map_err(|_| WriterError::Stopping)
}

fn try_take(semaphore: &Arc<Semaphore>, amount: usize, max: u32) -> Option<OwnedSemaphorePermit> {
    let amount = u32::try_from(amount).unwrap_or(u32::MAX).min(max);
    Arc::clone(semaphore).try_acquire_many_owned(amount).ok()
}

fn permits(amount: u32) -> usize {
    usize::try_from(amount)
        .unwrap_or(usize::MAX)
        .min(Semaphore::MAX_PERMITS)
}
