//! Several nodes, each in a zone of its own: pods are spread over them, and one that loses its power, is cut
//! off or drained costs nobody a message (S-31, S-34).
//!
//! They need the cluster that `xtask test-cluster` makes for them. There a silent node counts as lost after
//! 12 s and its pods are made anew 10 s later (`e2e/kube/src/parts.rs`); elsewhere that takes 50 and 300 s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use im_client::{Client, ClientConfig, Events, Heartbeats, dispatch};
use im_e2e::traffic::{Plan, Traffic};
use im_e2e_kube::control::Control;
use im_e2e_kube::testing::{TestNamespace, is_ready, kubectl};
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::installation::{
    INSTALL, Installation, NAME, cluster_alone, install_operator, login_url, manifest, small, told,
    with,
};
use crate::scale::{RECOVERY, assert_good};

/// Everybody is back on other servers so long after a node lost its power.
const BACK: Duration = Duration::from_secs(15);
/// So long after it nobody is told an address of that node.
const TOLD: Duration = Duration::from_secs(30);
/// Another operator leads so long after the leader's node was cut off.
const SUCCESSION: Duration = Duration::from_secs(20);
/// Messages wait so long when the node of db-proxy is drained.
const PAUSE: Duration = Duration::from_secs(30);

/// People who chat; `IDLE` more are there.
const TALKERS: u32 = 12;
const IDLE: u32 = 88;

/// Notices within seconds that its server is silent, where the default would be a minute.
fn attentive(config: &mut ClientConfig) {
    config.heartbeats = Heartbeats {
        interval: Duration::from_secs(3),
        silence: Some(Duration::from_secs(60)),
        answer: Some(Duration::from_secs(3)),
    };
}

async fn traffic(installation: &Installation) -> Traffic {
    let plan = Plan {
        users: TALKERS,
        pause: Duration::from_millis(100),
        tune: attentive,
        ..Plan::small(&installation.url().await.unwrap())
    };
    Traffic::start(plan).await.unwrap()
}

/// A namespace whose operators are not on this node.
async fn operators(purpose: &str, except: &str, set: &[&str]) -> TestNamespace {
    let cluster = cluster_alone().await.unwrap();
    let namespace = cluster.namespace(purpose).await.unwrap();
    kubectl(&["cordon", except]).unwrap();
    let installed = install_operator(&namespace, set);
    kubectl(&["uncordon", except]).unwrap();
    installed.unwrap();
    namespace
}

/// Where pods are, by name: their nodes.
fn places(pods: &[Pod]) -> BTreeMap<String, String> {
    let place = |pod: &Pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        (pod.name_any(), node.unwrap_or_default())
    };
    pods.iter().map(place).collect()
}

/// The zone of each worker.
fn zones() -> BTreeMap<String, String> {
    let label = "topology.kubernetes.io/zone";
    let nodes = kubectl(&["get", "nodes", "-l", label, "-o", "json"]).unwrap();
    let nodes: Value = serde_json::from_str(&nodes).unwrap();
    let items = nodes["items"].as_array().unwrap().iter();
    items
        .map(|node| {
            let metadata = &node["metadata"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&metadata["name"]), text(&metadata["labels"][label]))
        })
        .collect()
}

fn wait_for_node(name: &str, ready: &str) {
    let node = format!("node/{name}");
    let condition = format!("--for=condition=Ready={ready}");
    kubectl(&["wait", &condition, "--timeout=120s", &node]).unwrap();
}

