//! What this role counts.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// Why something was refused or given up.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Refusal {
        /// More connections than allowed.
        Connections,
        /// More connections of one address than allowed.
        Address,
        /// A frame length that cannot be, or above the bound.
        FrameLength,
        /// A body that is no message of its command.
        Malformed,
        /// A command that a client has no business with, or nobody knows.
        Command,
        /// A request before login.
        NotLoggedIn,
        /// A message to oneself, or without content.
        Message,
        /// db-proxy refused a message.
        StoreRefused,
        /// db-proxy could not store a message in time.
        StoreFailed,
        /// A message waited too long for a link to db-proxy, or was lost with one.
        NoDbProxy,
        /// A login with a wrong name or password, or locked out.
        Credentials,
        /// A login while another role is missing.
        PeerMissing,
        /// A signal or presence question that no route server could take.
        RouteQueue,
        /// No login within its time.
        LoginTimeout,
        /// Silence beyond the limit.
        Idle,
        /// More frames that nobody answers than any client sends.
        Flood,
        /// A login that could not be checked in time.
        Busy,
        /// A signal longer than allowed.
        Signal,
        /// A presence question about more users than allowed.
        PresenceIds,
        /// A presence question that route servers did not answer in time.
        PresenceTimeout,
        /// A part of a frame, when parts of all connections took too much memory.
        Partial,
        /// A signal or a notice of a file to somebody whose connection was full.
        SignalFull,
        /// A file for which there is no file server, or none that is not full.
        NoFileServer,
        /// A file that a file server does not take from this sender.
        FileRefused,
        /// A request about files that file servers did not answer in time.
        FileTimeout,
        /// A newcomer while an administrator wants nobody new here.
        Cordoned,
    }
}

im_core::label_values! {
    /// A rate that a connection or a user may reach.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Limit {
        /// Heartbeats.
        Heartbeat,
        /// Messages.
        Message,
        /// Questions for the time.
        Time,
        /// Questions for presence.
        Presence,
        /// Other questions.
        Query,
        /// Read acknowledgements.
        ReadAck,
        /// Receipts.
        Receipt,
        /// File requests.
        File,
        /// Frames that nobody answers; the connection is closed.
        Ignored,
        /// Own settings.
        Setting,
        /// Changes that others are told of.
        Change,
        /// Signals.
        Signal,
        /// Kicks of the own PC.
        Kick,
        /// Bytes of all frames.
        Bytes,
        /// Bytes of messages of a user.
        Stored,
        /// Bytes of answers to a user.
        Answers,
    }
}

