//! Load reports, readiness, and stopping.

use im_codec::Command;
use im_config::MsgConfig;
use im_config::units::Span;
use im_proto_rpc::v1::load_report::State;
use tokio::net::TcpStream;
use tokio::time::Duration;

use super::rig::*;

#[tokio::test]
async fn load_reports_follow_every_sign_in_and_sign_out() {
    let rig = Rig::start().await;
    until("logins are accepted", || {
        rig.login.last().state() == State::Accepting
    })
    .await;
    let first = rig.login.last();
    assert_eq!(
        (first.server.as_str(), first.ip1.as_str()),
        ("msg-test", "127.0.0.1")
    );
    assert_eq!(
        (first.port, first.ip2.as_str()),
        (u32::from(rig.addr.port()), "127.0.0.1")
    );
    assert_eq!(
        (first.instance, first.revision.as_str()),
        (rig.gateway.env.instance, "test")
    );
    let client = rig.client(7, WINDOWS).await;
    until("the sign-in is reported", || rig.login.last().sessions == 1).await;
    drop(client);
    until("the sign-out is reported", || {
        rig.login.last().sessions == 0
    })
    .await;
    let numbers: Vec<u64> = rig
        .login
        .state()
        .reports
        .iter()
        .map(|report| report.report)
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn a_report_leaves_without_a_change_too() {
    let rig = Rig::start_with(MsgConfig {
        report_interval: Span::millis(20),
        ..config()
    })
    .await;
    let before = rig.login.state().reports.len();
    until("three more reports", || {
        rig.login.state().reports.len() >= before + 3
    })
    .await;
}

#[tokio::test]
async fn a_server_without_its_peers_says_that_it_is_starting() {
    let rig = Rig::start().await;
    rig.db.cut(false);
    until("the link is missed", || rig.dump("db_proxy_link") == false).await;
    until("it says so", || rig.login.last().state() == State::Starting).await;
    let readiness = &rig.context.readiness;
    assert!(!readiness.conditions()["msg_db_proxy_link"]);
    assert!(
        readiness.is_ready(),
        "its clients stay, and others would lose db-proxy too"
    );
    rig.db.accept_again();
    until("it accepts again", || {
        rig.login.last().state() == State::Accepting
    })
    .await;
}

#[tokio::test]
async fn a_stop_tells_the_login_servers_first_and_then_closes_without_a_word() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.login.state().is_deaf = true;
    rig.stop.cancel();
    until("it says that it is leaving", || {
        rig.login.last().state() == State::Draining
    })
    .await;
    // Until that is seen everything goes on, for new clients as well.
    client.expect_silence().await;
    let mut late = rig.client(8, WINDOWS).await;
    rig.login.state().is_deaf = false;
    client.expect_end().await;
    late.expect_end().await;
    let addr = rig.addr;
    rig.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_stop_waits_for_acknowledgements_of_what_was_read() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    client
        .send(Command::MsgData, 1, &text(8, "in flight"))
        .await;
    until("it is in flight", || rig.gateway.db.sizes().1 == 1).await;
    rig.stop.cancel();
    until("the connection is leaving", || {
        let conns = rig.gateway.connections.slice(0, 10).unwrap();
        conns
            .iter()
            .any(|conn| conn.phase() == crate::connection::Phase::Draining)
    })
    .await;
    rig.db.release();
    client.expect_ack(1).await;
    client.expect_end().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_stop_ends_in_time_whatever_others_do() {
    let config = MsgConfig {
        drain_notice: Span::millis(30),
        drain_pending: Span::millis(50),
        ..config()
    };
    let rig = Rig::start_with(config).await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.login.state().is_deaf = true;
    rig.db.state().holds = true;
    client
        .send(Command::MsgData, 1, &text(8, "never answered"))
        .await;
    until("it is in flight", || rig.gateway.db.sizes().1 == 1).await;
    let started = tokio::time::Instant::now();
    let route = rig.route().clone();
    rig.stop().await;
    assert!(started.elapsed().as_millis() < 2_000);
    client.expect_end().await;
    until("the session is taken back", || {
        route.state().sessions.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_server_is_ready_without_a_login_server() {
    let rig = Rig::start_alone(config(), &["route-a"]).await;
    rig.login.cut(false);
    rig.ready().await;
    until("the login server is missed", || {
        rig.dump("login_links") == 0
    })
    .await;
}

#[tokio::test]
async fn connections_are_closed_at_the_rate_and_all_within_the_time() {
    let config = MsgConfig {
        drain_rate: 100,
        drain_time: Span::seconds(10),
        ..config()
    };
    let (ends, took) = ends_of(200, config).await;
    for (n, end) in ends.iter().enumerate() {
        // The first portion leaves at once, and the clients' tasks are woken late.
        let earliest = Duration::from_millis(10 * n.saturating_sub(6) as u64);
        assert!(*end >= earliest, "{n} ended after {end:?}");
    }
    assert!(
        ends[199].as_secs_f64() > 1.9 && took.as_secs_f64() < 5.0,
        "{took:?}"
    );
}

#[tokio::test]
async fn the_time_to_drain_counts_more_than_the_rate() {
    let config = MsgConfig {
        drain_rate: 10,
        drain_time: Span::seconds(1),
        ..config()
    };
    let (ends, took) = ends_of(200, config).await;
    assert!(
        ends[199].as_secs_f64() < 2.0 && took.as_secs_f64() < 4.0,
        "{took:?}"
    );
    assert!(
        ends[100].as_secs_f64() > 0.4,
        "not all at once: {:?}",
        ends[100]
    );
}

/// When each of so many connections ended after the stop, in order, and when the server had stopped.
/// Every second one is logged in.
async fn ends_of(connections: u32, config: MsgConfig) -> (Vec<Duration>, Duration) {
    let rig = Rig::start_with(config).await;
    let mut clients = Vec::new();
    for n in 1..=connections {
        clients.push(if n % 2 == 0 {
            rig.client(n, WINDOWS).await
        } else {
            rig.connect().await
        });
    }
    until("all are in", || rig.dump("connections") == connections).await;
    let start = tokio::time::Instant::now();
    let ends: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                client.expect_end().await;
                start.elapsed()
            })
        })
        .collect();
    rig.stop().await;
    let took = start.elapsed();
    let mut times = Vec::new();
    for end in ends {
        times.push(end.await.unwrap());
    }
    times.sort();
    (times, took)
}

