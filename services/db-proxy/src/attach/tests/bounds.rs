//! What is taken in hand, and what gives it back.

use prost::Message as _;

use super::*;
use crate::metrics::Class;

/// A query with a request, and so an answer, of so many bytes.
fn long(origin: u64, command: u32, bytes: usize) -> Call {
    Call::Query(v1::Query {
        user: 1,
        origin,
        command,
        body: Bytes::from(vec![7; bytes]),
        ..Default::default()
    })
}

fn login(name: &str) -> Call {
    login_from("192.0.2.1", name)
}

fn login_from(address: &str, name: &str) -> Call {
    Call::Login(v1::LoginCall {
        user_name: name.to_owned(),
        address: address.to_owned(),
        ..Default::default()
    })
}

fn withdraw(tag: u64) -> (u64, Call) {
    (0, Call::Cancel(v1::Cancel { tag }))
}

impl Rig {
    /// Nothing is asked beyond so many queries, however long the others run.
    async fn asked_only(&self, count: usize) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.asked(count).await.len(), count);
    }
}

#[tokio::test]
async fn a_class_that_is_full_is_turned_away_at_once_and_stops_no_other() {
    let mut rig = rig(|config| {
        config.attach.open_queries_per_link = 2;
        config.attach.logins_per_link = 1;
        config.attach.calls_per_link = 2;
    })
    .await;
    rig.call(vec![
        (1, query(1, 10)),
        (2, query(2, 10)),
        (3, query(3, 10)),
        (4, login(WAITS)),
        (5, login("anybody")),
    ])
    .await;
    let mut turned_away = rig.results(2).await;
    turned_away.sort_unstable_by_key(|(tag, _)| *tag);
    let (tag, Done::Answer(failed)) = &turned_away[0] else {
        panic!()
    };
    assert_eq!((*tag, failed.outcome()), (3, v1::answer::Outcome::Failed));
    let (tag, Done::Login(busy)) = &turned_away[1] else {
        panic!()
    };
    assert_eq!((*tag, busy.result_code), (5, 2));
    assert_eq!(rig.metrics.turned_away_of(Class::Query), 1);
    assert_eq!(rig.metrics.turned_away_of(Class::Login), 1);

    rig.call(vec![
        (6, send(1, 2, 1)),
        (7, send(1, 2, 2)),
        (8, send(1, 2, 3)),
    ])
    .await;
    let mut sent = rig.results(3).await;
    sent.sort_unstable_by_key(|(tag, _)| *tag);
    let outcomes = sent.iter().map(|(_, done)| outcome(done));
    assert!(outcomes.eq([Outcome::Stored, Outcome::Stored, Outcome::Failed]));
    rig.call(vec![(9, send(1, 2, 4))]).await;
    assert_eq!(
        outcome(&rig.result().await),
        Outcome::Stored,
        "there is room"
    );
}

/// Neither the room of a link nor that of all links.
#[tokio::test]
async fn one_network_does_not_fill_the_room_for_logins() {
    for of_link in [true, false] {
        let mut rig = rig(|config| {
            let room = if of_link {
                &mut config.attach.logins_per_link
            } else {
                &mut config.attach.logins
            };
            *room = 3;
        })
        .await;
        let crowd = (1..4).map(|tag| (tag, login_from("192.0.2.1", WAITS)));
        rig.call(crowd.collect()).await;
        rig.call(vec![(4, login_from("198.51.100.1", "ann"))]).await;
        let mut done = rig.results(2).await;
        done.sort_unstable_by_key(|(tag, _)| *tag);
        let [(3, Done::Login(newest)), (4, Done::Login(other))] = done.as_slice() else {
            panic!("{done:?}")
        };
        assert_eq!(newest.result_code, 2);
        assert_eq!(other.result_string, "ann");
        assert_eq!(rig.metrics.turned_away_of(Class::Login), 1);
    }
}

#[tokio::test]
async fn the_bytes_of_open_requests_are_bounded_as_well_as_their_number() {
    let mut rig = rig(|config| {
        config.attach.query_bytes_per_link = ByteSize::bytes(3_000);
    })
    .await;
    rig.call(vec![(1, long(1, 10, 2_000)), (2, long(2, 10, 2_000))])
        .await;
    let (tag, Done::Answer(failed)) = rig.results(1).await.remove(0) else {
        panic!()
    };
    assert_eq!((tag, failed.outcome()), (2, v1::answer::Outcome::Failed));
}

#[tokio::test]
async fn who_has_gone_is_not_worked_for_and_gives_everything_back() {
    let mut rig = rig(|config| {
        config.attach.open_queries_per_link = 2;
        config.attach.logins_per_link = 1;
    })
    .await;
    rig.call(vec![
        (1, query(1, 10)),
        (2, query(1, 20)),
        (3, login(WAITS)),
    ])
    .await;
    rig.asked(1).await;
    rig.call(vec![withdraw(2), withdraw(3), withdraw(99)]).await;
    rig.asked_only(1).await;
    // There is room for one more of each, although nothing was answered.
    rig.call(vec![(4, query(2, 30)), (5, login("ann"))]).await;
    let (tag, Done::Login(done)) = rig.results(1).await.remove(0) else {
        panic!()
    };
    assert_eq!((tag, done.result_string.as_str()), (5, "ann"));
    assert_eq!(rig.asked(2).await, [(1, 10), (2, 30)]);
    // A query that runs ends too; the next one of its session begins.
    rig.call(vec![withdraw(1)]).await;
    rig.asked_only(2).await;
    rig.call(vec![(6, query(1, 40))]).await;
    assert_eq!(rig.asked(3).await[2], (1, 40));
    assert_eq!(rig.metrics.withdrawn_of(Class::Query), 2);
    assert_eq!(rig.metrics.withdrawn_of(Class::Login), 1);
}

