//! Lists of sessions that are being gathered from the route servers.

use std::collections::{HashMap, HashSet};

use im_proto_rpc::v1;
use tokio::sync::oneshot;

/// Names one link among all that there ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinkId(pub(super) u64);

/// Lists that are gathered at the same time.
const MAX_LISTS: usize = 64;

/// Why sessions could not be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// No route server is linked.
    #[error("reach a route server")]
    NoRoute,
    /// A route server did not answer in time.
    #[error("hear from every route server in time")]
    Incomplete,
    /// Too many lists are being gathered.
    #[error("wait until other lists are complete")]
    Busy,
}

pub(super) type ListReply = oneshot::Receiver<Result<Vec<v1::SessionInfo>, ListError>>;

#[derive(Debug, Default)]
pub(super) struct Lists {
    open: HashMap<u64, List>,
    last_tag: u64,
}

#[derive(Debug)]
struct List {
    /// Links that have not answered.
    waiting: HashSet<LinkId>,
    sessions: Vec<v1::SessionInfo>,
    reply: oneshot::Sender<Result<Vec<v1::SessionInfo>, ListError>>,
}

impl Lists {
    /// Opens a list that these links are to answer.
    pub(super) fn open(&mut self, waiting: HashSet<LinkId>) -> Result<(u64, ListReply), ListError> {
        if waiting.is_empty() {
            return Err(ListError::NoRoute);
        }
        if self.open.len() >= MAX_LISTS {
            return Err(ListError::Busy);
        }
        self.last_tag += 1;
        let (reply, receiver) = oneshot::channel();
        self.open.insert(
            self.last_tag,
            List {
                waiting,
                sessions: Vec::new(),
                reply,
            },
        );
        Ok((self.last_tag, receiver))
    }

    /// A link's answer.
    pub(super) fn answered(&mut self, link: LinkId, tag: u64, sessions: Vec<v1::SessionInfo>) {
        let Some(list) = self.open.get_mut(&tag) else {
            return;
        };
        if !list.waiting.remove(&link) {
            return;
        }
        list.sessions.extend(sessions);
        if list.waiting.is_empty()
            && let Some(list) = self.open.remove(&tag)
        {
            // The asker may have gone.
            drop(list.reply.send(Ok(list.sessions)));
        }
    }

    /// A link that will not answer any more.
    pub(super) fn gone(&mut self, link: LinkId) {
        self.open.retain(|_, list| !list.waiting.contains(&link));
    }

    pub(super) fn forget(&mut self, tag: u64) {
        self.open.remove(&tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(user: u32) -> v1::SessionInfo {
        v1::SessionInfo {
            user,
            ..Default::default()
        }
    }

    #[test]
    fn a_list_is_complete_when_every_link_has_answered_once() {
        let mut lists = Lists::default();
        let (tag, mut reply) = lists.open(HashSet::from([LinkId(1), LinkId(2)])).unwrap();
        lists.answered(LinkId(1), tag, vec![session(1)]);
        lists.answered(LinkId(1), tag, vec![session(9)]);
        assert!(reply.try_recv().is_err());
        lists.answered(LinkId(2), tag, vec![session(2)]);
        let users: Vec<u32> = reply
            .try_recv()
            .unwrap()
            .unwrap()
            .iter()
            .map(|s| s.user)
            .collect();
        assert_eq!(users, [1, 2]);
    }

    #[test]
    fn a_list_ends_without_a_link_that_is_gone_and_needs_at_least_one() {
        let mut lists = Lists::default();
        assert_eq!(lists.open(HashSet::new()).unwrap_err(), ListError::NoRoute);
        let (_, mut reply) = lists.open(HashSet::from([LinkId(1), LinkId(2)])).unwrap();
        lists.gone(LinkId(2));
        assert!(matches!(
            reply.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
    }
}
