//! Messages from user to user (S-29, S-33, S-34, S-42, S-43, S-45,
//! S-46).

use bytes::Bytes;
use im_proto_teamtalk::message::{
    ImClientTimeReq, ImClientTimeRsp, ImMsgData, ImMsgDataAck, ImMsgDataReadAck,
    ImMsgDataReadNotify,
};
use im_proto_teamtalk::switch::Imp2pCmdMsg;

use crate::support::*;

const SINGLE: i32 = SessionType::Single as i32;

/// The ack echoes the number; the receiver's terminals and the sender's other
/// one get the message with id, time and author of the server; the sending one gets no copy.
#[tokio::test]
async fn a_text_is_acknowledged_to_its_sender_and_delivered_to_all_other_terminals() {
    let shared = platform().await;
    let [a, b] = users();
    let mut a_pc = shared.pc(a).await;
    let mut a_phone = shared.phone(a).await;
    let mut b_pc = shared.login(b, Mac).await;
    let mut b_phone = shared.login(b, Ios).await;

    for (n, text) in (1..).zip(["你好", "😀 Hi", "third"]) {
        // The client's author, id and time are not believed (S-45).
        let message = ImMsgData {
            from_user_id: b + 1,
            msg_id: 77,
            create_time: 1,
            ..text_message(a, with_user(b), text)
        };
        let seq = a_pc.send(Command::MsgData, &message).await;
        let ack: ImMsgDataAck = a_pc.answer(Command::MsgDataAck, seq).await;
        let expected = ImMsgDataAck {
            user_id: a,
            session_id: b,
            msg_id: n,
            session_type: SINGLE,
        };
        assert_eq!(ack, expected);
        for terminal in [&mut a_phone, &mut b_pc, &mut b_phone] {
            let copy = terminal.message().await;
            assert_eq!(
                (copy.from_user_id, copy.to_session_id, copy.msg_id),
                (a, b, n)
            );
            assert!(
                copy.create_time
                    .abs_diff(im_core::time::UnixSeconds::now().get())
                    <= 2
            );
            assert_eq!(copy.msg_data, message.msg_data, "bodies are opaque");
            assert_eq!(copy.msg_type, message.msg_type);
        }
    }
    let answer = b_pc.say(with_user(a), "back").await;
    assert_eq!(answer.msg_id, 4, "a pair has one sequence of ids");
    assert_eq!(text_of(&a_pc.message().await), "back");
    assert_eq!(
        commands(&a_pc.settle().await),
        [],
        "no copy to the sending terminal"
    );
}

/// D17, S-42: voice passes byte for byte; four bytes or less are nothing to hear.
#[tokio::test]
async fn voice_passes_unchanged_and_an_empty_one_gets_no_ack() {
    let shared = platform().await;
    let [a, b] = users();
    let mut sender = shared.phone(a).await;
    let mut receiver = shared.pc(b).await;
    let voice = |data: Vec<u8>| ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        msg_data: Bytes::from(data),
        ..text_message(a, with_user(b), "x")
    };
    for short in [vec![1], vec![0, 0, 0, 3]] {
        sender.send(Command::MsgData, &voice(short)).await;
    }
    let sound: Vec<u8> = [0, 0, 0, 3]
        .into_iter()
        .chain((0..60_000).map(|n| (n % 251) as u8))
        .collect();
    let ack: ImMsgDataAck = sender.ask(Command::MsgData, &voice(sound.clone())).await;
    assert_eq!(ack.msg_id, 1);
    let copy = receiver.message().await;
    assert_eq!(copy.msg_type, i32::from(MsgType::SingleAudio));
    assert_eq!(copy.msg_data, sound);
    assert_eq!(commands(&sender.settle().await), []);
}

