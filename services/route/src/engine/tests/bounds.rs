//! Batches by their bytes, questions by their ids.

use im_proto_rpc::v1::{ListSessions, StatusQuery};
use im_rpc::batch::weight;

use super::*;
use crate::metrics::LinkEnd;
use im_config::units::ByteSize;

fn large(seq: u64, recipient: u32, size: usize) -> Published {
    let Published::Message(message) = live(seq, 9, 0, &[recipient]) else {
        panic!("a message")
    };
    Published::Message(LiveMessage {
        data: vec![7; size].into(),
        ..message
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_a_batch_goes_in_several_and_the_position_with_the_last() {
    let limit = 1 << 16;
    let route = Route::with(|config| config.link.max_batch = ByteSize::bytes(limit as u64));
    let mut writer = route.writer(0).await;
    let mut msg = route.msg("m1").await;
    msg.log_in(session(1, WINDOWS, 11)).await;
    let messages = (1..=30).map(|seq| large(seq, 1, 8_000)).collect();
    writer.publish(messages).await;
    let (mut seen, mut batches) = (Vec::new(), 0);
    while seen.len() < 30 {
        let batch = msg.batch().await;
        assert!(weight(&batch) <= limit / 2 + 8_000);
        for item in &batch.items {
            if let Some(Item::Message(message)) = &item.item {
                seen.push(message.seq);
            }
        }
        batches += 1;
        let expected = if seen.len() == 30 { 30 } else { 0 };
        assert_eq!((batch.after, batch.through), (0, expected));
    }
    assert_eq!(seen, (1..=30).collect::<Vec<_>>());
    assert!(batches >= 7, "{batches}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_in_bytes() {
    let route = Route::with(|config| config.max_waiting = ByteSize::kib(64));
    let _writer = route.writer(0).await;
    let mut other = route.msg("m2").await;
    let mut msg = route.msg_link(1).await;
    msg.hello("m1", 1).await;
    // Nobody reads: what must not be lost waits, until it is too much.
    let ups = (1..=2_000).map(|user| {
        let session = Some(session(user, WINDOWS, user.into()));
        Call::Up(SessionUp { tag: 1, session })
    });
    msg.calls(ups.collect()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    msg.closed().await;
    assert_eq!(route.metrics.link_ends(LinkEnd::Overfull), 1);
    other.batch().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_for_very_many_names_each_once_and_holds_up_nobody() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let (mut asker, mut other) = (route.msg("m1").await, route.msg("m2").await);
    for user in 1..=3 {
        other.log_in(session(user, WINDOWS, user.into())).await;
    }
    let users: Vec<u32> = (0..300_000).map(|n| n % 5_000).collect();
    asker
        .call(Call::Status(StatusQuery { tag: 7, users }))
        .await;
    let asked = tokio::spawn(async move {
        loop {
            for item in asker.items().await {
                if let Item::Status(status) = item {
                    return status;
                }
            }
        }
    });
    // Handled between two of its slices.
    writer.publish(vec![live(1, 9, 0, &[2])]).await;
    assert_eq!(other.message().await.seq, 1);
    assert!(!asked.is_finished(), "the message went first");
    let mut status = asked.await.unwrap();
    status.online.sort_unstable();
    assert_eq!((status.tag, status.online), (7, vec![1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_question_in_one_slice_names_each_once_too() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let mut msg = route.msg("m1").await;
    msg.log_in(session(2, WINDOWS, 2)).await;
    let users = vec![2; 1_000];
    msg.call(Call::Status(StatusQuery { tag: 7, users })).await;
    let status = loop {
        if let Some(Item::Status(status)) = msg.items().await.pop() {
            break status;
        }
    };
    assert_eq!(status.online, [2]);
}

#[tokio::test(start_paused = true)]
async fn lists_of_sessions_go_in_replies_of_bounded_size() {
    let route = Route::with(|config| config.link.max_batch = ByteSize::kib(64));
    let mut writer = route.writer(0).await;
    let mut msg = route.msg("m1").await;
    for user in 1..=2 {
        let info = SessionInfo {
            client_version: "v".repeat(12_000),
            ..session(user, WINDOWS, user.into())
        };
        msg.log_in(info).await;
    }
    let ask = |tag| Published::ListSessions(ListSessions { tag, user: 0 });
    writer.publish((1..=10).map(ask).collect()).await;
    let mut tags = Vec::new();
    while tags.len() < 10 {
        let reply = writer.reply().await;
        assert!(weight(&reply) <= 1 << 16);
        for list in reply.lists {
            assert_eq!(list.sessions.len(), 2);
            tags.push(list.tag);
        }
    }
    assert_eq!(tags, (1..=10).collect::<Vec<_>>());
}
