//! Who is online where: sessions by user, msg servers, and the rules between them.
//!
//! Pure: no I/O, no clock, no randomness. What others must be told comes out as [`Notice`]s.
//!
//! *Invariants*
//! - A user has at most one session of each class; the other is told to leave at its own msg server. A
//!   login that arrives here ends what is there, whatever clocks say. A session that is announced again
//!   may be older or newer than the one that is there, which this server may have kept while it was cut
//!   off: it stays out when its place was taken here, and otherwise the later login time stays, ties go to
//!   the greater epoch. Login times are db-proxy's, so that it is one clock that says it.
//! - Only the session that a `SessionDown` names ends: a late one cannot end a newer session.
//! - A lost msg server keeps its sessions until its grace ends; another instance of it ends them.
//! - Presence is that of PCs. A change is told unless the session was only announced again: then
//!   nothing changed for anybody.

mod fanout;
mod notice;
mod places;
mod servers;
mod sessions;

use im_proto_rpc::v1::{Kick, PresenceTick, SessionInfo};
use tokio::time::Instant;

pub(crate) use fanout::{Except, Fanout};
pub use notice::{Announced, Notice, NoticeKind, Up};
pub(crate) use places::Class;
use places::Places;
pub(crate) use servers::Server;
pub use servers::ServerId;
use servers::Servers;
use sessions::{Session, Sessions};

use crate::hash::UserMap;

/// Reason in 0x0107 for a session that another login ended.
const DUPLICATE_LOGIN: u32 = 1;

/// Time after which nobody remembers that a user went offline with his msg server.
const LOST_MEMORY: std::time::Duration = std::time::Duration::from_mins(10);

/// Bounds of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions kept.
    pub max_sessions: usize,
    /// Msg servers kept, lost ones included.
    pub max_servers: usize,
    /// Time a lost msg server has to come back.
    pub lost_server_grace: std::time::Duration,
}

/// By which terminals a user is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// A PC.
    pub pc: bool,
    /// A phone.
    pub mobile: bool,
}

/// Why a session leaves, which decides whether others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// It ended.
    Ended,
    /// Its msg server has been away too long; it may come back.
    Lost(Instant),
    /// It belongs to another shard now.
    Moved,
}

/// The directory of one route server.
#[derive(Debug)]
pub struct Directory {
    limits: Limits,
    users: UserMap<Places>,
    sessions: Sessions,
    servers: Servers,
    /// PC presence changes of this tick, last state per user.
    changed: UserMap<bool>,
    /// Users whose PC went offline only because its msg server was lost, and when to forget it.
    lost_pcs: UserMap<Instant>,
}

