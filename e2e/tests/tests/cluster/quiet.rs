//! An operator with nothing to do writes nothing, however busy the servers are (must never 8 and 9), and
//! nothing of it holds a namespace back (must never 7 and 16).

use std::time::Duration;

use im_e2e_kube::audit::{self, Request};
use im_e2e_kube::control::Control;
use im_e2e_kube::testing::kubectl;
use im_e2e_kube::wait::until;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::installation::{
    INSTALL, Installation, NAME, cluster, cluster_alone, small, with, with_operator,
};
use crate::scale::{RECOVERY, assert_good};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// Longer than `spec.load.mirrorIntervalSeconds` of the installations here.
const MIRROR_WAITS: Duration = Duration::from_secs(20);

/// How long an installation is watched after each of several restarts.
const WATCHED_AGAIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn must_never_8_an_operator_at_rest_writes_nothing_while_people_chat() {
    let cluster = cluster().await.unwrap();
    let Some(node) = cluster.node("writes are counted in the API server's audit log") else {
        return;
    };
    let installation = Installation::on(&cluster, "quiet", small(), 10)
        .await
        .unwrap();
    let traffic = installation
        .traffic(10, Duration::from_millis(20))
        .await
        .unwrap();
    // The number of connections reaches the status once.
    traffic.progress(300, RECOVERY).await.unwrap();
    let connections = im_e2e_kube::wait::until("the connections in status", RECOVERY, async || {
        let object = installation.object().await.ok()?;
        (object["status"]["roles"]["msg"]["connections"] == 10).then_some(())
    });
    connections.await.unwrap();
    let before = settled(node, &installation).await;
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        traffic.progress(100, RECOVERY).await.unwrap();
    }
    let after = writes(node, &installation);
    assert!(!before.is_empty(), "it wrote what there is");
    assert_eq!(after[before.len()..], [""; 0]);
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

/// What the operator of an installation asked for so far, but for Leases.
fn requests(node: &Control, installation: &Installation) -> Vec<Request> {
    let requests = audit::read(&node.layout().audit_log()).unwrap();
    let of_operator = requests.into_iter().filter(|request| {
        request.of_account("im-operator") == Some(installation.namespace.name())
            && request.permission.resource != "leases"
    });
    of_operator.collect()
}

/// What it wrote so far, but for the Lease.
fn writes(node: &Control, installation: &Installation) -> Vec<String> {
    let requests = requests(node, installation).into_iter();
    requests
        .filter(Request::writes)
        .map(|request| format!("{} {}", request.permission, request.name))
        .collect()
}

