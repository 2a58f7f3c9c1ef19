//! What the writer does while a filter judges.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::{Conversation, UserId};
use im_store::{MessageStore as _, ReadLimit};
use tokio::sync::{mpsc, oneshot};

use super::rig::{Ground, Rig, group_text, text, user};
use super::*;
use crate::filter::{Filter, Question, Verdict};

/// A question, and where its verdicts go.
type Open = (Vec<Question>, oneshot::Sender<Vec<Verdict>>);

/// Wants verdicts on what user 1 sends, and waits for the test to give them.
struct Asking(Mutex<mpsc::UnboundedSender<Open>>);

#[async_trait]
impl Filter for Asking {
    fn concerns(&self, sender: UserId, _: Conversation, _: u32) -> bool {
        sender == user(1)
    }

    async fn judge(&self, questions: Vec<Question>) -> Vec<Verdict> {
        let (reply, verdicts) = oneshot::channel();
        self.0.lock().unwrap().send((questions, reply)).unwrap();
        // A test that drops a question shows a filter that breaks.
        verdicts.await.unwrap()
    }

    fn unanswered(&self) -> Verdict {
        Verdict::Unjudged
    }
}

async fn filtered(ground: &Ground) -> (Rig, mpsc::UnboundedReceiver<Open>) {
    let (questions, asked) = mpsc::unbounded_channel();
    let filter = Asking(Mutex::new(questions));
    (ground.start_filtered(filter).await, asked)
}

fn bodies(questions: &[Question]) -> Vec<&[u8]> {
    questions.iter().map(|it| it.body.as_ref()).collect()
}

async fn history(ground: &Ground, conversation: Conversation) -> Vec<Bytes> {
    let store = &ground.temp.store;
    let found = store.history(conversation, None, 0, ReadLimit::rows(100));
    let mut found: Vec<_> = { found.await.unwrap().into_iter() }
        .map(|message| message.body)
        .collect();
    found.reverse();
    found
}

#[tokio::test]
async fn a_conversation_waits_for_its_verdict_in_order_and_no_other_one_does() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    rig.queue(vec![
        text(1, 2, 1, "judge me"),
        text(2, 1, 1, "behind it"),
        text(3, 2, 1, "elsewhere"),
    ])
    .await;
    // The third alone: the others wait, and the sink knows.
    assert_eq!(rig.results(1).await[0].0, 3);
    assert_eq!(rig.sink.held_now(), [1, 2]);
    assert_eq!(rig.metrics.waiting_for_filter().0, 2);
    let (questions, reply) = asked.recv().await.unwrap();
    assert_eq!(bodies(&questions), [b"judge me"]);
    rig.queue(vec![text(2, 1, 2, "later"), text(3, 1, 2, "elsewhere")])
        .await;
    assert_eq!(rig.results(1).await[0].0, 5);
    reply.send(vec![Verdict::Allow]).unwrap();
    let results = rig.results(3).await;
    let tags: Vec<_> = results.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [1, 2, 4]);
    assert!(
        results
            .iter()
            .all(|(_, done)| done.outcome() == Outcome::Stored)
    );
    let stored = history(&ground, pair(1, 2)).await;
    assert_eq!(stored, [&b"judge me"[..], b"behind it", b"later"]);
    // It waits for nobody any more.
    assert_eq!(rig.send_one(text(2, 1, 3, "free")).await.msg_id, 4);
    assert_eq!(rig.metrics.waiting_for_filter(), (0, 0));
}

#[tokio::test]
async fn a_denied_message_is_refused_and_asked_about_again_when_it_comes_again() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    for _ in 0..2 {
        rig.queue(vec![text(1, 2, 1, "bad")]).await;
        let (_, reply) = asked.recv().await.unwrap();
        reply.send(vec![Verdict::Deny]).unwrap();
        assert_eq!(rig.results(1).await[0].1.outcome(), Outcome::Refused);
    }
    assert!(history(&ground, pair(1, 2)).await.is_empty());
}

#[tokio::test]
async fn a_replaced_message_is_stored_once_and_its_repetition_is_not_asked_about() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    rig.queue(vec![text(1, 2, 1, "rude")]).await;
    let (_, reply) = asked.recv().await.unwrap();
    let kind = Verdict::Replace(Bytes::from_static(b"kind"));
    reply.send(vec![kind]).unwrap();
    let first = rig.results(1).await.remove(0).1;
    assert_eq!(first.outcome(), Outcome::Stored);
    let again = rig.send_one(text(1, 2, 1, "rude")).await;
    assert_eq!(again.outcome(), Outcome::Repeated);
    assert_eq!(again.msg_id, first.msg_id);
    assert!(asked.try_recv().is_err(), "nobody was asked");
    assert_eq!(history(&ground, pair(1, 2)).await, [&b"kind"[..]]);
    // Published as it is stored.
    let items = rig.published_to(1).await;
    let texts = items.iter().filter_map(|item| match item {
        im_proto_rpc::v1::publish_item::Item::Message(message) => Some(message.data.as_ref()),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), [b"kind"]);
}

