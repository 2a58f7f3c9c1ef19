//! What the disk alone costs: append + fdatasync, beside which latencies are judged.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::measure::Latency;

/// Size of an append: one page of the log.
const PAGE: usize = 4096;

/// Milliseconds of append + fdatasync.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk {
    /// Median.
    pub(crate) p50: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.3} ms, p99 {:.3} ms", self.p50, self.p99)
    }
}

/// Appends a page and syncs it, so many times. Blocks.
pub(crate) fn append_and_sync(dir: &Path, times: u32) -> anyhow::Result<Disk> {
    let mut file = tempfile::tempfile_in(dir).context("create file for disk probe")?;
    let mut latency = Latency::new();
    measure(&mut file, times, &mut latency)?;
    Ok(Disk {
        p50: latency.ms(50.0),
        p99: latency.ms(99.0),
    })
}

fn measure(file: &mut File, times: u32, latency: &mut Latency) -> anyhow::Result<()> {
    let page = [0x5a; PAGE];
    for _ in 0..times {
        let start = Instant::now();
        file.write_all(&page).context("append")?;
        file.sync_data().context("sync")?;
        latency.record(start.elapsed());
    }
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
}
