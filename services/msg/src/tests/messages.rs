//! Messages on their way to the store, and their acknowledgements.

use bytes::Bytes;
use im_codec::Command;
use im_config::MsgConfig;
use im_config::units::Span;
use im_proto_rpc::v1::send_done::Outcome;
use im_proto_rpc::v1::{DbResult, Held, db_call, db_result};
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};

use super::rig::*;
use crate::metrics::{Pause, Refusal};

#[tokio::test]
async fn a_stored_message_is_acknowledged_with_its_own_sequence_number() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    client.send(Command::MsgData, 418, &text(8, "hello")).await;
    let ack = client.expect_ack(418).await;
    assert_eq!(
        ack,
        ImMsgDataAck {
            user_id: 7,
            session_id: 8,
            msg_id: 1,
            session_type: 1
        }
    );
    let group = ImMsgData {
        msg_type: 0x11,
        ..text(5, "all")
    };
    client.send(Command::MsgData, 419, &group).await;
    let ack = client.expect_ack(419).await;
    assert_eq!(
        ack,
        ImMsgDataAck {
            user_id: 7,
            session_id: 5,
            msg_id: 2,
            session_type: 2
        }
    );
    let send = rig.db.state().sends[0].clone();
    assert_eq!(
        (send.from, send.to, send.msg_type, send.client_seq),
        (7, 8, 1, 418)
    );
    assert_eq!(send.data, Bytes::from("hello"));
    assert_eq!(send.origin, rig.route().state().sessions[0].epoch);
}

#[tokio::test]
async fn a_repeated_message_is_acknowledged_like_the_first() {
    let rig = Rig::start().await;
    rig.db.state().outcomes.insert(8, Outcome::Repeated);
    let mut client = rig.client(7, WINDOWS).await;
    client.send(Command::MsgData, 4, &text(8, "again")).await;
    client.expect_ack(4).await;
}

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged_and_the_connection_stays() {
    let rig = Rig::start().await;
    rig.db.state().outcomes.insert(8, Outcome::Refused);
    rig.db.state().outcomes.insert(9, Outcome::Failed);
    let mut client = rig.client(7, WINDOWS).await;
    client.send(Command::MsgData, 1, &text(8, "refused")).await;
    client.send(Command::MsgData, 2, &text(9, "failed")).await;
    client
        .send(Command::MsgData, 3, &text(7, "to myself"))
        .await;
    client.send(Command::MsgData, 4, &text(10, "")).await;
    client
        .send(
            Command::MsgData,
            5,
            &ImMsgData {
                msg_type: 9,
                ..text(10, "odd")
            },
        )
        .await;
    client.send(Command::MsgData, 6, &text(10, "stored")).await;
    client.expect_ack(6).await;
    let metrics = &rig.gateway.env.metrics;
    assert_eq!(metrics.refusals(Refusal::StoreRefused), 1);
    assert_eq!(metrics.refusals(Refusal::StoreFailed), 1);
    assert_eq!(metrics.refusals(Refusal::Message), 2);
    assert_eq!(metrics.refusals(Refusal::Malformed), 1);
    assert_eq!(rig.db.state().sends.len(), 3);
}

#[tokio::test]
async fn a_message_that_waits_for_the_filter_holds_up_no_other() {
    let rig = Rig::start_with(MsgConfig {
        send_batches_in_flight: 1,
        ..config()
    })
    .await;
    let mut ann = rig.client(7, WINDOWS).await;
    let mut ben = rig.client(8, WINDOWS).await;
    rig.db.state().holds = true;
    ann.send(Command::MsgData, 1, &text(9, "to be judged"))
        .await;
    let tag = || {
        let db = rig.db.state();
        let sends = { db.held.iter() }
            .filter(|call| matches!(call.call, Some(db_call::Call::Send(_))))
            .map(|call| call.tag);
        sends.last()
    };
    until("it is in flight", || tag().is_some()).await;
    rig.db.state().holds = false;
    let tags = vec![tag().unwrap()];
    rig.db.say(vec![DbResult {
        tag: 0,
        result: Some(db_result::Result::Held(Held { tags })),
    }]);
    // There is room for one batch in flight.
    for seq in 1..=3 {
        ben.send(Command::MsgData, seq, &text(9, "not asked about"))
            .await;
        ben.expect_ack(seq).await;
    }
    rig.db.release();
    ann.expect_ack(1).await;
    ann.send(Command::MsgData, 2, &text(9, "the next")).await;
    ann.expect_ack(2).await;
}

