//! Servers and sessions as they report them: listed, asked, followed, and missed by nobody when the API is gone
//! (S-101).

use std::collections::BTreeMap;
use std::time::Duration;

use im_e2e::traffic::{Plan, Traffic};
use im_e2e::wait;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::calls::{Call, get, post, problem};
use super::{reporting, whole};
use crate::dispatch::named;
use crate::support::*;

/// Longest time in which people are back elsewhere on a busy two-core machine.
const BACK: Duration = Duration::from_mins(1);

/// Names of servers by role, as the API lists them.
async fn by_role(api: std::net::SocketAddr, token: &str) -> BTreeMap<String, Vec<String>> {
    let list = get("/api/v1/servers").token(token).expect(api, 200).await;
    let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for server in list.json()["items"].as_array().unwrap() {
        let text = |key: &str| server[key].as_str().unwrap().to_owned();
        roles.entry(text("role")).or_default().push(text("name"));
    }
    roles
}

/// One process with everything tells of each of its roles.
#[tokio::test]
async fn every_role_of_one_process_is_a_server_and_pages_of_them_follow_each_other() {
    let (mut platform, api, token) = whole(2, &[]).await;
    let terminal = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    let roles = wait::until("all report", WAIT, || async {
        let roles = by_role(api, &token).await;
        (roles.len() == 8).then_some(roles)
    })
    .await
    .unwrap();
    let expected = [
        "db-proxy", "file", "http-api", "login", "msfs", "msg", "push", "route",
    ];
    assert!(roles.keys().eq(expected), "{roles:?}");
    let (mut path, mut seen) = ("/api/v1/servers?limit=3".to_owned(), Vec::new());
    loop {
        let page = get(&path).token(&token).expect(api, 200).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(
            items
                .iter()
                .map(|it| it["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/servers?limit=3&cursor={next}");
    }
    let mut all: Vec<String> = roles.values().flatten().cloned().collect();
    all.sort();
    assert_eq!(seen, all);
    let forged = format!("{path}0");
    get(&forged).token(&token).expect(api, 400).await;
    let path = format!("/api/v1/servers/{}", roles["msg"][0]);
    wait::until("the session is counted", WAIT, || async {
        let msg = get(&path).token(&token).expect(api, 200).await.json();
        (msg["msg"]["sessions"] == 1 && msg["ready"] == true).then_some(())
    })
    .await
    .unwrap();
    let topology = get("/api/v1/topology").token(&token);
    let topology = topology.expect(api, 200).await.json();
    let kinds = topology["links"].as_array().unwrap();
    let attach = kinds
        .iter()
        .find(|it| it["kind"] == "route_attach")
        .unwrap();
    assert_eq!(
        (&attach["dialed"], &attach["from"]),
        (&json!(1), &json!(["msg"]))
    );
    drop(terminal);
}

/// Cordoned over HTTP, with a row in the audit log; and its sessions go when they are asked to.
#[tokio::test]
async fn a_msg_server_is_cordoned_and_shed_over_http() {
    let (mut platform, api, token) = reporting(8, 2, &[]).await;
    let url = platform.login_url("login1");
    let (first, second) = (platform.msg_address("msg1"), platform.msg_address("msg2"));
    let mut there = Vec::new();
    for user in 1..=3 {
        there.push(Terminal::login(first, user, Windows).await);
    }
    let verb = |verb: &str| format!("/api/v1/servers/msg1:{verb}");
    let cordon = Call::new("POST", &verb("cordon")).token(&token).key("one");
    let judged = Call::new("POST", &verb("cordon?dry_run=true")).token(&token);
    let judged = judged.expect(api, 200).await.json();
    assert_eq!(judged["cordoned"], false);
    let state = cordon.expect(api, 200).await.json();
    assert_eq!(
        (&state["cordoned"], &state["closed_to_newcomers"]),
        (&json!(true), &json!(true))
    );
    cordon.expect(api, 200).await;
    assert_eq!(named(&url).await, Ok(second.to_string()));
    Terminal::connect(first).await.closed().await;
    let reused = Call::new("POST", &verb("uncordon"))
        .token(&token)
        .key("one");
    assert_eq!(problem(&reused.expect(api, 422).await), "key-reused");

    let two = post(&verb("shed"), &json!({"sessions": 2, "per_second": 100}));
    let two = two.token(&token).key("two");
    two.expect(api, 200).await;
    wait::until("two have gone", WAIT, || async {
        let msg = get("/api/v1/servers/msg1")
            .token(&token)
            .expect(api, 200)
            .await;
        let shed = &msg.json()["msg"]["shed"];
        (shed["over"] == true && shed["gone"] == 2).then_some(())
    })
    .await
    .unwrap();
    two.expect(api, 200).await;
    for (sessions, status) in [(json!(1_000_001), 422), (json!("x"), 422)] {
        let wrong = post(&verb("shed"), &json!({"sessions": sessions})).token(&token);
        wrong.expect(api, status).await;
    }
    let uncordon = Call::new("POST", &verb("uncordon")).token(&token);
    assert_eq!(uncordon.expect(api, 200).await.json()["cordoned"], false);
    let sessions = get("/api/v1/sessions?server=msg1").token(&token);
    let sessions = sessions.expect(api, 200).await.json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");

    let audit = get("/api/v1/audit?action=OperateServer").token(&token);
    let audit = audit.expect(api, 200).await.json();
    let rows = audit["items"].as_array().unwrap().iter();
    let told: Vec<_> = rows
        .map(|row| (row["target"].as_str().unwrap(), row["after"].to_string()))
        .collect();
    assert_eq!(told.len(), 3, "each counts once: {told:?}");
    assert!(told.iter().all(|(target, _)| *target == "server msg1"));
    for (row, operation) in told.iter().zip(["uncordon", "shed", "cordon"]) {
        assert!(row.1.contains(operation), "{row:?}");
    }
    let reader = platform.token(&["ops:read"], &[]).unwrap();
    let refused = Call::new("POST", &verb("cordon")).token(&reader);
    assert_eq!(problem(&refused.expect(api, 403).await), "scope-missing");
}

/// Fifty people who talk to each other are shed from a cordoned server over HTTP, and are on the other with every
/// message once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_people_who_are_shed_over_http_are_elsewhere_with_every_message() {
    let (mut platform, api, token) = reporting(50, 2, &[]).await;
    let operate = async |path: &str| {
        let call = Call::new("POST", &format!("/api/v1/servers/{path}"));
        call.token(&token).expect(api, 200).await
    };
    let has = async |server: &str, sessions: u32| {
        wait::until("the sessions are there", BACK, || async {
            let path = format!("/api/v1/servers/{server}");
            let server = get(&path).token(&token).expect(api, 200).await.json();
            (server["msg"]["sessions"] == sessions).then_some(())
        })
        .await
        .unwrap();
    };
    operate("msg2:cordon").await;
    let plan = Plan {
        users: 50,
        pause: Duration::from_secs(1),
        ..Plan::small(&platform.url())
    };
    let traffic = Traffic::start(plan).await.unwrap();
    has("msg1", 50).await;
    traffic.progress(20, BACK).await.unwrap();
    operate("msg2:uncordon").await;
    operate("msg1:cordon").await;
    let order = json!({"sessions": 50, "per_second": 50});
    let shed = post("/api/v1/servers/msg1:shed", &order).token(&token);
    shed.expect(api, 200).await;
    has("msg2", 50).await;
    has("msg1", 0).await;
    traffic.progress(20, BACK).await.unwrap();
    let outcome = traffic.finish(BACK).await.unwrap();
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    assert!(outcome.stored > 40);
    let page = get("/api/v1/sessions?server=msg1").token(&token);
    assert_eq!(page.expect(api, 200).await.json()["items"], json!([]));
}

/// Pages of a thousand sessions on two servers, while others come and go and no route server answers: each
/// that stays is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_are_listed_in_pages_while_they_come_and_go() {
    const STAY: u32 = 1_000;
    let set = [
        "msg.presence.notify=none",
        // However busy this machine is.
        "http_api.monitor.question_timeout=20s",
    ];
    let (mut platform, api, token) = reporting(1_100, 2, &set).await;
    let servers = [platform.msg_address("msg1"), platform.msg_address("msg2")];
    let mut staying = Vec::new();
    for user in 1..=STAY {
        let kind = if user % 10 == 0 { Android } else { Windows };
        let server = servers[user as usize % 2];
        staying.push(Terminal::login(server, user, kind).await);
    }
    let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
    let (until, done) = (stop.clone(), stopped.clone().drop_guard());
    tokio::spawn(async move {
        for user in (STAY + 1..=1_100).cycle() {
            if until.is_cancelled() {
                break;
            }
            drop(Terminal::login(servers[user as usize % 2], user, Windows).await);
        }
        drop(done);
    });
    let walk = async |filter: &str, limit: u32| {
        let first = format!("/api/v1/sessions?limit={limit}{filter}");
        let (mut path, mut seen) = (first.clone(), BTreeMap::<String, u32>::new());
        loop {
            let page = get(&path).token(&token).expect(api, 200).await.json();
            assert_eq!(page["silent"], json!([]), "{page}");
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit as usize);
            for item in items {
                let user = item["user"].as_str().unwrap().to_owned();
                *seen.entry(user).or_default() += 1;
            }
            let Some(next) = page["next"].as_str() else {
                return seen;
            };
            path = format!("{first}&cursor={next}");
        }
    };
    let stayed = |seen: &BTreeMap<String, u32>, users: &mut dyn Iterator<Item = u32>| {
        for user in users {
            assert_eq!(seen.get(&format!("u{user}")), Some(&1), "u{user}");
        }
    };
    for limit in [100, 7, 1_000] {
        let seen = walk("", limit).await;
        stayed(&seen, &mut (1..=STAY));
    }
    let phones = walk("&client=android", 30).await;
    stayed(&phones, &mut (10..=STAY).step_by(10));
    assert_eq!(phones.len(), 100);
    let of_one = walk("&server=msg1", 100).await;
    stayed(&of_one, &mut (2..=STAY).step_by(2));
    assert!(!of_one.contains_key("u1"));
    let somebody = walk("&user=u7", 5).await;
    assert_eq!(somebody, BTreeMap::from([("u7".to_owned(), 1)]));
    get("/api/v1/sessions?user=nobody")
        .token(&token)
        .expect(api, 404)
        .await;

    stop.cancel();
    stopped.cancelled().await;
    // Nothing of a list travels over the link on which messages are published.
    let route = platform.process("route1").unwrap();
    route.freeze().await.unwrap();
    let page = get("/api/v1/sessions?limit=1000").token(&token);
    let page = page.expect(api, 200).await.json();
    route.signal(Signal::SIGCONT).unwrap();
    assert!(page["items"].as_array().unwrap().len() > 900, "{page}");
    let one = get("/api/v1/sessions?user=u2").token(&token);
    let one = one.expect(api, 200).await.json();
    let id = one["items"][0]["id"].as_str().unwrap();
    let kick = Call::new("POST", &format!("/api/v1/sessions/{id}:kick")).token(&token);
    assert_eq!(kick.expect(api, 200).await.json()["sessions"], 1);
    wait::until("it has ended", WAIT, || async {
        (kick.send(api).await.status == 404).then_some(())
    })
    .await
    .unwrap();
    drop(staying);
}

