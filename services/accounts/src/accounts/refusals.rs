//! Why logins with a name were refused lately, for whoever is asked "why can I not log in?".
//!
//! In memory, since the start of the process, and bounded: names that somebody has apart from others,
//! so that whoever makes names up pushes nobody out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::LoginCall;
use im_runtime::Throttle;
use tracing::info;

use super::ttl_map::TtlMap;

/// Names kept, of people and of nobody.
const KNOWN_NAMES: usize = 10_000;
const OTHER_NAMES: usize = 1_000;
/// Refusals kept of a name.
const EACH: usize = 8;
/// How long, unless others take their place.
const KEPT: Duration = Duration::from_hours(24 * 7);
/// Longest address and version kept, bytes.
const MAX_TEXT: usize = 64;

/// What a login was refused for. Clients are told less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has the name.
    Unknown,
    /// Another password.
    Password,
    /// The person has no password yet.
    NoPassword,
    /// The right password of somebody who is not active.
    NotActive,
    /// Too many failures before.
    Locked,
    /// It could not be checked in time.
    Busy,
}

impl Reason {
    /// As administrators read it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown name",
            Self::Password => "wrong password",
            Self::NoPassword => "no password set",
            Self::NotActive => "not active",
            Self::Locked => "locked",
            Self::Busy => "busy",
        }
    }
}

/// A login that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLogin {
    /// When.
    pub at: UnixSeconds,
    /// Why.
    pub reason: Reason,
    /// The caller's address, cut to 64 bytes.
    pub address: String,
    /// What the client calls itself, cut to 64 bytes.
    pub client_version: String,
}

type Kept = Arc<VecDeque<RefusedLogin>>;

/// See the module.
pub(super) struct Refusals {
    known: Mutex<TtlMap<String, Kept>>,
    others: Mutex<TtlMap<String, Kept>>,
    /// A line a second in the log; how many were left out since the last one.
    line: Throttle,
    left_out: AtomicU64,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::new(TtlMap::new(KNOWN_NAMES, KEPT)),
            others: Mutex::new(TtlMap::new(OTHER_NAMES, KEPT)),
            line: Throttle::default(),
            left_out: AtomicU64::new(0),
        }
    }

    pub(super) fn note(&self, name: &str, call: &LoginCall, reason: Reason) {
        let map = match reason {
            Reason::Unknown | Reason::Busy => &self.others,
            // A lock says nothing about whether somebody has the name.
            Reason::Locked if of(&self.known, name).is_none() => &self.others,
            _ => &self.known,
        };
        let refused = RefusedLogin {
            at: UnixSeconds::now(),
            reason,
            address: cut(&call.address),
            client_version: cut(&call.client_version),
        };
        self.log(name, &refused);
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = map.get(name).unwrap_or_default();
        let all = Arc::make_mut(&mut kept);
        all.push_front(refused);
        all.truncate(EACH);
        map.insert(name.to_owned(), kept);
    }

    /// A line for the operator. A name that nobody has may be a password that was typed in its place.
    fn log(&self, name: &str, refused: &RefusedLogin) {
        if !self.line.is_due() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let user = match refused.reason {
            Reason::Password | Reason::NoPassword | Reason::NotActive => name,
            Reason::Unknown | Reason::Locked | Reason::Busy => "",
        };
        info!(
            user,
            reason = refused.reason.text(),
            address = refused.address,
            client_version = refused.client_version,
            left_out = self.left_out.swap(0, Ordering::Relaxed),
            "a login was refused"
        );
    }

    /// Newest first.
    pub(super) fn list(&self, name: &str) -> Vec<RefusedLogin> {
        let both = [&self.known, &self.others].map(|map| of(map, name).unwrap_or_default());
        let mut all: Vec<_> = both.iter().flat_map(|kept| kept.iter().cloned()).collect();
        all.sort_by_key(|refused| std::cmp::Reverse(refused.at));
        all.truncate(EACH);
        all
    }
}

fn of(map: &Mutex<TtlMap<String, Kept>>, name: &str) -> Option<Kept> {
    map.lock().unwrap_or_else(PoisonError::into_inner).get(name)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(version: &str) -> LoginCall {
        LoginCall {
            client_version: version.to_owned(),
            address: "192.0.2.1".to_owned(),
            ..LoginCall::default()
        }
    }

    #[test]
    fn the_last_refusals_of_a_name_are_kept_newest_first_and_bounded() {
        let refusals = Refusals::new();
        for n in 0..20 {
            refusals.note("ann", &call(&n.to_string()), Reason::Password);
        }
        let kept = refusals.list("ann");
        assert_eq!(kept.len(), EACH);
        assert_eq!(kept[0].client_version, "19");
        // One line, and then at most one a second.
        assert_eq!(refusals.left_out.load(Ordering::Relaxed), 19);
        assert_eq!(refusals.list("ben"), []);
    }

    #[test]
    fn names_that_nobody_has_push_out_no_known_one() {
        let refusals = Refusals::new();
        refusals.note("ann", &call("1"), Reason::NotActive);
        for n in 0..3 * OTHER_NAMES {
            refusals.note(&format!("n{n}"), &call("1"), Reason::Unknown);
        }
        assert_eq!(refusals.list("ann")[0].reason, Reason::NotActive);
        assert_eq!(refusals.list("n0"), []);
    }

    #[test]
    fn texts_of_clients_are_cut() {
        let refusals = Refusals::new();
        refusals.note("ann", &call(&"长".repeat(100)), Reason::Password);
        assert_eq!(refusals.list("ann")[0].client_version, "长".repeat(21));
    }
}
