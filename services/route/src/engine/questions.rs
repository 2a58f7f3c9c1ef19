//! Presence questions, answered in slices: whoever asks for everybody holds up nobody's messages.

use std::collections::VecDeque;

use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{StatusQuery, StatusResult};

use super::Engine;
use super::inputs::LinkId;
use crate::directory::ServerId;
use crate::hash::UserSet;

/// Ids looked up before other inputs have their turn: some tens of microseconds.
pub(super) const SLICE: usize = 2_048;

/// Ids that may wait to be looked up; with more of them nothing is read from links until there are
/// fewer, a quarter of a second of work.
const MAX_WAITING_IDS: usize = 4 << 20;

/// Questions with more than a slice of ids, in turn.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: VecDeque<Question>,
    ids: usize,
}

#[derive(Debug)]
struct Question {
    server: ServerId,
    link: LinkId,
    tag: u64,
    users: std::vec::IntoIter<u32>,
    /// Those online so far, each once.
    online: UserSet,
}

impl Questions {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more inputs may be taken in.
    pub(super) const fn has_room(&self) -> bool {
        self.ids < MAX_WAITING_IDS
    }
}

impl Engine {
    /// Answers a question for at most a slice of ids; a longer one gets its turns.
    pub(super) fn status(&mut self, server: ServerId, link: LinkId, query: StatusQuery) {
        let StatusQuery { tag, mut users } = query;
        if users.len() <= SLICE {
            users.sort_unstable();
            users.dedup();
            users.retain(|user| self.directory.pc_online(*user));
            let online = users;
            self.push(server, Item::Status(StatusResult { tag, online }));
            return;
        }
        self.questions.ids += users.len();
        self.questions.waiting.push_back(Question {
            server,
            link,
            tag,
            users: users.into_iter(),
            online: UserSet::default(),
        });
    }

    /// Looks up the next slice of the question whose turn it is.
    pub(super) fn answer_slice(&mut self) {
        let Some(mut question) = self.questions.waiting.pop_front() else {
            return;
        };
        let outlet = self.outlets.get(question.server.index());
        let asks = outlet.and_then(Option::as_ref);
        if asks.is_none_or(|outlet| outlet.link != question.link) {
            // Nobody waits for it any more.
            self.questions.ids -= question.users.len();
            return;
        }
        for user in question.users.by_ref().take(SLICE) {
            self.questions.ids -= 1;
            if self.directory.pc_online(user) {
                question.online.insert(user);
            }
        }
        if question.users.len() > 0 {
            self.questions.waiting.push_back(question);
            return;
        }
        let result = StatusResult {
            tag: question.tag,
            online: question.online.into_iter().collect(),
        };
        self.push(question.server, Item::Status(result));
    }
}
