//! The directory against a naive model: lists, searched from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use im_proto_rpc::v1::{Audience, SessionInfo};
use proptest::prelude::*;
use tokio::time::Instant;

use super::{
    Announced, Class, Directory, Except, Fanout, Limits, Notice, NoticeKind, ServerId, Up,
};

const GRACE_MS: u64 = 3_000;
const MAX_SESSIONS: usize = 9;
const USERS: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Attach {
        server: usize,
        instance: u64,
    },
    Lose {
        server: usize,
    },
    Pass {
        ms: u64,
    },
    Up {
        server: usize,
        user: u32,
        class: Class,
        login_ms: u64,
        epoch: u64,
        again: bool,
    },
    Down {
        server: usize,
        user: u32,
        epoch: u64,
    },
    SnapshotBegin {
        server: usize,
    },
    SnapshotEnd {
        server: usize,
        in_ring: bool,
    },
    Tick,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let server = 0..4_usize;
    let class = prop_oneof![Just(Class::Pc), Just(Class::Mobile)];
    let up = (
        server.clone(),
        1..=USERS,
        class,
        1..4_u64,
        1..12_u64,
        any::<bool>(),
    )
        .prop_map(|(server, user, class, login_ms, epoch, again)| {
            // An epoch names one login for ever.
            let epoch = (epoch * u64::from(USERS) + u64::from(user)) * 2 + class as u64;
            Op::Up {
                server,
                user,
                class,
                login_ms: login_ms + epoch % 3,
                epoch,
                again,
            }
        });
    let down = (server.clone(), 1..=USERS, 1..12_u64, 0..2_u64).prop_map(
        |(server, user, epoch, class)| {
            let epoch = (epoch * u64::from(USERS) + u64::from(user)) * 2 + class;
            Op::Down {
                server,
                user,
                epoch,
            }
        },
    );
    let op = prop_oneof![
        2 => (server.clone(), 1..3_u64).prop_map(|(server, instance)| Op::Attach { server, instance }),
        1 => server.clone().prop_map(|server| Op::Lose { server }),
        1 => prop_oneof![Just(1_000), Just(GRACE_MS)].prop_map(|ms| Op::Pass { ms }),
        8 => up,
        3 => down,
        1 => server.clone().prop_map(|server| Op::SnapshotBegin { server }),
        1 => (server, any::<bool>()).prop_map(|(server, in_ring)| Op::SnapshotEnd { server, in_ring }),
        2 => Just(Op::Tick),
    ];
    prop::collection::vec(op, 1..120)
}

#[derive(Clone, Debug, PartialEq)]
struct ModelSession {
    server: usize,
    user: u32,
    class: Class,
    login_ms: u64,
    epoch: u64,
    /// Whose place it took.
    displaced: Option<u64>,
    /// Heard of since the last `SnapshotBegin` of its server.
    heard: bool,
}

#[derive(Clone, Debug, Default)]
struct ModelServer {
    instance: u64,
    lost_at: Option<u64>,
    in_step: bool,
    in_snapshot: bool,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    sessions: Vec<ModelSession>,
    servers: BTreeMap<usize, ModelServer>,
    lost: BTreeSet<u32>,
    tick: BTreeMap<u32, bool>,
}

/// What must be told, as far as it matters: kicks, and the phones to tell about a PC.
type Told = BTreeSet<(usize, u32, Option<u64>, Option<bool>)>;

impl Model {
    fn at(&self, user: u32, class: Class) -> Option<&ModelSession> {
        self.sessions
            .iter()
            .find(|session| session.user == user && session.class == class)
    }

    /// Takes sessions away. `tell`: `None` for nobody, else whether it was by loss of contact.
    fn leave(
        &mut self,
        which: impl Fn(&ModelSession) -> bool,
        tell: Option<bool>,
        told: &mut Told,
    ) {
        let (gone, kept): (Vec<_>, Vec<_>) = self.sessions.drain(..).partition(|s| which(s));
        self.sessions = kept;
        for session in gone.iter().filter(|session| session.class == Class::Pc) {
            let Some(by_loss) = tell else { continue };
            if by_loss {
                self.lost.insert(session.user);
            } else {
                self.lost.remove(&session.user);
            }
            self.tick.insert(session.user, false);
            if let Some(phone) = self.at(session.user, Class::Mobile) {
                told.insert((phone.server, session.user, None, Some(false)));
            }
        }
    }

