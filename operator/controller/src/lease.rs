//! Which replica works: a `coordination.k8s.io/v1` Lease.
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
pub(crate) struct Seat {
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
        let mut observed = Observed {
            version: None,
            since: Instant::now(),
        };
        loop {
            match self.try_acquire(&mut observed).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => {
                    warn!(error = %Chain(&error), lease = self.name, "lease cannot be read or taken");
                }
            }
            // A little noise, so that waiting replicas do not all write at once.
            let noise = rand::random_range(1.0..1.2);
            sleep(self.timing.renewal().mul_f64(noise)).await;
        }
    }

    async fn try_acquire(&self, observed: &mut Observed) -> Result<Option<Held>, kube::Error> {
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
            Step::Wait => return Ok(None),
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
                Ok(Some(self.held(lease, begun)))
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(None)
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
mod tests {
    use std::future::pending;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::testing;

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

    fn seat(client: Client) -> Seat {
        let timing = Timing::new(15, 12, 1).unwrap();
        Seat::new(client, "chat", "im-operator", "a", timing, Turn::default())
    }

    /// An API server that is away from one second to another.
    fn away(from: f64, until: f64) -> Client {
        let start = Instant::now();
        let (client, _) = testing::server(move |asked| {
            let now = start.elapsed().as_secs_f64();
            if (from..until).contains(&now) {
                testing::refusal(503, "ServiceUnavailable")
            } else if asked.method == "GET" {
                testing::not_found()
            } else {
                (200, asked.body.clone())
            }
        });
        client
    }

    #[tokio::test]
    async fn a_lease_is_taken_when_free_own_or_seen_unchanged_for_its_duration() {
        let seat = seat(away(0.0, 0.0));
        let step = |lease: Option<&Lease>, unchanged| seat.step(lease, unchanged);
        let short = Duration::from_secs(15);
        let long = Duration::from_millis(15_001);
        assert_eq!(step(None, Duration::ZERO), Step::Create);
        assert_eq!(step(Some(&Lease::default()), Duration::ZERO), Step::Take);
        assert_eq!(step(Some(&held_by("")), Duration::ZERO), Step::Take);
        assert_eq!(step(Some(&held_by("a")), Duration::ZERO), Step::Take);
        assert_eq!(step(Some(&held_by("b")), short), Step::Wait);
        assert_eq!(step(Some(&held_by("b")), long), Step::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_outlives_an_api_server_that_is_away_for_eight_seconds() {
        // Whenever it begins between two renewals.
        for tenths in 0..50_u32 {
            let from = f64::from(tenths) / 10.0;
            let seat = seat(away(from + 0.05, from + 8.05));
            let mut held = seat.acquire().await;
            let minute = Duration::from_secs(60);
            let lost = timeout(minute, seat.keep(&mut held)).await.is_ok();
            assert!(!lost, "away from {from} s");
            assert!(seat.turn.may_write());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_cannot_renew_stops_before_another_may_begin_and_stands_again() {
        let start = Instant::now();
        let seat = seat(away(4.5, 60.0));
        let mut held = seat.acquire().await;
        seat.keep(&mut held).await;
        // Renewed last at 2.4 s: others may begin at 17.4 s.
        assert_eq!(start.elapsed().as_secs(), 14);
        assert!(!seat.turn.may_write());
        seat.acquire().await;
        assert!((60..65).contains(&start.elapsed().as_secs()));
        assert!(seat.turn.may_write());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_holds_nothing_up() {
        let silent = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, _>>());
        let silent = tower::ServiceBuilder::new()
            .map_err(|error: std::io::Error| error)
            .service(silent);
        let seat = seat(Client::new(silent, "chat"));
        let start = Instant::now();
        let mut held = seat.held(held_by("a"), start);
        seat.keep(&mut held).await;
        assert_eq!(start.elapsed().as_secs(), 12);
        assert!(!seat.turn.may_write());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_slept_through_its_deadline_may_not_write() {
        let seat = seat(away(0.0, 0.0));
        seat.acquire().await;
        assert!(seat.turn.may_write());
        // Nothing of it ran meanwhile: it was stopped.
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(!seat.turn.may_write());
    }

    #[tokio::test]
    async fn a_lease_names_its_holder_and_duration() {
        let seat = seat(away(0.0, 0.0));
        let lease = serde_json::to_value(seat.next(None)).unwrap();
        assert_eq!(lease["spec"]["holderIdentity"], "a");
        assert_eq!(lease["spec"]["leaseDurationSeconds"], json!(15));
    }

    #[test]
    fn times_that_would_let_two_replicas_work_are_refused() {
        let line = |duration, deadline, retry| {
            let refused = Timing::new(duration, deadline, retry).unwrap_err();
            refused.to_string()
        };
        assert!(line(10, 10, 1).contains("--lease-renew-deadline-seconds is 10"));
        assert!(line(15, 10, 10).contains("--lease-retry-seconds is 10"));
        Timing::new(3, 2, 1).unwrap();
    }
}
