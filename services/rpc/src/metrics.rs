//! What the links of a process count.

use im_role::Link;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// Result of a dial, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum DialResult {
        /// A link came up.
        Up,
        /// Nobody answered.
        Unreachable,
        /// The secret was refused.
        Refused,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DialLabels {
    pub(crate) kind: &'static str,
    pub(crate) result: DialResult,
}

impl DialLabels {
    const fn of(link: Link, result: DialResult) -> Self {
        Self {
            kind: link.kind,
            result,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

/// Counters of links, dialed and accepted. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct LinkMetrics {
    dials: Family<DialLabels, Counter>,
    dialed: Family<KindLabel, Gauge>,
    accepted: Family<KindLabel, Gauge>,
    refused: Counter,
    strangers: Counter,
}

impl LinkMetrics {
    /// Counters that this registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "im_link_dials",
            "Attempts to reach a peer",
            this.dials.clone(),
        );
        registry.register(
            "im_link_dialed",
            "Links opened by this process",
            this.dialed.clone(),
        );
        registry.register(
            "im_link_accepted",
            "Links opened by peers",
            this.accepted.clone(),
        );
        registry.register(
            "im_link_refused_secrets",
            "Calls refused for a missing or wrong secret",
            this.refused.clone(),
        );
        registry.register(
            "im_link_refused_strangers",
            "Connections closed because no secret came in time, or to make room for others",
            this.strangers.clone(),
        );
        this
    }

    /// Calls refused for a missing or wrong secret.
    pub fn refused_secrets(&self) -> &Counter {
        &self.refused
    }

    /// Connections closed because no secret came in time, or to make room for others.
    pub fn refused_strangers(&self) -> &Counter {
        &self.strangers
    }

    /// Dials of this kind with this result.
    pub fn dials(&self, link: Link, result: DialResult) -> u64 {
        self.dials
            .get_or_create(&DialLabels::of(link, result))
            .get()
    }

    pub(crate) fn dialed(&self, link: Link, result: DialResult) {
        self.dials
            .get_or_create(&DialLabels::of(link, result))
            .inc();
    }

    /// Links of this kind that stand: opened by this process, and by peers.
    pub fn standing(&self, link: Link) -> (u32, u32) {
        let label = KindLabel { kind: link.kind };
        let count = |family: &Family<KindLabel, Gauge>| {
            // Asking makes no row of a kind that this process does not have.
            let links = family.get(&label).map_or(0, |gauge| gauge.get());
            u32::try_from(links).unwrap_or(0)
        };
        (count(&self.dialed), count(&self.accepted))
    }

    /// Counts a link of this process for as long as the guard lives.
    pub(crate) fn hold_dialed(&self, link: Link) -> Held {
        Held::new(
            self.dialed
                .get_or_create(&KindLabel { kind: link.kind })
                .clone(),
        )
    }

    /// Counts a link of a peer for as long as the guard lives.
    pub(crate) fn hold_accepted(&self, link: Link) -> Held {
        Held::new(
            self.accepted
                .get_or_create(&KindLabel { kind: link.kind })
                .clone(),
        )
    }
}

/// A gauge that is one higher while this lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
