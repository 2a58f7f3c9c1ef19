//! Configuration of the Monitor of http-api: who reports to it, and who asks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker, LinkConfig};

/// What an http-api server knows of the other servers, which report to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Largest message of a link, in each direction; whoever sends a larger one loses the link.
    pub max_message: ByteSize,
    /// Servers that are known; reports of further ones are refused.
    pub max_servers: usize,
    /// Questions to one server that are not answered; further ones are answered 503.
    pub questions: usize,
    /// Time for a server to answer a question.
    pub question_timeout: Span,
    /// Silence after which a server that reports every two seconds loses its link.
    pub silence: Span,
    /// Bytes per second that a server may report without being asked, and eight times that at once; then it
    /// loses its link.
    pub report_rate: ByteSize,
    /// Subscribers of events at the same time; further ones are answered 503, and 429 where a token has a
    /// quarter of them.
    pub subscribers: usize,
    /// Events that may wait for all subscribers; who is further behind is told how many were left out.
    pub events: usize,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            max_message: ByteSize::mib(8),
            max_servers: 2_000,
            questions: 16,
            question_timeout: Span::seconds(3),
            silence: Span::seconds(10),
            report_rate: ByteSize::mib(1),
            subscribers: 128,
            events: 1_024,
        }
    }
}

impl MonitorConfig {
    /// The link of reports, at both ends.
    pub fn link(&self) -> LinkConfig {
        LinkConfig {
            max_batch: self.max_message,
            queue_batches: 16,
            ..LinkConfig::default()
        }
    }
}

impl Check for MonitorConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            max_message,
            max_servers,
            questions,
            question_timeout,
            silence,
            report_rate,
            subscribers,
            events,
        } = self;
        let message = ByteSize::mib(1)..=ByteSize::mib(8);
        checker.range("max_message", max_message, &message);
        checker.range("max_servers", max_servers, &(1..=10_000));
        checker.range("questions", questions, &(1..=1_000));
        let time = Span::millis(10)..=Span::seconds(60);
        checker.range("question_timeout", question_timeout, &time);
        let silence_bounds = Span::seconds(4)..=Span::seconds(600);
        checker.range("silence", silence, &silence_bounds);
        let rate = ByteSize::kib(16)..=ByteSize::mib(64);
        checker.range("report_rate", report_rate, &rate);
        checker.range("subscribers", subscribers, &(1..=10_000));
        checker.range("events", events, &(1..=65_536));
    }
}
