//! Configuration of what push delivers to subscriptions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Deliveries to the receivers that subscribed over the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubscriptionsConfig {
    /// Whether this process delivers.
    pub enabled: bool,
    /// Whether events carry the text of messages: to whoever may subscribe, all of them.
    pub text: bool,
    /// Events of one request.
    pub batch: usize,
    /// Bytes of the events of one request; a single one may be larger.
    pub batch_bytes: ByteSize,
    /// Longest body of a message that is read for its text; a longer one comes without.
    pub text_bytes: ByteSize,
    /// Bytes of the log that are read at a time, for each subscription.
    pub page_bytes: ByteSize,
    /// Time for a receiver to answer.
    pub attempt_timeout: Span,
    /// Wait before a request is tried again the first time; it doubles.
    pub retry_min: Span,
    /// Longest wait.
    pub retry_max: Span,
    /// Time after which what a receiver does not take is given up.
    pub dead_after: Span,
    /// How often db-proxy is asked which subscriptions there are.
    pub look_every: Span,
    /// Wait between looks at the log, in which messages gather.
    pub gather: Span,
}

impl Default for SubscriptionsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            text: false,
            batch: 100,
            batch_bytes: ByteSize::kib(256),
            text_bytes: ByteSize::kib(8),
            page_bytes: ByteSize::kib(256),
            attempt_timeout: Span::seconds(10),
            retry_min: Span::seconds(1),
            retry_max: Span::seconds(3_600),
            dead_after: Span::seconds(86_400),
            look_every: Span::seconds(1),
            gather: Span::millis(100),
        }
    }
}

impl Check for SubscriptionsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            enabled: _,
            text: _,
            batch,
            batch_bytes,
            text_bytes,
            page_bytes,
            attempt_timeout,
            retry_min,
            retry_max,
            dead_after,
            look_every,
            gather,
        } = self;
        checker.range("batch", batch, &(1..=100));
        let bytes = ByteSize::kib(1)..=ByteSize::mib(1);
        checker.range("batch_bytes", batch_bytes, &bytes);
        checker.range(
            "text_bytes",
            text_bytes,
            &(ByteSize::bytes(1)..=ByteSize::kib(64)),
        );
        let page = ByteSize::kib(64)..=ByteSize::mib(2);
        checker.range("page_bytes", page_bytes, &page);
        let short = Span::millis(10)..=Span::seconds(60);
        checker.range("attempt_timeout", attempt_timeout, &short);
        let wait = Span::millis(10)..=Span::days(1);
        checker.range("retry_min", retry_min, &wait);
        checker.range("retry_max", retry_max, &wait);
        checker.not_below("retry_max", retry_max, "retry_min", retry_min);
        let long = Span::seconds(1)..=Span::days(28);
        checker.range("dead_after", dead_after, &long);
        let often = Span::millis(10)..=Span::seconds(60);
        checker.range("look_every", look_every, &often);
        checker.range("gather", gather, &(Span::millis(1)..=Span::seconds(10)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds_and_tell_no_text() {
        let config = SubscriptionsConfig::default();
        config.validate().unwrap();
        assert!(!config.text);
    }
}
