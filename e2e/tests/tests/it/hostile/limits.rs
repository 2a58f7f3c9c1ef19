//! What one client cannot do to others by numbers alone (S-11, S-18, S-95, S-97).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use im_codec::encode_raw;
use im_e2e::gauges::{Metrics, descriptors, resident_kib};
use im_e2e::wait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::chat;
use crate::support::*;

/// S-97: lengths above the bound are refused before anything is allocated for them, and a
/// length within the bound costs what has arrived and no more.
#[tokio::test]
async fn an_announced_length_costs_no_memory() {
    let mut platform = own_platform(2, &[]).await;
    let address = platform.msg_address("all");
    let pid = platform.process("all").unwrap().pid();
    let mut bystander = Terminal::login(address, 1, Windows).await;
    let mut warm = Terminal::login(address, 2, Windows).await;
    chat(&mut bystander, &mut warm, 20).await;
    let before = resident_kib(pid).unwrap();
    let announce = |length: u32| {
        let mut frame = im_codec::heartbeat(1).to_vec();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame
    };
    for length in [u32::MAX, 0x8000_0000, 1 << 30, (1 << 20) + 1, 15, 0] {
        for _ in 0..20 {
            let mut terminal = Terminal::connect(address).await;
            terminal.send_bytes(&announce(length)).await;
            terminal.closed().await;
        }
    }
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut terminal = Terminal::connect(address).await;
        terminal.send_bytes(&announce(1 << 20)).await;
        waiting.push(terminal);
    }
    bystander.settle().await;
    let growth = resident_kib(pid).unwrap().saturating_sub(before);
    assert!(
        growth < 1_024,
        "memory grew by {growth} KiB for 100 MiB announced and not sent"
    );
    drop(waiting);
}

/// S-18, D26: what only servers say is ignored and counted when a client says it.
#[tokio::test]
async fn server_commands_of_a_client_have_no_effect() {
    use im_proto_teamtalk::base::{ClientType, KickReasonType, UserStatType};
    use im_proto_teamtalk::message::ImMsgDataReadNotify;
    use im_proto_teamtalk::server::{
        ImServerKickUser, ImServerPcLoginStatusNotify, ImStopReceivePacket, ImUserStatusUpdate,
        ImValidateReq,
    };
    let mut platform = own_platform(3, &[]).await;
    let address = platform.msg_address("all");
    let mut attacker = Terminal::login(address, 1, Windows).await;
    let mut victim = Terminal::login(address, 2, Windows).await;
    let mut phone = Terminal::login(address, 2, Android).await;
    let mut friend = Terminal::login(address, 3, Windows).await;
    phone.settle().await;
    let kick = ImServerKickUser {
        user_id: 2,
        client_type: ClientType::Windows.into(),
        reason: KickReasonType::KickReasonDuplicateUser as u32,
    };
    let update = ImUserStatusUpdate {
        user_status: UserStatType::UserStatusOffline as u32,
        user_id: 2,
        client_type: ClientType::Windows.into(),
    };
    let validate = ImValidateReq {
        user_name: "u2".to_owned(),
        password: Password::clear(im_e2e::people::PASSWORD)
            .as_wire()
            .to_owned(),
        attach_data: None,
    };
    let read = ImMsgDataReadNotify {
        user_id: 2,
        session_id: 3,
        msg_id: 1,
        session_type: 1,
    };
    attacker.send(Command::ServerKickUser, &kick).await;
    attacker.send(Command::UserStatusUpdate, &update).await;
    attacker.send(Command::ValidateReq, &validate).await;
    attacker
        .send(
            Command::StopReceivePacket,
            &ImStopReceivePacket { result: 0 },
        )
        .await;
    attacker
        .send(
            Command::ServerPcLoginStatusNotify,
            &ImServerPcLoginStatusNotify {
                user_id: 2,
                login_status: 0,
            },
        )
        .await;
    attacker.send(Command::MsgDataReadNotify, &read).await;
    let mut internal = 0;
    for command in Command::ALL {
        if command.handler() == im_codec::Handler::Internal {
            attacker
                .send_bytes(&encode_raw(command, 3, &[8, 2, 16, 2, 24, 1]))
                .await;
            internal += 1;
        }
    }
    assert_eq!(commands(&attacker.settle().await), []);
    let log = platform.process("all").unwrap().log();
    let lines = log.matches("a client sent a command of servers").count();
    assert!((1..10).contains(&lines), "a line a second: {lines}");
    assert_eq!(commands(&victim.fence(&mut friend).await), []);
    assert!(
        !commands(&phone.fence(&mut friend).await)
            .iter()
            .any(|one| *one != Command::MsgData),
        "the phone heard something"
    );
    let request = im_proto_teamtalk::buddy::ImUsersStatReq {
        user_id: 0,
        user_id_list: vec![2],
        attach_data: None,
    };
    let status: im_proto_teamtalk::buddy::ImUsersStatRsp =
        friend.ask(Command::UsersStatReq, &request).await;
    assert_eq!(status.user_stat_list[0].status, 1);
    let metrics = Metrics::read(platform.process("all").unwrap())
        .await
        .unwrap();
    assert!(metrics.sum("im_msg_refused", "\"command\"") >= f64::from(internal));
}

