//! Incoming hooks: a path at which whoever has it writes to one conversation, without a token.

use serde_json::{Value, json};

use crate::api::calls::{Call, get, post, problem};
use crate::api::rig::Rig;
use crate::support::*;

impl Rig {
    /// Makes a hook; its id and its path.
    async fn hook(&self, hook: Value) -> (u64, String) {
        let made = self.ask(post("/api/v1/incoming-hooks", &hook), 201).await;
        let path = made["path"].as_str().unwrap().to_owned();
        (made["id"].as_u64().unwrap(), path)
    }
}

fn said(path: &str, text: &str) -> Call {
    post(path, &json!({"text": text, "username": "builder"}))
}

#[tokio::test]
async fn whoever_has_the_path_of_a_hook_sends_to_its_conversation_and_to_no_other() {
    let mut rig = Rig::whole(3, &[]).await;
    let address = rig.platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let mut ben = Terminal::login(address, 2, Windows).await;
    let group = make_group(&mut ann, "ours", &[1, 2, 3]).await;
    let wanted = json!({"from": "u1", "to": "u2", "label": "builds"});
    let (id, path) = rig.hook(wanted).await;
    let (_, to_group) = rig.hook(json!({"from": "u1", "group": group})).await;
    assert!(path.starts_with(&format!("/hooks/{id}/")), "{path}");
    let posted = said(&path, "你好, build 42 is green");
    assert_eq!(posted.expect(rig.api, 201).await.json()["id"], 1);
    let message = ben.message().await;
    assert_eq!(text_of(&message), "你好, build 42 is green");
    assert_eq!((message.from_user_id, message.to_session_id), (1, 2));
    said(&to_group, "to all of us").expect(rig.api, 201).await;
    let message = ben.message().await;
    assert_eq!(
        (text_of(&message).as_str(), message.to_session_id),
        ("to all of us", group)
    );
    // Under a key it is one message.
    for _ in 0..2 {
        let once = said(&path, "once").key("k").expect(rig.api, 201).await;
        assert_eq!(once.json()["id"], 2);
    }
    // So it is under the name that a sender of webhooks gives it.
    for _ in 0..2 {
        let named = said(&path, "named").header("webhook-id", "msg_7");
        assert_eq!(named.expect(rig.api, 201).await.json()["id"], 3);
    }
    let odd = said(&path, "odd").header("webhook-id", "a b");
    odd.expect(rig.api, 400).await;
    let list = rig.ask(get("/api/v1/incoming-hooks"), 200).await;
    let list = list["items"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|hook| hook["path"].is_null()), "{list:?}");
    let remove = Call::new("DELETE", &format!("/api/v1/incoming-hooks/{id}"));
    assert_eq!(rig.ask(remove, 200).await["label"], "builds");
    said(&path, "too late").expect(rig.api, 404).await;
}

#[tokio::test]
async fn wrong_paths_of_hooks_are_answered_alike_and_use_no_rate() {
    let rig = Rig::whole(3, &["http_api.hook_rate={burst=2, per_minute=1}"]).await;
    let (id, path) = rig.hook(json!({"from": "u1", "to": "u2"})).await;
    let (_, other) = rig.hook(json!({"from": "u1", "to": "u3"})).await;
    let secret = path.rsplit('/').next().unwrap();
    let wrong = "x".repeat(secret.len());
    let mut answers = Vec::new();
    for path in [
        format!("/hooks/{id}/{wrong}"),
        format!("/hooks/{id}/x"),
        format!("/hooks/999999/{secret}"),
        format!("/hooks/none/{secret}"),
    ] {
        let answer = said(&path, "hello").expect(rig.api, 404).await;
        assert_eq!(problem(&answer), "not-found");
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("request_id");
        answers.push(body);
    }
    assert!(answers.iter().all(|it| *it == answers[0]), "{answers:?}");
    for _ in 0..2 {
        said(&path, "hello").expect(rig.api, 201).await;
    }
    let limited = said(&path, "hello").expect(rig.api, 429).await;
    assert_eq!(problem(&limited), "rate-limited");
    assert!(limited.header("retry-after").is_some());
    said(&other, "hello").expect(rig.api, 201).await;
}

#[tokio::test]
async fn what_is_posted_to_a_hook_has_its_bounds() {
    let set = [
        "http_api.max_hook_body=1KiB",
        "db_proxy.administration.incoming_hooks=1",
    ];
    let rig = Rig::whole(2, &set).await;
    let hook = || json!({"from": "u1", "to": "u2"});
    let (_, path) = rig.hook(hook()).await;
    let full = post("/api/v1/incoming-hooks", &hook()).token(&rig.token);
    assert_eq!(problem(&full.expect(rig.api, 409).await), "conflict");
    let of = |bytes: usize| {
        let around = json!({"text": ""}).to_string().len();
        json!({"text": "x".repeat(bytes - around)}).to_string()
    };
    let json = "application/json";
    for (kind, body, status) in [
        (json, of(1_024), 201),
        (json, of(1_025), 413),
        (json, json!({"text": ""}).to_string(), 422),
        (json, json!({"message": "x"}).to_string(), 422),
        (json, json!({"text": 7}).to_string(), 422),
        (json, json!(["text"]).to_string(), 422),
        (json, "{".to_owned(), 400),
        ("text/plain", "hello".to_owned(), 415),
    ] {
        let call = Call::new("POST", &path).raw(kind, body.as_bytes());
        let answer = call.send(rig.api).await;
        assert_eq!(answer.status, status, "{body}");
    }
    Call::new("GET", &path).expect(rig.api, 405).await;
}
