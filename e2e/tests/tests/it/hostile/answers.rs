//! Short questions with long answers.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_codec::encode;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::siege::{Siege, attacker, ground, source};
use im_proto_teamtalk::buddy::ImAllUserReq;
use im_proto_teamtalk::message::{
    ImGetMsgListReq, ImMsgData, ImMsgDataAck, ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};
use tokio::time::{sleep, timeout};

use crate::support::*;

/// The largest message that is stored.
const BODY: usize = 255 << 10;

async fn terminal(msg: SocketAddr, user: u32) -> Terminal {
    let mut terminal = Terminal::connect_from(msg, source(32, 1).into()).await;
    let answer = terminal.try_login(&login_request(user, Windows)).await;
    assert_eq!(answer.result_code, 0);
    terminal
}

fn voice(group: u32) -> ImMsgData {
    ImMsgData {
        msg_type: MsgType::GroupAudio.into(),
        msg_data: vec![7; BODY].into(),
        ..text_message(0, in_group(group), "x")
    }
}

/// A group with this many large messages of each member. Members write one after the other, so that
/// nobody is sent what the others wrote.
async fn large_history(msg: SocketAddr, members: &[u32], each: u32) -> u32 {
    let mut creator = terminal(msg, members[0]).await;
    let group = make_group(&mut creator, "large", members).await;
    drop(creator);
    for user in members {
        let mut writer = terminal(msg, *user).await;
        for _ in 0..each {
            let _: ImMsgDataAck = writer.ask(Command::MsgData, &voice(group)).await;
        }
    }
    group
}

/// Each of twelve members asks sixteen times at once for fifty MiB of history, and reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_nobody_reads() {
    const ASKERS: u32 = 12;
    let mut siege = Siege::separate(ground(50)).await;
    let msg = siege.msg();
    let members: Vec<u32> = (1..=50).map(attacker).collect();
    let group = large_history(msg, &members, 4).await;
    siege.calm().await;
    let request = ImGetMsgListReq {
        user_id: 1,
        session_type: SessionType::Group.into(),
        session_id: group,
        msg_id_begin: 0,
        msg_cnt: 200,
        attach_data: None,
    };
    let questions = encode(Command::GetMsgListReq, 1, &request).repeat(16);
    for _ in 0..2 {
        let attack = async {
            let mut conns = Vec::new();
            for n in 1..=ASKERS {
                let from = source(33, 1);
                let user = attacker(n);
                let mut conn = Attacker::login(msg, from, user, Windows, Ears::Closed).await;
                // Who asks too much is read later.
                drop(timeout(Duration::from_secs(1), conn.send(&questions)).await);
                conns.push(conn);
            }
            sleep(Duration::from_secs(3)).await;
            drop(conns);
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}

/// Strangers put somebody into many groups and leave a large message in each. At every login that
/// person asks what is unread: the answer is bounded, and counts all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_conversations_left_by_strangers() {
    const STRANGERS: u32 = 30;
    const GROUPS: usize = 40;
    let mut siege = Siege::separate(ground(STRANGERS + 1)).await;
    let msg = siege.msg();
    let victim = attacker(STRANGERS + 1);
    let poison = (1..=STRANGERS).map(|n| async move {
        let mut stranger = terminal(msg, attacker(n)).await;
        let mut left = 0;
        let leave = async {
            for n in 0..GROUPS {
                let request = ImGroupCreateReq {
                    user_id: 0,
                    group_type: GroupType::Tmp.into(),
                    group_name: format!("g{n}"),
                    group_avatar: String::new(),
                    member_id_list: vec![stranger.user(), victim],
                    attach_data: None,
                };
                let made: ImGroupCreateRsp = stranger.ask(Command::GroupCreateReq, &request).await;
                // There are bounds for that, too.
                let Some(group) = made.group_id else { break };
                let _: ImMsgDataAck = stranger.ask(Command::MsgData, &voice(group)).await;
                left += 1;
            }
        };
        // They may be held up.
        drop(timeout(Duration::from_secs(6), leave).await);
        left
    });
    let left: u32 = join_all(poison).await.into_iter().sum();
    siege.note(format!("{left} groups with a message"));
    assert!(left > STRANGERS, "strangers left {left} messages");
    siege.calm().await;
    for _ in 0..2 {
        let attack = async {
            let mut totals = Vec::new();
            for _ in 0..3 {
                let mut person = terminal(msg, victim).await;
                let request = ImUnreadMsgCntReq {
                    user_id: 1,
                    attach_data: None,
                };
                let answer: ImUnreadMsgCntRsp =
                    person.ask(Command::UnreadMsgCntReq, &request).await;
                totals.push(answer.total_cnt);
            }
            totals
        };
        let totals = siege.round(attack).await;
        siege.expect(totals.iter().all(|total| *total >= left), || {
            format!("{left} messages are unread, the answers count {totals:?}")
        });
    }
    siege.holds().await;
}

/// Everybody's directory, asked for in the forms that no kept answer serves, as fast as answers come or
/// without reading them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_again_and_again() {
    const PEOPLE: u32 = 20_000;
    let mut siege = Siege::separate(ground(PEOPLE)).await;
    let msg = siege.msg();
    let request = ImAllUserReq {
        user_id: 1,
        latest_update_time: 1,
        attach_data: None,
    };
    let questions = encode(Command::AllUserReq, 1, &request).repeat(16);
    for _ in 0..2 {
        let asked = (0..8_u32).map(|n| {
            let questions = &questions;
            async move {
                let (kind, ears) = match n % 4 {
                    0 => (Windows, Ears::Closed),
                    2 => (Ios, Ears::Open),
                    _ => (Android, Ears::Open),
                };
                let user = attacker(1 + n);
                let mut conn = Attacker::login(msg, source(34, 1), user, kind, ears).await;
                conn.flood(questions, Duration::from_secs(3)).await
            }
        });
        siege.round(join_all(asked)).await;
    }
    siege.holds().await;
}

/// The directory of very many people, again and again: whoever chats meanwhile is acknowledged while
/// it is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_as_long_as_the_whole_directory() {
    const PEOPLE: u32 = 50_000;
    const ASKERS: u32 = 4;
    // What was asked for before the meter counts is answered nevertheless: hundreds of MiB.
    let options = ground(PEOPLE).set("msg.meter.answers_burst=16MiB");
    let mut siege = Siege::separate(options).await;
    let msg = siege.msg();
    let request = ImAllUserReq {
        user_id: 1,
        latest_update_time: 1,
        attach_data: None,
    };
    let questions = encode(Command::AllUserReq, 1, &request).repeat(16);
    let before = siege.chat().acks.len();
    for _ in 0..2 {
        let asked = (0..ASKERS).map(|n| {
            let questions = &questions;
            async move {
                let kind = if n % 2 == 0 { Windows } else { Android };
                let user = attacker(1 + n);
                let mut conn = Attacker::login(msg, source(35, 1), user, kind, Ears::Open).await;
                conn.flood(questions, Duration::from_secs(2)).await
            }
        });
        siege.round(join_all(asked)).await;
    }
    let mut acks = siege.chat().acks.split_off(before);
    acks.sort_unstable();
    let half = acks.get(acks.len() / 2).copied().unwrap_or(Duration::MAX);
    siege.expect(half < Duration::from_millis(50), || {
        format!("half of the acknowledgements took {half:?} or more")
    });
    let metrics = super::metrics(&mut siege, "msg1").await;
    let limited = metrics.sum("im_msg_limited", "\"answers\"");
    siege.expect(limited > 0.0, || "nobody's answers were metered".to_owned());
    siege.holds().await;
}
