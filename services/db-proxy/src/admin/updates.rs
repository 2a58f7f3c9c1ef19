//! What bots are told of: pages of the log with the messages of others in their conversations, at once or as soon
//! as there is one.
//!
//! *Who waits for whom*: bots read one after the other, so that all of them together use one reader of the store;
//! nobody else waits for them. Who waits for messages has a bell and reads nothing until it rings.

use std::sync::Arc;
use std::time::Duration;

use im_accounts::ACTIVE;
use im_config::AdministrationConfig;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use im_proto_rpc::v1::{ReadUpdatesRequest, UpdateList};
use im_store::{AccountKind, BotPage, BotRead, ReadLimit};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::keys::reason;
use super::messages::record;
use super::metrics::Waiting;
use super::pages::Limits;
use super::{AdminError, AdminService};

/// Messages in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 100,
};

/// The longest that anybody waits.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Reads of one request without a message; who is farther behind asks again from where they are.
const MAX_READS: u32 = 8;

/// Room for bots.
#[derive(Clone, Debug)]
pub(super) struct BotRooms {
    /// Requests that wait or read.
    waiters: Arc<Semaphore>,
    /// One reads at a time.
    reads: Arc<Semaphore>,
    /// Ends who waits.
    stop: CancellationToken,
}

impl BotRooms {
    pub(super) fn new(config: &AdministrationConfig, stop: CancellationToken) -> Self {
        Self {
            waiters: Arc::new(Semaphore::new(config.bot_waiters)),
            reads: Arc::new(Semaphore::new(1)),
            stop,
        }
    }
}

impl AdminService {
    /// Answers a bot.
    pub(super) async fn updates(&self, request: ReadUpdatesRequest) -> Result<UpdateList, Status> {
        let rooms = &self.rooms;
        let Ok(_place) = rooms.waiters.try_acquire() else {
            self.metrics.waiter_refused();
            return Err(Status::resource_exhausted("too many bots wait already"));
        };
        let waiting = self.metrics.waiter();
        let read = self.wait_for_updates(request, &waiting);
        let stopping = || Status::unavailable("the server is stopping");
        let read = rooms.stop.run_until_cancelled(read).await;
        read.ok_or_else(stopping)?
    }

    async fn wait_for_updates(
        &self,
        request: ReadUpdatesRequest,
        waiting: &Waiting,
    ) -> Result<UpdateList, Status> {
        let wait = Duration::from_millis(request.wait_ms.into()).min(MAX_WAIT);
        let deadline = Instant::now() + wait;
        let bot = self.bot_of_token(request.token).await?;
        // From now on it rings for what lies behind the position that is read next.
        let bell = self.publisher.bells().hang(bot);
        let mut end = self.log_at(CommitSeq::default()).await;
        let mut reached = CommitSeq::from_wire(request.after);
        if reached > end {
            let beyond = "the position lies beyond the log: begin without one";
            return Err(Status::out_of_range(beyond));
        }
        let rows = LIMITS.of(request.limit);
        loop {
            let page = self.read_for(bot, reached, end, rows).await?;
            reached = page.reached;
            if !page.entries.is_empty() || reached < end || Instant::now() >= deadline {
                waiting.told(page.entries.len());
                return Ok(told(page));
            }
            let heard = timeout_at(deadline, bell.heard()).await;
            self.bot_of_token(request.token).await?;
            let mut through = CommitSeq::default();
            if let Ok(heard) = heard {
                reached = heard.after.map_or(reached, |after| after.max(reached));
                through = heard.through;
            }
            // In vain or not: the page says what there is.
            end = self.log_at(through).await;
        }
    }

    /// Where the log ends, once that is known and no less than this.
    async fn log_at(&self, least: CommitSeq) -> CommitSeq {
        let mut positions = self.publisher.positions();
        let known = positions.wait_for(|at| at.is_some_and(|at| at >= least));
        known
            .await
            .ok()
            .and_then(|known| *known)
            .unwrap_or_default()
    }

    /// The first messages for a bot, looked for in as many places as one request may look at.
    async fn read_for(
        &self,
        bot: UserId,
        after: CommitSeq,
        through: CommitSeq,
        rows: u32,
    ) -> Result<BotPage, AdminError> {
        let bounds = &self.config.administration;
        let mut page = BotPage {
            entries: Vec::new(),
            reached: after,
        };
        for _ in 0..MAX_READS {
            let turn = self.rooms.reads.acquire().await;
            let read = self.store.read_for_bot(BotRead {
                bot,
                after: page.reached,
                through,
                limit: ReadLimit {
                    rows,
                    bytes: bounds.bot_page.as_usize(),
                },
                places: bounds.bot_places,
            });
            page = read.await?;
            drop(turn);
            if !page.entries.is_empty() || page.reached >= through {
                break;
            }
        }
        Ok(page)
    }

    /// Whose token this is, as long as it is good.
    async fn bot_of_token(&self, id: u32) -> Result<UserId, Status> {
        let ended = |word| reason(Status::unauthenticated("the token is not good"), word);
        let row = self.store.token(id).await.map_err(AdminError::from)?;
        let row = row.ok_or_else(|| ended("token-invalid"))?;
        let bot = row.token.bot.ok_or_else(|| ended("token-invalid"))?;
        if row.revoked.is_some() {
            return Err(ended("token-revoked"));
        }
        if row.token.expires <= UnixSeconds::now() {
            return Err(ended("token-expired"));
        }
        let found = self.store.profiles(&[bot]).await;
        let found = found.map_err(AdminError::from)?.pop();
        let is_good = found.is_some_and(|it| it.kind == AccountKind::Bot && it.status == ACTIVE);
        if is_good {
            Ok(bot)
        } else {
            Err(ended("token-revoked"))
        }
    }
}

fn told(page: BotPage) -> UpdateList {
    let messages = page.entries.into_iter();
    UpdateList {
        messages: messages
            .map(|entry| record(entry.conversation, entry.message))
            .collect(),
        next: page.reached.to_wire(),
    }
}
