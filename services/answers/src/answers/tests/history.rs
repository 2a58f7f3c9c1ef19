use im_codec::Command;
use im_codec::text::LONG_PLACEHOLDER;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use im_proto_teamtalk::message::{
    ImGetLatestMsgIdReq, ImGetLatestMsgIdRsp, ImGetMsgByIdReq, ImGetMsgByIdRsp, ImGetMsgListReq,
    ImGetMsgListRsp, ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};
use im_store::{RetentionKind, RetentionStep, RetentionStore as _};

use super::groups::{add, create};
use crate::testing::{Rig, Terminal, android, ios, small_config, windows};

async fn list(
    rig: &Rig,
    from: Terminal,
    (session_type, session_id): (i32, u32),
    msg_id_begin: u32,
    msg_cnt: u32,
) -> Vec<u32> {
    let request = ImGetMsgListReq {
        user_id: 99,
        session_type,
        session_id,
        msg_id_begin,
        msg_cnt,
        attach_data: None,
    };
    let rsp: ImGetMsgListRsp = rig.ask(from, Command::GetMsgListReq, &request).await;
    assert_eq!(
        (
            rsp.user_id,
            rsp.session_type,
            rsp.session_id,
            rsp.msg_id_begin
        ),
        (from.user, session_type, session_id, msg_id_begin),
        "the request is echoed"
    );
    rsp.msg_list.iter().map(|message| message.msg_id).collect()
}

async fn by_id(
    rig: &Rig,
    from: Terminal,
    (session_type, session_id): (i32, u32),
    ids: &[u32],
) -> Vec<u32> {
    let request = ImGetMsgByIdReq {
        user_id: 0,
        session_type,
        session_id,
        msg_id_list: ids.to_vec(),
        attach_data: None,
    };
    let rsp: ImGetMsgByIdRsp = rig.ask(from, Command::GetMsgByIdReq, &request).await;
    rsp.msg_list.iter().map(|message| message.msg_id).collect()
}

async fn latest(rig: &Rig, from: Terminal, (session_type, session_id): (i32, u32)) -> u32 {
    let request = ImGetLatestMsgIdReq {
        user_id: 0,
        session_type,
        session_id,
        attach_data: None,
    };
    let rsp: ImGetLatestMsgIdRsp = rig.ask(from, Command::GetLatestMsgIdReq, &request).await;
    assert_eq!((rsp.user_id, rsp.session_id), (from.user, session_id));
    rsp.latest_msg_id
}

#[tokio::test]
async fn a_list_goes_back_from_an_id_newest_first() {
    let rig = Rig::new().await;
    for n in 1..=10 {
        assert_eq!(rig.text(1, 2, &format!("m{n}")).await, n);
    }
    assert_eq!(list(&rig, windows(1), (1, 2), 0, 3).await, [10, 9, 8]);
    assert_eq!(list(&rig, ios(2), (1, 1), 7, 3).await, [7, 6, 5]);
    assert_eq!(list(&rig, windows(2), (1, 1), 2, 20).await, [2, 1]);
    assert_eq!(list(&rig, windows(2), (1, 1), 500, 1).await, [10]);
    assert_eq!(list(&rig, windows(2), (1, 1), 0, 0).await, [0; 0]);
    assert_eq!(
        list(&rig, windows(1), (1, 3), 0, 20).await,
        [0; 0],
        "no conversation"
    );
    assert_eq!(
        list(&rig, windows(1), (1, 1), 0, 20).await,
        [0; 0],
        "with himself"
    );
    assert_eq!(
        list(&rig, windows(3), (1, 2), 0, 20).await,
        [0; 0],
        "of others"
    );
}

#[tokio::test]
async fn messages_come_back_as_they_were_sent() {
    let rig = Rig::new().await;
    rig.text(1, 2, "cipher").await;
    rig.send(android(2), 1, 0x02, b"\0\0\0\x03voice").await;
    let request = ImGetMsgListReq {
        user_id: 0,
        session_type: 1,
        session_id: 2,
        msg_id_begin: 0,
        msg_cnt: 10,
        attach_data: None,
    };
    let rsp: ImGetMsgListRsp = rig.ask(windows(1), Command::GetMsgListReq, &request).await;
    let got: Vec<_> = rsp
        .msg_list
        .iter()
        .map(|m| (m.msg_id, m.from_session_id, m.msg_type, m.msg_data.as_ref()))
        .collect();
    assert_eq!(
        got,
        [(2, 2, 2, &b"\0\0\0\x03voice"[..]), (1, 1, 1, b"cipher")]
    );
    assert!(
        rsp.msg_list
            .iter()
            .all(|message| message.create_time > 1_700_000_000)
    );
}

