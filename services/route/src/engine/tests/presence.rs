//! Logins, their order, and who is told.

use im_proto_rpc::v1::{PcStatus, PresenceTick, SnapshotBegin, SnapshotEnd, StatusQuery};

use super::*;

/// Wire 20.1.
#[tokio::test(start_paused = true)]
async fn a_pc_login_is_told_to_every_server_once_per_tick() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(10, WINDOWS, 1)).await;
    m1.log_in(session(11, WINDOWS, 2)).await;
    m2.log_in(session(12, ANDROID, 3)).await;
    for msg in [&mut m1, &mut m2] {
        let Item::Presence(mut tick) = msg.item().await else {
            panic!("a tick")
        };
        tick.online.sort_unstable();
        assert_eq!(
            tick,
            PresenceTick {
                online: vec![10, 11],
                offline: vec![]
            }
        );
    }
    m1.down(10, 1).await;
    for msg in [&mut m1, &mut m2] {
        let tick = PresenceTick {
            online: vec![],
            offline: vec![10],
        };
        assert_eq!(msg.item().await, Item::Presence(tick));
        msg.hears_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_change_waits_one_tick_and_no_longer() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let mut msg = route.msg("m1").await;
    let before = tokio::time::Instant::now();
    msg.log_in(session(10, WINDOWS, 1)).await;
    assert!(matches!(msg.item().await, Item::Presence(_)));
    assert!(
        before.elapsed() <= Duration::from_millis(210),
        "{:?}",
        before.elapsed()
    );
}

/// Wire 16.6: the phone's login answer goes before what it is told.
#[tokio::test(start_paused = true)]
async fn the_confirmation_of_a_login_comes_before_its_notices() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(10, WINDOWS, 1)).await;
    assert!(matches!(m1.item().await, Item::Presence(_)));
    m1.up(5, session(10, ANDROID, 2)).await;
    let items = m1.items().await;
    let [Item::Ready(ready), Item::PcStatus(status)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(ready.tag, 5);
    assert_eq!(
        *status,
        PcStatus {
            user: 10,
            online: true
        }
    );
}

