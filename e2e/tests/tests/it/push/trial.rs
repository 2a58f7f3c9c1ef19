//! Test notices (S-75): an administrator asks for one over HTTP, and is told what the provider said.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::provider::{By, OK, Provider, Reply};
use super::webhook::{is_signed, settings};
use super::*;
use crate::api::calls::{Call, get, problem};

const SCOPES: [&str; 3] = ["users:read", "users:write", "audit:read"];

struct Rig {
    platform: Platform,
    provider: Provider,
    api: SocketAddr,
    token: String,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// Person 2 has an iOS device.
    async fn new(more: &[&str]) -> Self {
        let provider = Provider::start(By::Tcp).await;
        let dir = tempfile::tempdir().unwrap();
        let mut set = settings(&provider, dir.path());
        set.extend(more.iter().map(|it| (*it).to_owned()));
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let mut platform = own_platform(3, &set).await;
        register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
        let api = platform.http_api_address("all");
        let token = platform.token(&SCOPES, &[]).unwrap();
        Self {
            platform,
            provider,
            api,
            token,
            _dir: dir,
        }
    }

    async fn targets(&self, user: &str) -> Vec<Value> {
        let path = format!("/api/v1/users/{user}/push-targets");
        let list = get(&path).token(&self.token).expect(self.api, 200).await;
        list.json()["items"].as_array().unwrap().clone()
    }

    async fn test(&self, id: &str, key: &str) -> Value {
        let call = self.call(id).key(key);
        call.expect(self.api, 200).await.json()
    }

    fn call(&self, id: &str) -> Call {
        let path = format!("/api/v1/users/u2/push-targets/{id}:test");
        Call::new("POST", &path).token(&self.token)
    }
}

#[tokio::test]
async fn a_test_notice_tells_what_the_provider_said_and_is_sent_once_under_its_key() {
    // One failure and the provider is left alone, but not by a test.
    let rig = Rig::new(&["push.failures=1", "push.pause=10m"]).await;
    let target = rig.targets("u2").await.remove(0);
    assert_eq!(target["client"], "ios");
    assert!(!target.to_string().contains(&ios_token(2)));
    let id = target["id"].as_str().unwrap();

    let dry = format!("/api/v1/users/u2/push-targets/{id}:test?dry_run=true");
    let dry = Call::new("POST", &dry).token(&rig.token);
    let dry = dry.expect(rig.api, 200).await.json();
    assert_eq!((&dry["target"], dry.get("verdict")), (&target, None));
    assert!(rig.provider.heard().is_empty());

    rig.provider.next(&[
        OK,
        Reply::Status(410, ""),
        Reply::Status(400, ""),
        Reply::Status(503, ""),
    ]);
    let mut heard = 0;
    for (key, outcome, status) in [
        ("a", "taken", 200),
        ("b", "gone", 410),
        ("c", "rejected", 400),
        ("d", "not-now", 503),
    ] {
        let told = rig.test(id, key).await;
        let expected = json!({"provider": "webhook", "outcome": outcome, "status": status});
        assert_eq!(told["verdict"], expected, "{key}");
        assert_eq!(rig.test(id, key).await, told, "the same under its key");
        heard += 1;
        assert_eq!(rig.provider.heard().len(), heard, "sent once");
    }
    let heard = rig.provider.heard();
    let notice = heard[0].json();
    assert!(is_signed(&heard[0], SECRET));
    assert_eq!(
        (&notice["type"], &notice["user_id"]),
        (&json!("test"), &json!(2))
    );
    assert_eq!(
        (&notice["token"], &notice["badge"]),
        (&json!(ios_token(2)), &json!(0))
    );
    assert_eq!(
        rig.targets("u2").await,
        std::slice::from_ref(&target),
        "it changes nothing"
    );

    let trail = get("/api/v1/audit?action=TestPush").token(&rig.token);
    let trail = trail.expect(rig.api, 200).await.json();
    let rows = trail["items"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "each counts once: {trail}");
    assert_eq!(rows[0]["target"], format!("device {id} of user u2"));
    assert!(rows[0]["after"].to_string().contains("503"), "{trail}");
    rig.platform.imd(&["audit", "verify"]).unwrap();

    let reader = rig.platform.token(&["users:read"], &[]).unwrap();
    let path = format!("/api/v1/users/u2/push-targets/{id}:test");
    let refused = Call::new("POST", &path).token(&reader);
    assert_eq!(
        problem(&refused.expect(rig.api, 403).await),
        "scope-missing"
    );
    let one = format!("/api/v1/users/u2/push-targets/{id}");
    let remove = Call::new("DELETE", &one).token(&rig.token);
    remove.expect(rig.api, 200).await;
    assert!(rig.targets("u2").await.is_empty());
    rig.call(id).expect(rig.api, 404).await;
}

/// A provider that hangs, or is not there, is an answer too; so is a push server that is not.
#[tokio::test]
async fn a_test_notice_ends_in_time_whoever_does_not_answer() {
    let more = [
        "push.attempt_timeout=300ms",
        "db_proxy.follow.test_timeout=2s",
    ];
    let mut rig = Rig::new(&more).await;
    let id = rig.targets("u2").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.provider.always(Reply::Hang);
    let told = rig.test(&id, "hangs").await;
    let expected =
        json!({"provider": "webhook", "outcome": "not-now", "reason": "no answer in time"});
    assert_eq!(told["verdict"], expected);
    // Tests are made beside each other, and a bystander's notice beside them.
    rig.provider
        .answers(|heard| (heard.json()["type"] == "message").then_some(OK));
    let (one, two) = tokio::join!(rig.test(&id, "1"), rig.test(&id, "2"));
    assert_eq!((&one["verdict"], &two["verdict"]), (&expected, &expected));
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(2), "hello").await;
    let is_told =
        |heard: &[super::provider::Heard]| heard.iter().any(|it| it.json()["type"] == "message");
    rig.provider.wait(is_told).await;
}

#[tokio::test]
async fn without_a_provider_a_test_notice_is_refused_in_time() {
    let set = ["db_proxy.follow.test_timeout=300ms"];
    let mut platform = own_platform(2, &set).await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    let (api, token) = (
        platform.http_api_address("all"),
        platform.token(&SCOPES, &[]).unwrap(),
    );
    let list = get("/api/v1/users/u2/push-targets")
        .token(&token)
        .expect(api, 200)
        .await;
    let id = list.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/users/u2/push-targets/{id}:test");
    let refused = Call::new("POST", &path)
        .token(&token)
        .expect(api, 503)
        .await;
    assert_eq!(problem(&refused), "server-unavailable");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("no provider is configured"), "{detail}");
    let trail = get("/api/v1/audit?action=TestPush")
        .token(&token)
        .expect(api, 200)
        .await;
    assert_eq!(trail.json()["items"], json!([]));
}
