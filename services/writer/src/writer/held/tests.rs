use bytes::Bytes;
use im_config::units::ByteSize;
use im_core::{Epoch, Peer};
use im_trace::Trace;

use super::*;
use crate::testing::Sink;

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

/// A message of `from` to `to`, with a body of so many bytes.
fn message(tag: u64, from: u32, to: u32, bytes: usize, needs_verdict: bool) -> Incoming {
    Incoming {
        tag,
        sender: user(from),
        origin: Epoch(1),
        conversation: Conversation::of(user(from), Peer::User(user(to))).unwrap(),
        msg_type: 1,
        key: None,
        body: Bytes::from(vec![b'x'; bytes]),
        trace: Trace::from_wire(0),
        needs_verdict,
    }
}

fn sink() -> Arc<dyn SendSink> {
    Arc::new(Sink::default())
}

fn tags(freed: &Freed) -> Vec<u64> {
    let sends = freed.batches.iter().flat_map(|batch| &batch.sends);
    sends.map(|send| send.tag).collect()
}

fn counts(ask: &Ask) -> Vec<usize> {
    ask.asked.iter().map(|asked| asked.messages).collect()
}

#[test]
fn a_conversation_keeps_its_order_and_others_are_asked_about_meanwhile() {
    let mut held = Held::new(FilterConfig::default());
    let sink = sink();
    for (tag, from, to, needs) in [
        (1, 1, 2, true),
        (2, 1, 2, true),
        (3, 2, 1, false),
        (4, 1, 2, true),
        (5, 3, 4, true),
    ] {
        assert!(held.push(message(tag, from, to, 1, needs), &sink));
    }
    let first = held.next().unwrap();
    assert_eq!(counts(&first), [2, 1], "up to what is not asked about");
    assert_eq!(first.questions.len(), 3);
    assert!(held.push(message(6, 1, 2, 1, true), &sink));
    assert!(held.next().is_none(), "both have a question open");
    assert!(held.push(message(7, 5, 6, 1, true), &sink));
    let other = held.next().unwrap();
    assert_eq!(counts(&other), [1]);

    let verdicts = [Verdict::Deny, Verdict::Allow, Verdict::Allow];
    let freed = held.judged(first.asked, verdicts.into_iter());
    assert_eq!(tags(&freed), [2, 3, 5], "with what waited behind");
    let denied: Vec<_> = freed.denied.iter().map(|it| (it.tag, it.reason)).collect();
    assert_eq!(denied, [(1, RejectReason::Filtered)]);
    assert!(freed.batches.iter().all(|batch| batch.is_judged));

    let last = held.next().unwrap();
    assert_eq!(counts(&last), [2]);
    // Who says nothing has not allowed it.
    let freed = held.judged(last.asked, std::iter::once(Verdict::Allow));
    assert_eq!(tags(&freed), [4]);
    assert_eq!(freed.denied[0].reason, RejectReason::Unjudged);
    let freed = held.judged(other.asked, std::iter::once(Verdict::Allow));
    assert_eq!(tags(&freed), [7]);
    assert_eq!(held.waiting(), (0, 0));
    assert!(held.lanes.is_empty() && held.senders.is_empty() && held.ready.is_empty());
}

#[test]
fn what_replaces_a_body_is_stored_in_its_place() {
    let mut held = Held::new(FilterConfig::default());
    assert!(held.push(message(1, 1, 2, 100, true), &sink()));
    let ask = held.next().unwrap();
    let verdict = Verdict::Replace(Bytes::from_static(b"***"));
    let freed = held.judged(ask.asked, std::iter::once(verdict));
    let send = &freed.batches[0].sends[0];
    assert_eq!(
        (send.body.as_ref(), send.needs_verdict),
        (&b"***"[..], false)
    );
    assert_eq!(held.waiting(), (0, 0), "as many bytes leave as came");
}

#[test]
fn a_request_ends_at_its_messages_and_at_its_bytes_but_has_one_at_least() {
    let ask = |batch: usize, bytes: u64| {
        let mut held = Held::new(FilterConfig {
            batch,
            batch_bytes: ByteSize::bytes(bytes),
            ..FilterConfig::default()
        });
        for tag in 0..6 {
            assert!(held.push(message(tag, 1, 2, 100, true), &sink()));
        }
        for tag in 6..9 {
            assert!(held.push(message(tag, 3, 4, 100, true), &sink()));
        }
        counts(&held.next().unwrap())
    };
    assert_eq!(ask(64, 10_000), [6, 3]);
    assert_eq!(ask(7, 10_000), [6, 1]);
    assert_eq!(ask(6, 10_000), [6]);
    assert_eq!(ask(64, 700), [6, 1]);
    assert_eq!(ask(64, 699), [6]);
    assert_eq!(ask(64, 300), [3]);
    assert_eq!(ask(64, 1), [1], "a single one may be larger");
}

#[test]
fn what_waits_is_bounded_in_all_of_one_conversation_and_of_one_sender() {
    let bounds = FilterConfig {
        waiting_messages: 6,
        waiting_bytes: ByteSize::kib(5),
        conversation_bytes: ByteSize::kib(3),
        sender_bytes: ByteSize::kib(2),
        ..FilterConfig::default()
    };
    // A message costs a KiB.
    let body = 1_024 - MESSAGE;
    let mut held = Held::new(bounds.clone());
    let mut push = |from, to| held.push(message(1, from, to, body, true), &sink());
    assert!(push(1, 2) && push(1, 3));
    assert!(!push(1, 4), "of one sender");
    assert!(push(2, 1) && push(4, 5));
    assert!(push(2, 1));
    assert!(!push(5, 4), "of all");
    let mut held = Held::new(FilterConfig {
        sender_bytes: ByteSize::mib(1),
        waiting_bytes: ByteSize::mib(1),
        ..bounds.clone()
    });
    let mut push = |from, to| held.push(message(1, from, to, body, true), &sink());
    assert!(push(1, 2) && push(2, 1) && push(1, 2));
    assert!(!push(1, 2), "of one conversation");
    assert!(push(1, 3) && push(1, 3) && push(1, 3));
    assert!(!push(1, 4), "in number");
    // A single message may be larger than any bound.
    let mut held = Held::new(bounds);
    assert!(held.push(message(1, 1, 2, 100_000, true), &sink()));
    assert!(!held.push(message(2, 3, 4, 1, true), &sink()));
    assert_eq!(held.waiting(), (1, 100_000 + MESSAGE));
}

#[test]
fn results_go_to_whoever_sent() {
    let mut held = Held::new(FilterConfig::default());
    let (one, other) = (sink(), sink());
    for (tag, sink) in [(1, &one), (2, &one), (3, &other), (4, &one)] {
        assert!(held.push(message(tag, 1, 2, 1, true), sink));
    }
    let ask = held.next().unwrap();
    let freed = held.judged(ask.asked, std::iter::repeat(Verdict::Allow));
    let sizes: Vec<_> = { freed.batches.iter() }
        .map(|batch| batch.sends.len())
        .collect();
    assert_eq!(sizes, [2, 1, 1]);
    assert!(is_same(&freed.batches[1].sink, &other));
}
