//! Which replica works: a `coordination.k8s.io/v1` Lease.
//!
//! The holder renews every 5 s. Another replica takes a lease that it has seen unchanged for the
//! lease's duration *by its own clock*, so clocks need not agree. A holder that could not renew for
//! 10 s gives up, before anyone can take over, and the process ends. Every write is a PUT with the
//! resourceVersion that was read, so two replicas cannot both succeed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// How long a lease is good for without a renewal.
const DURATION: Duration = Duration::from_secs(15);
/// Time between renewals, and between looks at another's lease.
const PERIOD: Duration = Duration::from_secs(5);
/// A holder that could not renew for this long stops: 5 s before others may take over.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest time of one call.
const CALL: Duration = Duration::from_secs(4);

/// A seat for one of several replicas.
#[derive(Debug)]
pub(crate) struct Seat {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// The lease as it was last seen, and since when it looks so.
#[derive(Debug)]
struct Observed {
    version: Option<String>,
    since: Instant,
}

#[derive(Debug, PartialEq)]
enum Step {
    Create,
    Take,
    Wait,
}

impl Seat {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Waits until this replica holds the lease. Safe to cancel.
    pub(crate) async fn acquire(&self) -> Lease {
        let mut observed = Observed {
            version: None,
            since: Instant::now(),
        };
        loop {
            match self.try_acquire(&mut observed).await {
                Ok(Some(lease)) => return lease,
                Ok(None) => {}
                Err(error) => warn!(%error, lease = self.name, "lease cannot be read or taken"),
            }
            // A little noise, so that waiting replicas do not all write at once.
            let noise = Duration::from_millis(rand::random_range(0..500));
            sleep(PERIOD / 2 + noise).await;
        }
    }

    async fn try_acquire(&self, observed: &mut Observed) -> Result<Option<Lease>, kube::Error> {
        let lease = bounded(self.api.get_opt(&self.name)).await?;
        let version = lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if version != observed.version {
            *observed = Observed {
                version,
                since: Instant::now(),
            };
        }
        let written = match step(lease.as_ref(), &self.identity, observed.since.elapsed()) {
            Step::Wait => return Ok(None),
            Step::Create => {
                let lease = self.next(None);
                bounded(self.api.create(&kube::api::PostParams::default(), &lease)).await
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
                Ok(Some(lease))
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Renews for ever; returns when the lease is lost or could not be renewed in time.
    pub(crate) async fn keep(&self, current: &mut Lease) {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD.min((renewed + DEADLINE).saturating_duration_since(Instant::now()))).await;
            match self.put(&self.next(Some(current))).await {
                Ok(lease) => {
                    *current = lease;
                    renewed = Instant::now();
                }
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    match bounded(self.api.get(&self.name)).await {
                        Ok(lease) if holder(&lease) == Some(&self.identity) => *current = lease,
                        Ok(lease) => {
                            warn!(holder = ?holder(&lease), "another replica holds the lease");
                            return;
                        }
                        Err(error) => warn!(%error, "lease cannot be read"),
                    }
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    warn!("the lease was deleted");
                    return;
                }
                Err(error) => warn!(%error, "lease cannot be renewed"),
            }
            if renewed.elapsed() >= DEADLINE {
                return;
            }
            if renewed.elapsed() > PERIOD {
                // The sleep above is short near the deadline; do not spin on quick errors.
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait for it to expire.
    pub(crate) async fn release(&self, current: &Lease) {
        let mut lease = current.clone();
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match self.put(&lease).await {
            Ok(_) => info!("lease released"),
            Err(error) => warn!(%error, "lease cannot be released"),
        }
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let parameters = kube::api::PostParams::default();
        bounded(self.api.replace(&self.name, &parameters, lease)).await
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
                lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).unwrap_or(15)),
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

fn step(lease: Option<&Lease>, identity: &str, unchanged: Duration) -> Step {
    let Some(lease) = lease else {
        return Step::Create;
    };
    let duration = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(DURATION, Duration::from_secs);
    match holder(lease) {
        None => Step::Take,
        Some(holder) if holder == identity => Step::Take,
        Some(_) if unchanged > duration => Step::Take,
        Some(_) => Step::Wait,
    }
}

/// A call that ends in time. What was not answered may still have happened; the next PUT then
/// meets a conflict and looks.
async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match timeout(CALL, call).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service("no answer within 4 s".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_free_own_or_seen_unchanged_for_its_duration() {
        let short = Duration::from_secs(15);
        let long = Duration::from_millis(15_001);
        assert_eq!(step(None, "a", Duration::ZERO), Step::Create);
        assert_eq!(
            step(Some(&Lease::default()), "a", Duration::ZERO),
            Step::Take
        );
        assert_eq!(step(Some(&held_by("")), "a", Duration::ZERO), Step::Take);
        assert_eq!(step(Some(&held_by("a")), "a", Duration::ZERO), Step::Take);
        assert_eq!(step(Some(&held_by("b")), "a", short), Step::Wait);
        assert_eq!(step(Some(&held_by("b")), "a", long), Step::Take);
    }
}
