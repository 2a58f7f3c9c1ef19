//! What is stored: recent sessions, unread counts, lists, single messages (S-36, S-39, S-40).

use im_core::Peer;
use im_proto_teamtalk::base::{ContactSessionInfo, UnreadInfo};
use im_proto_teamtalk::buddy::{
    ImRecentContactSessionReq, ImRecentContactSessionRsp, ImRemoveSessionNotify,
    ImRemoveSessionReq, ImRemoveSessionRsp,
};
use im_proto_teamtalk::message::{
    ImGetLatestMsgIdReq, ImGetLatestMsgIdRsp, ImGetMsgByIdReq, ImGetMsgByIdRsp, ImGetMsgListReq,
    ImGetMsgListRsp, ImMsgData, ImMsgDataReadAck, ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};

use crate::support::*;

fn kind(peer: Peer) -> i32 {
    i32::try_from(peer.session_type().to_wire()).unwrap()
}

/// A list of stored messages.
pub(crate) async fn list(
    asker: &mut Terminal,
    peer: Peer,
    begin: u32,
    count: u32,
) -> ImGetMsgListRsp {
    let request = ImGetMsgListReq {
        user_id: 0,
        session_type: kind(peer),
        session_id: peer.session_id(),
        msg_id_begin: begin,
        msg_cnt: count,
        attach_data: None,
    };
    let answer: ImGetMsgListRsp = asker.ask(Command::GetMsgListReq, &request).await;
    assert_eq!(
        (answer.user_id, answer.session_id),
        (asker.user(), peer.session_id())
    );
    assert_eq!(
        (answer.session_type, answer.msg_id_begin),
        (kind(peer), begin),
        "an echo"
    );
    answer
}

/// Message ids of a list, as it comes.
pub(crate) async fn ids(asker: &mut Terminal, peer: Peer, begin: u32, count: u32) -> Vec<u32> {
    let answer = list(asker, peer, begin, count).await;
    answer
        .msg_list
        .iter()
        .map(|message| message.msg_id)
        .collect()
}

async fn unread_all(asker: &mut Terminal) -> ImUnreadMsgCntRsp {
    let request = ImUnreadMsgCntReq {
        user_id: 0,
        attach_data: None,
    };
    let answer: ImUnreadMsgCntRsp = asker.ask(Command::UnreadMsgCntReq, &request).await;
    assert_eq!(answer.user_id, asker.user());
    let sum: u32 = answer
        .unreadinfo_list
        .iter()
        .map(|info| info.unread_cnt)
        .sum();
    assert_eq!(answer.total_cnt, sum);
    answer
}

/// The unread entry of one conversation.
pub(crate) async fn unread(asker: &mut Terminal, peer: Peer) -> Option<UnreadInfo> {
    let answer = unread_all(asker).await;
    answer
        .unreadinfo_list
        .into_iter()
        .find(|info| (info.session_type, info.session_id) == (kind(peer), peer.session_id()))
}

/// The recent sessions.
pub(crate) async fn recents(asker: &mut Terminal, since: u32) -> Vec<ContactSessionInfo> {
    let request = ImRecentContactSessionReq {
        user_id: 0,
        latest_update_time: since,
        attach_data: None,
    };
    let answer: ImRecentContactSessionRsp =
        asker.ask(Command::RecentContactSessionReq, &request).await;
    answer.contact_session_list
}

/// Id of the newest message, 0 for none.
pub(crate) async fn latest(asker: &mut Terminal, peer: Peer) -> u32 {
    let request = ImGetLatestMsgIdReq {
        user_id: 0,
        session_type: kind(peer),
        session_id: peer.session_id(),
        attach_data: None,
    };
    let answer: ImGetLatestMsgIdRsp = asker.ask(Command::GetLatestMsgIdReq, &request).await;
    answer.latest_msg_id
}

/// They have read up to this message.
pub(crate) async fn read(reader: &mut Terminal, peer: Peer, msg_id: u32) {
    let ack = ImMsgDataReadAck {
        user_id: 0,
        session_id: peer.session_id(),
        msg_id,
        session_type: kind(peer),
    };
    reader.send(Command::MsgDataReadAck, &ack).await;
}

