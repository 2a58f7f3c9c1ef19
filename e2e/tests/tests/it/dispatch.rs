//! The dispatcher (S-01 to S-07, S-86).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use im_client::dispatch::{self, DispatchError};
use im_e2e::gauges;
use im_e2e::platform::ports;
use im_e2e::wait;
use im_proto_teamtalk::login::{ImMsgServReq, ImMsgServRsp};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::*;

/// Sends bytes and returns everything until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    match tokio::time::timeout(WAIT, read)
        .await
        .expect("the server closes")
    {
        Ok(_) => {}
        // What was not read of the request may reset the connection behind the answer.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8(answer).unwrap()
}

fn http(platform: &mut Platform, name: &str) -> SocketAddr {
    (platform.address_of(name), ports::LOGIN_HTTP).into()
}

/// The server that the dispatcher names, or its code.
pub(crate) async fn named(url: &str) -> Result<String, i64> {
    match dispatch::lookup(url, None, WAIT).await {
        Ok(endpoint) => Ok(endpoint.address()),
        Err(DispatchError::NoServer { code }) => Err(code),
        Err(error) => panic!("dispatch: {error}"),
    }
}

/// How often each server is named in so many questions.
async fn named_often(url: &str, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts
            .entry(named(url).await.expect("an address"))
            .or_default() += 1;
    }
    counts
}

