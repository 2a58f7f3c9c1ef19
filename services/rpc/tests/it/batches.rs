//! Batches above what a link carries.

use std::time::Duration;

use im_config::LinkConfig;
use im_config::units::ByteSize;
use im_discovery::Endpoint;
use im_proto_rpc::v1::{Answer, DbCall, DbCalls, DbResult, DbResults, Send, db_call, db_result};
use im_rpc::grpc::GrpcDialer;
use im_rpc::{DbProxyAttach, Dial, Secret};
use tokio_util::sync::CancellationToken;

use crate::serve::{Server, server};
use crate::world::{config, soon};

const LIMIT: usize = 1 << 16;

fn send(tag: u64, size: usize) -> DbCall {
    let send = Send {
        data: vec![0; size].into(),
        ..Send::default()
    };
    DbCall {
        tag,
        call: Some(db_call::Call::Send(send)),
    }
}

fn answer(tag: u64, size: usize) -> DbResult {
    let answer = Answer {
        body: vec![0; size].into(),
        ..Answer::default()
    };
    DbResult {
        tag,
        result: Some(db_result::Result::Answer(answer)),
    }
}

#[tokio::test]
async fn a_batch_above_the_limit_arrives_in_parts_and_the_link_stays() {
    let secret = Secret::generate();
    let small = LinkConfig {
        max_batch: ByteSize::bytes(LIMIT as u64),
        ..config()
    };
    let Server {
        address,
        mut accepted,
        bound,
        ..
    } = server(&secret, &small).await;
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let endpoint = Endpoint {
        name: "db".to_owned(),
        address,
    };
    let dialer = GrpcDialer::<DbProxyAttach>::new(endpoint, secret, small);
    let mut near = soon(dialer.dial()).await.unwrap();
    let mut far = soon(accepted.recv()).await.unwrap();

    // Twenty times what one batch may hold, both ways.
    let tags = 1..=100_u64;
    let calls = tags.clone().map(|tag| send(tag, 13_000)).collect();
    near.tx.send(DbCalls { calls }).await.unwrap();
    let mut heard = Vec::new();
    let mut batches = 0;
    while heard.len() < 100 {
        let batch = soon(far.rx.recv()).await.expect("the link stays");
        heard.extend(batch.calls.iter().map(|call| call.tag));
        batches += 1;
    }
    assert_eq!(heard, tags.clone().collect::<Vec<_>>());
    assert!(batches >= 20, "{batches}");

    let results = tags.clone().map(|tag| answer(tag, 13_000)).collect();
    far.tx.send(DbResults { results }).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 100 {
        let batch = soon(near.rx.recv()).await.expect("the link stays");
        heard.extend(batch.results.iter().map(|result| result.tag));
    }
    assert_eq!(heard, tags.collect::<Vec<_>>());
    assert!(!near.closed.is_cancelled() && !far.closed.is_cancelled());
}
