//! What a route server counts.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// Class of a terminal, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum TerminalLabel {
        /// Windows and Mac.
        Pc,
        /// iOS and Android.
        Mobile,
    }
}

im_core::label_values! {
    /// State of a msg server, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum ServerLabel {
        /// It has a link.
        Attached,
        /// Its link was lost, its users are still online.
        Lost,
    }
}

im_core::label_values! {
    /// A bound that was reached, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Refusal {
        /// A session: not valid, or the directory is full.
        Session,
        /// A login while too many wait for the writer.
        WaitingLogin,
        /// A msg server, beyond the number of servers.
        Server,
        /// A link, beyond the number of links.
        Link,
        /// A link whose first call is not a hello, or that says hello twice.
        Hello,
        /// A link that asked who is online for too many people at once, or did not take its answers.
        Asks,
    }
}

im_core::label_values! {
    /// Why a link of a msg server ended, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum LinkEnd {
        /// The msg server closed it, or its process or network failed.
        Gone,
        /// The msg server opened another one.
        Replaced,
        /// It was too slow: too many results waited.
        Overfull,
    }
}

macro_rules! label_sets {
    ($($set:ident of $label:ident;)*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $set {
                kind: $label,
            }
        )*
    };
}

label_sets! {
    ByTerminal of TerminalLabel;
    ByServer of ServerLabel;
    ByRefusal of Refusal;
    ByLinkEnd of LinkEnd;
}

/// Counters and gauges of one route server. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    sessions: Family<ByTerminal, Gauge>,
    servers: Family<ByServer, Gauge>,
    refused: Family<ByRefusal, Counter>,
    link_ends: Family<ByLinkEnd, Counter>,
    pub(crate) users: Gauge,
    pub(crate) writer_links: Gauge,
    pub(crate) position: Gauge,
    pub(crate) waiting_logins: Gauge,
    pub(crate) messages: Counter,
    pub(crate) message_copies: Counter,
    pub(crate) events: Counter,
    pub(crate) duplicate_logins: Counter,
    pub(crate) kicks: Counter,
    pub(crate) presence_changes: Counter,
    pub(crate) lost_items: Counter,
    pub(crate) log_gaps: Counter,
    pub(crate) expired_servers: Counter,
    pub(crate) cut_lists: Counter,
}

impl Metrics {
    /// Metrics that this registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.sessions, TerminalLabel::ALL, |kind| ByTerminal {
            kind,
        });
        init_series(&this.servers, ServerLabel::ALL, |kind| ByServer { kind });
        init_series(&this.refused, Refusal::ALL, |kind| ByRefusal { kind });
        init_series(&this.link_ends, LinkEnd::ALL, |kind| ByLinkEnd { kind });
        let Self {
            sessions,
            servers,
            refused,
            link_ends,
            users,
            writer_links,
            position,
            waiting_logins,
            messages,
            message_copies,
            events,
            duplicate_logins,
            kicks,
            presence_changes,
            lost_items,
            log_gaps,
            expired_servers,
            cut_lists,
        } = &this;
        registry.register("im_route_sessions", "Sessions by class", sessions.clone());
        registry.register("im_route_servers", "Msg servers by state", servers.clone());
        registry.register(
            "im_route_refused",
            "What a bound turned away",
            refused.clone(),
        );
        registry.register(
            "im_route_link_ends",
            "Ended links of msg servers",
            link_ends.clone(),
        );
        registry.register("im_route_users", "Users with a session", users.clone());
        registry.register(
            "im_route_writer_links",
            "Links of the writer",
            writer_links.clone(),
        );
        registry.register(
            "im_route_position",
            "Position reached in the log",
            position.clone(),
        );
        registry.register(
            "im_route_waiting_logins",
            "Logins that wait for the writer",
            waiting_logins.clone(),
        );
        registry.register("im_route_messages", "Messages received", messages.clone());
        registry.register(
            "im_route_message_copies",
            "Messages handed to msg servers",
            message_copies.clone(),
        );
        registry.register("im_route_events", "Events received", events.clone());
        registry.register(
            "im_route_duplicate_logins",
            "Sessions ended by another login",
            duplicate_logins.clone(),
        );
        registry.register("im_route_kicks", "Kicks passed on", kicks.clone());
        registry.register(
            "im_route_presence_changes",
            "Presence changes told",
            presence_changes.clone(),
        );
        registry.register(
            "im_route_lost_items",
            "Messages and events that found a link full",
            lost_items.clone(),
        );
        registry.register(
            "im_route_log_gaps",
            "Batches that did not begin where the last one ended",
            log_gaps.clone(),
        );
        registry.register(
            "im_route_expired_servers",
            "Lost msg servers that did not come back in time",
            expired_servers.clone(),
        );
        registry.register(
            "im_route_cut_lists",
            "Session lists cut at their bound",
            cut_lists.clone(),
        );
        this
    }

    pub(crate) fn refuse(&self, kind: Refusal) {
        self.refused.get_or_create(&ByRefusal { kind }).inc();
    }

    /// How often this bound turned something away.
    pub fn refused(&self, kind: Refusal) -> u64 {
        self.refused.get_or_create(&ByRefusal { kind }).get()
    }

    pub(crate) fn end_link(&self, kind: LinkEnd) {
        self.link_ends.get_or_create(&ByLinkEnd { kind }).inc();
    }

    /// How many links ended for this reason.
    pub fn link_ends(&self, kind: LinkEnd) -> u64 {
        self.link_ends.get_or_create(&ByLinkEnd { kind }).get()
    }

    pub(crate) fn set_sessions(&self, [pc, mobile]: [usize; 2]) {
        self.sessions
            .get_or_create(&ByTerminal {
                kind: TerminalLabel::Pc,
            })
            .set(gauge(pc));
        self.sessions
            .get_or_create(&ByTerminal {
                kind: TerminalLabel::Mobile,
            })
            .set(gauge(mobile));
    }

    pub(crate) fn set_servers(&self, attached: usize, lost: usize) {
        self.servers
            .get_or_create(&ByServer {
                kind: ServerLabel::Attached,
            })
            .set(gauge(attached));
        self.servers
            .get_or_create(&ByServer {
                kind: ServerLabel::Lost,
            })
            .set(gauge(lost));
    }
}

/// A count as a gauge's value.
pub(crate) fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
