//! The bound of the queue, and what becomes of it at a stop.

use std::sync::atomic::Ordering;

use im_config::WriterConfig;
use im_config::units::ByteSize;
use im_order::CommitSeq;
use im_store::MessageStore as _;

use super::rig::{Ground, text};
use super::*;

#[tokio::test]
async fn the_queue_is_bounded_and_waits() {
    let ground = Ground::new().await;
    let config = WriterConfig {
        queue_messages: 2,
        queue_size: ByteSize::bytes(100),
        ..WriterConfig::default()
    };
    ground.store.faults.away.store(true, Ordering::SeqCst);
    let mut rig = ground.start_with(config).await;
    rig.queue(vec![text(1, 2, 1, "a"), text(1, 2, 2, "b")])
        .await;
    let waits = rig.queue(vec![text(1, 2, 3, "c")]);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(20), waits)
            .await
            .is_err()
    );
    ground.store.faults.away.store(false, Ordering::SeqCst);
    assert_eq!(rig.results(2).await.len(), 2);
    // More than all the room there is passes alone.
    let long = "x".repeat(500);
    let done = rig
        .send(vec![
            text(1, 2, 4, &long),
            text(1, 2, 5, &long),
            text(1, 2, 6, "y"),
        ])
        .await;
    assert_eq!(
        done.iter().map(|done| stored(done).0).collect::<Vec<_>>(),
        [3, 4, 5]
    );
}

#[tokio::test]
async fn stopping_finishes_what_is_queued_and_takes_nothing_new() {
    let ground = Ground::new().await;
    let mut rig = ground.start().await;
    for round in 0..20 {
        rig.queue(vec![text(1, 2, 0, &format!("{round}"))]).await;
    }
    let handle = rig.writer.clone();
    let sink = rig.stop().await;
    let results = sink.take_now();
    assert_eq!(results.len(), 20);
    assert_eq!(
        ground.temp.store.log_end().await.unwrap().0,
        CommitSeq::from_wire(20)
    );
    let late = SendBatch::new(Vec::new(), sink);
    assert!(matches!(
        handle.send(late).await,
        Err(WriterError::Stopping)
    ));
}
