//! Files that wait for somebody: told when they are whole, from the log of changes, each once there.

use std::collections::BTreeMap;

use super::*;
use crate::files::client::{NAME, Offline, Peer, Upload, address, content, stored, task};

/// Files that were told, by task, with the positions at which they stand in the log.
fn files(heard: &[Heard]) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for request in heard {
        for event in request.json()["events"].as_array().unwrap() {
            let task = event["task"].as_str().unwrap().to_owned();
            let told = found.entry(task).or_default();
            if !told.contains(event) {
                told.push(event.clone());
            }
        }
    }
    found
}

/// A file is told once it is whole, also where its sender does not say so and the process is killed at once; one
/// of which half has come is not.
#[tokio::test]
async fn a_file_that_is_whole_is_told_over_kills_and_half_a_file_is_not() {
    let mut rig = Rig::whole(3, &[]).await;
    let receiver = Provider::start(By::Tcp).await;
    let made = rig
        .subscribe(&receiver, json!({"kinds": ["file.ready"]}))
        .await;
    let mut sender = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    let half = task(&mut sender, 2, 70_000, Offline).await;
    let at = address(&half.ip_addr_list);
    let mut peer = Peer::enter(at, &half.task_id, 1, Upload).await;
    peer.serve(&content(70_000)).await;
    let (first, _) = stored(&mut sender, 1, 2, &content(40_000)).await;
    let heard = receiver.wait(|heard| !files(heard).is_empty()).await;
    assert!(heard.iter().all(|it| is_signed(it, &made.secret)));
    let told = files(&heard);
    assert_eq!(told.keys().collect::<Vec<_>>(), [&first]);
    let event = &told[&first][0];
    assert_eq!(event["type"], "file.ready");
    assert_eq!(
        (&event["sender"], &event["receiver"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        (&event["name"], &event["size"]),
        (&json!(NAME), &json!(40_000))
    );

    // Killed before anybody can have been told, or as it is told: it comes all the same, and stands in the log
    // once, though the file server tells of all of its files after each start.
    let mut all = vec![first];
    for round in 0..2 {
        let (next, _) = stored(&mut sender, 1, 3, &content(1_000)).await;
        all.push(next);
        rig.platform.kill_and_restart("all").await.unwrap();
        receiver.wait(|heard| files(heard).len() >= round + 2).await;
        sender = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    }
    let (last, _) = stored(&mut sender, 1, 3, &content(2_000)).await;
    all.push(last);
    let heard = receiver.wait(|heard| files(heard).len() >= 4).await;
    let told = files(&heard);
    all.sort();
    assert_eq!(told.keys().cloned().collect::<Vec<_>>(), all);
    assert!(told.values().all(|it| it.len() == 1), "{told:?}");
    let kept = rig.deliveries(made.id, "delivered", |it| !it.is_empty());
    assert!(kept.await.iter().all(|it| it["log"] == "changes"));
}
