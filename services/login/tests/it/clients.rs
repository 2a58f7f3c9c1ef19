//! What clients see.

use std::time::Duration;

use im_config::units::Span;
use im_login::{Port, Refusal};
use tokio::time::timeout;

use super::*;

const REQUEST: &[u8] = b"GET /msg_server HTTP/1.1\r\nHost: login\r\n\r\n";

fn body(answer: &[u8]) -> serde_json::Value {
    let text = std::str::from_utf8(answer).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// S-01.
#[tokio::test]
async fn a_request_names_the_msg_server_and_is_closed() {
    let login = Login::with(None, |config| {
        config.msfs = "http://pictures:8700/".to_owned();
        config.discovery = "http://links/".to_owned();
    })
    .await;
    let _msg = login.msg("m1", 0).await;
    let answer = exchange(login.bound.http, REQUEST).await;
    let text = String::from_utf8(answer.clone()).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nConnection:close\r\nContent-Length:"),
        "{text}"
    );
    assert!(!text.contains("Retry-After"));
    let expected = serde_json::json!({
        "backupIP": "192.0.2.2",
        "code": 0,
        "discovery": "http://links/",
        "msfsBackup": "http://pictures:8700/",
        "msfsPrior": "http://pictures:8700/",
        "msg": "",
        "port": "8000",
        "priorIP": "192.0.2.1",
    });
    assert_eq!(body(&answer), expected);
}

/// S-01: 100 parallel requests.
#[tokio::test]
async fn many_clients_at_once_are_all_answered() {
    let login = Login::start().await;
    let mut msg = login.msg("m1", 0).await;
    let answers = futures::future::join_all((0..100).map(|_| exchange(login.bound.http, REQUEST)));
    for answer in answers.await {
        assert_eq!(body(&answer)["priorIP"], "192.0.2.1");
    }
    msg.report_as(0, State::Draining).await;
    let answer = exchange(login.bound.http, REQUEST).await;
    assert_eq!(
        body(&answer),
        serde_json::json!({"code": 1, "msg": "没有msg_server"})
    );
    assert!(
        String::from_utf8(answer)
            .unwrap()
            .contains("\r\nRetry-After:3\r\n")
    );
}

/// Wire 9.2: the first 11 characters decide.
#[tokio::test]
async fn another_path_is_closed_without_an_answer() {
    let login = Login::start().await;
    let _msg = login.msg("m1", 0).await;
    assert_eq!(
        exchange(login.bound.http, b"GET /other HTTP/1.1\r\n\r\n").await,
        b""
    );
    assert_eq!(
        exchange(login.bound.http, b"what is this?\r\n\r\n").await,
        b""
    );
    let answer = exchange(login.bound.http, b"POST /msg_server?x=1 HTTP/1.1\r\n\r\n").await;
    assert_eq!(body(&answer)["code"], 0);
    assert_eq!(login.metrics.refused(Port::Http, Refusal::Elsewhere), 1);
    assert_eq!(login.metrics.refused(Port::Http, Refusal::Malformed), 1);
}

