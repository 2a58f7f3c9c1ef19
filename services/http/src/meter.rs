//! What is counted of connections. A role shows it under names of its own.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// Why a client was closed, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Closed {
        /// Too many connections of its address or network, none of which is silent.
        Address,
        /// No place, and nobody silent who could make room.
        Full,
        /// The places left are reserved for networks with fewer connections.
        Reserved,
        /// It was silent longest when a newcomer needed its place.
        Evicted,
        /// Its request's head did not come in time.
        SlowHead,
        /// Its body came too slowly.
        SlowBody,
        /// It took its answer too slowly.
        SlowReader,
        /// The head of its request was too long.
        LongHead,
        /// What it sent is no HTTP.
        Malformed,
        /// No TLS came of its first bytes, or not in time.
        Handshake,
    }
}

impl From<im_core::places::Refusal> for Closed {
    fn from(refusal: im_core::places::Refusal) -> Self {
        match refusal {
            im_core::places::Refusal::Full => Self::Full,
            im_core::places::Refusal::Reserved => Self::Reserved,
            im_core::places::Refusal::Address => Self::Address,
        }
    }
}

/// Why they were closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabel {
    reason: Closed,
}

/// Counters and gauges of the connections of one port. Clones count together; `Default` counts without
/// showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    closed: Family<ClosedLabel, Counter>,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that could not be accepted.
    pub accept_failures: Counter,
    /// Bytes that clients sent, heads included.
    pub received: Counter,
    /// Bytes that clients took, heads included.
    pub sent: Counter,
}

impl Meter {
    /// Shows them in this registry, as figures of this role.
    pub fn register(&self, registry: &mut Registry, role: &str) {
        let registry = registry.sub_registry_with_prefix(format!("im_{role}"));
        im_runtime::init_series(&self.closed, Closed::ALL, |reason| ClosedLabel { reason });
        registry.register(
            "closed_clients",
            "Clients closed without an answer, or before they had all of it",
            self.closed.clone(),
        );
        registry.register(
            "client_connections",
            "Open client connections",
            self.connections.clone(),
        );
        registry.register(
            "accept_failures",
            "Connections of clients that could not be accepted",
            self.accept_failures.clone(),
        );
        registry.register(
            "received_bytes",
            "Bytes that clients sent, heads included",
            self.received.clone(),
        );
        registry.register(
            "sent_bytes",
            "Bytes that clients took, heads included",
            self.sent.clone(),
        );
    }

    pub(crate) fn close(&self, reason: Closed) {
        self.closed.get_or_create(&ClosedLabel { reason }).inc();
    }

    /// How many clients were closed for this reason.
    pub fn closed(&self, reason: Closed) -> u64 {
        self.closed.get_or_create(&ClosedLabel { reason }).get()
    }
}