#[tokio::test]
async fn a_change_that_was_begun_is_finished_although_its_caller_has_gone() {
    let mut rig = rig(|_| {}).await;
    rig.call(vec![(1, query(1, CHANGES)), (2, query(1, 20))])
        .await;
    rig.asked(1).await;
    rig.call(vec![withdraw(1)]).await;
    rig.asked_only(1).await;
    rig.answers.go.notify_one();
    assert_eq!(rig.asked(2).await, [(1, CHANGES), (1, 20)]);
    rig.answers.go.notify_one();
    let (tag, _) = rig.results(1).await.remove(0);
    assert_eq!(tag, 2, "nobody is told of the change");
}

#[tokio::test]
async fn answers_that_have_not_left_keep_further_ones_from_being_read() {
    let mut rig = rig(|config| {
        config.attach.answer_bytes_per_link = ByteSize::bytes(20_000);
    })
    .await;
    let calls = (1..=3).map(|n| (n, long(n, 10, 9_000)));
    rig.call(calls.collect()).await;
    rig.asked_only(2).await;
    for _ in 0..2 {
        rig.answers.go.notify_one();
    }
    rig.asked_only(2).await;
    rig.results(2).await;
    assert_eq!(rig.asked(3).await.len(), 3, "two have left");
}

#[tokio::test]
async fn a_session_whose_answers_do_not_leave_keeps_no_other_waiting() {
    let mut rig = rig(|config| {
        config.attach.answer_bytes_per_session = ByteSize::bytes(1_000);
    })
    .await;
    rig.call(vec![
        (1, long(1, 10, 2_000)),
        (2, long(1, 11, 10)),
        (3, long(2, 12, 10)),
    ])
    .await;
    rig.answers.go.notify_one();
    rig.asked_only(2).await;
    rig.answers.go.notify_one();
    rig.asked_only(2).await;
    rig.results(2).await;
    assert_eq!(rig.asked(3).await[2], (1, 11));
}

#[tokio::test]
async fn batches_of_results_keep_to_their_bytes() {
    let mut rig = rig(|config| config.attach.batch_bytes = ByteSize::kib(8)).await;
    let calls = (1..=5).map(|n| (n, long(n, 10, 3_000)));
    rig.call(calls.collect()).await;
    rig.asked(5).await;
    for _ in 0..5 {
        rig.answers.go.notify_one();
    }
    let mut left = 5;
    while left > 0 {
        let batch = rig.link.rx.recv().await.expect("the link lives");
        assert!(batch.encoded_len() <= 8 << 10);
        left -= batch.results.len();
    }
}

#[tokio::test]
async fn a_link_that_ends_takes_its_calls_with_it() {
    let rig = rig(|_| {}).await;
    rig.call(vec![
        (1, query(1, 10)),
        (2, query(1, 20)),
        (3, login(WAITS)),
    ])
    .await;
    rig.asked(1).await;
    rig.link.closed.cancel();
    rig.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), rig.tasks.wait())
        .await
        .expect("nothing of the link goes on");
    assert_eq!(rig.asked(1).await.len(), 1);
}

#[tokio::test]
async fn large_messages_are_refused_first_when_space_is_low() {
    let mut rig = rig(|config| config.writer.large_body = ByteSize::bytes(4)).await;
    rig.core.context.space.pretend(1, 100);
    rig.call(vec![(1, send(1, 2, 1))]).await;
    assert_eq!(outcome(&rig.result().await), Outcome::Refused);
    let Call::Send(mut small) = send(1, 2, 2) else {
        panic!()
    };
    small.data = Bytes::from_static(b"tiny");
    rig.call(vec![(2, Call::Send(small))]).await;
    assert_eq!(outcome(&rig.result().await), Outcome::Stored);
    rig.core.context.space.pretend(100, 100);
    rig.call(vec![(3, send(1, 2, 3))]).await;
    assert_eq!(outcome(&rig.result().await), Outcome::Stored);
}

#[tokio::test]
async fn who_has_stored_as_much_as_they_may_is_told_to_wait_and_nobody_else() {
    // Room for one short message, and 96 bytes for it; a byte a second is earned again.
    let mut rig = rig(|config| {
        config.stored.burst = ByteSize::bytes(150);
        config.stored.per_day = ByteSize::bytes(150);
    })
    .await;
    let mut waits = Vec::new();
    for (seq, from) in [(1, 1), (2, 1), (3, 3)] {
        rig.call(vec![(u64::from(seq), send(from, 2, seq))]).await;
        let Done::Send(done) = rig.result().await else {
            panic!()
        };
        assert_eq!(done.outcome(), Outcome::Stored);
        waits.push(done.wait_ms);
    }
    assert_eq!((waits[0], waits[2]), (0, 0));
    assert!(waits[1] > 0);
}

#[tokio::test]
async fn a_log_page_ends_at_its_bytes_and_says_that_there_is_more() {
    let mut rig = rig(|config| config.attach.log_page_bytes = ByteSize::bytes(250)).await;
    let sends = (1..=5).map(|n| (u64::from(n), send(1, 2, n)));
    rig.call(sends.collect()).await;
    rig.results(5).await;
    while rig
        .core
        .context
        .publisher
        .position()
        .map(CommitSeq::to_wire)
        != Some(5)
    {
        tokio::task::yield_now().await;
    }
    let mut after = 0;
    let mut pages = Vec::new();
    loop {
        let page = rig.page(after, 0).await;
        pages.push(page.messages.len());
        after = page.through;
        if !page.more {
            break;
        }
    }
    assert_eq!((pages, after), (vec![2, 2, 1], 5));
}
