//! Subscriptions: receivers that are told of stored messages, and what becomes of it when somebody fails.

mod changed;
mod faults;
mod kept;
mod passing;
mod ready;
mod replayed;

use std::ops::{Deref, DerefMut};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use im_e2e::wait;
use serde_json::{Value, json};

use crate::api::calls::{Call, get, post, problem};
use crate::api::rig;
use crate::push::provider::{By, Heard, Provider};
use crate::push::webhook::is_signed;
use crate::support::*;

/// Settings under which a test need not wait long, and may have its receivers on this machine.
const QUICK: [&str; 6] = [
    "trust.hook_networks=[\"127.0.0.0/8\"]",
    "push.subscriptions.look_every=20ms",
    "push.subscriptions.gather=10ms",
    "push.subscriptions.retry_min=20ms",
    "push.subscriptions.retry_max=200ms",
    "push.subscriptions.attempt_timeout=1s",
];

/// A platform with its API and receivers on this machine.
pub(crate) struct Rig(rig::Rig);

impl Deref for Rig {
    type Target = rig::Rig;

    fn deref(&self) -> &rig::Rig {
        &self.0
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut rig::Rig {
        &mut self.0
    }
}

/// A subscription that was made.
pub(crate) struct Subscribed {
    pub(crate) id: u64,
    pub(crate) secret: Vec<u8>,
}

impl Rig {
    /// One process.
    pub(crate) async fn whole(people: u32, set: &[&str]) -> Self {
        let set: Vec<&str> = QUICK.iter().chain(set).copied().collect();
        Self(rig::Rig::whole(people, &set).await)
    }

    /// One process per role, with push as `push1`, and these settings of it beside the quick ones.
    async fn apart(people: u32, set: &[&str]) -> Self {
        let mut platform = rig::separate(people, &[]).await;
        let own = QUICK.iter().chain(set).map(|it| (*it).to_owned());
        let routes = ["route1".to_owned()];
        platform
            .start_push("push1", &routes, &own.collect::<Vec<_>>())
            .unwrap();
        platform.ready("push1").await.unwrap();
        Self(rig::Rig::serving(platform, &QUICK).await)
    }

    /// Subscribes a receiver, with more fields.
    pub(crate) async fn subscribe(&self, receiver: &Provider, more: Value) -> Subscribed {
        let mut wanted = json!({"url": url(receiver)});
        let fields = wanted.as_object_mut().unwrap();
        fields.extend(more.as_object().cloned().unwrap_or_default());
        let made = self.ask(post("/api/v1/subscriptions", &wanted), 201).await;
        Subscribed {
            id: made["id"].as_u64().unwrap(),
            secret: key(&made),
        }
    }

