//! Links that come and go.

use im_proto_rpc::v1::{PresenceTick, StatusQuery};

use super::*;

async fn online(msg: &mut Msg, user: u32) -> bool {
    msg.call(Call::Status(StatusQuery {
        tag: 1,
        users: vec![user],
    }))
    .await;
    loop {
        for item in msg.items().await {
            if let Item::Status(result) = item {
                return result.online == [user];
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_comes_back_shows_what_was_missed() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(1, ANDROID, 1)).await;
    writer.publish(vec![live(1, 9, 9, &[1])]).await;
    assert_eq!(m1.message().await.seq, 1);
    drop(writer);
    while m1.ring != Some(0) {
        m1.batch().await;
    }
    assert_eq!(m1.position, Some(1));
    // The log went on elsewhere up to 5.
    let mut writer = route.writer(5).await;
    let batch = m1.batch().await;
    assert_eq!((batch.after, batch.through, batch.ring), (5, 5, RING));
    writer.publish(vec![live(6, 9, 9, &[1])]).await;
    let batch = m1.batch().await;
    assert_eq!((batch.after, batch.through, batch.items.len()), (5, 6, 1));
}

#[tokio::test(start_paused = true)]
async fn a_gap_between_the_writers_batches_passes_on() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(1, ANDROID, 1)).await;
    writer.publish_from(4, 5, vec![live(5, 9, 9, &[1])]).await;
    let batch = m1.batch().await;
    assert_eq!((batch.after, batch.through), (4, 5));
}

#[tokio::test(start_paused = true)]
async fn a_new_writer_takes_over_from_one_whose_end_was_not_seen() {
    let route = Route::start();
    let mut old = route.writer(3).await;
    old.confirmed().await;
    let mut new = route.writer(4).await;
    new.confirmed().await;
    old.link.closed.cancelled().await;
    let mut m1 = route.msg("m1").await;
    assert_eq!((m1.position, m1.ring), (Some(4), Some(RING)));
    assert_eq!(m1.log_in(session(1, ANDROID, 1)).await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_went_back_is_followed() {
    let route = Route::start();
    let mut writer = route.writer(100).await;
    writer.confirmed().await;
    let mut m1 = route.msg("m1").await;
    drop(writer);
    while m1.ring != Some(0) {
        m1.batch().await;
    }
    let mut writer = route.writer(40).await;
    let batch = m1.batch().await;
    assert_eq!((batch.after, batch.through), (40, 40));
    assert_eq!(m1.log_in(session(1, ANDROID, 1)).await, 40);
    writer.publish(vec![live(41, 9, 9, &[1])]).await;
    assert_eq!(m1.message().await.seq, 41);
}

/// S-27.
#[tokio::test(start_paused = true)]
async fn users_of_a_dead_server_go_offline_within_seconds() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(10, WINDOWS, 1)).await;
    assert!(matches!(m2.item().await, Item::Presence(_)));
    let died = tokio::time::Instant::now();
    drop(m1);
    assert!(online(&mut m2, 10).await, "it may come back");
    let gone = Item::Presence(PresenceTick {
        online: vec![],
        offline: vec![10],
    });
    assert_eq!(m2.item().await, gone);
    assert!(
        died.elapsed() <= Duration::from_secs(4),
        "{:?}",
        died.elapsed()
    );
    assert!(!online(&mut m2, 10).await);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_in_time_keeps_its_users() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(1, ANDROID, 1)).await;
    drop(m1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    writer.publish(vec![live(1, 9, 9, &[1])]).await;
    writer.confirmed().await;
    let mut m1 = route.msg("m1").await;
    assert_eq!(m1.position, Some(1), "what passed meanwhile shows as a gap");
    tokio::time::sleep(Duration::from_secs(10)).await;
    writer.publish(vec![live(2, 9, 9, &[1])]).await;
    assert_eq!(m1.message().await.seq, 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_link_of_a_server_replaces_the_first() {
    let route = Route::start();
    let mut writer = route.writer(0).await;
    let mut old = route.msg("m1").await;
    old.log_in(session(1, ANDROID, 1)).await;
    let mut new = route.msg("m1").await;
    old.closed().await;
    writer.publish(vec![live(1, 9, 9, &[1])]).await;
    assert_eq!(new.message().await.seq, 1);
    // The end of the old link means nothing.
    tokio::time::sleep(Duration::from_secs(10)).await;
    writer.publish(vec![live(2, 9, 9, &[1])]).await;
    assert_eq!(new.message().await.seq, 2);
    assert_eq!(
        route.metrics.link_ends(crate::metrics::LinkEnd::Replaced),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_ends_the_sessions_of_its_predecessor_at_once() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(10, WINDOWS, 1)).await;
    assert!(matches!(m2.item().await, Item::Presence(_)));
    let _m1 = route.msg_instance("m1", 2).await;
    let before = tokio::time::Instant::now();
    assert!(!online(&mut m2, 10).await);
    assert!(matches!(m2.item().await, Item::Presence(tick) if tick.offline == [10]));
    assert!(before.elapsed() < Duration::from_secs(1));
}
