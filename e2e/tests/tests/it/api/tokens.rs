//! Tokens: what each allows, until when, from where, and what strangers learn.

use im_proto_rpc::v1::CreateTokenRequest;
use im_proto_rpc::v1::admin_client::AdminClient;
use serde_json::json;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

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

/// A token that is good for seconds: db-proxy's administrators may ask for one.
async fn short(platform: &Platform, scopes: &[&str], seconds: u32) -> String {
    let address = platform.admin_address().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut admin = AdminClient::new(endpoint.connect().await.unwrap());
    let secret = std::fs::read_to_string(platform.admin_secret_file()).unwrap();
    let mut request = Request::new(CreateTokenRequest {
        owner: "tests".to_owned(),
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
        seconds,
        ..CreateTokenRequest::default()
    });
    let bearer = format!("Bearer {}", secret.trim()).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let actor = MetadataValue::from_bytes(b"tests");
    request.metadata_mut().insert_bin("im-actor-bin", actor);
    admin
        .create_token(request)
        .await
        .unwrap()
        .into_inner()
        .secret
}

/// From its last second on it opens nothing, whatever this server remembers of it; others notice nothing.
#[tokio::test]
async fn an_expired_token_is_refused_at_once_and_ends_what_it_listens_to() {
    let (platform, api, token) = whole(1, &["http_api.token_memory=5s"]).await;
    let scopes = ["users:read", "users:write", "sessions:read", "ops:read"];
    let short = short(&platform, &scopes, 4).await;
    get("/api/v1/users").token(&short).expect(api, 200).await;
    let events = get("/api/v1/events?seconds=60").token(&short);
    let mut listening = std::pin::pin!(events.send(api));
    let refused = async {
        im_e2e::wait::until("the token has expired", WAIT, || async {
            get("/api/v1/users").token(&token).expect(api, 200).await;
            let answer = get("/api/v1/users").token(&short).send(api).await;
            (answer.status == 401).then_some(answer)
        })
        .await
        .unwrap()
    };
    let refused = tokio::select! {
        refused = refused => refused,
        _ = &mut listening => panic!("it ended too early"),
    };
    assert_eq!(problem(&refused), "token-expired");
    let change = post("/api/v1/users", &json!({"name": "eve"})).token(&short);
    assert_eq!(problem(&change.expect(api, 401).await), "token-expired");
    get("/api/v1/users/eve")
        .token(&token)
        .expect(api, 404)
        .await;
    // The stream is looked at now and then, and ends.
    tokio::time::timeout(WAIT, listening)
        .await
        .expect("it ends");
}
