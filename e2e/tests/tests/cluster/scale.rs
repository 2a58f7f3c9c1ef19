//! Scenario 2: load is spread, and pods come and go under traffic (S-02, S-03, S-89).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use im_client::{Client, ClientConfig, Event, Events, Password, Profile};
use im_e2e::people;
use im_e2e::traffic::Outcome;
use im_e2e_kube::wait::{LATER, SOON, until};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use tokio::time::Instant;

use crate::installation::{Installation, small, with};

/// Time for what traffic waits for on a busy machine.
pub(crate) const RECOVERY: Duration = Duration::from_mins(2);

/// No message lost, doubled or out of order.
pub(crate) fn assert_good(outcome: &Outcome) {
    let faults: Vec<String> = outcome
        .faults
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    let count = outcome.faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", faults.join("\n"));
    assert!(outcome.stored > 0);
}

/// Clients by the address that they are connected to.
pub(crate) fn by_server<'a>(
    clients: impl IntoIterator<Item = &'a Client>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for client in clients {
        *counts.entry(client.server_address()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_clients_are_spread_over_three_servers() {
    let spec = with(small(), &json!({"roles": {"msg": {"replicas": 3}}}));
    let installation = Installation::new("spread", spec, 300).await.unwrap();
    let clients: Vec<(Client, _)> = futures::stream::iter(1..=300)
        .map(|id| installation.client(id))
        .buffer_unordered(8)
        .map(|client| client.unwrap())
        .collect()
        .await;
    let counts = by_server(clients.iter().map(|(client, _)| client));
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(
        counts.values().all(|count| (90..=110).contains(count)),
        "{counts:?}"
    );
    // What the operator reads from login reaches the status, to two digits.
    until("the connections in status", LATER, async || {
        let object = installation.object().await.ok()?;
        (object["status"]["roles"]["msg"]["connections"] == 300).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_under_traffic_loses_nothing_and_everybody_is_back() {
    // The load is read often: a pod less waits for what is known after the last one went.
    let spec = with(small(), &json!({"load": {"statusIntervalSeconds": 10}}));
    let installation = Installation::new("scale", spec, 15).await.unwrap();
    // Ten people say twenty things a second each.
    let traffic = installation
        .traffic(10, Duration::from_millis(50))
        .await
        .unwrap();
    traffic.progress(200, RECOVERY).await.unwrap();
    let before = by_server(traffic.clients());

    installation
        .patch(&json!({"roles": {"msg": {"replicas": 4}}}))
        .unwrap();
    installation.msg_pods(4).await.unwrap();
    let ready = Instant::now();
    let (fresh, _events) = until("a session on a new server", SOON, async || {
        let (client, events) = installation.client(11).await.ok()?;
        if before.contains_key(&client.server_address()) {
            client.close().await;
            return None;
        }
        Some((client, events))
    })
    .await
    .unwrap();
    println!(
        "a new pod had its first session {:?} after it was ready",
        ready.elapsed()
    );
    fresh.close().await;
    traffic.progress(200, RECOVERY).await.unwrap();

    // Somebody at each server who only ever knows that address, as the Windows client.
    let mut old = Vec::new();
    for (address, id) in addresses(&installation)
        .await
        .unwrap()
        .into_iter()
        .zip(12..)
    {
        let password = Password::clear(people::PASSWORD);
        let config =
            ClientConfig::new(address, people::name(id), password).with_profile(Profile::Windows);
        old.push(Client::connect(config).await.unwrap());
    }
    assert_eq!(old.len(), 4);
    installation
        .patch(&json!({"roles": {"msg": {"replicas": 2}}}))
        .unwrap();
    installation.msg_pods(2).await.unwrap();
    let mut moved = 0;
    for (client, mut events) in old {
        tokio::time::timeout(Duration::from_secs(90), client.wait_connected(true))
            .await
            .expect("an old client is back at its old address")
            .unwrap();
        moved += usize::from(lost_connections(&mut events) > 0);
        client.close().await;
    }
    assert_eq!(moved, 2, "clients of the two pods that went");
    traffic.progress(200, RECOVERY).await.unwrap();
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_good(&outcome);
    let absence = outcome.absence;
    println!("longest absence of one of our own clients: {absence:?}");
    assert!(absence <= Duration::from_secs(10), "{absence:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_login_replaces_no_pod_and_each_learns_how_many_they_are() {
    let installation = Installation::new("logins", small(), 0).await.unwrap();
    let ids = async || -> Option<BTreeMap<String, String>> {
        let pods = installation.pods("login").await.ok()?;
        let ready = pods.iter().all(im_e2e_kube::testing::is_ready);
        let ids = pods
            .iter()
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()));
        ready.then(|| ids.collect())
    };
    let one = ids().await.unwrap();
    assert_eq!(one.len(), 1);
    installation
        .patch(&json!({"roles": {"login": {"replicas": 2}}}))
        .unwrap();
    let two = until("two login servers", LATER, async || {
        ids().await.filter(|ids| ids.len() == 2)
    })
    .await
    .unwrap();
    for (name, uid) in &one {
        assert_eq!(two.get(name), Some(uid), "{one:?} {two:?}");
    }
    // The kubelet renews mounted files once in a minute or so.
    for name in two.keys() {
        until("the number in the pod", 2 * LATER, async || {
            let logs = installation.namespace.kubectl(&["logs", name]).ok()?;
            let is_told = ["count=2", "\"count\":2"]
                .iter()
                .any(|it| logs.contains(it));
            is_told.then_some(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_nobody_needs_are_given_back_after_their_grace() {
    let grace = json!({
        "load": {"statusIntervalSeconds": 10},
        "roles": {"msg": {"replicas": 2, "external": {"slotGraceSeconds": 20}}},
    });
    let installation = Installation::new("grace", with(small(), &grace), 2)
        .await
        .unwrap();
    assert_eq!(
        slots(&installation).await.unwrap().len(),
        3,
        "2 and a surge"
    );
    installation
        .patch(&json!({"roles": {"msg": {"replicas": 1}}}))
        .unwrap();
    installation.msg_pods(1).await.unwrap();
    let marked = until("a slot says since when it is free", SOON, async || {
        let slots = slots(&installation).await.ok()?;
        let free: BTreeMap<String, Timestamp> = slots
            .iter()
            .filter_map(|slot| {
                let since = slot.annotations().get("imcluster.io/unused-since")?;
                Some((slot.name_any(), since.parse().unwrap()))
            })
            .collect();
        (!free.is_empty()).then_some(free)
    })
    .await
    .unwrap();
    // What was written by one operator holds for the next.
    let restart = ["rollout", "restart", "deployment", "im-operator"];
    installation.namespace.kubectl(&restart).unwrap();
    let left = until("one slot and one for a surge", LATER, async || {
        let slots = slots(&installation).await.ok()?;
        let now = Timestamp::now();
        for (name, since) in &marked {
            let age = now.duration_since(*since);
            let there = slots.iter().any(|slot| slot.name_any() == *name);
            assert!(there || age.as_secs() >= 20, "{name} went after {age}");
        }
        (slots.len() == 2).then_some(slots)
    })
    .await
    .unwrap();
    assert!(left.iter().any(|slot| {
        let selector = slot.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selector.contains_key("imcluster.io/slot"))
    }));
    let (client, _events) = installation.client(1).await.unwrap();
    client.close().await;
    installation
        .patch(&json!({"roles": {"msg": {"replicas": 2}}}))
        .unwrap();
    installation.msg_pods(2).await.unwrap();
    installation.ready().await.unwrap();
    assert_eq!(slots(&installation).await.unwrap().len(), 3);
    let (client, _events) = installation.client(2).await.unwrap();
    client.close().await;
}

/// The Services of slots.
async fn slots(installation: &Installation) -> anyhow::Result<Vec<Service>> {
    let services = installation.namespace.api::<Service>();
    let with_slot = ListParams::default().labels("imcluster.io/slot");
    Ok(services.list(&with_slot).await?.items)
}

/// Addresses that the slots with a pod advertise.
async fn addresses(installation: &Installation) -> anyhow::Result<Vec<String>> {
    let object = installation.object().await?;
    let slots = object["status"]["slots"].as_array();
    Ok(slots
        .into_iter()
        .flatten()
        .filter(|slot| slot["state"] == "Bound")
        .filter_map(|slot| Some(format!("{}:{}", slot["host"].as_str()?, slot["port"])))
        .collect())
}

fn lost_connections(events: &mut Events) -> usize {
    let mut lost = 0;
    while let Some(event) = events.try_recv() {
        lost += usize::from(matches!(event, Event::Disconnected { .. }));
    }
    lost
}