/// D15, S-33: the identical frame again gets the same id and is stored and delivered once;
/// another text under the same number is another message.
#[tokio::test]
async fn a_frame_sent_again_is_the_same_message() {
    let shared = platform().await;
    let [a, b] = users();
    let mut sender = shared.pc(a).await;
    let mut receiver = shared.pc(b).await;
    let message = text_message(a, with_user(b), "again and again");
    for _ in 0..3 {
        sender.send_seq(Command::MsgData, 418, &message).await;
    }
    for _ in 0..3 {
        let ack: ImMsgDataAck = sender.answer(Command::MsgDataAck, 418).await;
        assert_eq!(ack.msg_id, 1);
    }
    sender
        .send_seq(
            Command::MsgData,
            418,
            &text_message(a, with_user(b), "other"),
        )
        .await;
    let ack: ImMsgDataAck = sender.answer(Command::MsgDataAck, 418).await;
    assert_eq!(ack.msg_id, 2);
    // Number 0 says nothing about repetition.
    for id in [3, 4] {
        sender.send_seq(Command::MsgData, 0, &message).await;
        let ack: ImMsgDataAck = sender.answer(Command::MsgDataAck, 0).await;
        assert_eq!(ack.msg_id, id);
    }
    let seen: Vec<u32> = [
        receiver.message().await.msg_id,
        receiver.message().await.msg_id,
        receiver.message().await.msg_id,
        receiver.message().await.msg_id,
    ]
    .into();
    assert_eq!(seen, [1, 2, 3, 4]);
}

/// I2: our own client's message id makes a message the same after a reconnect, and after a restart
/// of every process.
#[tokio::test]
async fn a_client_message_id_is_recognised_after_reconnect_and_restart() {
    let mut platform = own_platform(2, &[]).await;
    let address = platform.msg_address("all");
    let message = ImMsgData {
        client_msg_id: Some(Bytes::from_static(b"0123456789abcdef")),
        ..text_message(1, with_user(2), "once")
    };
    for round in 0..4 {
        if round == 2 {
            platform.kill_and_restart("all").await.unwrap();
        }
        let mut sender = Terminal::login(address, 1, Windows).await;
        let ack: ImMsgDataAck = sender.ask(Command::MsgData, &message).await;
        assert_eq!(ack.msg_id, 1, "round {round}");
    }
    let mut sender = Terminal::login(address, 1, Windows).await;
    assert_eq!(sender.say(with_user(2), "twice").await.msg_id, 2);
}

/// S-43: at the limit stored and delivered, one byte more not; the connection stays.
#[tokio::test]
async fn a_message_above_the_size_limit_is_not_stored() {
    let mut platform = own_platform(2, &["db_proxy.writer.max_body=5000B"]).await;
    let address = platform.msg_address("all");
    let mut sender = Terminal::login(address, 1, Windows).await;
    let mut receiver = Terminal::login(address, 2, Windows).await;
    let sized = |bytes: usize| ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        msg_data: Bytes::from(vec![7; bytes]),
        ..text_message(1, with_user(2), "x")
    };
    sender.send(Command::MsgData, &sized(5_001)).await;
    let ack: ImMsgDataAck = sender.ask(Command::MsgData, &sized(5_000)).await;
    assert_eq!(ack.msg_id, 1);
    assert_eq!(receiver.message().await.msg_data.len(), 5_000);
    assert_eq!(commands(&sender.settle().await), []);
}

/// F14, F15, D18: the reader's other terminals hear of a read position, the reading one, the
/// author and strangers do not; a repetition says nothing new and is not passed on.
#[tokio::test]
async fn a_read_position_is_told_to_the_readers_other_terminals_once() {
    let shared = platform().await;
    let [a, b] = users();
    let mut author = shared.pc(a).await;
    let mut pc = shared.pc(b).await;
    let mut phone = shared.phone(b).await;
    for n in 1..=3 {
        author.say(with_user(b), "read me").await;
        assert_eq!(pc.message().await.msg_id, n);
        assert_eq!(phone.message().await.msg_id, n);
    }
    phone.settle().await;
    let read = |msg_id| ImMsgDataReadAck {
        user_id: 0,
        session_id: a,
        msg_id,
        session_type: SINGLE,
    };
    for msg_id in [2, 2, 1] {
        pc.send(Command::MsgDataReadAck, &read(msg_id)).await;
    }
    let notice: ImMsgDataReadNotify = phone.push(Command::MsgDataReadNotify).await;
    let expected = ImMsgDataReadNotify {
        user_id: b,
        session_id: a,
        msg_id: 2,
        session_type: SINGLE,
    };
    assert_eq!(notice, expected);
    // The phone says the same, as iOS does: the PC need not hear it, or they would never end.
    phone.send(Command::MsgDataReadAck, &read(2)).await;
    assert_eq!(commands(&phone.fence(&mut author).await), []);
    assert_eq!(commands(&pc.fence(&mut author).await), [Command::MsgData]);
    assert_eq!(
        commands(&author.settle().await),
        [],
        "no receipts towards authors"
    );
}

