use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_answers::{Answered, Cost};
use im_config::DbProxyConfig;
use im_config::units::ByteSize;
use im_core::UserId;
use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1::db_call::Call;
use im_proto_rpc::v1::db_result::Result as Done;
use im_proto_rpc::v1::send_done::Outcome;
use im_rpc::link;
use im_store::testing::TempStore;
use im_store::{GroupType, TenureStore as _};
use im_writer::testing::people;
use im_writer::{Core, CreateGroup, Metrics};
use tokio::sync::Notify;

use super::*;

mod told;

/// Commands from here on change something.
const CHANGES: u32 = 100;

/// Answers when it is told to, and notes in which order it was asked.
#[derive(Default)]
struct Slow {
    asked: Mutex<Vec<(u64, u32)>>,
    go: Notify,
}

#[async_trait]
impl AnswerQueries for Slow {
    fn cost(&self, query: &v1::Query) -> Cost {
        Cost {
            bytes: 1_000 + query.body.len(),
            large: false,
            changes: query.command >= CHANGES,
        }
    }

    async fn answer(&self, query: v1::Query) -> Answered {
        self.asked
            .lock()
            .unwrap()
            .push((query.origin, query.command));
        self.go.notified().await;
        Answered {
            command: query.command + 1,
            bodies: vec![query.body.into()],
            ..Default::default()
        }
    }
}

struct Logins;

/// Whose login is never done.
const WAITS: &str = "waits";

#[async_trait]
impl CheckLogins for Logins {
    fn busy(&self) -> v1::LoginDone {
        v1::LoginDone {
            result_code: 2,
            ..Default::default()
        }
    }

    async fn login(&self, call: v1::LoginCall) -> v1::LoginDone {
        if call.user_name == WAITS {
            std::future::pending::<()>().await;
        }
        v1::LoginDone {
            result_string: call.user_name,
            ..Default::default()
        }
    }
}

struct Rig {
    link: Link<v1::DbCalls, v1::DbResults>,
    core: Core,
    comings: Comings,
    metrics: AttachMetrics,
    answers: Arc<Slow>,
    tasks: TaskTracker,
    stop: CancellationToken,
    temp: TempStore,
}

async fn rig(change: impl FnOnce(&mut DbProxyConfig)) -> Rig {
    let mut config = DbProxyConfig::default();
    change(&mut config);
    let temp = people().await;
    let store = Arc::new(temp.store.clone());
    let core = Core::start(Arc::new(config), store, Metrics::default());
    let metrics = AttachMetrics::default();
    let answers = Arc::new(Slow::default());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let comings = Comings::new(1 << 20);
    let attach = Attach::new(
        core.context.clone(),
        comings.clone(),
        Arc::clone(&answers) as Arc<dyn AnswerQueries>,
        Arc::new(Logins),
        metrics.clone(),
        tasks.clone(),
        stop.clone(),
    );
    let (near, far) = link::pair("msg", "db-proxy", 64);
    attach.accept(far);
    Rig {
        link: near,
        core,
        comings,
        metrics,
        answers,
        tasks,
        stop,
        temp,
    }
}

fn send(from: u32, to: u32, seq: u32) -> Call {
    Call::Send(v1::Send {
        from,
        origin: 100 + u64::from(from),
        to,
        msg_type: 1,
        data: Bytes::from_static(b"hello"),
        client_seq: seq,
        ..v1::Send::default()
    })
}

fn query(origin: u64, command: u32) -> Call {
    Call::Query(v1::Query {
        user: 1,
        origin,
        command,
        ..Default::default()
    })
}

impl Rig {
    async fn call(&self, calls: Vec<(u64, Call)>) {
        let calls = calls.into_iter().map(|(tag, call)| v1::DbCall {
            tag,
            call: Some(call),
        });
        self.link
            .tx
            .send(v1::DbCalls {
                calls: calls.collect(),
            })
            .await
            .unwrap();
    }

    async fn results(&mut self, count: usize) -> Vec<(u64, Done)> {
        let mut results = Vec::new();
        while results.len() < count {
            let received = tokio::time::timeout(Duration::from_secs(30), self.link.rx.recv());
            let batch = received
                .await
                .expect("results come")
                .expect("the link lives");
            results.extend(
                batch
                    .results
                    .into_iter()
                    .map(|r| (r.tag, r.result.unwrap())),
            );
        }
        results
    }

