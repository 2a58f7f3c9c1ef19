//! SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The signals of this process, from [`Signals::install`] on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// How an orderly stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Everything stopped in time.
    InTime,
    /// The time was over.
    Late,
    /// A second signal asked to stop at once.
    AtOnce,
}

impl Signals {
    /// Takes over the signals; they do not kill the process any more.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Runs until `work` ends by itself, or a signal comes; then fires `drain` and gives `work`
    /// this much time to end.
    ///
    /// Returns what `work` returned unless it was late or a second signal came.
    pub async fn supervise<T>(
        mut self,
        work: impl Future<Output = T>,
        drain: &CancellationToken,
        limit: Duration,
    ) -> (Stop, Option<T>) {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            result = &mut work => return (Stop::InTime, Some(result)),
            () = self.next() => {}
        }
        info!("stopping");
        drain.cancel();
        tokio::select! {
            result = work => (Stop::InTime, Some(result)),
            () = self.next() => {
                warn!("stopping at once");
                (Stop::AtOnce, None)
            }
            () = tokio::time::sleep(limit) => {
                warn!("time to stop is over");
                (Stop::Late, None)
            }
        }
    }
}
