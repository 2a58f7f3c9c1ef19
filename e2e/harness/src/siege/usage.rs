//! What a process holds, read from outside.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use crate::gauges::{Metrics, descriptors};
use crate::process::Process;

/// Time for a reading of a process that is not stuck.
const PATIENCE: Duration = Duration::from_secs(3);
/// Caches fill with the first people who come, and each direction of a link keeps the room that its
/// largest batch took, of 4 MiB at most: two links of a msg server carry what clients send; KiB. It
/// holds after every round, against what there was before the first.
const HEAP_SLACK_KIB: u64 = 16 << 10;
/// The store opens its readers when they are first needed.
const DESCRIPTOR_SLACK: usize = 32;
/// The reading itself has a connection, and so may the probe of a newcomer who has just left.
const TASK_SLACK: u64 = 16;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live heap of the allocator, KiB.
    pub heap_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Tasks of its runtimes.
    pub tasks: u64,
    /// Links to other roles that it has dialed, lost ones included.
    pub links: u64,
}

impl Usage {
    /// Reads it.
    ///
    /// # Errors
    /// When the process is gone or does not answer in time.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "gauges are small whole numbers"
    )]
    pub async fn read(process: &Process) -> anyhow::Result<Self> {
        let metrics = timeout(PATIENCE, Metrics::read(process))
            .await
            .context("its metrics do not come in time")?
            .context("read its metrics")?;
        Ok(Self {
            heap_kib: metrics.sum("im_process_heap_bytes", "") as u64 >> 10,
            descriptors: descriptors(process.pid())?,
            tasks: metrics.sum("im_process_tasks", "") as u64,
            links: metrics.sum("im_link_dials", "result=\"up\"") as u64,
        })
    }

    /// What is more than five percent, and what caches may add, above an earlier reading.
    pub fn above(&self, before: &Self) -> Vec<String> {
        let heap = before.heap_kib + before.heap_kib / 20 + HEAP_SLACK_KIB;
        let descriptors = before.descriptors + before.descriptors / 20 + DESCRIPTOR_SLACK;
        let tasks = before.tasks + before.tasks / 20 + TASK_SLACK;
        let mut parts = Vec::new();
        if self.heap_kib > heap {
            parts.push(format!(
                "{} KiB of heap instead of {}",
                self.heap_kib, before.heap_kib
            ));
        }
        if self.descriptors > descriptors {
            parts.push(format!(
                "{} descriptors instead of {}",
                self.descriptors, before.descriptors
            ));
        }
        if self.tasks > tasks {
            parts.push(format!("{} tasks instead of {}", self.tasks, before.tasks));
        }
        parts
    }
}

/// The highest resident memory since the last reset, KiB.
pub(super) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("it has ended")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("it has ended")
}

/// Forgets the highest resident memory up to now.
pub(super) fn reset_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("write clear_refs")
}