/// The same once nothing has been written for longer than the mirror of the load may wait.
async fn settled(node: &Control, installation: &Installation) -> Vec<String> {
    let (mut last, mut since) = (writes(node, installation), Instant::now());
    until("the operator has written everything", INSTALL, async || {
        let now = writes(node, installation);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > MIRROR_WAITS).then(|| last.clone())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_operator_process_writes_nothing_over_a_running_installation() {
    // Beside other tests a pod may fail a probe for want of processor time, which is written.
    let cluster = cluster_alone().await.unwrap();
    let Some(node) = cluster.node("writes are counted in the API server's audit log") else {
        return;
    };
    let installation = Installation::on(&cluster, "again", small(), 1)
        .await
        .unwrap();
    let status = async || {
        until("the load in status", RECOVERY, async || {
            let object = installation.object().await.ok()?;
            let fresh = &object["status"]["roles"]["msg"]["freshReporters"];
            (*fresh == 2).then(|| object["status"].clone())
        })
        .await
        .unwrap()
    };
    status().await;
    let written = settled(node, &installation).await;
    println!("an ImCluster until it is at rest: {} writes", written.len());
    let before = (status().await, written);
    let of_operator = ["-l", "app.kubernetes.io/name=im-operator"];
    for _ in 0..3 {
        let kubectl = |args: &[&str]| installation.namespace.kubectl(args).unwrap();
        kubectl(&[&["delete", "pod", "--wait"], &of_operator[..]].concat());
        let ready = ["wait", "pod", "--for=condition=Ready", "--timeout=120s"];
        kubectl(&[&ready, &of_operator[..]].concat());
        let end = Instant::now() + WATCHED_AGAIN;
        while Instant::now() < end {
            let (ready, ..) = installation.condition("Ready").await.unwrap().unwrap();
            assert_eq!(ready, "True");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(writes(node, &installation), before.1);
    assert_eq!(status().await, before.0);
}

/// Objects of a new ImCluster whose first pod waits, as README tells it.
const OBJECTS: usize = 13;
/// Writes, events aside, and reads that it may cost.
const MOST: (usize, usize) = (18, 2);

#[tokio::test(flavor = "multi_thread")]
async fn a_new_installation_costs_few_requests_and_loses_what_is_not_wanted_any_more() {
    let cluster = cluster().await.unwrap();
    let Some(node) = cluster.node("requests are counted in the API server's audit log") else {
        return;
    };
    let namespace = with_operator(&cluster, "cost", &[]).await.unwrap();
    // No image of this name: nothing follows the first stage.
    let none = |annotations: Value| {
        let service = json!({"annotations": annotations});
        let spec = json!({"image": {"repository": "localhost/none"},
            "roles": {"login": {"service": service}, "msg": {"replicas": 1}}});
        with(small(), &spec)
    };
    let both = json!({"example.com/a": "1", "example.com/b": "2"});
    let installation = Installation::apply_to(namespace, NAME, &none(both)).unwrap();
    installation
        .reason("Degraded", "ImagePullFailed")
        .await
        .unwrap();
    let requests = requests(node, &installation);
    let count = |verbs: &[&str]| {
        let found = requests.iter().filter(|it| {
            verbs.contains(&it.permission.verb.as_str()) && it.permission.resource != "events"
        });
        found.count()
    };
    let (created, read) = (count(&["create"]), count(&["get"]));
    let changed: Vec<_> = requests
        .iter()
        .filter(|it| it.writes() && it.permission.verb != "create")
        .filter(|it| it.permission.resource != "events")
        .collect();
    let is_status = |it: &&&Request| it.permission.resource == "imclusters/status";
    let statuses = changed.iter().filter(is_status).count();
    println!("a new ImCluster: {created} objects, {statuses} statuses, {read} reads");
    assert_eq!(created, OBJECTS, "{requests:#?}");
    // The claim of the volume, which has labels of its pod.
    assert!(changed.len() <= statuses + 1, "{changed:#?}");
    let (writes, reads) = MOST;
    let written = requests.iter().filter(|it| it.writes()).count();
    println!("with events: {written} writes");
    // What is told in events beside depends on how long the image is asked for.
    assert!(created + changed.len() <= writes, "{changed:#?}");
    assert!(read <= reads, "{requests:#?}");

    // What was created without being applied goes like everything else.
    let left = json!({"example.com/b": "2"});
    installation.apply(&none(left)).unwrap();
    let service = format!("{NAME}-login");
    let annotations = until("the annotation to go", RECOVERY, async || {
        let args = ["get", "service", &service, "--output", "json"];
        let object: Value =
            serde_json::from_str(&installation.namespace.kubectl(&args).ok()?).ok()?;
        let annotations = object["metadata"]["annotations"].as_object()?.clone();
        (!annotations.contains_key("example.com/a")).then_some(annotations)
    });
    assert_eq!(annotations.await.unwrap()["example.com/b"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn must_never_16_a_namespace_with_an_installation_can_be_deleted() {
    let cluster = cluster().await.unwrap();
    let installation = Installation::on(&cluster, "gone", small(), 1)
        .await
        .unwrap();
    let (client, _events) = installation.client(1).await.unwrap();
    // Operator, ImCluster and servers go in any order; drains take 10 s at most.
    let name = installation.namespace.name();
    kubectl(&["delete", "namespace", name, "--wait", "--timeout=90s"]).unwrap();
    client.close().await;
}