#[tokio::test]
async fn what_is_too_old_to_be_kept_is_left_out_and_stays_counted() {
    let rig = Rig::new().await;
    for n in 1..=4 {
        rig.text(1, 2, &format!("m{n}")).await;
    }
    let later = UnixSeconds::now().saturating_add(60);
    let step = RetentionStep {
        kind: RetentionKind::Pairs,
        before: later,
        now: later,
        until: CommitSeq::from_wire(2),
        rows: 100,
    };
    let expired = rig.temp.store.expire_bodies(step).await.unwrap();
    assert_eq!(expired.bodies, 2);
    assert_eq!(list(&rig, windows(1), (1, 2), 0, 10).await, [4, 3]);
    assert_eq!(list(&rig, windows(1), (1, 2), 2, 10).await, [0; 0]);
    assert_eq!(by_id(&rig, windows(1), (1, 2), &[1, 3]).await, [3]);
    let all = RetentionStep {
        until: CommitSeq::from_wire(4),
        ..step
    };
    assert_eq!(rig.temp.store.expire_bodies(all).await.unwrap().bodies, 2);
    let request = ImUnreadMsgCntReq {
        user_id: 0,
        attach_data: None,
    };
    let unread: ImUnreadMsgCntRsp = rig.ask(ios(2), Command::UnreadMsgCntReq, &request).await;
    assert_eq!(unread.total_cnt, 4);
    let line = &unread.unreadinfo_list[0];
    assert_eq!(line.latest_msg_data, LONG_PLACEHOLDER.as_bytes());
    assert_eq!(latest(&rig, windows(1), (1, 2)).await, 4);
}

#[tokio::test]
async fn the_count_is_clamped() {
    let mut config = small_config();
    config.answers.max_history = 4;
    config.answers.max_by_id = 3;
    let rig = Rig::with(config).await;
    for n in 0..6 {
        rig.text(1, 2, &n.to_string()).await;
    }
    assert_eq!(
        list(&rig, windows(1), (1, 2), 0, u32::MAX).await,
        [6, 5, 4, 3]
    );
    assert_eq!(
        by_id(&rig, windows(1), (1, 2), &[1, 2, 3, 4, 5, 6]).await,
        [6, 5, 4]
    );
}

#[tokio::test]
async fn lists_for_android_stay_below_its_frame_limit() {
    let rig = Rig::new().await;
    let body = vec![b'x'; 200 << 10];
    for _ in 0..5 {
        rig.send(windows(1), 2, 0x01, &body).await;
    }
    assert_eq!(list(&rig, windows(2), (1, 1), 0, 5).await, [5, 4, 3, 2, 1]);
    // It asks for the rest itself.
    assert_eq!(list(&rig, android(2), (1, 1), 0, 5).await, [5]);
    assert_eq!(list(&rig, android(2), (1, 1), 4, 5).await, [4]);
    // It cannot ask for the rest of these: several frames.
    let request = ImGetMsgByIdReq {
        user_id: 0,
        session_type: 1,
        session_id: 1,
        msg_id_list: vec![1, 2, 3],
        attach_data: None,
    };
    let frames: Vec<ImGetMsgByIdRsp> = rig
        .frames(android(2), Command::GetMsgByIdReq, &request)
        .await
        .unwrap();
    let ids: Vec<Vec<u32>> = frames
        .iter()
        .map(|frame| {
            frame
                .msg_list
                .iter()
                .map(|message| message.msg_id)
                .collect()
        })
        .collect();
    assert_eq!(ids, [[3], [2], [1]]);
}

#[tokio::test]
async fn messages_by_id_are_those_that_exist() {
    let rig = Rig::new().await;
    for n in 0..5 {
        rig.text(1, 2, &n.to_string()).await;
    }
    assert_eq!(by_id(&rig, ios(1), (1, 2), &[4, 2, 99, 0]).await, [4, 2]);
    assert_eq!(by_id(&rig, ios(1), (1, 2), &[]).await, [0; 0]);
    assert_eq!(by_id(&rig, ios(3), (1, 2), &[1]).await, [0; 0]);
}

#[tokio::test]
async fn groups_show_members_what_came_after_they_joined() {
    let rig = Rig::new().await;
    let group = create(&rig, 1, &[1, 2]).await;
    for n in 0..3 {
        rig.group_text(1, group, &n.to_string()).await;
    }
    assert_eq!(add(&rig, 1, group, &[3]).await, 0);
    rig.group_text(2, group, "later").await;

    assert_eq!(
        list(&rig, windows(2), (2, group), 0, 20).await,
        [4, 3, 2, 1]
    );
    assert_eq!(list(&rig, windows(3), (2, group), 0, 20).await, [4]);
    assert_eq!(list(&rig, windows(3), (2, group), 3, 20).await, [0; 0]);
    assert_eq!(by_id(&rig, windows(3), (2, group), &[1, 4]).await, [4]);
    assert_eq!(latest(&rig, windows(3), (2, group)).await, 4);
    // Strangers see nothing.
    assert_eq!(list(&rig, windows(4), (2, group), 0, 20).await, [0; 0]);
    assert_eq!(by_id(&rig, windows(4), (2, group), &[1, 4]).await, [0; 0]);
    assert_eq!(latest(&rig, windows(4), (2, group)).await, 0);
}

#[tokio::test]
async fn the_latest_id_is_0_when_there_is_none() {
    let rig = Rig::new().await;
    assert_eq!(latest(&rig, windows(1), (1, 2)).await, 0);
    assert_eq!(latest(&rig, windows(1), (1, 1)).await, 0);
    rig.text(1, 2, "a").await;
    rig.text(2, 1, "b").await;
    assert_eq!(latest(&rig, windows(1), (1, 2)).await, 2);
    assert_eq!(latest(&rig, windows(2), (1, 1)).await, 2);
}
