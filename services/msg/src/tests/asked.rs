//! What a file asks of a running server: letting all go, or some, and taking it back.

use std::path::Path;

use im_config::MsgConfig;
use im_proto_rpc::v1::load_report::State;
use tokio::time::Instant;

use super::rig::*;

/// A server that follows a file, with as many people from 1 on.
async fn asked(folder: &Path, count: u32) -> (Rig, Vec<Client>) {
    let rig = Rig::start_with(MsgConfig {
        orders_file: folder.join("orders"),
        ..config()
    })
    .await;
    let mut clients = Vec::new();
    for user in 1..=count {
        clients.push(rig.client(user, WINDOWS).await);
    }
    (rig, clients)
}

/// As a mounted volume does it: another file takes the name over.
fn ask(folder: &Path, text: &str) {
    let next = folder.join("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, folder.join("orders")).unwrap();
}

#[tokio::test]
async fn all_go_at_the_rate_of_the_file_and_nobody_comes_until_it_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, mut clients) = asked(folder.path(), 30).await;
    ask(folder.path(), "drain a 20");
    until("the first is gone", || rig.dump("sessions") != 30).await;
    let start = Instant::now();
    assert_eq!(
        rig.login.last().state(),
        State::Cordoned,
        "nobody new first"
    );
    rig.connect().await.expect_end().await;
    until("all are gone", || rig.dump("sessions") == 0).await;
    // One and what a late step catches up may have gone before the clock was read.
    assert!(
        start.elapsed().as_millis() >= 1_200,
        "{:?}",
        start.elapsed()
    );
    for client in &mut clients {
        client.expect_end().await;
    }
    ask(folder.path(), "");
    until("it accepts again", || {
        rig.login.last().state() == State::Accepting
    })
    .await;
    rig.client(99, WINDOWS).await.expect_silence().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_drain_that_is_taken_back_moves_nobody_else_and_another_rate_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _clients) = asked(folder.path(), 30).await;
    ask(folder.path(), "drain a 1");
    until("the first is gone", || rig.dump("sessions") != 30).await;
    std::fs::remove_file(folder.path().join("orders")).unwrap();
    until("it accepts again", || {
        rig.login.last().state() == State::Accepting
    })
    .await;
    until("the order has ended", || rig.dump("shed")["over"] == true).await;
    let left = rig.gateway.sessions.len();
    assert!((25..30).contains(&left), "{left}");
    ask(folder.path(), "drain b 1");
    until("another is gone", || rig.gateway.sessions.len() < left).await;
    // At the old rate the rest would take half a minute.
    ask(folder.path(), "drain b 1000");
    until("all are gone", || rig.dump("sessions") == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn some_go_once_for_each_key_and_what_makes_no_sense_asks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _clients) = asked(folder.path(), 10).await;
    let sessions = || rig.gateway.sessions.len();
    ask(folder.path(), "shed a 3 1000");
    until("three are gone", || sessions() == 7).await;
    assert_eq!(rig.login.last().state(), State::Accepting);
    ask(folder.path(), "shed all of them");
    ask(folder.path(), "shed b 2 1000");
    until("two are gone", || sessions() == 5).await;
    ask(folder.path(), "shed a 3 1000");
    // What is asked last has been read when this has been done.
    until("the last order is b", || rig.dump("shed")["key"] == "b").await;
    ask(folder.path(), "shed c 1 1000");
    until("one is gone", || {
        rig.dump("shed")["key"] == "c" && sessions() == 4
    })
    .await;
    // An administrator's cordon is not the file's to end.
    rig.control.cordon().await;
    ask(folder.path(), "drain d 1000");
    until("all are gone", || sessions() == 0).await;
    ask(folder.path(), "");
    ask(folder.path(), "shed e 1 1000");
    until("e is over", || rig.dump("shed")["key"] == "e").await;
    assert_eq!(rig.dump("cordoned"), true);
    rig.stop().await;
}
