//! Announcements: sends what administrators make, one after the other, by steps of a few people.
//!
//! Each step goes through the writer as sends of a msg server do, in one job beside theirs, and is stored when
//! all of its messages are. A step that was cut short, by a kill or a store that failed, is made again: who got
//! its message then is found in the log behind the position at which the step began, however long ago that was,
//! so that nobody gets it twice and nobody is left out.
//!
//! *Invariants*
//! - One step of one announcement is under way, of [`STEP`] people; then its rate is waited for.
//! - The message of an announcement for a person has one retry key, whoever sends it and whenever.

mod metrics;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use im_core::time::UnixSeconds;
use im_core::{Chain, Conversation, Peer, RetryKey, UserId};
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_proto_rpc::v1::send_done::Outcome;
use im_store::{AnnouncementRow, AnnouncementStep, StoreError};
use im_writer::{Context, RejectReason, SendRules, WriterError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::metrics::AnnounceMetrics;
use crate::sends;

/// People of one step.
const STEP: u32 = 32;

/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// `IM.BaseDefine.MsgType` of a text for one person.
const TEXT: u32 = 0x01;

const MESSAGE_IDS: &str = "imcluster db-proxy ids of announcements' messages 2026-11";

/// Sends announcements; clones share what wakes it.
#[derive(Clone)]
pub(crate) struct Announcer {
    context: Context,
    rules: SendRules,
    wake: Arc<Notify>,
    metrics: AnnounceMetrics,
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("read or store an announcement")]
    Store(#[from] StoreError),
    #[error("hand its messages to the writer")]
    Writer(#[from] WriterError),
    #[error("store all of its messages in time")]
    Late,
    #[error("find room in the store")]
    NoRoom,
    #[error("send a message that can be stored: {0:?}")]
    Never(RejectReason),
}

/// What came of the messages of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    sent: u32,
    refused: u32,
    /// Where the log ended with the last one; the start of the log when there is none.
    through: CommitSeq,
}

impl Announcer {
    pub(crate) fn new(context: &Context, metrics: AnnounceMetrics) -> Self {
        Self {
            rules: SendRules::from(&context.config.writer),
            context: context.clone(),
            wake: Arc::default(),
            metrics,
        }
    }

    /// There is one more.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Sends until `stop`; what is under way then goes on at the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.send_all()).await;
    }

    async fn send_all(&self) {
        loop {
            let sent = self.send_one().await;
            self.metrics.running(false);
            match sent {
                Ok(true) => {}
                Ok(false) => self.wake.notified().await,
                Err(error) => {
                    self.metrics.failed();
                    warn!(error = %Chain(&error), "an announcement waits");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Sends the oldest one that is open, until it ends; whether there was one.
    async fn send_one(&self) -> Result<bool, StepError> {
        let store = &self.context.store;
        let Some(row) = store.begin_announcement().await? else {
            return Ok(false);
        };
        self.metrics.running(true);
        info!(
            announcement = row.id,
            people = row.total,
            behind = row.reached,
            "an announcement is sent"
        );
        let mut next = Some((row.reached, row.position));
        // Of the first step it is not known whether it was made before.
        let mut is_known = false;
        while let Some((reached, position)) = next {
            let begun = Instant::now();
            let step = match self.step(&row, reached, position, is_known).await {
                Err(StepError::Never(reason)) => {
                    self.give_up(&row, reason).await?;
                    return Ok(true);
                }
                step => step?,
            };
            is_known = true;
            let is_open = store.step_announcement(&step).await?;
            self.metrics.step(&step);
            next = is_open.then_some((step.reached, step.position));
            let rate = self.context.config.administration.announcement_rate;
            let share = Duration::from_secs(1) / rate.max(1);
            sleep_until(begun + share * step.sent.saturating_add(step.refused)).await;
        }
        let ended = store.announcement(row.id).await?;
        info!(
            announcement = row.id,
            sent = ended.map_or(0, |row| row.sent),
            "an announcement has ended"
        );
        Ok(true)
    }

    /// Ends an announcement of which no more can ever be sent, so that later ones have their turn.
    async fn give_up(&self, row: &AnnouncementRow, reason: RejectReason) -> Result<(), StepError> {
        let why = match reason {
            RejectReason::BodyTooLarge => {
                "its text is longer than a message may be (db_proxy.writer.max_body)".to_owned()
            }
            other => format!("its messages are refused: {other:?}"),
        };
        warn!(announcement = row.id, why, "an announcement has failed");
        self.metrics.failed();
        let store = &self.context.store;
        store
            .fail_announcement(row.id, &why, UnixSeconds::now())
            .await?;
        Ok(())
    }

    /// Sends to those whose turn it is.
    async fn step(
        &self,
        row: &AnnouncementRow,
        after: u32,
        position: CommitSeq,
        is_known: bool,
    ) -> Result<AnnouncementStep, StepError> {
        let store = &self.context.store;
        if !self.context.space.admits(row.announcement.body.len()) {
            return Err(StepError::NoRoom);
        }
        let people = store.announcement_people(row.id, after, STEP).await?;
        let is_last = people.len() < usize::try_from(STEP).unwrap_or(usize::MAX);
        let reached = people.last().map_or(after, |user| user.get());
        let done = self.send(row, &people, position, is_known).await?;
        Ok(AnnouncementStep {
            id: row.id,
            after,
            reached,
            position: position.max(done.through),
            sent: done.sent,
            refused: done.refused,
            ended: is_last.then(UnixSeconds::now),
        })
    }

    /// Stores the message for each of these people who have not got it yet.
    async fn send(
        &self,
        row: &AnnouncementRow,
        people: &[UserId],
        position: CommitSeq,
        is_known: bool,
    ) -> Result<Sent, StepError> {
        let has_it = if is_known {
            HashSet::new()
        } else {
            self.who_has_it(row, people, position).await?
        };
        let mut sends = Vec::with_capacity(people.len());
        for user in people.iter().filter(|user| !has_it.contains(user)) {
            let send = v1::Send {
                from: row.announcement.sender.get(),
                to: user.get(),
                msg_type: TEXT,
                data: row.announcement.body.clone(),
                client_msg_id: message_id(row, *user).to_vec().into(),
                ..v1::Send::default()
            };
            sends.push(self.rules.admit(0, send).map_err(StepError::Never)?);
        }
        let done = sends::store(&self.context.writer, sends).await?;
        let mut sent = Sent {
            sent: u32::try_from(has_it.len()).unwrap_or(u32::MAX),
            refused: 0,
            through: CommitSeq::START,
        };
        for done in done {
            match done.outcome() {
                Outcome::Stored | Outcome::Repeated => sent.sent += 1,
                Outcome::Refused => sent.refused += 1,
                Outcome::Failed => return Err(StepError::Late),
            }
            sent.through = sent.through.max(CommitSeq::from_wire(done.seq));
        }
        Ok(sent)
    }

    /// Who of these people got the message in a step that was cut short.
    async fn who_has_it(
        &self,
        row: &AnnouncementRow,
        people: &[UserId],
        position: CommitSeq,
    ) -> Result<HashSet<UserId>, StepError> {
        let sender = row.announcement.sender;
        let key = |user: &UserId| {
            let conversation = Conversation::of(sender, Peer::User(*user))?;
            let id = message_id(row, *user);
            Some((RetryKey::of_client_id(sender, conversation, &id), *user))
        };
        let keys: Vec<(RetryKey, UserId)> = people.iter().filter_map(key).collect();
        let wanted: Vec<RetryKey> = keys.iter().map(|(key, _)| *key).collect();
        let store = &self.context.store;
        let found = store.keys_behind(sender, position, &wanted).await?;
        let found: HashSet<RetryKey> = found.into_iter().collect();
        let has_it = keys.into_iter().filter(|(key, _)| found.contains(key));
        Ok(has_it.map(|(_, user)| user).collect())
    }
}

/// What the message for a person is recognised by. The time tells announcements apart that have the same number
/// after a backup was restored.
fn message_id(row: &AnnouncementRow, user: UserId) -> [u8; 16] {
    let mut hash = blake3::Hasher::new_derive_key(MESSAGE_IDS);
    hash.update(&row.id.to_be_bytes());
    hash.update(&row.announcement.created.get().to_be_bytes());
    hash.update(&user.get().to_be_bytes());
    let mut id = [0; 16];
    hash.finalize_xof().fill(&mut id);
    id
}
