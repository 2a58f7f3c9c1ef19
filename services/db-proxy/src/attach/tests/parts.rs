//! Answers that leave in parts.

use super::*;

/// A query whose answer is its body; the caller takes parts.
fn long(origin: u64, bytes: usize) -> Call {
    let Call::Query(query) = query(origin, 10) else {
        unreachable!()
    };
    Call::Query(v1::Query {
        body: (0..bytes).map(|n| n.to_le_bytes()[0]).collect(),
        takes_parts: true,
        ..query
    })
}

/// Parts of 16 KiB, and room for two of them and what a msg server gathers.
async fn small_parts() -> Rig {
    rig(|config| {
        config.attach.answer_part_bytes = ByteSize::kib(16);
        config.attach.untaken_answer_bytes = ByteSize::kib(40);
    })
    .await
}

fn answer(done: Done) -> v1::Answer {
    let Done::Answer(answer) = done else {
        panic!("an answer, not {done:?}")
    };
    answer
}

impl Rig {
    async fn taken(&self, bytes: u64) {
        self.call(vec![(0, Call::Taken(v1::Taken { bytes }))]).await;
    }

    /// Nothing is sent, however long the others run.
    async fn nothing_leaves(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(self.link.rx.try_recv().is_err());
    }
}

#[tokio::test]
async fn parts_wait_until_those_before_are_taken_and_acknowledgements_do_not() {
    let mut rig = small_parts().await;
    let Call::Query(asked) = long(1, 100_000) else {
        unreachable!()
    };
    rig.call(vec![(1, Call::Query(asked.clone()))]).await;
    rig.answers.go.notify_one();
    let mut body = Vec::new();
    for _ in 0..2 {
        let part = answer(rig.result().await);
        assert!(part.unfinished && part.body.len() == 16 << 10);
        body.extend_from_slice(&part.body);
    }
    rig.nothing_leaves().await;
    rig.call(vec![(2, send(1, 2, 1))]).await;
    assert_eq!(outcome(&rig.result().await), Outcome::Stored);
    // A short answer waits as well: msg takes no more.
    rig.call(vec![(3, long(2, 10_000))]).await;
    rig.answers.go.notify_one();
    rig.nothing_leaves().await;
    rig.taken(10_000).await;
    let (tag, short) = rig.results(1).await.remove(0);
    let short = answer(short);
    assert_eq!(
        (tag, short.body.len(), short.unfinished),
        (3, 10_000, false)
    );
    rig.nothing_leaves().await;
    loop {
        rig.taken(17_000).await;
        let part = answer(rig.result().await);
        assert!(part.body.len() <= 16 << 10);
        assert!(part.counts as usize >= part.body.len());
        body.extend_from_slice(&part.body);
        if !part.unfinished {
            break;
        }
    }
    assert_eq!(body, asked.body);
}

#[tokio::test]
async fn a_caller_that_takes_no_parts_gets_the_whole_and_need_not_tell() {
    let mut rig = small_parts().await;
    for tag in 1..=3 {
        let Call::Query(mut asked) = long(tag, 100_000) else {
            unreachable!()
        };
        asked.takes_parts = false;
        rig.call(vec![(tag, Call::Query(asked.clone()))]).await;
        rig.answers.go.notify_one();
        let whole = answer(rig.result().await);
        assert_eq!(whole.body, asked.body);
        assert!(!whole.unfinished && whole.counts == 0);
    }
}

#[tokio::test]
async fn an_answer_that_is_withdrawn_between_its_parts_gives_its_room_back() {
    let mut rig = rig(|config| {
        config.attach.answer_part_bytes = ByteSize::kib(16);
        config.attach.untaken_answer_bytes = ByteSize::kib(40);
        config.attach.open_queries_per_link = 1;
        config.attach.answer_bytes_per_session = ByteSize::kib(64);
    })
    .await;
    rig.call(vec![(1, long(1, 100_000))]).await;
    rig.answers.go.notify_one();
    for _ in 0..2 {
        assert!(answer(rig.result().await).unfinished);
    }
    rig.call(vec![(2, query(1, 20))]).await;
    let failed = answer(rig.result().await);
    assert_eq!(failed.outcome(), v1::answer::Outcome::Failed, "no room");
    rig.call(vec![(0, Call::Cancel(v1::Cancel { tag: 1 }))])
        .await;
    rig.taken(1 << 20).await;
    rig.nothing_leaves().await;
    rig.call(vec![(3, query(1, 30))]).await;
    assert_eq!(rig.asked(2).await[1], (1, 30));
    rig.answers.go.notify_one();
    let (tag, _) = rig.results(1).await.remove(0);
    assert_eq!(tag, 3);
    // Nothing is open any more, so that a stop need not wait.
    rig.stop.cancel();
    rig.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), rig.tasks.wait())
        .await
        .expect("the link ends");
}
