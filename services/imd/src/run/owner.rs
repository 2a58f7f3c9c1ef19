//! Which of the processes that share a store runs db-proxy.
//!
//! One owns the log, the others stand by: they answer probes, serve nothing, and take the log once its
//! owner has given it up or stands still. Whoever loses the log ends, and stands by after its restart. An
//! owner whom the store has not answered for as long as others wait lets its callers go, so that they find
//! the next one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_core::Chain;
use im_order::{Candidate, Standing};
use im_rpc::serve::Gate;
use im_store::{OpenStore, Start, StoreError};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Condition of readiness: the log is this process's.
const OWNS_LOG: &str = "owns_log";

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// The same while nobody has the log.
const VACANT_ROUND: Duration = Duration::from_millis(100);
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(5);
/// An owner that has had no answer for so long keeps nobody from looking for another. Others take its log
/// after three rounds of theirs.
const LET_GO: Duration = Duration::from_secs(4);

/// A store that is open, and whose log is this process's.
pub(super) struct Opened {
    pub(super) store: Arc<dyn OpenStore>,
    /// Where others share it.
    pub(super) owner: Option<Owner>,
    /// Whether callers are let in.
    pub(super) gate: Gate,
}

/// How a process waits for a log that another one has.
pub(super) struct Standby {
    /// What it calls itself in the store.
    pub(super) name: String,
    /// Whether it is ready then, which is to take the log over.
    pub(super) is_ready: bool,
}

/// A process that has the log of a shared store.
pub(super) struct Owner {
    store: Arc<dyn OpenStore>,
    candidate: Candidate,
    begun: Instant,
    /// When the last round that was answered began.
    heard: Instant,
    gate: Gate,
}

/// Why a process that had the log ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Somebody else has it.
    #[error("another process has taken the log: this one, {name:?}, was silent for too long")]
    Taken {
        /// The name of this process.
        name: String,
    },
    /// A later process calls itself the same.
    #[error("another process that calls itself {name:?} shares the store and was started later")]
    Replaced {
        /// The name of both.
        name: String,
    },
}

/// Waits until the log is this process's, if its store is one that others share.
///
/// # Errors
/// The store does not take this process in, or a later one has its name.
pub(super) async fn wait(
    store: &Arc<dyn OpenStore>,
    standby: Standby,
    process: &im_runtime::Context,
) -> anyhow::Result<Opened> {
    let owns_log = process.metrics.register(|registry| {
        let gauge: Gauge = Gauge::default();
        registry.register(
            "im_db_proxy_owns_log",
            "1 while the log is this process's, 0 while it stands by",
            gauge.clone(),
        );
        gauge
    });
    let readiness = &process.readiness;
    let gate = Gate::default();
    let opened = |owner| Opened {
        store: Arc::clone(store),
        owner,
        gate: gate.clone(),
    };
    let Some(roster) = store.roster() else {
        owns_log.set(1);
        return Ok(opened(None));
    };
    readiness.set(OWNS_LOG, false);
    let now = Instant::now();
    let mut owner = Owner {
        store: Arc::clone(store),
        candidate: Candidate::new(standby.name, rand::random()),
        begun: now,
        heard: now,
        gate: gate.clone(),
    };
    answered(roster.join(owner.me()))
        .await
        .context("say in the store that this process is there")?;
    let mut stands_by = false;
    loop {
        match owner.round().await {
            Ok(Standing::Owner) => break,
            Ok(Standing::Replaced) => return Err(owner.replaced().into()),
            Ok(Standing::Take(seen)) => match answered(roster.claim(owner.me(), seen)).await {
                // The next round tells what has come of it.
                Ok(_) => continue,
                Err(error) => warn!(error = %Chain(&error), "the log is not taken"),
            },
            Ok(Standing::Standby) => {
                if standby.is_ready {
                    readiness.show(OWNS_LOG, false);
                }
                if !std::mem::replace(&mut stands_by, true) {
                    info!(
                        name = owner.candidate.name(),
                        "another process has the log, standing by"
                    );
                }
            }
            Err(error) => {
                // Nothing could be taken over now.
                readiness.set(OWNS_LOG, false);
                warn!(error = %Chain(&error), "the store does not say who has the log");
            }
        }
        sleep(owner.pause()).await;
    }
    info!(name = owner.candidate.name(), "this process has the log");
    readiness.set(OWNS_LOG, true);
    owns_log.set(1);
    Ok(opened(Some(owner)))
}

impl Owner {
    /// Says that this process is there until told to stop, and then leaves the log to others.
    ///
    /// # Errors
    /// The log was lost.
    pub(super) async fn keep(mut self, stop: CancellationToken) -> Result<(), Lost> {
        self.heard = Instant::now();
        let mut stand_by = false;
        while let Some(standing) = stop.run_until_cancelled(self.next()).await {
            match standing {
                Ok(Standing::Owner) => {
                    if self.gate.set(true) {
                        info!("the store answers again, and the log is still this process's");
                    }
                    let others = self.candidate.has_others();
                    match (std::mem::replace(&mut stand_by, others), others) {
                        (false, true) => info!("others stand by for the log"),
                        (true, false) => warn!("nobody stands by for the log any more"),
                        _ => {}
                    }
                }
                Ok(Standing::Standby | Standing::Take(_)) => return Err(self.taken()),
                Ok(Standing::Replaced) => return Err(self.replaced()),
                // Whether the log is still ours is decided with every commit.
                Err(error) => {
                    warn!(error = %Chain(&error), "the store does not say who has the log");
                }
            }
        }
        if let Some(roster) = self.store.roster()
            && let Err(error) = answered(roster.give(self.me())).await
        {
            warn!(error = %Chain(&error), "the log is not given up: others wait for some seconds");
        }
        Ok(())
    }

    /// The next round. If it is too long until its answer, callers are let go meanwhile.
    async fn next(&mut self) -> Result<Standing, StoreError> {
        let silent = self.heard + LET_GO;
        let is_alone = !self.candidate.has_others();
        let gate = self.gate.clone();
        let mut round = std::pin::pin!(async {
            sleep(self.pause()).await;
            self.round().await
        });
        tokio::select! {
            standing = &mut round => return standing,
            () = sleep_until(silent), if !is_alone && gate.is_open() => {}
        }
        gate.set(false);
        warn!("the store does not answer: callers are let go, since another may have the log");
        round.await
    }

    async fn round(&mut self) -> Result<Standing, StoreError> {
        let Some(roster) = self.store.roster() else {
            return Ok(Standing::Owner);
        };
        let begun = Instant::now();
        let read = answered(roster.beat(start(&self.candidate))).await?;
        self.heard = begun;
        let (took, now) = (begun.elapsed(), self.begun.elapsed());
        Ok(self.candidate.round(&read, took, now))
    }

    fn pause(&self) -> Duration {
        if self.candidate.is_vacant() {
            VACANT_ROUND
        } else {
            ROUND
        }
    }

    fn me(&self) -> Start<'_> {
        start(&self.candidate)
    }

    fn taken(&self) -> Lost {
        Lost::Taken {
            name: self.candidate.name().to_owned(),
        }
    }

    fn replaced(&self) -> Lost {
        Lost::Replaced {
            name: self.candidate.name().to_owned(),
        }
    }
}

fn start(candidate: &Candidate) -> Start<'_> {
    Start {
        name: candidate.name(),
        instance: candidate.instance(),
    }
}

async fn answered<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("the store does not answer".into());
    timeout(ANSWER, call).await.map_err(late)?
}