    fn up(&mut self, mut new: ModelSession, again: bool, told: &mut Told) -> Up {
        if !self.servers.contains_key(&new.server) {
            return Up::Refused;
        }
        if let Some(held) = self.at(new.user, new.class).cloned() {
            if held.epoch == new.epoch {
                new.displaced = held.displaced;
            } else {
                let rank = |s: &ModelSession| (s.login_ms, s.epoch);
                let newer = !again || held.displaced != Some(new.epoch) && rank(&new) > rank(&held);
                new.displaced = Some(held.epoch);
                let loser = if newer { &held } else { &new };
                told.insert((loser.server, new.user, Some(loser.epoch), None));
                if !newer {
                    return Up::Outdone;
                }
            }
            self.sessions.retain(|session| *session != held);
        } else if self.sessions.len() >= MAX_SESSIONS {
            return Up::Refused;
        }
        let (user, class) = (new.user, new.class);
        self.sessions.push(new);
        let returned = class == Class::Pc && self.lost.remove(&user);
        if !again || returned {
            if class == Class::Pc {
                self.tick.insert(user, true);
            }
            if self.at(user, Class::Pc).is_some()
                && let Some(phone) = self.at(user, Class::Mobile)
            {
                told.insert((phone.server, user, None, Some(true)));
            }
        }
        Up::Registered
    }
}

struct Pair {
    model: Model,
    directory: Directory,
    start: Instant,
    ids: BTreeMap<usize, ServerId>,
}

impl Pair {
    fn new() -> Self {
        let limits = Limits {
            max_sessions: MAX_SESSIONS,
            max_servers: 4,
            lost_server_grace: Duration::from_millis(GRACE_MS),
        };
        Self {
            model: Model::default(),
            directory: Directory::new(limits),
            start: Instant::now(),
            ids: BTreeMap::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.model.now)
    }

    fn run(&mut self, op: Op) {
        let mut told = Told::new();
        let mut notices = Vec::new();
        // A server that was never attached or is forgotten has no link to speak over.
        let link = |pair: &Self, server: usize| {
            pair.model
                .servers
                .get(&server)
                .is_some_and(|known| known.lost_at.is_none())
                .then(|| pair.ids[&server])
        };
        let ids_before = self.ids.clone();
        match op {
            Op::Attach { server, instance } => {
                let id = self
                    .directory
                    .attach(&server.to_string(), instance, &mut notices);
                self.ids.insert(server, id.expect("there is room for four"));
                let known = self.model.servers.entry(server).or_default();
                let other = known.instance != 0 && known.instance != instance;
                *known = ModelServer {
                    instance,
                    ..ModelServer::default()
                };
                if other {
                    self.model
                        .leave(|session| session.server == server, Some(false), &mut told);
                }
            }
            Op::Lose { server } => {
                let Some(id) = link(self, server) else { return };
                self.directory.lose(id, self.now());
                let now = self.model.now;
                self.model.servers.get_mut(&server).unwrap().lost_at = Some(now);
            }
            Op::Pass { ms } => {
                self.model.now += ms;
                self.directory.expire(self.now(), &mut notices);
                let now = self.model.now;
                let over = |known: &ModelServer| {
                    known
                        .lost_at
                        .is_some_and(|lost_at| lost_at + GRACE_MS <= now)
                };
                let gone: Vec<usize> = self
                    .model
                    .servers
                    .iter()
                    .filter(|(_, known)| over(known))
                    .map(|(server, _)| *server)
                    .collect();
                for server in gone {
                    self.model
                        .leave(|session| session.server == server, Some(true), &mut told);
                    self.model.servers.remove(&server);
                    self.ids.remove(&server);
                }
            }
            Op::Up {
                server,
                user,
                class,
                login_ms,
                epoch,
                again,
            } => {
                let Some(id) = link(self, server) else { return };
                let info = SessionInfo {
                    user,
                    epoch,
                    login_ms,
                    client_type: if class == Class::Pc { 0x02 } else { 0x12 },
                    ..SessionInfo::default()
                };
                let announced = if again {
                    Announced::Again
                } else {
                    Announced::Login
                };
                let up = self.directory.session_up(id, info, announced, &mut notices);
                let new = ModelSession {
                    server,
                    user,
                    class,
                    login_ms,
                    epoch,
                    displaced: None,
                    heard: true,
                };
                assert_eq!(up, self.model.up(new, again, &mut told));
            }
            Op::Down {
                server,
                user,
                epoch,
            } => {
                let Some(id) = link(self, server) else { return };
                self.directory.session_down(id, user, epoch, &mut notices);
                let named =
                    |s: &ModelSession| s.server == server && s.user == user && s.epoch == epoch;
                self.model.leave(named, Some(false), &mut told);
            }
            Op::SnapshotBegin { server } => {
                let Some(id) = link(self, server) else { return };
                self.directory.snapshot_begin(id);
                self.model.servers.get_mut(&server).unwrap().in_snapshot = true;
                let here = self
                    .model
                    .sessions
                    .iter_mut()
                    .filter(|s| s.server == server);
                here.for_each(|session| session.heard = false);
            }
            Op::SnapshotEnd { server, in_ring } => {
                let Some(id) = link(self, server) else { return };
                self.directory.snapshot_end(id, in_ring, &mut notices);
                let known = self.model.servers.get_mut(&server).unwrap();
                if std::mem::take(&mut known.in_snapshot) {
                    let was_in_step = std::mem::replace(&mut known.in_step, true);
                    let tell = (!was_in_step && in_ring).then_some(false);
                    self.model
                        .leave(|s| s.server == server && !s.heard, tell, &mut told);
                }
            }
            Op::Tick => {
                let tick = self.directory.take_tick().unwrap_or_default();
                let online = tick.online.into_iter().map(|user| (user, true));
                let offline = tick.offline.into_iter().map(|user| (user, false));
                let found: BTreeMap<u32, bool> = online.chain(offline).collect();
                assert_eq!(found, std::mem::take(&mut self.model.tick));
            }
        }
        self.compare(&notices, told, &ids_before);
    }

