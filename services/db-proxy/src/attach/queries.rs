//! Queries and logins of one link.

use std::sync::Arc;

use im_answers::Cost;
use im_proto_rpc::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::link::Served;
use crate::metrics::Class;
use crate::results::Hold;

/// A query that waits or runs.
pub(super) struct QueryCall {
    tag: u64,
    query: v1::Query,
    /// Fires when nobody wants the answer any more.
    token: CancellationToken,
    /// Its place among the open queries, and its bytes.
    place: Vec<OwnedSemaphorePermit>,
}

/// Room for one answer.
struct Room<'a> {
    /// Held until the answer has left.
    bytes: Vec<OwnedSemaphorePermit>,
    /// Held while it is made.
    _running: [SemaphorePermit<'a>; 2],
}

impl Served {
    /// Takes a query in, or leaves it unanswered when there are too many.
    pub(super) fn begin_query(self: &Arc<Self>, tag: u64, query: v1::Query) {
        let slots = &self.slots;
        let bytes = u32::try_from(query.body.len()).unwrap_or(u32::MAX);
        let place = [
            Arc::clone(&slots.queries).try_acquire_owned(),
            Arc::clone(&slots.query_bytes).try_acquire_many_owned(bytes),
        ];
        let [Ok(place), Ok(bytes)] = place else {
            self.shared.metrics.turned_away(Class::Query);
            let failed = v1::Answer {
                outcome: v1::answer::Outcome::Failed.into(),
                ..Default::default()
            };
            self.push_light(tag, v1::db_result::Result::Answer(failed));
            return;
        };
        let session = query.origin;
        let call = QueryCall {
            tag,
            token: self.open.begin(tag, Some(session)),
            query,
            place: vec![place, bytes],
        };
        if let Some(call) = self.sessions.begin(session, tag, call) {
            self.run_queries(call);
        }
    }

    /// Answers a query, and those of its session that may follow, in a task of its own.
    pub(super) fn run_queries(self: &Arc<Self>, first: QueryCall) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut next = Some(first);
            while let Some(call) = next {
                let session = call.query.origin;
                this.answer(call).await;
                next = this.sessions.done(session);
            }
        });
    }

    async fn answer(&self, call: QueryCall) {
        let QueryCall {
            tag,
            query,
            token,
            place: mut permits,
        } = call;
        let (session, takes_parts) = (query.origin, query.takes_parts);
        let cost = self.shared.answers.cost(&query);
        let Some(Some(room)) = token.run_until_cancelled(self.room(cost)).await else {
            return;
        };
        let answer = {
            let _running = self.shared.metrics.query();
            let answer = self.shared.answers.answer(query);
            if cost.changes {
                answer.await
            } else {
                match token.run_until_cancelled(answer).await {
                    Some(answer) => answer,
                    None => return,
                }
            }
        };
        if !self.open.end(tag) {
            // Withdrawn meanwhile.
            return;
        }
        let bytes = answer.weight();
        permits.extend(room.bytes.into_iter().map(|held| trimmed(held, bytes)));
        self.sessions.hold(session, bytes);
        let hold = Hold {
            permits,
            session: Some((session, bytes)),
        };
        if takes_parts {
            let part = self.shared.config().answer_part_bytes.as_usize();
            self.results.push_answer(tag, answer, hold, part);
            return;
        }
        let result = v1::DbResult {
            tag,
            result: Some(v1::db_result::Result::Answer(answer.whole())),
        };
        self.results.push_held(result, hold);
    }

    /// Waits for room: for the bytes first, so that who waits for them keeps nobody from running; the
    /// link's own before those of all, so that a link that waits holds nothing of the others'.
    async fn room(&self, cost: Cost) -> Option<Room<'_>> {
        let shared = &self.shared;
        let config = shared.config();
        let bytes = if cost.large {
            let most = config.large_answer_bytes.as_usize();
            vec![take(&shared.large_answer_bytes, cost.bytes, most).await?]
        } else {
            let most = config.answer_bytes_per_link.min(config.answer_bytes);
            let bytes = cost.bytes.min(most.as_usize());
            vec![
                take(&self.slots.answer_bytes, bytes, bytes).await?,
                take(&shared.answer_bytes, bytes, bytes).await?,
            ]
        };
        shared.show_answer_bytes();
        let own = self.slots.running.acquire().await.ok()?;
        let all = shared.query_room.acquire().await.ok()?;
        Some(Room {
            bytes,
            _running: [own, all],
        })
    }

    /// Takes a login in, or tells it to come again when there are too many.
    pub(super) fn begin_login(self: &Arc<Self>, tag: u64, call: v1::LoginCall) {
        let place = [
            Arc::clone(&self.slots.logins).try_acquire_owned(),
            Arc::clone(&self.shared.login_room).try_acquire_owned(),
        ];
        let [Ok(own), Ok(all)] = place else {
            self.shared.metrics.turned_away(Class::Login);
            let busy = self.shared.logins.busy();
            self.push_light(tag, v1::db_result::Result::Login(busy));
            return;
        };
        let token = self.open.begin(tag, None);
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let login = this.shared.logins.login(call);
            let Some(done) = token.run_until_cancelled(login).await else {
                return;
            };
            if this.open.end(tag) {
                let result = v1::DbResult {
                    tag,
                    result: Some(v1::db_result::Result::Login(done)),
                };
                let hold = Hold {
                    permits: vec![own, all],
                    session: None,
                };
                this.results.push_held(result, hold);
            }
        });
    }

    /// Ends a call whose caller has gone. Its result is not needed; what is on its way already may still
    /// leave.
    pub(super) fn withdraw(self: &Arc<Self>, tag: u64) {
        let Some(call) = self.open.withdraw(tag) else {
            if let Some(hold) = self.results.withdraw(tag) {
                self.give_back(Some(vec![hold]));
                self.open.remove(1);
            }
            return;
        };
        let class = match call.session {
            Some(session) => {
                drop(self.sessions.withdraw(session, tag));
                Class::Query
            }
            None => Class::Login,
        };
        call.token.cancel();
        self.open.remove(1);
        self.shared.metrics.withdrawn(class);
    }
}

/// Waits for `amount` of a semaphore that has at most `most`. `None` never happens while it is open.
async fn take(
    semaphore: &Arc<Semaphore>,
    amount: usize,
    most: usize,
) -> Option<OwnedSemaphorePermit> {
    let amount = u32::try_from(amount.min(most)).unwrap_or(u32::MAX);
    Arc::clone(semaphore).acquire_many_owned(amount).await.ok()
}

/// What is left of a permit when more is not needed.
fn trimmed(mut permit: OwnedSemaphorePermit, needed: usize) -> OwnedSemaphorePermit {
    let unused = permit.num_permits().saturating_sub(needed);
    drop(permit.split(unused));
    permit
}
