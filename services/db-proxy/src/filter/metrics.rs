//! What the filter counts.

use im_runtime::init_series;
use im_writer::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

im_core::label_values! {
    /// What was wrong with a request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) enum Failure {
        /// No connection was made.
        Unreachable,
        /// Not all of an answer came in time.
        Timeout,
        /// The connection ended before the answer did.
        Broken,
        /// Its status is none of 200 to 299.
        Status,
        /// It is longer than `filter.max_answer`.
        TooLong,
        /// It is not JSON of the form that is wanted.
        BadAnswer,
        /// It has no verdict on some message.
        Missing,
        /// A verdict is none that can be carried out.
        Unusable,
    }
}

im_core::label_values! {
    /// What was said about a message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) enum Told {
        Allow,
        Deny,
        Replace,
        /// Nothing of use.
        Nothing,
        /// The filter was not asked, since it is left alone.
        Skipped,
    }
}

impl Told {
    pub(super) const fn of(verdict: Option<&Verdict>) -> Self {
        match verdict {
            Some(Verdict::Allow) => Self::Allow,
            Some(Verdict::Replace(_)) => Self::Replace,
            Some(Verdict::Deny | Verdict::Unjudged) => Self::Deny,
            None => Self::Nothing,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerdict {
    verdict: Told,
}

/// Counters of the filter; cheap to clone.
#[derive(Clone)]
pub(crate) struct FilterMetrics {
    under_way: Gauge,
    asked: Counter,
    verdicts: Family<ByVerdict, Counter>,
    failures: Family<ByKind, Counter>,
    left_alone: Gauge,
    seconds: Histogram,
}

impl FilterMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self {
            under_way: Gauge::default(),
            asked: Counter::default(),
            verdicts: Family::default(),
            failures: Family::default(),
            left_alone: Gauge::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 12)),
        };
        init_series(&this.verdicts, Told::ALL, |verdict| ByVerdict { verdict });
        init_series(&this.failures, Failure::ALL, |kind| ByKind { kind });
        let it = registry.sub_registry_with_prefix("im_db_proxy_filter");
        it.register(
            "requests",
            "Requests to the filter that are under way",
            this.under_way.clone(),
        );
        it.register(
            "asked_messages",
            "Messages that the filter was asked about",
            this.asked.clone(),
        );
        it.register(
            "verdicts",
            "Messages by what the filter said about them",
            this.verdicts.clone(),
        );
        it.register(
            "failures",
            "Requests that failed, by what was wrong",
            this.failures.clone(),
        );
        it.register(
            "left_alone",
            "1 while the filter is not asked, since it failed too often",
            this.left_alone.clone(),
        );
        it.register(
            "request_seconds",
            "Time of one request, answered or not",
            this.seconds.clone(),
        );
        this
    }

    pub(super) fn told(&self, verdict: Told, messages: usize) {
        self.verdicts
            .get_or_create(&ByVerdict { verdict })
            .inc_by(messages as u64);
    }

    pub(super) fn failed(&self, kind: Failure) {
        self.failures.get_or_create(&ByKind { kind }).inc();
    }

    pub(super) fn left_alone(&self, is_so: bool) {
        self.left_alone.set(i64::from(is_so));
    }

    /// Requests that are under way.
    pub(super) fn under_way(&self) -> i64 {
        self.under_way.get()
    }

    /// Counts a request about so many messages while the guard lives.
    pub(super) fn request(&self, messages: usize) -> UnderWay {
        self.asked.inc_by(messages as u64);
        self.under_way.inc();
        UnderWay {
            metrics: self.clone(),
            since: Instant::now(),
        }
    }
}

/// A request that is under way.
pub(super) struct UnderWay {
    metrics: FilterMetrics,
    since: Instant,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.metrics.under_way.dec();
        let seconds = self.since.elapsed().as_secs_f64();
        self.metrics.seconds.observe(seconds);
    }
}