/// A receipt changes nothing and is never answered or passed on.
#[tokio::test]
async fn receipts_are_taken_silently() {
    let shared = platform().await;
    let [a, b] = users();
    let mut author = shared.pc(a).await;
    let mut receiver = shared.phone(b).await;
    author.say(with_user(b), "arrived?").await;
    let message = receiver.message().await;
    for (user_id, session_id) in [(b, a), (a, b), (0, 0)] {
        let receipt = ImMsgDataAck {
            user_id,
            session_id,
            msg_id: message.msg_id,
            session_type: SINGLE,
        };
        receiver.send(Command::MsgDataAck, &receipt).await;
    }
    assert_eq!(commands(&receiver.settle().await), []);
    assert_eq!(commands(&author.settle().await), []);
}

#[tokio::test]
async fn the_time_is_answered_at_once() {
    let shared = platform().await;
    let [user] = users();
    let mut pc = shared.pc(user).await;
    let answer: ImClientTimeRsp = pc.ask(Command::ClientTimeReq, &ImClientTimeReq {}).await;
    assert!(
        answer
            .server_time
            .abs_diff(im_core::time::UnixSeconds::now().get())
            <= 1
    );
}

/// D25: to all terminals of the receiver and the sender's other ones, text unchanged, author
/// from the session, number 0; nothing is stored.
#[tokio::test]
async fn a_signal_is_passed_on_under_its_true_author() {
    let shared = platform().await;
    let [a, b] = users();
    let mut a_pc = shared.pc(a).await;
    let mut a_phone = shared.phone(a).await;
    let mut b_pc = shared.pc(b).await;
    let mut b_phone = shared.phone(b).await;
    let text = "{\"cmd_id\":65537,\"content\":\"shakewindow\",\"service_id\":1}\n";
    for claimed in [a, 0, b] {
        let signal = Imp2pCmdMsg {
            from_user_id: claimed,
            to_user_id: b,
            cmd_msg_data: text.to_owned(),
        };
        a_pc.send(Command::P2pCmdMsg, &signal).await;
        for terminal in [&mut a_phone, &mut b_pc, &mut b_phone] {
            let heard: Imp2pCmdMsg = terminal.push(Command::P2pCmdMsg).await;
            assert_eq!(
                heard,
                Imp2pCmdMsg {
                    from_user_id: a,
                    ..signal.clone()
                }
            );
        }
    }
    assert_eq!(commands(&a_pc.settle().await), []);
    assert_eq!(
        a_pc.say(with_user(b), "first").await.msg_id,
        1,
        "signals are not stored"
    );
}

/// I3: messages of one connection keep their order, whatever is in flight.
#[tokio::test]
async fn the_order_of_one_sender_is_kept() {
    let shared = platform().await;
    let [a, b] = users();
    let mut sender = shared.pc(a).await;
    let mut receiver = shared.pc(b).await;
    let frames: Vec<u8> = (1..=60_u16)
        .flat_map(|n| {
            let message = text_message(a, with_user(b), &n.to_string());
            im_codec::encode(Command::MsgData, 1_000 + n, &message).to_vec()
        })
        .collect();
    sender.send_bytes(&frames).await;
    for n in 1..=60_u16 {
        let ack: ImMsgDataAck = sender.answer(Command::MsgDataAck, 1_000 + n).await;
        assert_eq!(ack.msg_id, u32::from(n));
        let copy = receiver.message().await;
        assert_eq!((copy.msg_id, text_of(&copy)), (u32::from(n), n.to_string()));
    }
}
