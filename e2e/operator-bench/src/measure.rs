//! CPU time and memory of processes, and percentiles.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Ticks per second of the times in `/proc/PID/stat`: 100 on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU that a process has used, user and system, over all its threads.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("read CPU time of process {pid}"))?;
    let ticks = ticks_of(&stat).context("understand /proc/PID/stat")?;
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

/// CPU time that this thread has used.
pub(crate) fn thread_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Resident memory of a process, MiB: now.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    Ok(number(im_e2e::gauges::resident_kib(pid)?) / 1024.0)
}

/// Resident memory of a process, MiB: the most it ever had.
pub(crate) fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("read VmHWM")?;
    Ok(number(peak) / 1024.0)
}

/// The process of this name in the pod with this UID.
pub(crate) fn process_of_pod(uid: &str, name: &str) -> anyhow::Result<u32> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // Processes come and go while the list is read.
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if read("comm").trim() == name && read("cgroup").contains(uid) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process {name} of the pod {uid} is seen from here")
}

/// Milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The value below which this part (0 to 1) of the durations lies, in milliseconds.
pub(crate) fn percentile(durations: &[Duration], part: f64) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a length is a length"
    )]
    let rank = (part * number(sorted.len() as u64)).ceil() as usize;
    let found = sorted.get(rank.saturating_sub(1)).or_else(|| sorted.last());
    found.copied().map_or(0.0, millis)
}

/// A count as a number to calculate with.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^53"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// The same for a length.
pub(crate) fn count(length: usize) -> f64 {
    number(length as u64)
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
    fn this_process_can_be_measured() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(thread_cpu().unwrap() <= thread_cpu().unwrap());
        assert!(resident_mib(pid).unwrap() > 0.5);
        assert!(peak_mib(pid).unwrap() >= 0.5);
        assert!(process_of_pod("no-such-pod", "init").is_err());
    }

    #[test]
    fn the_99th_percentile_of_a_hundred_is_the_last_but_one() {
        let durations: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert!((percentile(&durations, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile(&durations, 0.5) - 50.0).abs() < 1e-9);
        assert!((percentile(&durations, 1.0) - 100.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).abs() < 1e-9);
    }
}