    fn compare(&self, notices: &[Notice], told: Told, ids_before: &BTreeMap<usize, ServerId>) {
        let model = &self.model;
        // Only what concerns a phone that is still there matters.
        let matters = |(server, user, kick, _): &(usize, u32, Option<u64>, Option<bool>)| {
            let phone = model.at(*user, Class::Mobile);
            kick.is_some() || phone.is_some_and(|phone| phone.server == *server)
        };
        let name = |id: ServerId| {
            let mut ids = self.ids.iter().chain(ids_before);
            *ids.find(|(_, known)| **known == id)
                .expect("a known server")
                .0
        };
        let found: Told = notices
            .iter()
            .map(|notice| match notice.kind {
                NoticeKind::Kick { epoch, reason } => {
                    assert_eq!(reason, 1);
                    (name(notice.server), notice.user, Some(epoch), None)
                }
                NoticeKind::PcStatus { online } => {
                    (name(notice.server), notice.user, None, Some(online))
                }
            })
            .filter(matters)
            .collect();
        assert_eq!(found, told.into_iter().filter(matters).collect());

        let (listed, cut) = self.directory.list(0, usize::MAX);
        assert!(!cut);
        let listed: BTreeSet<_> = listed
            .into_iter()
            .map(|info| (info.server, info.user, info.epoch))
            .collect();
        let expected: BTreeSet<_> = model
            .sessions
            .iter()
            .map(|s| (s.server.to_string(), s.user, s.epoch))
            .collect();
        assert_eq!(listed, expected);
        assert_eq!(self.directory.session_count(), model.sessions.len());
        let classes = [Class::Pc, Class::Mobile]
            .map(|class| model.sessions.iter().filter(|s| s.class == class).count());
        assert_eq!(self.directory.class_counts(), classes);
        let users: BTreeSet<u32> = model.sessions.iter().map(|s| s.user).collect();
        assert_eq!(self.directory.user_count(), users.len());
        for user in 1..=USERS {
            assert_eq!(
                self.directory.pc_online(user),
                model.at(user, Class::Pc).is_some()
            );
        }
        self.compare_fanout();
    }

    fn compare_fanout(&self) {
        let model = &self.model;
        let everybody: Vec<u32> = (0..=USERS).collect();
        let some_epoch = model.sessions.first().map_or(1, |session| session.epoch);
        let mut fanout = Fanout::default();
        for audience in [Audience::All, Audience::Pc, Audience::Mobile] {
            for except in [Except::Nobody, Except::Epoch(some_epoch)] {
                fanout.split(&self.directory, &everybody, audience, except);
                let mut found = BTreeSet::new();
                let touched = fanout.touched();
                for id in &touched {
                    let mut users = Vec::new();
                    fanout.take(*id, &mut users);
                    let name = self.ids.iter().find(|(_, known)| *known == id).unwrap().0;
                    assert!(!users.is_empty());
                    for user in users {
                        assert!(found.insert((*name, user)), "a user comes once per server");
                    }
                }
                fanout.reuse(touched);
                let expected: BTreeSet<_> = model
                    .sessions
                    .iter()
                    .filter(|s| s.class.within(audience))
                    .filter(|s| except == Except::Nobody || s.epoch != some_epoch)
                    .map(|s| (s.server, s.user))
                    .collect();
                assert_eq!(found, expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_directory_does_what_a_list_would_do(ops in ops()) {
        let mut pair = Pair::new();
        for op in ops {
            pair.run(op);
        }
    }
}
