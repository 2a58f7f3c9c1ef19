//! Traces: the path of messages through the processes, asked for over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use im_e2e::wait;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::calls::{Call, get, post, problem};
use super::reporting;
use crate::support::*;

/// Messages of a trace.
const MESSAGES: usize = 100;

async fn armed(api: SocketAddr, token: &str, order: &Value, key: &str) -> String {
    wait::until("both msg servers report", WAIT, || async {
        let judged = post("/api/v1/traces?dry_run=true", order).token(token);
        let judged = judged.expect(api, 200).await.json();
        (judged["servers"] == json!(["msg1", "msg2"])).then_some(())
    })
    .await
    .unwrap();
    let call = post("/api/v1/traces", order).token(token).key(key);
    let trace = call.expect(api, 200).await.json();
    assert_eq!(trace["servers"], json!(["msg1", "msg2"]), "{trace}");
    trace["id"].as_str().unwrap().to_owned()
}

/// All messages of a trace, page by page, and the last page.
async fn followed(api: SocketAddr, token: &str, trace: &str) -> (Vec<Value>, Value) {
    let path = format!("/api/v1/traces/{trace}?limit=40");
    let (mut next, mut found) = (path.clone(), Vec::new());
    loop {
        let page = get(&next).token(token).expect(api, 200).await.json();
        assert_eq!(page["silent"], json!([]), "{page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 40);
        found.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return (found, page),
        }
    }
}

/// Nanoseconds of a minute, of a time as RFC 3339 has it.
fn time(at: &Value) -> (String, u64) {
    let at = at.as_str().unwrap().trim_end_matches('Z');
    let (seconds, fraction) = at.split_once('.').unwrap_or((at, "0"));
    (
        seconds.to_owned(),
        format!("{fraction:0<9}").parse().unwrap(),
    )
}

