//! Connections, gate and limits (S-11, S-21 to S-25).

use std::time::Duration;

use im_client::RawError;
use im_codec::{Header, encode, encode_raw};
use im_proto_teamtalk::buddy::{ImUsersStatReq, ImUsersStatRsp};
use im_proto_teamtalk::login::ImLogoutReq;
use im_proto_teamtalk::message::{ImClientTimeReq, ImClientTimeRsp, ImMsgDataReadAck};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use tokio::time::Instant;

use crate::support::*;

/// F1, F2 and F3 come back byte for byte, before login too.
#[tokio::test]
async fn a_heartbeat_comes_back_unchanged_before_and_after_login() {
    let shared = platform().await;
    let [user] = users();
    let frames: [[u8; 16]; 3] = [
        [0, 0, 0, 16, 0, 1, 0, 0, 0, 7, 7, 1, 0, 0, 0, 0],
        [0, 0, 0, 16, 0, 6, 0, 0, 0, 7, 7, 1, 0, 3, 0, 0x30],
        [0, 0, 0, 16, 0, 13, 0, 0, 0, 7, 7, 1, 0xff, 2, 0, 1],
    ];
    let mut terminal = Terminal::connect(shared.address).await;
    for bytes in frames {
        terminal.send_bytes(&bytes).await;
        let echo = terminal.raw().recv(WAIT).await.unwrap();
        assert_eq!(echo.to_bytes().as_ref(), bytes);
    }
    assert_eq!(
        terminal
            .try_login(&login_request(user, Windows))
            .await
            .result_code,
        0
    );
    for bytes in frames {
        terminal.send_bytes(&bytes).await;
        let echo = terminal
            .find("an echo", |frame| {
                frame.command() == Some(Command::HeartBeat)
            })
            .await;
        assert_eq!(echo.to_bytes().as_ref(), bytes);
    }
}

/// D2, S-11: requests before login have no answer and no effect, and login still works.
#[tokio::test]
async fn before_login_nothing_but_login_and_heartbeat_has_an_effect() {
    let shared = platform().await;
    let [stranger, victim, friend] = users();
    let mut victim_pc = shared.pc(victim).await;
    let mut friend_pc = shared.pc(friend).await;
    let mut terminal = Terminal::connect(shared.address).await;

    let signal = Imp2pCmdMsg {
        from_user_id: friend,
        to_user_id: victim,
        cmd_msg_data: "{}".to_owned(),
    };
    let read = ImMsgDataReadAck {
        user_id: victim,
        session_id: friend,
        msg_id: 1,
        session_type: SessionType::Single.into(),
    };
    terminal
        .send(
            Command::MsgData,
            &text_message(friend, with_user(victim), "forged"),
        )
        .await;
    terminal.send(Command::P2pCmdMsg, &signal).await;
    terminal.send(Command::MsgDataReadAck, &read).await;
    terminal
        .send(Command::ClientTimeReq, &ImClientTimeReq {})
        .await;
    terminal.send(Command::LogoutReq, &ImLogoutReq {}).await;
    for command in Command::ALL {
        if command != Command::LoginReq && command != Command::HeartBeat {
            // `08 01` is field 1 with the value 1: the user id of most requests.
            terminal.send_bytes(&encode_raw(command, 7, &[8, 1])).await;
        }
    }
    assert_eq!(commands(&terminal.settle().await), []);
    let answer = terminal.try_login(&login_request(stranger, Windows)).await;
    assert_eq!(answer.result_code, 0);
    assert_eq!(commands(&victim_pc.fence(&mut friend_pc).await), []);
}