/// A server that is gone is known no more, and a msg server that does not answer is named in the page.
#[tokio::test]
async fn servers_that_are_gone_or_silent_are_told_apart_and_hold_up_nobody() {
    let (mut platform, api, token) = reporting(2, 2, &[]).await;
    let _one = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let msg2 = platform.process("msg2").unwrap();
    msg2.freeze().await.unwrap();
    let page = get("/api/v1/sessions").token(&token);
    let page = page.expect(api, 200).await.json();
    assert_eq!(page["silent"], json!(["msg2"]), "{page}");
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    platform.process("msg2").unwrap().kill9().unwrap();
    wait::until("it is gone", WAIT, || async {
        let gone = get("/api/v1/servers/msg2").token(&token).send(api).await;
        (gone.status == 404).then_some(())
    })
    .await
    .unwrap();
    let login = by_role(api, &token).await["login"][0].clone();
    let cordon = Call::new("POST", &format!("/api/v1/servers/{login}:cordon")).token(&token);
    assert_eq!(problem(&cordon.expect(api, 409).await), "conflict");
}

/// S-101: killing http-api, with everybody reporting to it, is felt by nobody; a new one knows all of them again.
#[tokio::test]
async fn a_killed_api_leaves_its_own_gap_and_knows_all_servers_again() {
    let (mut platform, api, token) = reporting(2, 1, &[]).await;
    let msg = platform.msg_address("msg1");
    let mut one = Terminal::login(msg, 1, Windows).await;
    let mut two = Terminal::login(msg, 2, Windows).await;
    let before = by_role(api, &token).await;
    platform.process("api").unwrap().kill9().unwrap();
    for n in 0..20 {
        one.say(with_user(2), &format!("{n}")).await;
        assert_eq!(text_of(&two.message().await), format!("{n}"));
    }
    platform.kill_and_restart("api").await.unwrap();
    wait::until("all report again", Duration::from_secs(10), || async {
        (by_role(api, &token).await == before).then_some(())
    })
    .await
    .unwrap();
    let sessions = get("/api/v1/sessions").token(&token);
    let sessions = sessions.expect(api, 200).await.json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
}

