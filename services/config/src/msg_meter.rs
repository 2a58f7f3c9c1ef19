//! How much a client may ask for: one table for every command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::ByteSize;
use crate::{Check, Checker};

/// Frames, or requests, of one kind: so many at once, and then so many a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A minute after that.
    pub per_minute: u32,
}

const fn rate(burst: u32, per_minute: u32) -> Rate {
    Rate { burst, per_minute }
}

/// Rates of clients' commands. Messages have theirs in `rate_limit` and `rate_burst`; 0 there turns all
/// of these off.
///
/// Beyond a rate a connection is read later and nothing is dropped; beyond `ignored` it is closed,
/// since no client sends such frames. Rates under "per user", bytes of answers and of messages count all
/// terminals of a user on one msg server together, and over reconnects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeterConfig {
    /// Heartbeats (0xffff 0x0001), per connection.
    pub heartbeat: Rate,
    /// Questions for the time, per connection.
    pub time: Rate,
    /// Questions for presence, per connection.
    pub presence: Rate,
    /// Other questions: history, sessions, unread counters, people, groups; per connection.
    pub query: Rate,
    /// Read acknowledgements, per connection.
    pub read_ack: Rate,
    /// Receipts for received messages, per connection.
    pub receipt: Rate,
    /// File requests, per connection.
    pub file: Rate,
    /// Frames that nobody answers: unknown commands, those of servers, requests before login. Per
    /// connection; beyond it the connection is closed.
    pub ignored: Rate,
    /// Own settings: shields, push token, removed conversations; per user.
    pub setting: Rate,
    /// Changes that others are told of: signature, avatar, groups and their members; per user.
    pub change: Rate,
    /// Signals to other users, per user.
    pub signal: Rate,
    /// Kicks of the own PC, per user.
    pub kick: Rate,
    /// Bytes of all frames of one connection at once.
    pub bytes_burst: ByteSize,
    /// Bytes of all frames of one connection per second after that.
    pub bytes_per_second: ByteSize,
    /// Bytes of answers of one user at once: history, the directory, presence. Beyond it their next
    /// question is read later.
    pub answers_burst: ByteSize,
    /// Bytes of answers of one user per second after that.
    pub answers_per_second: ByteSize,
}

impl Default for MeterConfig {
    /// Twice what the busiest script of an original client does.
    fn default() -> Self {
        Self {
            // Windows: one in 5 s; those of some minutes gather while a network is away.
            heartbeat: rate(60, 24),
            // Windows: one in 600 s, and one at each of a few logins in a row.
            time: rate(10, 6),
            // Windows: 300 ids a frame after each login: 167 frames at 50,000 people.
            presence: rate(334, 60),
            // Windows: history of each unread conversation at once after a login, 500 of them. Later a
            // person who opens one conversation after another asks five things each second.
            query: rate(1_000, 600),
            // One for each message that arrives in an open conversation: a group in an uproar.
            read_ack: rate(2_000, 6_000),
            // iOS, Android: one for each message that arrives, those of a push burst at once.
            receipt: rate(8_000, 24_000),
            // Windows: offline files after a login, then one a file by hand.
            file: rate(40, 60),
            // Nobody: slack for clients that are newer than this server.
            ignored: rate(4_096, 600),
            // By hand: switches of a screen, one a second at most.
            setting: rate(60, 60),
            // By hand: somebody who makes the groups of a new department.
            change: rate(60, 30),
            // Windows: "is typing" and a shake, at most one a second in two conversations.
            signal: rate(40, 240),
            // Android, iOS: a button.
            kick: rate(4, 12),
            // Mac: presence of 50,000 people, 300 KB, and a minute of speech, 100 KB, together.
            bytes_burst: ByteSize::mib(4),
            // Windows: ten texts of 4 KiB a second is the pace of its send queue.
            bytes_per_second: ByteSize::kib(80),
            // All: the directory of 50,000 people, 15 MB, four times in a row.
            answers_burst: ByteSize::mib(64),
            // A person who opens five conversations a second, each with 200 KB of speech.
            answers_per_second: ByteSize::mib(1),
        }
    }
}

impl Check for MeterConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            heartbeat,
            time,
            presence,
            query,
            read_ack,
            receipt,
            file,
            ignored,
            setting,
            change,
            signal,
            kick,
            bytes_burst,
            bytes_per_second,
            answers_burst,
            answers_per_second,
        } = self;
        for (name, rate) in [
            ("heartbeat", heartbeat),
            ("time", time),
            ("presence", presence),
            ("query", query),
            ("read_ack", read_ack),
            ("receipt", receipt),
            ("file", file),
            ("ignored", ignored),
            ("setting", setting),
            ("change", change),
            ("signal", signal),
            ("kick", kick),
        ] {
            checker.range(&format!("{name}.burst"), &rate.burst, &(1..=10_000));
            checker.range(
                &format!("{name}.per_minute"),
                &rate.per_minute,
                &(1..=60_000),
            );
        }
        let least = ByteSize::kib(1);
        checker.range("bytes_burst", bytes_burst, &(least..=ByteSize::mib(1_024)));
        checker.range(
            "bytes_per_second",
            bytes_per_second,
            &(least..=ByteSize::mib(1_024)),
        );
        for (name, bytes) in [
            ("answers_burst", answers_burst),
            ("answers_per_second", answers_per_second),
        ] {
            checker.range(name, bytes, &(least..=ByteSize::mib(2_048)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        MeterConfig::default().validate().unwrap();
    }
}
