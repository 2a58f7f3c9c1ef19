//! Configuration of the before-send filter: a server of one's own that is asked before messages are stored.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::push::is_url;
use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Groups, and senders, that may be named.
const MAX_NAMED: usize = 1_024;

/// A server of your own that is asked before messages are stored, and allows, denies or replaces each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterConfig {
    /// Its URL; empty = nobody is asked. It may be an address inside: whoever writes this file says so.
    pub url: String,
    /// File with the secret that signs, one or two lines: while a secret is replaced there are two, and both
    /// sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Kinds of messages that it is asked about; none = all.
    pub kinds: Vec<FilterKind>,
    /// Groups whose messages it is asked about, by id; none = all, and pairs of people.
    pub groups: Vec<u32>,
    /// Senders whose messages it is asked about, by id; none = all.
    pub senders: Vec<u32>,
    /// What becomes of a message of which it has not said anything of use.
    pub on_failure: OnFailure,
    /// Time for it to answer, connection and all.
    pub timeout: Span,
    /// Messages of one request.
    pub batch: usize,
    /// Bytes of the messages of one request, as they came; a single one may be larger.
    pub batch_bytes: ByteSize,
    /// Largest answer; a longer one is a failure.
    pub max_answer: ByteSize,
    /// Requests that are under way; further messages wait.
    pub in_flight: usize,
    /// Messages that wait for a verdict or behind one; further ones are given up at once, without an
    /// acknowledgement. At most half of `db_proxy.attach.calls_per_link`.
    pub waiting_messages: usize,
    /// Bytes of them, and 512 more for each; as with their number.
    pub waiting_bytes: ByteSize,
    /// The same of one conversation.
    pub conversation_bytes: ByteSize,
    /// The same of one sender.
    pub sender_bytes: ByteSize,
    /// Requests in a row that failed, after which it is left alone for a while.
    pub failures: u32,
    /// How long it is left alone; then it gets one request.
    pub pause: Span,
}

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FilterKind {
    /// Texts, which the filter reads.
    Text,
    /// Voice messages, of which it learns sender, receiver and size.
    Voice,
}

/// What becomes of a message of which the filter has not said anything of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It is stored as it is.
    #[default]
    Allow,
    /// It is refused: no acknowledgement.
    Deny,
}

impl FilterConfig {
    /// Whether there is one.
    pub const fn is_on(&self) -> bool {
        !self.url.is_empty()
    }
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret_file: None,
            kinds: Vec::new(),
            groups: Vec::new(),
            senders: Vec::new(),
            on_failure: OnFailure::Allow,
            timeout: Span::millis(500),
            batch: 64,
            batch_bytes: ByteSize::kib(256),
            max_answer: ByteSize::mib(1),
            in_flight: 8,
            waiting_messages: 4_096,
            waiting_bytes: ByteSize::mib(16),
            conversation_bytes: ByteSize::mib(4),
            sender_bytes: ByteSize::mib(1),
            failures: 5,
            pause: Span::seconds(5),
        }
    }
}

