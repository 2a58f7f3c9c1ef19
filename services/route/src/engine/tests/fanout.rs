//! Messages, events and kicks on their way.

use im_proto_rpc::v1::{
    Audience, Event, Kick, ListSessions, PublishReplies, SessionList, StatusQuery,
};

use super::*;
use crate::metrics::LinkEnd;

#[tokio::test(start_paused = true)]
async fn a_message_goes_where_its_recipients_are_and_nowhere_else() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let (mut m1, mut m2, mut m3) = (
        route.msg("m1").await,
        route.msg("m2").await,
        route.msg("m3").await,
    );
    m1.log_in(session(1, ANDROID, 11)).await;
    m2.log_in(session(2, ANDROID, 12)).await;
    m2.log_in(session(3, ANDROID, 13)).await;
    m3.log_in(session(4, ANDROID, 14)).await;
    writer
        .publish(vec![live(1, 1, 11, &[1, 2, 3, 9]), live(2, 2, 12, &[1, 2])])
        .await;
    let items = m2.items().await;
    let [Item::Message(message)] = items.as_slice() else {
        panic!("{items:?}")
    };
    // The sender of the second one sits here alone.
    assert_eq!(
        (message.seq, message.recipients.as_slice()),
        (1, [2, 3].as_slice())
    );
    assert_eq!(message.data, "hello");
    // The sender of the first one has no other terminal: it does not concern him.
    let message = m1.message().await;
    assert_eq!(
        (message.seq, message.recipients.as_slice()),
        (2, [1].as_slice())
    );
    m3.hears_nothing().await;
    assert_eq!(m3.position, Some(2));
}

#[tokio::test(start_paused = true)]
async fn the_senders_other_terminals_get_a_copy() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(1, ANDROID, 11)).await;
    m1.log_in(session(1, WINDOWS, 12)).await;
    m2.log_in(session(2, ANDROID, 13)).await;
    writer.publish(vec![live(1, 1, 11, &[1, 2])]).await;
    assert_eq!(m1.message().await.recipients, [1]);
    assert_eq!(m2.message().await.recipients, [2]);
}

