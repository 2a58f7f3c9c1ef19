//! Results of one link on their way back.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use im_proto_rpc::v1;
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// Bytes that any result costs besides its contents.
const FIXED: usize = 64;

/// What an answer holds until it has left; dropping it gives everything back.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// The place among the open calls of its class, and its bytes.
    pub(crate) permits: Vec<OwnedSemaphorePermit>,
    /// Session that is asking, and bytes that count for it.
    pub(crate) session: Option<(u64, usize)>,
}

/// Gathers the results of one link. Messages are answered first. Its size is bounded by the messages
/// that the link may have open, and by what the others hold.
#[derive(Debug, Default)]
pub(crate) struct Results {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they were pushed; a few bytes each.
    light: Vec<v1::DbResult>,
    others: VecDeque<(v1::DbResult, Hold)>,
}

/// Results that go together.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) results: Vec<v1::DbResult>,
    /// What they hold.
    pub(crate) holds: Vec<Hold>,
}

impl Results {
    /// Adds results of a few bytes that hold nothing; never waits.
    pub(crate) fn push(&self, results: Vec<v1::DbResult>) {
        if results.is_empty() {
            return;
        }
        {
            let mut waiting = self.lock();
            if waiting.light.is_empty() {
                waiting.light = results;
            } else {
                waiting.light.extend(results);
            }
        }
        self.ready.notify_one();
    }

    /// Adds one result that holds something; never waits.
    pub(crate) fn push_held(&self, result: v1::DbResult, hold: Hold) {
        self.lock().others.push_back((result, hold));
        self.ready.notify_one();
    }

    /// Waits for results and takes at most `max` of them, of at most `max_bytes` together or one.
    pub(crate) async fn take(&self, max: usize, max_bytes: usize) -> Taken {
        loop {
            let ready = self.ready.notified();
            let taken = self.take_now(max, max_bytes);
            if !taken.results.is_empty() {
                return taken;
            }
            ready.await;
        }
    }

    /// What is there, within the same bounds.
    pub(crate) fn take_now(&self, max: usize, max_bytes: usize) -> Taken {
        let mut waiting = self.lock();
        let most_light = max.min((max_bytes / FIXED).max(1));
        let mut results = if waiting.light.len() <= most_light {
            mem::take(&mut waiting.light)
        } else {
            let rest = waiting.light.split_off(most_light);
            mem::replace(&mut waiting.light, rest)
        };
        let mut bytes = FIXED * results.len();
        let mut holds = Vec::new();
        while results.len() < max
            && let Some((next, _)) = waiting.others.front()
        {
            bytes = bytes.saturating_add(weight(next));
            if bytes > max_bytes && !results.is_empty() {
                break;
            }
            let Some((next, hold)) = waiting.others.pop_front() else {
                break;
            };
            results.push(next);
            holds.push(hold);
        }
        Taken { results, holds }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a result, never less than it has on the link.
pub(crate) fn weight(result: &v1::DbResult) -> usize {
    use v1::db_result::Result;
    /// Bytes of a number in a list, at most.
    const NUMBER: usize = 5;
    let contents = match &result.result {
        Some(Result::Answer(answer)) => {
            let more = answer.more.iter().map(|body| FIXED + body.len());
            answer.body.len() + more.sum::<usize>()
        }
        Some(Result::Login(done)) => done.result_string.len() + done.user_info.len(),
        Some(Result::Log(page)) => page.messages.iter().map(log_entry).sum(),
        Some(Result::Related(done)) => {
            let entries = done.entries.iter();
            entries
                .map(|entry| FIXED + NUMBER * entry.related.len())
                .sum()
        }
        Some(Result::Send(_)) | None => 0,
    };
    FIXED + contents
}

/// Bytes of an entry of a log page, never less than it has on the link.
pub(crate) fn log_entry(message: &v1::LiveMessage) -> usize {
    96 + message.data.len() + 5 * message.recipients.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;
    use v1::db_result::Result;

    use super::*;

    fn send(tag: u64) -> v1::DbResult {
        let done = v1::SendDone {
            msg_id: u32::MAX,
            time: u32::MAX,
            seq: u64::MAX,
            wait_ms: u32::MAX,
            ..Default::default()
        };
        v1::DbResult {
            tag,
            result: Some(Result::Send(done)),
        }
    }

    fn answer(bytes: usize) -> Result {
        Result::Answer(v1::Answer {
            body: Bytes::from(vec![0; bytes]),
            ..Default::default()
        })
    }

    fn held(tag: u64, bytes: usize) -> v1::DbResult {
        let result = Some(answer(bytes));
        v1::DbResult { tag, result }
    }

    #[test]
    fn messages_are_answered_first_and_batches_keep_to_their_bytes() {
        let results = Results::default();
        for tag in 1..=3 {
            results.push_held(held(tag, 1_000), Hold::default());
        }
        results.push(vec![send(7), send(8)]);
        let tags = |taken: &Taken| taken.results.iter().map(|r| r.tag).collect::<Vec<_>>();
        let first = results.take_now(10, 2_300);
        assert_eq!((tags(&first), first.holds.len()), (vec![7, 8, 1, 2], 2));
        let bytes = |taken: &Taken| {
            let results = taken.results.clone();
            v1::DbResults { results }.encoded_len()
        };
        assert!(bytes(&first) <= 2_300);
        results.push_held(held(4, 50_000), Hold::default());
        assert_eq!(tags(&results.take_now(10, 2_300)), [3]);
        assert_eq!(
            tags(&results.take_now(10, 2_300)),
            [4],
            "one that is larger goes alone"
        );
        assert!(results.take_now(10, 2_300).results.is_empty());
    }

    #[test]
    fn the_weight_of_a_result_is_never_below_its_bytes() {
        let message = v1::LiveMessage {
            seq: u64::MAX,
            from: u32::MAX,
            to: u32::MAX,
            msg_id: u32::MAX,
            time: u32::MAX,
            msg_type: u32::MAX,
            data: Bytes::from(vec![1; 3_000]),
            origin: u64::MAX,
            recipients: vec![u32::MAX; 100],
        };
        let page = v1::LogPage {
            messages: vec![message; 3],
            through: u64::MAX,
            more: true,
        };
        let login = v1::LoginDone {
            result_code: u32::MAX,
            user_id: u32::MAX,
            result_string: "x".repeat(500),
            user_info: Bytes::from(vec![1; 500]),
            ..Default::default()
        };
        let related = v1::RelatedDone {
            entries: vec![
                v1::related_done::Entry {
                    user: u32::MAX,
                    related: vec![u32::MAX; 50],
                };
                4
            ],
        };
        let results = [
            answer(9),
            Result::Log(page),
            Result::Login(login),
            Result::Related(related),
        ];
        for result in results {
            let result = v1::DbResult {
                tag: u64::MAX,
                result: Some(result),
            };
            assert!(weight(&result) >= result.encoded_len());
        }
        assert!(weight(&send(u64::MAX)) >= send(u64::MAX).encoded_len() + 2);
    }
}
