//! Tokens: what each allows, until when, from where, and what strangers learn.

use serde_json::json;

use super::calls::{Call, get, post, problem};
use super::whole;
use crate::support::*;

#[tokio::test]
async fn a_token_allows_what_its_scopes_say_and_makes_none_that_allows_more() {
    let (platform, api, _) = whole(1, &[]).await;
    let reader = platform
        .token(&["users:read", "tokens:write"], &[])
        .unwrap();
    get("/api/v1/users").token(&reader).expect(api, 200).await;
    let me = get("/api/v1/me")
        .token(&reader)
        .expect(api, 200)
        .await
        .json();
    assert_eq!(me["scopes"], json!(["tokens:write", "users:read"]));
    let refused = post("/api/v1/users", &json!({"name": "ann"})).token(&reader);
    let refused = refused.expect(api, 403).await;
    assert_eq!(problem(&refused), "scope-missing");
    let more = json!({"owner": "x", "scopes": ["users:read", "users:write"]});
    let refused = post("/api/v1/tokens", &more).token(&reader);
    let refused = refused.expect(api, 403).await;
    assert_eq!(refused.json()["errors"][0]["field"], "scopes[1]");
    let less = json!({"owner": "x", "scopes": ["users:read"], "days": 1});
    let made = post("/api/v1/tokens", &less).token(&reader);
    let made = made.expect(api, 201).await.json();
    let secret = made["secret"].as_str().unwrap();
    get("/api/v1/users").token(secret).expect(api, 200).await;
}

#[tokio::test]
async fn who_shows_no_good_token_is_told_so_and_nothing_else() {
    let (platform, api, token) = whole(0, &[]).await;
    let kind = async |call: Call, status: u16| problem(&call.expect(api, status).await);
    assert_eq!(kind(get("/api/v1/users"), 401).await, "token-missing");
    for wrong in [
        "x",
        "imt_1",
        &format!("{token}x"),
        &token.replace("imt_", "imt_9"),
    ] {
        let call = get("/api/v1/users").token(wrong);
        assert_eq!(kind(call, 401).await, "token-invalid", "{wrong}");
    }
    let (rest, last) = token.split_at(token.len() - 1);
    let other = if last == "a" { "b" } else { "a" };
    let call = get("/api/v1/users").token(&format!("{rest}{other}"));
    assert_eq!(kind(call, 401).await, "token-invalid", "one character");
    let far = ["--address", "192.0.2.0/24"];
    let far = platform.token(&["users:read"], &far).unwrap();
    let call = get("/api/v1/users").token(&far);
    assert_eq!(kind(call, 403).await, "address-not-allowed");
}

/// A revoked token is refused within `http_api.token_memory`, at the server that revoked it at once.
#[tokio::test]
async fn a_revoked_token_is_refused_within_the_stated_time() {
    let (platform, api, token) = whole(0, &["http_api.token_memory=1s"]).await;
    let id = |token: &str| token.split('_').nth(1).unwrap().to_owned();
    let first = platform.token(&["users:read"], &[]).unwrap();
    get("/api/v1/users").token(&first).expect(api, 200).await;
    let path = format!("/api/v1/tokens/{}", id(&first));
    Call::new("DELETE", &path)
        .token(&token)
        .expect(api, 200)
        .await;
    let refused = get("/api/v1/users").token(&first).expect(api, 401).await;
    assert_eq!(problem(&refused), "token-revoked");

    let second = platform.token(&["users:read"], &[]).unwrap();
    get("/api/v1/users").token(&second).expect(api, 200).await;
    platform.imd(&["token", "revoke", &id(&second)]).unwrap();
    im_e2e::wait::until("the token is refused", WAIT, || async {
        let answer = get("/api/v1/users").token(&second).send(api).await;
        (answer.status == 401).then_some(())
    })
    .await
    .unwrap();
}

/// A refusal of a token that somebody has is a row of the audit log.
#[tokio::test]
async fn a_refusal_is_written_down_with_whose_token_it_was() {
    let (platform, api, token) = whole(0, &[]).await;
    let reader = platform.token(&["users:read"], &[]).unwrap();
    let refused = Call::new("DELETE", "/api/v1/users/nobody").token(&reader);
    let refused = refused.expect(api, 403).await;
    let row = im_e2e::wait::until("the row is there", WAIT, || async {
        let audit = get("/api/v1/audit?limit=20").token(&token).send(api).await;
        let rows = audit.json()["items"].as_array().cloned()?;
        rows.into_iter().find(|row| row["outcome"] == "refused")
    })
    .await
    .unwrap();
    assert_eq!(row["request_id"].as_str(), refused.header("x-request-id"));
    assert_eq!(row["actor"], "tests");
}