/// Waits until the unread count is this: a read ack has no answer.
pub(crate) async fn expect_unread(reader: &mut Terminal, peer: Peer, count: u32) {
    let same =
        async { while unread(reader, peer).await.map_or(0, |info| info.unread_cnt) != count {} };
    tokio::time::timeout(WAIT, same)
        .await
        .unwrap_or_else(|_| panic!("unread is not {count}"));
}

/// S-36: who has never logged in finds everything, in order, with ids, times and authors.
#[tokio::test]
async fn who_was_away_finds_what_was_sent() {
    let shared = platform().await;
    let [a, b] = users();
    let mut sender = shared.pc(a).await;
    let mut times = Vec::new();
    for n in 1..=50 {
        sender.say(with_user(b), &format!("text {n}")).await;
        times.push(im_core::time::UnixSeconds::now().get());
    }
    let mut receiver = shared.pc(b).await;
    let info = unread(&mut receiver, with_user(a)).await.unwrap();
    assert_eq!((info.unread_cnt, info.latest_msg_id), (50, 50));
    assert_eq!(info.latest_msg_from_user_id, a);
    let answer = list(&mut receiver, with_user(a), 50, 50).await;
    assert_eq!(answer.msg_list.len(), 50);
    for (message, n) in answer.msg_list.iter().rev().zip(1_u32..) {
        assert_eq!((message.msg_id, message.from_session_id), (n, a));
        assert!(message.create_time.abs_diff(times[n as usize - 1]) <= 1);
        let data = ImMsgData {
            msg_data: message.msg_data.clone(),
            ..ImMsgData::default()
        };
        assert_eq!(text_of(&data), format!("text {n}"));
    }
    assert_eq!(
        commands(&receiver.settle().await),
        [],
        "nothing is pushed at login"
    );
}

/// D20: newest first, from the id or the newest, never more than asked or allowed.
#[tokio::test]
async fn lists_go_backwards_and_are_bounded() {
    let mut platform = own_platform(3, &["msg.rate_limit=0"]).await;
    let address = platform.msg_address("all");
    let mut a = Terminal::login(address, 1, Windows).await;
    let mut b = Terminal::login(address, 2, Windows).await;
    let mut stranger = Terminal::login(address, 3, Windows).await;
    for n in 0..250 {
        let by = if n % 2 == 0 { (&mut a, 2) } else { (&mut b, 1) };
        by.0.say(with_user(by.1), "x").await;
    }
    let down = |from: u32, to: u32| (to..=from).rev().collect::<Vec<_>>();
    assert_eq!(ids(&mut a, with_user(2), 0, 20).await, down(250, 231));
    assert_eq!(ids(&mut b, with_user(1), 230, 18).await, down(230, 213));
    assert_eq!(ids(&mut a, with_user(2), 5, 18).await, down(5, 1));
    assert_eq!(
        ids(&mut a, with_user(2), 1_000_000, 2).await,
        down(250, 249)
    );
    assert_eq!(ids(&mut a, with_user(2), 0, 0).await, [0_u32; 0]);
    assert_eq!(ids(&mut a, with_user(2), 0, 1_000_000).await, down(250, 51));
    assert_eq!(ids(&mut a, with_user(2), 0, u32::MAX).await, down(250, 51));
    assert_eq!(ids(&mut stranger, with_user(2), 0, 20).await, [0_u32; 0]);
    assert_eq!(ids(&mut a, with_user(4_000_000), 0, 20).await, [0_u32; 0]);
    assert_eq!(ids(&mut a, in_group(4_000_000), 0, 20).await, [0_u32; 0]);
}

/// F23, F24: the Windows client's tags come back, all 16 bits.
#[tokio::test]
async fn tags_of_history_requests_are_echoed() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    pc.say(with_user(b), "x").await;
    let request = ImGetMsgListReq {
        user_id: a,
        session_type: SessionType::Single.into(),
        session_id: b,
        msg_id_begin: 0,
        msg_cnt: 1,
        attach_data: None,
    };
    for tag in [0xff01, 0xff02, 0xff03] {
        pc.send_seq(Command::GetMsgListReq, tag, &request).await;
    }
    for tag in [0xff03, 0xff01, 0xff02] {
        let answer: ImGetMsgListRsp = pc.answer(Command::GetMsgListRsp, tag).await;
        assert_eq!(answer.msg_list.len(), 1);
    }
}