/// S-01: the keys and types that all clients read, the headers of the original, and an
/// address that works; anything that begins with /msg_server, by any method.
#[tokio::test]
async fn the_http_answer_is_that_of_the_original() {
    let mut platform = own_platform(1, &[]).await;
    let address = http(&mut platform, "all");
    for request in [
        "GET /msg_server HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /msg_server?x=1 HTTP/1.0\r\n\r\n",
        "POST /msg_server_and_more HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ] {
        let answer = exchange(address, request.as_bytes()).await;
        let (head, json) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
        let head = lines
            .collect::<Vec<_>>()
            .join("\n")
            .to_lowercase()
            .replace(": ", ":");
        assert!(head.contains("connection:close"), "{head}");
        assert!(
            head.contains("content-type:text/html;charset=utf-8"),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-length:{}", json.len())),
            "{head}"
        );
        assert!(answer.len() < 1_023, "the original cuts here");
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["code"], 0);
        for key in [
            "priorIP",
            "backupIP",
            "port",
            "msfsPrior",
            "msfsBackup",
            "discovery",
            "msg",
        ] {
            assert!(json[key].is_string(), "{key} is a string in {json}");
        }
        let named = format!(
            "{}:{}",
            json["priorIP"].as_str().unwrap(),
            json["port"].as_str().unwrap()
        );
        Terminal::login(named.parse().unwrap(), 1, Windows).await;
    }
    let begin = Instant::now();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /msg_serve HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!(
            "GET /msg_server HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(2_000)
        ),
    ] {
        assert_eq!(
            exchange(address, request.as_bytes()).await,
            "",
            "closed without an answer"
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
}

/// S-01, S-03: without a msg server the original's code and words at once, with `Retry-After`, on both
/// ports; as soon as one comes, its address, without a restart.
#[tokio::test]
async fn without_msg_servers_clients_are_told_so_until_one_comes() {
    let shape = Shape {
        login: 1,
        msg: 0,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(1)).await.unwrap();
    let address = http(&mut platform, "login1");
    wait::until("the login server", wait::SOON, || async {
        TcpStream::connect(address).await.ok()
    })
    .await
    .unwrap();
    let answer = exchange(address, b"GET /msg_server HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.to_lowercase().contains("\nretry-after:"), "{answer}");
    let json: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(json["code"], 1);
    assert_eq!(json["msg"], "没有msg_server");

    let binary: SocketAddr = (platform.address_of("login1"), ports::LOGIN_BINARY).into();
    let mut terminal = Terminal::connect(binary).await;
    let none: ImMsgServRsp = terminal.ask(Command::MsgServReq, &ImMsgServReq {}).await;
    assert_eq!(
        (none.result_code, none.prior_ip, none.port),
        (1, None, None)
    );

    let peers = platform.peer_settings(&["login1".to_owned()], &["route1".to_owned()]);
    platform
        .start_msg("msg1", &peers, &["msg.public_ip2=\"192.0.2.7\"".to_owned()])
        .unwrap();
    let url = platform.login_url("login1");
    let found = wait::until("the msg server", Duration::from_secs(5), || async {
        named(&url).await.ok()
    })
    .await
    .unwrap();
    let msg = platform.msg_address("msg1");
    assert_eq!(found, msg.to_string());

    // F45, D1: the binary port answers with the same and closes.
    let mut terminal = Terminal::connect(binary).await;
    let some: ImMsgServRsp = terminal.ask(Command::MsgServReq, &ImMsgServReq {}).await;
    assert_eq!(some.result_code, 0);
    assert_eq!(some.prior_ip, Some(msg.ip().to_string()));
    assert_eq!(some.backip_ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(some.port, Some(msg.port().into()));
    terminal.closed().await;
}

/// S-02, S-04: exactly the least loaded; the counts follow logins and logouts.
#[tokio::test]
async fn the_least_loaded_msg_server_is_named() {
    let shape = Shape {
        login: 1,
        msg: 3,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(95))
        .await
        .unwrap();
    let url = platform.login_url("login1");
    let [m1, m2, m3] = ["msg1", "msg2", "msg3"].map(|name| platform.msg_address(name));
    let mut sessions = Vec::new();
    let mut log_in = async |address: SocketAddr, users: std::ops::RangeInclusive<u32>| {
        for user in users {
            sessions.push(Terminal::login(address, user, Windows).await);
        }
    };
    log_in(m1, 1..=50).await;
    log_in(m2, 51..=60).await;
    wait::until("the third only", Duration::from_secs(5), || async {
        (named_often(&url, 30).await == BTreeMap::from([(m3.to_string(), 30)])).then_some(())
    })
    .await
    .unwrap();
    // Clients that come one after the other fill the gaps: 50, 35 at last in both others, ±2.
    let mut by_server = BTreeMap::from([(m1, 50_i32), (m2, 10), (m3, 0)]);
    for user in 61..=95 {
        let address: SocketAddr = named(&url).await.unwrap().parse().unwrap();
        sessions.push(Terminal::login(address, user, Windows).await);
        *by_server.get_mut(&address).unwrap() += 1;
    }
    assert_eq!(by_server[&m1], 50);
    assert!(
        (by_server[&m2] - by_server[&m3]).abs() <= 4,
        "{by_server:?}"
    );
    drop(sessions);
}

/// S-05: a killed msg server is not named any more after seconds, one that stands still after the
/// stated staleness; once it goes on it is named again.
#[tokio::test]
async fn a_msg_server_that_is_gone_or_stands_still_is_not_named() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let options = Options::people(1).set("login.stale_after=2s");
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let url = platform.login_url("login1");
    let second = platform.msg_address("msg2").to_string();
    let only_second = || async {
        (named_often(&url, 20).await == BTreeMap::from([(second.clone(), 20)])).then_some(())
    };
    // One session on the second, so that the first would be preferred.
    let _session = Terminal::login(platform.msg_address("msg2"), 1, Windows).await;
    let first = platform.msg_address("msg1").to_string();
    let first_again = || async { (named(&url).await.as_ref() == Ok(&first)).then_some(()) };
    wait::until("the empty one", Duration::from_secs(5), first_again)
        .await
        .unwrap();
    platform
        .process("msg1")
        .unwrap()
        .signal(Signal::SIGSTOP)
        .unwrap();
    wait::until("not who stands still", Duration::from_secs(10), only_second)
        .await
        .unwrap();
    platform
        .process("msg1")
        .unwrap()
        .signal(Signal::SIGCONT)
        .unwrap();
    wait::until("again", Duration::from_secs(5), first_again)
        .await
        .unwrap();
    platform.process("msg1").unwrap().kill9().unwrap();
    wait::until("not who is dead", Duration::from_secs(5), only_second)
        .await
        .unwrap();
}

/// S-07: nobody stays connected to the dispatcher, and it is not needed for talk.
#[tokio::test]
async fn talk_goes_on_without_the_dispatcher() {
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(3)).await.unwrap();
    let address = platform.msg_address("msg1");
    let mut a = Terminal::login(address, 1, Windows).await;
    let mut b = Terminal::login(address, 2, Windows).await;
    let status = platform
        .process("login1")
        .unwrap()
        .terminate()
        .await
        .unwrap();
    assert!(status.success());
    for n in 1..=20 {
        assert_eq!(a.say(with_user(2), "still here").await.msg_id, n);
        assert_eq!(b.message().await.msg_id, n);
    }
    // New logins are refused as the original does.
    wait::until("result 4", Duration::from_secs(10), || async {
        let mut terminal = Terminal::connect(address).await;
        let answer = terminal.try_login(&login_request(3, Windows)).await;
        (answer.result_code == 4).then_some(())
    })
    .await
    .unwrap();
}

/// S-01: an answer takes less than a second, and of a hundred that ask at once while a server is draining
/// nobody is sent to it.
#[tokio::test]
async fn a_hundred_at_once_are_answered() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let options = Options::people(20).set("msg.drain_time=20s");
    let options = options.set("msg.drain_rate=1");
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let url = platform.login_url("login1");
    let mut times = Vec::new();
    for _ in 0..9 {
        let begin = Instant::now();
        named(&url).await.unwrap();
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    assert!(times[4] < Duration::from_secs(1), "{times:?}");

    // Sessions keep the first one draining: one is closed each second.
    let (first, second) = (platform.msg_address("msg1"), platform.msg_address("msg2"));
    let mut leaving = Vec::new();
    for user in 1..=20 {
        leaving.push(Terminal::login(first, user, Windows).await);
    }
    let draining = platform.process("msg1").unwrap();
    draining.signal(Signal::SIGTERM).unwrap();
    // Asked, not sampled: the second one has fewer sessions and would be named for a while anyway.
    let addresses = platform.process("login1").unwrap().addresses().unwrap();
    let login = gauges::admin_of(&addresses).unwrap();
    wait::until("the first one drains", Duration::from_secs(5), || async {
        let dump = gauges::get(login, "/debug/dump").await.ok()?;
        dump.contains("\"draining\"").then_some(())
    })
    .await
    .unwrap();
    let begin = Instant::now();
    let asked = (0..100).map(|_| named(&url));
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer, Ok(second.to_string()));
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    let pid = platform.process("msg1").unwrap().pid();
    assert!(
        im_e2e::gauges::resident_kib(pid).is_ok(),
        "the first one has not gone yet"
    );
    drop(leaving);
}

