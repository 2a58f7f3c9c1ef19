//! Sessions that come and go: told once at most, and kept for nobody.

use std::collections::BTreeSet;

use im_e2e::gauges::Metrics;

use super::*;
use crate::push::faults::again;
use crate::push::provider::{OK, Reply};

/// What was told of sessions: whether each came or went, its id and whose it was.
fn sessions(heard: &[Heard]) -> Vec<(bool, String, u64)> {
    let mut told = Vec::new();
    for request in heard {
        for event in request.json()["events"].as_array().unwrap() {
            let kind = event["type"].as_str().unwrap();
            assert!(kind.starts_with("session."), "{event}");
            let id = event["session"].as_str().unwrap().to_owned();
            told.push((kind == "session.up", id, event["user"].as_u64().unwrap()));
        }
    }
    told
}

/// Somebody logs in and goes until the receiver has heard of a session: the wish to hear of them has arrived.
async fn arrived(rig: &mut Rig, msg: &str, receiver: &Provider) {
    let address = rig.platform.msg_address(msg);
    wait::until("sessions are told", WAIT, || async {
        drop(Terminal::login(address, 1, Windows).await);
        (!receiver.heard().is_empty()).then_some(())
    })
    .await
    .unwrap();
}

/// A receiver that hangs delays itself; what it misses is counted, and everybody else hears all of it.
#[tokio::test]
async fn sessions_are_told_once_at_most_and_a_slow_receiver_loses_only_its_own() {
    let set = [
        "push.subscriptions.attempt_timeout=300ms",
        "db_proxy.follow.session_events=4KiB",
    ];
    let mut rig = Rig::whole(9, &set).await;
    let (all, downs, slow) = (
        Provider::start(By::Tcp).await,
        Provider::start(By::Tcp).await,
        Provider::start(By::Tcp).await,
    );
    let both = json!({"kinds": ["session.up", "session.down"]});
    let made = rig.subscribe(&all, both.clone()).await;
    arrived(&mut rig, "all", &all).await;
    rig.subscribe(&downs, json!({"kinds": ["session.down"]}))
        .await;
    slow.always(Reply::Hang);
    rig.subscribe(&slow, both).await;
    arrived(&mut rig, "all", &downs).await;
    slow.requests(1).await;

    let address = rig.platform.msg_address("all");
    let gone = |heard: &[Heard], user: u64| {
        let told = sessions(heard);
        told.iter().filter(|it| !it.0 && it.2 == user).count()
    };
    for round in 0..3 {
        for user in 2..=9 {
            drop(Terminal::login(address, user, Windows).await);
        }
        let everybody = |heard: &[Heard]| (2..=9).all(|user| gone(heard, user) > round);
        let heard = all.wait(everybody).await;
        assert!(heard.iter().all(|it| is_signed(it, &made.secret)));
    }
    let told = sessions(&all.heard());
    let each: BTreeSet<_> = told.iter().collect();
    assert_eq!(each.len(), told.len(), "each once at most");
    let comes: Vec<&(bool, String, u64)> = told.iter().filter(|it| it.0).collect();
    for (_, id, user) in comes {
        let places = |up| told.iter().position(|it| (it.0, &it.1) == (up, id));
        assert!(places(true) < places(false).or(Some(usize::MAX)), "{user}");
    }
    assert!(sessions(&downs.heard()).iter().all(|it| !it.0));

    // It takes requests again: from then on it is told of what is new.
    slow.always(OK);
    let before = slow.heard().len();
    wait::until("the slow one hears again", WAIT, || async {
        drop(Terminal::login(address, 5, Windows).await);
        (slow.heard().len() > before + 1).then_some(())
    })
    .await
    .unwrap();
    let process = rig.platform.process("all").unwrap();
    let metrics = Metrics::read(process).await.unwrap();
    assert!(metrics.sum("im_push_subscriptions_lost_sessions", "") > 0.5);
    // Nothing of it is a delivery that could be made again.
    let path = format!("/api/v1/subscriptions/{}/deliveries", made.id);
    let kept = rig.ask(get(&path), 200).await;
    assert_eq!(kept["items"], json!([]));
}

/// A kill of push or of db-proxy loses some and tells none twice; then it goes on by itself.
#[tokio::test]
async fn after_kills_sessions_are_told_again_and_none_twice() {
    let mut rig = Rig::apart(2, &[]).await;
    let receiver = Provider::start(By::Tcp).await;
    let kinds = json!({"kinds": ["session.up", "session.down"]});
    rig.subscribe(&receiver, kinds).await;
    arrived(&mut rig, "msg1", &receiver).await;
    for victim in ["push1", "db"] {
        rig.platform.kill_and_restart(victim).await.unwrap();
        let before = receiver.heard().len();
        let until = tokio::time::Instant::now() + WAIT;
        while receiver.heard().len() == before {
            assert!(tokio::time::Instant::now() < until, "after {victim}");
            drop(again(&mut rig.platform).await);
        }
    }
    let told = sessions(&receiver.heard());
    let each: BTreeSet<_> = told.iter().collect();
    assert_eq!(each.len(), told.len(), "{told:?}");
}