/// D20, D21: by id at most 100, only what exists and may be seen; the newest id for members.
#[tokio::test]
async fn single_messages_and_the_newest_id() {
    let shared = platform().await;
    let [a, b, c] = users();
    let mut pc = shared.pc(a).await;
    let mut stranger = shared.pc(c).await;
    let group = make_group(&mut pc, "g", &[a, b]).await;
    for _ in 0..5 {
        pc.say(with_user(b), "pair").await;
        pc.say(in_group(group), "group").await;
    }
    let by_id = async |asker: &mut Terminal, peer: Peer, wanted: Vec<u32>| {
        let request = ImGetMsgByIdReq {
            user_id: 0,
            session_type: kind(peer),
            session_id: peer.session_id(),
            msg_id_list: wanted,
            attach_data: None,
        };
        let answer: ImGetMsgByIdRsp = asker.ask(Command::GetMsgByIdReq, &request).await;
        assert_eq!(
            (answer.session_type, answer.session_id),
            (kind(peer), peer.session_id())
        );
        let mut found: Vec<u32> = answer
            .msg_list
            .iter()
            .map(|message| message.msg_id)
            .collect();
        found.sort_unstable();
        found
    };
    for peer in [with_user(b), in_group(group)] {
        assert_eq!(by_id(&mut pc, peer, vec![5, 2, 9, 0, 2]).await, [2, 5]);
        assert_eq!(
            by_id(&mut pc, peer, (1..=10_000).collect()).await,
            [1, 2, 3, 4, 5]
        );
        assert_eq!(by_id(&mut pc, peer, vec![]).await, [0_u32; 0]);
        assert_eq!(latest(&mut pc, peer).await, 5);
    }
    assert_eq!(
        by_id(&mut stranger, in_group(group), vec![1]).await,
        [0_u32; 0]
    );
    assert_eq!(latest(&mut stranger, in_group(group)).await, 0);
    assert_eq!(latest(&mut stranger, with_user(b)).await, 0);
}

/// D18, D19, S-39: own messages never count, positions are ids, 0 or an impossible id
/// means everything; groups and people count apart; sending in a group reads what went before.
#[tokio::test]
async fn unread_counts_follow_messages_and_positions() {
    let shared = platform().await;
    let [a, b] = users();
    let mut a_pc = shared.pc(a).await;
    let mut b_pc = shared.pc(b).await;
    let group = make_group(&mut a_pc, "g", &[a, b]).await;
    let (pair, team) = (with_user(a), in_group(group));
    for _ in 0..4 {
        a_pc.say(with_user(b), "to b").await;
    }
    b_pc.say(pair, "from b").await;
    a_pc.say(with_user(b), "to b").await; // ids 1–4, 6 unread for b; 5 for a
    a_pc.say(team, "to all").await;
    a_pc.say(team, "to all").await;

    let info = unread(&mut b_pc, pair).await.unwrap();
    assert_eq!((info.unread_cnt, info.latest_msg_id), (5, 6));
    assert_eq!(unread(&mut b_pc, team).await.unwrap().unread_cnt, 2);
    assert_eq!(unread_all(&mut b_pc).await.total_cnt, 7);
    assert_eq!(unread(&mut a_pc, with_user(b)).await.unwrap().unread_cnt, 1);
    assert_eq!(unread(&mut a_pc, team).await, None);

    read(&mut b_pc, pair, 2).await;
    expect_unread(&mut b_pc, pair, 3).await;
    read(&mut b_pc, pair, 1).await; // A position does not go back.
    read(&mut b_pc, pair, 5).await;
    expect_unread(&mut b_pc, pair, 1).await;
    read(&mut b_pc, pair, 1_000_000).await;
    expect_unread(&mut b_pc, pair, 0).await;
    a_pc.say(with_user(b), "new").await;
    expect_unread(&mut b_pc, pair, 1).await;
    read(&mut b_pc, pair, 0).await;
    expect_unread(&mut b_pc, pair, 0).await;

    b_pc.say(team, "i am here").await;
    expect_unread(&mut b_pc, team, 0).await;
    assert_eq!(
        unread(&mut a_pc, team)
            .await
            .unwrap()
            .latest_msg_from_user_id,
        b
    );
}

