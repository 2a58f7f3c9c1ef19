//! What each client sends again, and what becomes of it (D15; I2).
//!
//! Windows alone repeats by itself: the identical frame, once, about six seconds later, on whatever
//! connection it has then. All others leave it to their user, whose second attempt has a new number.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use im_client::Profile;
use im_core::{ClientType, Peer};
use im_e2e::wait;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};

use crate::support::*;

/// Longer than any restart on a busy machine, and within every bound.
const LONG_WINDOW: &str = "db_proxy.writer.frame_window=10m";

/// Unix seconds by the clock of a client.
const CLOCK: u32 = 1_700_000_000;

/// A text with the sender's clock in it, as Windows and Android send it.
fn timed(from: u32, to: Peer, text: &str, clock: u32) -> ImMsgData {
    ImMsgData {
        create_time: clock,
        ..text_message(from, to, text)
    }
}

/// Sends a frame under this number, and takes the id it was stored under.
async fn store(terminal: &mut Terminal, seq: u16, message: &ImMsgData) -> u32 {
    terminal.send_seq(Command::MsgData, seq, message).await;
    let ack: ImMsgDataAck = terminal.answer(Command::MsgDataAck, seq).await;
    ack.msg_id
}

/// A terminal with the header values of its client.
async fn terminal(address: SocketAddr, user: u32, kind: ClientType) -> Terminal {
    let profile = match kind {
        Windows => Profile::Windows,
        Mac => Profile::Mac,
        Ios => Profile::Ios,
        Android => Profile::Android,
    };
    Terminal::login(address, user, kind)
        .await
        .with_profile(profile)
}

/// Windows reconnects three seconds after it lost its connection, so its retry may come by another
/// one, from another msg server, and after any process was restarted.
#[tokio::test]
async fn a_windows_retry_keeps_its_id_over_reconnects_servers_and_restarts() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let options = CHEAP_HASHES
        .iter()
        .fold(Options::people(2), |options, set| options.set(set))
        .set(LONG_WINDOW);
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let first = platform.msg_address("msg1");
    let second = platform.msg_address("msg2");
    let message = timed(1, with_user(2), "once", CLOCK);

    let mut pc = terminal(first, 1, Windows).await;
    for _ in 0..2 {
        assert_eq!(store(&mut pc, 418, &message).await, 1, "same connection");
    }
    for (what, address, killed) in [
        ("another connection", first, None),
        ("another msg server", second, None),
        ("the msg server was restarted", first, Some("msg1")),
        ("the db-proxy was restarted", second, Some("db")),
        ("the route server was restarted", second, Some("route1")),
    ] {
        if let Some(name) = killed {
            platform.kill_and_restart(name).await.unwrap();
        }
        let mut pc = login_when_whole(address).await;
        assert_eq!(store(&mut pc, 418, &message).await, 1, "{what}");
    }
    let mut pc = login_when_whole(first).await;
    assert_eq!(pc.say(with_user(2), "next").await.msg_id, 2);
    let mut receiver = Terminal::login(second, 2, Mac).await;
    let ids = crate::history::ids(&mut receiver, with_user(1), 0, 10).await;
    assert_eq!(ids, [2, 1]);
}

/// Logs in as soon as the roles have found one another again.
async fn login_when_whole(address: SocketAddr) -> Terminal {
    let login = || async {
        let mut terminal = Terminal::connect(address).await;
        let answer = terminal.try_login(&login_request(1, Windows)).await;
        (answer.result_code == 0).then(|| terminal.with_profile(Profile::Windows))
    };
    wait::until("a login", Duration::from_secs(30), login)
        .await
        .unwrap()
}

/// A retry that comes while the first copy still waits for db-proxy joins it.
#[tokio::test]
async fn a_retry_joins_a_message_that_waits_to_be_stored() {
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(2)).await.unwrap();
    let mut pc = terminal(platform.msg_address("msg1"), 1, Windows).await;
    platform.process("db").unwrap().kill9().unwrap();
    let message = timed(1, with_user(2), "patience", CLOCK);
    for _ in 0..2 {
        pc.send_seq(Command::MsgData, 77, &message).await;
    }
    platform.kill_and_restart("db").await.unwrap();
    for _ in 0..2 {
        let ack: ImMsgDataAck = pc.answer(Command::MsgDataAck, 77).await;
        assert_eq!(ack.msg_id, 1);
    }
    assert_eq!(pc.say(with_user(2), "next").await.msg_id, 2);
}