#[tokio::test(start_paused = true)]
async fn batches_join_without_a_gap_for_every_server() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(1, ANDROID, 11)).await;
    m2.log_in(session(2, ANDROID, 12)).await;
    for seq in 1..=40 {
        let to = if seq % 4 == 0 { 1 } else { 2 };
        writer.publish(vec![live(seq, 5, 5, &[to])]).await;
        writer.confirmed().await;
    }
    for (msg, count) in [(&mut m1, 10), (&mut m2, 30)] {
        let mut position = 0;
        let mut seen = Vec::new();
        while seen.len() < count || position < 40 {
            let batch = msg.batch().await;
            assert!(batch.after <= position, "{batch:?} after {position}");
            assert!(batch.through >= position);
            for item in batch.items {
                let Some(Item::Message(message)) = item.item else {
                    continue;
                };
                assert!(message.seq > batch.after && message.seq <= batch.through);
                seen.push(message.seq);
            }
            position = batch.through;
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_messages_hears_the_position_within_a_second() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let mut msg = route.msg("m1").await;
    writer.publish_from(0, 7, vec![live(7, 5, 5, &[6])]).await;
    writer.confirmed().await;
    let before = tokio::time::Instant::now();
    while msg.position != Some(7) {
        let batch = msg.batch().await;
        assert_eq!(batch.after, 0, "nothing is missing");
    }
    assert!(before.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_full_link_loses_messages_visibly_and_results_never() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let mut slow = route.msg_link(2).await;
    slow.hello("slow", 1).await;
    slow.batch().await;
    let mut fast = route.msg("fast").await;
    slow.log_in(session(1, ANDROID, 11)).await;
    fast.log_in(session(2, ANDROID, 12)).await;
    // The slow one stops reading; its link holds two batches.
    for seq in 1..=10 {
        let mut items = vec![live(seq, 5, 5, &[1, 2])];
        if seq >= 8 {
            items.push(Published::Kick(Kick {
                user: 1,
                reason: 20 + u32::try_from(seq).unwrap(),
                ..Kick::default()
            }));
        }
        writer.publish(items).await;
        writer.confirmed().await;
    }
    for seq in 1..=10 {
        assert_eq!(fast.message().await.seq, seq, "nobody else waits");
    }
    let (mut position, mut gap, mut seen, mut kicks) = (0, false, Vec::new(), Vec::new());
    while position < 10 || kicks.len() < 3 {
        let batch = slow.batch().await;
        gap |= batch.after > position;
        position = batch.through;
        for item in batch.items.into_iter().filter_map(|item| item.item) {
            match item {
                Item::Message(message) => seen.push(message.seq),
                Item::Kick(kick) => kicks.push(kick.reason),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(gap, "the loss can be seen");
    assert_eq!(seen, [1, 2], "what the link could hold");
    assert_eq!(kicks, [28, 29, 30]);
    // And then it is live again.
    writer.publish(vec![live(11, 5, 5, &[1])]).await;
    let batch = loop {
        let batch = slow.batch().await;
        if !batch.items.is_empty() {
            break batch;
        }
    };
    assert_eq!((batch.after, batch.through), (10, 11));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lets_too_much_wait_loses_its_link() {
    let route = Route::with(|config| config.max_waiting_items = 5);
    let mut writer = route.writer(0).await;
    let mut slow = route.msg_link(1).await;
    slow.hello("slow", 1).await;
    slow.batch().await;
    slow.log_in(session(1, ANDROID, 11)).await;
    for _ in 0..10 {
        writer
            .publish(vec![Published::Kick(Kick {
                user: 1,
                ..Kick::default()
            })])
            .await;
        writer.confirmed().await;
    }
    slow.closed().await;
    assert_eq!(route.metrics.link_ends(LinkEnd::Overfull), 1);
}

#[tokio::test(start_paused = true)]
async fn events_reach_their_audience_and_spare_the_excepted_session() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(1, ANDROID, 11)).await;
    m2.log_in(session(1, WINDOWS, 12)).await;
    m2.log_in(session(2, WINDOWS, 13)).await;
    let event = |audience: Audience, except| Event {
        users: vec![1, 2, 3],
        audience: audience as i32,
        except,
        command: 0x0304,
        ..Event::default()
    };
    // From the writer, and from a msg server: its own terminals get it the same way.
    writer
        .publish(vec![Published::Event(event(Audience::Mobile, 0))])
        .await;
    let told = loop {
        if let Item::Event(event) = m1.item().await {
            break event;
        }
    };
    assert_eq!(
        (told.users.as_slice(), told.command),
        ([1].as_slice(), 0x0304)
    );
    m2.call(Call::Signal(event(Audience::All, 12))).await;
    assert!(matches!(m1.item().await, Item::Event(event) if event.users == [1]));
    let told = loop {
        if let Item::Event(event) = m2.item().await {
            break event;
        }
    };
    assert_eq!((told.users.as_slice(), told.except), ([2].as_slice(), 12));
    m1.call(Call::Signal(Event {
        broadcast: true,
        users: vec![7],
        ..Event::default()
    }))
    .await;
    for msg in [&mut m1, &mut m2] {
        let told = msg.item().await;
        assert!(matches!(&told, Item::Event(event) if event.broadcast && event.users.is_empty()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_kick_from_a_phone_reaches_the_pc_elsewhere() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(1, ANDROID, 11)).await;
    m2.log_in(session(1, WINDOWS, 12)).await;
    let kick = Kick {
        user: 1,
        audience: Audience::Pc as i32,
        reason: 2,
        ..Kick::default()
    };
    m1.call(Call::Kick(kick)).await;
    let told = loop {
        if let Item::Kick(kick) = m2.item().await {
            break kick;
        }
    };
    assert_eq!(told, kick);
}

#[tokio::test(start_paused = true)]
async fn operators_get_lists_of_sessions_with_the_confirmation() {
    let route = Route::start();
    let mut writer = route.writer(3).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(1, ANDROID, 11)).await;
    assert_eq!(
        writer.reply().await,
        PublishReplies {
            confirmed: 3,
            lists: vec![]
        }
    );
    let question = Published::ListSessions(ListSessions { tag: 5, user: 1 });
    writer.publish(vec![question]).await;
    let expected = SessionInfo {
        server: "m1".to_owned(),
        ..session(1, ANDROID, 11)
    };
    let lists = vec![SessionList {
        tag: 5,
        sessions: vec![expected],
    }];
    assert_eq!(
        writer.reply().await,
        PublishReplies {
            confirmed: 3,
            lists
        }
    );
}

/// Wire 11.3, 0x020a.
#[tokio::test(start_paused = true)]
async fn a_status_query_names_those_on_a_pc() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(1, ANDROID, 11)).await;
    m1.log_in(session(2, WINDOWS, 12)).await;
    m2.call(Call::Status(StatusQuery {
        tag: 8,
        users: vec![1, 2, 3],
    }))
    .await;
    let result = loop {
        if let Item::Status(result) = m2.item().await {
            break result;
        }
    };
    assert_eq!((result.tag, result.online.as_slice()), (8, [2].as_slice()));
}