/// A client that hears nothing sends again what waits for the filter.
#[tokio::test]
async fn a_message_that_is_sent_again_while_it_waits_is_asked_about_once() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    for verdict in [
        Verdict::Deny,
        Verdict::Allow,
        Verdict::Replace(Bytes::from_static(b"kind")),
    ] {
        let number = match verdict {
            Verdict::Deny => 1,
            Verdict::Allow => 2,
            _ => 3,
        };
        rig.queue(vec![text(1, 2, number, "rude")]).await;
        let (_, reply) = asked.recv().await.unwrap();
        rig.queue(vec![text(1, 2, number, "rude")]).await;
        rig.queue(vec![text(1, 2, number, "rude")]).await;
        // Of another conversation: once it is stored, those before were taken too.
        rig.queue(vec![text(3, 4, 10 + number, "free")]).await;
        assert_eq!(rig.results(1).await[0].1.outcome(), Outcome::Stored);
        reply.send(vec![verdict.clone()]).unwrap();
        let results = rig.results(3).await;
        let outcomes: Vec<_> = results.iter().map(|(_, done)| done.outcome()).collect();
        if verdict == Verdict::Deny {
            assert_eq!(outcomes, [Outcome::Refused; 3]);
        } else {
            assert_eq!(
                outcomes,
                [Outcome::Stored, Outcome::Repeated, Outcome::Repeated]
            );
        }
        assert!(asked.try_recv().is_err(), "nobody was asked again");
        assert_eq!(rig.metrics.waiting_for_filter(), (0, 0));
    }
    assert_eq!(history(&ground, pair(1, 2)).await, [&b"rude"[..], b"kind"]);
}

#[tokio::test]
async fn a_filter_that_breaks_gets_what_is_said_for_no_verdict_and_frees_the_conversation() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    rig.queue(vec![text(1, 2, 1, "lost"), text(2, 1, 1, "behind")])
        .await;
    drop(asked.recv().await.unwrap());
    let mut results = rig.results(2).await;
    results.sort_by_key(|(tag, _)| *tag);
    let outcomes: Vec<_> = results.iter().map(|(_, done)| done.outcome()).collect();
    assert_eq!(outcomes, [Outcome::Refused, Outcome::Stored]);
    rig.queue(vec![text(1, 2, 2, "next")]).await;
    let (_, reply) = asked.recv().await.unwrap();
    reply.send(vec![Verdict::Allow]).unwrap();
    assert_eq!(rig.results(1).await[0].1.outcome(), Outcome::Stored);
}

#[tokio::test]
async fn whoever_has_left_a_group_meanwhile_is_refused_whatever_the_verdict() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    let group = make_group(&rig, &[1, 2, 3]).await;
    rig.queue(vec![group_text(1, group, 1)]).await;
    let (_, reply) = asked.recv().await.unwrap();
    change(&rig, group, MemberChange::Remove, &[1], None)
        .await
        .unwrap();
    reply.send(vec![Verdict::Allow]).unwrap();
    assert_eq!(rig.results(1).await[0].1.outcome(), Outcome::Refused);
}

#[tokio::test]
async fn a_verdict_that_comes_when_the_writer_has_ended_changes_nothing() {
    let ground = Ground::new().await;
    let (mut rig, mut asked) = filtered(&ground).await;
    rig.queue(vec![text(1, 2, 1, "too late")]).await;
    let (_, reply) = asked.recv().await.unwrap();
    let sink = rig.stop().await;
    // Whoever asked may be gone already.
    drop(reply.send(vec![Verdict::Allow]));
    assert!(sink.take_now().is_empty(), "no result");
    assert!(history(&ground, pair(1, 2)).await.is_empty());
    // The next one asks again, and stores it once.
    let (mut rig, mut asked) = filtered(&ground).await;
    rig.queue(vec![text(1, 2, 1, "too late")]).await;
    let (_, reply) = asked.recv().await.unwrap();
    reply.send(vec![Verdict::Allow]).unwrap();
    assert_eq!(rig.results(1).await[0].1.outcome(), Outcome::Stored);
}

#[tokio::test]
async fn what_has_no_room_to_wait_is_given_up() {
    let ground = Ground::new().await;
    let (questions, mut asked) = mpsc::unbounded_channel();
    let filter = Asking(Mutex::new(questions));
    let mut rig = ground.start_bounded(filter, 2).await;
    rig.queue(vec![
        text(1, 2, 1, "a"),
        text(1, 3, 2, "b"),
        text(1, 4, 3, "c"),
    ])
    .await;
    let (tag, done) = rig.results(1).await.remove(0);
    assert_eq!((tag, done.outcome()), (3, Outcome::Failed));
    let (questions, reply) = asked.recv().await.unwrap();
    assert_eq!(
        bodies(&questions),
        [b"a", b"b"],
        "two conversations, one request"
    );
    reply.send(vec![Verdict::Allow, Verdict::Allow]).unwrap();
    assert_eq!(rig.results(2).await.len(), 2);
    rig.queue(vec![text(1, 4, 3, "c")]).await;
    let (_, reply) = asked.recv().await.unwrap();
    reply.send(vec![Verdict::Allow]).unwrap();
    assert_eq!(rig.results(1).await[0].1.outcome(), Outcome::Stored);
}
