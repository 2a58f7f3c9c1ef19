//! Load reports, readiness, and stopping.

use im_codec::Command;
use im_config::MsgConfig;
use im_proto_rpc::v1::load_report::State;
use tokio::net::TcpStream;

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
        (rig.shared.instance, "test")
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
        report_interval_ms: 20,
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
    assert_eq!(rig.context.readiness.missing(), ["msg_db_proxy_link"]);
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
    until("it is in flight", || rig.shared.db.sizes().1 == 1).await;
    rig.stop.cancel();
    until("the connection is leaving", || {
        let conns = rig.shared.conns().slice(0, 10).unwrap();
        conns
            .iter()
            .any(|conn| conn.phase() == crate::conn::Phase::Draining)
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
        drain_notice_ms: 30,
        drain_pending_ms: 50,
        ..config()
    };
    let rig = Rig::start_with(config).await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.login.state().is_deaf = true;
    rig.db.state().holds = true;
    client
        .send(Command::MsgData, 1, &text(8, "never answered"))
        .await;
    until("it is in flight", || rig.shared.db.sizes().1 == 1).await;
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
