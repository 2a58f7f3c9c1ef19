//! What is given up, delivered again, and rewound.

use std::time::Duration;

use im_e2e::gauges::Metrics;
use tokio::time::Instant;

use super::*;
use crate::push::provider::{OK, Reply};

#[tokio::test]
async fn what_a_receiver_never_takes_is_given_up_and_delivered_again_when_asked() {
    let mut rig = Rig::whole(2, &["push.subscriptions.dead_after=1s"]).await;
    let receiver = Provider::start(By::Tcp).await;
    let made = rig.subscribe(&receiver, json!({})).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    receiver.always(Reply::Status(500, "out of order"));
    ann.say(with_user(2), "nobody takes this").await;
    let dead = rig.deliveries(made.id, "dead", |it| !it.is_empty()).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&dead[0]["status"], &dead[0]["events"]),
        (&json!(500), &json!(1))
    );
    assert_eq!(dead[0]["answer"], "out of order");
    assert!(dead[0]["tries"].as_u64() > Some(1), "{}", dead[0]);
    let id = dead[0]["id"].as_str().unwrap();
    let again = format!(
        "/api/v1/subscriptions/{}/deliveries/{id}/redelivery",
        made.id
    );
    let again = || Call::new("PUT", &again);

    // Asked for while the receiver fails, it is given up again.
    let tried = receiver.heard().len();
    let marked = rig.ask(again(), 200).await;
    assert_eq!(marked["state"], "again");
    receiver.requests(tried + 1).await;
    let dead = rig.deliveries(made.id, "dead", |it| !it.is_empty()).await;
    assert_eq!(dead[0]["id"], id);

    receiver.always(OK);
    ann.say(with_user(2), "what comes behind is not held up")
        .await;
    receiver.wait(|heard| told(heard).len() >= 2).await;
    let first = receiver.heard()[0].clone();
    let taken = receiver.heard().len();
    rig.ask(again(), 200).await;
    let heard = receiver.requests(taken + 1).await;
    assert_eq!(positions(&heard[taken]), [1]);
    assert_eq!(
        heard[taken].header("webhook-id"),
        first.header("webhook-id")
    );
    assert_eq!(heard[taken].body, first.body);
    let done = rig.deliveries(made.id, "delivered", |it| {
        it.iter().any(|it| it["id"] == id)
    });
    done.await;
    let dead = rig.deliveries(made.id, "dead", <[Value]>::is_empty).await;
    assert_eq!(dead.len(), 0);
}

#[tokio::test]
async fn a_subscription_that_is_rewound_tells_what_it_has_told_once_more() {
    let mut rig = Rig::whole(2, &["push.subscriptions.retry_max=1h"]).await;
    let receiver = Provider::start(By::Tcp).await;
    let made = rig.subscribe(&receiver, json!({})).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    for _ in 0..5 {
        ann.say(with_user(2), "hello").await;
    }
    let before = receiver.wait(|heard| told(heard).len() >= 5).await.len();
    let list = rig.ask(get("/api/v1/followers"), 200).await;
    let name = format!("subscription-{}", made.id);
    let names = list["items"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|it| it["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&name.as_str()) && names.contains(&"subscriptions"),
        "{names:?}"
    );
    let path = format!("/api/v1/followers/{name}/position");
    let rewind = |to: &str| Call::new("PUT", &path).json(&json!({"position": to}));
    let beyond = rewind("6").token(&rig.token).expect(rig.api, 422).await;
    assert_eq!(problem(&beyond), "invalid");
    let rewound = rig.ask(rewind("2"), 200).await;
    assert_eq!(
        (&rewound["position"], &rewound["behind"]),
        (&json!("2"), &json!(3))
    );
    let since = |heard: &[Heard]| told(&heard[before..]);
    let heard = receiver.wait(|heard| since(heard).len() >= 3).await;
    assert_eq!(since(&heard), [3, 4, 5]);
    let ids: Vec<&str> = heard.iter().map(|it| it.header("webhook-id")).collect();
    assert!(!ids[..before].contains(&ids[before]), "it is told anew");

    // A receiver that waits for its next attempt is tried at once.
    receiver.always(Reply::Slower(503, "3600"));
    ann.say(with_user(2), "later").await;
    let tried = receiver.requests(heard.len() + 1).await.len();
    receiver.always(OK);
    rig.ask(rewind("5"), 200).await;
    let heard = receiver.requests(tried + 1).await;
    assert_eq!(positions(&heard[tried]), [6]);
}

/// A subscription may begin in the past.
#[tokio::test]
async fn a_subscription_tells_the_log_from_the_position_that_it_is_given() {
    let mut rig = Rig::whole(2, &[]).await;
    let receiver = Provider::start(By::Tcp).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    for _ in 0..4 {
        ann.say(with_user(2), "hello").await;
    }
    let made = rig.subscribe(&receiver, json!({"position": "1"})).await;
    let heard = receiver.wait(|heard| told(heard).len() >= 3).await;
    assert_eq!(told(&heard), [2, 3, 4]);
    let path = format!("/api/v1/subscriptions/{}", made.id);
    rig.ask(Call::new("DELETE", &path), 200).await;
    rig.ask(get(&path), 404).await;
    let count = receiver.heard().len();
    // Another receiver hears of it, so this one would have.
    let other = Provider::start(By::Tcp).await;
    rig.subscribe(&other, json!({})).await;
    let until = Instant::now() + WAIT;
    loop {
        let process = rig.platform.process("all").unwrap();
        let metrics = Metrics::read(process).await.unwrap();
        if metrics.sum("im_push_subscriptions_open", "") == 1.0 {
            break;
        }
        assert!(Instant::now() < until, "its task does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ann.say(with_user(2), "after the removal").await;
    other.requests(1).await;
    assert_eq!(receiver.heard().len(), count);
}
