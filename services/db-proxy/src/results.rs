//! Results of one link on their way back.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use im_answers::{Answered, Parts};
use im_core::shares::Share;
use im_proto_rpc::v1;
use im_writer::SendSink;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Bytes that any result costs besides its contents.
const FIXED: usize = 64;

/// What an answer holds until it has left; dropping it gives everything back.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// The place among the open calls of its class, and its bytes.
    pub(crate) permits: Vec<OwnedSemaphorePermit>,
    /// The places of a login.
    pub(crate) shares: Vec<Share<CancellationToken>>,
    /// Session that is asking, and bytes that count for it.
    pub(crate) session: Option<(u64, usize)>,
}

/// Gathers the results of one link. Messages are answered first, long answers leave in parts between
/// the others. Its size is bounded by the messages that the link may have open, and by what the others
/// hold.
#[derive(Debug, Default)]
pub(crate) struct Results {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Messages whose results come later.
    held: Vec<u64>,
    /// In the order in which they were pushed; a few bytes each.
    light: Vec<v1::DbResult>,
    others: VecDeque<(v1::DbResult, Hold)>,
    /// Answers of which the peer tells when it has taken them.
    answers: VecDeque<Leaving<v1::Answer>>,
    /// Those of them that leave in parts, one after the other.
    long: VecDeque<Leaving<Parts>>,
    /// What the peer has not taken counts for, bytes.
    untaken: usize,
    /// Whose turn it is to be first: a part or whole answers.
    part_first: bool,
}

/// An answer that waits to leave.
#[derive(Debug)]
struct Leaving<T> {
    tag: u64,
    answer: T,
    hold: Hold,
}

/// Results that go together.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) results: Vec<v1::DbResult>,
    /// How many of them end their calls.
    pub(crate) ended: usize,
    /// What those hold.
    pub(crate) holds: Vec<Hold>,
}

/// What goes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Results.
    pub(crate) results: usize,
    /// Bytes; a single result may be larger.
    pub(crate) bytes: usize,
    /// Bytes of a part, and of the answers in one batch of which the peer tells when it has taken them.
    pub(crate) part: usize,
    /// What all answers that the peer has not taken may count for, bytes.
    pub(crate) untaken: usize,
}

impl Limits {
    #[cfg(test)]
    pub(crate) fn results(results: usize) -> Self {
        Self {
            results,
            bytes: usize::MAX,
            part: usize::MAX,
            untaken: usize::MAX,
        }
    }
}

impl SendSink for Results {
    /// Adds results of a few bytes that hold nothing; never waits.
    fn push(&self, results: Vec<v1::DbResult>) {
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

    fn held(&self, tags: Vec<u64>) {
        self.lock().held.extend(tags);
        self.ready.notify_one();
    }
}

impl Results {
    /// Adds one result that holds something; never waits.
    pub(crate) fn push_held(&self, result: v1::DbResult, hold: Hold) {
        self.lock().others.push_back((result, hold));
        self.ready.notify_one();
    }

    /// Adds an answer for a peer that tells when it has taken it; above `part` bytes it leaves in parts.
    /// Never waits.
    pub(crate) fn push_answer(&self, tag: u64, answer: Answered, hold: Hold, part: usize) {
        let bytes = answer.weight();
        if bytes > part {
            let answer = answer.parts();
            let leaving = Leaving { tag, answer, hold };
            self.lock().long.push_back(leaving);
        } else {
            let mut answer = answer.whole();
            answer.counts = counted(bytes);
            let leaving = Leaving { tag, answer, hold };
            self.lock().answers.push_back(leaving);
        }
        self.ready.notify_one();
    }

    /// The peer has taken answers that counted for so many bytes.
    pub(crate) fn taken(&self, bytes: u64) {
        {
            let mut waiting = self.lock();
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            waiting.untaken = waiting.untaken.saturating_sub(bytes);
        }
        self.ready.notify_one();
    }

    /// Nobody wants this answer any more: what it holds, if it has not left.
    pub(crate) fn withdraw(&self, tag: u64) -> Option<Hold> {
        let mut waiting = self.lock();
        let whole = waiting.answers.iter().position(|next| next.tag == tag);
        if let Some(at) = whole {
            return waiting.answers.remove(at).map(|next| next.hold);
        }
        let at = waiting.long.iter().position(|next| next.tag == tag)?;
        waiting.long.remove(at).map(|next| next.hold)
    }

    /// Waits for results that may leave and takes what goes together.
    pub(crate) async fn take(&self, limits: &Limits) -> Taken {
        loop {
            let ready = self.ready.notified();
            let taken = self.take_now(limits);
            if !taken.results.is_empty() {
                return taken;
            }
            ready.await;
        }
    }

