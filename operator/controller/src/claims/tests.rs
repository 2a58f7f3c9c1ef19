use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::metrics::Metrics;
use crate::testing::{self, Asked, Log, not_found, refusal};

/// An API server that keeps the Lease of each namespace.
pub(crate) fn leases() -> (Client, Log) {
    let all: Mutex<HashMap<String, Option<Value>>> = Mutex::default();
    testing::server(move |asked: &Asked| {
        let mut all = all.lock().unwrap();
        let namespace = asked.path.split('/').nth(5).unwrap().to_owned();
        let kept = all.entry(namespace).or_default();
        let found = kept
            .as_ref()
            .map(|it| it["metadata"]["resourceVersion"].clone());
        let written = match (asked.method.as_str(), found) {
            ("GET", _) => return kept.clone().map_or_else(not_found, |it| (200, it)),
            ("POST", None) => json!("1"),
            ("PUT", Some(version)) if asked.body["metadata"]["resourceVersion"] == version => {
                let version: u64 = version.as_str().unwrap().parse().unwrap();
                json!((version + 1).to_string())
            }
            _ => return refusal(409, "Conflict"),
        };
        let mut lease = asked.body.clone();
        lease["metadata"]["resourceVersion"] = written;
        *kept = Some(lease.clone());
        (200, lease)
    })
}

/// An installation of the operator, as far as its claims go.
pub(crate) struct Installation {
    pub(crate) claims: Claims,
    readiness: Readiness,
    queue: Pin<Box<dyn Stream<Item = ClusterKey> + Send>>,
    work_queue: WorkQueue,
}

pub(crate) fn installation(client: &Client, name: &str) -> Installation {
    let (work_queue, queue) = WorkQueue::new(Metrics::unregistered());
    let readiness = Readiness::default();
    let claims = Claims::new(Settings {
        client: client.clone(),
        installation: name.to_owned(),
        timing: Timing::of_claims(60),
        work_queue: work_queue.clone(),
        readiness: readiness.clone(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    });
    Installation {
        claims,
        readiness,
        queue: queue.boxed(),
        work_queue,
    }
}

impl Installation {
    /// Waits for another answer about the namespace, as a reconciliation does.
    pub(crate) async fn asked_for(&mut self) -> Claim {
        let limit = Duration::from_secs(90);
        let next = timeout(limit, self.queue.next()).await.unwrap().unwrap();
        self.work_queue.begin(&next);
        self.claims.of(&next)
    }
}

fn demo() -> ClusterKey {
    ClusterKey {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_operators_is_idle_says_why_and_takes_over_when_the_first_is_gone() {
    let (client, _) = leases();
    let mut first = installation(&client, "chat/one");
    let mut second = installation(&client, "other/two");
    assert_eq!(first.claims.of(&demo()), Claim::Asking);
    assert_eq!(first.asked_for().await, Claim::Ours);
    assert_eq!(second.claims.of(&demo()), Claim::Asking);
    assert_eq!(
        second.asked_for().await,
        Claim::Others("chat/one".to_owned())
    );
    let text = "namespace chat: operator chat/one looks after it";
    assert_eq!(second.readiness.missing(), [text]);
    // For as long as the first renews.
    sleep(Duration::from_secs(600)).await;
    assert_eq!(first.claims.of(&demo()), Claim::Ours);
    assert_eq!(
        second.claims.of(&demo()),
        Claim::Others("chat/one".to_owned())
    );
    // One that has another namespace is of use.
    let other = ClusterKey {
        namespace: "other".to_owned(),
        ..demo()
    };
    second.claims.of(&other);
    let claim = second.asked_for().await;
    assert_eq!(claim, Claim::Ours);
    assert_eq!(second.readiness.missing(), Vec::<String>::new());
    second.claims.forget(&other);
    assert_eq!(second.readiness.missing(), [text]);
    let gone = Instant::now();
    first.claims.end();
    assert_eq!(second.asked_for().await, Claim::Ours);
    assert!((45..90).contains(&gone.elapsed().as_secs()));
    assert_eq!(second.readiness.missing(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn another_replica_of_an_installation_goes_on_at_once() {
    let (client, _) = leases();
    let mut first = installation(&client, "chat/one");
    first.claims.of(&demo());
    assert_eq!(first.asked_for().await, Claim::Ours);
    first.claims.end();
    let begun = Instant::now();
    let mut second = installation(&client, "chat/one");
    second.claims.of(&demo());
    assert_eq!(second.asked_for().await, Claim::Ours);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_operator_without_the_right_to_claim_works_as_before() {
    let (client, _) = testing::server(|_| refusal(403, "Forbidden"));
    let mut only = installation(&client, "chat/one");
    only.claims.of(&demo());
    assert_eq!(only.asked_for().await, Claim::Ours);
    assert!(only.readiness.missing().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_renewed_every_ten_seconds_while_it_has_an_im_cluster() {
    let (client, log) = leases();
    let mut only = installation(&client, "chat/one");
    only.claims.of(&demo());
    assert_eq!(only.asked_for().await, Claim::Ours);
    sleep(Duration::from_secs(5)).await;
    log.take();
    sleep(Duration::from_secs(100)).await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/chat/leases/imcluster-operator";
    assert_eq!(log.lines(), vec![format!("PUT {lease}"); 10]);
    only.claims.forget(&demo());
    sleep(Duration::from_secs(100)).await;
    assert_eq!(log.lines(), Vec::<String>::new());
}