impl Directory {
    /// An empty directory.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            users: UserMap::default(),
            sessions: Sessions::default(),
            servers: Servers::default(),
            changed: UserMap::default(),
            lost_pcs: UserMap::default(),
        }
    }

    /// A msg server is there. The same instance finds its sessions again, another one ends those of
    /// its predecessor. `None` when there are too many servers.
    pub fn attach(
        &mut self,
        name: &str,
        instance: u64,
        notices: &mut Vec<Notice>,
    ) -> Option<ServerId> {
        let Some(id) = self.servers.find(name) else {
            if self.servers.len() >= self.limits.max_servers {
                return None;
            }
            return self.servers.insert(name, instance);
        };
        if self.servers.attach(id, instance) {
            self.end_sessions(id, Leaving::Ended, |_| true, notices);
        }
        Some(id)
    }

    /// The link to a msg server is gone.
    pub fn lose(&mut self, server: ServerId, now: Instant) {
        self.servers
            .lose(server, now + self.limits.lost_server_grace);
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.servers.next_expiry()
    }

    /// Ends the sessions of msg servers whose grace is over. Returns how many servers went.
    pub fn expire(&mut self, now: Instant, notices: &mut Vec<Notice>) -> usize {
        let mut gone = 0;
        while let Some(id) = self.servers.expired(now) {
            self.lost_pcs.retain(|_, until| *until > now);
            self.end_sessions(id, Leaving::Lost(now), |_| true, notices);
            self.servers.remove(id);
            gone += 1;
        }
        gone
    }

    /// A msg server begins to announce all its sessions.
    pub fn snapshot_begin(&mut self, server: ServerId) {
        self.servers.snapshot_begin(server);
    }

    /// All sessions have been announced: what was not is gone.
    ///
    /// Over a link that was in step already, a session can vanish only because the user belongs to
    /// another shard now, and nobody is told; likewise while this server is not part of the ring.
    /// Over a new link it ended while the link was away.
    pub fn snapshot_end(&mut self, server: ServerId, is_in_ring: bool, notices: &mut Vec<Notice>) {
        let Some((round, was_in_step)) = self.servers.snapshot_end(server) else {
            return;
        };
        let leaving = if was_in_step || !is_in_ring {
            Leaving::Moved
        } else {
            Leaving::Ended
        };
        self.end_sessions(server, leaving, |session| session.round != round, notices);
    }

    /// A session of this msg server is there.
    pub fn session_up(
        &mut self,
        server: ServerId,
        info: SessionInfo,
        announced: Announced,
        notices: &mut Vec<Notice>,
    ) -> Up {
        let user = info.user;
        let Some(round) = self.servers.get(server).map(|server| server.round) else {
            return Up::Refused;
        };
        if user == 0 || info.epoch == 0 {
            return Up::Refused;
        }
        let class = Class::of(info.client_type);
        let mut session = Session::new(server, round, info);
        let places = self.users.get(&user).copied().unwrap_or(Places::EMPTY);
        let mut replaced = None;
        if let Some((_, key)) = places.get(class)
            && let Some(held) = self.sessions.get(key)
        {
            if session.epoch == held.epoch {
                session.displaced = held.displaced;
            } else {
                let newer = session.stays_before(held, announced);
                session.displaced = held.epoch;
                let (epoch, at) = if newer {
                    (held.epoch, held.server)
                } else {
                    (session.epoch, server)
                };
                let kind = NoticeKind::Kick {
                    epoch,
                    reason: DUPLICATE_LOGIN,
                };
                notices.push(Notice {
                    server: at,
                    user,
                    kind,
                });
                if !newer {
                    return Up::Outdone;
                }
            }
            replaced = Some(key);
        }
        if let Some(key) = replaced {
            self.forget(key, class);
        } else if self.sessions.len() >= self.limits.max_sessions {
            return Up::Refused;
        }
        self.servers.count(server, class, 1);
        let key = self.sessions.insert(session);
        self.users
            .entry(user)
            .or_insert(Places::EMPTY)
            .set(class, server, key);
        self.tell_arrival(user, class, announced, notices);
        Up::Registered
    }

    /// A session of this msg server ended. Returns whether the directory held it.
    pub fn session_down(
        &mut self,
        server: ServerId,
        user: u32,
        epoch: u64,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let Some((class, key)) = self.find(user, epoch) else {
            return false;
        };
        if self
            .sessions
            .get(key)
            .is_none_or(|session| session.server != server)
        {
            return false;
        }
        self.end(user, class, key, Leaving::Ended, notices);
        true
    }

    /// Whether this very session is online.
    pub fn holds(&self, user: u32, epoch: u64) -> bool {
        self.find(user, epoch).is_some()
    }

    /// Whether a PC of the user is online; one who is only on a phone counts as offline.
    pub fn pc_online(&self, user: u32) -> bool {
        self.places(user).get(Class::Pc).is_some()
    }

    /// By which of their terminals a user is reached now. Those of a msg server that was lost are not, nor is
    /// a phone that signed in as away.
    pub fn reached(&self, user: u32) -> Reached {
        let places = self.places(user);
        let reaches = |class: Class| {
            let Some((server, key)) = places.get(class) else {
                return false;
            };
            let is_lost = self
                .servers
                .get(server)
                .is_none_or(|it| it.lost_until.is_some());
            let away =
                class == Class::Mobile && self.sessions.get(key).is_none_or(Session::is_away);
            !is_lost && !away
        };
        Reached {
            pc: reaches(Class::Pc),
            mobile: reaches(Class::Mobile),
        }
    }

    /// PC presence changes since the last call, last state per user; `None` without any.
    pub fn take_tick(&mut self) -> Option<PresenceTick> {
        if self.changed.is_empty() {
            return None;
        }
        let mut tick = PresenceTick::default();
        for (user, online) in self.changed.drain() {
            if online {
                tick.online.push(user);
            } else {
                tick.offline.push(user);
            }
        }
        Some(tick)
    }

    /// Whether presence changes wait for their tick.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The msg servers that hold a session this kick ends, each once.
    pub fn kick_targets(&self, kick: &Kick) -> [Option<ServerId>; 2] {
        let places = self.places(kick.user);
        let target = |class: Class| {
            let (server, key) = places.get(class)?;
            let epoch = self.sessions.get(key)?.epoch;
            let meant = if kick.epoch == 0 {
                class.within(kick.audience()) && (kick.except == 0 || epoch != kick.except)
            } else {
                epoch == kick.epoch
            };
            meant.then_some(server)
        };
        let (pc, mobile) = (target(Class::Pc), target(Class::Mobile));
        [pc, mobile.filter(|_| mobile != pc)]
    }

    /// Sessions of a user, or of everybody for 0, at most `limit`. Says also whether that cut it.
    pub fn list(&self, user: u32, limit: usize) -> (Vec<SessionInfo>, bool) {
        if user == 0 {
            let found = self
                .sessions
                .iter()
                .take(limit)
                .map(|session| self.info(session))
                .collect();
            return (found, self.sessions.len() > limit);
        }
        let places = self.places(user);
        let keys = [Class::Pc, Class::Mobile]
            .into_iter()
            .filter_map(|class| places.get(class));
        let found = keys.filter_map(|(_, key)| self.sessions.get(key));
        (
            found
                .take(limit)
                .map(|session| self.info(session))
                .collect(),
            false,
        )
    }

    /// Number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Number of users with a session.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Number of sessions on PCs and on phones.
    pub fn class_counts(&self) -> [usize; 2] {
        self.servers.class_counts()
    }

    /// The msg servers, lost ones included.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        self.servers.iter()
    }

    fn places(&self, user: u32) -> Places {
        self.users.get(&user).copied().unwrap_or(Places::EMPTY)
    }

    fn find(&self, user: u32, epoch: u64) -> Option<(Class, u32)> {
        let places = self.places(user);
        [Class::Pc, Class::Mobile].into_iter().find_map(|class| {
            let (_, key) = places.get(class)?;
            (self.sessions.get(key)?.epoch == epoch).then_some((class, key))
        })
    }

    fn info(&self, session: &Session) -> SessionInfo {
        let server = self
            .servers
            .get(session.server)
            .map(|server| server.name.clone());
        session.to_info(server.unwrap_or_default())
    }

    /// Ends those sessions of a msg server that `which` selects.
    fn end_sessions(
        &mut self,
        server: ServerId,
        leaving: Leaving,
        which: impl Fn(&Session) -> bool,
        notices: &mut Vec<Notice>,
    ) {
        let ended: Vec<(u32, u32, Class)> = self
            .sessions
            .entries()
            .filter(|(_, session)| session.server == server && which(session))
            .map(|(key, session)| (key, session.user, Class::of(session.client_type)))
            .collect();
        for (key, user, class) in ended {
            self.end(user, class, key, leaving, notices);
        }
    }

    /// Takes a session out of its slot and tells who must know.
    fn end(
        &mut self,
        user: u32,
        class: Class,
        key: u32,
        leaving: Leaving,
        notices: &mut Vec<Notice>,
    ) {
        self.forget(key, class);
        let Some(places) = self.users.get_mut(&user) else {
            return;
        };
        places.set(class, ServerId::NONE, u32::MAX);
        let other = places.get(class.other());
        if other.is_none() {
            self.users.remove(&user);
        }
        if class != Class::Pc {
            return;
        }
        match leaving {
            Leaving::Moved => return,
            Leaving::Lost(now) => {
                self.lost_pcs.insert(user, now + LOST_MEMORY);
            }
            Leaving::Ended => {
                self.lost_pcs.remove(&user);
            }
        }
        self.changed.insert(user, false);
        if let Some((server, _)) = other {
            notices.push(Notice {
                server,
                user,
                kind: NoticeKind::PcStatus { online: false },
            });
        }
    }

    fn forget(&mut self, key: u32, class: Class) {
        if let Some(session) = self.sessions.remove(key) {
            self.servers.count(session.server, class, -1);
        }
    }

    /// A PC's arrival is told to everybody and to the user's phone, a
    /// phone's arrival to itself if a PC is on.
    fn tell_arrival(
        &mut self,
        user: u32,
        class: Class,
        announced: Announced,
        notices: &mut Vec<Notice>,
    ) {
        let returned = class == Class::Pc && self.lost_pcs.remove(&user).is_some();
        if announced == Announced::Again && !returned {
            return;
        }
        if class == Class::Pc {
            self.changed.insert(user, true);
        }
        let places = self.places(user);
        if places.get(Class::Pc).is_some()
            && let Some((server, _)) = places.get(Class::Mobile)
        {
            notices.push(Notice {
                server,
                user,
                kind: NoticeKind::PcStatus { online: true },
            });
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
