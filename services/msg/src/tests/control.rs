//! What administrators ask of a running server: taking nobody new, and letting sessions go.

use im_codec::Command;
use im_config::MsgConfig;
use im_config::units::Span;
use im_proto_rpc::v1::load_report::State;
use im_proto_rpc::v1::{MonitorSessions, SessionsAsk, ShedRequest};
use im_proto_teamtalk::message::{ImClientTimeReq, ImClientTimeRsp};
use tokio::time::{Duration, Instant};

use super::rig::*;
use crate::connection::Phase;
use crate::metrics::Refusal;
use crate::server::ControlError;

fn order(key: &str, sessions: u32, per_second: u32) -> ShedRequest {
    ShedRequest {
        key: key.to_owned(),
        sessions,
        per_second,
    }
}

/// Logs in as many people, from 1 on.
async fn people(rig: &Rig, count: u32) -> Vec<Client> {
    let mut clients = Vec::new();
    for user in 1..=count {
        clients.push(rig.client(user, WINDOWS).await);
    }
    clients
}

async fn is_over(rig: &Rig) {
    until("the order is over", || rig.dump("shed")["over"] == true).await;
}

#[tokio::test]
async fn a_cordoned_server_takes_nobody_new_and_keeps_those_who_are_there() {
    let rig = Rig::start().await;
    let mut there = rig.client(7, WINDOWS).await;
    // Connected, and not a client yet.
    let mut early = rig.connect().await;
    until("both are in", || rig.dump("connections") == 2).await;
    let state = rig.control.cordon().await;
    assert!(state.cordoned && state.closed && state.sessions == 1);
    assert_eq!(rig.login.last().state(), State::Cordoned);
    let mut late = rig.connect().await;
    late.expect_end().await;
    let login = login_req("u8", WINDOWS);
    early.send(Command::LoginReq, 1, &login).await;
    early.expect_end().await;
    let metrics = &rig.gateway.env.metrics;
    assert_eq!(metrics.refusals(Refusal::Cordoned), 2);
    assert_eq!(metrics.cordoned.get(), 1);
    assert_eq!(rig.dump("cordoned"), true);
    there.expect_silence().await;
    assert!(rig.context.readiness.is_ready(), "its clients need it");

    let again = rig.control.cordon().await;
    assert!(again.cordoned && again.closed, "asked twice");
    let state = rig.control.uncordon();
    assert!(!state.cordoned && !state.closed);
    assert_eq!(metrics.cordoned.get(), 0);
    until("it accepts again", || {
        rig.login.last().state() == State::Accepting
    })
    .await;
    let mut new = rig.client(9, WINDOWS).await;
    new.expect_silence().await;
    assert!(!rig.control.uncordon().cordoned, "asked twice");
    rig.stop().await;
}

#[tokio::test]
async fn newcomers_are_let_in_until_the_login_servers_have_heard_of_the_cordon() {
    let rig = Rig::start_with(MsgConfig {
        drain_notice: Span::seconds(20),
        report_interval: Span::millis(10),
        ..config()
    })
    .await;
    rig.login.state().is_deaf = true;
    let control = rig.control.clone();
    let cordoning = tokio::spawn(async move { control.cordon().await });
    until("it says that it is cordoned", || {
        rig.login.last().state() == State::Cordoned
    })
    .await;
    // Sent here before the login server knew.
    let mut sent = rig.client(7, WINDOWS).await;
    assert!(!cordoning.is_finished());
    rig.login.state().is_deaf = false;
    assert!(cordoning.await.unwrap().closed);
    rig.connect().await.expect_end().await;
    sent.expect_silence().await;
    // Each cordon is heard anew.
    rig.control.uncordon();
    until("it accepts again", || {
        rig.login.last().state() == State::Accepting
    })
    .await;
    rig.login.state().is_deaf = true;
    let control = rig.control.clone();
    let cordoning = tokio::spawn(async move { control.cordon().await });
    until("it says so again", || {
        rig.login.last().state() == State::Cordoned
    })
    .await;
    let mut sent = rig.client(8, WINDOWS).await;
    assert!(!cordoning.is_finished());
    rig.control.uncordon();
    rig.login.state().is_deaf = false;
    let state = cordoning.await.unwrap();
    assert!(!state.closed, "uncordoned meanwhile");
    sent.expect_silence().await;
}

