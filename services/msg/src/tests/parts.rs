//! Answers that come in parts.

use bytes::Bytes;
use im_codec::Command;
use im_proto_rpc::v1::{Answer, DbResult, db_result};
use im_proto_teamtalk::buddy::ImAllUserReq;
use tokio::io::AsyncWriteExt;

use super::rig::*;

/// A part that is long enough not to be copied.
const LONG: usize = 200 << 10;

fn part(tag: u64, body: Vec<u8>, more: Vec<Vec<u8>>, unfinished: bool) -> DbResult {
    let bytes = body.len() + more.iter().map(Vec::len).sum::<usize>();
    DbResult {
        tag,
        result: Some(db_result::Result::Answer(Answer {
            command: u32::from(Command::AllUserRsp.id()),
            body: body.into(),
            more: more.into_iter().map(Bytes::from).collect(),
            unfinished,
            counts: u32::try_from(bytes).unwrap(),
            ..Answer::default()
        })),
    }
}

/// Asks for the directory and returns the tag of the question, which is held.
async fn asked(rig: &Rig, client: &mut Client, seq: u16) -> u64 {
    let before = rig.db.state().held.len();
    let request = ImAllUserReq::default();
    client.send(Command::AllUserReq, seq, &request).await;
    until("it is asked", || rig.db.state().held.len() > before).await;
    let db = rig.db.state();
    db.held.last().unwrap().tag
}

#[tokio::test]
async fn the_parts_of_an_answer_are_one_frame_and_nothing_waits_for_them() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    let tag = asked(&rig, &mut client, 5).await;
    rig.db.state().holds = false;
    rig.db.say(vec![part(tag, vec![1; LONG], vec![], true)]);
    rig.db.say(vec![part(tag, vec![2; 10], vec![], true)]);
    // The connection goes on meanwhile.
    client
        .send(Command::MsgData, 6, &text(8, "meanwhile"))
        .await;
    client.expect_ack(6).await;
    rig.db.say(vec![part(tag, vec![3; LONG], vec![], false)]);
    let frame = client.frame().await.unwrap();
    assert_eq!(frame.command(), Some(Command::AllUserRsp));
    assert_eq!(frame.header.seq, 5);
    let body = [vec![1; LONG], vec![2; 10], vec![3; LONG]].concat();
    assert_eq!(frame.body, body);
    client.expect_silence().await;
    until("all is told to be taken", || {
        rig.db.state().taken.iter().sum::<u64>() >= 2 * LONG as u64
    })
    .await;
    assert_eq!(
        (rig.gateway.db.sizes().1, rig.gateway.queries.used()),
        (0, 0)
    );
}

#[tokio::test]
async fn an_answer_of_several_frames_is_cut_anywhere() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, ANDROID).await;
    rig.db.state().holds = true;
    let tag = asked(&rig, &mut client, 5).await;
    rig.db.say(vec![
        part(tag, vec![1; 3], vec![vec![2; LONG], vec![3; 4]], true),
        part(tag, vec![3; LONG], vec![], true),
    ]);
    rig.db.say(vec![part(tag, vec![], vec![vec![4; 5]], false)]);
    let bodies = [vec![1; 3], vec![2; LONG], vec![3; LONG + 4], vec![4; 5]];
    for body in bodies {
        let frame = client.frame().await.unwrap();
        assert_eq!(frame.command(), Some(Command::AllUserRsp));
        assert_eq!(frame.header.seq, 5);
        assert_eq!(frame.body, body);
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn parts_that_nobody_waits_for_are_taken_and_forgotten() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    let tag = asked(&rig, &mut client, 5).await;
    rig.db.say(vec![part(tag, vec![1; LONG], vec![], true)]);
    until("it is taken", || !rig.db.state().taken.is_empty()).await;
    client.sock.shutdown().await.unwrap();
    until("the question is cancelled", || {
        rig.db.state().cancelled == [tag]
    })
    .await;
    rig.db.say(vec![part(tag, vec![2; LONG], vec![], true)]);
    until("the next part is taken, too", || {
        rig.db.state().taken.len() == 2
    })
    .await;
    assert_eq!(
        (rig.gateway.db.sizes().1, rig.gateway.queries.used()),
        (0, 0)
    );
}

#[tokio::test]
async fn an_answer_whose_link_is_lost_between_its_parts_is_not_given() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    let tag = asked(&rig, &mut client, 5).await;
    rig.db.say(vec![part(tag, vec![1; LONG], vec![], true)]);
    until("it is taken", || !rig.db.state().taken.is_empty()).await;
    rig.db.cut(true);
    until("the question is given up", || rig.gateway.db.sizes().1 == 0).await;
    until("the link is back", || rig.gateway.db.is_up()).await;
    rig.db.state().holds = false;
    client.expect_silence().await;
    client.send(Command::MsgData, 6, &text(8, "on")).await;
    client.expect_ack(6).await;
}