/// Wire 10.7, 20.2.
#[tokio::test(start_paused = true)]
async fn a_second_login_has_the_first_one_kicked() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    m1.log_in(session(10, ANDROID, 1)).await;
    m2.log_in(session(10, ANDROID, 2)).await;
    let Item::Kick(kick) = m1.item().await else {
        panic!("a kick")
    };
    assert_eq!((kick.user, kick.epoch, kick.reason), (10, 1, 1));
    // On the same server: the newcomer is confirmed in the same batch.
    m2.up(9, session(10, ANDROID, 3)).await;
    let items = m2.items().await;
    let [Item::Ready(ready), Item::Kick(kick)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!((ready.tag, kick.epoch), (9, 2));
    m1.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_takes_the_place_of_a_session_that_was_only_announced() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.up(0, session(10, ANDROID, 5)).await;
    m1.up(3, session(10, ANDROID, 4)).await;
    let items = m1.items().await;
    let [Item::Ready(ready), Item::Kick(kick)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!((ready.tag, kick.epoch), (3, 5));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_names_the_position_after_which_everything_is_pushed() {
    let route = Route::start();
    let mut writer = route.writer(4).await;
    let mut m1 = route.msg("m1").await;
    assert_eq!(m1.log_in(session(1, ANDROID, 1)).await, 4);
    writer
        .publish(vec![live(5, 9, 9, &[2]), live(6, 9, 9, &[2])])
        .await;
    writer.confirmed().await;
    assert_eq!(m1.log_in(session(2, ANDROID, 2)).await, 6);
    writer.publish(vec![live(7, 9, 9, &[2])]).await;
    assert_eq!(m1.message().await.seq, 7);
}

#[tokio::test(start_paused = true)]
async fn a_login_waits_for_the_writer() {
    let route = Route::start();
    let mut m1 = route.msg("m1").await;
    m1.up(1, session(10, ANDROID, 1)).await;
    m1.up(2, session(11, ANDROID, 2)).await;
    m1.up(3, session(12, ANDROID, 3)).await;
    m1.down(11, 2).await;
    m1.hears_nothing().await;
    let _writer = route.writer(42).await;
    let items = m1.items().await;
    let tags: Vec<(u64, u64)> = items
        .iter()
        .map(|item| match item {
            Item::Ready(ready) => (ready.tag, ready.through),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tags, [(1, 42), (3, 42)], "one has left meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_waited_for_the_writer_still_learns_of_its_pc() {
    let route = Route::start();
    let mut m1 = route.msg("m1").await;
    m1.up(0, session(10, WINDOWS, 1)).await;
    m1.up(2, session(10, ANDROID, 2)).await;
    assert!(
        matches!(m1.item().await, Item::PcStatus(_)),
        "before it can be shown"
    );
    let _writer = route.writer(1).await;
    let items = m1.items().await;
    assert!(
        matches!(items.as_slice(), [Item::Ready(_), Item::PcStatus(_)]),
        "{items:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn logins_beyond_the_bound_are_not_confirmed() {
    let route = Route::with(|config| config.max_waiting_logins = 2);
    let mut m1 = route.msg("m1").await;
    for n in 1..=2 {
        m1.up(n, session(u32::try_from(n).unwrap(), ANDROID, n))
            .await;
    }
    // One that has left makes room.
    m1.down(1, 1).await;
    for n in 3..=4 {
        m1.up(n, session(u32::try_from(n).unwrap(), ANDROID, n))
            .await;
    }
    m1.hears_nothing().await;
    let _writer = route.writer(1).await;
    let items = m1.items().await;
    let tags: Vec<u64> = items
        .iter()
        .map(|item| match item {
            Item::Ready(ready) => ready.tag,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tags, [2, 3]);
    assert_eq!(
        route.metrics.refused(crate::metrics::Refusal::WaitingLogin),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_confirmed_and_tells_nobody() {
    let route = Route::start();
    let mut writer = route.writer(3).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    let up = |user, client_type, epoch| {
        Call::Up(SessionUp {
            tag: 0,
            session: Some(session(user, client_type, epoch)),
        })
    };
    m1.calls(vec![
        Call::SnapshotBegin(SnapshotBegin {}),
        up(10, WINDOWS, 1),
        up(10, ANDROID, 2),
        up(11, ANDROID, 3),
        Call::SnapshotEnd(SnapshotEnd { tag: 6 }),
    ])
    .await;
    let Item::Snapshot(done) = m1.item().await else {
        panic!("its confirmation")
    };
    assert_eq!((done.tag, done.through), (6, 3));
    m2.hears_nothing().await;
    writer.publish(vec![live(4, 9, 9, &[10, 11])]).await;
    assert_eq!(m1.message().await.recipients, [10, 11]);
}

#[tokio::test(start_paused = true)]
async fn while_a_server_announces_its_log_counts_as_incomplete() {
    let route = Route::start();
    let mut writer = route.writer(3).await;
    let mut m1 = route.msg("m1").await;
    m1.call(Call::SnapshotBegin(SnapshotBegin {})).await;
    m1.up(0, session(10, ANDROID, 1)).await;
    m1.call(Call::Status(StatusQuery {
        tag: 1,
        users: vec![],
    }))
    .await;
    assert!(
        matches!(m1.item().await, Item::Status(_)),
        "both have arrived"
    );
    writer.publish(vec![live(4, 9, 9, &[10, 11])]).await;
    let batch = loop {
        let batch = m1.batch().await;
        if !batch.items.is_empty() {
            break batch;
        }
    };
    // A session that is not announced yet may have missed it.
    assert_eq!((batch.after, batch.through), (4, 4));
    m1.call(Call::SnapshotEnd(SnapshotEnd { tag: 1 })).await;
    let Item::Snapshot(done) = m1.item().await else {
        panic!("its confirmation")
    };
    assert_eq!(done.through, 4);
    writer.publish(vec![live(5, 9, 9, &[10])]).await;
    let batch = loop {
        let batch = m1.batch().await;
        if !batch.items.is_empty() {
            break batch;
        }
    };
    assert_eq!((batch.after, batch.through), (4, 5));
}
