//! Bounds of the msg role's keys.

use super::{MsgConfig, PresenceConfig};
use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

impl Check for MsgConfig {
    #[allow(clippy::too_many_lines, reason = "one line per key")]
    fn check(&self, checker: &mut Checker) {
        let Self {
            name,
            listen,
            admin_listen,
            public_ip1,
            public_ip2,
            public_port,
            public_endpoint_file: _,
            orders_file: _,
            link,
            backlog,
            accept_rate,
            max_connections,
            max_connections_per_address,
            max_sessions,
            soft_max_sessions,
            max_frame,
            login_timeout,
            idle_pc,
            idle_mobile,
            sweep_interval,
            kick_grace,
            close_grace,
            push_budget,
            answer_budget,
            slow_grace,
            catch_up_time,
            push_total,
            pending_messages,
            pending_size,
            pending_total,
            pending_queries,
            pending_query_bytes,
            pending_query_total,
            queries_in_flight,
            logins_in_flight,
            presence_ids,
            presence_timeout,
            file_timeout,
            signal_bytes,
            login_frame_bytes,
            partial_login_total,
            partial_total,
            rate_limit,
            rate_burst,
            meter,
            turn_frames,
            turn_time,
            client_threads,
            send_batch,
            send_batch_size,
            send_batches_in_flight,
            send_wait,
            pull_interval,
            pull_gap,
            pull_page,
            pull_timeout,
            join_buffer,
            ring_settle,
            fanout_connections,
            fanout_gap,
            route_queue,
            route_queue_bytes,
            presence: PresenceConfig { notify: _ },
            report_interval,
            report_delay,
            drain_time,
            drain_rate,
            drain_notice,
            drain_pending,
        } = self;
        checker.length("name", name, 128);
        checker.listen("listen", listen);
        if !admin_listen.is_empty() {
            checker.listen("admin_listen", admin_listen);
        }
        checker.table("link", link);
        checker.public_host("public_ip1", public_ip1);
        checker.public_host("public_ip2", public_ip2);
        checker.range("public_port", public_port, &(0..=u16::MAX));
        checker.range("max_sessions", max_sessions, &(0..=u32::MAX));
        checker.range("soft_max_sessions", soft_max_sessions, &(0..=u32::MAX));
        let totals = ByteSize::kib(4)..=ByteSize::mib(1 << 20);
        checker.range("backlog", backlog, &(1..=65_535));
        checker.range("accept_rate", accept_rate, &(0..=1_000_000));
        checker.range("max_connections", max_connections, &(1..=10_000_000));
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &(0..=10_000_000),
        );
        checker.range(
            "max_frame",
            max_frame,
            &(ByteSize::kib(1)..=ByteSize::mib(64)),
        );
        checker.range(
            "login_timeout",
            login_timeout,
            &(Span::millis(10)..=Span::seconds(3_600)),
        );
        checker.range("idle_pc", idle_pc, &(Span::millis(10)..=Span::days(1)));
        checker.range(
            "idle_mobile",
            idle_mobile,
            &(Span::millis(10)..=Span::days(1)),
        );
        checker.range(
            "sweep_interval",
            sweep_interval,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range(
            "kick_grace",
            kick_grace,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range(
            "close_grace",
            close_grace,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range(
            "push_budget",
            push_budget,
            &(ByteSize::kib(4)..=ByteSize::mib(1_024)),
        );
        checker.range(
            "answer_budget",
            answer_budget,
            &(ByteSize::kib(4)..=ByteSize::mib(1_024)),
        );
        checker.range(
            "slow_grace",
            slow_grace,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        let times = Span::millis(10)..=Span::seconds(600);
        checker.range("catch_up_time", catch_up_time, &times);
        checker.range("push_total", push_total, &totals);
        checker.not_below("push_total", push_total, "push_budget", push_budget);
        checker.range("pending_messages", pending_messages, &(1..=65_536));
        checker.range(
            "pending_size",
            pending_size,
            &(ByteSize::kib(1)..=ByteSize::mib(1_024)),
        );
        checker.range("pending_total", pending_total, &totals);
        checker.not_below("pending_total", pending_total, "pending_size", pending_size);
        checker.range("pending_queries", pending_queries, &(1..=65_535));
        checker.range("pending_query_bytes", pending_query_bytes, &totals);
        checker.range("pending_query_total", pending_query_total, &totals);
        checker.not_below(
            "pending_query_total",
            pending_query_total,
            "pending_query_bytes",
            pending_query_bytes,
        );
        checker.range("queries_in_flight", queries_in_flight, &(1..=1_000_000));
        checker.range("logins_in_flight", logins_in_flight, &(1..=1_000_000));
        checker.range("presence_ids", presence_ids, &(1..=10_000_000));
        let times = Span::millis(10)..=Span::seconds(600);
        checker.range("presence_timeout", presence_timeout, &times);
        checker.range("file_timeout", file_timeout, &times);
        let sizes = ByteSize::bytes(256)..=ByteSize::mib(64);
        checker.range("signal_bytes", signal_bytes, &sizes);
        checker.range("login_frame_bytes", login_frame_bytes, &sizes);
        checker.range("partial_login_total", partial_login_total, &totals);
        checker.not_below(
            "partial_login_total",
            partial_login_total,
            "login_frame_bytes",
            login_frame_bytes,
        );
        checker.range("partial_total", partial_total, &totals);
        checker.not_below("partial_total", partial_total, "max_frame", max_frame);
        checker.range("rate_limit", rate_limit, &(0..=1_000_000));
        checker.range("rate_burst", rate_burst, &(1..=1_000_000));
        checker.table("meter", meter);
        checker.range("turn_frames", turn_frames, &(1..=65_536));
        let turns = Span::millis(1)..=Span::millis(100);
        checker.range("turn_time", turn_time, &turns);
        checker.range("client_threads", client_threads, &(0..=1024));
        checker.range("send_batch", send_batch, &(1..=65_536));
        // A link refuses batches above its bound.
        checker.range(
            "send_batch_size",
            send_batch_size,
            &(ByteSize::kib(1)..=ByteSize::mib(512)),
        );
        let half = ByteSize::bytes(link.max_batch.as_u64() / 2);
        checker.not_above(
            "send_batch_size",
            send_batch_size,
            "half of link.max_batch",
            &half,
        );
        checker.range("send_batches_in_flight", send_batches_in_flight, &(1..=64));
        checker.range("send_wait", send_wait, &(Span::ZERO..=Span::seconds(25)));
        checker.range(
            "pull_interval",
            pull_interval,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range("pull_gap", pull_gap, &(Span::ZERO..=Span::seconds(60)));
        checker.range("pull_page", pull_page, &(1..=100_000));
        checker.range(
            "pull_timeout",
            pull_timeout,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range(
            "join_buffer",
            join_buffer,
            &(ByteSize::kib(1)..=ByteSize::mib(1_024)),
        );
        checker.range(
            "ring_settle",
            ring_settle,
            &(Span::ZERO..=Span::seconds(60)),
        );
        checker.range("fanout_connections", fanout_connections, &(1..=10_000_000));
        checker.range("fanout_gap", fanout_gap, &(Span::ZERO..=Span::millis(100)));
        checker.range("route_queue", route_queue, &(1..=10_000_000));
        let most = ByteSize::mib(1_024);
        checker.range(
            "route_queue_bytes",
            route_queue_bytes,
            &(ByteSize::kib(64)..=most),
        );
        checker.range(
            "report_interval",
            report_interval,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range(
            "report_delay",
            report_delay,
            &(Span::ZERO..=Span::millis(50)),
        );
        checker.range(
            "drain_time",
            drain_time,
            &(Span::ZERO..=Span::seconds(3_600)),
        );
        checker.range("drain_rate", drain_rate, &(1..=10_000_000));
        checker.range(
            "drain_notice",
            drain_notice,
            &(Span::ZERO..=Span::seconds(60)),
        );
        checker.range(
            "drain_pending",
            drain_pending,
            &(Span::ZERO..=Span::seconds(60)),
        );
    }
}
