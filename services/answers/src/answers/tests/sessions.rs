use im_codec::Command;
use im_codec::text::{LONG_PLACEHOLDER, VOICE_PLACEHOLDER};
use im_config::units::ByteSize;
use im_proto_rpc::v1::Audience;
use im_proto_teamtalk::buddy::{
    ImRecentContactSessionReq, ImRecentContactSessionRsp, ImRemoveSessionNotify,
    ImRemoveSessionReq, ImRemoveSessionRsp,
};
use im_proto_teamtalk::message::{
    ImMsgDataReadAck, ImMsgDataReadNotify, ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};

use super::groups::{add, create};
use crate::testing::{Rig, Terminal, android, ios, small_config, windows};

async fn recent_since(rig: &Rig, from: Terminal, since: u32) -> ImRecentContactSessionRsp {
    let request = ImRecentContactSessionReq {
        user_id: 4_711,
        latest_update_time: since,
        attach_data: None,
    };
    rig.ask(from, Command::RecentContactSessionReq, &request)
        .await
}

/// (type, id) of each session.
async fn recent(rig: &Rig, user: u32) -> Vec<(i32, u32)> {
    let rsp = recent_since(rig, windows(user), 0).await;
    assert_eq!(rsp.user_id, user);
    rsp.contact_session_list
        .iter()
        .map(|line| (line.session_type, line.session_id))
        .collect()
}

/// (type, id, unread) of each session, in order, and their sum.
async fn unread(rig: &Rig, user: u32) -> (Vec<(i32, u32, u32)>, u32) {
    let request = ImUnreadMsgCntReq {
        user_id: 0,
        attach_data: None,
    };
    let rsp: ImUnreadMsgCntRsp = rig
        .ask(windows(user), Command::UnreadMsgCntReq, &request)
        .await;
    let mut lines: Vec<_> = rsp
        .unreadinfo_list
        .iter()
        .map(|line| (line.session_type, line.session_id, line.unread_cnt))
        .collect();
    lines.sort_unstable();
    (lines, rsp.total_cnt)
}

fn ack(session_type: i32, session_id: u32, msg_id: u32) -> ImMsgDataReadAck {
    ImMsgDataReadAck {
        user_id: 0,
        session_id,
        msg_id,
        session_type,
    }
}

async fn read(rig: &Rig, from: Terminal, session: (i32, u32), msg_id: u32) {
    rig.silent(
        from,
        Command::MsgDataReadAck,
        &ack(session.0, session.1, msg_id),
    )
    .await;
}

