//! The table.

use super::Counted::{Bytes, Kib, Millis, Seconds};
use super::{Counted, Renamed};

/// Old name, new name, what the old one counted.
type Key = (&'static str, &'static str, Counted);

/// Tables and the keys that each of them has.
const TABLES: &[(&[&str], &[Key])] = &[
    (
        &["login.link", "msg.link", "route.link", "db_proxy.link"],
        &[
            ("keepalive_ms", "keepalive", Millis),
            ("keepalive_timeout_ms", "keepalive_timeout", Millis),
            ("connect_timeout_ms", "connect_timeout", Millis),
            ("backoff_min_ms", "backoff_min", Millis),
            ("backoff_max_ms", "backoff_max", Millis),
            ("max_batch_bytes", "max_batch", Bytes),
        ],
    ),
    (&["process"], &[("stop_timeout_ms", "stop_timeout", Millis)]),
    (&["admin"], &[("heartbeat_ms", "heartbeat", Millis)]),
    (
        &["sqlite"],
        &[
            ("busy_timeout_ms", "busy_timeout", Millis),
            ("acquire_timeout_ms", "acquire_timeout", Millis),
            ("writer_cache_kib", "writer_cache", Kib),
            ("reader_cache_kib", "reader_cache", Kib),
            ("checkpoint_bytes", "checkpoint_at", Bytes),
            ("restart_bytes", "restart_at", Bytes),
            ("wal_limit_bytes", "wal_limit", Bytes),
            ("maintenance_interval_ms", "maintenance_interval", Millis),
        ],
    ),
    (
        &["login"],
        &[
            ("stale_after_ms", "stale_after", Millis),
            ("silence_ms", "silence", Millis),
            ("last_known_ms", "last_known", Millis),
            ("reservation_ms", "reservation", Millis),
            ("retry_after_s", "retry_after", Seconds),
            ("max_request_bytes", "max_request", Bytes),
            ("http_idle_ms", "http_idle", Millis),
            ("http_request_ms", "http_request", Millis),
            ("client_timeout_ms", "client_timeout", Millis),
            ("linger_ms", "linger", Millis),
        ],
    ),
    (
        &["route"],
        &[
            ("lost_server_grace_ms", "lost_server_grace", Millis),
            ("presence_tick_ms", "presence_tick", Millis),
            ("announce_ms", "announce_interval", Millis),
            ("gather_bytes", "gather_size", Bytes),
        ],
    ),
    (
        &["msg"],
        &[
            ("max_frame_bytes", "max_frame", Bytes),
            ("login_timeout_ms", "login_timeout", Millis),
            ("idle_pc_ms", "idle_pc", Millis),
            ("idle_mobile_ms", "idle_mobile", Millis),
            ("sweep_ms", "sweep_interval", Millis),
            ("kick_grace_ms", "kick_grace", Millis),
            ("close_grace_ms", "close_grace", Millis),
            ("push_budget_bytes", "push_budget", Bytes),
            ("answer_budget_bytes", "answer_budget", Bytes),
            ("slow_grace_ms", "slow_grace", Millis),
            ("push_total_bytes", "push_total", Bytes),
            ("pending_bytes", "pending_size", Bytes),
            ("pending_total_bytes", "pending_total", Bytes),
            ("send_batch_bytes", "send_batch_size", Bytes),
            ("send_wait_ms", "send_wait", Millis),
            ("pull_interval_ms", "pull_interval", Millis),
            ("pull_gap_ms", "pull_gap", Millis),
            ("pull_timeout_ms", "pull_timeout", Millis),
            ("join_buffer_bytes", "join_buffer", Bytes),
            ("ring_settle_ms", "ring_settle", Millis),
            ("fanout_gap_ms", "fanout_gap", Millis),
            ("report_interval_ms", "report_interval", Millis),
            ("report_delay_ms", "report_delay", Millis),
            ("drain_seconds", "drain_time", Seconds),
            ("drain_notice_ms", "drain_notice", Millis),
            ("drain_pending_ms", "drain_pending", Millis),
        ],
    ),
    (
        &["db_proxy.writer"],
        &[
            ("queue_bytes", "queue_size", Bytes),
            ("commit_gap_ms", "commit_gap", Millis),
            ("store_retry_seconds", "store_retry", Seconds),
            ("retry_min_ms", "retry_min", Millis),
            ("retry_max_ms", "retry_max", Millis),
            ("max_body_bytes", "max_body", Bytes),
            ("client_id_window_seconds", "client_id_window", Seconds),
            ("frame_window_seconds", "frame_window", Seconds),
        ],
    ),
    (
        &["db_proxy.positions"],
        &[("flush_ms", "flush_interval", Millis)],
    ),
    (
        &["db_proxy.publish"],
        &[
            ("queue_bytes", "queue_size", Bytes),
            ("position_interval_ms", "position_interval", Millis),
            ("list_timeout_ms", "list_timeout", Millis),
        ],
    ),
    (
        &["db_proxy.attach"],
        &[
            ("related_seconds", "related_within", Seconds),
            ("related_cache_seconds", "related_cache_time", Seconds),
        ],
    ),
    (
        &["db_proxy.accounts"],
        &[
            ("argon2_memory_kib", "argon2_memory", Kib),
            ("max_hash_memory_kib", "max_hash_memory", Kib),
            ("lockout_window_secs", "lockout_window", Seconds),
            ("verified_ttl_secs", "verified_ttl", Seconds),
            ("account_ttl_secs", "account_ttl", Seconds),
            ("max_name_bytes", "max_name", Bytes),
        ],
    ),
    (
        &["db_proxy.answers"],
        &[
            ("timeout_ms", "timeout", Millis),
            ("max_answer_bytes", "max_answer", Bytes),
            ("max_android_frame", "max_frame_android", Bytes),
            ("directory_kept_bytes", "directory_kept", Bytes),
            ("max_group_name_bytes", "max_group_name", Bytes),
            ("max_avatar_bytes", "max_avatar", Bytes),
            ("max_signature_bytes", "max_signature", Bytes),
            ("max_token_bytes", "max_token", Bytes),
        ],
    ),
];

/// Every key that has an old name.
pub fn all() -> impl Iterator<Item = Renamed> {
    TABLES.iter().flat_map(|(tables, keys)| {
        let of_table = |table: &&'static str| {
            let table = *table;
            keys.iter().map(move |(old, new, counted)| Renamed {
                old: format!("{table}.{old}"),
                new: format!("{table}.{new}"),
                counted: *counted,
            })
        };
        tables.iter().flat_map(of_table)
    })
}