/// S-22: unknown commands, unparsable bodies and odd header values neither
/// close a connection nor get an answer.
#[tokio::test]
async fn what_is_unknown_or_unparsable_is_ignored_and_the_connection_stays() {
    let shared = platform().await;
    let [user] = users();
    let mut terminal = shared.pc(user).await;
    // What original clients can send although nobody knows it.
    for (service, command) in [(7, 0x0735), (2, 0x0012), (2, 0x0014), (0x5a, 1), (0x52, 19)] {
        let header = Header {
            service_id: service,
            command_id: command,
            ..Header::new(Command::HeartBeat, 5, 3)
        };
        terminal
            .send_bytes(&[&header.to_bytes()[..], b"abc"].concat())
            .await;
    }
    for command in 0..=0x0800_u16 {
        let header = Header {
            command_id: command,
            ..Header::new(Command::HeartBeat, 9, 2)
        };
        if Command::from_id(command).is_none() {
            terminal
                .send_bytes(&[&header.to_bytes()[..], &[8, 1]].concat())
                .await;
        }
    }
    for command in Command::ALL {
        // The first byte announces field 1 with ten bytes that do not follow.
        if !matches!(
            command,
            Command::HeartBeat | Command::ClientTimeReq | Command::LogoutReq
        ) {
            terminal
                .send_bytes(&encode_raw(command, 9, &[0x0a, 10, 1]))
                .await;
        }
    }
    assert_eq!(commands(&terminal.settle().await), []);
    // Every version, flag, reserved and service is accepted.
    let seq = terminal.next_seq();
    let odd = Header {
        version: 0xffff,
        flag: 0xabcd,
        service_id: 0x1234,
        reserved: 0x30,
        ..Header::new(Command::ClientTimeReq, seq, 0)
    };
    terminal.send_bytes(&odd.to_bytes()).await;
    let time: ImClientTimeRsp = terminal.answer(Command::ClientTimeRsp, seq).await;
    assert!(time.server_time > 1_700_000_000);
}

/// Empty messages, messages to oneself, to nobody and of unknown types get no ack and
/// do not disturb what follows.
#[tokio::test]
async fn a_message_that_cannot_be_stored_gets_no_ack() {
    let shared = platform().await;
    let [sender, receiver] = users();
    let mut pc = shared.pc(sender).await;
    let mut other = shared.pc(receiver).await;
    let good = text_message(sender, with_user(receiver), "x");
    let bad = [
        im_proto_teamtalk::message::ImMsgData {
            msg_data: bytes::Bytes::new(),
            ..good.clone()
        },
        im_proto_teamtalk::message::ImMsgData {
            to_session_id: sender,
            ..good.clone()
        },
        im_proto_teamtalk::message::ImMsgData {
            to_session_id: 4_000_000,
            ..good.clone()
        },
        im_proto_teamtalk::message::ImMsgData {
            to_session_id: 0,
            ..good.clone()
        },
        im_proto_teamtalk::message::ImMsgData {
            msg_type: 3,
            ..good.clone()
        },
        im_proto_teamtalk::message::ImMsgData {
            msg_type: 0,
            ..good.clone()
        },
    ];
    for message in &bad {
        pc.send(Command::MsgData, message).await;
    }
    assert_eq!(pc.say(with_user(receiver), "after all").await.msg_id, 1);
    assert_eq!(commands(&pc.settle().await), []);
    assert_eq!(text_of(&other.message().await), "after all");
    assert_eq!(commands(&other.settle().await), []);
}

/// D14: beyond the rate the connection is read later; nothing is dropped.
#[tokio::test]
async fn beyond_the_rate_limit_messages_are_late_and_not_lost() {
    let platform = own_platform(2, &["msg.rate_limit=50", "msg.rate_burst=10"]).await;
    let mut platform = platform;
    let address = platform.msg_address("all");
    let mut sender = Terminal::login(address, 1, Windows).await;
    let mut receiver = Terminal::login(address, 2, Windows).await;
    let begin = Instant::now();
    for n in 0..60 {
        sender
            .send(
                Command::MsgData,
                &text_message(1, with_user(2), &n.to_string()),
            )
            .await;
    }
    for n in 0..60 {
        assert_eq!(text_of(&receiver.message().await), n.to_string());
    }
    // Ten at once, fifty at fifty per second, with room for a coarse clock.
    assert!(
        begin.elapsed() > Duration::from_millis(800),
        "{:?}",
        begin.elapsed()
    );
    sender.settle().await;
}

