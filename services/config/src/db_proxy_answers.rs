//! Configuration of db-proxy's accounts and of its answers to clients.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Accounts: hashing of passwords, lockout, remembered logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsConfig {
    /// Memory of one argon2id computation. New hashes carry it, older ones are replaced at the
    /// next login.
    pub argon2_memory: ByteSize,
    /// Passes of argon2id over its memory.
    pub argon2_iterations: u32,
    /// Lanes of argon2id.
    pub argon2_lanes: u32,
    /// Largest memory that an imported hash may ask for. Together with `max_hashes` it bounds
    /// the memory of hashing.
    pub max_hash_memory: ByteSize,
    /// Hashes computed at the same time.
    pub max_hashes: usize,
    /// Logins that ask the store at the same time; the others wait, networks and addresses in turn.
    pub max_lookups: usize,
    /// Logins that may wait to ask the store, and never more than can ask within `login_patience`. Over
    /// it the oldest login of whoever has most is told when to try again.
    pub max_waiting_lookups: usize,
    /// Logins that may wait for a hash, and never more than can be hashed within `login_patience`.
    /// Over it the oldest login of whoever has most is told when to try again.
    pub max_waiting_logins: usize,
    /// Logins of one address (an IPv6 /64) that may wait for a hash; four times as many of its network
    /// (/24, /48).
    pub max_waiting_per_address: usize,
    /// Logins of one name that may wait for a hash.
    pub max_waiting_per_name: usize,
    /// How long a login may wait for its answer: less than what clients wait.
    pub login_patience: Span,
    /// Failures of one name from one address (an IPv6 /64) within the window that are let pass; twice
    /// as many from its network (/24, /48). Beyond it logins are answered "too many failures", but for
    /// one at a time that is checked.
    pub lockout_failures: u32,
    /// Failures of one name from everywhere within the window that are let pass. Beyond it one login
    /// of the name at a time is checked.
    pub lockout_name_failures: u32,
    /// First wait between two logins of a locked name that are checked; it doubles each time.
    pub lockout_first_wait: Span,
    /// Longest wait between two logins of a locked name that are checked.
    pub lockout_longest_wait: Span,
    /// How long a failure counts.
    pub lockout_window: Span,
    /// Pairs of name and address whose failures are kept, of real names and of others apart. Beyond it
    /// the oldest are forgotten, but no locks of real names.
    pub lockout_pairs: u32,
    /// How long verified credentials are remembered in memory; 0s = not at all.
    pub verified_ttl: Span,
    /// How long a verified login is remembered in the store, over restarts; it is renewed at logins,
    /// once a day. 0s = not at all.
    pub remember_for: Span,
    /// File with the key of remembered logins, and perhaps the one before it, one per line; a change
    /// counts within seconds. Without it `remember_key` in the data directory, which is made when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember_key_file: Option<PathBuf>,
    /// Verified credentials that are remembered, and as many accounts, and networks that names have
    /// logged in from.
    pub verified_entries: usize,
    /// How long an account that was read is remembered. Changes made through this process
    /// count at once; 0s for a database that other processes change too.
    pub account_ttl: Span,
    /// Longest login name.
    pub max_name: ByteSize,
    /// Rows of one directory file.
    pub max_import_rows: usize,
    /// Line errors that an import reports.
    pub max_import_errors: usize,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            // OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
            argon2_memory: ByteSize::mib(19),
            argon2_iterations: 2,
            argon2_lanes: 1,
            max_hash_memory: ByteSize::mib(64),
            // At most 128 MiB with the largest hashes accepted, 38 MiB with our own.
            max_hashes: 2,
            // As many as keep the readers of the store busy, a few times over.
            max_lookups: 16,
            max_waiting_lookups: 16_384,
            max_waiting_logins: 1_000,
            max_waiting_per_address: 256,
            max_waiting_per_name: 8,
            // The least patient client waits 5 s for a connection and 10 s for an answer.
            login_patience: Span::seconds(8),
            lockout_failures: 10,
            lockout_name_failures: 60,
            lockout_first_wait: Span::seconds(2),
            lockout_longest_wait: Span::seconds(30),
            lockout_window: Span::seconds(1_800),
            lockout_pairs: 10_000,
            verified_ttl: Span::seconds(600),
            remember_for: Span::days(30),
            remember_key_file: None,
            verified_entries: 20_000,
            account_ttl: Span::seconds(60),
            max_name: ByteSize::bytes(128),
            max_import_rows: 200_000,
            max_import_errors: 1_000,
        }
    }
}

