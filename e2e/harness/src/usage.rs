//! What processes and the whole machine have used so far, from `/proc`.

use std::fs;
use std::io;

use anyhow::Context as _;

/// Ticks per second of the times in `/proc`: 100 on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU that a process has used, user and system, over all its threads.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
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

/// Seconds of CPU that everything on the machine has used, interrupts and what the hypervisor kept for
/// others included.
pub fn machine_cpu_seconds() -> anyhow::Result<f64> {
    let ticks = busy_ticks(&read("/proc/stat")?).context("understand /proc/stat")?;
    Ok(number(ticks) / TICKS_PER_SECOND)
}

/// All but idling and waiting for the disk; time of guests is part of the user time already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = fields
        .split_ascii_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    let [user, nice, system, _idle, _waiting, irq, softirq, steal, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq + steal)
}

/// Bytes that a process has caused to be written to the disk: whole pages, each time it made one dirty
/// that was clean.
pub fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    let io = read(&format!("/proc/{pid}/io"))?;
    first_number(&io, "write_bytes").context("find write_bytes")
}

/// How often threads of a process that still run have gone to sleep by themselves.
pub fn sleeps(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // Threads may end while the list is read.
        match fs::read_to_string(entry?.path().join("status")) {
            Ok(status) => sum += first_number(&status, "voluntary_ctxt_switches").unwrap_or(0),
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sum)
}

/// A file of a thread that has ended cannot be opened, or not be read any more (ESRCH).
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}

/// One line of `/proc/PID/status` in KiB: `VmRSS` (resident now), `VmHWM` (at most so far), `RssAnon`.
pub fn memory_kib(pid: u32, key: &str) -> anyhow::Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    first_number(&status, key).with_context(|| format!("find {key}"))
}

/// Lets a process's highest resident memory (`VmHWM`) count from now on.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the highest memory")
}

/// One line of `/proc/meminfo` in KiB (`SUnreclaim`: what the kernel itself has).
pub fn machine_kib(key: &str) -> anyhow::Result<u64> {
    first_number(&read("/proc/meminfo")?, key).with_context(|| format!("find {key}"))
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// The number on the line of this key.
fn first_number(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// A count as a number to calculate with.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are far below 2^53"
)]
pub fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some(100));
        assert_eq!(ticks_of("42"), None);
    }

    #[test]
    fn idling_is_no_load_and_stolen_time_is() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(100 + 20 + 30 + 6 + 7 + 8));
        assert_eq!(busy_ticks("cpu  1 2 3"), None);
    }

    #[test]
    fn a_figure_is_found_by_its_whole_key() {
        let status = "VmRSSX:\t9 kB\nVmRSS:\t  120 kB\n";
        assert_eq!(first_number(status, "VmRSS"), Some(120));
        assert_eq!(first_number(status, "VmHWM"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let pid = std::process::id();
        let (own, all) = (cpu_seconds(pid).unwrap(), machine_cpu_seconds().unwrap());
        assert!(own >= 0.0 && all >= own);
        assert!(memory_kib(pid, "RssAnon").unwrap() > 0);
        assert!(machine_kib("SUnreclaim").unwrap() > 0);
        written_bytes(pid).unwrap();
    }

    #[test]
    fn going_to_sleep_is_counted() {
        let pid = std::process::id();
        let before = sleeps(pid).unwrap();
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        receiver.recv_timeout(Duration::from_millis(1)).unwrap_err();
        let after = sleeps(pid).unwrap();
        assert!(after > before, "{before} before, {after} after");
    }

    #[test]
    fn a_peak_is_forgotten() {
        let pid = std::process::id();
        let block = vec![1_u8; 64 << 20];
        let high = memory_kib(pid, "VmHWM").unwrap();
        drop(std::hint::black_box(block));
        forget_peak(pid).unwrap();
        let low = memory_kib(pid, "VmHWM").unwrap();
        assert!(low < high, "{high} KiB, then {low} KiB");
    }
}
