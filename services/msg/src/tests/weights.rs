//! Everything is weighed, and ends with whoever asked.

use im_codec::{Command, HEADER_LEN, encode};
use im_config::MsgConfig;
use im_config::units::{ByteSize, Span};
use im_proto_rpc::v1::{Audience, Event, db_call, route_item};
use im_proto_teamtalk::buddy::{ImAllUserReq, ImUsersInfoReq, ImUsersStatReq, ImUsersStatRsp};
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use im_proto_teamtalk::message::ImMsgDataReadAck;
use im_proto_teamtalk::switch::Imp2pCmdMsg;

use super::rig::*;
use crate::metrics::Refusal;

/// The head of a frame of this length, with as many bytes of its body.
fn part(length: u32, bytes: usize) -> Vec<u8> {
    let mut frame = im_codec::heartbeat(1).to_vec();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.resize(HEADER_LEN + bytes, 0);
    frame
}

#[tokio::test]
async fn a_frame_before_login_is_short() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.raw(&part(4_097, 0)).await;
    client.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::FrameLength), 1);
    // Whoever sends all of it sees the end and no error.
    let mut client = rig.connect().await;
    client.raw(&part(1 << 20, (1 << 20) - HEADER_LEN)).await;
    client.expect_end().await;
    let mut client = rig.client(7, WINDOWS).await;
    let large = text(8, &"x".repeat(100_000));
    client.send(Command::MsgData, 1, &large).await;
    client.expect_ack(1).await;
}

#[tokio::test]
async fn whoever_keeps_a_part_for_longest_is_cut_when_all_keep_too_much() {
    let rig = Rig::start_with(MsgConfig {
        partial_login_total: ByteSize::kib(16),
        ..config()
    })
    .await;
    let mut clients = Vec::new();
    for n in 1..=5 {
        let mut client = rig.connect().await;
        client.raw(&part(4_096, 3_500)).await;
        if n <= 4 {
            until("it is kept", || rig.gateway.partials.bytes().0 >= n * 3_500).await;
        }
        clients.push(client);
    }
    clients[0].expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Partial), 1);
    assert!(rig.gateway.partials.bytes().0 <= 16 << 10);
    // The others still get what they are owed.
    for client in &mut clients[1..] {
        client.raw(&vec![0; 4_096 - HEADER_LEN - 3_500]).await;
        assert_eq!(client.frame().await.unwrap().body.len(), 4_080);
    }
    until("nothing is kept", || rig.gateway.partials.bytes() == (0, 0)).await;
}

#[tokio::test]
async fn a_login_whose_client_has_gone_is_cancelled_and_holds_no_socket() {
    let rig = Rig::start().await;
    rig.db.state().holds = true;
    let metrics = &rig.gateway.env.metrics;
    for round in 1..=3 {
        let mut client = rig.connect().await;
        client
            .send(Command::LoginReq, 1, &login_req("u7", WINDOWS))
            .await;
        until("it is asked", || rig.db.state().held.len() == round).await;
        drop(client);
        until("it is cancelled", || {
            rig.db.state().cancelled.len() == round
        })
        .await;
        until("its socket is closed", || metrics.connections.get() == 0).await;
        assert_eq!(rig.gateway.db.sizes().1, 0);
    }
    let tags: Vec<u64> = rig.db.state().held.iter().map(|call| call.tag).collect();
    assert_eq!(rig.db.state().cancelled, tags);
    // Late answers find nobody.
    rig.db.release();
    rig.client(7, WINDOWS).await.expect_silence().await;
}

#[tokio::test]
async fn requests_of_a_client_that_has_gone_are_cancelled_and_its_messages_are_stored() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    client.send(Command::MsgData, 1, &text(8, "stays")).await;
    for seq in 2..=5 {
        client
            .send(Command::AllUserReq, seq, &ImAllUserReq::default())
            .await;
    }
    until("all are asked", || rig.gateway.db.sizes().1 == 5).await;
    drop(client);
    until("they are cancelled", || rig.db.state().cancelled.len() == 4).await;
    assert_eq!(
        (rig.gateway.db.sizes().1, rig.gateway.queries.used()),
        (1, 0)
    );
    let metrics = &rig.gateway.env.metrics;
    until("the socket is closed", || metrics.connections.get() == 0).await;
    rig.db.release();
    until("the message is stored", || {
        rig.gateway.db.messages().used() == 0
    })
    .await;
    assert_eq!(rig.db.state().sends.len(), 1);
}