impl Check for AccountsConfig {
    fn check(&self, checker: &mut Checker) {
        // argon2 needs eight blocks of 1 KiB per lane.
        checker.range("argon2_lanes", &self.argon2_lanes, &(1..=16));
        let least = ByteSize::kib(u64::from(self.argon2_lanes) * 8);
        checker.range(
            "argon2_memory",
            &self.argon2_memory,
            &(ByteSize::kib(8)..=ByteSize::mib(1_024)),
        );
        checker.not_below(
            "argon2_memory",
            &self.argon2_memory,
            "8KiB for each of argon2_lanes",
            &least,
        );
        checker.not_above(
            "argon2_memory",
            &self.argon2_memory,
            "max_hash_memory",
            &self.max_hash_memory,
        );
        checker.range("argon2_iterations", &self.argon2_iterations, &(1..=16));
        let kib = ByteSize::kib(1);
        checker.steps("argon2_memory", &self.argon2_memory, &kib);
        checker.steps("max_hash_memory", &self.max_hash_memory, &kib);
        checker.range(
            "max_hash_memory",
            &self.max_hash_memory,
            &(ByteSize::kib(8)..=ByteSize::mib(1_024)),
        );
        checker.range("max_hashes", &self.max_hashes, &(1..=256));
        checker.range("max_lookups", &self.max_lookups, &(1..=1_024));
        checker.range(
            "max_waiting_lookups",
            &self.max_waiting_lookups,
            &(1..=1_000_000),
        );
        checker.range(
            "max_waiting_logins",
            &self.max_waiting_logins,
            &(1..=100_000),
        );
        checker.range(
            "max_waiting_per_address",
            &self.max_waiting_per_address,
            &(1..=100_000),
        );
        checker.range(
            "max_waiting_per_name",
            &self.max_waiting_per_name,
            &(1..=1_000),
        );
        checker.range(
            "login_patience",
            &self.login_patience,
            &(Span::seconds(1)..=Span::seconds(60)),
        );
        // The store keeps 128 failures of a name and address.
        checker.range("lockout_failures", &self.lockout_failures, &(1..=60));
        checker.range(
            "lockout_name_failures",
            &self.lockout_name_failures,
            &(1..=120),
        );
        checker.not_below(
            "lockout_name_failures",
            &self.lockout_name_failures,
            "lockout_failures",
            &self.lockout_failures,
        );
        checker.range(
            "lockout_first_wait",
            &self.lockout_first_wait,
            &(Span::millis(10)..=Span::seconds(8)),
        );
        checker.range(
            "lockout_longest_wait",
            &self.lockout_longest_wait,
            &(Span::millis(10)..=Span::seconds(3_600)),
        );
        checker.not_below(
            "lockout_longest_wait",
            &self.lockout_longest_wait,
            "lockout_first_wait",
            &self.lockout_first_wait,
        );
        checker.range(
            "lockout_window",
            &self.lockout_window,
            &(Span::seconds(1)..=Span::days(1)),
        );
        checker.steps("lockout_window", &self.lockout_window, &Span::seconds(1));
        checker.range("lockout_pairs", &self.lockout_pairs, &(1..=1_000_000));
        checker.range(
            "verified_ttl",
            &self.verified_ttl,
            &(Span::ZERO..=Span::days(1)),
        );
        checker.range(
            "remember_for",
            &self.remember_for,
            &(Span::ZERO..=Span::days(3_650)),
        );
        checker.range("verified_entries", &self.verified_entries, &(1..=1_000_000));
        checker.range(
            "account_ttl",
            &self.account_ttl,
            &(Span::ZERO..=Span::days(1)),
        );
        checker.range(
            "max_name",
            &self.max_name,
            &(ByteSize::bytes(1)..=ByteSize::bytes(255)),
        );
        checker.range("max_import_rows", &self.max_import_rows, &(1..=1_000_000));
        checker.range("max_import_errors", &self.max_import_errors, &(1..=100_000));
    }
}

/// Answers to clients: what they may ask for at once, and how long things may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnswersConfig {
    /// How long one query may take; then the client is left to its timeout.
    pub timeout: Span,
    /// Conversations in an answer to 0x0201.
    pub max_recent_sessions: u32,
    /// Messages in an answer to 0x0309, whatever the client asks for.
    pub max_history: u32,
    /// Messages in an answer to 0x030d.
    pub max_by_id: u32,
    /// Ids that one request may name; further ones are not looked at.
    pub max_ids: usize,
    /// Groups that an answer to 0x0403 describes; further ones asked for are not looked at.
    pub max_group_infos: usize,
    /// Conversations in an answer to 0x0307; what the others have unread counts in its total.
    pub max_unread_sessions: u32,
    /// Largest answer with messages, departments or fixed groups; reading messages from the store
    /// stops there.
    pub max_list_bytes: ByteSize,
    /// Longest newest message that 0x0201 and 0x0307 show; a longer one appears as a placeholder.
    pub max_preview: ByteSize,
    /// Whether phone and mail of people are shown to themselves only. Off, they are shown to everybody,
    /// as in the original.
    pub hide_contact: bool,
    /// Groups that one user may make in an hour.
    pub max_groups_made_per_hour: u32,
    /// Groups that one user can be put into by others in an hour.
    pub max_groups_joined_per_hour: u32,
    /// Largest answer.
    pub max_answer: ByteSize,
    /// Largest frame for Android. Its limit of 409,600 bytes cannot be raised.
    pub max_frame_android: ByteSize,
    /// Users read from the directory at a time.
    pub directory_page: u32,
    /// An answer about everybody is kept for others who ask, up to this size of all that are kept.
    pub directory_kept: ByteSize,
    /// Directory answers built at the same time; further ones wait.
    pub max_directory_answers: usize,
    /// Groups that one user may make.
    pub max_groups_per_creator: u32,
    /// Longest group name.
    pub max_group_name: ByteSize,
    /// Longest avatar URL of users and groups.
    pub max_avatar: ByteSize,
    /// Longest signature.
    pub max_signature: ByteSize,
    /// Longest push token.
    pub max_token: ByteSize,
    /// Devices of one person that are told of messages; beyond it the one that was registered first is
    /// forgotten.
    pub max_push_targets: u32,
}

