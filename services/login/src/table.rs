//! The load of every msg server, and the choice among them.
//!
//! Pure: no I/O, no clock; streams, reports and the time come from outside.
//!
//! # The choice
//!
//! Candidates are msg servers whose stream is up, whose last report is fresh and says that they
//! accept logins, and that are below their limit. Of these the one with the fewest sessions is chosen,
//! exactly: what has been reported decides, so requests that are not followed by a login change
//! nothing (S-02). Ties go to the one with fewer hand-outs pending, then to the lower name.
//!
//! A hand-out stays *pending* until its msg server reports a session more, or for
//! [`Rules::reservation`]. Pending hand-outs step in where reports alone would go wrong:
//!
//! - **A burst faster than the reports.** Beyond [`Rules::slack`] pending hand-outs the excess counts
//!   as sessions, so that a reconnect storm is spread as if its clients had already logged in. The slack
//!   is what a single msg server may get too much.
//! - **Several login servers.** Each sees its own hand-outs only and takes them [`Rules::replicas`]
//!   times, as if the others did the same: together they fill a valley once, not once each.
//! - **A small msg server.** One that its pending hand-outs would fill goes behind those with room. Pending
//!   hand-outs alone never make the answer "all full".
//!
//! Alternative: count every hand-out at once, as least-loaded balancers do. Then thirty people who ask and
//! do not log in move the choice to servers with more load, which S-02 forbids. Power of two choices
//! does not herd either, but is not least-loaded with one login server.
//!
//! # Gone, stale, lost
//!
//! A stream that breaks soon after a report was closed by its msg server, or by the kernel of a killed
//! one: it is gone. One that breaks after [`Rules::silence`], or that is up but silent longer than
//! [`Rules::stale_after`], means lost contact, perhaps with everybody. While nobody is fresh, the
//! last known addresses of those that accepted logins are handed out for [`Rules::last_known`], since
//! they may well be there.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use im_config::{LoginConfig, WHERE_ASKED};
use im_proto_rpc::v1::LoadReport;
use im_proto_rpc::v1::load_report::State;
use tokio::time::Instant;

mod pending;

use crate::dump::{ServerDump, TableDump};
use pending::Pending;

/// What decides about choice and age.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Msg servers kept.
    pub max_servers: usize,
    /// Age at which a report no longer counts.
    pub stale_after: Duration,
    /// Silence before the end of a stream that makes it a loss of contact.
    pub silence: Duration,
    /// Age up to which addresses are handed out when nothing is fresh.
    pub last_known: Duration,
    /// Login servers that hand out addresses side by side.
    pub replicas: u32,
    /// How long a hand-out may be pending.
    pub reservation: Duration,
    /// Pending hand-outs of a msg server that do not count as load.
    pub slack: u32,
}

impl From<&LoginConfig> for Rules {
    fn from(config: &LoginConfig) -> Self {
        Self {
            max_servers: config.max_servers,
            stale_after: config.stale_after.duration(),
            silence: config.silence.duration(),
            last_known: config.last_known.duration(),
            replicas: config.replicas,
            reservation: config.reservation.duration(),
            slack: config.reservation_slack,
        }
    }
}

/// Names a report stream inside this process; later ones have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl Choice {
    /// The choice as a client that came to this address of ours is told: a msg server of the same
    /// process, which clients find everywhere where they find us, is there for them too.
    pub(crate) fn seen_from(self, local: Option<IpAddr>) -> Self {
        let place = |address: Address| {
            if address.ip1 != WHERE_ASKED && address.ip2 != WHERE_ASKED {
                return Some(address);
            }
            let local = local?.to_canonical().to_string();
            let told = |ip: String| {
                if ip == WHERE_ASKED { local.clone() } else { ip }
            };
            Some(Address {
                ip1: told(address.ip1),
                ip2: told(address.ip2),
                port: address.port,
            })
        };
        let seen = match self {
            Self::Fresh(address) => place(address).map(Self::Fresh),
            Self::LastKnown(address) => place(address).map(Self::LastKnown),
            other => Some(other),
        };
        seen.unwrap_or(Self::Nobody)
    }
}

/// Where a client is to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Public address.
    pub ip1: String,
    /// Second address; the first one again when there is none.
    pub ip2: String,
    /// TCP port.
    pub port: u16,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This msg server, by a fresh report.
    Fresh(Address),
    /// This msg server as it was last known, since nobody reports.
    LastKnown(Address),
    /// There is no msg server that accepts logins.
    Nobody,
    /// Every msg server is at its limit.
    AllFull,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is in the table.
    Kept,
    /// Its msg server has opened another stream since.
    Outdated,
    /// It has no name, address or port to hand out.
    Invalid,
    /// There are too many msg servers.
    TooMany,
}