    /// Deliveries of a subscription in a state, once there are some and they are so.
    async fn deliveries(
        &self,
        of: u64,
        state: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let path = format!("/api/v1/subscriptions/{of}/deliveries?state={state}");
        wait::until("deliveries", WAIT, || async {
            let list = self.ask(get(&path), 200).await;
            let items = list["items"].as_array().unwrap().clone();
            holds(&items).then_some(items)
        })
        .await
        .unwrap()
    }
}

fn url(receiver: &Provider) -> String {
    format!("http://{}/im", receiver.address)
}

/// The key that an answer tells.
fn key(made: &Value) -> Vec<u8> {
    let secret = made["secret"].as_str().unwrap();
    STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap()
}

/// Positions of the events of a request.
fn positions(heard: &Heard) -> Vec<u64> {
    let body = heard.json();
    let events = body["events"].as_array().unwrap().iter();
    let digits = events.map(|event| event["position"].as_str().unwrap().to_owned());
    digits.map(|digits| digits.parse().unwrap()).collect()
}

/// Positions of all events in the order in which each came first.
pub(crate) fn told(heard: &[Heard]) -> Vec<u64> {
    let mut told = Vec::new();
    for position in heard.iter().flat_map(positions) {
        if !told.contains(&position) {
            told.push(position);
        }
    }
    told
}

#[tokio::test]
async fn receivers_are_told_of_what_their_subscription_is_about_in_order_and_signed() {
    let mut rig = Rig::whole(4, &[]).await;
    let (all, ours, hers) = (
        Provider::start(By::Tcp).await,
        Provider::start(By::Tcp).await,
        Provider::start(By::Tcp).await,
    );
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    let mut ben = Terminal::login(rig.platform.msg_address("all"), 2, Windows).await;
    let group = make_group(&mut ann, "ours", &[1, 2, 3]).await;
    ann.say(with_user(2), "before anybody subscribed").await;
    let first = rig.subscribe(&all, json!({"label": "all of it"})).await;
    rig.subscribe(&ours, json!({"groups": [group]})).await;
    rig.subscribe(&hers, json!({"senders": [1], "kinds": ["message.stored"]}))
        .await;
    ann.say(with_user(2), "a very private text").await;
    ben.say(in_group(group), "to all of us").await;
    ben.say(with_user(1), "back").await;
    ann.say(in_group(group), "the last one").await;
    let heard = all.wait(|heard| told(heard).len() >= 4).await;
    assert_eq!(told(&heard), [2, 3, 4, 5], "what was stored since");
    for request in &heard {
        assert!(is_signed(request, &first.secret));
        assert_eq!(request.path, "/im");
        assert_eq!(request.header("content-type"), "application/json");
    }
    let events: Vec<Value> = { heard.iter() }
        .flat_map(|it| it.json()["events"].as_array().unwrap().clone())
        .collect();
    let private = &events[0];
    assert_eq!(private["type"], "message.stored");
    assert_eq!(private["conversation"], "users-1-2");
    assert_eq!((&private["id"], &private["sender"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&private["receiver"], &private["kind"]),
        (&json!(2), &json!("text"))
    );
    assert_eq!(
        private["text"],
        Value::Null,
        "push.subscriptions.text is off"
    );
    assert_eq!(events[1]["group"], group);
    let heard = ours.wait(|heard| told(heard).len() >= 2).await;
    assert_eq!(told(&heard), [3, 5]);
    let heard = hers.wait(|heard| told(heard).len() >= 2).await;
    assert_eq!(told(&heard), [2, 5]);
    let done = rig
        .deliveries(first.id, "delivered", |it| !it.is_empty())
        .await;
    assert_eq!(
        (&done[0]["status"], &done[0]["tries"]),
        (&json!(200), &json!(1))
    );
    let path = format!("/api/v1/subscriptions/{}", first.id);
    wait::until("everything is behind it", WAIT, || async {
        let subscription = rig.ask(get(&path), 200).await;
        (subscription["position"] == "5" && subscription["behind"] == 0).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn events_carry_texts_where_the_installation_says_so() {
    let set = [
        "push.subscriptions.text=true",
        "push.subscriptions.text_bytes=200B",
    ];
    let mut rig = Rig::whole(2, &set).await;
    let receiver = Provider::start(By::Tcp).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    rig.subscribe(&receiver, json!({})).await;
    ann.say(with_user(2), "你好 \"Ben\"").await;
    ann.say(with_user(2), &"x".repeat(500)).await;
    let heard = receiver.wait(|heard| told(heard).len() >= 2).await;
    let events: Vec<Value> = { heard.iter() }
        .flat_map(|it| it.json()["events"].as_array().unwrap().clone())
        .collect();
    assert_eq!(events[0]["text"], "你好 \"Ben\"");
    assert_eq!(
        events[1]["text"],
        Value::Null,
        "it is longer than text_bytes"
    );
}

#[tokio::test]
async fn two_secrets_sign_while_one_is_replaced_and_then_one() {
    let mut rig = Rig::whole(2, &[]).await;
    let receiver = Provider::start(By::Tcp).await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    let made = rig.subscribe(&receiver, json!({})).await;
    ann.say(with_user(2), "one").await;
    receiver.requests(1).await;
    let path = format!("/api/v1/subscriptions/{}/secret", made.id);
    let replace = |seconds: u32| Call::new("PUT", &path).json(&json!({"overlap_seconds": seconds}));
    let second = key(&rig.ask(replace(3_600), 200).await);
    // What is sent from now on may still be signed by the task before.
    let both = |it: &Heard| is_signed(it, &made.secret) && is_signed(it, &second);
    let mut said = 1;
    while !receiver.heard().iter().any(both) {
        ann.say(with_user(2), "more").await;
        said += 1;
        receiver.wait(|heard| told(heard).len() >= said).await;
    }
    let third = key(&rig.ask(replace(0), 200).await);
    while !receiver.heard().iter().any(|it| is_signed(it, &third)) {
        ann.say(with_user(2), "more").await;
        said += 1;
        receiver.wait(|heard| told(heard).len() >= said).await;
    }
    let heard = receiver.heard();
    let last = heard.iter().rfind(|it| is_signed(it, &third)).unwrap();
    assert!(!is_signed(last, &second), "its time is over");
    assert_eq!(told(&heard), (1..=said as u64).collect::<Vec<_>>());
}

/// Requests to addresses inside are refused by the API, and by push at the connection.
#[tokio::test]
async fn no_request_goes_to_an_address_inside_whose_network_is_not_named() {
    let nowhere = ["trust.hook_networks=[]"];
    let mut rig = Rig::apart(2, &nowhere).await;
    let receiver = Provider::start(By::Tcp).await;
    let mut ann = Terminal::login(rig.platform.msg_address("msg1"), 1, Windows).await;
    // This API has the network named; push has not.
    let made = rig.subscribe(&receiver, json!({})).await;
    ann.say(with_user(2), "to nobody").await;
    let open = rig.deliveries(made.id, "open", |it| {
        it.first().is_some_and(|it| it["tries"].as_u64() > Some(0))
    });
    let answer = open.await[0]["answer"].as_str().unwrap().to_owned();
    assert!(answer.contains("trust.hook_networks"), "{answer}");
    assert_eq!(receiver.heard().len(), 0);

    let own = nowhere.map(str::to_owned);
    rig.platform.start_http_api("strict", &own).unwrap();
    rig.platform.ready("strict").await.unwrap();
    let strict = rig.platform.http_api_address("strict");
    for inside in [
        "http://127.0.0.1/",
        "https://localhost/x",
        "http://[::1]:80/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::ffff:192.168.0.1]/",
    ] {
        let call = post("/api/v1/subscriptions", &json!({"url": inside})).token(&rig.token);
        let refused = call.expect(strict, 422).await;
        assert_eq!(problem(&refused), "invalid", "{inside}");
    }
    let outside = post(
        "/api/v1/subscriptions",
        &json!({"url": "https://hooks.example.com/im"}),
    );
    outside.token(&rig.token).expect(strict, 201).await;
}

#[tokio::test]
async fn there_are_as_many_subscriptions_as_there_may_be() {
    let rig = Rig::whole(2, &["db_proxy.administration.subscriptions=2"]).await;
    let wanted = json!({"url": "https://hooks.example.com/im"});
    let make = || post("/api/v1/subscriptions", &wanted);
    let first = rig.ask(make(), 201).await["id"].clone();
    rig.ask(make(), 201).await;
    let full = make().token(&rig.token).expect(rig.api, 409).await;
    assert_eq!(problem(&full), "conflict");
    let remove = Call::new("DELETE", &format!("/api/v1/subscriptions/{first}"));
    rig.ask(remove, 200).await;
    rig.ask(make(), 201).await;
    let list = rig.ask(get("/api/v1/subscriptions"), 200).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}