/// Whoever sends a request a byte at a time, its head, its body or a frame, is closed when the time of a request is
/// over, and counted; whoever asks meanwhile is answered.
#[tokio::test]
async fn slow_heads_bodies_and_frames_are_closed_and_others_are_answered() {
    let fast = ["login.http_request=1s", "login.client_timeout=1s"];
    let mut platform = own_platform(1, &fast).await;
    let host = platform.address_of("all");
    let drip = async |port: u16, bytes: Vec<u8>| {
        let mut stream = TcpStream::connect((host, port)).await.unwrap();
        let begin = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        for byte in &bytes {
            ticks.tick().await;
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            assert!(begin.elapsed() < WAIT, "it was not closed");
        }
        panic!("it was let through");
    };
    let long = "x".repeat(900);
    let head = format!("GET /msg_server?{long} HTTP/1.1\r\n\r\n").into_bytes();
    let body = format!("POST /msg_server HTTP/1.1\r\nContent-Length: 900\r\n\r\n{long}");
    // Of a length within the bound.
    let frame = [&[0, 0, 3, 0xe8], long.as_bytes()].concat();
    let slow_head = drip(ports::LOGIN_HTTP, head);
    let slow_body = drip(ports::LOGIN_HTTP, body.into_bytes());
    let slow_frame = drip(ports::LOGIN_BINARY, frame);
    let url = platform.login_url("all");
    let bystander = async {
        for _ in 0..30 {
            let begin = Instant::now();
            named(&url).await.unwrap();
            assert!(begin.elapsed() < Duration::from_secs(1), "it was felt");
        }
    };
    tokio::join!(slow_head, slow_body, slow_frame, bystander);
    let process = &*platform.process("all").unwrap();
    let metrics = gauges::Metrics::read(process).await.unwrap();
    let late = |port: &str| {
        let labels = format!("port=\"{port}\",reason=\"late\"");
        metrics.sum("im_login_refused_clients_total", &labels)
    };
    assert_eq!((late("http"), late("binary")), (2.0, 1.0));
}
