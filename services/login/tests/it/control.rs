//! Msg servers and their reports.

use std::time::Duration;

use im_config::LinkConfig;
use im_rpc::grpc::GrpcDialer;
use im_rpc::{Dial, LinkMetrics, LoginReport, Secret};
use tokio::time::{Instant, timeout};

use super::*;

/// Asks by HTTP. Returns the code and the address.
async fn ask(login: &Login) -> (u64, String) {
    let answer = exchange(login.bound.http, b"GET /msg_server HTTP/1.1\r\n\r\n").await;
    let text = String::from_utf8(answer).unwrap();
    let body: serde_json::Value =
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    let address = body["priorIP"].as_str().unwrap_or_default().to_owned();
    (body["code"].as_u64().unwrap(), address)
}

async fn until_code(login: &Login, code: u64) {
    let asking = async { while ask(login).await.0 != code {} };
    timeout(Duration::from_secs(10), asking)
        .await
        .expect("the answer changes");
}

/// S-03, S-05.
#[tokio::test]
async fn a_msg_server_is_known_while_its_stream_lives() {
    let login = Login::start().await;
    assert_eq!(ask(&login).await.0, 1);
    assert!(!login.context.readiness.is_ready());
    let msg = login.msg("m1", 0).await;
    assert_eq!(ask(&login).await, (0, "192.0.2.1".to_owned()));
    assert!(login.context.readiness.is_ready());
    drop(msg);
    until_code(&login, 1).await;
    assert!(
        login.context.readiness.is_ready(),
        "nobody is an answer, too"
    );
}

#[tokio::test]
async fn only_a_report_that_asks_for_it_is_confirmed() {
    let login = Login::start().await;
    let mut msg = login.msg("msg-1", 0).await;
    for sessions in 1..=3 {
        msg.send(sessions, State::Accepting, false).await;
    }
    // The next answer is to this one.
    msg.report_as(4, State::Draining).await;
}

/// S-03 over the control port, with the installation's secret.
#[tokio::test]
async fn msg_servers_report_over_the_control_port() {
    let secret = Secret::generate();
    let guard = Guard::new(&secret, LinkMetrics::default());
    let login = Login::with(Some(guard), |_| {}).await;
    let address = login.bound.control.unwrap().to_string();
    let dial = |secret: &Secret| {
        let endpoint = im_discovery::Endpoint {
            name: "login".to_owned(),
            address: address.clone(),
        };
        GrpcDialer::<LoginReport>::new(endpoint, secret.clone(), LinkConfig::default())
    };
    assert!(dial(&Secret::generate()).dial().await.is_err());
    let link = dial(&secret).dial().await.unwrap();
    let mut msg = MsgServer {
        link,
        server: "m1".to_owned(),
        number: 0,
    };
    msg.report(3).await;
    assert_eq!(ask(&login).await.0, 0);
    let dump = login.context.dumps.dump();
    assert_eq!(dump["login"]["servers"][0]["sessions"], 3);
    assert_eq!(dump["login"]["servers"][0]["state"], "accepting");
    drop(msg);
    until_code(&login, 1).await;
    login.stop.cancel();
    timeout(Duration::from_secs(10), login.task)
        .await
        .unwrap()
        .unwrap();
}

/// S-02 through the ports.
#[tokio::test]
async fn sixty_logins_even_out_the_load() {
    let login = Login::start().await;
    let mut servers = Vec::new();
    for (name, sessions) in [("m1", 50), ("m2", 10), ("m3", 0)] {
        servers.push((login.msg(name, sessions).await, sessions));
    }
    // All of them have one address here, so the table is asked instead of the port.
    let chosen = |login: &Login| {
        let mut table = login.table.lock().unwrap();
        let before = table.dump(Instant::now());
        table.choose(Instant::now());
        let after = table.dump(Instant::now());
        let changed = before.servers.iter().zip(&after.servers);
        changed
            .into_iter()
            .position(|(before, after)| before.pending != after.pending)
            .unwrap()
    };
    for _ in 0..30 {
        assert_eq!(chosen(&login), 2);
    }
    for _ in 0..60 {
        let (server, sessions) = &mut servers[chosen(&login)];
        *sessions += 1;
        server.report(*sessions).await;
    }
    let ends: Vec<u32> = servers.iter().map(|(_, sessions)| *sessions).collect();
    assert_eq!(ends, [50, 35, 35]);
}

#[tokio::test]
async fn metrics_follow_the_table() {
    let login = Login::with(None, |config| config.labelled_servers = 1).await;
    let _first = login.msg("m1", 5).await;
    let second = login.msg("m2", 6).await;
    let shows = async |wanted: &str| {
        let showing = async {
            while !login.context.metrics.encode().unwrap().contains(wanted) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), showing)
            .await
            .unwrap_or_else(|_| panic!("{wanted}"));
    };
    shows("im_login_server_sessions{server=\"m1\"} 5").await;
    shows("im_login_servers{state=\"accepting\"} 2").await;
    assert!(
        !login
            .context
            .metrics
            .encode()
            .unwrap()
            .contains("server=\"m2\"")
    );
    drop(second);
    shows("im_login_servers{state=\"accepting\"} 1").await;
}

#[tokio::test]
async fn a_stop_ends_clients_and_streams() {
    let login = Login::start().await;
    let mut msg = login.msg("m1", 0).await;
    let client = login.http().await;
    login.stop.cancel();
    timeout(Duration::from_secs(10), login.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(msg.link.rx.recv().await, None);
    // In the kernel's queue or taken: it ends.
    drop(read_some(client).await);
    assert!(TcpStream::connect(login.bound.http).await.is_err());
}

async fn read_some(mut stream: TcpStream) -> std::io::Result<usize> {
    stream.read(&mut [0; 16]).await
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let login = Login::start().await;
    let taken = login.bound.http.to_string();
    let config = LoginConfig {
        http_listen: taken.clone(),
        ..LoginConfig::default()
    };
    let error = Server::bind(config, Deps::default()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, format!("listen on {taken}"));
}
