//! A store that fails, is away, loses an answer, or was written by somebody else.

use std::sync::atomic::Ordering;

use im_config::WriterConfig;
use im_config::units::Span;
use im_order::CommitSeq;
use im_store::MessageStore as _;

use super::rig::{Ground, text};
use super::*;

#[tokio::test]
async fn a_store_that_fails_for_a_while_delays_and_loses_nothing() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    rig.reachable(true).await;
    ground.store.faults.appends.store(3, Ordering::SeqCst);
    rig.queue(vec![text(1, 2, 1, "a"), text(1, 2, 2, "b")])
        .await;
    rig.queue(vec![text(1, 2, 3, "c"), text(1, 2, 1, "a")])
        .await;
    let results = rig.results(4).await;
    let ids: Vec<_> = results
        .iter()
        .map(|(tag, done)| (*tag, done.msg_id))
        .collect();
    assert_eq!(ids, [(1, 1), (2, 2), (3, 3), (4, 1)]);
    assert_eq!(results[3].1.outcome(), Outcome::Repeated);
    assert!(ground.store.faults.tried.load(Ordering::SeqCst) >= 4);
    assert_eq!(rig.published_to(3).await.len(), 3);
    rig.reachable(true).await;
}

#[tokio::test]
async fn what_cannot_be_stored_in_time_fails_without_an_acknowledgement() {
    let ground = Ground::new().await;
    let config = WriterConfig {
        store_retry: Span::ZERO,
        ..WriterConfig::default()
    };
    let mut rig = ground.start_with(config).await;
    rig.reachable(true).await;
    ground.store.faults.away.store(true, Ordering::SeqCst);
    let done = rig.send_one(text(1, 2, 1, "a")).await;
    assert_eq!((done.outcome(), done.msg_id), (Outcome::Failed, 0));
    rig.reachable(false).await;
    assert_eq!(rig.metrics.totals(), (0, 0, 1));
    ground.store.faults.away.store(false, Ordering::SeqCst);
    // The client's retry is a new message: the first one was never stored.
    assert_eq!(stored(&rig.send_one(text(1, 2, 1, "a")).await), (1, 1));
    rig.reachable(true).await;
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_waited_for() {
    let ground = Ground::new().await;
    ground.store.faults.away.store(true, Ordering::SeqCst);
    let mut rig = ground.start().await;
    rig.queue(vec![text(1, 2, 1, "a")]).await;
    assert!(!*rig.core.reachable.borrow());
    assert_eq!(rig.publisher.position(), None);
    ground.store.faults.away.store(false, Ordering::SeqCst);
    assert_eq!(stored(&rig.results(1).await[0].1), (1, 1));
    rig.reachable(true).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_stored_twice_nor_lost() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    rig.send_one(text(1, 2, 1, "before")).await;
    ground.store.faults.answers.store(1, Ordering::SeqCst);
    // Without a key nothing but the log itself can tell that it is there.
    let done = rig.send(vec![text(1, 2, 0, "a"), text(1, 2, 0, "a")]).await;
    assert_eq!(
        done.iter().map(stored).collect::<Vec<_>>(),
        [(2, 2), (3, 3)]
    );
    assert_eq!(
        ground.temp.store.log_end().await.unwrap().0,
        CommitSeq::from_wire(3)
    );
    assert_eq!(stored(&rig.send_one(text(2, 1, 0, "after")).await), (4, 4));
    // It was not published as it happened: the positions show a gap, so that it is read.
    let mut position = 0;
    let mut gap = false;
    while position < 4 {
        let batch = rig.route.batch().await;
        gap |= batch.after > position && position > 0;
        position = batch.through;
    }
    assert!(gap);
}

#[tokio::test]
async fn a_writer_that_is_wrong_about_the_store_reads_again_and_goes_on() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    assert_eq!(stored(&rig.send_one(text(1, 2, 1, "a")).await), (1, 1));
    ground.store.faults.outdated.store(1, Ordering::SeqCst);
    assert_eq!(stored(&rig.send_one(text(1, 2, 2, "b")).await), (2, 2));
    assert_eq!(stored(&rig.send_one(text(1, 3, 1, "c")).await), (1, 3));
    assert_eq!(ground.store.faults.outdated.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn stopping_with_a_store_that_is_away_gives_up_in_time() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    rig.reachable(true).await;
    ground.store.faults.away.store(true, Ordering::SeqCst);
    // From here on nothing but time is waited for.
    tokio::time::pause();
    rig.queue(vec![text(1, 2, 1, "a")]).await;
    let sink = rig.stop().await;
    let results = sink.take_now();
    assert_eq!(results[0].1.outcome(), Outcome::Failed);
}