/// A trace of a hundred messages from one msg server over db-proxy and route to another: each has every step,
/// in order, at the positions that the log has; others are not followed.
#[tokio::test]
async fn a_trace_of_a_hundred_messages_has_each_step_in_four_processes_at_the_positions_of_the_log()
{
    let (mut platform, api, token) = reporting(4, 2, &["http_api.read_messages=true"]).await;
    let (first, second) = (platform.msg_address("msg1"), platform.msg_address("msg2"));
    let mut one = Terminal::login(first, 1, Windows).await;
    let mut two = Terminal::login(second, 2, Windows).await;
    let mut other = Terminal::login(first, 3, Windows).await;
    one.say(with_user(2), "before").await;
    let order = json!({"user": "u1", "with": "u2"});
    let trace = armed(api, &token, &order, "one").await;
    assert_eq!(
        trace,
        armed(api, &token, &order, "one").await,
        "the same key"
    );
    for n in 0..MESSAGES {
        one.say(with_user(2), &n.to_string()).await;
        if n % 10 == 0 {
            other.say(with_user(2), "not followed").await;
        }
    }
    for _ in 0..MESSAGES + 1 + MESSAGES / 10 {
        two.message().await;
    }
    let steps = |message: &Value| message["steps"].as_array().unwrap().len();
    // The last bytes are noted behind the write.
    let (messages, last) = wait::until("every step is there", WAIT, || async {
        let (messages, last) = followed(api, &token, &trace).await;
        let is_whole = messages.iter().all(|message| steps(message) >= 7);
        (messages.len() == MESSAGES && is_whole).then_some((messages, last))
    })
    .await
    .unwrap();
    assert_eq!(last["followed"], MESSAGES);
    assert_eq!(
        (&last["active"], &last["left_out"]),
        (&json!(true), &json!(0))
    );

    let path = "/api/v1/conversations/users-1-2/messages?limit=200";
    let log = get(path).token(&token).expect(api, 200).await.json();
    let log = log["items"].as_array().unwrap().iter();
    let mut positions: Vec<u64> = log
        .map(|it| it["position"].as_str().unwrap().parse().unwrap())
        .collect();
    positions.sort_unstable();
    assert_eq!(positions.len(), MESSAGES + 1);
    for (message, position) in messages.iter().zip(&positions[1..]) {
        let steps = message["steps"].as_array().unwrap();
        let find = |name: &str| {
            let mut found = steps.iter().filter(|step| step["step"] == name);
            let step = found.next().unwrap_or_else(|| panic!("{name}: {message}"));
            assert!(found.next().is_none(), "{name} twice: {message}");
            step
        };
        assert!(
            steps.is_sorted_by_key(|step| time(&step["at"])),
            "{message}"
        );
        for (name, server) in [
            ("received", "msg1"),
            ("queued", "db-proxy"),
            ("committed", "db-proxy"),
            ("published", "db-proxy"),
            ("routed", "route"),
            ("acknowledged", "msg1"),
            ("written", "msg2"),
        ] {
            let step = find(name);
            let at = if server.starts_with("msg") {
                "server"
            } else {
                "role"
            };
            assert_eq!(step[at], server, "{name}");
            let place = step["position"].as_str();
            let has_place = !["received", "queued"].contains(&name);
            assert_eq!(place, has_place.then_some(position.to_string()).as_deref());
        }
        // One machine, one clock.
        for way in [
            &[
                "received",
                "queued",
                "committed",
                "published",
                "routed",
                "written",
            ][..],
            &["committed", "acknowledged"],
        ] {
            let times = way.iter().map(|name| time(&find(name)["at"]));
            assert!(times.is_sorted(), "{message}");
        }
        assert_eq!(find("received")["user_id"], 1);
        assert_eq!(find("routed")["servers"], 1);
        let written = find("written");
        assert_eq!(
            (&written["user_id"], &written["waiting_bytes"]),
            (&json!(2), &json!(0))
        );
    }
    let audit = get("/api/v1/audit?action=OperateServer").token(&token);
    let audit = audit.expect(api, 200).await.json();
    let rows = audit["items"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{audit}");
    assert_eq!(rows[0]["target"], format!("trace {trace}"));
    assert!(rows[0]["after"].to_string().contains("u2"), "{audit}");
}

/// A trace ends by itself, and the http-api server that armed it and is killed is missed by nobody.
#[tokio::test]
async fn a_trace_ends_by_itself_and_needs_no_http_api_server() {
    let (mut platform, api, token) = reporting(2, 2, &[]).await;
    let mut one = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let short = armed(api, &token, &json!({"seconds": 1}), "short").await;
    wait::until("it is over", WAIT, || async {
        let (_, last) = followed(api, &token, &short).await;
        (last["active"] == false).then_some(())
    })
    .await
    .unwrap();
    one.say(with_user(2), "nobody follows this").await;
    let long = armed(api, &token, &json!({"user": "u1"}), "long").await;
    platform.process("api").unwrap().kill9().unwrap();
    one.say(with_user(2), "followed").await;
    platform.kill_and_restart("api").await.unwrap();
    super::reported(api, &token, 5).await;
    wait::until("what was followed is told", WAIT, || async {
        let (messages, last) = followed(api, &token, &long).await;
        (messages.len() == 1 && last["active"] == true).then_some(())
    })
    .await
    .unwrap();
    let (messages, last) = followed(api, &token, &short).await;
    assert_eq!((messages.len(), &last["followed"]), (0, &json!(0)));
    let nobody = get("/api/v1/traces/000001").token(&token);
    assert_eq!(problem(&nobody.expect(api, 404).await), "not-found");
    let reader = platform.token(&["ops:read"], &[]).unwrap();
    let refused = post("/api/v1/traces", &json!({})).token(&reader);
    assert_eq!(problem(&refused.expect(api, 403).await), "scope-missing");
}

/// A trace that is stopped follows nothing more at any msg server within a second, makes room, keeps what it has
/// found, and does not begin anew with the request that armed it. A dry run changes nothing.
#[tokio::test]
async fn a_trace_is_stopped_everywhere_within_a_second_and_keeps_what_it_has_found() {
    let (mut platform, api, token) = reporting(3, 2, &[]).await;
    let mut one = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let mut two = Terminal::login(platform.msg_address("msg2"), 2, Windows).await;
    let all = armed(api, &token, &json!({"user": "u1"}), "all").await;
    for n in 2..=4 {
        armed(api, &token, &json!({"user": "u3"}), &n.to_string()).await;
    }
    let more = post("/api/v1/traces", &json!({})).token(&token).key("5");
    assert_eq!(problem(&more.expect(api, 409).await), "conflict");
    one.say(with_user(2), "from one server").await;
    two.say(with_user(1), "from the other").await;

    let path = format!("/api/v1/traces/{all}");
    let dry = Call::new("DELETE", &format!("{path}?dry_run=true")).token(&token);
    let dry = dry.expect(api, 200).await.json();
    let found = |active: bool| {
        json!({"id": all, "active": active, "followed": 2, "left_out": 0,
            "servers": ["msg1", "msg2"], "silent": []})
    };
    assert_eq!(dry, found(true));
    let reader = platform.token(&["ops:read"], &[]).unwrap();
    let refused = Call::new("DELETE", &path)
        .token(&reader)
        .expect(api, 403)
        .await;
    assert_eq!(problem(&refused), "scope-missing");
    let begin = Instant::now();
    let stop = Call::new("DELETE", &path).token(&token);
    let stopped = stop.expect(api, 200).await.json();
    assert_eq!(stopped, found(false));
    assert!(begin.elapsed() < Duration::from_secs(1));

    // Whoever repeats the request that armed it does not undo that.
    armed(api, &token, &json!({"user": "u1"}), "all").await;
    one.say(with_user(2), "nobody follows this").await;
    two.say(with_user(1), "nor this").await;
    let (messages, last) = wait::until("what it has found stays", WAIT, || async {
        let (messages, last) = followed(api, &token, &all).await;
        let is_written = |message: &Value| message["steps"].to_string().contains("written");
        messages.iter().all(is_written).then_some((messages, last))
    })
    .await
    .unwrap();
    assert_eq!((messages.len(), &last["followed"]), (2, &json!(2)));
    assert_eq!(last["active"], false);
    let again = stop.expect(api, 200).await.json();
    assert_eq!(again, found(false), "as often as somebody likes");
    armed(api, &token, &json!({}), "5").await;

    let audit = get("/api/v1/audit?action=OperateServer").token(&token);
    let audit = audit.expect(api, 200).await.json();
    let rows = audit["items"].as_array().unwrap().iter();
    let stops = rows.filter(|row| row["after"].to_string().contains("stop-trace"));
    let targets: Vec<_> = stops.map(|row| row["target"].clone()).collect();
    assert_eq!(
        targets,
        [format!("trace {all}"), format!("trace {all}")],
        "{audit}"
    );
    let nobody = Call::new("DELETE", "/api/v1/traces/000001").token(&token);
    assert_eq!(problem(&nobody.expect(api, 404).await), "not-found");
}