impl Check for FilterConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            url,
            secret_file,
            kinds: _,
            groups,
            senders,
            on_failure: _,
            timeout,
            batch,
            batch_bytes,
            max_answer,
            in_flight,
            waiting_messages,
            waiting_bytes,
            conversation_bytes,
            sender_bytes,
            failures,
            pause,
        } = self;
        checker.require(
            "url",
            url.is_empty() || is_url(url),
            "be http://HOST/… or https://HOST/…",
        );
        checker.require(
            "secret_file",
            url.is_empty() || secret_file.is_some(),
            "be given, since every request is signed",
        );
        for (key, named) in [("groups", groups), ("senders", senders)] {
            let fits = named.len() <= MAX_NAMED && !named.contains(&0);
            checker.require(key, fits, "be at most 1024 ids, none of them 0");
        }
        let answered = Span::millis(50)..=Span::seconds(2);
        checker.range("timeout", timeout, &answered);
        checker.range("batch", batch, &(1..=64));
        let bytes = ByteSize::kib(1)..=ByteSize::mib(1);
        checker.range("batch_bytes", batch_bytes, &bytes);
        let answer = ByteSize::kib(1)..=ByteSize::mib(16);
        checker.range("max_answer", max_answer, &answer);
        checker.range("in_flight", in_flight, &(1..=64));
        checker.range("waiting_messages", waiting_messages, &(1..=1_000_000));
        let waiting = ByteSize::kib(1)..=ByteSize::mib(1_024);
        checker.range("waiting_bytes", waiting_bytes, &waiting);
        checker.range("conversation_bytes", conversation_bytes, &waiting);
        checker.range("sender_bytes", sender_bytes, &waiting);
        checker.range("failures", failures, &(1..=1_000_000));
        let pause_range = Span::millis(10)..=Span::seconds(3_600);
        checker.range("pause", pause, &pause_range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds_and_ask_nobody() {
        let config = FilterConfig::default();
        config.validate().unwrap();
        assert!(!config.is_on());
    }

    #[test]
    fn a_filter_has_a_url_and_a_secret_and_names_ids() {
        let judged = |url: &str, change: fn(&mut FilterConfig)| {
            let mut config = FilterConfig {
                url: url.to_owned(),
                secret_file: Some("secret".into()),
                ..FilterConfig::default()
            };
            change(&mut config);
            config.validate().map_err(|error| error.to_string())
        };
        assert_eq!(judged("http://10.0.0.1:8080/filter", |_| {}), Ok(()));
        for url in ["filter.example.com", "ftp://a", "http://a b/"] {
            assert!(judged(url, |_| {}).is_err(), "{url}");
        }
        let url = "https://filter.example.com/";
        let error = judged(url, |config| config.secret_file = None).unwrap_err();
        assert!(error.contains("secret_file"), "{error}");
        assert!(judged(url, |config| config.groups = vec![0]).is_err());
        assert!(judged(url, |config| config.senders = vec![7; MAX_NAMED]).is_ok());
        assert!(judged(url, |config| config.senders = vec![7; MAX_NAMED + 1]).is_err());
        for (millis, fits) in [(49, false), (50, true), (2_000, true), (2_001, false)] {
            let config = FilterConfig {
                timeout: Span::millis(millis),
                ..FilterConfig::default()
            };
            assert_eq!(config.validate().is_ok(), fits, "{millis} ms");
        }
    }

    fn count(n: u64) -> usize {
        usize::try_from(n).unwrap()
    }

    /// Each bound with the least and the most that it takes; one less and one more are refused by its name.
    #[test]
    fn every_bound_is_taken_at_its_edges_and_refused_beyond() {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        type Set = fn(&mut FilterConfig, u64);
        let bounds: [(&str, u64, u64, Set); 11] = [
            ("timeout", 50, 2_000, |it, n| it.timeout = Span::millis(n)),
            ("batch", 1, 64, |it, n| it.batch = count(n)),
            ("batch_bytes", KIB, MIB, |it, n| {
                it.batch_bytes = ByteSize::bytes(n);
            }),
            ("max_answer", KIB, 16 * MIB, |it, n| {
                it.max_answer = ByteSize::bytes(n);
            }),
            ("in_flight", 1, 64, |it, n| it.in_flight = count(n)),
            ("waiting_messages", 1, 1_000_000, |it, n| {
                it.waiting_messages = count(n);
            }),
            ("waiting_bytes", KIB, 1_024 * MIB, |it, n| {
                it.waiting_bytes = ByteSize::bytes(n);
            }),
            ("conversation_bytes", KIB, 1_024 * MIB, |it, n| {
                it.conversation_bytes = ByteSize::bytes(n);
            }),
            ("sender_bytes", KIB, 1_024 * MIB, |it, n| {
                it.sender_bytes = ByteSize::bytes(n);
            }),
            ("failures", 1, 1_000_000, |it, n| {
                it.failures = u32::try_from(n).unwrap();
            }),
            ("pause", 10, 3_600_000, |it, n| it.pause = Span::millis(n)),
        ];
        for (name, least, most, set) in bounds {
            for (value, fits) in [
                (least - 1, false),
                (least, true),
                (most, true),
                (most + 1, false),
            ] {
                let mut config = FilterConfig::default();
                set(&mut config, value);
                match config.validate() {
                    Ok(()) => assert!(fits, "{name} = {value}"),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(!fits && error.contains(name), "{name} = {value}: {error}");
                    }
                }
            }
        }
    }
}
