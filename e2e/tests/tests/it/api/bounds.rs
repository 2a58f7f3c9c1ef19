//! What meets a bound: rates, bodies, heads, clients that are slow on purpose. Each is told, or closed in the
//! stated time, and whoever stands beside it notices nothing.

use std::time::Duration;

use im_e2e::gauges::Metrics;
use serde_json::json;
use tokio::time::Instant;

use super::calls::{Call, get, post, problem};
use super::{apart, whole};
use crate::pictures::web::{Answer, Connection};

/// Within which a slow client must be closed.
const CUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_token_beyond_its_rate_waits_and_no_other_does() {
    let rate = "http_api.token_rate={burst=3, per_minute=6}";
    let (platform, api, token) = whole(1, &[rate]).await;
    let other = platform.token(&["users:read"], &[]).unwrap();
    for left in ["2", "1", "0"] {
        let answer = get("/api/v1/users").token(&token).expect(api, 200).await;
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left));
        assert!(answer.header("ratelimit-reset").is_some());
    }
    let refused = get("/api/v1/users").token(&token).expect(api, 429).await;
    assert_eq!(problem(&refused), "rate-limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    get("/api/v1/users").token(&other).expect(api, 200).await;
}

#[tokio::test]
async fn bodies_are_taken_to_the_bound_and_said_to_be_json() {
    let (_platform, api, token) = whole(0, &["http_api.max_body=1KiB"]).await;
    let with = |bytes: usize| {
        let mut body = json!({"name": "ann", "signature": ""}).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        let post = Call::new("POST", "/api/v1/users?dry_run=true").token(&token);
        post.raw("application/json", body.as_bytes())
    };
    with(1_024).expect(api, 200).await;
    let refused = with(1_025).expect(api, 413).await;
    assert_eq!(problem(&refused), "body-too-large");
    // Without its length before.
    let call = Call::new("POST", "/api/v1/users").token(&token);
    let call = call
        .header("Transfer-Encoding", "chunked")
        .header("Content-Type", "application/json");
    let mut chunked = call.bytes();
    chunked.extend(b"2000\r\n");
    chunked.extend([b' '; 0x2000]);
    chunked.extend(b"\r\n0\r\n\r\n");
    let answer = crate::pictures::web::send(api, &chunked).await;
    assert_eq!(answer.status, 413);
    let text = Call::new("POST", "/api/v1/users").token(&token);
    let text = text.raw("text/plain", b"{}").expect(api, 415).await;
    assert_eq!(problem(&text), "unsupported-media-type");
}

#[tokio::test]
async fn wrong_json_is_refused_by_the_name_of_its_field() {
    let (_platform, api, token) = whole(0, &[]).await;
    for (body, field) in [
        (json!({"name": 7}), "name"),
        (json!({"name": "ann", "sex": "both"}), "sex"),
        (json!({"name": "ann", "more": 1}), "more"),
        (json!({"nick": "ann"}), "."),
        (json!([]), "."),
    ] {
        let refused = post("/api/v1/users", &body).token(&token);
        let refused = refused.expect(api, 422).await.json();
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
    for body in ["", "{", "nonsense", "{\"name\": \"x\"} {}"] {
        let call = Call::new("POST", "/api/v1/users").token(&token);
        let call = call.raw("application/json", body.as_bytes());
        let refused = call.expect(api, 400).await;
        assert_eq!(problem(&refused), "malformed-request", "{body}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_as_a_problem() {
    let (_platform, api, token) = whole(0, &[]).await;
    let nowhere = get("/api/v2/users").token(&token).expect(api, 404).await;
    assert_eq!(problem(&nowhere), "no-such-endpoint");
    let method = Call::new("PATCH", "/api/v1/users").token(&token);
    assert_eq!(
        problem(&method.expect(api, 405).await),
        "method-not-allowed"
    );
    let nobody = get("/api/v1/users/nobody")
        .token(&token)
        .expect(api, 404)
        .await;
    assert_eq!(problem(&nobody), "not-found");
}

#[tokio::test]
async fn slow_heads_and_bodies_and_long_heads_are_closed_and_others_notice_nothing() {
    let fast = [
        "http_api.head_timeout=1s",
        "http_api.body_grace=1s",
        "http_api.least_rate=4KiB",
    ];
    let (mut platform, api, token) = apart(1, &fast).await;
    let drip = async |bytes: Vec<u8>, at_once: usize| {
        let mut connection = Connection::open(api).await;
        let begin = Instant::now();
        connection.write(&bytes[..at_once]).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        for byte in &bytes[at_once..] {
            ticks.tick().await;
            if connection.try_write(&[*byte]).await.is_err() {
                return;
            }
            assert!(begin.elapsed() < CUT, "it was not cut");
        }
        panic!("it was let through");
    };
    let slow_head = drip(get(&format!("/{}", "x".repeat(1_000))).bytes(), 0);
    let body = json!({"name": "ann", "signature": "x".repeat(1_000)});
    let call = post("/api/v1/users", &body).token(&token).bytes();
    let at_once = call.len() - 900;
    let slow_body = drip(call, at_once);
    let silent = async {
        let mut connection = Connection::open(api).await;
        assert!(connection.read_to_end().await.is_empty());
    };
    let long_head = async {
        let call = get("/api/v1/users").header("X-Long", &"x".repeat(40_000));
        let mut connection = Connection::open(api).await;
        drop(connection.try_write(&call.bytes()).await);
        let answer = Answer::parse(&connection.read_to_end().await);
        assert_eq!(answer.status, 431);
    };
    let bystander = async {
        for _ in 0..40 {
            let begin = Instant::now();
            get("/api/v1/users").token(&token).expect(api, 200).await;
            assert!(begin.elapsed() < Duration::from_secs(5), "it was felt");
        }
    };
    tokio::join!(slow_head, slow_body, silent, long_head, bystander);
    let process = &*platform.process("api").unwrap();
    let closed = async |reason: &str| {
        im_e2e::wait::until("it is counted", CUT, || async {
            let metrics = Metrics::read(process).await.ok()?;
            (metrics.sum("im_http_api_closed_clients", reason) > 0.5).then_some(())
        })
        .await
        .unwrap();
    };
    for reason in ["slow_head", "slow_body", "long_head"] {
        closed(reason).await;
    }
}
