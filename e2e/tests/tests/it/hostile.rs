//! Clients that mean no good, and honest ones in numbers. Each test is an attack, and what bystanders,
//! newcomers and the processes notice of it ([`im_e2e::siege`]).

mod answers;
mod dispatch;
mod floods;
mod frames;
mod guessing;
mod limits;
mod logins;
mod returning;
mod storage;
mod threads;
mod weights;

use im_e2e::gauges::Metrics;
use im_e2e::siege::Siege;

use crate::support::*;

/// A pair exchanges this many messages while something else goes on, one after the other.
async fn chat(a: &mut Terminal, b: &mut Terminal, count: u32) {
    for n in 0..count {
        let (from, to) = if n.is_multiple_of(2) {
            (&mut *a, &mut *b)
        } else {
            (&mut *b, &mut *a)
        };
        let ack = from
            .say(with_user(to.user()), &format!("bystander {n}"))
            .await;
        let copy = to.message().await;
        assert_eq!(
            (copy.msg_id, text_of(&copy)),
            (ack.msg_id, format!("bystander {n}"))
        );
    }
}

/// The metrics of a process that is under siege.
async fn metrics(siege: &mut Siege, process: &str) -> Metrics {
    let process = siege.platform().process(process).unwrap();
    Metrics::read(process).await.unwrap()
}
