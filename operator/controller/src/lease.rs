//! Who works, which replica and which installation (`claims`): a `coordination.k8s.io/v1` Lease.
//!
//! The holder renews it every fifth of its deadline, and every second once a renewal failed. Another
//! replica takes a lease that it has seen unchanged for the lease's duration *by its own clock*, so
//! clocks need not agree. A holder that could not renew until its deadline gives up, before anyone can
//! take over, and stands again. Every write is a PUT with the resourceVersion that was read, so two
//! replicas cannot both succeed.
//!
//! Whoever writes asks [`Turn`] at the last moment: a process that was stopped for a while, and
//! does not know it yet, writes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use im_core::Chain;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

/// How long a lease is good for, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    duration: Duration,
    deadline: Duration,
    retry: Duration,
}

impl Timing {
    /// From seconds: how long a lease is good for without a renewal, after how long its holder gives
    /// up, and the time between two tries.
    ///
    /// # Errors
    ///
    /// They must grow in the order retry, deadline, duration.
    pub(crate) fn new(duration: u64, deadline: u64, retry: u64) -> anyhow::Result<Self> {
        ensure!(
            deadline < duration,
            "--lease-renew-deadline-seconds is {deadline}: it must be less than \
             --lease-duration-seconds, which is {duration}"
        );
        ensure!(
            retry < deadline,
            "--lease-retry-seconds is {retry}: it must be less than \
             --lease-renew-deadline-seconds, which is {deadline}"
        );
        let [duration, deadline, retry] = [duration, deadline, retry].map(Duration::from_secs);
        Ok(Self {
            duration,
            deadline,
            retry,
        })
    }

    /// For the claim of a namespace, which many may hold at once: renewed every sixth of its duration.
    pub(crate) fn of_claims(duration: u64) -> Self {
        let duration = Duration::from_secs(duration);
        Self {
            duration,
            deadline: duration.mul_f64(5.0 / 6.0),
            retry: duration / 12,
        }
    }

    /// Time between renewals when all is well.
    fn renewal(self) -> Duration {
        self.retry.max(self.deadline / 5)
    }

    /// Longest time of one call.
    fn call(self) -> Duration {
        self.retry.max(self.deadline / 4)
    }
}

/// Until when this process may write. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<Mutex<Until>>);

#[derive(Clone, Copy, Debug, Default)]
enum Until {
    #[default]
    Never,
    Then(Instant),
    Always,
}

impl Turn {
    /// For ever, as without a lease.
    pub(crate) fn always(&self) {
        self.set(Until::Always);
    }

    /// Not any more.
    pub(crate) fn end(&self) {
        self.set(Until::Never);
    }

    /// Whether this process may write now.
    pub(crate) fn may_write(&self) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Until::Never => false,
            Until::Then(end) => Instant::now() < end,
            Until::Always => true,
        }
    }

    fn set(&self, until: Until) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// A seat for one of several replicas.
#[derive(Debug)]
pub(crate) struct LeaderElection {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    turn: Turn,
}

/// A lease that this replica holds.
#[derive(Debug)]
pub(crate) struct Held {
    lease: Lease,
    /// When the last renewal that succeeded was begun.
    renewed: Instant,
}

/// The lease as it was last seen, and since when it looks so.
#[derive(Debug)]
pub(crate) struct Observed {
    version: Option<String>,
    since: Instant,
}

impl Held {
    /// How often the lease has changed its holder.
    pub(crate) fn transitions(&self) -> i64 {
        let spec = self.lease.spec.as_ref();
        spec.and_then(|spec| spec.lease_transitions)
            .map_or(0, i64::from)
    }
}

impl Observed {
    /// Nothing was seen yet.
    pub(crate) fn now() -> Self {
        Self {
            version: None,
            since: Instant::now(),
        }
    }
}

/// What became of a try to get the lease.
#[derive(Debug)]
pub(crate) enum Tried {
    Held(Box<Held>),
    /// It is another's, of this name, or was written by another meanwhile.
    Waits(Option<String>),
}

#[derive(Debug, PartialEq)]
enum Step {
    Create,
    Take,
    Wait,
}