#[tokio::test]
async fn a_cordon_that_no_login_server_hears_of_closes_after_the_notice() {
    let rig = Rig::start_with(MsgConfig {
        drain_notice: Span::millis(50),
        ..config()
    })
    .await;
    rig.login.state().is_deaf = true;
    assert!(rig.control.cordon().await.closed);
    rig.connect().await.expect_end().await;
}

#[tokio::test]
async fn the_idlest_go_first_and_the_same_order_counts_once() {
    let rig = Rig::start().await;
    let mut clients = people(&rig, 12).await;
    let last = rig.gateway.env.now();
    until("the clock goes on", || rig.gateway.env.now() > last + 1).await;
    // Some ask for something; the heartbeat of the others does not count.
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 == 0 {
            let request = ImClientTimeReq {};
            client.send(Command::ClientTimeReq, 3, &request).await;
            let _: ImClientTimeRsp = client.expect(Command::ClientTimeRsp, 3).await;
        } else {
            client.expect_silence().await;
        }
    }
    let state = rig.control.shed(order("a", 8, 1_000)).unwrap();
    assert_eq!(state.shed.unwrap().order, Some(order("a", 8, 1_000)));
    is_over(&rig).await;
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 == 0 {
            client.expect_silence().await;
        } else {
            client.expect_end().await;
        }
    }
    let again = rig.control.shed(order("a", 8, 1_000)).unwrap();
    let shed = again.shed.unwrap();
    assert_eq!((shed.chosen, shed.gone, shed.ended), (8, 8, 0));
    assert!(shed.over, "nothing new begins");
    assert_eq!(rig.gateway.env.metrics.shed_sessions.get(), 8);
    assert_eq!(rig.gateway.env.metrics.shedding.get(), 0);
    let other = rig.control.shed(order("a", 9, 1_000)).unwrap_err();
    assert_eq!(other, ControlError::OtherUnderKey);
    // More than there are.
    rig.control.shed(order("b", 1_000_000, 1_000)).unwrap();
    is_over(&rig).await;
    until("nobody is left", || rig.dump("sessions") == 0).await;
}

#[tokio::test]
async fn orders_out_of_bounds_are_refused() {
    let rig = Rig::start().await;
    for (request, error) in [
        (order("", 1, 1), ControlError::Key),
        (order(&"k".repeat(129), 1, 1), ControlError::Key),
        (order("k", 1_000_001, 1), ControlError::Sessions),
        (order("k", 1, 0), ControlError::Rate),
        (order("k", 1, 100_001), ControlError::Rate),
    ] {
        assert_eq!(rig.control.shed(request.clone()), Err(error), "{request:?}");
    }
    let most = order(&"k".repeat(128), 1_000_000, 100_000);
    assert!(rig.control.shed(most).is_ok());
}

#[tokio::test]
async fn one_order_is_under_way_and_can_be_ended() {
    let rig = Rig::start().await;
    let mut clients = people(&rig, 5).await;
    rig.control.shed(order("slow", 5, 1)).unwrap();
    until("the first has gone", || rig.dump("shed")["gone"] == 1).await;
    let busy = rig.control.shed(order("other", 1, 1)).unwrap_err();
    assert_eq!(busy, ControlError::Busy);
    rig.control.shed(order("", 0, 0)).unwrap();
    is_over(&rig).await;
    let gone = rig.dump("shed")["gone"].as_u64().unwrap();
    assert!(gone < 4, "{gone} in no time");
    until("the rest is there", || rig.dump("sessions") == 5 - gone).await;
    clients.last_mut().unwrap().expect_silence().await;
    rig.control.shed(order("other", 1, 1_000)).unwrap();
    is_over(&rig).await;
}

