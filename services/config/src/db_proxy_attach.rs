//! Configuration of db-proxy's links from msg servers.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Bounds of the bytes of a batch: below what a link accepts by default.
pub(crate) const BATCH_BYTES: RangeInclusive<ByteSize> = ByteSize::kib(4)..=ByteSize::mib(32);

/// Bounds of what is shared out in bytes.
const POOL_BYTES: RangeInclusive<ByteSize> = ByteSize::kib(64)..=ByteSize::mib(4_095);

/// Links of msg servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttachConfig {
    /// Messages of one link that are not answered yet; further ones are given up at once, without an
    /// acknowledgement.
    pub calls_per_link: u32,
    /// Bytes of messages of one link that wait for room in the writer's queue; as with their number.
    pub send_bytes_per_link: ByteSize,
    /// Queries of one link that wait or run; further ones are not answered.
    pub open_queries_per_link: usize,
    /// Bytes of the requests of one link that wait or run; as with their number.
    pub query_bytes_per_link: ByteSize,
    /// Queries of one link that run at the same time.
    pub queries_per_link: usize,
    /// Queries of all links that run at the same time.
    pub queries: usize,
    /// Logins of one link that are in hand at the same time. Over it the newest one of the network that has
    /// most is told to come again, which is the further one itself if no other has more.
    pub logins_per_link: usize,
    /// Logins of all links that are in hand at the same time; as with one link.
    pub logins: usize,
    /// Log pages and relations of one link that are read at the same time; further ones wait.
    pub reads_per_link: usize,
    /// Log pages and relations of all links that are read at the same time; further ones wait.
    pub reads: usize,
    /// Bytes of answers of one session that have not left; its next query waits then.
    pub answer_bytes_per_session: ByteSize,
    /// Bytes of answers of one link, from before they are read from the store until they have left;
    /// queries wait then.
    pub answer_bytes_per_link: ByteSize,
    /// The same of all links.
    pub answer_bytes: ByteSize,
    /// The same of long answers (the directory, people, groups) of all links, which take nothing of
    /// the others'.
    pub large_answer_bytes: ByteSize,
    /// Bytes of one part of an answer that is longer; acknowledgements and short answers go between
    /// the parts.
    pub answer_part_bytes: ByteSize,
    /// Bytes of answers that one msg server has not taken off its link: an acknowledgement waits behind
    /// so many at most. Further answers wait here.
    pub untaken_answer_bytes: ByteSize,
    /// Results in one batch.
    pub batch_results: usize,
    /// Bytes of results in one batch; a single result may be larger.
    pub batch_bytes: ByteSize,
    /// Log entries of one page at most, whatever the caller asks.
    pub log_page: u32,
    /// Bytes of one log page, recipients included; a single entry may be larger.
    pub log_page_bytes: ByteSize,
    /// Users that are named as related to one user at most.
    pub related_limit: u32,
    /// How recent a conversation makes two users related.
    pub related_within: Span,
    /// How long the relations of a user are remembered.
    pub related_cache_time: Span,
    /// Users whose relations are remembered.
    pub related_cache: usize,
}

impl Default for AttachConfig {
    fn default() -> Self {
        Self {
            calls_per_link: 16_384,
            send_bytes_per_link: ByteSize::mib(64),
            open_queries_per_link: 8_192,
            query_bytes_per_link: ByteSize::mib(16),
            queries_per_link: 64,
            queries: 128,
            logins_per_link: 4_096,
            logins: 16_384,
            reads_per_link: 2,
            reads: 4,
            answer_bytes_per_session: ByteSize::mib(4),
            answer_bytes_per_link: ByteSize::mib(48),
            answer_bytes: ByteSize::mib(96),
            large_answer_bytes: ByteSize::mib(96),
            answer_part_bytes: ByteSize::kib(256),
            untaken_answer_bytes: ByteSize::mib(1),
            batch_results: 512,
            batch_bytes: ByteSize::mib(4),
            log_page: 1_000,
            log_page_bytes: ByteSize::mib(4),
            related_limit: 5_000,
            related_within: Span::days(30),
            related_cache_time: Span::seconds(60),
            related_cache: 10_000,
        }
    }
}

impl Check for AttachConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            calls_per_link,
            send_bytes_per_link,
            open_queries_per_link,
            query_bytes_per_link,
            queries_per_link,
            queries,
            logins_per_link,
            logins,
            reads_per_link,
            reads,
            answer_bytes_per_session,
            answer_bytes_per_link,
            answer_bytes,
            large_answer_bytes,
            answer_part_bytes,
            untaken_answer_bytes,
            batch_results,
            batch_bytes,
            log_page,
            log_page_bytes,
            related_limit,
            related_within,
            related_cache_time,
            related_cache,
        } = self;
        checker.range("calls_per_link", calls_per_link, &(1..=10_000_000));
        let bytes = [
            ("send_bytes_per_link", send_bytes_per_link),
            ("query_bytes_per_link", query_bytes_per_link),
            ("answer_bytes_per_session", answer_bytes_per_session),
            ("answer_bytes_per_link", answer_bytes_per_link),
            ("answer_bytes", answer_bytes),
            ("large_answer_bytes", large_answer_bytes),
        ];
        for (key, bytes) in bytes {
            checker.range(key, bytes, &POOL_BYTES);
        }
        let part = ByteSize::kib(16)..=ByteSize::mib(4);
        checker.range("answer_part_bytes", answer_part_bytes, &part);
        let untaken = ByteSize::kib(384)..=ByteSize::mib(64);
        checker.range("untaken_answer_bytes", untaken_answer_bytes, &untaken);
        // A msg server gathers what it has taken before it tells.
        checker.require(
            "untaken_answer_bytes",
            untaken_answer_bytes.as_u64() >= answer_part_bytes.as_u64().saturating_add(128 << 10),
            "be at least 128KiB more than answer_part_bytes",
        );
        checker.range("batch_bytes", batch_bytes, &BATCH_BYTES);
        checker.range("log_page_bytes", log_page_bytes, &BATCH_BYTES);
        checker.range(
            "open_queries_per_link",
            open_queries_per_link,
            &(1..=1_000_000),
        );
        checker.range("logins_per_link", logins_per_link, &(1..=1_000_000));
        checker.range("reads_per_link", reads_per_link, &(1..=1_000));
        checker.range("reads", reads, &(1..=10_000));
        checker.range("queries_per_link", queries_per_link, &(1..=100_000));
        checker.range("queries", queries, &(1..=100_000));
        checker.range("logins", logins, &(1..=1_000_000));
        checker.range("batch_results", batch_results, &(1..=65_536));
        checker.range("log_page", log_page, &(1..=100_000));
        checker.range("related_limit", related_limit, &(1..=1_000_000));
        checker.range(
            "related_within",
            related_within,
            &(Span::seconds(1)..=Span::days(36_500)),
        );
        checker.steps("related_within", related_within, &Span::seconds(1));
        checker.range(
            "related_cache_time",
            related_cache_time,
            &(Span::ZERO..=Span::days(1)),
        );
        checker.range("related_cache", related_cache, &(1..=10_000_000));
    }
}