impl Default for AnswersConfig {
    fn default() -> Self {
        Self {
            timeout: Span::seconds(5),
            max_recent_sessions: 100,
            max_history: 200,
            max_by_id: 100,
            max_ids: 10_000,
            max_group_infos: 1_000,
            max_unread_sessions: 1_000,
            max_list_bytes: ByteSize::mib(4),
            max_preview: ByteSize::kib(4),
            hide_contact: false,
            max_groups_made_per_hour: 60,
            max_groups_joined_per_hour: 300,
            // 50,000 people of 300 bytes are 15 MB.
            max_answer: ByteSize::mib(32),
            max_frame_android: ByteSize::bytes(409_599),
            directory_page: 2_000,
            // 50,000 people of 300 bytes.
            directory_kept: ByteSize::mib(16),
            max_directory_answers: 4,
            max_groups_per_creator: 500,
            max_group_name: ByteSize::bytes(128),
            max_avatar: ByteSize::bytes(512),
            max_signature: ByteSize::bytes(128),
            max_token: ByteSize::bytes(512),
            max_push_targets: 8,
        }
    }
}

impl Check for AnswersConfig {
    fn check(&self, checker: &mut Checker) {
        checker.range(
            "timeout",
            &self.timeout,
            &(Span::millis(1)..=Span::seconds(600)),
        );
        checker.range(
            "max_recent_sessions",
            &self.max_recent_sessions,
            &(1..=1_000),
        );
        checker.range(
            "max_unread_sessions",
            &self.max_unread_sessions,
            &(1..=100_000),
        );
        checker.range(
            "max_list_bytes",
            &self.max_list_bytes,
            &(ByteSize::kib(512)..=ByteSize::mib(32)),
        );
        checker.range(
            "max_preview",
            &self.max_preview,
            &(ByteSize::bytes(24)..=ByteSize::kib(256)),
        );
        checker.range(
            "max_groups_made_per_hour",
            &self.max_groups_made_per_hour,
            &(1..=1_000_000),
        );
        checker.range(
            "max_groups_joined_per_hour",
            &self.max_groups_joined_per_hour,
            &(1..=1_000_000),
        );
        checker.range("max_history", &self.max_history, &(1..=1_000));
        checker.range("max_by_id", &self.max_by_id, &(1..=1_000));
        checker.range("max_ids", &self.max_ids, &(1..=1_000_000));
        checker.range("max_group_infos", &self.max_group_infos, &(1..=100_000));
        checker.range(
            "max_answer",
            &self.max_answer,
            &(ByteSize::kib(64)..=ByteSize::mib(60)),
        );
        checker.range(
            "max_frame_android",
            &self.max_frame_android,
            &(ByteSize::kib(4)..=ByteSize::bytes(409_599)),
        );
        checker.range("directory_page", &self.directory_page, &(1..=100_000));
        checker.range(
            "directory_kept",
            &self.directory_kept,
            &(ByteSize::ZERO..=ByteSize::mib(60)),
        );
        checker.range(
            "max_directory_answers",
            &self.max_directory_answers,
            &(1..=1_000),
        );
        checker.range(
            "max_groups_per_creator",
            &self.max_groups_per_creator,
            &(1..=1_000_000),
        );
        checker.range(
            "max_group_name",
            &self.max_group_name,
            &(ByteSize::bytes(1)..=ByteSize::kib(4)),
        );
        checker.range(
            "max_avatar",
            &self.max_avatar,
            &(ByteSize::bytes(1)..=ByteSize::kib(4)),
        );
        checker.range(
            "max_signature",
            &self.max_signature,
            &(ByteSize::bytes(1)..=ByteSize::kib(4)),
        );
        checker.range(
            "max_token",
            &self.max_token,
            &(ByteSize::bytes(1)..=ByteSize::kib(4)),
        );
        checker.range("max_push_targets", &self.max_push_targets, &(1..=64));
    }
}