#[tokio::test]
async fn a_read_mark_is_carried_out_although_its_client_has_gone() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    let read = ImMsgDataReadAck {
        user_id: 7,
        session_id: 8,
        msg_id: 5,
        session_type: 1,
    };
    client.send(Command::MsgDataReadAck, 1, &read).await;
    until("it is passed on", || rig.gateway.db.sizes().1 == 1).await;
    drop(client);
    let metrics = &rig.gateway.env.metrics;
    until("the socket is closed", || metrics.connections.get() == 0).await;
    assert!(rig.gateway.queries.used() > 0, "it counts until it is done");
    rig.db.release();
    until("it is done", || rig.gateway.queries.used() == 0).await;
    let db = rig.db.state();
    assert_eq!(db.queries[0].command, 0x0303);
    assert!(db.cancelled.is_empty());
}

fn ours(name: &str) -> ImLoginReq {
    ImLoginReq {
        features: Some(1),
        ..login_req(name, WINDOWS)
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_checked_in_time_is_told_early() {
    let rig = Rig::start_with(MsgConfig {
        logins_in_flight: 1,
        ..config()
    })
    .await;
    rig.db.state().holds = true;
    let mut first = rig.connect().await;
    first
        .send(Command::LoginReq, 1, &login_req("u7", WINDOWS))
        .await;
    until("it waits", || rig.gateway.db.sizes().1 == 1).await;
    // Original clients see the end; ours are told when to come again.
    let mut original = rig.connect().await;
    original
        .send(Command::LoginReq, 2, &login_req("u8", ANDROID))
        .await;
    original.expect_end().await;
    let mut own = rig.connect().await;
    own.send(Command::LoginReq, 3, &ours("u9")).await;
    let answer: ImLoginRes = own.expect(Command::LoginRes, 3).await;
    assert_ne!(answer.result_code, 0);
    assert!((2_000..4_000).contains(&answer.retry_after_ms.unwrap()));
    own.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Busy), 2);
    rig.db.release();
    let answer: ImLoginRes = first.expect(Command::LoginRes, 1).await;
    assert_eq!(answer.result_code, 0);
}

/// At the bound the newest login of the network that has most makes room for one of another network.
#[tokio::test]
async fn one_network_does_not_fill_the_room_for_logins() {
    let rig = Rig::start_with(MsgConfig {
        logins_in_flight: 3,
        ..config()
    })
    .await;
    rig.db.state().holds = true;
    let mut crowd = Vec::new();
    for (name, seq) in [("u1", 1), ("u2", 2), ("u3", 3)] {
        let mut client = rig.connect().await;
        client.send(Command::LoginReq, seq, &ours(name)).await;
        until("it waits", || rig.gateway.db.sizes().1 == usize::from(seq)).await;
        crowd.push(client);
    }
    let mut other = Client::connect_from([127, 0, 1, 1].into(), rig.addr).await;
    other
        .send(Command::LoginReq, 4, &login_req("u4", WINDOWS))
        .await;
    let mut newest = crowd.pop().unwrap();
    let answer: ImLoginRes = newest.expect(Command::LoginRes, 3).await;
    assert!(answer.retry_after_ms.is_some());
    newest.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Busy), 1);
    // One that came before it loses its place no more: its network has one more than the other.
    let mut second = Client::connect_from([127, 0, 1, 2].into(), rig.addr).await;
    second
        .send(Command::LoginReq, 5, &login_req("u5", WINDOWS))
        .await;
    second.expect_end().await;

    until("it is asked about", || rig.db.state().held.len() == 4).await;
    rig.db.release();
    let answer: ImLoginRes = other.expect(Command::LoginRes, 4).await;
    assert_eq!(answer.result_code, 0);
    for (mut client, seq) in crowd.into_iter().zip([1, 2]) {
        let answer: ImLoginRes = client.expect(Command::LoginRes, seq).await;
        assert_eq!(answer.result_code, 0);
    }
}