/// A subscriber of events, and what it has read.
struct Subscriber {
    stream: TcpStream,
    text: String,
}

impl Subscriber {
    async fn start(api: std::net::SocketAddr, token: &str, seconds: u32) -> Self {
        let call = get(&format!("/api/v1/events?seconds={seconds}"));
        Self::ask(api, &call.token(token)).await
    }

    async fn ask(api: std::net::SocketAddr, call: &Call) -> Self {
        let mut stream = TcpStream::connect(api).await.unwrap();
        stream.write_all(&call.bytes()).await.unwrap();
        let mut this = Self {
            stream,
            text: String::new(),
        };
        this.reads("retry: 2000").await;
        assert!(this.text.starts_with("HTTP/1.1 200"), "{}", this.text);
        this
    }

    /// Reads until this has come.
    async fn reads(&mut self, part: &str) {
        let reading = async {
            while !self.text.contains(part) {
                assert!(
                    self.more().await,
                    "the end instead of {part}: {}",
                    self.text
                );
            }
        };
        timeout(WAIT, reading).await.expect(part);
    }

    async fn more(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let read = self.stream.read(&mut bytes).await.unwrap_or(0);
        self.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }
}

/// Twenty subscribers, one of whom reads nothing, are told of sessions and servers, and who chats notices
/// none of them.
#[tokio::test]
async fn twenty_subscribers_are_told_who_comes_and_goes() {
    let (mut platform, api, token) = reporting(4, 2, &[]).await;
    let msg = platform.msg_address("msg1");
    let mut subscribers = Vec::new();
    for _ in 0..20 {
        subscribers.push(Subscriber::start(api, &token, 60).await);
    }
    let _deaf = subscribers.pop();
    let mut one = Terminal::login(msg, 1, Windows).await;
    let mut two = Terminal::login(msg, 2, Windows).await;
    for subscriber in &mut subscribers {
        subscriber.reads("event: session-up").await;
        subscriber.reads("\"user_id\":2").await;
    }
    for n in 0..50 {
        one.say(with_user(2), &format!("{n}")).await;
        assert_eq!(text_of(&two.message().await), format!("{n}"));
    }
    drop(two);
    platform.process("msg2").unwrap().kill9().unwrap();
    for subscriber in &mut subscribers {
        subscriber.reads("event: session-down").await;
        subscriber.reads("event: server-down").await;
        assert!(!subscriber.text.contains("left-out"), "{}", subscriber.text);
    }
    let mut short = Subscriber::start(api, &token, 1).await;
    timeout(WAIT, async { while short.more().await {} })
        .await
        .expect("it ends by itself");
    let without = platform.token(&["ops:read"], &[]).unwrap();
    let refused = get("/api/v1/events").token(&without).expect(api, 403).await;
    assert_eq!(problem(&refused), "scope-missing");
}

