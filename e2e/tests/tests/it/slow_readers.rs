//! Clients that stop reading (D29).

use std::net::SocketAddr;
use std::time::Duration;

use im_client::RawConn;
use im_e2e::gauges::{Metrics, resident_kib};
use im_e2e::wait;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use tokio::net::TcpSocket;

use crate::support::*;

/// A logged-in connection with a small receive buffer that is never read again.
async fn stopped_reader(address: SocketAddr, user: u32) -> RawConn {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut conn = RawConn::new(socket.connect(address).await.unwrap());
    let password = Password::clear(im_e2e::people::PASSWORD);
    let name = im_e2e::people::name(user);
    conn.login(&name, &password, Windows, WAIT).await.unwrap();
    conn
}

/// A thousand members of a group stop reading while one writes to it: the server's memory stays within
/// the budget, all thousand are closed, a reading member and a pair elsewhere miss nothing, and who was
/// closed finds everything by asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_that_stop_cost_a_bounded_memory() {
    const READERS: u32 = 1_000;
    const PUSH_BUDGET: u64 = 64 << 10;
    const PUSH_TOTAL: u64 = 32 << 20;
    const LIMIT: Duration = Duration::from_secs(60);
    let budget = format!("msg.push_budget={PUSH_BUDGET}B");
    let total = format!("msg.push_total={PUSH_TOTAL}B");
    let settings = [
        budget.as_str(),
        total.as_str(),
        "msg.slow_grace=200ms",
        "msg.catch_up_time=2s",
        "msg.rate_limit=0",
        "msg.presence.notify=none",
    ];
    let mut platform = own_platform(READERS + 4, &settings).await;
    let address = platform.msg_address("all");
    let pid = platform.process("all").unwrap().pid();
    let [writer, reader, left, right] = [1, 2, 3, 4].map(|n| READERS + n);
    let mut writer = Terminal::login(address, writer, Windows).await;
    let mut reader = Terminal::login(address, reader, Windows).await;
    let mut left = Terminal::login(address, left, Windows).await;
    let mut right = Terminal::login(address, right, Windows).await;
    let everybody: Vec<u32> = (1..=READERS + 2).collect();
    let group = make_group(&mut writer, "busy", &everybody).await;
    let mut stopped = Vec::new();
    for user in 1..=READERS {
        stopped.push(stopped_reader(address, user).await);
    }
    let before = resident_kib(pid).unwrap();

    let voice = ImMsgData {
        msg_type: MsgType::GroupAudio.into(),
        msg_data: vec![7; 16 << 10].into(),
        ..text_message(0, in_group(group), "x")
    };
    let metrics = async |platform: &mut Platform| {
        Metrics::read(platform.process("all").unwrap())
            .await
            .unwrap()
    };
    let (mut sent, mut most) = (0_u32, 0);
    let closing = tokio::time::Instant::now();
    while metrics(&mut platform).await.sum("im_msg_slow_readers", "") < f64::from(READERS) {
        // A reader may be without progress for `catch_up_time` before it is closed, however much
        // was written in that time: it is the time that has a bound.
        assert!(
            closing.elapsed() < LIMIT,
            "readers that do not read are never closed, after {sent} messages"
        );
        for _ in 0..20 {
            let ack: ImMsgDataAck = writer.ask(Command::MsgData, &voice).await;
            sent += 1;
            assert_eq!(ack.msg_id, sent);
            assert_eq!(
                reader.message().await.msg_id,
                sent,
                "a member who reads misses nothing"
            );
        }
        let ack = left.say(with_user(right.user()), "unaffected").await;
        assert_eq!(right.message().await.msg_id, ack.msg_id);
        most = most.max(resident_kib(pid).unwrap().saturating_sub(before));
    }
    // Bytes of one message are shared by all queues; the budget is what it may be at the very worst,
    // and a tenth of it for what stands around.
    let allowed = (PUSH_TOTAL >> 10) + before / 10 + 16 * 1_024;
    assert!(
        most <= allowed,
        "memory grew by {most} KiB, {allowed} are allowed"
    );
    let process = &*platform.process("all").unwrap();
    wait::until("only readers left", wait::SOON, || async {
        let metrics = Metrics::read(process).await.ok()?;
        (metrics.sum("im_msg_connections", "") <= 4.0).then_some(())
    })
    .await
    .unwrap();
    let mut again = Terminal::login(address, 1, Windows).await;
    let newest = crate::history::ids(&mut again, in_group(group), 0, 5).await;
    assert_eq!(newest, (sent - 4..=sent).rev().collect::<Vec<_>>());
    drop(stopped);
}

/// D29: a client that asks without reading is read later, and then closed or served; memory stays.
#[tokio::test]
async fn who_asks_and_does_not_read_is_not_answered_without_bound() {
    let settings = ["msg.answer_budget=64KiB", "msg.slow_grace=200ms"];
    let mut platform = own_platform(1_000, &settings).await;
    let address = platform.msg_address("all");
    let pid = platform.process("all").unwrap().pid();
    let before = resident_kib(pid).unwrap();
    let mut greedy = stopped_reader(address, 1).await;
    let request = im_proto_teamtalk::buddy::ImAllUserReq {
        user_id: 0,
        latest_update_time: 0,
        attach_data: None,
    };
    let frame = im_codec::encode(Command::AllUserReq, 1, &request);
    let flood = async {
        // A hundred megabytes of answers are asked for; at some time nothing more is taken.
        for _ in 0..1_000 {
            if greedy.send_bytes(&frame).await.is_err() {
                break;
            }
        }
    };
    // Either all requests fit the kernel's buffers, or the server stopped reading: both are fine.
    let _fits = tokio::time::timeout(Duration::from_secs(5), flood).await;
    let mut other = Terminal::login(address, 2, Windows).await;
    other.settle().await;
    let growth = resident_kib(pid).unwrap().saturating_sub(before);
    assert!(growth < 32 * 1_024, "memory grew by {growth} KiB");
}
