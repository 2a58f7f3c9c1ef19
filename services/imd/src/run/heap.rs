//! What the allocator of this program has given out.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tikv_jemalloc_ctl::{epoch, stats};

/// Shows the live heap. What SQLite allocates is not in it: C has an allocator of its own.
pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(HeapCollector));
}

#[derive(Debug)]
struct HeapCollector;

/// Bytes allocated and not freed; 0 when the allocator does not tell.
fn live_bytes() -> i64 {
    // Figures are as of the last epoch.
    let read = epoch::advance().and_then(|_| stats::allocated::read());
    read.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

impl Collector for HeapCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(live_bytes());
        let encoder = encoder.encode_descriptor(
            "im_process_heap_bytes",
            "Bytes that are allocated, without those of SQLite",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_seen_and_what_is_freed_is_not() {
        // Tests beside it allocate and free a little.
        let (size, most) = (64 << 20, 48 << 20);
        let before = live_bytes();
        let bytes = vec![1_u8; size];
        let with = live_bytes();
        drop(bytes);
        let after = live_bytes();
        assert!(before > 0 && with > before + most, "{before} {with}");
        assert!(after < with - most, "{with} {after}");
    }
}
