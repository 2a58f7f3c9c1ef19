//! The before-send filter: what it allows, denies and replaces, and whom it keeps waiting.

mod faults;
mod server;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use im_e2e::gauges::Metrics;
use im_e2e::wait;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::history::list;
use crate::push::webhook::is_signed;
use crate::support::*;
use server::{Say, Server, allow, allowed, deny, verdicts};

/// What signs in these tests.
const SECRET: &str = "a secret of the filter's tests";

/// Settings of a filter; the secret lies in this folder.
fn settings(filter: &Server, dir: &Path, more: &[&str]) -> Vec<String> {
    let secret = dir.join("filter-secret");
    std::fs::write(&secret, SECRET).unwrap();
    let mut all = vec![
        format!("db_proxy.filter.url=\"http://{}/judge\"", filter.address),
        format!("db_proxy.filter.secret_file=\"{}\"", secret.display()),
        // The longest that there may be: nothing here waits for it, unless a test says so.
        "db_proxy.filter.timeout=2s".to_owned(),
    ];
    all.extend(more.iter().map(|it| (*it).to_owned()));
    all
}

/// A platform of one process with a filter.
async fn filtered(people: u32, filter: &Server, more: &[&str]) -> (Platform, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let set = settings(filter, dir.path(), more);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    (own_platform(people, &set).await, dir)
}

/// Texts of a conversation, the oldest first.
async fn texts(asker: &mut Terminal, peer: im_core::Peer) -> Vec<String> {
    let found = list(asker, peer, 0, 100).await;
    let mut texts: Vec<_> = found.msg_list.iter().map(stored_text).collect();
    texts.reverse();
    texts
}

fn stored_text(message: &im_proto_teamtalk::base::MsgInfo) -> String {
    let message = ImMsgData {
        msg_data: message.msg_data.clone(),
        ..ImMsgData::default()
    };
    text_of(&message)
}

/// Whether an acknowledgement under this number has come.
async fn is_acknowledged(terminal: &mut Terminal, seq: u16) -> bool {
    let frames = terminal.settle().await;
    let mut acks = { frames.iter() }.filter(|it| it.command() == Some(Command::MsgDataAck));
    acks.any(|ack| ack.header.seq == seq)
}

/// Waits until a counter of a process has reached this.
async fn counted(platform: &mut Platform, process: &str, name: &str, part: &str, least: f64) {
    let process = platform.process(process).unwrap();
    let reached = || async {
        let now = Metrics::read(process).await.unwrap().sum(name, part);
        (now >= least).then_some(())
    };
    let what = format!("{name} {part} {least}");
    wait::until(&what, wait::SOON, reached).await.unwrap();
}

#[tokio::test]
async fn a_filter_allows_denies_and_replaces_what_people_write() {
    let filter = Server::start().await;
    let judge = |message: &Value| match message["text"].as_str() {
        Some(text) if text.contains("veto") => json!({"verdict": "deny"}),
        Some(text) if text.contains("rude") => json!({"verdict": "replace", "text": "*** 好"}),
        _ => json!({"verdict": "allow"}),
    };
    filter.says(move |asked| Say::Verdicts(verdicts(asked, judge)));
    let texts_only = ["db_proxy.filter.kinds=[\"text\"]"];
    let (mut platform, _dir) = filtered(2, &filter, &texts_only).await;
    let address = platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let mut ben = Terminal::login(address, 2, Mac).await;
    let group = make_group(&mut ann, "filtered", &[1, 2]).await;

    assert_eq!(ann.say(with_user(2), "hello, 世界").await.msg_id, 1);
    let heard = filter.heard();
    assert!(is_signed(&heard[0], SECRET));
    assert_eq!(heard[0].path, "/judge");
    let asked = heard[0].json();
    assert_eq!(asked["type"], "message.filter");
    let message = &asked["messages"][0];
    assert_eq!(message["text"], "hello, 世界", "what a person reads");
    assert_eq!(
        [&message["sender"], &message["receiver"], &message["kind"]],
        [&json!(1), &json!(2), &json!("text")]
    );
    assert_eq!(message["conversation"], "users-1-2");

    // What comes behind it is acknowledged, so the veto has been heard.
    let denied = text_message(1, with_user(2), "a veto");
    let seq = ann.send(Command::MsgData, &denied).await;
    assert_eq!(ann.say(with_user(2), "a rude word").await.msg_id, 2);
    assert!(!is_acknowledged(&mut ann, seq).await);
    for text in ["hello, 世界", "*** 好"] {
        assert_eq!(text_of(&ben.message().await), text);
    }
    assert_eq!(
        texts(&mut ben, with_user(1)).await,
        ["hello, 世界", "*** 好"]
    );

    // The same frame again: asked about again, and stored once when the filter has changed its mind.
    let before = filter.heard().len();
    ann.send_seq(Command::MsgData, seq, &denied).await;
    filter.asked(before + 1).await;
    assert_eq!(ann.say(with_user(2), "behind it").await.msg_id, 3);
    assert!(!is_acknowledged(&mut ann, seq).await);
    filter.says(allow);
    let before = filter.heard().len();
    for _ in 0..3 {
        ann.send_seq(Command::MsgData, seq, &denied).await;
        let ack: ImMsgDataAck = ann.answer(Command::MsgDataAck, seq).await;
        assert_eq!(ack.msg_id, 4);
    }
    assert_eq!(
        filter.heard().len(),
        before + 1,
        "what is stored is not asked about"
    );

    assert_eq!(ann.say(in_group(group), "to all").await.msg_id, 1);
    let asked = filter.heard().last().unwrap().json();
    assert_eq!(asked["messages"][0]["group"], group);
    let before = filter.heard().len();
    let voice = ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        msg_data: Bytes::from_static(b"\0\0\0\x05some sound"),
        ..text_message(1, with_user(2), "x")
    };
    let ack: ImMsgDataAck = ann.ask(Command::MsgData, &voice).await;
    assert_eq!(ack.msg_id, 5);
    assert_eq!(filter.heard().len(), before, "no text, no question");
}