/// S-11, S-25: who does not log in is closed without a frame; a silent PC and a silent phone
/// are closed after their times; any byte is a sign of life.
#[tokio::test]
async fn silence_closes_a_connection_after_the_time_of_its_class() {
    let mut platform = own_platform(
        4,
        &[
            "msg.login_timeout=600ms",
            "msg.idle_pc=600ms",
            "msg.idle_mobile=1800ms",
            "msg.sweep_interval=50ms",
        ],
    )
    .await;
    let address = platform.msg_address("all");
    let begin = Instant::now();
    let mut nobody = Terminal::connect(address).await;
    let mut busy_nobody = Terminal::connect(address).await;
    let mut pc = Terminal::login(address, 1, Windows).await;
    let mut phone = Terminal::login(address, 2, Android).await;
    let mut dripping = Terminal::login(address, 3, Windows).await;

    let silent = async {
        assert_eq!(nobody.closed().await, [], "no frame before the close");
        assert!(begin.elapsed() >= Duration::from_millis(550));
        assert_eq!(commands(&pc.closed().await), []);
        let pc_end = begin.elapsed();
        assert_eq!(commands(&phone.closed().await), []);
        assert!(
            begin.elapsed() >= Duration::from_millis(1_700),
            "{:?}",
            begin.elapsed()
        );
        assert!(begin.elapsed() > pc_end, "a phone may be silent for longer");
    };
    let alive = async {
        // A frame in pieces: one byte each time, complete after 16.
        let heartbeat = im_codec::heartbeat(0);
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        for byte in heartbeat.iter().cycle().take(12) {
            tick.tick().await;
            dripping.send_bytes(&[*byte]).await;
        }
    };
    let ignored = async {
        // Heartbeats are answered before login, but do not put off the login timeout.
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while begin.elapsed() < Duration::from_secs(10) {
            tick.tick().await;
            if busy_nobody
                .raw()
                .send_bytes(&im_codec::heartbeat(1))
                .await
                .is_err()
            {
                break;
            }
        }
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the login timeout holds"
        );
    };
    tokio::join!(silent, alive, ignored);
    dripping
        .send_bytes(&im_codec::heartbeat(0).slice(12..))
        .await;
    dripping.settle().await;
}

/// The stated defaults are in force unless configured otherwise.
#[tokio::test]
async fn the_documented_defaults_are_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let shown = im_e2e::process::run_imd(dir.path(), &["config", "show"]).unwrap();
    for line in [
        "login_timeout = \"15s\"",
        "idle_pc = \"2m\"",
        "idle_mobile = \"5m\"",
        "rate_limit = 60",
        "rate_burst = 64",
        "pending_messages = 64",
        "pending_size = \"256KiB\"",
        "max_frame = \"1MiB\"",
        "listen = \"0.0.0.0:8000\"",
        "http_listen = \"0.0.0.0:8080\"",
        "client_listen = \"0.0.0.0:8008\"",
        "notify = \"all\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is not in\n{shown}"
        );
    }
}

/// D27, S-97: a length below 16 or above the bound closes that connection and no other.
#[tokio::test]
async fn an_impossible_length_closes_that_connection_only() {
    let shared = platform().await;
    let [user, other] = users();
    let mut bystander = shared.pc(other).await;
    for length in [
        0_u32,
        1,
        15,
        (1 << 20) + 1,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX,
    ] {
        let mut terminal = Terminal::connect(shared.address).await;
        let mut bytes = im_codec::heartbeat(1).to_vec();
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        terminal.send_bytes(&bytes).await;
        assert_eq!(terminal.closed().await, [], "length {length}");
    }
    let mut terminal = shared.pc(user).await;
    terminal.send_bytes(&[0xff; 4]).await;
    terminal.closed().await;
    assert_eq!(commands(&bystander.settle().await), []);
}

/// S-97: frames cut at every byte and a hundred frames in one write mean the same.
#[tokio::test]
async fn frames_may_come_in_pieces_or_together() {
    let shared = platform().await;
    let [user] = users();
    let mut terminal = shared.pc(user).await;
    // A question that may be asked often.
    let asking = ImUsersStatReq::default();
    let frame = encode(Command::UsersStatReq, 0x1234, &asking);
    terminal.raw().stream().set_nodelay(true).unwrap();
    for cut in 1..frame.len() {
        terminal.send_bytes(&frame[..cut]).await;
        tokio::task::yield_now().await;
        terminal.send_bytes(&frame[cut..]).await;
        let _: ImUsersStatRsp = terminal.answer(Command::UsersStatRsp, 0x1234).await;
    }
    let many: Vec<u8> = (1..=100_u16)
        .flat_map(|seq| encode(Command::UsersStatReq, seq, &asking).to_vec())
        .collect();
    terminal.send_bytes(&many).await;
    for seq in 1..=100 {
        let _: ImUsersStatRsp = terminal.answer(Command::UsersStatRsp, seq).await;
    }
    assert!(matches!(
        terminal.raw().recv(Duration::ZERO).await,
        Ok(_) | Err(RawError::Timeout)
    ));
}
