//! Configuration of db-proxy's links from followers of the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Links of followers of the log, such as push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FollowConfig {
    /// Links of followers; further ones are closed.
    pub max_links: usize,
    /// Names that followers may have; further ones are refused.
    pub max_names: usize,
    /// Calls of one link that are not answered yet; further ones are refused.
    pub calls_per_link: usize,
    /// Messages of one page of the log at most, whatever the caller asks.
    pub page: u32,
    /// Bytes of one page, recipients included; a single message may be larger.
    pub page_bytes: ByteSize,
    /// Longest time for which a follower waits for a message, whatever it asks.
    pub max_wait: Span,
    /// Lines that one step stores and removes together; a longer step is refused.
    pub max_step: usize,
    /// Longest line of what is to be tried again; a longer one is refused.
    pub max_retry: ByteSize,
    /// People, names and groups that one call asks for, each; a longer call is refused.
    pub max_asked: usize,
    /// Test notices that wait for push or are with it; a further one is refused.
    pub max_tests: usize,
    /// Time for push to say what became of a test notice, more than a provider has to answer.
    pub test_timeout: Span,
    /// How long changes of groups and of the directory, and files that are ready, are kept for subscriptions.
    pub changes_for: Span,
    /// Changes that are kept at most, about 60 bytes each.
    pub changes: u32,
    /// Sessions that came and went which are remembered for subscriptions that are about them; the oldest beyond it
    /// are left out.
    pub session_events: ByteSize,
}

impl Default for FollowConfig {
    fn default() -> Self {
        Self {
            max_links: 64,
            max_names: 16,
            calls_per_link: 64,
            page: 2_000,
            page_bytes: ByteSize::mib(2),
            max_wait: Span::seconds(10),
            max_step: 10_000,
            max_retry: ByteSize::kib(16),
            max_asked: 10_000,
            max_tests: 8,
            test_timeout: Span::seconds(15),
            changes_for: Span::days(7),
            changes: 1_000_000,
            session_events: ByteSize::mib(4),
        }
    }
}

impl Check for FollowConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            max_links,
            max_names,
            calls_per_link,
            page,
            page_bytes,
            max_wait,
            max_step,
            max_retry,
            max_asked,
            max_tests,
            test_timeout,
            changes_for,
            changes,
            session_events,
        } = self;
        checker.range("max_links", max_links, &(1..=4_096));
        checker.range("max_names", max_names, &(1..=1_024));
        checker.range("calls_per_link", calls_per_link, &(8..=4_096));
        checker.range("page", page, &(1..=100_000));
        let bytes = ByteSize::kib(64)..=ByteSize::mib(16);
        checker.range("page_bytes", page_bytes, &bytes);
        let wait = Span::millis(100)..=Span::seconds(60);
        checker.range("max_wait", max_wait, &wait);
        checker.range("max_step", max_step, &(1_000..=100_000));
        let retry = ByteSize::kib(8)..=ByteSize::mib(1);
        checker.range("max_retry", max_retry, &retry);
        checker.range("max_asked", max_asked, &(4_096..=100_000));
        checker.range("max_tests", max_tests, &(1..=1_024));
        let test = Span::millis(100)..=Span::seconds(60);
        checker.range("test_timeout", test_timeout, &test);
        let kept = Span::seconds(60)..=Span::days(365);
        checker.range("changes_for", changes_for, &kept);
        checker.steps("changes_for", changes_for, &Span::seconds(1));
        checker.range("changes", changes, &(1_000..=100_000_000));
        let events = ByteSize::kib(4)..=ByteSize::mib(256);
        checker.range("session_events", session_events, &events);
    }
}
