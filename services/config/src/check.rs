//! How a configuration is judged: every key that breaks its bound is named, not only the first.
//!
//! A configuration type implements [`Check`]; nested tables are visited by [`Checker::table`], so
//! each violation carries the full path of its key. What a key declares here is what its schema says.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::PeerSource;
use crate::bounds::{Amount, Bound, Declared};

/// What a value must be, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Within a range.
    Within {
        /// The least.
        least: Amount,
        /// The most.
        most: Amount,
        /// The value.
        is: Amount,
    },
    /// No less than something else.
    NotBelow {
        /// The key that says how much, or words for it.
        other: String,
        /// How much that is.
        least: Amount,
        /// The value.
        is: Amount,
    },
    /// No more than something else.
    NotAbove {
        /// The key that says how much, or words for it.
        other: String,
        /// How much that is.
        most: Amount,
        /// The value.
        is: Amount,
    },
    /// A whole number of steps.
    Steps {
        /// One step.
        step: Amount,
        /// The value.
        is: Amount,
    },
    /// Anything else, as a sentence without its subject.
    Other(String),
}

impl Rule {
    /// The rule with its amounts written by `shown`.
    pub fn with_amounts(&self, shown: impl Fn(&Amount) -> String) -> String {
        match self {
            Self::Within { least, most, is } => {
                let [least, most, is] = [least, most, is].map(shown);
                format!("must be {least} to {most}, is {is}")
            }
            Self::NotBelow { other, least, is } => {
                let [least, is] = [least, is].map(shown);
                format!("must be at least {other} ({least}), is {is}")
            }
            Self::NotAbove { other, most, is } => {
                let [most, is] = [most, is].map(shown);
                format!("must be at most {other} ({most}), is {is}")
            }
            Self::Steps { step, is } => {
                let [step, is] = [step, is].map(shown);
                format!("must be a multiple of {step}, is {is}")
            }
            Self::Other(rule) => rule.clone(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_amounts(Amount::to_string))
    }
}

/// A key that breaks its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Path of the key, such as `msg.link.keepalive`.
    pub key: String,
    /// What the value must be, and what it is.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.rule)
    }
}

/// All violations of one configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, violation) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

/// In place of a public address: that on which the client came to the login server that it asked. Only
/// where both are one process.
pub const WHERE_ASKED: &str = "*";

/// Longest name of a host, and of one of its labels, bytes.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

fn is_public_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return !address.is_unspecified() && !address.is_multicast();
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let mut labels = host.trim_end_matches('.').split('.');
    let last = host.trim_end_matches('.').rsplit('.').next();
    host.len() <= MAX_HOST
        && labels.all(is_label)
        // What ends in a number is meant as an IPv4 address, and is none.
        && last.is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A table of the configuration that knows its bounds.
pub trait Check {
    /// Reports each key that breaks its bound.
    fn check(&self, checker: &mut Checker);

    /// Judges this table alone.
    ///
    /// # Errors
    /// Every bound that a key breaks.
    fn validate(&self) -> Result<(), Violations> {
        let mut checker = Checker::default();
        self.check(&mut checker);
        checker.finish()
    }
}

/// Gathers violations, and what the keys declare.
#[derive(Debug, Default)]
pub struct Checker {
    path: Vec<String>,
    found: Vec<Violation>,
    declared: Vec<Declared>,
}

impl Checker {
    /// The value must lie within the range, whatever other keys say.
    pub fn range<T>(&mut self, key: &str, value: &T, range: &RangeInclusive<T>)
    where
        T: PartialOrd + Copy + Into<Amount>,
    {
        let (least, most) = ((*range.start()).into(), (*range.end()).into());
        self.declare(key, Bound::Range { least, most });
        if !range.contains(value) {
            let is = (*value).into();
            self.report(key, Rule::Within { least, most, is });
        }
    }

    /// The value must be no less than that of another key of the table, or than what `other` says.
    pub fn not_below<T>(&mut self, key: &str, value: &T, other: &str, least: &T)
    where
        T: PartialOrd + Copy + Into<Amount>,
    {
        let other = other.to_owned();
        self.declare(key, Bound::NotBelow(other.clone()));
        if value < least {
            let (least, is) = ((*least).into(), (*value).into());
            self.report(key, Rule::NotBelow { other, least, is });
        }
    }

