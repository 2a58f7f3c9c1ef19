//! Clients that mean no good (S-18, S-22, S-95, S-97; wire §2.2, §10.2).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use im_codec::{Header, encode_raw};
use im_e2e::gauges::{Metrics, descriptors, resident_kib};
use im_e2e::wait;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::support::*;

/// A pair exchanges this many messages while something else goes on, one after the other.
async fn chat(a: &mut Terminal, b: &mut Terminal, count: u32) {
    for n in 0..count {
        let (from, to) = if n.is_multiple_of(2) {
            (&mut *a, &mut *b)
        } else {
            (&mut *b, &mut *a)
        };
        let ack = from
            .say(with_user(to.user()), &format!("bystander {n}"))
            .await;
        let copy = to.message().await;
        assert_eq!(
            (copy.msg_id, text_of(&copy)),
            (ack.msg_id, format!("bystander {n}"))
        );
    }
}

/// One hostile frame or piece; the second value says that the server will close.
fn bad_bytes(random: &mut StdRng, commands: &[Command]) -> (Vec<u8>, bool) {
    let mut noise = vec![0; random.random_range(0..200)];
    random.fill_bytes(&mut noise);
    let command = commands[random.random_range(0..commands.len())];
    match random.random_range(0..6) {
        // Random bodies of known commands.
        0 => (encode_raw(command, random.random(), &noise).to_vec(), false),
        // Unknown commands and services.
        1 => {
            let header = Header {
                service_id: random.random(),
                command_id: random.random_range(0x0800..=u16::MAX),
                version: random.random(),
                flag: random.random(),
                reserved: random.random(),
                ..Header::new(Command::HeartBeat, random.random(), noise.len())
            };
            ([&header.to_bytes()[..], &noise].concat(), false)
        }
        // Almost good: a message with flipped bits.
        2 => {
            let mut frame = im_codec::encode(
                Command::MsgData,
                random.random(),
                &text_message(1, with_user(2), "almost"),
            )
            .to_vec();
            for _ in 0..3 {
                let at = random.random_range(16..frame.len());
                frame[at] ^= 1 << random.random_range(0..8);
            }
            (frame, false)
        }
        // Impossible lengths.
        3 => {
            let length = match random.random_range(0..3) {
                0 => random.random_range(0..16),
                1 => random.random_range((1 << 20) + 1..=u32::MAX),
                _ => u32::MAX,
            };
            let mut frame = encode_raw(command, 1, &noise).to_vec();
            frame[..4].copy_from_slice(&length.to_be_bytes());
            (frame, true)
        }
        // Truncated: announced, never sent; then the end.
        4 => {
            let frame = encode_raw(command, 1, &noise);
            (frame[..random.random_range(1..frame.len())].to_vec(), true)
        }
        // Pure noise: its length is what it happens to be.
        _ => {
            noise.resize(16, 0xff);
            (noise, true)
        }
    }
}

/// S-22: ten thousand random, truncated, oversized and unknown frames, before and after login, while a
/// pair chats without loss; the process is the same afterwards and serves everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_bad_frames_disturb_nobody() {
    const FRAMES: usize = 10_000;
    const SOURCES: usize = 8;
    let seed: u64 = std::env::var("IM_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("IM_SEED={seed}");
    // Login attempts with random names are not what is tested: each would cost a lookup.
    let commands: Vec<Command> = Command::ALL
        .into_iter()
        .filter(|command| !matches!(command, Command::LogoutReq | Command::LoginReq))
        .collect();
    let mut platform = own_platform(20, &["msg.rate_limit=0"]).await;
    let address = platform.msg_address("all");
    let pid = platform.process("all").unwrap().pid();
    let mut a = Terminal::login(address, 19, Windows).await;
    let mut b = Terminal::login(address, 20, Windows).await;

    let attackers = (0..SOURCES).map(|source| {
        let commands = &commands;
        async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(source as u64));
            let mut conn: Option<TcpStream> = None;
            let mut sent = 0;
            while sent < FRAMES / SOURCES {
                let mut stream = match conn.take() {
                    Some(stream) => stream,
                    None => {
                        let mut stream = TcpStream::connect(address).await.unwrap();
                        if source % 2 == 0 {
                            let login = login_request(source as u32 + 1, Windows);
                            let frame = im_codec::encode(Command::LoginReq, 1, &login);
                            stream.write_all(&frame).await.unwrap();
                            // What comes before the answer would be refused unseen.
                            let answer = stream.read(&mut [0; 4_096]).await.unwrap();
                            assert!(answer > 16, "logged in");
                        }
                        stream
                    }
                };
                let (bytes, ends) = bad_bytes(&mut random, commands);
                sent += 1;
                // The server may have closed because of the frame before.
                let gone = stream.write_all(&bytes).await.is_err();
                // Answers are not read for long; who does not read is closed, which is fine too.
                let mut sink = [0; 4_096];
                while matches!(stream.try_read(&mut sink), Ok(1..)) {}
                if !(ends || gone) {
                    conn = Some(stream);
                }
            }
        }
    });
    tokio::join!(
        futures::future::join_all(attackers),
        chat(&mut a, &mut b, 100)
    );

    assert_eq!(platform.process("all").unwrap().pid(), pid);
    assert!(
        std::fs::metadata(format!("/proc/{pid}")).is_ok(),
        "the process lives"
    );
    Terminal::login(address, 10, Windows).await.settle().await;
    chat(&mut a, &mut b, 2).await;
    let metrics = Metrics::read(platform.process("all").unwrap())
        .await
        .unwrap();
    for reason in ["FrameLength", "Malformed", "Command"] {
        let count = metrics.sum("im_msg_refused", reason);
        assert!(count > 100.0, "{count} refused for {reason}");
    }
    let log = platform.process("all").unwrap().log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        log.len() < 2 << 20,
        "{} bytes of log for hostile clients",
        log.len()
    );
}

/// S-97, §2.2.3: lengths above the bound are refused before anything is allocated for them, and a
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
    assert!(metrics.sum("im_msg_refused", "Command") >= f64::from(internal));
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

/// S-11 and limits: who takes more connections than one address may have is turned away; others are not.
#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let settings = [
        "msg.max_connections_per_address=20",
        "msg.max_connections=40",
    ];
    let mut platform = own_platform(1, &settings).await;
    let address = platform.msg_address("all");
    let from = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut terminal = Terminal::connect_from(address, from(5)).await;
        terminal.settle().await;
        kept.push(terminal);
    }
    let begin = Instant::now();
    Terminal::connect_from(address, from(5))
        .await
        .closed()
        .await;
    for _ in 0..20 {
        let mut terminal = Terminal::connect_from(address, from(6)).await;
        terminal.settle().await;
        kept.push(terminal);
    }
    Terminal::connect_from(address, from(7))
        .await
        .closed()
        .await;
    assert!(begin.elapsed() < Duration::from_secs(5));
    kept.truncate(10);
    wait::until("a place", wait::SOON, || async {
        let mut terminal = Terminal::connect_from(address, from(7)).await;
        let probe = im_codec::heartbeat(9);
        terminal.raw().send_bytes(&probe).await.ok()?;
        terminal.raw().recv(WAIT).await.ok().map(drop)
    })
    .await
    .unwrap();
    for mut terminal in kept {
        terminal.settle().await;
    }
}