#[tokio::test]
async fn recent_sessions_are_newest_first_with_their_newest_message() {
    let rig = Rig::new().await;
    rig.text(1, 2, "to two").await;
    rig.send(android(3), 1, 0x02, b"\0\0\0\x01sound").await;
    let group = create(&rig, 2, &[1, 2]).await;
    rig.group_text(2, group, "in the group").await;

    let rsp = recent_since(&rig, windows(1), 0).await;
    let lines: Vec<_> = rsp
        .contact_session_list
        .iter()
        .map(|line| {
            assert_eq!(line.session_status, 0);
            assert_eq!(line.latest_msg_id, 1);
            (
                (line.session_type, line.session_id),
                line.latest_msg_from_user_id,
                line.latest_msg_type,
                line.latest_msg_data.as_ref(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ((2, group), 2, 0x11, &b"in the group"[..]),
            ((1, 3), 3, 0x02, VOICE_PLACEHOLDER.as_bytes()),
            // In pairs the peer, whoever wrote it.
            ((1, 2), 2, 0x01, b"to two"),
        ]
    );
}

#[tokio::test]
async fn a_conversation_of_the_second_of_the_last_look_is_not_missed() {
    let rig = Rig::new().await;
    rig.text(1, 2, "a").await;
    let rsp = recent_since(&rig, windows(1), 0).await;
    let updated = rsp.contact_session_list.first().unwrap().updated_time;
    // What changes in this very second is not missed.
    rig.text(3, 1, "b").await;
    let again = recent_since(&rig, windows(1), updated).await;
    assert_eq!(again.contact_session_list.len(), 2);
}

#[tokio::test]
async fn a_long_list_reaches_android_in_several_frames() {
    let mut config = small_config();
    config.answers.max_preview = ByteSize::kib(256);
    let rig = Rig::with(config).await;
    let body = vec![b'x'; 200 << 10];
    for from in 2..=6 {
        rig.send(windows(from), 1, 0x01, &body).await;
    }
    let request = ImRecentContactSessionReq {
        user_id: 1,
        latest_update_time: 0,
        attach_data: None,
    };
    let frames: Vec<ImRecentContactSessionRsp> = rig
        .frames(android(1), Command::RecentContactSessionReq, &request)
        .await
        .unwrap();
    assert_eq!(
        frames
            .iter()
            .map(|f| f.contact_session_list.len())
            .sum::<usize>(),
        5
    );
    assert_eq!(frames.len(), 5);
    let request = ImUnreadMsgCntReq {
        user_id: 0,
        attach_data: None,
    };
    let frames: Vec<ImUnreadMsgCntRsp> = rig
        .frames(android(1), Command::UnreadMsgCntReq, &request)
        .await
        .unwrap();
    assert!(frames.iter().all(|frame| frame.total_cnt == 5));
    assert_eq!(
        frames
            .iter()
            .map(|f| f.unreadinfo_list.len())
            .sum::<usize>(),
        5
    );
}

#[tokio::test]
async fn unread_counts_leave_own_messages_out() {
    let rig = Rig::new().await;
    for _ in 0..3 {
        rig.text(2, 1, "from two").await;
    }
    rig.text(1, 2, "own").await;
    rig.text(3, 1, "from three").await;
    let group = create(&rig, 1, &[1, 2, 3]).await;
    rig.group_text(2, group, "a").await;
    rig.group_text(3, group, "b").await;
    assert_eq!(
        unread(&rig, 1).await,
        (vec![(1, 2, 3), (1, 3, 1), (2, group, 2)], 6)
    );
    assert_eq!(unread(&rig, 2).await, (vec![(1, 1, 1), (2, group, 1)], 2));
    // Sending reads the group for the sender.
    assert_eq!(unread(&rig, 3).await, (vec![], 0));
    // Who joins later starts at zero.
    assert_eq!(add(&rig, 1, group, &[4]).await, 0);
    assert_eq!(unread(&rig, 4).await, (vec![], 0));
    rig.group_text(2, group, "c").await;
    assert_eq!(unread(&rig, 4).await, (vec![(2, group, 1)], 1));
}

#[tokio::test]
async fn a_read_position_counts_before_it_is_in_the_store_and_after() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        rig.text(2, 1, "x").await;
    }
    read(&rig, windows(1), (1, 2), 2).await;
    assert!(
        !rig.context
            .positions
            .pending(crate::testing::user(1))
            .is_empty()
    );
    assert_eq!(unread(&rig, 1).await, (vec![(1, 2, 3)], 3));
    rig.context.positions.flush().await.unwrap();
    assert_eq!(unread(&rig, 1).await, (vec![(1, 2, 3)], 3));
    // Back it never goes.
    read(&rig, windows(1), (1, 2), 1).await;
    assert_eq!(unread(&rig, 1).await, (vec![(1, 2, 3)], 3));
    read(&rig, windows(1), (1, 2), 4).await;
    assert_eq!(unread(&rig, 1).await, (vec![(1, 2, 1)], 1));
}

#[tokio::test]
async fn zero_and_placeholder_ids_read_everything_but_nothing_to_come() {
    let rig = Rig::new().await;
    for id in [0, 1_000_000, u32::MAX] {
        rig.text(2, 1, "x").await;
        rig.text(2, 1, "y").await;
        assert_eq!(unread(&rig, 1).await.1, 2);
        read(&rig, ios(1), (1, 2), id).await;
        assert_eq!(unread(&rig, 1).await.1, 0);
    }
    rig.text(2, 1, "z").await;
    assert_eq!(unread(&rig, 1).await.1, 1);
}

#[tokio::test]
async fn the_other_terminals_hear_of_a_change_once() {
    let mut rig = Rig::new().await;
    rig.text(2, 1, "x").await;
    read(&rig, windows(1), (1, 2), 1).await;
    let (event, notify): (_, ImMsgDataReadNotify) = rig.event(Command::MsgDataReadNotify).await;
    assert_eq!(
        notify,
        ImMsgDataReadNotify {
            user_id: 1,
            session_id: 2,
            msg_id: 1,
            session_type: 1
        }
    );
    assert_eq!((event.users.as_slice(), event.broadcast), (&[1][..], false));
    assert_eq!(
        (event.except, event.audience()),
        (windows(1).origin, Audience::All)
    );
    // The phone answers the notice with an acknowledgement of its own: the end of it.
    read(&rig, ios(1), (1, 2), 1).await;
    read(&rig, ios(1), (1, 2), 0).await;
    rig.no_event().await;
}

#[tokio::test]
async fn an_ack_for_nothing_that_he_may_see_has_no_effect() {
    let mut rig = Rig::new().await;
    let group = create(&rig, 2, &[2, 3]).await;
    rig.group_text(2, group, "x").await;
    for session in [(1, 5), (1, 1), (1, 0), (2, group), (2, 999)] {
        read(&rig, windows(1), session, 1).await;
    }
    assert!(
        rig.context
            .positions
            .pending(crate::testing::user(1))
            .is_empty()
    );
    rig.no_event().await;
}