/// F50, D48: newest first, changed in that second or later, with the newest message;
/// voice as the encrypted word; empty sessions are left out.
#[tokio::test]
async fn recent_sessions_are_newest_first_with_their_newest_message() {
    let shared = platform().await;
    let [a, b, c] = users();
    let mut pc = shared.pc(a).await;
    assert_eq!(recents(&mut pc, 0).await, []);
    let group = make_group(&mut pc, "g", &[a, b]).await;
    make_group(&mut pc, "empty", &[a, b]).await;
    let group_text = text_message(a, in_group(group), "first");
    pc.say(in_group(group), "first").await;
    pc.say(with_user(b), "second").await;
    let voice = ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        msg_data: vec![0, 0, 0, 3, 1, 2, 3].into(),
        ..text_message(a, with_user(c), "x")
    };
    let _: im_proto_teamtalk::message::ImMsgDataAck = pc.ask(Command::MsgData, &voice).await;

    let all = recents(&mut pc, 0).await;
    let mut named: Vec<_> = all
        .iter()
        .map(|one| (one.session_type, one.session_id))
        .collect();
    let times: Vec<u32> = all.iter().map(|one| one.updated_time).collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "{times:?}"
    );
    named.sort_unstable();
    let mut expected = vec![(1, b), (1, c), (2, group)];
    expected.sort_unstable();
    assert_eq!(named, expected, "the empty group is left out");
    for one in &all {
        assert_eq!(one.latest_msg_id, 1);
        let data = match (one.session_type, one.session_id) {
            (2, _) => group_text.msg_data.clone(),
            (_, id) if id == c => {
                assert_eq!(one.latest_msg_type, i32::from(MsgType::SingleAudio));
                "QhGXlpFjvMFUNrtl1aaPzA==".into()
            }
            _ => text_message(a, with_user(b), "second").msg_data,
        };
        assert_eq!(one.latest_msg_data, data);
    }
    let newest = times.iter().copied().max().unwrap();
    let again = recents(&mut pc, newest).await;
    assert!(
        !again.is_empty() && again.iter().all(|one| one.updated_time >= newest),
        "{again:?}"
    );
    assert_eq!(recents(&mut pc, newest - 1_000).await.len(), 3);
}

/// D10: removed for this user only; the iOS client asks with 0x0207; the own
/// other terminals are told of pairs; a new message brings the session back.
#[tokio::test]
async fn a_removed_session_is_gone_until_the_next_message() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut phone = shared.login(a, Ios).await;
    let mut other = shared.pc(b).await;
    let request = ImRemoveSessionReq {
        user_id: 0,
        session_type: SessionType::Single.into(),
        session_id: b,
        attach_data: None,
    };
    let nothing: ImRemoveSessionRsp = pc.ask(Command::RemoveSessionReq, &request).await;
    assert_eq!(
        (nothing.user_id, nothing.result_code),
        (a, 1),
        "there is no session yet"
    );

    for by_ios in [false, true] {
        other.say(with_user(a), "hello").await;
        assert_eq!(recents(&mut pc, 0).await.len(), 1);
        let answer: ImRemoveSessionRsp = if by_ios {
            let seq = phone.next_seq();
            let body = prost::Message::encode_to_vec(&request);
            let frame = im_client::Profile::Ios.frame(Command::RemoveSessionRsp, seq, &body);
            phone.send_bytes(&frame).await;
            phone.answer(Command::RemoveSessionRsp, seq).await
        } else {
            pc.ask(Command::RemoveSessionReq, &request).await
        };
        assert_eq!((answer.user_id, answer.result_code), (a, 0));
        assert_eq!((answer.session_type, answer.session_id), (1, b));
        let told = if by_ios { &mut pc } else { &mut phone };
        let notice: ImRemoveSessionNotify = told.push(Command::RemoveSessionNotify).await;
        assert_eq!(
            (notice.user_id, notice.session_type, notice.session_id),
            (a, 1, b)
        );
        assert_eq!(recents(&mut pc, 0).await, []);
        assert_eq!(unread(&mut pc, with_user(b)).await, None);
        assert_eq!(recents(&mut other, 0).await.len(), 1, "the peer keeps his");
    }
}