    /// The value must be no more than that of another key of the table, or than what `other` says.
    pub fn not_above<T>(&mut self, key: &str, value: &T, other: &str, most: &T)
    where
        T: PartialOrd + Copy + Into<Amount>,
    {
        let other = other.to_owned();
        self.declare(key, Bound::NotAbove(other.clone()));
        if value > most {
            let (most, is) = ((*most).into(), (*value).into());
            self.report(key, Rule::NotAbove { other, most, is });
        }
    }

    /// The value must be a whole number of such steps, because it is counted in them.
    pub fn steps<T>(&mut self, key: &str, value: &T, step: &T)
    where
        T: Copy + Into<Amount>,
    {
        let (is, step) = ((*value).into(), (*step).into());
        self.declare(key, Bound::Steps(step));
        if !is.is_multiple_of(&step) {
            self.report(key, Rule::Steps { step, is });
        }
    }

    /// The text must have at most so many bytes.
    pub fn length(&mut self, key: &str, text: &str, most: usize) {
        self.declare(key, Bound::Length(most));
        if text.len() > most {
            let has = text.len();
            self.violation(key, format!("must have at most {most} bytes, has {has}"));
        }
    }

    /// The condition must hold; `rule` completes "must ...".
    pub fn require(&mut self, key: &str, holds: bool, rule: &str) {
        if !holds {
            self.violation(key, format!("must {rule}"));
        }
    }

    /// The text must be an address to listen on, `host:port`, where port 0 lets the kernel choose.
    pub fn listen(&mut self, key: &str, address: &str) {
        let well_formed = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !well_formed {
            self.violation(key, format!("must be host:port, is {address:?}"));
        }
    }

    /// The text must be empty, or an IP address of one machine, or the name of a host: what somebody
    /// else can be told to dial, without a scheme and without a port; or [`WHERE_ASKED`].
    pub fn public_host(&mut self, key: &str, host: &str) {
        if !host.is_empty() && host != WHERE_ASKED && !is_public_host(host) {
            self.violation(
                key,
                format!(
                    "must be an IP address or the name of a host, without scheme and port, is {host:?}"
                ),
            );
        }
    }

    /// No two of these may listen on one port of one address: each is a key and its `host:port`, those that
    /// are empty do not listen, and port 0 is one that the kernel chooses.
    pub fn apart(&mut self, listeners: &[(&str, &str)]) {
        for (n, (key, address)) in listeners.iter().enumerate() {
            let taken = listeners
                .iter()
                .take(n)
                .find(|(_, other)| collide(address, other));
            if let Some((other, at)) = taken {
                let rule = format!("must not be {address:?}: {other} is {at:?}");
                self.violation(key, rule);
            }
        }
    }

    /// Every entry must be the address of a peer, `host:port` or `name=host:port`, or the only entry
    /// names a Service, `kubernetes:<service>:<port name>`.
    pub fn peers(&mut self, key: &str, peers: &[String]) {
        match PeerSource::of(peers) {
            Ok(PeerSource::Kubernetes(_)) => {}
            Err(error) => self.violation(key, error.to_string()),
            Ok(PeerSource::List) => {
                for peer in peers.iter().filter(|peer| !is_address_of_peer(peer)) {
                    self.violation(
                        key,
                        format!("must hold host:port or name=host:port, has {peer:?}"),
                    );
                }
            }
        }
    }

    /// Visits a nested table.
    pub fn table(&mut self, key: &str, table: &impl Check) {
        self.path.push(key.to_owned());
        table.check(self);
        self.path.pop();
    }

    /// Reports a violation of a key of the present table.
    pub fn violation(&mut self, key: &str, rule: String) {
        self.report(key, Rule::Other(rule));
    }

    fn report(&mut self, key: &str, rule: Rule) {
        let key = self.path_of(key);
        self.found.push(Violation { key, rule });
    }

    fn declare(&mut self, key: &str, bound: Bound) {
        let key = self.path_of(key);
        self.declared.push(Declared { key, bound });
    }