#[tokio::test]
async fn a_removed_session_is_gone_until_a_new_message() {
    let mut rig = Rig::new().await;
    rig.text(2, 1, "x").await;
    let request = |session_type, session_id| ImRemoveSessionReq {
        user_id: 3,
        session_type,
        session_id,
        attach_data: None,
    };
    let rsp: ImRemoveSessionRsp = rig
        .ask(windows(1), Command::RemoveSessionReq, &request(1, 2))
        .await;
    assert_eq!(
        rsp,
        ImRemoveSessionRsp {
            user_id: 1,
            result_code: 0,
            session_type: 1,
            session_id: 2,
            attach_data: None
        }
    );
    let (event, notify): (_, ImRemoveSessionNotify) = rig.event(Command::RemoveSessionNotify).await;
    assert_eq!(
        notify,
        ImRemoveSessionNotify {
            user_id: 1,
            session_type: 1,
            session_id: 2
        }
    );
    assert_eq!(
        (event.users.as_slice(), event.except),
        (&[1][..], windows(1).origin)
    );
    assert_eq!(recent(&rig, 1).await, []);
    assert_eq!(unread(&rig, 1).await.1, 0);
    assert_eq!(recent(&rig, 2).await, [(1, 1)], "the peer's list stays");

    for (session_type, session_id) in [(1, 2), (1, 5), (1, 1), (2, 9), (1, 0)] {
        let rsp: ImRemoveSessionRsp = rig
            .ask(
                windows(1),
                Command::RemoveSessionReq,
                &request(session_type, session_id),
            )
            .await;
        assert_eq!(rsp.result_code, 1, "{session_type} {session_id}");
    }
    rig.no_event().await;

    rig.text(2, 1, "again").await;
    assert_eq!(recent(&rig, 1).await, [(1, 2)]);
    assert_eq!(unread(&rig, 1).await, (vec![(1, 2, 1)], 1));
}

#[tokio::test]
async fn ios_removes_a_session_with_the_number_of_the_answer() {
    let rig = Rig::new().await;
    rig.text(2, 1, "x").await;
    let request = ImRemoveSessionReq {
        user_id: 0,
        session_type: 1,
        session_id: 2,
        attach_data: None,
    };
    let body = prost::Message::encode_to_vec(&request).into();
    let answer = rig.raw(ios(1), 0x0207, body).await;
    assert_eq!(answer.command, 0x0207);
    let rsp: ImRemoveSessionRsp = im_codec::decode_checked(answer.body).unwrap();
    assert_eq!(rsp.result_code, 0);
}

#[tokio::test]
async fn a_group_session_is_removed_without_a_notice() {
    let mut rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2]).await;
    rig.group_text(2, group, "x").await;
    let request = ImRemoveSessionReq {
        user_id: 0,
        session_type: 2,
        session_id: group,
        attach_data: None,
    };
    let rsp: ImRemoveSessionRsp = rig
        .ask(windows(1), Command::RemoveSessionReq, &request)
        .await;
    assert_eq!(rsp.result_code, 0);
    rig.no_event().await;
    assert_eq!(recent(&rig, 1).await, []);
    rig.group_text(2, group, "y").await;
    assert_eq!(recent(&rig, 1).await, [(2, group)]);
}

#[tokio::test]
async fn unread_answers_are_bounded_newest_first_and_the_rest_counts_in_the_total() {
    let mut config = small_config();
    config.answers.max_unread_sessions = 2;
    let rig = Rig::with(config).await;
    for from in [2, 3, 4] {
        rig.text(from, 1, "first").await;
        rig.text(from, 1, "second").await;
    }
    let (lines, total) = unread(&rig, 1).await;
    assert_eq!((lines, total), (vec![(1, 3, 2), (1, 4, 2)], 6));
}

#[tokio::test]
async fn a_long_newest_message_appears_as_a_valid_placeholder() {
    let rig = Rig::new().await;
    let (fits, long) = ("x".repeat(4_096), "x".repeat(4_097));
    rig.text(2, 1, &fits).await;
    rig.text(3, 1, &long).await;
    let request = ImUnreadMsgCntReq {
        user_id: 0,
        attach_data: None,
    };
    let rsp: ImUnreadMsgCntRsp = rig.ask(ios(1), Command::UnreadMsgCntReq, &request).await;
    let shown = |id| {
        let line = rsp.unreadinfo_list.iter().find(|l| l.session_id == id);
        line.unwrap().latest_msg_data.clone()
    };
    assert_eq!(shown(2), fits.as_bytes());
    assert_eq!(shown(3), LONG_PLACEHOLDER.as_bytes());
    let recent = recent_since(&rig, ios(1), 0).await;
    let line = &recent.contact_session_list[0];
    assert_eq!(line.latest_msg_data, LONG_PLACEHOLDER.as_bytes());
}

#[tokio::test]
async fn a_time_of_a_clock_that_was_ahead_hides_nothing() {
    let rig = Rig::new().await;
    rig.text(2, 1, "x").await;
    let ahead = im_core::time::UnixSeconds::now().get() + 100_000;
    let rsp = recent_since(&rig, windows(1), ahead).await;
    assert_eq!(rsp.contact_session_list.len(), 1);
}
