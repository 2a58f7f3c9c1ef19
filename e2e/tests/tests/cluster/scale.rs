//! Scenario 2: load is spread, and pods come and go under traffic (S-02, S-03, S-89).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use im_client::{Client, ClientConfig, Event, Events, Password, Profile};
use im_e2e::people;
use im_e2e::traffic::Outcome;
use im_e2e_kube::wait::{LATER, SOON, until};
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
fn by_server<'a>(clients: impl IntoIterator<Item = &'a Client>) -> BTreeMap<String, usize> {
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
        let object = installation.object().ok()?;
        (object["status"]["roles"]["msg"]["connections"] == 300).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_under_traffic_loses_nothing_and_everybody_is_back() {
    let installation = Installation::new("scale", small(), 15).await.unwrap();
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
    for (address, id) in addresses(&installation).unwrap().into_iter().zip(12..) {
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

/// Addresses that the slots with a pod advertise.
fn addresses(installation: &Installation) -> anyhow::Result<Vec<String>> {
    let object = installation.object()?;
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
