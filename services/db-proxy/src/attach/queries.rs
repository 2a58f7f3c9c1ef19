//! Queries and logins of one link.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use im_answers::Cost;
use im_core::shares::Share;
use im_proto_rpc::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::link::Served;
use crate::metrics::Class;
use crate::results::Hold;

/// Stands for an address that is none.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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
            ..Hold::default()
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

    /// Takes a login in. When there are too many, the newest of the network that has most is told to come
    /// again, which may be this one.
    pub(super) fn begin_login(self: &Arc<Self>, tag: u64, call: v1::LoginCall) {
        let lost = CancellationToken::new();
        let Some(shares) = self.login_shares(&call.address, &lost) else {
            let busy = self.turn_away();
            self.push_light(tag, v1::db_result::Result::Login(busy));
            return;
        };
        let token = self.open.begin(tag, None);
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let done = tokio::select! {
                biased;
                () = token.cancelled() => return,
                done = this.shared.logins.login(call) => done,
                () = lost.cancelled() => this.turn_away(),
            };
            if this.open.end(tag) {
                let result = v1::DbResult {
                    tag,
                    result: Some(v1::db_result::Result::Login(done)),
                };
                let hold = Hold {
                    shares,
                    ..Hold::default()
                };
                this.results.push_held(result, hold);
            }
        });
    }

    /// Places for a login among those of this link and those of all, if there are any. Whoever loses a place
    /// for it is told.
    fn login_shares(
        &self,
        address: &str,
        lost: &CancellationToken,
    ) -> Option<Vec<Share<CancellationToken>>> {
        let from = address.parse().unwrap_or(UNKNOWN);
        let rooms = [&self.slots.logins, &self.shared.login_room];
        let mut shares = Vec::with_capacity(rooms.len());
        for room in rooms {
            let (share, loser) = room.enter(from, lost.clone()).ok()?;
            shares.push(share);
            if let Some(loser) = loser {
                loser.cancel();
            }
        }
        Some(shares)
    }

    /// What a login is told that has no place.
    fn turn_away(&self) -> v1::LoginDone {
        self.shared.metrics.turned_away(Class::Login);
        self.shared.logins.busy()
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