#[tokio::test]
async fn a_request_may_come_in_pieces() {
    let login = Login::start().await;
    let _msg = login.msg("m1", 0).await;
    let mut stream = login.http().await;
    stream.set_nodelay(true).unwrap();
    for byte in REQUEST {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(body(&read_all(stream).await)["code"], 0);
}

/// Wire 9.2: 1024 bytes are accepted, one more is not.
#[tokio::test]
async fn a_request_longer_than_1024_bytes_is_closed() {
    let login = Login::start().await;
    let _msg = login.msg("m1", 0).await;
    let request = |length: usize| {
        let mut request = b"GET /msg_server HTTP/1.1\r\nX: ".to_vec();
        request.resize(length - 4, b'x');
        request.extend_from_slice(b"\r\n\r\n");
        assert_eq!(request.len(), length);
        request
    };
    let answer = exchange(login.bound.http, &request(1_024)).await;
    assert_eq!(body(&answer)["code"], 0);
    // Closed with a byte unread, so the end may be a reset.
    let mut stream = login.http().await;
    stream.write_all(&request(1_025)).await.unwrap();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    assert_eq!(login.metrics.refused(Port::Http, Refusal::TooLong), 1);
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let login = Login::with(None, |config| config.http_idle = Span::millis(30)).await;
    let mut stream = login.http().await;
    stream.write_all(b"GET /msg_").await.unwrap();
    assert_eq!(read_all(stream).await, b"");
    assert_eq!(login.metrics.refused(Port::Http, Refusal::Late), 1);
}

#[tokio::test]
async fn a_client_that_drips_bytes_is_closed() {
    let login = Login::with(None, |config| {
        config.http_idle = Span::seconds(60);
        config.http_request = Span::millis(50);
    })
    .await;
    let (mut reader, mut writer) = login.http().await.into_split();
    let drip = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut rest = Vec::new();
    drop(reader.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    drip.await.unwrap();
}

/// S-07.
#[tokio::test]
async fn no_connection_stays_behind() {
    let login = Login::start().await;
    let _msg = login.msg("m1", 0).await;
    for _ in 0..20 {
        exchange(login.bound.http, REQUEST).await;
    }
    let open = login.metrics.connections(Port::Http);
    let gone = async {
        while open.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone)
        .await
        .expect("every connection ends");
}

#[tokio::test]
async fn a_client_that_says_nothing_at_all_is_closed_within_seconds() {
    let login = Login::with(None, |config| config.first_bytes = Span::millis(30)).await;
    for (address, port) in [
        (login.bound.http, Port::Http),
        (login.bound.client, Port::Binary),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(read_all(stream).await, b"");
        assert_eq!(login.metrics.refused(port, Refusal::Late), 1);
    }
    let defaults = LoginConfig::default();
    assert!(defaults.first_bytes <= Span::seconds(5));
    assert!(defaults.http_request.max(defaults.client_timeout) <= Span::seconds(10));
}

/// Waits until so many clients hold a place of the port.
async fn until_open(login: &Login, port: Port, count: i64) {
    let open = login.metrics.connections(port);
    let reached = async {
        while open.get() != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), reached)
        .await
        .expect("so many clients");
}

#[tokio::test]
async fn beyond_the_places_of_an_address_the_longest_silent_of_it_goes() {
    let login = Login::with(None, |config| config.max_connections_per_address = 2).await;
    let _msg = login.msg("m1", 0).await;
    let mut first = login.http().await;
    until_open(&login, Port::Http, 1).await;
    let second = login.http().await;
    until_open(&login, Port::Http, 2).await;
    // The first one speaks, so that the second has been silent longer. The end of another one's answer
    // shows that it was heard.
    first.write_all(b"GET /msg_server").await.unwrap();
    tokio::task::yield_now().await;
    let from = "127.0.0.2:0".parse().unwrap();
    let other = connect_from(from, login.bound.http).await;
    assert_eq!(body(&ask(other).await)["code"], 0);
    let third = login.http().await;
    assert_eq!(read_all(second).await, b"");
    assert_eq!(login.metrics.refused(Port::Http, Refusal::Evicted), 1);
    first.write_all(b" HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(body(&read_all(first).await)["code"], 0);
    assert_eq!(body(&ask(third).await)["code"], 0);
}

#[tokio::test]
async fn silent_clients_hold_no_place_against_those_who_ask() {
    let login = Login::with(None, |config| {
        config.max_connections = 8;
        config.first_bytes = Span::seconds(600);
    })
    .await;
    let _msg = login.msg("m1", 0).await;
    let mut silent = Vec::new();
    for host in 1..=16 {
        let from = format!("127.0.{host}.1:0").parse().unwrap();
        silent.push(connect_from(from, login.bound.http).await);
    }
    for host in 1..=20 {
        let from = format!("127.1.{host}.1:0").parse().unwrap();
        let asked = ask(connect_from(from, login.bound.http).await);
        let answer = timeout(Duration::from_secs(2), asked).await.unwrap();
        assert_eq!(body(&answer)["code"], 0, "{host}");
    }
    assert!(login.metrics.refused(Port::Http, Refusal::Evicted) >= 8);
    let open = login.metrics.connections(Port::Http);
    let gone = async {
        while open.get() > 8 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone)
        .await
        .expect("those who were evicted are gone");
    assert_eq!(login.metrics.refused(Port::Http, Refusal::Full), 0);
}

#[tokio::test]
async fn a_port_has_places_of_its_own() {
    let login = Login::with(None, |config| {
        config.max_connections = 4;
        config.first_bytes = Span::seconds(600);
    })
    .await;
    let _msg = login.msg("m1", 0).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(login.bound.client).await.unwrap());
    }
    until_open(&login, Port::Binary, 4).await;
    assert_eq!(body(&ask(login.http().await).await)["code"], 0);
    assert_eq!(login.metrics.refused(Port::Binary, Refusal::Evicted), 0);
    assert_eq!(login.metrics.connections(Port::Binary).get(), 4);
}

async fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    socket.connect(to).await.unwrap()
}

async fn ask(mut stream: TcpStream) -> Vec<u8> {
    stream.write_all(REQUEST).await.unwrap();
    read_all(stream).await
}

/// Wire 9.5: what the original intended and never did.
#[tokio::test]
async fn the_binary_port_answers_and_closes() {
    let login = Login::start().await;
    // Heartbeats and unknown frames before the question are ignored.
    let heartbeat = [0, 0, 0, 16, 0, 1, 0, 0, 0, 7, 7, 1, 0, 1, 0, 0];
    let unknown = [0, 0, 0, 18, 0, 1, 0, 0, 0, 1, 0x77, 0x77, 0, 1, 0, 0, 9, 9];
    let question = [0, 0, 0, 16, 0, 1, 0, 0, 0, 1, 1, 1, 0xab, 0xcd, 0, 0];
    let bytes = [&heartbeat[..], &unknown, &question].concat();
    let nobody = exchange(login.bound.client, &bytes).await;
    assert_eq!(
        nobody,
        [0, 0, 0, 18, 0, 1, 0, 0, 0, 1, 1, 2, 0xab, 0xcd, 0, 0, 8, 1]
    );
    let _msg = login.msg("m1", 0).await;
    let answer = exchange(login.bound.client, &bytes).await;
    assert_eq!(
        answer.get(12..14),
        Some(&[0xab, 0xcd][..]),
        "its sequence number"
    );
    assert_eq!(answer.get(16..18), Some(&[8, 0][..]), "result 0");
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.contains("192.0.2.1") && text.contains("192.0.2.2"),
        "{text}"
    );
}

#[tokio::test]
async fn the_binary_port_closes_those_who_do_not_ask() {
    let login = Login::with(None, |config| config.client_timeout = Span::millis(30)).await;
    let stream = TcpStream::connect(login.bound.client).await.unwrap();
    assert_eq!(read_all(stream).await, b"");
    assert_eq!(login.metrics.refused(Port::Binary, Refusal::Late), 1);
    let mut stream = TcpStream::connect(login.bound.client).await.unwrap();
    stream.write_all(&[0xff; 16]).await.unwrap();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    assert_eq!(login.metrics.refused(Port::Binary, Refusal::TooLong), 1);
}