#[tokio::test]
async fn a_busy_db_proxy_is_told_the_same_way() {
    let rig = Rig::start().await;
    rig.db.state().busy_ms = 1_234;
    let mut original = rig.connect().await;
    original
        .send(Command::LoginReq, 1, &login_req("u8", IOS))
        .await;
    original.expect_end().await;
    let mut own = rig.connect().await;
    own.send(Command::LoginReq, 2, &ours("u9")).await;
    let answer: ImLoginRes = own.expect(Command::LoginRes, 2).await;
    assert_eq!(answer.retry_after_ms, Some(1_234));
    own.expect_end().await;
}

#[tokio::test]
async fn batches_of_every_kind_are_weighed() {
    let bound = ByteSize::kib(64);
    let rig = Rig::start_with(MsgConfig {
        send_batch_size: bound,
        ..config()
    })
    .await;
    let mut clients = Vec::new();
    for user in 1..=8 {
        clients.push(rig.client(user, WINDOWS).await);
    }
    let ask = ImUsersInfoReq {
        user_id: 0,
        user_id_list: vec![7; 20_000],
        attach_data: None,
    };
    let long = encode(Command::UsersInfoReq, 1, &ask);
    for client in &mut clients {
        let mut frames = Vec::new();
        for _ in 0..8 {
            frames.extend_from_slice(&long);
        }
        client.raw(&frames).await;
    }
    for client in &mut clients {
        for _ in 0..8 {
            client.frame().await.unwrap();
        }
    }
    let largest = rig.db.state().batch_bytes.iter().copied().max().unwrap();
    assert!(largest <= 2 * bound.as_usize(), "{largest}");
    assert!(largest > 20_000, "several travel together");
}

