//! What the disk alone costs: append + fdatasync, beside which latencies are judged.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::time::Instant;

use crate::measure::Latency;

/// Size of an append: one page of the log.
const PAGE: usize = 4096;
/// Time between two appends of a probe beside a run: some 50 per second are enough for a 99th
/// percentile over a few seconds, and little beside hundreds of commits per second.
const GAP: Duration = Duration::from_millis(19);

/// Milliseconds of append + fdatasync.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk {
    /// Median.
    pub(crate) p50: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
}

impl Disk {
    fn of(latency: &Latency) -> Self {
        Self {
            p50: latency.ms(50.0),
            p99: latency.ms(99.0),
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.3} ms, p99 {:.3} ms", self.p50, self.p99)
    }
}

/// A thread that appends and syncs now and then, while something else is measured. Its file is one of
/// its own on the file system of `dir`.
#[derive(Debug)]
pub(crate) struct Probe {
    stop: Sender<()>,
    thread: JoinHandle<anyhow::Result<Latency>>,
}

impl Probe {
    /// Starts it.
    pub(crate) fn start(dir: &Path) -> anyhow::Result<Self> {
        let file = own_file(dir)?;
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || until_stopped(file, &stopped));
        Ok(Self { stop, thread })
    }

    /// Ends it and tells what the disk cost meanwhile.
    pub(crate) fn end(self) -> anyhow::Result<Disk> {
        drop(self.stop);
        let latency = self.thread.join().map_err(|_| anyhow!("the probe died"))?;
        Ok(Disk::of(&latency?))
    }
}

fn until_stopped(mut file: File, stopped: &Receiver<()>) -> anyhow::Result<Latency> {
    let mut latency = Latency::new();
    loop {
        append(&mut file, &mut latency)?;
        match stopped.recv_timeout(GAP) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(latency),
        }
    }
}

/// Appends a page and syncs it, so many times at once. Blocks.
pub(crate) fn append_and_sync(dir: &Path, times: u32) -> anyhow::Result<Disk> {
    let mut file = own_file(dir)?;
    let mut latency = Latency::new();
    for _ in 0..times {
        append(&mut file, &mut latency)?;
    }
    Ok(Disk::of(&latency))
}

fn own_file(dir: &Path) -> anyhow::Result<File> {
    tempfile::tempfile_in(dir).context("create file for disk probe")
}

fn append(file: &mut File, latency: &mut Latency) -> anyhow::Result<()> {
    let page = [0x5a; PAGE];
    let start = Instant::now();
    file.write_all(&page).context("append")?;
    file.sync_data().context("sync")?;
    latency.record(start.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_takes_some_time() {
        let dir = tempfile::tempdir().unwrap();
        let disk = append_and_sync(dir.path(), 5).unwrap();
        assert!(disk.p50 > 0.0 && disk.p99 >= disk.p50);
    }

    #[test]
    fn a_probe_beside_a_run_has_measured_when_it_is_ended_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Probe::start(dir.path()).unwrap().end().unwrap();
        assert!(disk.p50 > 0.0 && disk.p99 >= disk.p50);
    }
}