impl LeaderElection {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
        turn: Turn,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
            turn,
        }
    }

    /// Waits until this replica holds the lease. Safe to cancel.
    pub(crate) async fn acquire(&self) -> Held {
        let mut observed = Observed::now();
        loop {
            match self.try_acquire(&mut observed).await {
                Ok(Tried::Held(held)) => return *held,
                Ok(Tried::Waits(_)) => {}
                Err(error) => {
                    warn!(error = %Chain(&error), lease = self.name, "lease cannot be read or taken");
                }
            }
            self.pause().await;
        }
    }

    /// Waits until the next try is due.
    pub(crate) async fn pause(&self) {
        // A little noise, so that waiting replicas do not all write at once.
        let noise = rand::random_range(1.0..1.2);
        sleep(self.timing.renewal().mul_f64(noise)).await;
    }

    /// Tries once to get the lease.
    pub(crate) async fn try_acquire(&self, observed: &mut Observed) -> Result<Tried, kube::Error> {
        let begun = Instant::now();
        let lease = self.bounded(self.api.get_opt(&self.name)).await?;
        let version = lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if version != observed.version {
            *observed = Observed {
                version,
                since: Instant::now(),
            };
        }
        let written = match self.step(lease.as_ref(), observed.since.elapsed()) {
            Step::Wait => {
                let holder = lease.as_ref().and_then(holder).map(str::to_owned);
                return Ok(Tried::Waits(holder));
            }
            Step::Create => {
                let lease = self.next(None);
                self.bounded(self.api.create(&kube::api::PostParams::default(), &lease))
                    .await
            }
            Step::Take => self.put(&self.next(lease.as_ref())).await,
        };
        match written {
            Ok(lease) => {
                info!(
                    lease = self.name,
                    identity = self.identity,
                    "holding the lease"
                );
                Ok(Tried::Held(Box::new(self.held(lease, begun))))
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Tried::Waits(None))
            }
            Err(error) => Err(error),
        }
    }

    /// Renews for ever; returns when the lease is lost or could not be renewed in time. From then on
    /// this process may not write.
    pub(crate) async fn keep(&self, held: &mut Held) {
        loop {
            let deadline = held.renewed + self.timing.deadline;
            tokio::select! {
                // The deadline comes first, also in a process that was stopped for a while.
                biased;
                () = sleep_until(deadline) => {
                    warn!("the lease could not be renewed in time");
                    break;
                }
                lost = self.renew(held) => if lost {
                    break;
                }
            }
        }
        self.turn.end();
    }

    /// Renews once, trying as often as it takes. Returns whether the lease is lost.
    async fn renew(&self, held: &mut Held) -> bool {
        sleep_until(held.renewed + self.timing.renewal()).await;
        loop {
            let begun = Instant::now();
            match self.put(&self.next(Some(&held.lease))).await {
                Ok(lease) => {
                    *held = self.held(lease, begun);
                    return false;
                }
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    match self.bounded(self.api.get(&self.name)).await {
                        Ok(lease) if holder(&lease) == Some(&self.identity) => held.lease = lease,
                        Ok(lease) => {
                            warn!(holder = ?holder(&lease), "another replica holds the lease");
                            return true;
                        }
                        Err(error) => warn!(error = %Chain(&error), "lease cannot be read"),
                    }
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    warn!("the lease was deleted");
                    return true;
                }
                Err(error) => warn!(error = %Chain(&error), "lease cannot be renewed"),
            }
            sleep_until(begun + self.timing.retry).await;
        }
    }

    /// Notes a renewal that was begun at this time.
    fn held(&self, lease: Lease, renewed: Instant) -> Held {
        self.turn.set(Until::Then(renewed + self.timing.deadline));
        Held { lease, renewed }
    }

    /// Gives the lease back, so that another replica need not wait for it to expire.
    pub(crate) async fn release(&self, held: Held) {
        let mut lease = held.lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match self.put(&lease).await {
            Ok(_) => info!("lease released"),
            Err(error) => warn!(error = %Chain(&error), "lease cannot be released"),
        }
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let parameters = kube::api::PostParams::default();
        self.bounded(self.api.replace(&self.name, &parameters, lease))
            .await
    }

    fn step(&self, lease: Option<&Lease>, unchanged: Duration) -> Step {
        let Some(lease) = lease else {
            return Step::Create;
        };
        let duration = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timing.duration, Duration::from_secs);
        match holder(lease) {
            None => Step::Take,
            Some(holder) if holder == self.identity => Step::Take,
            Some(_) if unchanged > duration => Step::Take,
            Some(_) => Step::Wait,
        }
    }

    /// A call that ends in time. What was not answered may still have happened; the next PUT then
    /// meets a conflict and looks.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let limit = self.timing.call();
        match timeout(limit, call).await {
            Ok(result) => result,
            Err(_) => Err(kube::Error::Service(
                format!("no answer within {limit:?}").into(),
            )),
        }
    }

    /// The lease with this replica as holder, renewed now.
    fn next(&self, current: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = current.and_then(|lease| lease.spec.clone());
        let ours = current.and_then(holder) == Some(self.identity.as_str());
        let transitions = old
            .as_ref()
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or(0);
        let acquired = old.and_then(|spec| spec.acquire_time).filter(|_| ours);
        Lease {
            metadata: current.map_or_else(
                || ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.timing.duration.as_secs()).ok(),
                acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(current.is_some() && !ours)),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_deref()
        .filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests;
