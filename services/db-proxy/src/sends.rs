//! Messages that are stored for somebody who has no link: administration, announcements.

use std::sync::{Arc, Mutex, PoisonError};

use im_proto_rpc::v1;
use im_writer::{Incoming, SendBatch, SendSink, WriterError, WriterHandle};
use tokio::sync::oneshot;

/// Gathers the results of one batch.
struct Gathered(Mutex<State>);

struct State {
    /// By place in the batch.
    done: Vec<Option<v1::SendDone>>,
    reply: Option<oneshot::Sender<Vec<v1::SendDone>>>,
}

impl SendSink for Gathered {
    fn push(&self, results: Vec<v1::DbResult>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for v1::DbResult { tag, result } in results {
            let place = usize::try_from(tag)
                .ok()
                .and_then(|at| state.done.get_mut(at));
            if let (Some(place), Some(v1::db_result::Result::Send(done))) = (place, result) {
                *place = Some(done);
            }
        }
        let all: Option<Vec<v1::SendDone>> = state.done.iter().copied().collect();
        if let Some(all) = all
            && let Some(reply) = state.reply.take()
        {
            // Whoever asked may have gone.
            let _gone = reply.send(all);
        }
    }
}

/// Stores messages in their order, at most [`MAX_JOB_SENDS`](im_writer::MAX_JOB_SENDS); what became of each.
///
/// # Errors
/// [`WriterError::Stopping`]: whether they are stored is not known.
pub(crate) async fn store(
    writer: &WriterHandle,
    mut sends: Vec<Incoming>,
) -> Result<Vec<v1::SendDone>, WriterError> {
    if sends.is_empty() {
        return Ok(Vec::new());
    }
    for (tag, send) in (0..).zip(&mut sends) {
        send.tag = tag;
    }
    let (reply, told) = oneshot::channel();
    let sink = Arc::new(Gathered(Mutex::new(State {
        done: vec![None; sends.len()],
        reply: Some(reply),
    })));
    writer.send(SendBatch::new(sends, sink)).await?;
    told.await.map_err(|_| WriterError::Stopping)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(tag: u64, seq: u64) -> v1::DbResult {
        let done = v1::SendDone {
            seq,
            ..v1::SendDone::default()
        };
        v1::DbResult {
            tag,
            result: Some(v1::db_result::Result::Send(done)),
        }
    }

    #[tokio::test]
    async fn results_are_told_together_in_the_order_of_the_sends() {
        let (reply, told) = oneshot::channel();
        let sink = Gathered(Mutex::new(State {
            done: vec![None; 3],
            reply: Some(reply),
        }));
        sink.push(vec![result(2, 12), result(9, 99)]);
        sink.push(vec![result(0, 10)]);
        sink.push(vec![result(1, 11)]);
        let told = told.await.unwrap();
        let seqs: Vec<u64> = told.iter().map(|done| done.seq).collect();
        assert_eq!(seqs, [10, 11, 12]);
    }
}