/// The first zone has the only login and db-proxy; three msg servers, reached inside the cluster.
fn spec() -> Value {
    let first = json!({"scheduling": {"nodeSelector": {"topology.kubernetes.io/zone": "z1"}}});
    let roles = json!({
        "login": first, "dbProxy": first,
        "route": {"replicas": 2}, "msg": {"replicas": 3},
    });
    with(small(), &json!({"roles": roles}))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs several nodes: xtask test-cluster"]
async fn pods_are_spread_over_zones_and_the_loss_of_one_loses_no_message() {
    let namespace = operators("power", "n3", &["nodes.read=true"]).await;
    // Another one, whose users are told addresses of nodes.
    let ports = json!({"roles": {"msg": {"external": {"type": "NodePort"}}}});
    let ports = manifest("ports", &with(spec(), &ports));
    namespace.apply(&ports.to_string()).unwrap();
    let installation = Installation::apply_to(namespace, NAME, &spec()).unwrap();
    installation.ready().await.unwrap();
    installation.import(TALKERS + IDLE).unwrap();
    let node = installation.namespace.cluster().node("nodes are stopped");
    let node = node.expect("the tests' own cluster").clone();

    let zones = zones();
    assert_eq!(zones.values().collect::<BTreeSet<_>>().len(), 3);
    let msg = installation.msg_pods(3).await.unwrap();
    let in_zones = |pods: &[Pod]| -> BTreeSet<String> {
        let places = places(pods).into_values();
        places.map(|node| zones[&node].clone()).collect()
    };
    assert_eq!(in_zones(&msg).len(), 3, "{:?}", places(&msg));
    let route = installation.pods("route").await.unwrap();
    assert_eq!(in_zones(&route).len(), 2, "{:?}", places(&route));

    let traffic = traffic(&installation).await;
    let idle = idle(&installation).await;
    let dead: BTreeSet<String> = {
        let told = told(&installation.namespace, NAME).await;
        let pods = places(&msg).into_iter().filter(|(_, node)| node == "n3");
        pods.map(|(pod, _)| told[&pod].clone()).collect()
    };
    let all = || traffic.clients().iter().chain(idle.iter().map(|it| &it.0));
    let there = |client: &&Client| dead.contains(&client.server_address());
    let hit: Vec<&Client> = all().filter(there).collect();
    assert!(hit.len() >= 20, "{} of {}", hit.len(), all().count());
    until("a user is told the third node", INSTALL, async || {
        let told = told(&installation.namespace, "ports").await;
        told.values().any(|it| is_at(it, THIRD)).then_some(())
    })
    .await
    .unwrap();

    let off = Instant::now();
    node.stop_node("n3").await.unwrap();
    let rest = BACK.saturating_sub(off.elapsed());
    until("everybody is back", rest, async || {
        let away = hit.iter().any(|it| there(it) || !it.is_connected());
        (!away).then_some(())
    })
    .await
    .unwrap();
    println!("{} users are back after {:?}", hit.len(), off.elapsed());
    traffic.progress(200, RECOVERY).await.unwrap();
    nobody_is_told(&installation.namespace, off).await;
    // The other zones notice nothing.
    let rest = installation.pods("msg").await.unwrap();
    let rest: Vec<Pod> = rest.into_iter().filter(is_ready).collect();
    let uids = |pods: &[Pod]| {
        pods.iter()
            .filter_map(ResourceExt::uid)
            .collect::<BTreeSet<_>>()
    };
    assert!(uids(&rest).intersection(&uids(&msg)).count() >= 2);

    node.start_node("n3").await.unwrap();
    wait_for_node("n3", "True");
    installation.ready().await.unwrap();
    installation.msg_pods(3).await.unwrap();
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    println!("longest absence of a client: {:?}", outcome.absence);
    assert_good(&outcome);
}

/// The address of `n3`.
const THIRD: &str = "198.18.0.13";

fn is_at(address: &str, host: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(it, _)| it == host)
}

async fn idle(installation: &Installation) -> Vec<(Client, Events)> {
    let ids = TALKERS + 1..=TALKERS + IDLE;
    futures::stream::iter(ids)
        .map(|id| installation.client_with(id, attentive))
        .buffer_unordered(8)
        .map(|client| client.unwrap())
        .collect()
        .await
}

/// Waits until neither status nor login tells an address of the third node.
async fn nobody_is_told(namespace: &TestNamespace, off: Instant) {
    let url = login_url(namespace, "ports").await.unwrap();
    let rest = TOLD.saturating_sub(off.elapsed());
    until("nobody is told the third node", rest, async || {
        if told(namespace, "ports")
            .await
            .values()
            .any(|it| is_at(it, THIRD))
        {
            return None;
        }
        for _ in 0..6 {
            let answer = dispatch::lookup(&url, None, Duration::from_secs(5)).await;
            if answer.ok()?.host == THIRD {
                return None;
            }
        }
        Some(())
    })
    .await
    .unwrap();
    println!("nobody is told the dead node after {:?}", off.elapsed());
}

/// Who leads, as the lease says.
async fn leader(namespace: &TestNamespace) -> Option<String> {
    let lease = namespace.api::<Lease>().get("im-operator").await.ok()?;
    lease.spec?.holder_identity
}