/// C17: twenty write into one group at once, each without waiting, and the filter is slow.
#[tokio::test]
async fn a_slow_filter_reorders_nothing_of_twenty_people_in_one_group() {
    const SENDERS: u32 = 20;
    const EACH: u32 = 20;
    let filter = Server::start().await;
    filter.says(|asked| Say::Later(Duration::from_millis(20), allowed(asked)));
    let (mut platform, _dir) = filtered(SENDERS + 1, &filter, &[]).await;
    let address = platform.msg_address("all");
    let mut reader = Terminal::login(address, SENDERS + 1, Windows).await;
    let members: Vec<u32> = (1..=SENDERS + 1).collect();
    let group = make_group(&mut reader, "crowd", &members).await;
    let senders = (1..=SENDERS).map(|user| async move {
        let mut terminal = Terminal::login(address, user, Mac).await;
        let mut sent = Vec::new();
        for n in 0..EACH {
            let message = text_message(user, in_group(group), &format!("{user} {n}"));
            sent.push(terminal.send(Command::MsgData, &message).await);
        }
        for seq in sent {
            let _: ImMsgDataAck = terminal.answer(Command::MsgDataAck, seq).await;
        }
    });
    let reading = async {
        let mut next = vec![0; SENDERS as usize + 1];
        for id in 1..=SENDERS * EACH {
            let message = reader.message().await;
            assert_eq!(message.msg_id, id);
            let text = text_of(&message);
            let (user, n) = text.split_once(' ').unwrap();
            let expected: &mut u32 = &mut next[user.parse::<usize>().unwrap()];
            assert_eq!(n, expected.to_string(), "of user {user}");
            *expected += 1;
        }
    };
    tokio::join!(futures::future::join_all(senders), reading);
    let heard = filter.heard();
    let sizes: Vec<_> = heard
        .iter()
        .map(|heard| heard.json()["messages"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), (SENDERS * EACH) as usize);
    assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
    assert!(
        sizes.iter().any(|size| *size > 1),
        "what gathers goes together"
    );
}

/// C17: whoever the filter is not asked about does not notice that it hangs, however many batches of messages
/// wait for it.
#[tokio::test]
async fn a_filter_that_hangs_delays_nobody_else() {
    let filter = Server::start().await;
    let only_ann = [
        "db_proxy.filter.senders=[1]",
        "db_proxy.filter.on_failure=deny",
    ];
    let (mut platform, _dir) = filtered(3, &filter, &only_ann).await;
    let address = platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let mut ben = Terminal::login(address, 2, Mac).await;
    // Who is behind it waits for its timeout of two seconds; on a busy machine ben may take as long by himself.
    let mut undisturbed = false;
    for round in 0..10 {
        let (go, may) = watch::channel(false);
        filter.says(move |asked| Say::Once(may.clone(), allowed(asked)));
        let before = filter.heard().len();
        let mut sent = Vec::new();
        // Each in a batch of its own, of which a msg server has two in flight.
        for n in 0..8 {
            let message = text_message(1, with_user(3), &format!("{round} {n}"));
            sent.push(ann.send(Command::MsgData, &message).await);
            ann.settle().await;
        }
        filter.asked(before + 1).await;
        for n in 0..10 {
            ben.say(with_user(1), &format!("{round} {n}")).await;
        }
        undisturbed = !is_acknowledged(&mut ann, sent[0]).await;
        let denied = Metrics::read(platform.process("all").unwrap())
            .await
            .unwrap();
        undisturbed &= denied.sum("im_db_proxy_refused_messages", "unjudged") < 1.0;
        go.send_replace(true);
        if undisturbed {
            // In order, once they may go.
            filter.says(allow);
            for seq in sent {
                let _: ImMsgDataAck = ann.answer(Command::MsgDataAck, seq).await;
            }
            break;
        }
    }
    assert!(undisturbed, "ben waited with ann ten times");
}