    /// What is there and may leave, within the same bounds.
    pub(crate) fn take_now(&self, limits: &Limits) -> Taken {
        let mut waiting = self.lock();
        let most_light = limits.results.min((limits.bytes / FIXED).max(1));
        let results = if waiting.light.len() <= most_light {
            mem::take(&mut waiting.light)
        } else {
            let rest = waiting.light.split_off(most_light);
            mem::replace(&mut waiting.light, rest)
        };
        let mut batch = Batch {
            limits,
            bytes: FIXED * results.len(),
            answers: 0,
            taken: Taken {
                ended: results.len(),
                results,
                holds: Vec::new(),
            },
        };
        batch.take_held(&mut waiting.held);
        batch.take_others(&mut waiting.others);
        if waiting.answers.is_empty() && waiting.long.is_empty() {
            return batch.taken;
        }
        if waiting.part_first {
            batch.take_part(&mut waiting);
        }
        batch.take_answers(&mut waiting);
        batch.take_part(&mut waiting);
        if batch.answers > 0 {
            waiting.part_first = !waiting.part_first;
        }
        batch.taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being put together.
struct Batch<'a> {
    limits: &'a Limits,
    bytes: usize,
    /// Bytes of answers that count.
    answers: usize,
    taken: Taken,
}

impl Batch<'_> {
    /// Takes room for so many bytes, or for one result.
    fn fits(&mut self, bytes: usize) -> bool {
        let results = self.taken.results.len();
        let all = self.bytes.saturating_add(bytes);
        let fits = results < self.limits.results && (all <= self.limits.bytes || results == 0);
        if fits {
            self.bytes = all;
        }
        fits
    }

    /// The same for an answer that counts until the peer has taken it.
    fn counts(&mut self, bytes: usize, untaken: &mut usize) -> bool {
        let answers = self.answers.saturating_add(bytes);
        let all = untaken.saturating_add(bytes);
        let may = (answers <= self.limits.part || self.answers == 0)
            && (all <= self.limits.untaken || *untaken == 0)
            && self.fits(bytes);
        if may {
            (self.answers, *untaken) = (answers, all);
        }
        may
    }

    /// Says of which messages the results come later. It ends no call, and is bounded by the messages that
    /// the link may have open.
    fn take_held(&mut self, held: &mut Vec<u64>) {
        if held.is_empty() {
            return;
        }
        let tags = mem::take(held);
        let result = v1::DbResult {
            tag: 0,
            result: Some(v1::db_result::Result::Held(v1::Held { tags })),
        };
        self.bytes = self.bytes.saturating_add(weight(&result));
        self.taken.results.push(result);
    }

    fn take_others(&mut self, others: &mut VecDeque<(v1::DbResult, Hold)>) {
        while let Some((next, _)) = others.front() {
            if !self.fits(weight(next)) {
                return;
            }
            let Some((next, hold)) = others.pop_front() else {
                return;
            };
            self.end(next, hold);
        }
    }

    fn take_answers(&mut self, waiting: &mut Waiting) {
        while let Some(next) = waiting.answers.front() {
            let bytes = next.answer.counts as usize;
            if !self.counts(bytes, &mut waiting.untaken) {
                return;
            }
            let Some(Leaving { tag, answer, hold }) = waiting.answers.pop_front() else {
                return;
            };
            self.end(result(tag, answer), hold);
        }
    }

    /// Takes a part, and while there is room the parts behind it.
    fn take_part(&mut self, waiting: &mut Waiting) {
        while let Some(next) = waiting.long.front_mut() {
            let bytes = next.answer.next_weight(self.limits.part);
            if !self.counts(bytes, &mut waiting.untaken) {
                return;
            }
            let mut part = next.answer.next(self.limits.part);
            part.counts = counted(bytes);
            let is_last = !part.unfinished;
            let part = result(next.tag, part);
            if !is_last {
                self.taken.results.push(part);
            } else if let Some(Leaving { hold, .. }) = waiting.long.pop_front() {
                self.end(part, hold);
            }
        }
    }

    /// Adds a result that ends its call.
    fn end(&mut self, result: v1::DbResult, hold: Hold) {
        self.taken.results.push(result);
        self.taken.holds.push(hold);
        self.taken.ended += 1;
    }
}

fn counted(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn result(tag: u64, answer: v1::Answer) -> v1::DbResult {
    v1::DbResult {
        tag,
        result: Some(v1::db_result::Result::Answer(answer)),
    }
}

/// Bytes of a result, never less than it has on the link.
pub(crate) fn weight(result: &v1::DbResult) -> usize {
    use v1::db_result::Result;
    /// Bytes of a number in a list, at most.
    const NUMBER: usize = 5;
    /// Bytes of a tag in a list, at most.
    const TAG: usize = 10;
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
        Some(Result::Held(held)) => TAG * held.tags.len(),
        Some(Result::Send(_) | Result::Noted(_) | Result::SessionsWanted(_)) | None => 0,
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
        let limits = Limits {
            bytes: 2_300,
            ..Limits::results(10)
        };
        let first = results.take_now(&limits);
        assert_eq!((tags(&first), first.holds.len()), (vec![7, 8, 1, 2], 2));
        let bytes = |taken: &Taken| {
            let results = taken.results.clone();
            v1::DbResults { results }.encoded_len()
        };
        assert!(bytes(&first) <= 2_300);
        results.push_held(held(4, 50_000), Hold::default());
        assert_eq!(tags(&results.take_now(&limits)), [3]);
        assert_eq!(
            tags(&results.take_now(&limits)),
            [4],
            "one that is larger goes alone"
        );
        assert!(results.take_now(&limits).results.is_empty());
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
            trace: u64::MAX,
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
            login_ms: u64::MAX,
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