#[tokio::test]
async fn a_server_is_handed_out_while_its_file_names_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("external-endpoint");
    let rig = Rig::start_with(MsgConfig {
        public_endpoint_file: file.clone(),
        ..config()
    })
    .await;
    let reported = |host: &str, port: u32, state: State| {
        let last = rig.login.last();
        last.ip1 == host && last.ip2 == host && last.port == port && last.state() == state
    };
    until("it waits", || reported("", 0, State::Starting)).await;
    std::fs::write(&file, "192.0.2.7:30123").unwrap();
    until("it has an address", || {
        reported("192.0.2.7", 30_123, State::Accepting)
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    // As a mounted volume does it: another file takes the name over.
    let next = dir.path().join("next");
    std::fs::write(&next, "msg-1.chat.example.com:8000\n").unwrap();
    std::fs::rename(&next, &file).unwrap();
    until("it has another address", || {
        reported("msg-1.chat.example.com", 8_000, State::Accepting)
    })
    .await;
    std::fs::write(&file, "nowhere").unwrap();
    until("it has none", || reported("", 0, State::Starting)).await;
    std::fs::write(&file, "192.0.2.7:1").unwrap();
    until("it has one again", || {
        reported("192.0.2.7", 1, State::Accepting)
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    until("it has none again", || reported("", 0, State::Starting)).await;
    client.expect_silence().await;
    rig.stop().await;
}
