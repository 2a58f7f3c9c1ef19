//! Clients are led from pod to pod: fewer pods only while the rest has room, a pod that is asked to go is
//! replaced and emptied first, and growth is followed by clients (S-89, S-93).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use im_client::{Client, Events};
use im_e2e_kube::testing::is_ready;
use im_e2e_kube::wait::{LATER, SOON, until};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;
use tokio::time::Instant;

use crate::installation::{Installation, small, told, with};
use crate::scale::{RECOVERY, assert_good, by_server};

/// Logs people in from 1 on.
async fn logged_in(installation: &Installation, count: u32) -> Vec<(Client, Events)> {
    futures::stream::iter(1..=count)
        .map(|id| installation.client(id))
        .buffer_unordered(8)
        .map(Result::unwrap)
        .collect()
        .await
}

/// Names of pods by the address that their clients are told.
async fn pods_by_address(installation: &Installation) -> BTreeMap<String, String> {
    let told = told(&installation.namespace, &installation.name)
        .await
        .into_iter();
    told.map(|(pod, address)| (address, pod)).collect()
}

fn annotate(installation: &Installation, pod: &str, annotation: &str) {
    let args = ["annotate", "pod", pod, annotation];
    installation.namespace.kubectl(&args).unwrap();
}

fn has_order(pod: &Pod) -> bool {
    pod.annotations().contains_key("imcluster.io/orders")
}

/// Two and a half pods' worth of clients stay on three pods, whatever is wanted; once they are fewer, the
/// pods go one at a time, the emptiest first.
#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_number_waits_until_the_rest_has_room_and_takes_the_emptiest_first() {
    let spec = with(
        small(),
        &json!({
            "load": {"statusIntervalSeconds": 10},
            "roles": {"msg": {"replicas": 3, "capacity": {"maxConnections": 100}}},
        }),
    );
    let installation = Installation::new("scalein", spec, 250).await.unwrap();
    let mut clients = logged_in(&installation, 250).await;
    until("the connections in status", LATER, async || {
        let object = installation.object().await.ok()?;
        (object["status"]["roles"]["msg"]["connections"] == 250).then_some(())
    })
    .await
    .unwrap();
    let asked = Instant::now();
    let scale = ["scale", "imclusters", &installation.name, "--replicas=1"];
    installation.namespace.kubectl(&scale).unwrap();
    let (reason, message) = installation
        .wait("ScalingLimited", "True", SOON)
        .await
        .unwrap();
    println!("ScalingLimited after {:?}: {message}", asked.elapsed());
    assert_eq!(reason, "TooManyConnections");
    installation.msg_pods(3).await.unwrap();

    // 5, 15 and 60 stay: not before the second has but 15 is there room for its pods' clients, and with the 5 on
    // it, it still has fewer than the third.
    let pods = pods_by_address(&installation).await;
    let counts = by_server(clients.iter().map(|(client, _)| client));
    assert_eq!(counts.len(), 3, "{counts:?}");
    let mut order = Vec::new();
    for (address, keep) in counts.keys().zip([5, 15, 60]) {
        order.push(pods[address].clone());
        let (here, there): (Vec<_>, Vec<_>) = clients
            .into_iter()
            .partition(|(client, _)| client.server_address() == *address);
        clients = there;
        for (n, (client, events)) in here.into_iter().enumerate() {
            if n < keep {
                clients.push((client, events));
            } else {
                client.close().await;
            }
        }
    }
    let mut gone = Vec::new();
    until("one pod is left", RECOVERY, async || {
        let pods = installation.pods("msg").await.ok()?;
        // One that has ended may stay in the list for a while, and the next one goes.
        let goes = |pod: &&Pod| pod.annotations().contains_key("imcluster.io/draining");
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let at_once = pods.iter().filter(goes).filter(|pod| !ended(pod)).count();
        assert!(at_once <= 1, "{at_once}");
        let going: Vec<String> = pods
            .iter()
            .filter(goes)
            .map(ResourceExt::name_any)
            .collect();
        for name in going {
            if !gone.contains(&name) {
                gone.push(name);
            }
        }
        (pods.len() == 1).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(gone, order[..2], "the emptiest first");
    for (client, _) in &clients {
        client.wait_connected(true).await.unwrap();
    }
    let limited = installation.condition("ScalingLimited").await.unwrap();
    assert_eq!(limited, None);
}

/// A pod that is asked to go gets a successor before the first of its clients moves, and goes when it is
/// empty, without a message lost. Taken back, nobody moves any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_asked_to_go_is_replaced_and_emptied_and_stays_when_that_is_taken_back() {
    let spec = with(small(), &json!({"load": {"statusIntervalSeconds": 10}}));
    let installation = Installation::new("drain", spec, 20).await.unwrap();
    let traffic = installation
        .traffic(20, Duration::from_millis(200))
        .await
        .unwrap();
    traffic.progress(100, RECOVERY).await.unwrap();
    let pods = installation.msg_pods(2).await.unwrap();
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    annotate(
        &installation,
        &names[0],
        "imcluster.io/drain=node is upgraded",
    );
    until("the pod is gone", LATER, async || {
        let pods = installation.pods("msg").await.ok()?;
        let asked = pods.iter().find(|pod| pod.name_any() == names[0]);
        if asked.is_some_and(|pod| has_order(pod) && pod.metadata.deletion_timestamp.is_none()) {
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            assert_eq!(ready, 3, "the successor comes first");
        }
        asked.is_none().then_some(())
    })
    .await
    .unwrap();
    installation.ready().await.unwrap();
    traffic.progress(100, RECOVERY).await.unwrap();

    // One session a second: it has not got far when it is taken back.
    installation
        .patch(&json!({"roles": {"msg": {"drain": {"clusterRatePerSecond": 1}}}}))
        .unwrap();
    annotate(&installation, &names[1], "imcluster.io/drain=again");
    let ordered = async |wanted: bool| {
        until("what the pod is asked for", LATER, async || {
            let pods = installation.pods("msg").await.ok()?;
            let pod = pods.into_iter().find(|pod| pod.name_any() == names[1])?;
            (has_order(&pod) == wanted).then_some(pod)
        })
        .await
        .unwrap()
    };
    ordered(true).await;
    annotate(&installation, &names[1], "imcluster.io/drain-");
    let taken_back = Instant::now();
    let pod = ordered(false).await;
    println!("taken back after {:?}", taken_back.elapsed());
    assert!(pod.metadata.deletion_timestamp.is_none());
    traffic.progress(100, RECOVERY).await.unwrap();
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
    installation.msg_pods(2).await.unwrap();
}