    fn path_of(&self, key: &str) -> String {
        let tables = self.path.iter().map(String::as_str);
        tables.chain([key]).collect::<Vec<_>>().join(".")
    }

    /// What the keys that were judged declare.
    pub fn declared(self) -> Vec<Declared> {
        self.declared
    }

    /// The verdict.
    ///
    /// # Errors
    /// Every bound that a key has broken.
    pub fn finish(self) -> Result<(), Violations> {
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(Violations(self.found))
        }
    }
}

/// Whether only one of two listeners can have its address, as far as their texts tell.
fn collide(one: &str, other: &str) -> bool {
    let (Some((host, port)), Some((other_host, other_port))) =
        (one.rsplit_once(':'), other.rsplit_once(':'))
    else {
        return false;
    };
    let same_port = match (port.parse::<u16>(), other_port.parse::<u16>()) {
        (Ok(port), Ok(other)) => port == other && port != 0,
        _ => false,
    };
    let hosts = [host, other_host];
    let same_family = host.starts_with('[') == other_host.starts_with('[');
    let all_of_ipv4 = same_family && hosts.contains(&"0.0.0.0");
    same_port && (host == other_host || hosts.contains(&"[::]") || all_of_ipv4)
}

fn is_address_of_peer(peer: &str) -> bool {
    let address = peer.split_once('=').map_or(peer, |(_, address)| address);
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Inner(u64);
    impl Check for Inner {
        fn check(&self, checker: &mut Checker) {
            checker.range("depth", &self.0, &(1..=9));
        }
    }
    struct Outer(Inner, &'static str);
    impl Check for Outer {
        fn check(&self, checker: &mut Checker) {
            checker.table("inner", &self.0);
            checker.listen("listen", self.1);
            checker.peers("peers", &["a=b:1".to_owned(), "c".to_owned()]);
        }
    }

    #[test]
    fn every_violation_is_named_with_its_path_and_bound() {
        let error = Outer(Inner(10), "nowhere").validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "inner.depth: must be 1 to 9, is 10; listen: must be host:port, is \"nowhere\"; \
             peers: must hold host:port or name=host:port, has \"c\""
        );
    }

    #[test]
    fn two_listeners_of_one_port_are_both_named() {
        let judge = |one: &str, other: &str| {
            let mut checker = Checker::default();
            checker.apart(&[("a.listen", one), ("b.none", ""), ("c.listen", other)]);
            checker.finish().map_err(|error| error.to_string())
        };
        assert_eq!(
            judge("127.0.0.1:10601", "0.0.0.0:10601").unwrap_err(),
            "c.listen: must not be \"0.0.0.0:10601\": a.listen is \"127.0.0.1:10601\""
        );
        for (one, other) in [
            ("h:1", "h:1"),
            ("0.0.0.0:1", "h:1"),
            ("[::]:1", "[::1]:1"),
            ("[::]:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "[::]:1"),
        ] {
            assert!(judge(one, other).is_err(), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "0.0.0.0:2"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:1", "127.0.0.1:1"),
            ("[::1]:1", "0.0.0.0:1"),
            ("", ""),
        ] {
            assert_eq!(judge(one, other), Ok(()), "{one} {other}");
        }
    }

    #[test]
    fn a_service_stands_alone_in_its_list() {
        let judge = |peers: &[&str]| {
            let mut checker = Checker::default();
            let peers: Vec<String> = peers.iter().map(|&peer| peer.to_owned()).collect();
            checker.peers("route", &peers);
            checker.finish().map_err(|error| error.to_string())
        };
        assert_eq!(judge(&["kubernetes:demo-route:grpc"]), Ok(()));
        assert_eq!(
            judge(&["kubernetes:demo-route:grpc", "h:1"]),
            Err("route: must have nothing beside \"kubernetes:demo-route:grpc\"".to_owned())
        );
        assert_eq!(
            judge(&["kubernetes:demo-route"]),
            Err(
                "route: must be kubernetes:<service>:<port name>, has \"kubernetes:demo-route\""
                    .to_owned()
            )
        );
    }
}
