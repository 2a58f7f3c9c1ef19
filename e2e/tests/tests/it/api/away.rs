//! Servers that are away: db-proxy behind the API, and the API itself.

use serde_json::json;

use super::apart;
use super::calls::{get, post, problem};
use crate::support::*;

/// S-101: without db-proxy callers are told so; as soon as it is back they are served.
#[tokio::test]
async fn without_db_proxy_the_api_says_so_and_comes_back_with_it() {
    let (mut platform, api, token) = apart(1, &[]).await;
    get("/api/v1/users/u1").token(&token).expect(api, 200).await;
    platform.process("db").unwrap().kill9().unwrap();
    for _ in 0..3 {
        let away = get("/api/v1/users/u1").token(&token).expect(api, 503).await;
        assert_eq!(problem(&away), "db-proxy-unavailable");
        assert!(away.header("retry-after").is_some());
    }
    let away = post("/api/v1/users", &json!({"name": "ann"})).token(&token);
    let away = away.expect(api, 503).await.json();
    assert!(away["detail"].as_str().unwrap().contains("Idempotency-Key"));
    get("/api/v1/version").expect(api, 200).await;
    platform.kill_and_restart("db").await.unwrap();
    im_e2e::wait::until("it is served again", WAIT, || async {
        let answer = get("/api/v1/users/u1").token(&token).send(api).await;
        (answer.status == 200).then_some(())
    })
    .await
    .unwrap();
}

/// S-101: nothing depends on http-api.
#[tokio::test]
async fn killing_the_api_is_felt_by_nobody_who_chats() {
    let (mut platform, api, token) = apart(2, &[]).await;
    let msg = platform.msg_address("msg1");
    let mut one = Terminal::login(msg, 1, Windows).await;
    let mut two = Terminal::login(msg, 2, Windows).await;
    get("/api/v1/users").token(&token).expect(api, 200).await;
    platform.process("api").unwrap().kill9().unwrap();
    for n in 0..20 {
        one.say(with_user(2), &format!("{n}")).await;
        assert_eq!(text_of(&two.message().await), format!("{n}"));
    }
    platform.kill_and_restart("api").await.unwrap();
    get("/api/v1/users").token(&token).expect(api, 200).await;
}
