//! What a login server counts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::table::{Choice, LoadTable, ServerState};

im_core::label_values! {
    /// Port that a client used, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Port {
        /// 8080.
        Http,
        /// 8008.
        Binary,
    }
}

impl Port {
    /// What is asked for here, as logs name it.
    pub(crate) const fn request(self) -> &'static str {
        match self {
            Self::Http => "/msg_server",
            Self::Binary => "MsgServReq",
        }
    }
}

im_core::label_values! {
    /// What a client was told, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Answer {
        Server,
        LastKnown,
        Nobody,
        AllFull,
    }
}

im_core::label_values! {
    /// Why a client was closed without an answer, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Refusal {
        /// Too many connections of its address or network, none of which is silent.
        Address,
        /// No place, and nobody silent who could make room.
        Full,
        /// The places left are reserved for networks with fewer connections.
        Reserved,
        /// It was silent longest when a newcomer needed its place.
        Evicted,
        /// Its request was too long.
        TooLong,
        /// Its request did not come in time.
        Late,
        /// What it sent is no request.
        Malformed,
        /// It asked for something else.
        Elsewhere,
        /// It closed, or its connection failed, before its request was there.
        Gone,
    }
}

impl From<im_core::places::Refusal> for Refusal {
    fn from(refusal: im_core::places::Refusal) -> Self {
        match refusal {
            im_core::places::Refusal::Full => Self::Full,
            im_core::places::Refusal::Reserved => Self::Reserved,
            im_core::places::Refusal::Address => Self::Address,
        }
    }
}

impl From<&Choice> for Answer {
    fn from(choice: &Choice) -> Self {
        match choice {
            Choice::Fresh(_) => Self::Server,
            Choice::LastKnown(_) => Self::LastKnown,
            Choice::Nobody => Self::Nobody,
            Choice::AllFull => Self::AllFull,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    port: Port,
    answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    port: Port,
    reason: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: Port,
}

im_core::label_values! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum StateLabel {
        Accepting,
        Full,
        Starting,
        Draining,
        Cordoned,
        Stale,
        Lost,
    }
}

impl From<ServerState> for StateLabel {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Accepting => Self::Accepting,
            ServerState::Full => Self::Full,
            ServerState::Starting => Self::Starting,
            ServerState::Draining => Self::Draining,
            ServerState::Cordoned => Self::Cordoned,
            ServerState::Stale => Self::Stale,
            ServerState::Lost => Self::Lost,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServersLabel {
    state: StateLabel,
}

/// The name of a msg server: few of them, and stable ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

/// Counters and gauges of one login server. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
    connections: Family<PortLabel, Gauge>,
    servers: Family<ServersLabel, Gauge>,
    sessions: Family<ServerLabel, Gauge>,
    labelled: Arc<Mutex<HashSet<String>>>,
    pub(crate) accept_failures: Counter,
    pub(crate) reports: Counter,
    pub(crate) refused_reports: Counter,
}

impl Metrics {
    /// Metrics that this registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        for &port in Port::ALL {
            init_series(&this.answers, Answer::ALL, |answer| AnswerLabels {
                port,
                answer,
            });
            init_series(&this.refused, Refusal::ALL, |reason| RefusalLabels {
                port,
                reason,
            });
        }
        init_series(&this.connections, Port::ALL, |port| PortLabel { port });
        init_series(&this.servers, StateLabel::ALL, |state| ServersLabel {
            state,
        });
        let Self {
            answers,
            refused,
            connections,
            servers,
            sessions,
            labelled: _,
            accept_failures,
            reports,
            refused_reports,
        } = &this;
        registry.register("im_login_answers", "Answers to clients", answers.clone());
        registry.register(
            "im_login_refused_clients",
            "Clients closed without an answer",
            refused.clone(),
        );
        registry.register(
            "im_login_client_connections",
            "Open client connections",
            connections.clone(),
        );
        registry.register(
            "im_login_accept_failures",
            "Connections of clients that could not be accepted",
            accept_failures.clone(),
        );
        registry.register("im_login_servers", "Msg servers by state", servers.clone());
        registry.register(
            "im_login_server_sessions",
            "Sessions that a msg server reports",
            sessions.clone(),
        );
        registry.register("im_login_reports", "Load reports received", reports.clone());
        registry.register(
            "im_login_refused_reports",
            "Load reports that are not valid or beyond the number of servers",
            refused_reports.clone(),
        );
        this
    }

    pub(crate) fn answered(&self, port: Port, answer: Answer) {
        self.answers
            .get_or_create(&AnswerLabels { port, answer })
            .inc();
    }

    pub(crate) fn refuse(&self, port: Port, reason: Refusal) {
        self.refused
            .get_or_create(&RefusalLabels { port, reason })
            .inc();
    }

    /// How many clients of this port were closed for this reason.
    pub fn refused(&self, port: Port, reason: Refusal) -> u64 {
        self.refused
            .get_or_create(&RefusalLabels { port, reason })
            .get()
    }

    /// Open client connections of this port.
    pub fn connections(&self, port: Port) -> Gauge {
        self.connections.get_or_create(&PortLabel { port }).clone()
    }

    /// Shows the table as it stands; at most `labelled` msg servers with their own gauge.
    pub(crate) fn show(&self, table: &LoadTable, now: Instant, labelled: usize) {
        let mut counts = [0_i64; ServerState::ALL.len()];
        let mut shown = HashSet::new();
        table.each(now, |name, state, sessions| {
            let index = ServerState::ALL.iter().position(|known| *known == state);
            if let Some(count) = index.and_then(|index| counts.get_mut(index)) {
                *count += 1;
            }
            if shown.len() < labelled {
                let label = ServerLabel {
                    server: name.to_owned(),
                };
                self.sessions.get_or_create(&label).set(i64::from(sessions));
                shown.insert(label.server);
            }
        });
        for (state, count) in ServerState::ALL.into_iter().zip(counts) {
            self.servers
                .get_or_create(&ServersLabel {
                    state: state.into(),
                })
                .set(count);
        }
        let mut before = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        for server in before.difference(&shown) {
            self.sessions.remove(&ServerLabel {
                server: server.clone(),
            });
        }
        *before = shown;
    }
}