/// Idle clients follow growth, where that is switched on: they are spread evenly over one pod and a new one.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_nothing_are_spread_anew_after_growth() {
    let rebalance = json!({"absThreshold": 0, "window": "Always"});
    let spec = with(
        small(),
        &json!({
            "load": {"statusIntervalSeconds": 10},
            "roles": {"msg": {"replicas": 1, "rebalance": rebalance}},
        }),
    );
    let installation = Installation::new("spreadanew", spec, 100).await.unwrap();
    let clients = logged_in(&installation, 100).await;
    installation
        .patch(&json!({"roles": {"msg": {"replicas": 2}}}))
        .unwrap();
    installation.msg_pods(2).await.unwrap();
    let grown = Instant::now();
    until("half of them on each", LATER, async || {
        let counts = by_server(clients.iter().map(|(client, _)| client));
        let most = counts.values().max()?;
        (counts.len() == 2 && *most <= 57).then_some(())
    })
    .await
    .unwrap();
    println!("spread {:?} after both were ready", grown.elapsed());
    until(
        "what the pods were asked is taken back",
        LATER,
        async || {
            let pods = installation.pods("msg").await.ok()?;
            (!pods.iter().any(has_order)).then_some(())
        },
    )
    .await
    .unwrap();
    for (client, _) in &clients {
        tokio::time::timeout(SOON, client.wait_connected(true))
            .await
            .expect("everybody is back")
            .unwrap();
    }
}
