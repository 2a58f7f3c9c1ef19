//! Questions for the presence of users: spread over the route servers, answered in one frame.
//!
//! A question may be about everybody. What takes a step for each user is done in slices, on a task of
//! its own unless it is short.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use im_codec::{Command, encode};
use im_core::UserId;
use im_proto_rpc::v1::StatusQuery;
use im_proto_rpc::v1::route_call::Call;
use im_proto_teamtalk::base::{UserStat, UserStatType};
use im_proto_teamtalk::buddy::{ImUsersStatReq, ImUsersStatRsp};
use im_rpc::Ring;
use tokio::task::yield_now;

use super::{Request, file};
use crate::clock::is_due;
use crate::connection::{Appended, Conn};
use crate::gateway::files::{Job, Offer};
use crate::gateway::routes::RouteBound;
use crate::gateway::state::Gateway;
use crate::gateway::statuses::StatusJob;
use crate::ids::LinkId;
use crate::metrics::Refusal;
use crate::requests::Line;

/// What a user asked about costs while a question is open, bytes: the id as asked, for its route
/// server, among those online, and in the answer.
const ID: usize = 24;

/// What a question costs beside its ids, bytes.
const QUESTION: usize = 256;

/// Users worked on before others have their turn.
const SLICE: usize = 1_024;

/// Asks for the presence of the users in the body. Without a route server there is no answer.
pub(super) fn ask(request: &Request<'_>) {
    let gateway = request.gateway;
    let Some(asked) = request.decode::<ImUsersStatReq>() else {
        return;
    };
    let users = asked.user_id_list;
    let count = users.len();
    // As asked: repetitions cost too, until they are left out.
    let bytes = cost(count);
    request.conn.query_sent(bytes);
    gateway.queries.take(bytes);
    let question = Question {
        gateway: Arc::clone(gateway),
        conn: Arc::downgrade(request.conn),
        seq: request.seq,
        bytes,
        line: request.line.take(),
    };
    in_slices(gateway, count, question.spread(users));
}

/// Asks whether the receiver of a file has a PC online. Where nobody can say it counts as offline.
pub(super) fn of_receiver(gateway: &Arc<Gateway>, request: Job, offer: Offer, receiver: UserId) {
    let table = gateway.routes.table();
    let Some(link) = table.owner(receiver) else {
        file::receiver_known(gateway, request, offer, false);
        return;
    };
    let users = vec![receiver.get()];
    let tag = gateway.statuses.open(StatusJob {
        conn: Weak::clone(&request.conn),
        seq: request.seq,
        bytes: request.bytes,
        since: gateway.env.now(),
        users: users.clone(),
        online: Vec::new(),
        waiting: vec![link.id],
        file: Some((request, offer)),
        line: Line::default(),
    });
    let query = Call::Status(StatusQuery { tag, users });
    if !link.offer(query, RouteBound::of(&gateway.env.config)) {
        gateway.env.metrics.refused(Refusal::RouteQueue);
        result(gateway, link.id, tag, &[]);
    }
}

fn cost(users: usize) -> u32 {
    u32::try_from(QUESTION + ID * users).unwrap_or(u32::MAX)
}

/// Does short work at once, and long work on a task of its own. `work` waits for nothing, and gives way
/// after each slice.
fn in_slices(gateway: &Gateway, users: usize, work: impl Future<Output = ()> + Send + 'static) {
    let mut work = Box::pin(work);
    if users > SLICE || work.as_mut().now_or_never().is_none() {
        gateway.env.spawn_client(work);
    }
}

/// A question whose users are not known yet.
struct Question {
    gateway: Arc<Gateway>,
    conn: Weak<Conn>,
    /// Sequence number of the question.
    seq: u16,
    /// What it counts for, bytes.
    bytes: u32,
    line: Line,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.gateway.queries.give_back(self.bytes);
        if let Some(conn) = self.conn.upgrade() {
            conn.query_done(self.bytes);
        }
    }
}

impl Question {
    /// Asks the route servers of these users.
    async fn spread(mut self, users: Vec<u32>) {
        let gateway = &Arc::clone(&self.gateway);
        let users = distinct(users).await;
        if users.len() > gateway.env.config.presence_ids as usize {
            gateway.env.refuse(&mut self.line, Refusal::PresenceIds);
            return;
        }
        let table = gateway.routes.table();
        let links = table.links();
        if links.is_empty() {
            gateway.env.refuse(&mut self.line, Refusal::PeerMissing);
            return;
        }
        let split = by_owner(&users, table.ring(), links.len()).await;
        let Some(conn) = self.conn.upgrade() else {
            return;
        };
        let parts = links
            .iter()
            .zip(split)
            .filter(|(_, users)| !users.is_empty());
        let parts: Vec<_> = parts
            .map(|(link, users)| (Arc::clone(link), users))
            .collect();
        // Counted before it stops to count as asked.
        let bytes = cost(users.len());
        conn.query_sent(bytes);
        gateway.queries.take(bytes);
        let tag = gateway.statuses.open(StatusJob {
            conn: Arc::downgrade(&conn),
            seq: self.seq,
            bytes,
            since: gateway.env.now(),
            users,
            online: Vec::new(),
            file: None,
            line: std::mem::take(&mut self.line),
            waiting: parts.iter().map(|(link, _)| link.id).collect(),
        });
        for (link, users) in parts {
            let query = Call::Status(StatusQuery { tag, users });
            if !link.offer(query, RouteBound::of(&gateway.env.config)) {
                gateway.env.metrics.refused(Refusal::RouteQueue);
                result(gateway, link.id, tag, &[]);
            }
        }
        // Nobody was asked about.
        finish(gateway, tag);
    }
}