/// Connects once from this source and leaves in one of several ways.
async fn come_and_go(target: SocketAddr, n: u32) {
    let source = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n % 50).unwrap());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    // Half of them leave with a reset, which also leaves no port behind in TIME_WAIT.
    if n.is_multiple_of(2) {
        socket.set_zero_linger().unwrap();
    }
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).unwrap();
    let mut stream = socket.connect(target).await.unwrap();
    let bytes: &[u8] = match n % 5 {
        0 => &[],
        1 => &[0, 0, 0],
        2 => &[0, 0, 0, 16, 0, 1, 0, 0, 0, 7, 7, 1, 0, 0, 0, 0],
        3 => &[0, 0, 0, 200, 0, 1, 0, 0, 0, 3, 3, 1, 0, 1, 0, 0, 8, 1],
        _ => &[0xff; 16],
    };
    // The server may close first.
    drop(stream.write_all(bytes).await);
}

/// S-95: a hundred thousand connects and closes from several sources; after the second half
/// descriptors and memory are within five percent of what they were after the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_connections_leave_nothing_behind() {
    const ROUND: u32 = 50_000;
    const AT_ONCE: usize = 64;
    /// An allocator keeps some pages either way: what 50,000 leaks of 20 bytes would show above.
    const SLACK_KIB: u64 = 1_024;
    let mut platform = own_platform(2, &[]).await;
    let address = platform.msg_address("all");
    let pid = platform.process("all").unwrap().pid();
    let mut a = Terminal::login(address, 1, Windows).await;
    let mut b = Terminal::login(address, 2, Windows).await;
    // The store opens its readers when they are first needed.
    let mut bound = descriptors(pid).unwrap() + 32;
    let mut after = Vec::new();
    for _ in 0..2 {
        let round = async {
            use futures::StreamExt as _;
            futures::stream::iter(0..ROUND)
                .for_each_concurrent(AT_ONCE, |n| come_and_go(address, n))
                .await;
        };
        tokio::join!(round, chat(&mut a, &mut b, 20));
        wait::until("closed descriptors", wait::SOON, || async {
            (descriptors(pid).ok()? <= bound).then_some(())
        })
        .await
        .unwrap();
        let left = descriptors(pid).unwrap();
        bound = left + left / 20;
        after.push(resident_kib(pid).unwrap());
    }
    let (first, second) = (after[0], after[1]);
    let bound = first + first / 20 + SLACK_KIB;
    // Freed pages go back to the kernel a little later.
    wait::until("given back memory", Duration::from_secs(20), || async {
        (resident_kib(pid).ok()? <= bound).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{first} KiB after the first half, {second} after: {error}"));
    // The last ones may have left just now.
    let process = platform.process("all").unwrap();
    let metrics = wait::until("two connections", wait::SOON, || async {
        let metrics = Metrics::read(process).await.ok()?;
        (metrics.sum("im_msg_connections", "") < 3.0).then_some(metrics)
    })
    .await
    .unwrap();
    assert_eq!(metrics.sum("im_msg_connections", ""), 2.0);
    assert!(metrics.sum("im_msg_accepted_connections", "") >= f64::from(2 * ROUND));
    chat(&mut a, &mut b, 2).await;
}

/// S-11 and limits: an address that has all the connections it may have pays for the next with the one of
/// its own that has been silent longest; others lose none.
#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let settings = [
        "msg.max_connections_per_address=20",
        "msg.max_connections=80",
    ];
    let mut platform = own_platform(1, &settings).await;
    let address = platform.msg_address("all");
    let connect = async |last: u8| {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let mut terminal = Terminal::connect_from(address, from).await;
        terminal.settle().await;
        terminal
    };
    let mut others = vec![connect(6).await];
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(connect(5).await);
    }
    others.push(connect(6).await);
    for _ in 0..5 {
        kept.push(connect(5).await);
        kept.remove(0).closed().await;
    }
    others.push(connect(7).await);
    for mut terminal in kept.into_iter().chain(others) {
        terminal.settle().await;
    }
}
