//! What a process uses: descriptors, memory, threads, tasks.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

/// A reading of the process's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open file descriptors.
    pub open_files: i64,
    /// Resident memory, bytes.
    pub resident_bytes: i64,
    /// Threads.
    pub threads: i64,
}

impl Usage {
    /// Reads `/proc/self`; what cannot be read is 0.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            // The directory being read has a descriptor itself.
            open_files: i64::try_from(open_files.saturating_sub(1)).unwrap_or(i64::MAX),
            resident_bytes: field(&status, "VmRSS:").saturating_mul(1024),
            threads: field(&status, "Threads:"),
        }
    }
}

fn field(status: &str, name: &str) -> i64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Shows the use of the process and of its runtimes.
pub fn register(registry: &mut Registry, runtimes: Vec<Handle>) {
    registry.register_collector(Box::new(ProcessCollector { runtimes }));
}

#[derive(Debug)]
struct ProcessCollector {
    runtimes: Vec<Handle>,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usage = Usage::read();
        let alive = |runtime: &Handle| runtime.metrics().num_alive_tasks();
        let tasks: usize = self.runtimes.iter().map(alive).sum();
        let tasks = i64::try_from(tasks).unwrap_or(i64::MAX);
        let gauges = [
            (
                "process_open_fds",
                "Open file descriptors",
                usage.open_files,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory",
                usage.resident_bytes,
            ),
            ("process_threads", "Threads", usage.threads),
            ("im_process_tasks", "Tasks that are alive", tasks),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_this_process_is_read() {
        let usage = Usage::read();
        assert!(usage.open_files >= 3 && usage.threads >= 1, "{usage:?}");
        assert!(usage.resident_bytes > 1 << 20, "{usage:?}");
    }

    #[tokio::test]
    async fn the_use_of_this_process_is_among_the_metrics() {
        let metrics = crate::Metrics::default();
        metrics.register(|registry| register(registry, vec![Handle::current()]));
        let text = metrics.encode().unwrap();
        for name in [
            "process_open_fds ",
            "process_resident_memory_bytes ",
            "im_process_tasks ",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name} in {text}");
        }
    }
}