/// What can be expected of a msg server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It takes logins.
    Accepting,
    /// It is at its limit.
    Full,
    /// Its links are missing.
    Starting,
    /// It is about to stop.
    Draining,
    /// An administrator wants nobody new there.
    Cordoned,
    /// Its stream is up and silent.
    Stale,
    /// Its stream broke after a silence.
    Lost,
}

impl ServerState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Accepting,
        Self::Full,
        Self::Starting,
        Self::Draining,
        Self::Cordoned,
        Self::Stale,
        Self::Lost,
    ];
}

/// A msg server.
#[derive(Debug)]
struct Entry {
    /// `None` after contact was lost.
    stream: Option<StreamId>,
    report: LoadReport,
    address: Address,
    heard_at: Instant,
    pending: Pending,
}

impl Entry {
    fn state(&self, rules: &Rules, now: Instant) -> ServerState {
        if self.stream.is_none() {
            return ServerState::Lost;
        }
        if now.saturating_duration_since(self.heard_at) > rules.stale_after {
            return ServerState::Stale;
        }
        match self.report.state() {
            State::Starting => ServerState::Starting,
            State::Draining => ServerState::Draining,
            State::Cordoned => ServerState::Cordoned,
            State::Accepting if self.sessions() >= self.hard_limit() => ServerState::Full,
            State::Accepting => ServerState::Accepting,
        }
    }

    fn sessions(&self) -> u64 {
        u64::from(self.report.sessions)
    }

    fn hard_limit(&self) -> u64 {
        limit(self.report.max_sessions)
    }

    fn soft_limit(&self) -> u64 {
        limit(self.report.soft_max_sessions).min(self.hard_limit())
    }

    /// The smaller, the better.
    fn rank(&self, rules: &Rules) -> (Room, u64, u32) {
        let pending = u64::from(self.pending.count()) * u64::from(rules.replicas);
        let sessions = self.sessions();
        let room = if sessions + pending < self.soft_limit() {
            Room::Enough
        } else if sessions < self.soft_limit() {
            Room::Promised
        } else {
            Room::Reserve
        };
        let load = sessions + pending.saturating_sub(u64::from(rules.slack));
        (room, load, self.pending.count())
    }
}

/// How much room a msg server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// Also for those that were sent there.
    Enough,
    /// Not if all come that were sent there.
    Promised,
    /// Beyond the soft limit.
    Reserve,
}

/// 0 means none.
const fn limit(sessions: u32) -> u64 {
    if sessions == 0 {
        u64::MAX
    } else {
        sessions as u64
    }
}

/// The table.
#[derive(Debug)]
pub struct LoadTable {
    rules: Rules,
    /// By name, so that ties are decided alike everywhere.
    servers: BTreeMap<String, Entry>,
    /// The server that a stream speaks for.
    streams: HashMap<StreamId, String>,
}

