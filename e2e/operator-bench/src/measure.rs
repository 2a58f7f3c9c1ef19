//! CPU time and memory of processes, and percentiles.

use std::fs;
use std::time::Duration;

pub(crate) use im_e2e::usage::cpu_seconds;
use im_e2e::usage::{memory_kib, number};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// CPU time that this thread has used.
pub(crate) fn thread_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Resident memory of a process, MiB: now.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    Ok(number(memory_kib(pid, "VmRSS")?) / 1024.0)
}

/// Resident memory of a process, MiB: the most it ever had.
pub(crate) fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    Ok(number(memory_kib(pid, "VmHWM")?) / 1024.0)
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

/// A length as a number to calculate with.
pub(crate) fn count(length: usize) -> f64 {
    number(length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

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
