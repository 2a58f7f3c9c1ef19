//! Notices that users' PCs came and went.
//!
//! Changes gather per user and are encoded once for everybody. Much at once (a lost msg server) goes
//! out in portions, so that it does not fill the queues of clients that read at a normal pace.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, append};
use im_config::{MsgConfig, PresenceNotify};
use im_core::TerminalClass;
use im_proto_rpc::v1::{PresenceTick, RelatedDone};
use im_proto_teamtalk::base::{UserStat, UserStatType};
use im_proto_teamtalk::buddy::ImUserStatNotify;
use tokio::time::Instant;

use super::Delivery;
use super::push::Push;
use crate::connection::Session;

/// Changes of one portion: at about 24 bytes each, 48 KB for every PC.
const PORTION: usize = 2_000;

/// Changed users of one question for their relations.
const QUESTION: usize = 256;

/// Time between two portions.
const PAUSE: Duration = Duration::from_millis(100);

/// Changes that were not told yet: at most one per user.
#[derive(Default)]
pub(super) struct Presence {
    changes: BTreeMap<u32, bool>,
    next: Option<Instant>,
    /// What db-proxy was asked about.
    asked: Option<HashMap<u32, bool>>,
}

impl Presence {
    pub(super) fn gather(&mut self, tick: &PresenceTick, config: &MsgConfig) {
        if config.presence.notify == PresenceNotify::None {
            return;
        }
        self.changes
            .extend(tick.online.iter().map(|user| (*user, true)));
        self.changes
            .extend(tick.offline.iter().map(|user| (*user, false)));
    }

    /// The question will not be answered; its changes are not told.
    pub(super) fn forget_question(&mut self) {
        self.asked = None;
    }

    /// When the next portion is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let is_waiting = self.changes.is_empty() || self.asked.is_some();
        if is_waiting {
            None
        } else {
            Some(self.next.unwrap_or(now))
        }
    }

    fn take(&mut self, count: usize) -> Vec<(u32, bool)> {
        let mut taken = Vec::with_capacity(count.min(self.changes.len()));
        while taken.len() < count
            && let Some(change) = self.changes.pop_first()
        {
            taken.push(change);
        }
        taken
    }
}

impl Delivery {
    /// Tells what has gathered, when it is time.
    pub(super) async fn tell_presence(&mut self) {
        let now = Instant::now();
        if self.presence.due(now).is_none_or(|due| now < due) {
            return;
        }
        self.presence.next = Some(now + PAUSE);
        match self.gateway.env.config.presence.notify {
            PresenceNotify::None => self.presence.changes.clear(),
            PresenceNotify::All => {
                let changes = self.presence.take(PORTION);
                let frames = notices(&changes);
                self.push_all(&frames, is_pc).await;
            }
            PresenceNotify::Related => {
                let changes = self.presence.take(QUESTION);
                if self.gateway.db.is_up() {
                    self.gateway
                        .db
                        .related(changes.iter().map(|(user, _)| *user).collect());
                    self.presence.asked = Some(changes.into_iter().collect());
                    self.presence.next = None;
                }
            }
        }
    }

    /// Tells changes to the PCs of related users.
    pub(super) fn related(&mut self, done: &RelatedDone) {
        let Some(asked) = self.presence.asked.take() else {
            return;
        };
        for entry in &done.entries {
            let Some(online) = asked.get(&entry.user) else {
                continue;
            };
            let frame = notices(&[(entry.user, *online)]);
            for user in &entry.related {
                self.push_user(*user, &frame, Push::Must, is_pc);
            }
        }
    }
}

fn is_pc(session: &Session) -> bool {
    session.class() == TerminalClass::Pc
}

/// The frames of these changes, one behind the other.
fn notices(changes: &[(u32, bool)]) -> Bytes {
    let mut out = BytesMut::with_capacity(changes.len() * 32);
    for (user, online) in changes {
        let status = if *online {
            UserStatType::UserStatusOnline
        } else {
            UserStatType::UserStatusOffline
        };
        let notify = ImUserStatNotify {
            user_stat: UserStat {
                user_id: *user,
                status: status as i32,
            },
        };
        append(&mut out, Command::UserStatNotify, 0, &notify);
    }
    out.freeze()
}
