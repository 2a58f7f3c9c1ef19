//! Conversations, frame by frame, on two msg servers: what each
//! terminal sees, in order (S-17, S-27, S-31).

use std::time::Duration;

use im_proto_teamtalk::base::UserStatType;
use im_proto_teamtalk::buddy::{ImUserStatNotify, ImpcLoginStatusNotify};
use im_proto_teamtalk::login::ImKickUser;
use im_proto_teamtalk::message::{ImMsgDataAck, ImMsgDataReadAck, ImMsgDataReadNotify};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use tokio::time::Instant;

use crate::support::*;

const ONLINE: i32 = UserStatType::UserStatusOnline as i32;

async fn two_servers(people: u32) -> (Platform, std::net::SocketAddr, std::net::SocketAddr) {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 2,
    };
    let mut platform = Platform::separate(shape, Options::people(people))
        .await
        .unwrap();
    let (first, second) = (platform.msg_address("msg1"), platform.msg_address("msg2"));
    (platform, first, second)
}

/// The first PC login is told to the phone and to all PCs on both servers; a second
/// one on the other server kicks the first, and nobody is told that the user went.
#[tokio::test]
async fn a_first_and_a_second_pc_login_of_one_user_on_two_servers() {
    let (_platform, msg1, msg2) = two_servers(12).await;
    let mut observer1 = Terminal::login(msg1, 11, Windows).await;
    let mut observer2 = Terminal::login(msg2, 12, Mac).await;
    let mut u10i = Terminal::login(msg1, 10, Ios).await;

    let mut u10w = Terminal::login(msg1, 10, Windows).await;
    let status: ImpcLoginStatusNotify = u10i.push(Command::PcLoginStatusNotify).await;
    assert_eq!(
        status,
        ImpcLoginStatusNotify {
            user_id: 10,
            login_stat: ONLINE
        }
    );
    for observer in [&mut observer1, &mut observer2, &mut u10w] {
        assert_eq!(observer.presence_of(10).await.status, ONLINE);
    }

    let mut u10m = Terminal::login(msg2, 10, Mac).await;
    let begin = Instant::now();
    let kick: ImKickUser = u10w.push(Command::KickUser).await;
    assert_eq!((kick.user_id, kick.kick_reason), (10, 1));
    u10w.closed().await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "kicked and closed"
    );
    // What comes now reaches the new one.
    let later = observer1.say(with_user(10), "to whom?").await.msg_id;
    let copy = u10m.message().await;
    assert_eq!((copy.msg_id, text_of(&copy).as_str()), (later, "to whom?"));
    assert_eq!(u10m.presence_of(10).await.status, ONLINE);
    u10i.fence(&mut observer2).await;
    for (observer, peer) in [(&mut observer1, &mut observer2)] {
        observer.fence(peer).await;
        for frame in observer.take_notices() {
            let stat = body::<ImUserStatNotify>(&frame).user_stat;
            assert_ne!((stat.user_id, stat.status), (10, 2), "a PC is still there");
        }
    }
    assert!(!commands(&u10m.settle().await).contains(&Command::KickUser));
}

/// Ack with the sender's number; copies on both servers with number 0 and without routing
/// data; the read notice to the reader's other terminals on another server.
#[tokio::test]
async fn a_single_text_from_windows_and_ios_on_one_server_to_android_on_the_other() {
    let (_platform, msg1, msg2) = two_servers(20).await;
    let mut u10w = Terminal::login(msg1, 10, Windows).await;
    let mut u10i = Terminal::login(msg1, 10, Ios).await;
    let mut u20a = Terminal::login(msg2, 20, Android).await;
    let mut u20w = Terminal::login(msg1, 20, Windows).await;

    for n in 1..=5 {
        let text = text_message(0, with_user(20), "你好");
        u10w.send_seq(Command::MsgData, 417 + n, &text).await;
        let ack: ImMsgDataAck = u10w.answer(Command::MsgDataAck, 417 + n).await;
        let n = u32::from(n);
        assert_eq!(
            ack,
            ImMsgDataAck {
                user_id: 10,
                session_id: 20,
                msg_id: n,
                session_type: 1
            }
        );
        for terminal in [&mut u10i, &mut u20a, &mut u20w] {
            let copy = terminal.message().await;
            assert_eq!(
                (copy.from_user_id, copy.to_session_id, copy.msg_id),
                (10, 20, n)
            );
            assert_eq!(copy.msg_data, text.msg_data);
        }
    }
    u20a.send(
        Command::MsgDataAck,
        &ImMsgDataAck {
            user_id: 10,
            session_id: 20,
            msg_id: 5,
            session_type: 1,
        },
    )
    .await;
    let read = ImMsgDataReadAck {
        user_id: 20,
        session_id: 10,
        msg_id: 5,
        session_type: 1,
    };
    u20a.send(Command::MsgDataReadAck, &read).await;
    let notice: ImMsgDataReadNotify = u20w.push(Command::MsgDataReadNotify).await;
    assert_eq!(
        notice,
        ImMsgDataReadNotify {
            user_id: 20,
            session_id: 10,
            msg_id: 5,
            session_type: 1
        }
    );
    // Signals across servers.
    let signal = Imp2pCmdMsg {
        from_user_id: 0,
        to_user_id: 20,
        cmd_msg_data: "{}".to_owned(),
    };
    u10w.send(Command::P2pCmdMsg, &signal).await;
    for terminal in [&mut u10i, &mut u20a, &mut u20w] {
        let heard: Imp2pCmdMsg = terminal.push(Command::P2pCmdMsg).await;
        assert_eq!((heard.from_user_id, heard.to_user_id), (10, 20));
    }
    assert!(
        commands(&u10w.settle().await)
            .iter()
            .all(|one| *one != Command::MsgData)
    );
}

/// Members on both servers, each terminal once and in order, whoever of them writes.
#[tokio::test]
async fn a_group_text_on_two_servers() {
    let (_platform, msg1, msg2) = two_servers(30).await;
    let mut u10w = Terminal::login(msg1, 10, Windows).await;
    let mut u10a = Terminal::login(msg2, 10, Android).await;
    let mut u20 = Terminal::login(msg1, 20, Windows).await;
    let mut u30 = Terminal::login(msg2, 30, Windows).await;
    let group = make_group(&mut u10w, "g", &[10, 20, 30]).await;
    for n in 0..20 {
        let speakers = [&mut u10w, &mut u20, &mut u30];
        let speaker = speakers.into_iter().nth(n % 3).unwrap();
        let ack = speaker.say(in_group(group), &n.to_string()).await;
        assert_eq!(
            (ack.session_id, ack.msg_id, ack.session_type),
            (group, n as u32 + 1, 2)
        );
    }
    for (own, terminal) in [(0, &mut u10w), (9, &mut u10a), (1, &mut u20), (2, &mut u30)] {
        for n in (0..20_usize).filter(|n| n % 3 != own) {
            let copy = terminal.message().await;
            assert_eq!(
                (copy.msg_id as usize, text_of(&copy)),
                (n + 1, n.to_string())
            );
            assert_eq!(copy.from_user_id, [10, 20, 30][n % 3]);
        }
        assert!(!commands(&terminal.settle().await).contains(&Command::MsgData));
    }
}
