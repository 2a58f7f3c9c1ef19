//! Limits and timeouts.

use im_codec::Command;
use im_config::MsgConfig;
use im_config::units::{ByteSize, Span};
use im_proto_rpc::v1::LiveMessage;
use im_proto_teamtalk::login::ImLoginRes;

use super::rig::*;
use crate::connection::Conn;
use crate::metrics::Refusal;

#[tokio::test]
async fn a_frame_length_that_cannot_be_ends_the_connection() {
    let rig = Rig::start_with(MsgConfig {
        max_frame: ByteSize::kib(1),
        ..config()
    })
    .await;
    for length in [0u32, 15, 1_025, u32::MAX] {
        let mut client = rig.connect().await;
        client.raw(&length.to_be_bytes()).await;
        client.expect_end().await;
    }
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::FrameLength), 4);
    let mut client = rig.client(7, WINDOWS).await;
    let longest = im_codec::encode_raw(Command::HeartBeat, 1, &[7; 1_008]);
    client.raw(&longest).await;
    assert_eq!(client.frame().await.unwrap().to_bytes(), longest);
}

#[tokio::test]
async fn frames_may_come_in_any_pieces() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    client.sock.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    for seq in 1..=3 {
        bytes.extend(im_codec::encode(
            Command::MsgData,
            seq,
            &text(8, &"x".repeat(40)),
        ));
    }
    for piece in bytes.chunks(7) {
        client.raw(piece).await;
        tokio::task::yield_now().await;
    }
    // One that is longer than the shared buffer.
    let large = text(8, &"y".repeat(200_000));
    client.send(Command::MsgData, 4, &large).await;
    for seq in 1..=4 {
        client.expect_ack(seq).await;
    }
    assert_eq!(rig.db.state().sends[3].data.len(), 200_000);
}

#[tokio::test]
async fn who_does_not_log_in_is_closed_heartbeats_or_not() {
    let rig = Rig::start_with(MsgConfig {
        login_timeout: Span::millis(60),
        ..config()
    })
    .await;
    let mut client = rig.connect().await;
    let started = tokio::time::Instant::now();
    client.raw(&im_codec::heartbeat(1)).await;
    client.frame().await.unwrap();
    client.expect_end().await;
    assert!(started.elapsed().as_millis() >= 50);
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::LoginTimeout), 1);
}

#[tokio::test]
async fn silence_ends_a_connection_sooner_on_a_pc_than_on_a_phone() {
    let config = MsgConfig {
        idle_pc: Span::millis(80),
        idle_mobile: Span::seconds(60),
        ..config()
    };
    let rig = Rig::start_with(config).await;
    let mut phone = rig.client(7, IOS).await;
    let mut pc = rig.client(7, WINDOWS).await;
    for _ in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        pc.expect_silence().await;
    }
    pc.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Idle), 1);
    phone.expect_silence().await;
    until("the session is taken back", || {
        rig.route().state().sessions.len() == 1
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_bounds_are_closed_at_once() {
    let rig = Rig::start_with(MsgConfig {
        max_connections_per_address: 2,
        ..config()
    })
    .await;
    let mut first = rig.connect().await;
    let mut second = rig.client(7, WINDOWS).await;
    // The one that has not logged in makes room.
    let third = rig.client(8, WINDOWS).await;
    first.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Address), 1);
    let mut fourth = rig.connect().await;
    fourth.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Address), 2);
    drop(third);
    until("there is room again", || rig.gateway.connections.len() == 1).await;
    let mut fifth = rig.client(9, WINDOWS).await;
    fifth.expect_silence().await;
    second.expect_silence().await;

    let rig = Rig::start_with(MsgConfig {
        max_connections: 1,
        ..config()
    })
    .await;
    let _first = rig.client(7, WINDOWS).await;
    let mut second = rig.connect().await;
    second.expect_end().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Connections), 1);
}

/// Commits and pushes a large message.
fn push_large(rig: &Rig, users: &[u32]) {
    let message = rig.db.commit(99, users);
    rig.route().push(LiveMessage {
        data: vec![b'x'; 60_000].into(),
        ..message
    });
}

#[tokio::test]
async fn a_client_that_stops_reading_is_closed_and_others_are_not_held_up() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::kib(256),
        ..config()
    })
    .await;
    let mut slow = rig.client(7, WINDOWS).await;
    let mut quick = rig.client(8, WINDOWS).await;
    rig.live().await;
    let mut pushed = 0;
    // The kernel takes some megabytes before the server's own budget counts.
    while rig.gateway.env.metrics.slow_readers.get() == 0 && pushed < 2_000 {
        push_large(&rig, &[7, 8]);
        pushed += 1;
        assert_eq!(quick.expect_message().await.msg_id, pushed);
    }
    // It is given time to catch up first.
    until("the budget is reached", || {
        rig.gateway.env.metrics.slow_readers.get() == 1
    })
    .await;
    until("it is closed", || rig.gateway.connections.len() == 1).await;
    until("nothing of it is left", || {
        rig.gateway.env.metrics.queued_bytes.get() == 0
    })
    .await;
    push_large(&rig, &[7, 8]);
    quick.expect_message().await;
    // Whatever it still finds is a whole prefix.
    let mut ids = 0;
    while let Some(frame) = slow.frame().await {
        assert_eq!(frame.command(), Some(Command::MsgData));
        ids += 1;
    }
    assert!(ids < pushed);
}

