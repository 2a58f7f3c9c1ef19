//! Receivers that are down, slow or late; push and db-proxy are killed.

use std::collections::HashMap;

use super::*;
use crate::push::faults::again;
use crate::push::provider::{OK, Reply};

/// What each id carried: the same each time.
fn one_body_per_id(heard: &[Heard]) {
    let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
    for request in heard {
        let id = request.header("webhook-id");
        let known = bodies.insert(id, &request.body);
        assert!(known.is_none_or(|known| known == request.body), "{id}");
    }
}

async fn say(ann: &mut Terminal, count: u64, said: &mut u64) {
    for _ in 0..count {
        ann.say(with_user(2), "hello").await;
        *said += 1;
    }
}

/// At least once, under the same `webhook-id`, in order, under kill -9 of push and of db-proxy.
#[tokio::test]
async fn nothing_is_lost_and_order_is_kept_when_push_and_db_proxy_are_killed() {
    let mut rig = Rig::apart(2, &[]).await;
    let receiver = Provider::start(By::Tcp).await;
    let made = rig.subscribe(&receiver, json!({})).await;
    let mut ann = Terminal::login(rig.platform.msg_address("msg1"), 1, Windows).await;
    let mut said = 0;
    for _ in 0..3 {
        // Something is under way or waits to be tried again when somebody is killed.
        receiver.next(&[
            Reply::Status(500, "no"),
            Reply::Hang,
            Reply::Status(503, ""),
        ]);
        say(&mut ann, 10, &mut said).await;
        rig.platform.kill_and_restart("push1").await.unwrap();
        say(&mut ann, 10, &mut said).await;
        receiver
            .wait(|heard| told(heard).len() as u64 >= said)
            .await;

        receiver.next(&[Reply::Status(500, "no"), Reply::Hang]);
        say(&mut ann, 10, &mut said).await;
        rig.platform.kill_and_restart("db").await.unwrap();
        receiver
            .wait(|heard| told(heard).len() as u64 >= said)
            .await;
        // The msg server has found db-proxy again when it lets somebody in.
        drop(ann);
        ann = again(&mut rig.platform).await;
    }
    let heard = receiver.heard();
    assert_eq!(told(&heard), (1..=said).collect::<Vec<_>>());
    one_body_per_id(&heard);
    assert!(heard.iter().all(|it| is_signed(it, &made.secret)));
}

#[tokio::test]
async fn another_replica_of_push_goes_on_where_the_first_was_killed() {
    let mut rig = Rig::apart(2, &[]).await;
    let routes = ["route1".to_owned()];
    let set = QUICK.map(str::to_owned);
    rig.platform.start_push("push2", &routes, &set).unwrap();
    rig.platform.ready("push2").await.unwrap();
    let receiver = Provider::start(By::Tcp).await;
    rig.subscribe(&receiver, json!({})).await;
    let mut ann = Terminal::login(rig.platform.msg_address("msg1"), 1, Windows).await;
    let mut said = 0;
    say(&mut ann, 5, &mut said).await;
    receiver
        .wait(|heard| told(heard).len() as u64 >= said)
        .await;
    let events: usize = receiver.heard().iter().map(|it| positions(it).len()).sum();
    assert_eq!(events, 5, "one replica at a time");
    rig.platform.process("push1").unwrap().kill9().unwrap();
    say(&mut ann, 5, &mut said).await;
    let heard = receiver
        .wait(|heard| told(heard).len() as u64 >= said)
        .await;
    assert_eq!(told(&heard), (1..=said).collect::<Vec<_>>());
}

/// A receiver that answers nothing, errors or too late delays itself: the other one hears everything at once.
#[tokio::test]
async fn a_receiver_that_fails_delays_itself_only_and_gets_everything_later() {
    let mut rig = Rig::whole(2, &["push.subscriptions.attempt_timeout=100ms"]).await;
    let (bad, good) = (
        Provider::start(By::Tcp).await,
        Provider::start(By::Tcp).await,
    );
    rig.subscribe(&bad, json!({})).await;
    rig.subscribe(&good, json!({})).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    let mut said = 0;
    for fault in [
        Reply::Hang,
        Reply::Status(500, "no"),
        Reply::Slower(429, "1"),
    ] {
        bad.always(fault);
        let tried = bad.heard().len();
        say(&mut ann, 20, &mut said).await;
        bad.wait(|heard| heard.len() > tried).await;
        good.wait(|heard| told(heard).len() as u64 >= said).await;
    }
    let heard = good.heard();
    assert_eq!(told(&heard), (1..=said).collect::<Vec<_>>());
    let events: usize = heard.iter().map(|it| positions(it).len()).sum();
    assert_eq!(events as u64, said, "each once");
    bad.always(OK);
    let heard = bad.wait(|heard| told(heard).len() as u64 >= said).await;
    assert_eq!(told(&heard), (1..=said).collect::<Vec<_>>());
    one_body_per_id(&heard);
    let largest = heard.iter().map(|it| positions(it).len()).max();
    assert!(largest <= Some(100), "{largest:?}");
}

/// A receiver that is away for a while, with its port closed.
#[tokio::test]
async fn a_receiver_that_was_away_gets_batches_of_a_hundred_at_most() {
    let mut rig = Rig::whole(2, &[]).await;
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let wanted = json!({"url": format!("http://{address}/im")});
    rig.ask(post("/api/v1/subscriptions", &wanted), 201).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    let mut said = 0;
    say(&mut ann, 250, &mut said).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let receiver = Provider::on(listener, By::Tcp);
    let heard = receiver
        .wait(|heard| told(heard).len() as u64 >= said)
        .await;
    assert_eq!(told(&heard), (1..=said).collect::<Vec<_>>());
    let sizes: Vec<usize> = heard.iter().map(|it| positions(it).len()).collect();
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    assert!(sizes.contains(&100), "{sizes:?}");
}
