//! Subscriptions: what succeeds, and what a delivery that is under way does not allow.

use super::*;
use crate::push::provider::{By, OK, Provider, Reply};

/// Settings under which push delivers to this machine, and tries again soon.
const QUICK: [&str; 4] = [
    "trust.hook_networks=[\"127.0.0.0/8\"]",
    "push.subscriptions.look_every=20ms",
    "push.subscriptions.retry_min=20ms",
    "push.subscriptions.retry_max=100ms",
];

pub(super) async fn done(seen: &Seen, platform: &mut Platform, api: SocketAddr, token: &str) {
    let none = Value::Null;
    let call = async |path: &str, method: &str, with: &str, body: Value, status: u16| {
        let (path, with) = (format!("/api/v1{path}"), format!("/api/v1{with}"));
        let answer = seen
            .call(&path, (method, &with, body), token, api, status)
            .await;
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let receiver = Provider::start(By::Tcp).await;
    receiver.always(Reply::Status(500, ""));
    let routes = ["route1".to_owned()];
    let set = QUICK.map(str::to_owned);
    platform.start_push("push1", &routes, &set).unwrap();
    platform.ready("push1").await.unwrap();
    let new = || json!({"url": format!("http://{}/im", receiver.address)});
    let all = "/subscriptions";
    call(all, "POST", "/subscriptions?dry_run=true", new(), 200).await;
    let made = call(all, "POST", all, new(), 201).await;
    call(all, "GET", all, none.clone(), 200).await;
    let (one, with) = (
        "/subscriptions/{id}",
        format!("/subscriptions/{}", made["id"]),
    );
    call(one, "GET", &with, none.clone(), 200).await;
    let (secret, its) = (format!("{one}/secret"), format!("{with}/secret"));
    call(&secret, "PUT", &its, json!({}), 200).await;
    let hook = || json!({"from": "u1", "to": "u2"});
    let of = "/incoming-hooks";
    call(of, "POST", "/incoming-hooks?dry_run=true", hook(), 200).await;
    let made = call(of, "POST", of, hook(), 201).await;
    call(of, "GET", of, none.clone(), 200).await;
    let its = format!("/incoming-hooks/{}", made["id"]);
    call("/incoming-hooks/{id}", "DELETE", &its, none.clone(), 200).await;
    let followers = "/followers";
    call(followers, "GET", followers, none.clone(), 200).await;

    let hello = json!({"from": "u1", "to": "u2", "text": "hello"});
    let sent = post("/api/v1/messages", &hello).token(token);
    sent.expect(api, 201).await;
    let (list, its) = (format!("{one}/deliveries"), format!("{with}/deliveries"));
    receiver.requests(1).await;
    let delivery = async |state: &str| {
        let its = format!("{its}?state={state}");
        im_e2e::wait::until("a delivery", WAIT, || async {
            let found = call(&list, "GET", &its, Value::Null, 200).await;
            found["items"].as_array()?.first().cloned()
        })
        .await
        .unwrap()
    };
    let open = delivery("open").await["id"].as_str().unwrap().to_owned();
    let again = format!("{list}/{{delivery}}/redelivery");
    let its_again = format!("{its}/{open}/redelivery");
    let refused = call(&again, "PUT", &its_again, none.clone(), 409).await;
    assert_eq!(refused["status"], 409);
    receiver.always(OK);
    delivery("delivered").await;
    call(&again, "PUT", &its_again, none.clone(), 200).await;
    let (position, name) = ("/followers/{name}/position", made["id"].clone());
    let its = format!("/followers/subscription-{name}/position");
    call(position, "PUT", &its, json!({"position": "0"}), 200).await;
    call(one, "DELETE", &with, none, 200).await;
}