/// Nothing happens for longer than a slow client has: nobody is taken for one.
#[tokio::test]
async fn a_subscriber_to_whom_nothing_happens_is_no_slow_client() {
    let (_platform, api, token) = whole(0, &["http_api.body_grace=500ms"]).await;
    let begin = Instant::now();
    let mut subscriber = Subscriber::start(api, &token, 3).await;
    timeout(WAIT, async { while subscriber.more().await {} })
        .await
        .expect("it ends by itself");
    assert!(begin.elapsed() >= Duration::from_secs(3), "not before");
    // The last chunk, which has nothing, says that it was the end.
    assert!(
        subscriber.text.ends_with("0\r\n\r\n"),
        "{}",
        subscriber.text
    );
}

/// So many subscribers as there may be, and no more; a place is free again when one goes.
#[tokio::test]
async fn subscribers_beyond_the_bound_are_told_to_come_back() {
    let (platform, api, token) = whole(0, &["http_api.monitor.subscribers=2"]).await;
    let _one = Subscriber::start(api, &token, 60).await;
    let refused = get("/api/v1/events?seconds=1");
    let own = refused.clone().token(&token).expect(api, 429).await;
    assert_eq!(problem(&own), "rate-limited", "a quarter, and one at least");
    let other = platform.token(&super::EVERYTHING, &[]).unwrap();
    let two = Subscriber::start(api, &other, 60).await;
    let third = platform.token(&super::EVERYTHING, &[]).unwrap();
    let refused = refused.token(&third);
    assert_eq!(problem(&refused.expect(api, 503).await), "overloaded");
    drop(two);
    wait::until("there is room", WAIT, || async {
        (refused.send(api).await.status == 200).then_some(())
    })
    .await
    .unwrap();
    let wrong: Value = get("/api/v1/events?seconds=0")
        .token(&token)
        .expect(api, 400)
        .await
        .json();
    assert_eq!(wrong["detail"], "seconds must be 1 to 86,400");
}

/// Who listens without end is told nothing more once the token is revoked.
#[tokio::test]
async fn who_listens_is_cut_when_the_token_is_revoked() {
    let (platform, api, token) = whole(0, &["http_api.token_memory=0s"]).await;
    let other = platform.token(&super::EVERYTHING, &[]).unwrap();
    let call = get("/api/v1/events").token(&other);
    let mut listening = Subscriber::ask(api, &call).await;
    let id = other.split('_').nth(1).unwrap();
    let revoke = Call::new("DELETE", &format!("/api/v1/tokens/{id}")).token(&token);
    revoke.expect(api, 200).await;
    timeout(WAIT, async { while listening.more().await {} })
        .await
        .expect("it ends");
    assert!(listening.text.ends_with("0\r\n\r\n"), "{}", listening.text);
}
