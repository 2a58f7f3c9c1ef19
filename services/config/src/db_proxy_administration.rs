//! What administration keeps: the audit log, idempotency keys, tokens, hooks, bots, announcements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Bounds of administration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdministrationConfig {
    /// Rows of the audit log, at most 10 KB each; a new one drops the oldest beyond these.
    pub audit_rows: u32,
    /// How long a row of the audit log is kept, if there are not too many.
    pub audit_for: Span,
    /// Rows about refused requests of the HTTP API in one minute; further ones are only counted.
    pub audit_refusals_per_minute: u32,
    /// Idempotency keys that are kept, at most 6 KB each; changes under further ones are refused.
    pub idempotency_keys: u32,
    /// How long an idempotency key is kept.
    pub idempotency_for: Span,
    /// Tokens of the HTTP API; revoked and expired ones count for 30 days more.
    pub tokens: u32,
    /// The longest that a token may be good.
    pub token_lifetime: Span,
    /// Subscriptions, at most 8 KB each.
    pub subscriptions: u32,
    /// Deliveries of one subscription that are kept, at most 1 KB each, and as many that were given up; the
    /// oldest go.
    pub deliveries: u32,
    /// Incoming hooks, at most 1 KB each.
    pub incoming_hooks: u32,
    /// Bots, at most 1 KB each.
    pub bots: u32,
    /// Requests of bots that wait for messages, from all http-api servers together; about 8 KiB
    /// each.
    pub bot_waiters: usize,
    /// Places of the log that one read for a bot looks at; there is one such read at a time.
    pub bot_places: u32,
    /// Messages that one answer to a bot holds, as they are stored; the first one comes whatever its size.
    pub bot_page: ByteSize,
    /// Discovery items, at most 1 KB each.
    pub discovery_items: u32,
    /// Announcements that are being sent or wait for their turn.
    pub announcements: u32,
    /// Announcements that have ended and are still told of; the oldest go.
    pub ended_announcements: u32,
    /// Messages of announcements in one second.
    pub announcement_rate: u32,
    /// People that one announcement names; 12 bytes each.
    pub announcement_people: usize,
    /// Largest body of an announcement as clients send it, which is about 4/3 of its text; it is stored once
    /// for each person.
    pub max_announcement: ByteSize,
}

impl Default for AdministrationConfig {
    fn default() -> Self {
        Self {
            audit_rows: 1_000_000,
            audit_for: Span::days(400),
            audit_refusals_per_minute: 60,
            idempotency_keys: 100_000,
            idempotency_for: Span::days(1),
            tokens: 1_000,
            token_lifetime: Span::days(365),
            subscriptions: 32,
            deliveries: 100,
            incoming_hooks: 256,
            bots: 256,
            bot_waiters: 1_024,
            bot_places: 10_000,
            bot_page: ByteSize::kib(256),
            discovery_items: 100,
            announcements: 16,
            ended_announcements: 100,
            announcement_rate: 200,
            announcement_people: 1_000,
            max_announcement: ByteSize::kib(16),
        }
    }
}

impl Check for AdministrationConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            audit_rows,
            audit_for,
            audit_refusals_per_minute,
            idempotency_keys,
            idempotency_for,
            tokens,
            token_lifetime,
            subscriptions,
            deliveries,
            incoming_hooks,
            bots,
            bot_waiters,
            bot_places,
            bot_page,
            discovery_items,
            announcements,
            ended_announcements,
            announcement_rate,
            announcement_people,
            max_announcement,
        } = self;
        checker.range("audit_rows", audit_rows, &(1_000..=100_000_000));
        checker.range("audit_for", audit_for, &(Span::days(1)..=Span::days(3_650)));
        checker.range(
            "audit_refusals_per_minute",
            audit_refusals_per_minute,
            &(1..=100_000),
        );
        checker.range("idempotency_keys", idempotency_keys, &(1..=10_000_000));
        checker.range(
            "idempotency_for",
            idempotency_for,
            &(Span::seconds(60)..=Span::days(30)),
        );
        checker.range("tokens", tokens, &(1..=100_000));
        checker.range(
            "token_lifetime",
            token_lifetime,
            &(Span::seconds(60)..=Span::days(3_650)),
        );
        checker.range("subscriptions", subscriptions, &(0..=256));
        checker.range("deliveries", deliveries, &(1..=10_000));
        checker.range("incoming_hooks", incoming_hooks, &(0..=10_000));
        checker.range("bots", bots, &(0..=10_000));
        checker.range("bot_waiters", bot_waiters, &(1..=100_000));
        checker.range("bot_places", bot_places, &(1..=1_000_000));
        let page = ByteSize::kib(1)..=ByteSize::mib(2);
        checker.range("bot_page", bot_page, &page);
        checker.range("discovery_items", discovery_items, &(0..=1_000));
        checker.range("announcements", announcements, &(0..=256));
        checker.range("ended_announcements", ended_announcements, &(1..=1_000));
        checker.range("announcement_rate", announcement_rate, &(1..=10_000));
        checker.range("announcement_people", announcement_people, &(1..=10_000));
        let body = ByteSize::bytes(64)..=ByteSize::kib(256);
        checker.range("max_announcement", max_announcement, &body);
        // The store keeps whole seconds.
        checker.steps("audit_for", audit_for, &Span::seconds(1));
        checker.steps("idempotency_for", idempotency_for, &Span::seconds(1));
        checker.steps("token_lifetime", token_lifetime, &Span::seconds(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        AdministrationConfig::default().validate().unwrap();
    }
}
