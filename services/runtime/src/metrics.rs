//! The registry of one process.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metrics registry that roles share. Counters are registered *without* `_total`.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Registers metrics: `metrics.register(|registry| LoginMetrics::register(registry))`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// A metric cannot be written as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Makes the series of these values of a label, as zero. A series that only appears with its first count
/// hides that count: to `rate` and `increase` its first value is no increase. Nor does anybody find its metric
/// before.
pub fn init_series<V, L, M, C>(family: &Family<L, M, C>, values: &[V], label: impl Fn(V) -> L)
where
    V: Copy,
    L: Clone + Hash + Eq,
    C: MetricConstructor<M>,
{
    for value in values {
        drop(family.get_or_create(&label(*value)));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