#[tokio::test]
async fn a_class_that_is_full_does_not_hold_up_another() {
    let rig = Rig::start_with(MsgConfig {
        queries_in_flight: 2,
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    for seq in 1..=5 {
        client
            .send(Command::AllUserReq, seq, &ImAllUserReq::default())
            .await;
    }
    client.send(Command::MsgData, 6, &text(8, "on")).await;
    let mut newcomer = rig.connect().await;
    newcomer
        .send(Command::LoginReq, 1, &login_req("u9", WINDOWS))
        .await;
    let count = |is: fn(&db_call::Call) -> bool| {
        let db = rig.db.state();
        let calls = db.held.iter().filter_map(|call| call.call.as_ref());
        calls.filter(|call| is(call)).count()
    };
    until("the message and the login are there", || {
        count(|call| matches!(call, db_call::Call::Send(_))) == 1
            && count(|call| matches!(call, db_call::Call::Login(_))) == 1
    })
    .await;
    assert_eq!(count(|call| matches!(call, db_call::Call::Query(_))), 2);
    rig.db.release();
    let mut seqs = Vec::new();
    for _ in 0..6 {
        seqs.push(client.frame().await.unwrap().header.seq);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

fn presence(ids: Vec<u32>) -> ImUsersStatReq {
    ImUsersStatReq {
        user_id: 0,
        user_id_list: ids,
        attach_data: None,
    }
}

#[tokio::test]
async fn a_presence_question_is_about_distinct_users_and_not_too_many() {
    let rig = Rig::start_with(MsgConfig {
        presence_ids: 3,
        ..config()
    })
    .await;
    let mut client = rig.client(7, MAC).await;
    let repeated = presence(vec![3, 1, 3, 3, 1, 2, 1]);
    client.send(Command::UsersStatReq, 1, &repeated).await;
    let answer: ImUsersStatRsp = client.expect(Command::UsersStatRsp, 1).await;
    let ids: Vec<u32> = answer
        .user_stat_list
        .iter()
        .map(|stat| stat.user_id)
        .collect();
    assert_eq!(ids, [3, 1, 2]);
    let many = presence(vec![1, 2, 3, 4]);
    client.send(Command::UsersStatReq, 2, &many).await;
    client.expect_silence().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::PresenceIds), 1);
}

#[tokio::test]
async fn a_question_about_many_users_is_answered_whole_and_gives_back_what_it_counted_for() {
    let rig = Rig::start_with(config()).await;
    let mut client = rig.client(7, MAC).await;
    rig.route().state().online = vec![1, 9_999];
    // Each of them twice.
    let asked: Vec<u32> = (1..=10_000).chain(1..=10_000).collect();
    client
        .send(Command::UsersStatReq, 1, &presence(asked))
        .await;
    let answer: ImUsersStatRsp = client.expect(Command::UsersStatRsp, 1).await;
    let told = answer.user_stat_list.iter();
    let told: Vec<(u32, bool)> = told.map(|stat| (stat.user_id, stat.status == 1)).collect();
    let expected = (1..=10_000).map(|user| (user, user == 1 || user == 9_999));
    assert!(expected.eq(told));
    until("nothing counts any more", || {
        rig.gateway.queries.used() == 0
    })
    .await;
}

#[tokio::test]
async fn a_silent_route_server_does_not_keep_a_question_open() {
    let rig = Rig::start_with(MsgConfig {
        presence_timeout: Span::millis(20),
        ..config()
    })
    .await;
    let mut client = rig.client(7, MAC).await;
    rig.route().state().holds = true;
    client
        .send(Command::UsersStatReq, 1, &presence(vec![3, 4]))
        .await;
    let answer: ImUsersStatRsp = client.expect(Command::UsersStatRsp, 1).await;
    assert!(answer.user_stat_list.iter().all(|stat| stat.status == 2));
    assert_eq!(
        rig.gateway.env.metrics.refusals(Refusal::PresenceTimeout),
        1
    );
    assert_eq!(rig.gateway.queries.used(), 0);
}

#[tokio::test]
async fn a_signal_is_short_and_ends_nobodys_connection() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::kib(64),
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    let long = Imp2pCmdMsg {
        from_user_id: 7,
        to_user_id: 8,
        cmd_msg_data: "x".repeat(8_193),
    };
    client.send(Command::P2pCmdMsg, 1, &long).await;
    client.expect_silence().await;
    let metrics = &rig.gateway.env.metrics;
    assert_eq!(metrics.refusals(Refusal::Signal), 1);
    // More signals than fit, while the client reads nothing.
    let event = |command: Command| {
        route_item::Item::Event(Event {
            users: vec![7],
            audience: Audience::All as i32,
            command: u32::from(command.id()),
            body: vec![b'x'; 8_000].into(),
            ..Event::default()
        })
    };
    let mut rounds = 0;
    while metrics.refusals(Refusal::SignalFull) == 0 {
        rig.route().send(0, vec![event(Command::P2pCmdMsg); 8]);
        tokio::task::yield_now().await;
        rounds += 1;
        assert!(rounds < 10_000, "the bound is never reached");
    }
    assert_eq!(metrics.slow_readers.get(), 0);
    let first = client.frame().await.unwrap();
    assert_eq!(first.command(), Some(Command::P2pCmdMsg));
}

#[tokio::test]
async fn a_client_that_is_not_read_and_takes_nothing_is_cut_in_the_end() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::kib(64),
        idle_pc: Span::millis(200),
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    let frame = im_codec::encode_raw(Command::HeartBeat, 1, &vec![7; 500_000]);
    for _ in 0..40 {
        let sending = tokio::io::AsyncWriteExt::write_all(&mut client.sock, &frame);
        let wait = std::time::Duration::from_millis(50);
        if tokio::time::timeout(wait, sending).await.is_err() {
            break;
        }
    }
    until("it is cut", || rig.gateway.connections.len() == 0).await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Idle), 1);
}
