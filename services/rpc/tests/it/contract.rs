//! What every link promises, whatever carries it.

use im_proto_rpc::v1::{DbCall, DbCalls, Send, db_call::Call};
use tokio::sync::mpsc::error::TrySendError;

use crate::world::{Far, Near, World, calls, results, soon};

async fn batches_arrive_in_order_both_ways(mut world: World) {
    let (mut near, mut far) = world.link().await;
    let sending = tokio::spawn({
        let tx = near.tx.clone();
        async move {
            for tag in 1..=500 {
                tx.send(calls(tag)).await.unwrap();
            }
        }
    });
    for tag in 1..=500 {
        assert_eq!(soon(far.rx.recv()).await, Some(calls(tag)));
        far.tx.send(results(tag)).await.unwrap();
        assert_eq!(soon(near.rx.recv()).await, Some(results(tag)));
    }
    sending.await.unwrap();
}

async fn a_dropped_client_end_delivers_what_was_queued_and_ends_the_server_end(mut world: World) {
    let (near, mut far) = world.link().await;
    for tag in 1..=3 {
        near.tx.send(calls(tag)).await.unwrap();
    }
    drop(near);
    for tag in 1..=3 {
        assert_eq!(soon(far.rx.recv()).await, Some(calls(tag)));
    }
    ended(far).await;
}

async fn a_dropped_server_end_delivers_what_was_queued_and_ends_the_client_end(mut world: World) {
    let (mut near, far) = world.link().await;
    for tag in 1..=3 {
        far.tx.send(results(tag)).await.unwrap();
    }
    drop(far);
    for tag in 1..=3 {
        assert_eq!(soon(near.rx.recv()).await, Some(results(tag)));
    }
    assert_eq!(soon(near.rx.recv()).await, None);
    soon(near.closed.cancelled()).await;
    soon(near.tx.closed()).await;
}

async fn cancelling_and_dropping_the_client_end_ends_the_server_end(mut world: World) {
    let (near, far) = world.link().await;
    near.closed.cancel();
    drop(near);
    ended(far).await;
}

async fn cancelling_and_dropping_the_server_end_ends_the_client_end(mut world: World) {
    let (mut near, far) = world.link().await;
    far.closed.cancel();
    drop(far);
    soon(near.closed.cancelled()).await;
    assert_eq!(soon(near.rx.recv()).await, None);
}

/// A reader that stops reading stops the writer after a bounded number of batches, none is lost,
/// and the other direction goes on.
async fn a_slow_reader_holds_up_the_writer(mut world: World) {
    let (mut near, mut far) = world.link().await;
    let mut sent = 0;
    // Quiet for this long means that nothing moves any more.
    let quiet = std::time::Duration::from_millis(300);
    while let Ok(Ok(permit)) = tokio::time::timeout(quiet, near.tx.reserve()).await {
        permit.send(large(sent));
        sent += 1;
        assert!(sent < 5_000, "nothing holds up the writer");
    }
    assert!(matches!(
        near.tx.try_send(calls(0)),
        Err(TrySendError::Full(_))
    ));
    far.tx.send(results(7)).await.unwrap();
    assert_eq!(soon(near.rx.recv()).await, Some(results(7)));
    for tag in 0..sent {
        assert_eq!(soon(far.rx.recv()).await.unwrap().calls[0].tag, tag);
    }
}

/// 64 KiB, so that windows and socket buffers fill soon.
fn large(tag: u64) -> DbCalls {
    let send = Send {
        data: vec![7; 1 << 16].into(),
        ..Send::default()
    };
    DbCalls {
        calls: vec![DbCall {
            tag,
            call: Some(Call::Send(send)),
        }],
    }
}

async fn ended(mut far: Far) {
    soon(far.closed.cancelled()).await;
    assert_eq!(soon(far.rx.recv()).await, None);
    soon(far.tx.closed()).await;
}

/// Links of one dialer do not touch each other.
async fn closing_one_link_leaves_another_open(mut world: World) {
    let (first, _first_far): (Near, Far) = world.link().await;
    let (second, mut second_far) = world.link().await;
    drop(first);
    second.tx.send(calls(1)).await.unwrap();
    assert_eq!(soon(second_far.rx.recv()).await, Some(calls(1)));
    assert!(!second.closed.is_cancelled());
}

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::world::local()).await;
            })+
        }
        mod grpc {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::world::grpc().await).await;
            })+
        }
    };
}
contract!(
    batches_arrive_in_order_both_ways,
    a_dropped_client_end_delivers_what_was_queued_and_ends_the_server_end,
    a_dropped_server_end_delivers_what_was_queued_and_ends_the_client_end,
    cancelling_and_dropping_the_client_end_ends_the_server_end,
    cancelling_and_dropping_the_server_end_ends_the_client_end,
    a_slow_reader_holds_up_the_writer,
    closing_one_link_leaves_another_open,
);
