//! A request under an idempotency key counts once.

use serde_json::json;

use super::calls::{get, post, problem};
use super::{apart, whole};
use crate::support::*;

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_changes_nothing() {
    let (_platform, api, token) = whole(1, &[]).await;
    let group = json!({"name": "The team", "owner": "u1"});
    let call = post("/api/v1/groups", &group).token(&token).key("once");
    let first = call.expect(api, 201).await;
    assert_eq!(first.header("idempotency-replayed"), None);
    for _ in 0..3 {
        let again = call.expect(api, 201).await;
        assert_eq!(again.json()["id"], first.json()["id"]);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    let groups = get("/api/v1/groups").token(&token).expect(api, 200).await;
    assert_eq!(groups.json()["items"].as_array().unwrap().len(), 1);
    let other = json!({"name": "Another team", "owner": "u1"});
    let other = post("/api/v1/groups", &other).token(&token).key("once");
    assert_eq!(problem(&other.expect(api, 422).await), "key-reused");
    for wrong in ["", &"x".repeat(129)] {
        let call = post("/api/v1/groups", &group).token(&token).key(wrong);
        call.expect(api, 400).await;
    }
}

/// C15 in small: a caller that repeats its request until it is answered, while db-proxy and http-api are
/// killed, has made one change and one row of the audit log.
#[tokio::test]
async fn a_request_repeated_over_kills_is_one_change_and_one_row() {
    let (mut platform, api, token) = apart(1, &[]).await;
    for round in 0..5 {
        let group = json!({"name": format!("team {round}"), "owner": "u1"});
        let key = format!("round-{round}");
        let call = post("/api/v1/groups", &group).token(&token).key(&key);
        let hurried = call.try_send(api);
        let killed = async {
            let victim = if round % 2 == 0 { "db" } else { "api" };
            let process = platform.process(victim).unwrap();
            process.restart().unwrap();
            platform.ready(victim).await.unwrap();
        };
        let (_, ()) = tokio::join!(hurried, killed);
        im_e2e::wait::until("it is answered", WAIT, || async {
            let answer = call.try_send(api).await?;
            (answer.status == 201).then_some(())
        })
        .await
        .unwrap();
        call.expect(api, 201).await;
        let found = get(&format!("/api/v1/groups?matching=team%20{round}")).token(&token);
        let found = found.expect(api, 200).await.json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    }
    let audit = get("/api/v1/audit?action=CreateGroup").token(&token);
    let audit = audit.expect(api, 200).await.json();
    let rows = audit["items"].as_array().unwrap().iter();
    assert_eq!(
        rows.filter(|row| row["outcome"] == "done").count(),
        5,
        "{audit}"
    );
}
