//! What the links of msg servers count.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// A class of calls of msg servers, with bounds of its own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Class {
        Send,
        Query,
        Login,
    }
}

/// Label of calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: Class,
}

/// Counters of the links; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Default)]
pub(crate) struct AttachMetrics {
    queries: Gauge,
    links: Gauge,
    turned_away: Family<ClassLabel, Counter>,
    withdrawn: Family<ClassLabel, Counter>,
    answer_bytes: Gauge,
    cached_relations: Gauge,
    cut_relations: Counter,
}

impl AttachMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        for family in [&this.turned_away, &this.withdrawn] {
            init_series(family, Class::ALL, |class| ClassLabel { class });
        }
        let it = registry.sub_registry_with_prefix("im_db_proxy");
        it.register("running_queries", "Queries in hand", this.queries.clone());
        it.register("attached_links", "Links of msg servers", this.links.clone());
        it.register(
            "turned_away_calls",
            "Calls of msg servers beyond the bounds of their class",
            this.turned_away.clone(),
        );
        it.register(
            "withdrawn_calls",
            "Calls whose callers had gone before they were answered",
            this.withdrawn.clone(),
        );
        it.register(
            "answer_bytes",
            "Bytes of answers that are being made or have not left",
            this.answer_bytes.clone(),
        );
        it.register(
            "cached_relations",
            "People whose relations are remembered",
            this.cached_relations.clone(),
        );
        it.register(
            "cut_relations",
            "People with more relations than are told of their presence",
            this.cut_relations.clone(),
        );
        this
    }

    pub(crate) fn turned_away(&self, class: Class) {
        self.turned_away_many(class, 1);
    }

    pub(crate) fn turned_away_many(&self, class: Class, calls: usize) {
        self.turned_away
            .get_or_create(&ClassLabel { class })
            .inc_by(calls as u64);
    }

    pub(crate) fn withdrawn(&self, class: Class) {
        self.withdrawn.get_or_create(&ClassLabel { class }).inc();
    }

    pub(crate) fn answer_bytes(&self, bytes: usize) {
        set(&self.answer_bytes, bytes);
    }

    #[cfg(test)]
    pub(crate) fn turned_away_of(&self, class: Class) -> u64 {
        self.turned_away.get_or_create(&ClassLabel { class }).get()
    }

    #[cfg(test)]
    pub(crate) fn withdrawn_of(&self, class: Class) -> u64 {
        self.withdrawn.get_or_create(&ClassLabel { class }).get()
    }

    pub(crate) fn cached_relations(&self, users: usize) {
        set(&self.cached_relations, users);
    }

    pub(crate) fn relations_cut(&self) {
        self.cut_relations.inc();
    }

    /// Counts a query while the guard lives.
    pub(crate) fn query(&self) -> Held {
        Held::new(&self.queries)
    }

    /// Counts a link while the guard lives.
    pub(crate) fn link(&self) -> Held {
        Held::new(&self.links)
    }

    /// Relations remembered, relations cut.
    #[cfg(test)]
    pub(crate) fn relations(&self) -> (i64, u64) {
        (self.cached_relations.get(), self.cut_relations.get())
    }
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// A gauge that is one higher while this lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