#[tokio::test]
async fn the_clients_own_id_counts_only_with_sixteen_bytes() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    for (seq, id) in [(1, vec![3; 16]), (2, vec![3; 15])] {
        let message = ImMsgData {
            client_msg_id: Some(id.into()),
            ..text(8, "x")
        };
        client.send(Command::MsgData, seq, &message).await;
        client.expect_ack(seq).await;
    }
    let sends = rig.db.state().sends.clone();
    assert_eq!(sends[0].client_msg_id, Bytes::from(vec![3; 16]));
    assert_eq!(sends[1].client_msg_id, Bytes::new());
}

#[tokio::test]
async fn messages_of_a_connection_stay_in_order_and_travel_in_batches() {
    let rig = Rig::start_with(im_config::MsgConfig {
        pending_messages: 1_000,
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    let frames: Vec<u8> = (1..=600u16)
        .flat_map(|seq| im_codec::encode(Command::MsgData, seq, &text(8, &format!("{seq}"))))
        .collect();
    client.raw(&frames).await;
    until("all messages wait", || {
        let (queued, in_flight) = rig.gateway.db.sizes();
        queued + in_flight == 600
    })
    .await;
    let (queued, in_flight) = rig.gateway.db.sizes();
    assert!(
        queued > 0 && in_flight <= 512,
        "two batches may be in flight, not {in_flight} calls"
    );
    rig.db.release();
    for seq in 1..=600 {
        client.expect_ack(seq).await;
    }
    let sent: Vec<u32> = rig
        .db
        .state()
        .sends
        .iter()
        .map(|send| send.client_seq)
        .collect();
    assert!(sent.iter().copied().eq(1..=600));
    assert!(rig.db.largest_batch() > 10, "what gathers goes together");
    assert_eq!(rig.gateway.db.messages().used(), 0);
}

#[tokio::test]
async fn a_connection_with_too_many_pending_messages_is_read_later() {
    let rig = Rig::start_with(im_config::MsgConfig {
        idle_pc: Span::millis(60),
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    for seq in 1..=100 {
        client.send(Command::MsgData, seq, &text(8, "x")).await;
    }
    until("the bound is reached", || {
        rig.gateway.env.metrics.pauses(Pause::Messages) > 0
    })
    .await;
    let (queued, in_flight) = rig.gateway.db.sizes();
    assert_eq!(queued + in_flight, 64);
    // Longer than the idle limit, which waits as well.
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    rig.db.release();
    for seq in 1..=100 {
        client.expect_ack(seq).await;
    }
}

#[tokio::test]
async fn beyond_the_rate_a_connection_is_read_later_and_nothing_is_lost() {
    let config = im_config::MsgConfig {
        rate_limit: 200,
        rate_burst: 10,
        ..config()
    };
    let rig = Rig::start_with(config).await;
    let mut client = rig.client(7, WINDOWS).await;
    let started = tokio::time::Instant::now();
    for seq in 1..=50 {
        client.send(Command::MsgData, seq, &text(8, "x")).await;
    }
    for seq in 1..=50 {
        client.expect_ack(seq).await;
    }
    assert!(
        started.elapsed() >= std::time::Duration::from_millis(180),
        "40 at 200 per second"
    );
    assert!(rig.gateway.env.metrics.pauses(Pause::Rate) > 0);
}

#[tokio::test]
async fn messages_survive_a_lost_link_when_they_can_be_recognised() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    client.send(Command::MsgData, 1, &text(8, "one")).await;
    client
        .send(Command::MsgData, 0, &text(8, "without a number"))
        .await;
    client.send(Command::MsgData, 2, &text(8, "two")).await;
    until("all are in flight", || rig.gateway.db.sizes().1 == 3).await;
    rig.db.cut(false);
    until("the link is missed", || rig.dump("db_proxy_link") == false).await;
    client.send(Command::MsgData, 3, &text(8, "three")).await;
    rig.db.state().holds = false;
    rig.db.accept_again();
    for seq in 1..=3 {
        client.expect_ack(seq).await;
    }
    let sent: Vec<u32> = rig
        .db
        .state()
        .sends
        .iter()
        .map(|send| send.client_seq)
        .collect();
    assert_eq!(sent, [1, 2, 3]);
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::NoDbProxy), 1);
}

#[tokio::test]
async fn a_message_that_waits_too_long_for_a_link_is_given_up() {
    let rig = Rig::start_with(im_config::MsgConfig {
        send_wait: Span::millis(20),
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.cut(false);
    until("the link is missed", || rig.dump("db_proxy_link") == false).await;
    client.send(Command::MsgData, 1, &text(8, "lost")).await;
    until("it is given up", || {
        rig.gateway.env.metrics.refusals(Refusal::NoDbProxy) == 1
    })
    .await;
    assert_eq!(rig.gateway.db.messages().used(), 0);
    rig.db.accept_again();
    rig.ready().await;
    client.send(Command::MsgData, 2, &text(8, "later")).await;
    client.expect_ack(2).await;
}