#[tokio::test]
async fn a_full_client_gets_what_it_missed_from_the_log() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::kib(256),
        catch_up_time: Span::seconds(10),
        pull_page: 7,
        ..config()
    })
    .await;
    let mut full = rig.client(7, WINDOWS).await;
    let mut quick = rig.client(8, WINDOWS).await;
    rig.live().await;
    let metrics = &rig.gateway.env.metrics;
    let mut pushed = 0;
    while metrics.fell_behind.get() == 0 {
        push_large(&rig, &[7, 8]);
        pushed += 1;
        assert_eq!(quick.expect_message().await.msg_id, pushed);
        assert!(pushed < 2_000, "the budget is never reached");
    }
    for _ in 0..30 {
        push_large(&rig, &[7, 8]);
        pushed += 1;
        assert_eq!(quick.expect_message().await.msg_id, pushed);
    }
    for id in 1..=pushed {
        assert_eq!(full.expect_message().await.msg_id, id);
    }
    // It is back: the next ones come as they are.
    until("it is back", || {
        let mut behind = 0;
        rig.gateway.sessions.all(|conn| {
            behind += u32::from(conn.session().unwrap().is_behind());
        });
        behind == 0
    })
    .await;
    push_large(&rig, &[7, 8]);
    let message = full.expect_message().await;
    assert_eq!(
        (message.msg_id, message.msg_data.len()),
        (pushed + 1, 60_000)
    );
    full.expect_silence().await;
    assert_eq!(metrics.slow_readers.get(), 0);
}

#[tokio::test]
async fn a_client_that_reads_late_but_within_the_budget_gets_everything() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::mib(64),
        ..config()
    })
    .await;
    let mut slow = rig.client(7, WINDOWS).await;
    rig.live().await;
    let mut pushed = 0;
    while rig.gateway.env.metrics.queued_bytes.get() < 1 << 20 {
        push_large(&rig, &[7]);
        pushed += 1;
        tokio::task::yield_now().await;
    }
    for id in 1..=pushed {
        let message = slow.expect_message().await;
        assert_eq!((message.msg_id, message.msg_data.len()), (id, 60_000));
    }
    until("the queue is empty", || {
        rig.gateway.env.metrics.queued_bytes.get() == 0
    })
    .await;
    slow.expect_silence().await;
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_not_read_either() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::kib(64),
        ..config()
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    let frame = im_codec::encode_raw(Command::HeartBeat, 1, &vec![7; 500_000]);
    let (mut reading, mut writing) = client.sock.split();
    let n = 40;
    let sending = async {
        for _ in 0..n {
            tokio::io::AsyncWriteExt::write_all(&mut writing, &frame)
                .await
                .unwrap();
        }
    };
    let taking = async {
        until("the server stops reading", || {
            rig.gateway
                .env
                .metrics
                .pauses(crate::metrics::Pause::Output)
                > 0
        })
        .await;
        let mut all = vec![0; frame.len() * n];
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut all)
            .await
            .unwrap();
        assert!(all.chunks(frame.len()).all(|echo| echo == frame));
    };
    tokio::join!(sending, taking);
    assert_eq!(rig.gateway.env.metrics.slow_readers.get(), 0);
}

#[tokio::test]
async fn memory_and_counts_return_when_clients_are_gone() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        let mut clients = Vec::new();
        for user in 1..=50 {
            clients.push(rig.client(user, WINDOWS).await);
        }
        assert_eq!(
            (rig.gateway.connections.len(), rig.gateway.sessions.len()),
            (50, 50)
        );
        drop(clients);
        until("all are gone", || rig.gateway.connections.len() == 0).await;
        assert_eq!(rig.gateway.sessions.len(), 0);
        until("all are taken back", || {
            rig.route().state().sessions.is_empty()
        })
        .await;
    }
    let mut left = 0;
    rig.gateway.sessions.all(|_| left += 1);
    assert_eq!((left, rig.gateway.connections.slots()), (0, 0));
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    client.expect_silence().await;
    // 1.25 KiB hold these two, the runtime's registration of the socket (about 300 bytes), the
    // task's header and the map entries (about 200).
    let conn = size_of::<Conn>();
    assert!(conn <= 320, "a connection takes {conn} bytes");
    let conns = rig.gateway.connections.slice(0, 1).unwrap();
    let task = crate::connection::read::run(rig.gateway.clone(), conns[0].clone());
    let size = size_of_val(&task);
    assert!(size <= 320, "its task takes {size} bytes");
}

#[tokio::test]
async fn login_waits_for_no_longer_than_its_timeout() {
    let rig = Rig::start_with(MsgConfig {
        login_timeout: Span::millis(60),
        ..config()
    })
    .await;
    rig.db.state().holds = true;
    let mut client = rig.connect().await;
    client
        .send(Command::LoginReq, 1, &login_req("u7", WINDOWS))
        .await;
    client.expect_end().await;
    // The late answer finds nobody and leaves nothing behind.
    rig.db.release();
    let mut client = rig.connect().await;
    client
        .send(Command::LoginReq, 2, &login_req("u7", WINDOWS))
        .await;
    let _: ImLoginRes = client.expect(Command::LoginRes, 2).await;
    assert_eq!(rig.route().state().sessions.len(), 1);
}