#[tokio::test]
async fn nobody_is_shed_before_what_they_sent_is_acknowledged() {
    let rig = Rig::start_with(MsgConfig {
        drain_pending: Span::millis(50),
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    let message = text(8, "in flight");
    client.send(Command::MsgData, 1, &message).await;
    until("it is in flight", || rig.gateway.db.sizes().1 == 1).await;
    rig.control.shed(order("a", 1, 1_000)).unwrap();
    until("it is read no more", || {
        let conns = rig.gateway.connections.slice(0, 10).unwrap();
        conns.iter().any(|conn| conn.phase() == Phase::Draining)
    })
    .await;
    assert_eq!(rig.dump("shed")["gone"], 0);
    rig.db.release();
    client.expect_ack(1).await;
    client.expect_end().await;
    is_over(&rig).await;
    assert_eq!(rig.dump("shed")["gone"], 1);
}

#[tokio::test]
async fn sessions_go_at_the_rate() {
    let rig = Rig::start().await;
    let clients = people(&rig, 60).await;
    let begin = Instant::now();
    rig.control.shed(order("a", 60, 100)).unwrap();
    let ends = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.expect_end().await;
            begin.elapsed()
        })
    });
    let mut times = Vec::new();
    for end in ends.collect::<Vec<_>>() {
        times.push(end.await.unwrap());
    }
    times.sort();
    for (n, end) in times.iter().enumerate() {
        // A delayed step catches up ten at most.
        let earliest = Duration::from_millis(10 * n.saturating_sub(11) as u64);
        assert!(*end >= earliest, "{n} ended after {end:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_sheds_nobody_and_waits_for_whom_it_was_shedding() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    let mut other = rig.client(8, WINDOWS).await;
    rig.db.state().holds = true;
    let message = text(8, "in flight");
    client.send(Command::MsgData, 1, &message).await;
    until("it is in flight", || rig.gateway.db.sizes().1 == 1).await;
    let conns = rig.gateway.connections.slice(0, 10).unwrap();
    assert!(
        conns[0].step(Phase::Online, Phase::Draining),
        "as a shed does"
    );
    rig.stop.cancel();
    until("it stops", || rig.dump("draining") == true).await;
    let refused = rig.control.shed(order("a", 1, 1)).unwrap_err();
    assert_eq!(refused, ControlError::Stopping);
    // Both were looked at when this one was closed.
    other.expect_end().await;
    rig.db.release();
    client.expect_ack(1).await;
    client.expect_end().await;
    rig.stop().await;
}

fn ask(limit: u32) -> SessionsAsk {
    SessionsAsk {
        limit,
        ..SessionsAsk::default()
    }
}

fn users(page: &MonitorSessions) -> Vec<u32> {
    let sessions = page.sessions.iter();
    let sessions = sessions.filter_map(|placed| placed.session.as_ref());
    sessions.map(|session| session.user).collect()
}

#[tokio::test]
async fn sessions_are_listed_in_pages_each_once_and_by_what_is_asked_for() {
    let rig = Rig::start().await;
    let mut clients = people(&rig, 130).await;
    clients.push(rig.client(64, IOS).await);
    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = rig.control.sessions(&SessionsAsk { after, ..ask(7) }).await;
        assert!(page.sessions.len() <= 7);
        seen.extend(users(&page));
        pages += 1;
        after = page.sessions.last().and_then(|last| last.place);
        if !page.more {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (131, 19));
    seen.sort_unstable();
    let mut expected: Vec<u32> = (1..=130).chain([64]).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);

    let of_64 = SessionsAsk { user: 64, ..ask(7) };
    let page = rig.control.sessions(&of_64).await;
    assert_eq!((users(&page), page.more), (vec![64, 64], false));
    let phones = SessionsAsk {
        client_type: 17,
        ..ask(7)
    };
    let page = rig.control.sessions(&phones).await;
    assert_eq!(users(&page), [64]);
    let epoch = page.sessions[0].session.as_ref().unwrap().epoch;
    let one = SessionsAsk { epoch, ..ask(7) };
    assert_eq!(rig.control.sessions(&one).await.sessions, page.sessions);
    let nobody = SessionsAsk {
        user: 999,
        ..ask(7)
    };
    assert!(rig.control.sessions(&nobody).await.sessions.is_empty());
    assert_eq!(rig.control.sessions(&ask(0)).await.sessions.len(), 1);
    assert_eq!(rig.control.sessions(&ask(5_000)).await.sessions.len(), 131);
}

#[tokio::test]
async fn who_wants_to_know_is_told_who_comes_and_goes() {
    let rig = Rig::start().await;
    let early = rig.client(6, WINDOWS).await;
    let mut events = rig.control.events();
    let client = rig.client(7, WINDOWS).await;
    drop(client);
    let mut told = async || {
        let event = events.recv().await.unwrap();
        (event.up, event.session.unwrap().user)
    };
    assert_eq!(told().await, (true, 7));
    assert_eq!(told().await, (false, 7));
    drop(early);
    assert_eq!(told().await, (false, 6));
}