    async fn result(&mut self) -> Done {
        self.results(1).await.remove(0).1
    }

    async fn asked(&self, count: usize) -> Vec<(u64, u32)> {
        let wait = async {
            while self.answers.asked.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .unwrap();
        self.answers.asked.lock().unwrap().clone()
    }

    async fn page(&mut self, after: u64, limit: u32) -> v1::LogPage {
        self.call(vec![(1, Call::ReadLog(v1::ReadLog { after, limit }))])
            .await;
        match self.result().await {
            Done::Log(page) => page,
            other => panic!("{other:?}"),
        }
    }
}

fn outcome(done: &Done) -> Outcome {
    match done {
        Done::Send(done) => done.outcome(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sends_are_stored_in_stream_order_and_nonsense_is_refused() {
    let mut rig = rig(|_| {}).await;
    rig.call(vec![
        (1, send(1, 2, 1)),
        (2, send(1, 1, 2)),
        (3, send(1, 2, 3)),
    ])
    .await;
    rig.call(vec![(4, send(1, 2, 1)), (5, send(1, 2, 4))]).await;
    let mut results = rig.results(5).await;
    results.sort_by_key(|(tag, _)| *tag);
    let done: Vec<_> = results
        .iter()
        .map(|(tag, done)| match done {
            Done::Send(send) => (*tag, send.outcome(), send.msg_id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        done,
        [
            (1, Outcome::Stored, 1),
            (2, Outcome::Refused, 0),
            (3, Outcome::Stored, 2),
            (4, Outcome::Repeated, 1),
            (5, Outcome::Stored, 3)
        ]
    );
}

#[tokio::test]
async fn a_link_ends_with_unanswered_sends_when_the_log_has_another_owner() {
    let mut rig = rig(|_| {}).await;
    rig.call(vec![(1, send(1, 2, 1))]).await;
    rig.results(1).await;
    rig.temp.store.take(Partition::ONLY).await.unwrap();
    rig.call(vec![(2, send(1, 2, 2))]).await;
    let end = tokio::time::timeout(Duration::from_secs(30), rig.link.rx.recv());
    assert_eq!(end.await.unwrap(), None, "its peer asks the owner");
    rig.core.ended().cancelled().await;
}

#[tokio::test]
async fn queries_of_one_session_wait_for_each_other_and_nothing_else_does() {
    let mut rig = rig(|_| {}).await;
    let login = v1::LoginCall {
        user_name: "ann".into(),
        ..Default::default()
    };
    rig.call(vec![
        (1, query(7, 10)),
        (2, query(7, 20)),
        (3, query(8, 30)),
        (4, Call::Login(login)),
        (5, send(1, 2, 1)),
    ])
    .await;
    let mut early = rig.results(2).await;
    early.sort_by_key(|(tag, _)| *tag);
    assert!(matches!(&early[0], (4, Done::Login(done)) if done.result_string == "ann"));
    assert_eq!((early[1].0, outcome(&early[1].1)), (5, Outcome::Stored));
    let mut asked = rig.asked(2).await;
    asked.sort_unstable();
    assert_eq!(
        asked,
        [(7, 10), (8, 30)],
        "the second one of session 7 waits"
    );
    for _ in 0..3 {
        rig.answers.go.notify_one();
        let (tag, done) = rig.results(1).await.remove(0);
        let Done::Answer(answer) = done else { panic!() };
        assert_eq!(u64::from(answer.command), tag * 10 + 1);
    }
    assert_eq!(rig.asked(3).await[2], (7, 20));
}

#[tokio::test]
async fn the_log_is_read_in_pages_with_recipients_and_senders_sessions() {
    let mut rig = rig(|config| config.attach.log_page = 3).await;
    let group = CreateGroup {
        name: "g".into(),
        avatar: String::new(),
        creator: Some(UserId::from_wire(3).unwrap()),
        group_type: GroupType::Temporary,
        members: [3, 4, 5].map(|id| UserId::from_wire(id).unwrap()).into(),
        note: None,
    };
    let group = rig
        .core
        .context
        .writer
        .create_group(group)
        .await
        .unwrap()
        .group
        .id
        .get();
    let Call::Send(mut to_group) = send(4, group, 1) else {
        panic!()
    };
    to_group.msg_type = 0x11;
    rig.call(vec![
        (1, send(2, 1, 1)),
        (2, Call::Send(to_group)),
        (3, send(1, 2, 1)),
    ])
    .await;
    rig.results(3).await;
    rig.call(vec![(4, send(1, 2, 2)), (5, send(1, 2, 3))]).await;
    rig.results(2).await;
    // Results leave just before the publication.
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

    let page = rig.page(0, 0).await;
    assert_eq!((page.through, page.more, page.messages.len()), (3, true, 3));
    let shape = |m: &v1::LiveMessage| {
        (
            m.seq,
            m.from,
            m.to,
            m.msg_id,
            m.origin,
            m.recipients.clone(),
        )
    };
    assert_eq!(
        page.messages.iter().map(shape).collect::<Vec<_>>(),
        [
            (1, 2, 1, 1, 102, vec![2, 1]),
            (2, 4, group, 1, 104, vec![3, 4, 5]),
            (3, 1, 2, 2, 101, vec![1, 2]),
        ]
    );
    let page = rig.page(3, 100).await;
    assert_eq!(
        (page.through, page.more, page.messages.len()),
        (5, false, 2)
    );
    let page = rig.page(5, 100).await;
    assert_eq!(
        (page.through, page.more, page.messages.len()),
        (5, false, 0)
    );
    let page = rig.page(9, 100).await;
    assert_eq!(
        (page.through, page.more),
        (9, false),
        "a position of the future"
    );
}

#[tokio::test]
async fn relations_are_asked_from_the_store_and_remembered_for_a_while() {
    let mut rig = rig(|_| {}).await;
    let asked = || Call::Related(v1::Related { users: vec![1, 5] });
    let expected = |related: Vec<u32>| {
        let entries = vec![
            v1::related_done::Entry { user: 1, related },
            v1::related_done::Entry {
                user: 5,
                related: vec![],
            },
        ];
        Done::Related(v1::RelatedDone { entries })
    };
    rig.call(vec![(1, send(1, 2, 1))]).await;
    rig.results(1).await;
    rig.call(vec![(2, asked())]).await;
    assert_eq!(rig.result().await, expected(vec![2]));
    rig.call(vec![(3, send(1, 3, 2))]).await;
    rig.results(1).await;
    rig.call(vec![(4, asked())]).await;
    assert_eq!(rig.result().await, expected(vec![2]), "as remembered");
}

#[tokio::test]
async fn relations_beyond_the_bound_are_left_out_and_counted() {
    let mut rig = rig(|config| config.attach.related_limit = 2).await;
    for (n, to) in [2, 3, 4].into_iter().enumerate() {
        let tag = u64::try_from(n).unwrap();
        rig.call(vec![(tag, send(1, to, to))]).await;
        rig.results(1).await;
    }
    let asked = Call::Related(v1::Related { users: vec![1, 5] });
    rig.call(vec![(9, asked)]).await;
    let Done::Related(done) = rig.result().await else {
        panic!()
    };
    let related: Vec<usize> = done.entries.iter().map(|e| e.related.len()).collect();
    assert_eq!(related, [2, 0]);
    assert_eq!(rig.metrics.relations(), (2, 1));
}

#[tokio::test]
async fn stopping_answers_what_was_taken_and_ends_the_link() {
    let mut rig = rig(|_| {}).await;
    rig.call(vec![(1, query(7, 10)), (2, send(1, 2, 1))]).await;
    rig.asked(1).await;
    rig.stop.cancel();
    rig.answers.go.notify_one();
    assert_eq!(rig.results(2).await.len(), 2);
    assert!(rig.link.rx.recv().await.is_none());
    rig.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), rig.tasks.wait())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_link_that_is_gone_leaves_nothing_behind() {
    let rig = rig(|_| {}).await;
    rig.call(vec![
        (1, query(7, 10)),
        (2, query(7, 20)),
        (3, query(8, 30)),
    ])
    .await;
    rig.asked(2).await;
    let Rig {
        link,
        answers,
        tasks,
        ..
    } = rig;
    link.closed.cancel();
    drop(link);
    for _ in 0..2 {
        answers.go.notify_one();
    }
    tasks.close();
    tokio::time::timeout(Duration::from_secs(30), tasks.wait())
        .await
        .unwrap();
    assert_eq!(
        answers.asked.lock().unwrap().len(),
        2,
        "a query that waited is dropped"
    );
}

mod bounds;
mod parts;
