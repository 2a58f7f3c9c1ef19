//! Questions for the presence of users: spread over the route servers, answered in one frame.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_codec::{Command, encode};
use im_core::UserId;
use im_proto_rpc::v1::StatusQuery;
use im_proto_rpc::v1::route_call::Call;
use im_proto_teamtalk::base::{UserStat, UserStatType};
use im_proto_teamtalk::buddy::{ImUsersStatReq, ImUsersStatRsp};

use super::Request;
use crate::conn::{Appended, Conn};
use crate::delivery::LinkId;
use crate::metrics::Refusal;
use crate::sessions::NumberMap;
use crate::shared::Shared;

struct StatusJob {
    conn: Arc<Conn>,
    seq: u16,
    /// As asked, in order.
    users: Vec<u32>,
    online: HashSet<u32>,
    /// Route links that have not answered.
    waiting: Vec<LinkId>,
}

#[derive(Default)]
struct Jobs {
    open: NumberMap<u64, StatusJob>,
    last_tag: u64,
}

/// Questions that wait for route servers.
#[derive(Default)]
pub(crate) struct StatusJobs(Mutex<Jobs>);

impl StatusJobs {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the presence of the users in the body. Without a route server there is no answer.
pub(super) fn ask(request: &Request<'_>) {
    let shared = request.shared;
    let Some(asked) = request.decode::<ImUsersStatReq>() else {
        return;
    };
    let table = shared.routes();
    let links = table.links();
    if links.is_empty() {
        shared.metrics.refused(Refusal::PeerMissing);
        return;
    }
    let mut split: Vec<Vec<u32>> = vec![Vec::new(); links.len()];
    for user in &asked.user_id_list {
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
    request.conn.query_sent();
    let tag = {
        let mut jobs = shared.statuses.lock();
        jobs.last_tag += 1;
        let tag = jobs.last_tag;
        jobs.open.insert(
            tag,
            StatusJob {
                conn: request.conn.clone(),
                seq: request.seq,
                users: asked.user_id_list,
                online: HashSet::new(),
                waiting: parts.iter().map(|(link, _)| link.id).collect(),
            },
        );
        tag
    };
    for (link, users) in parts {
        let query = Call::Status(StatusQuery { tag, users });
        if !link.offer(query, shared.config.route_queue) {
            shared.metrics.refused(Refusal::RouteQueue);
            shared.status_result(link.id, tag, &[]);
        }
    }
    // Nobody was asked about.
    shared.finish_status(tag);
}

impl Shared {
    /// A route server has answered its part.
    pub(crate) fn status_result(self: &Arc<Self>, link: LinkId, tag: u64, online: &[u32]) {
        if let Some(job) = self.statuses.lock().open.get_mut(&tag) {
            job.waiting.retain(|waiting| *waiting != link);
            job.online.extend(online);
        }
        self.finish_status(tag);
    }

    /// A route link is gone: its users count as offline in what was asked.
    pub(crate) fn status_link_lost(self: &Arc<Self>, link: LinkId) {
        let mut tags = Vec::new();
        for (tag, job) in &mut self.statuses.lock().open {
            job.waiting.retain(|waiting| *waiting != link);
            if job.waiting.is_empty() {
                tags.push(*tag);
            }
        }
        for tag in tags {
            self.finish_status(tag);
        }
    }

    /// Answers a question whose parts are all there.
    fn finish_status(self: &Arc<Self>, tag: u64) {
        let job = {
            let mut jobs = self.statuses.lock();
            match jobs.open.get(&tag) {
                Some(job) if job.waiting.is_empty() => jobs.open.remove(&tag),
                _ => None,
            }
        };
        let Some(job) = job else { return };
        let Some(session) = job.conn.session() else {
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
        if job.conn.answer(self, frame) == Appended::First {
            job.conn.flush(self);
        }
        job.conn.query_done();
    }
}