impl LoadTable {
    /// An empty table.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            servers: BTreeMap::new(),
            streams: HashMap::new(),
        }
    }

    /// So many login servers hand out addresses side by side from now on.
    pub(crate) const fn set_replicas(&mut self, count: u32) {
        self.rules.replicas = count;
    }

    /// How many login servers hand out addresses side by side.
    pub const fn replicas(&self) -> u32 {
        self.rules.replicas
    }

    /// A msg server reports.
    pub fn report(&mut self, stream: StreamId, report: LoadReport, now: Instant) -> Reported {
        let Some(address) = address_of(&report) else {
            return Reported::Invalid;
        };
        if self
            .streams
            .get(&stream)
            .is_some_and(|name| *name != report.server)
        {
            // It has another name than before; nobody has the old one now.
            self.stream_ended(stream, now);
        }
        if let Some(entry) = self.servers.get_mut(&report.server) {
            if entry.stream.is_some_and(|current| current > stream) {
                return Reported::Outdated;
            }
            if entry.report.instance == report.instance {
                let arrived = report.sessions.saturating_sub(entry.report.sessions);
                entry.pending.seen(arrived);
            } else {
                entry.pending = Pending::new(self.rules.reservation);
            }
            if let Some(former) = entry.stream.replace(stream)
                && former != stream
            {
                self.streams.remove(&former);
            }
            self.streams.insert(stream, report.server.clone());
            entry.report = report;
            entry.address = address;
            entry.heard_at = now;
            return Reported::Kept;
        }
        if self.servers.len() >= self.rules.max_servers {
            self.forget_lost(now);
            if self.servers.len() >= self.rules.max_servers {
                return Reported::TooMany;
            }
        }
        let name = report.server.clone();
        self.streams.insert(stream, name.clone());
        let pending = Pending::new(self.rules.reservation);
        let entry = Entry {
            stream: Some(stream),
            report,
            address,
            heard_at: now,
            pending,
        };
        self.servers.insert(name, entry);
        Reported::Kept
    }

    /// A stream is over.
    pub fn stream_ended(&mut self, stream: StreamId, now: Instant) {
        let Some(name) = self.streams.remove(&stream) else {
            return;
        };
        let Some(entry) = self.servers.get_mut(&name) else {
            return;
        };
        let silence = now.saturating_duration_since(entry.heard_at);
        if silence >= self.rules.silence && entry.report.state() == State::Accepting {
            entry.stream = None;
        } else {
            self.servers.remove(&name);
        }
    }

    /// Forgets msg servers that were lost too long ago.
    pub fn forget_lost(&mut self, now: Instant) {
        let last_known = self.rules.last_known;
        self.servers.retain(|_, entry| {
            entry.stream.is_some() || now.saturating_duration_since(entry.heard_at) <= last_known
        });
    }

    /// Chooses for one client.
    pub fn choose(&mut self, now: Instant) -> Choice {
        let rules = self.rules;
        let (mut best, mut best_rank) = (None, None);
        let (mut fresh, mut full) = (false, false);
        for entry in self.servers.values_mut() {
            let state = entry.state(&rules, now);
            match state {
                ServerState::Stale | ServerState::Lost => {}
                ServerState::Starting | ServerState::Draining | ServerState::Cordoned => {
                    fresh = true;
                }
                ServerState::Full => (fresh, full) = (true, true),
                ServerState::Accepting => {
                    fresh = true;
                    entry.pending.forget_before(now);
                    let rank = entry.rank(&rules);
                    if best_rank.is_none_or(|best| rank < best) {
                        (best, best_rank) = (Some(entry), Some(rank));
                    }
                }
            }
        }
        if let Some(entry) = best {
            entry.pending.add(now);
            return Choice::Fresh(entry.address.clone());
        }
        if full {
            return Choice::AllFull;
        }
        if fresh {
            Choice::Nobody
        } else {
            self.choose_last_known(now)
        }
    }

    /// Chooses while nobody reports.
    fn choose_last_known(&mut self, now: Instant) -> Choice {
        let rules = self.rules;
        for entry in self.servers.values_mut() {
            entry.pending.forget_before(now);
        }
        let known = self.servers.values_mut().filter(|entry| {
            entry.report.state() == State::Accepting
                && now.saturating_duration_since(entry.heard_at) <= rules.last_known
        });
        match known.min_by_key(|entry| entry.rank(&rules)) {
            Some(entry) => {
                entry.pending.add(now);
                Choice::LastKnown(entry.address.clone())
            }
            None => Choice::Nobody,
        }
    }

    /// Whether some msg server takes logins now.
    pub fn any_accepting(&self, now: Instant) -> bool {
        self.servers
            .values()
            .any(|entry| entry.state(&self.rules, now) == ServerState::Accepting)
    }

    /// Every msg server as it stands.
    pub fn dump(&self, now: Instant) -> TableDump {
        let servers = self.servers.iter().map(|(name, entry)| {
            let state = entry.state(&self.rules, now);
            let age = now.saturating_duration_since(entry.heard_at);
            ServerDump {
                server: name.clone(),
                instance: entry.report.instance,
                state,
                ip1: entry.address.ip1.clone(),
                ip2: entry.address.ip2.clone(),
                port: entry.address.port,
                sessions: entry.report.sessions,
                connections: entry.report.connections,
                max_sessions: entry.report.max_sessions,
                soft_max_sessions: entry.report.soft_max_sessions,
                pending: entry.pending.count(),
                revision: entry.report.revision.clone(),
                report: entry.report.report,
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            }
        });
        TableDump {
            servers: servers.collect(),
        }
    }

    /// Calls `f` with name, state and sessions of each msg server, by name.
    pub fn each(&self, now: Instant, mut f: impl FnMut(&str, ServerState, u32)) {
        for (name, entry) in &self.servers {
            f(name, entry.state(&self.rules, now), entry.report.sessions);
        }
    }
}

/// What clients are told; `None` when the report is of no use. A msg server that accepts nobody may
/// have no address yet.
fn address_of(report: &LoadReport) -> Option<Address> {
    let port = u16::try_from(report.port).ok()?;
    let is_nowhere = report.ip1.is_empty() || port == 0;
    if report.server.is_empty() || (is_nowhere && report.state() == State::Accepting) {
        return None;
    }
    let ip2 = if report.ip2.is_empty() {
        &report.ip1
    } else {
        &report.ip2
    };
    Some(Address {
        ip1: report.ip1.clone(),
        ip2: ip2.clone(),
        port,
    })
}

#[cfg(test)]
mod tests;