im_core::label_values! {
    /// Why a connection is not read for a while.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Pause {
        /// Over its rate.
        Rate,
        /// Too many messages wait to be stored.
        Messages,
        /// Too many requests wait for answers.
        Queries,
        /// Answers wait for the client to read them.
        Output,
        /// Too many bytes of all connections wait to be stored.
        Server,
        /// Too many bytes of requests of all connections wait for answers.
        ServerQueries,
        /// The server is going away.
        Drain,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabel {
    reason: Refusal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PauseLabel {
    reason: Pause,
}

/// All counters; hot ones are plain children.
#[derive(Debug, Default)]
pub(crate) struct MsgMetrics {
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) frames_in: Counter,
    pub(crate) messages_in: Counter,
    pub(crate) acks: Counter,
    pub(crate) messages_out: Counter,
    pub(crate) events_out: Counter,
    pub(crate) logins: Counter,
    pub(crate) kicks: Counter,
    pub(crate) queued_bytes: Gauge,
    pub(crate) pending_messages: Gauge,
    pub(crate) in_flight_calls: Gauge,
    pub(crate) query_bytes: Gauge,
    pub(crate) partial_bytes: Gauge,
    pub(crate) pull_mode: Gauge,
    pub(crate) pages: Counter,
    pub(crate) gaps: Counter,
    pub(crate) ring_changes: Counter,
    pub(crate) slow_readers: Counter,
    pub(crate) accept_errors: Counter,
    refused: Family<RefusalLabel, Counter>,
    paused: Family<PauseLabel, Counter>,
    limited: Family<LimitLabel, Counter>,
    pub(crate) turns_ended: Counter,
    pub(crate) fell_behind: Counter,
    pub(crate) cordoned: Gauge,
    pub(crate) shedding: Gauge,
    pub(crate) shed_sessions: Counter,
}

impl MsgMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.refused, Refusal::ALL, |reason| RefusalLabel {
            reason,
        });
        init_series(&this.paused, Pause::ALL, |reason| PauseLabel { reason });
        init_series(&this.limited, Limit::ALL, |limit| LimitLabel { limit });
        let gauges = [
            (
                "im_msg_connections",
                "Open client connections",
                &this.connections,
            ),
            ("im_msg_sessions", "Logged-in sessions", &this.sessions),
            (
                "im_msg_queued_bytes",
                "Bytes that wait for clients to read",
                &this.queued_bytes,
            ),
            (
                "im_msg_pending_messages",
                "Messages that wait to be stored",
                &this.pending_messages,
            ),
            (
                "im_msg_in_flight_calls",
                "Calls that db-proxy has not answered",
                &this.in_flight_calls,
            ),
            (
                "im_msg_query_bytes",
                "Bytes of requests that wait for answers",
                &this.query_bytes,
            ),
            (
                "im_msg_partial_bytes",
                "Bytes of parts of frames that are kept",
                &this.partial_bytes,
            ),
            (
                "im_msg_pull_mode",
                "1 while messages are read from the log",
                &this.pull_mode,
            ),
            (
                "im_msg_cordoned",
                "1 while an administrator wants nobody new here",
                &this.cordoned,
            ),
            (
                "im_msg_shedding",
                "Sessions that are still to go by an administrator's order",
                &this.shedding,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            (
                "im_msg_accepted_connections",
                "Client connections accepted",
                &this.accepted,
            ),
            (
                "im_msg_received_frames",
                "Frames received from clients",
                &this.frames_in,
            ),
            (
                "im_msg_received_messages",
                "Messages received from clients",
                &this.messages_in,
            ),
            (
                "im_msg_acks",
                "Acknowledgements sent to senders",
                &this.acks,
            ),
            (
                "im_msg_pushed_messages",
                "Messages pushed to sessions",
                &this.messages_out,
            ),
            (
                "im_msg_pushed_events",
                "Other frames pushed to sessions",
                &this.events_out,
            ),
            ("im_msg_logins", "Completed logins", &this.logins),
            ("im_msg_kicks", "Sessions ended by a kick", &this.kicks),
            ("im_msg_log_pages", "Pages of the log read", &this.pages),
            (
                "im_msg_gaps",
                "Batches that showed that something was missed",
                &this.gaps,
            ),
            (
                "im_msg_ring_changes",
                "Announcements of all sessions",
                &this.ring_changes,
            ),
            (
                "im_msg_slow_readers",
                "Connections closed beyond their budget",
                &this.slow_readers,
            ),
            (
                "im_msg_fell_behind",
                "Sessions that were full and get what they missed from the log",
                &this.fell_behind,
            ),
            (
                "im_msg_turns_ended",
                "Connections that let others go first while they had more to work on",
                &this.turns_ended,
            ),
            (
                "im_msg_accept_errors",
                "Failed accepts",
                &this.accept_errors,
            ),
            (
                "im_msg_shed_sessions",
                "Sessions closed by an administrator's order",
                &this.shed_sessions,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "im_msg_refused",
            "Refused or given up, by reason",
            this.refused.clone(),
        );
        registry.register(
            "im_msg_pauses",
            "Connections not read for a while",
            this.paused.clone(),
        );
        registry.register(
            "im_msg_limited",
            "Frames that came too early for a rate, by limit",
            this.limited.clone(),
        );
        this
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&RefusalLabel { reason }).inc();
    }

    pub(crate) fn paused(&self, reason: Pause) {
        self.paused.get_or_create(&PauseLabel { reason }).inc();
    }

    pub(crate) fn limited(&self, limit: Limit) {
        self.limited.get_or_create(&LimitLabel { limit }).inc();
    }

    #[cfg(test)]
    pub(crate) fn limits(&self, limit: Limit) -> u64 {
        self.limited.get_or_create(&LimitLabel { limit }).get()
    }

    #[cfg(test)]
    pub(crate) fn refusals(&self, reason: Refusal) -> u64 {
        self.refused.get_or_create(&RefusalLabel { reason }).get()
    }

    #[cfg(test)]
    pub(crate) fn pauses(&self, reason: Pause) -> u64 {
        self.paused.get_or_create(&PauseLabel { reason }).get()
    }
}