/// Mac and iOS count from 1 again after each start, and send no clock: an equal number, text and
/// receiver on a new connection is a new message, or somebody's second "ok" would be lost.
#[tokio::test]
async fn a_number_that_a_mac_or_an_iphone_counts_again_is_a_new_message() {
    let shared = platform().await;
    for kind in [Mac, Ios] {
        let [a, b] = users();
        let message = timed(a, with_user(b), "ok", 0);
        for id in 1..=3 {
            let mut sender = terminal(shared.address, a, kind).await;
            assert_eq!(store(&mut sender, 12, &message).await, id, "{kind:?}");
            // On one connection the number counts, whoever repeats it.
            assert_eq!(store(&mut sender, 12, &message).await, id, "{kind:?}");
        }
    }
}

/// A user who tries again does so under a new number.
#[tokio::test]
async fn what_a_user_sends_once_more_is_a_new_message() {
    let shared = platform().await;
    for kind in [Windows, Mac, Ios, Android] {
        let [a, b] = users();
        let mut sender = terminal(shared.address, a, kind).await;
        let message = timed(a, with_user(b), "hello?", CLOCK);
        for (seq, id) in [(31, 1), (32, 2)] {
            assert_eq!(store(&mut sender, seq, &message).await, id, "{kind:?}");
        }
    }
}

/// Whatever differs makes another message: number, second, text, type, receiver, terminal, sender.
#[tokio::test]
async fn what_only_looks_like_an_earlier_message_is_stored() {
    let shared = platform().await;
    let [a, b, c] = users();
    let base = timed(a, with_user(b), "yes", CLOCK);
    let voice = ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        ..base.clone()
    };
    let mut pc = terminal(shared.address, a, Windows).await;
    assert_eq!(store(&mut pc, 9, &base).await, 1);
    assert_eq!(store(&mut pc, 10, &base).await, 2, "number");
    let later = timed(a, with_user(b), "yes", CLOCK + 1);
    assert_eq!(store(&mut pc, 9, &later).await, 3, "second");
    let other = timed(a, with_user(b), "no", CLOCK);
    assert_eq!(store(&mut pc, 9, &other).await, 4, "text");
    assert_eq!(store(&mut pc, 9, &voice).await, 5, "type");
    let elsewhere = timed(a, with_user(c), "yes", CLOCK);
    assert_eq!(store(&mut pc, 9, &elsewhere).await, 1, "receiver");
    let mut phone = terminal(shared.address, a, Android).await;
    assert_eq!(store(&mut phone, 9, &base).await, 6, "terminal");
    let mut back = terminal(shared.address, b, Windows).await;
    let from_b = timed(b, with_user(a), "yes", CLOCK);
    assert_eq!(store(&mut back, 9, &from_b).await, 7, "sender");
    // And the first is still known.
    assert_eq!(store(&mut pc, 9, &base).await, 1);
}

/// The bounds of recognition: a time, and a number of messages stored since.
#[tokio::test]
async fn a_repetition_is_recognised_within_its_time_and_number() {
    let set = ["db_proxy.writer.frame_window=1s"];
    let mut platform = own_platform(2, &set).await;
    let mut pc = terminal(platform.msg_address("all"), 1, Windows).await;
    let message = timed(1, with_user(2), "late", CLOCK);
    assert_eq!(store(&mut pc, 5, &message).await, 1);
    let late = async {
        while store(&mut pc, 5, &message).await == 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WAIT, late)
        .await
        .expect("after its time it is a new message");

    let set = [LONG_WINDOW, "db_proxy.writer.retry_keys=3"];
    let mut platform = own_platform(2, &set).await;
    let mut pc = terminal(platform.msg_address("all"), 1, Windows).await;
    assert_eq!(store(&mut pc, 5, &message).await, 1);
    for id in [2, 3] {
        assert_eq!(pc.say(with_user(2), "between").await.msg_id, id);
    }
    assert_eq!(store(&mut pc, 5, &message).await, 1, "two messages later");
    assert_eq!(pc.say(with_user(2), "between").await.msg_id, 4);
    assert_eq!(store(&mut pc, 5, &message).await, 5, "three messages later");
}

/// Our own client's id says it all: neither connection nor number nor clock matter.
#[tokio::test]
async fn our_own_clients_id_is_recognised_on_any_connection_under_any_number() {
    let shared = platform().await;
    let [a, b] = users();
    for (seq, clock) in [(5, 0), (0, CLOCK), (900, CLOCK + 50)] {
        let message = ImMsgData {
            client_msg_id: Some(Bytes::from_static(b"an id of 16 byte")),
            ..timed(a, with_user(b), "once", clock)
        };
        let mut sender = shared.pc(a).await;
        assert_eq!(store(&mut sender, seq, &message).await, 1);
    }
}
