//! Questions for the presence of users: spread over the route servers, answered in one frame.

use std::collections::HashSet;
use std::sync::Arc;

use im_codec::{Command, encode};
use im_core::UserId;
use im_proto_rpc::v1::StatusQuery;
use im_proto_rpc::v1::route_call::Call;
use im_proto_teamtalk::base::{UserStat, UserStatType};
use im_proto_teamtalk::buddy::{ImUsersStatReq, ImUsersStatRsp};

use super::Request;
use crate::clock::is_due;
use crate::connection::Appended;
use crate::gateway::routes::RouteBound;
use crate::gateway::state::Gateway;
use crate::gateway::statuses::StatusJob;
use crate::ids::LinkId;
use crate::metrics::Refusal;

/// What a user asked about costs while a question is open, bytes: the id as asked, for its route
/// server, among those online, and in the answer.
const ID: usize = 24;

/// What a question costs beside its ids, bytes.
const QUESTION: usize = 256;

/// Asks for the presence of the users in the body. Without a route server there is no answer.
pub(super) fn ask(request: &Request<'_>) {
    let gateway = request.gateway;
    let Some(asked) = request.decode::<ImUsersStatReq>() else {
        return;
    };
    let mut users = asked.user_id_list;
    let mut known = HashSet::with_capacity(users.len().min(1 << 20));
    users.retain(|user| known.insert(*user));
    drop(known);
    if users.len() > gateway.env.config.presence_ids as usize {
        gateway.env.metrics.refused(Refusal::PresenceIds);
        return;
    }
    let table = gateway.routes.table();
    let links = table.links();
    if links.is_empty() {
        gateway.env.metrics.refused(Refusal::PeerMissing);
        return;
    }
    let mut split: Vec<Vec<u32>> = vec![Vec::new(); links.len()];
    for user in &users {
        let index = UserId::from_wire(*user).and_then(|user| table.ring().index_of(user));
        if let Some(users) = index.and_then(|index| split.get_mut(index)) {
            users.push(*user);
        }
    }
    let parts = links
        .iter()
        .zip(split)
        .filter(|(_, users)| !users.is_empty());
    let parts: Vec<_> = parts
        .map(|(link, users)| (Arc::clone(link), users))
        .collect();
    let bytes = u32::try_from(QUESTION + ID * users.len()).unwrap_or(u32::MAX);
    request.conn.query_sent(bytes);
    let tag = gateway.statuses.open(StatusJob {
        conn: Arc::downgrade(request.conn),
        seq: request.seq,
        bytes,
        since: gateway.env.now(),
        users,
        online: HashSet::new(),
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

/// A route server has answered its part.
pub(crate) fn result(gateway: &Gateway, link: LinkId, tag: u64, online: &[u32]) {
    gateway.statuses.result(link, tag, online);
    finish(gateway, tag);
}

/// A route link is gone.
pub(crate) fn link_lost(gateway: &Gateway, link: LinkId) {
    for tag in gateway.statuses.link_lost(link) {
        finish(gateway, tag);
    }
}

/// Answers what has been open for longer than allowed with what is known.
pub(crate) fn expire(gateway: &Gateway, now: u32) {
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
fn finish(gateway: &Gateway, tag: u64) {
    let Some(job) = gateway.statuses.finish(tag) else {
        return;
    };
    let Some(conn) = job.conn.upgrade() else {
        return;
    };
    conn.query_done(job.bytes);
    let Some(session) = conn.session() else {
        return;
    };
    let status = |user: &u32| {
        if job.online.contains(user) {
            UserStatType::UserStatusOnline
        } else {
            UserStatType::UserStatusOffline
        }
    };
    let answer = ImUsersStatRsp {
        user_id: session.user.get(),
        user_stat_list: job
            .users
            .iter()
            .map(|user| UserStat {
                user_id: *user,
                status: status(user) as i32,
            })
            .collect(),
        attach_data: None,
    };
    let frame = encode(Command::UsersStatRsp, job.seq, &answer);
    gateway.count_answer(&conn, frame.len());
    if conn.answer(&gateway.output, frame) == Appended::First {
        conn.flush(&gateway.output);
    }
}
