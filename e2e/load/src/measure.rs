//! Latencies, CPU time and memory.

use std::time::Duration;

use hdrhistogram::Histogram;
pub(crate) use im_e2e::usage::number;
use im_e2e::usage::{self, memory_kib};

/// A histogram of durations up to a minute.
#[derive(Debug)]
pub(crate) struct Latency {
    micros: Histogram<u64>,
}

impl Latency {
    pub(crate) fn new() -> Self {
        let mut micros = Histogram::new_with_bounds(1, 60_000_000, 3)
            .unwrap_or_else(|_| unreachable_histogram());
        micros.auto(true);
        Self { micros }
    }

    /// The same for durations up to an hour.
    pub(crate) fn long() -> Self {
        let mut latency = Self::new();
        if let Ok(micros) = Histogram::new_with_bounds(1, 3_600_000_000, 3) {
            latency.micros = micros;
        }
        latency
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros.max(1));
    }

    /// Milliseconds at this percentile.
    pub(crate) fn ms(&self, percentile: f64) -> f64 {
        number(self.micros.value_at_percentile(percentile)) / 1000.0
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }
}

fn unreachable_histogram() -> Histogram<u64> {
    // Bounds of 1 and two or more with up to five digits are always valid.
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are valid"))
}

/// Seconds of CPU that processes have used, user and system, over all their threads.
pub(crate) fn cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().map(|pid| usage::cpu_seconds(*pid)).sum()
}

/// Bytes of one line of `/proc/PID/status` (`VmRSS`, `RssAnon`), summed over processes.
pub(crate) fn memory_bytes(pids: &[u32], key: &str) -> anyhow::Result<u64> {
    let kib: u64 = pids
        .iter()
        .map(|pid| memory_kib(*pid, key))
        .sum::<anyhow::Result<_>>()?;
    Ok(kib * 1024)
}

/// Bytes of one line of `/proc/meminfo` (`SUnreclaim`: what the kernel itself has).
pub(crate) fn machine_bytes(key: &str) -> anyhow::Result<u64> {
    Ok(usage::machine_kib(key)? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpu_are_those_of_all_processes() {
        let pid = std::process::id();
        let one = memory_bytes(&[pid], "VmHWM").unwrap();
        assert!(one > 0 && memory_bytes(&[pid, pid], "VmHWM").unwrap() >= 2 * one);
        let one = cpu_seconds(&[pid]).unwrap();
        assert!(cpu_seconds(&[pid, pid]).unwrap() >= 2.0 * one);
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latency = Latency::new();
        for ms in 1..=100 {
            latency.record(Duration::from_millis(ms));
        }
        assert!((latency.ms(50.0) - 50.0).abs() < 0.2);
        assert!((latency.ms(99.0) - 99.0).abs() < 0.2);
        assert_eq!(latency.count(), 100);
    }
}