/// The users without repetitions, in the order in which they were asked.
async fn distinct(users: Vec<u32>) -> Vec<u32> {
    let mut known = HashSet::new();
    let mut distinct = Vec::new();
    let mut slices = users.chunks(SLICE);
    while let Some(slice) = slices.next() {
        distinct.extend(slice.iter().copied().filter(|user| known.insert(*user)));
        if slices.len() > 0 {
            yield_now().await;
        }
    }
    distinct
}

/// The users of each of so many route servers, in the order of the ring.
async fn by_owner(users: &[u32], ring: &Ring, servers: usize) -> Vec<Vec<u32>> {
    let mut split: Vec<Vec<u32>> = vec![Vec::new(); servers];
    let mut slices = users.chunks(SLICE);
    while let Some(slice) = slices.next() {
        for user in slice {
            let index = UserId::from_wire(*user).and_then(|user| ring.index_of(user));
            if let Some(users) = index.and_then(|index| split.get_mut(index)) {
                users.push(*user);
            }
        }
        if slices.len() > 0 {
            yield_now().await;
        }
    }
    split
}

/// The states of users, in their order, of those that are online according to the route servers.
async fn states(users: &[u32], online: &[Vec<u32>]) -> Vec<UserStat> {
    let mut known: HashSet<u32> = HashSet::new();
    for slice in online.iter().flat_map(|part| part.chunks(SLICE)) {
        known.extend(slice);
        if slice.len() == SLICE {
            yield_now().await;
        }
    }
    let mut states = Vec::with_capacity(users.len());
    let mut slices = users.chunks(SLICE);
    while let Some(slice) = slices.next() {
        states.extend(slice.iter().map(|user| {
            let status = if known.contains(user) {
                UserStatType::UserStatusOnline
            } else {
                UserStatType::UserStatusOffline
            };
            UserStat {
                user_id: *user,
                status: status as i32,
            }
        }));
        if slices.len() > 0 {
            yield_now().await;
        }
    }
    states
}

/// A route server has answered its part.
pub(crate) fn result(gateway: &Arc<Gateway>, link: LinkId, tag: u64, online: &[u32]) {
    gateway.statuses.result(link, tag, online);
    finish(gateway, tag);
}

/// A route link is gone.
pub(crate) fn link_lost(gateway: &Arc<Gateway>, link: LinkId) {
    for tag in gateway.statuses.link_lost(link) {
        finish(gateway, tag);
    }
}

/// Answers what has been open for longer than allowed with what is known.
pub(crate) fn expire(gateway: &Arc<Gateway>, now: u32) {
    let wait = gateway.env.config.presence_timeout.as_millis();
    let wait = u32::try_from(wait).unwrap_or(u32::MAX / 2);
    for tag in gateway
        .statuses
        .expired(|since| is_due(now, since.wrapping_add(wait)))
    {
        gateway.env.metrics.refused(Refusal::PresenceTimeout);
        finish(gateway, tag);
    }
}

/// Answers a question whose parts are all there.
fn finish(gateway: &Arc<Gateway>, tag: u64) {
    let Some(mut job) = gateway.statuses.finish(tag) else {
        return;
    };
    if let Some((request, offer)) = job.file.take() {
        let is_online = job.online.iter().any(|online| !online.is_empty());
        file::receiver_known(gateway, request, offer, is_online);
        return;
    }
    let question = Question {
        gateway: Arc::clone(gateway),
        conn: Weak::clone(&job.conn),
        seq: job.seq,
        bytes: job.bytes,
        line: std::mem::take(&mut job.line),
    };
    in_slices(gateway, job.users.len(), question.answer(job));
}

impl Question {
    /// Answers it with what the route servers have said.
    async fn answer(mut self, job: StatusJob) {
        if self.conn.strong_count() == 0 {
            return;
        }
        let states = states(&job.users, &job.online).await;
        let Some(conn) = self.conn.upgrade() else {
            return;
        };
        let Some(session) = conn.session() else {
            return;
        };
        let answer = ImUsersStatRsp {
            user_id: session.user.get(),
            user_stat_list: states,
            attach_data: None,
        };
        let frame = encode(Command::UsersStatRsp, self.seq, &answer);
        self.line.done();
        let gateway = &self.gateway;
        gateway.count_answer(&conn, frame.len());
        if conn.answer(&gateway.output, frame) == Appended::First {
            conn.flush(&gateway.output);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// How often others had their turn.
    async fn turns<T>(work: impl Future<Output = T>) -> (usize, T) {
        let mut work = pin!(work);
        let mut turns = 0;
        loop {
            if let Poll::Ready(done) = futures::poll!(&mut work) {
                return (turns, done);
            }
            turns += 1;
        }
    }

    #[tokio::test]
    async fn a_question_about_many_users_gives_way_after_each_slice_and_a_short_one_never() {
        let ring = Ring::new(["a", "b"].into_iter());
        for (slices, rest) in [(0, 1), (0, SLICE), (9, 1), (9, SLICE)] {
            let count = u32::try_from(slices * SLICE + rest).unwrap();
            let users: Vec<u32> = (1..=count).collect();
            let (n, kept) = turns(distinct(users.clone())).await;
            assert_eq!((n, &kept), (slices, &users));
            let (n, split) = turns(by_owner(&users, &ring, 2)).await;
            let counts: usize = split.iter().map(Vec::len).sum();
            assert_eq!((n, counts), (slices, users.len()));
            let (n, told) = turns(states(&users, &split)).await;
            assert!(told.iter().all(|state| state.status == 1));
            assert!(n >= slices, "{n}");
            let (n, told) = turns(states(&users, &[])).await;
            assert!(told.iter().all(|state| state.status == 2));
            assert_eq!(n, slices);
        }
    }
}