/// Pods of operators that wrote something other than a lease since this many lines of the audit log, and how
/// many lines there are.
fn writers(node: &Control, namespace: &str, since: usize) -> (BTreeSet<String>, usize) {
    let text = std::fs::read_to_string(node.layout().audit_log()).unwrap();
    // The last one may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines: Vec<&str> = whole.lines().collect();
    let account = format!("system:serviceaccount:{namespace}:im-operator");
    let mut found = BTreeSet::new();
    for line in lines.iter().skip(since) {
        let event: Value = serde_json::from_str(line).unwrap();
        let reads = ["get", "list", "watch"]
            .iter()
            .any(|it| event["verb"] == *it);
        let lease = event["objectRef"]["resource"] == "leases";
        if event["user"]["username"] == *account && !reads && !lease {
            let pod = &event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0];
            found.insert(pod.as_str().unwrap_or_default().to_owned());
        }
    }
    (found, lines.len())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs several nodes: xtask test-cluster"]
async fn an_operator_cut_off_is_followed_and_db_proxy_moves_off_a_drained_node() {
    let namespace = operators("cutoff", "n1", &["replicas=2"]).await;
    // db-proxy is in the first zone as long as it may, on a volume that follows it.
    let term = json!({"matchExpressions": [
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z1"]},
    ]});
    let affinity = json!({"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}],
    }});
    let storage = json!({
        "type": "PersistentVolume",
        "persistentVolume": {"storageClassName": "network"},
    });
    let more = json!({
        "database": {"type": "Embedded", "embedded": {"storage": storage}},
        "roles": {
            "login": {"replicas": 2}, "route": {"replicas": 2},
            "dbProxy": {"scheduling": {"affinity": affinity}},
        },
    });
    let installation = Installation::apply_to(namespace, NAME, &with(small(), &more)).unwrap();
    installation.ready().await.unwrap();
    installation.import(TALKERS).unwrap();
    let node = installation.namespace.cluster().node("nodes are cut off");
    let node = node.expect("the tests' own cluster").clone();
    let home = |pods: &[Pod]| places(pods).into_values().next().unwrap_or_default();
    let first = home(&installation.pods("db-proxy").await.unwrap());
    let before = leader(&installation.namespace).await.unwrap();
    let operator = installation.namespace.api::<Pod>().get(&before).await;
    let lost = home(&[operator.unwrap()]);
    assert!(lost == "n2" || lost == "n3", "{before} is on {lost}");
    assert_eq!(first, "n1");

    let traffic = traffic(&installation).await;
    let cut = Instant::now();
    node.cut_node(&lost).await.unwrap();
    let after = until("another operator leads", SUCCESSION, async || {
        let now = leader(&installation.namespace).await;
        now.filter(|now| *now != before && !now.is_empty())
    })
    .await
    .unwrap();
    println!(
        "{after} leads {:?} after {before} was cut off",
        cut.elapsed()
    );
    let (_, taken) = writers(&node, installation.namespace.name(), 0);
    scale_route(&installation, 1).await;
    traffic.progress(100, RECOVERY).await.unwrap();
    node.join_node(&lost).await.unwrap();
    wait_for_node(&lost, "True");
    scale_route(&installation, 2).await;
    installation.ready().await.unwrap();
    let (wrote, _) = writers(&node, installation.namespace.name(), taken);
    assert_eq!(wrote, BTreeSet::from([after]));

    let drain = tokio::task::spawn_blocking(move || {
        let args = [
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=120s",
        ];
        kubectl(&[&["drain", "n1"], &args[..]].concat())
    });
    let mut longest = Duration::ZERO;
    loop {
        let since = Instant::now();
        traffic.progress(1, RECOVERY).await.unwrap();
        longest = longest.max(since.elapsed());
        let pods = installation.pods("db-proxy").await.unwrap();
        let moved = home(&pods) != "n1" && pods.iter().all(is_ready) && !pods.is_empty();
        if moved && drain.is_finished() {
            break;
        }
    }
    kubectl(&["uncordon", "n1"]).unwrap();
    drain.await.unwrap().unwrap();
    println!("messages waited {longest:?} while db-proxy moved");
    assert!(longest <= PAUSE, "{longest:?}");
    traffic.progress(200, RECOVERY).await.unwrap();
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

/// Changes the number of route servers and waits until the operator has passed it on.
async fn scale_route(installation: &Installation, count: i64) {
    let replicas = json!({"roles": {"route": {"replicas": count}}});
    installation.patch(&replicas).unwrap();
    until("the operator passes it on", LATER, async || {
        let args = ["get", "deployment", "demo-route", "-o", "json"];
        let text = installation.namespace.kubectl(&args).ok()?;
        let object: Value = serde_json::from_str(&text).ok()?;
        (object["spec"]["replicas"] == count).then_some(())
    })
    .await
    .unwrap();
}
