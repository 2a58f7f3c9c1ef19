//! Latencies, CPU time and memory.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

/// Ticks per second of the times in `/proc/PID/stat`: 100 on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

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

    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros.max(1));
    }

    /// Milliseconds at this percentile.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a minute in microseconds fits into 53 bits"
    )]
    pub(crate) fn ms(&self, percentile: f64) -> f64 {
        self.micros.value_at_percentile(percentile) as f64 / 1000.0
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }
}

fn unreachable_histogram() -> Histogram<u64> {
    // Bounds of 1 and two or more with up to five digits are always valid.
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are valid"))
}

/// A count as a number to calculate with.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^53"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// Seconds of CPU that processes have used, user and system, over all their threads.
pub(crate) fn cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("read CPU time of process {pid}"))?;
        ticks += ticks_of(&stat).context("understand /proc/PID/stat")?;
    }
    Ok(number(ticks) / TICKS_PER_SECOND)
}

/// User and system time of a line of `/proc/PID/stat`.
fn ticks_of(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Bytes of one line of `/proc/PID/status` (`VmRSS`, `RssAnon`), summed over processes.
pub(crate) fn memory_bytes(pids: &[u32], key: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("read memory of process {pid}"))?;
        bytes += kilobytes(&status, key).with_context(|| format!("find {key}"))? * 1024;
    }
    Ok(bytes)
}

/// Bytes of one line of `/proc/meminfo` (`SUnreclaim`: what the kernel itself has).
pub(crate) fn machine_bytes(key: &str) -> anyhow::Result<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").context("read memory of the machine")?;
    Ok(kilobytes(&info, key).with_context(|| format!("find {key}"))? * 1024)
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some(100));
        assert_eq!(ticks_of("42"), None);
    }

    #[test]
    fn memory_is_found_by_its_whole_key() {
        let status = "VmRSSX:\t9 kB\nVmRSS:\t  120 kB\n";
        assert_eq!(kilobytes(status, "VmRSS"), Some(120));
        assert!(memory_bytes(&[std::process::id()], "RssAnon").unwrap() > 0);
        assert!(cpu_seconds(&[std::process::id()]).unwrap() >= 0.0);
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
