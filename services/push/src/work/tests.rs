//! What becomes of notices, with a provider and a db-proxy of the tests.

use std::collections::VecDeque;
use std::sync::Arc;

use im_proto_rpc::v1::follow_call::Call;
use im_proto_rpc::v1::follow_item::Item;
use im_proto_rpc::v1::{
    FollowCalls, FollowDone, FollowItem, FollowItems, PushFacts, PushName, PushShield, PushTargets,
    PushTest, PushTested, PushUnread,
};
use im_rpc::{Link, link};

use super::*;
use crate::provider::Provider;

/// Answers as it is told, and hangs when it is told nothing.
#[derive(Clone, Default)]
struct Told {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    heard: Arc<Mutex<Vec<Notice>>>,
}

#[async_trait]
impl Provider for Told {
    async fn send(&self, notice: &Notice) -> Said {
        self.heard.lock().unwrap().push(notice.clone());
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer.into(),
            None => std::future::pending().await,
        }
    }
}

struct Rig {
    push: Push,
    provider: Told,
    calls: Calls,
    /// What db-proxy was told to forget.
    gone: Arc<Mutex<Vec<(String, u64)>>>,
}

fn rig(change: impl FnOnce(&mut PushConfig)) -> Rig {
    let mut config = PushConfig::default();
    change(&mut config);
    let provider = Told::default();
    let mut providers = Providers::default();
    providers.put(Lane::Webhook, Box::new(provider.clone()));
    let metrics = Metrics::default();
    let presence = Presence::new(config.presence_timeout.duration(), metrics.clone());
    let push = Push::new(config, TimeZone::UTC, providers, presence, metrics);
    let (near, far) = link::pair("push", "db-proxy", 16);
    let gone = Arc::default();
    tokio::spawn(db(far, Arc::clone(&gone)));
    Rig {
        push,
        provider,
        calls: Calls::over(near),
        gone,
    }
}

fn target(user: u32) -> PushTarget {
    PushTarget {
        user,
        client_type: 0x11,
        token: format!("token {user}"),
        session: 7,
        night_shield: false,
    }
}

/// People 2 and 3 have devices; 3 has silenced group 9.
async fn db(link: Link<FollowItems, FollowCalls>, gone: Arc<Mutex<Vec<(String, u64)>>>) {
    let Link { tx, mut rx, .. } = link;
    while let Some(batch) = rx.recv().await {
        for call in batch.calls {
            let item = match call.call.unwrap() {
                Call::Targets(asked) => {
                    let users = asked.users.into_iter().filter(|it| [2, 3].contains(it));
                    Item::Targets(PushTargets {
                        targets: users.map(target).collect(),
                    })
                }
                Call::Facts(asked) => Item::Facts(PushFacts {
                    unread: asked.unread.into_iter().map(unread).collect(),
                    names: asked.names.into_iter().map(name).collect(),
                    shields: asked.groups.into_iter().map(shield).collect(),
                }),
                Call::Gone(of) => {
                    gone.lock().unwrap().push((of.token, of.session));
                    Item::Done(FollowDone {})
                }
                other => panic!("{other:?}"),
            };
            let items = vec![FollowItem {
                tag: call.tag,
                item: Some(item),
            }];
            if tx.send(FollowItems { items }).await.is_err() {
                return;
            }
        }
    }
}

fn unread(user: u32) -> PushUnread {
    PushUnread { user, count: 4 }
}

fn name(user: u32) -> PushName {
    PushName {
        user,
        nick: format!("N{user}"),
    }
}

fn shield(group: u32) -> PushShield {
    PushShield {
        group,
        users: vec![3],
    }
}

fn live(seq: u64, to: u32, msg_type: u32, recipients: &[u32]) -> LiveMessage {
    let text = TextCipher::new(DEFAULT_KEY).encrypt(b"hello").unwrap();
    LiveMessage {
        seq,
        from: 1,
        to,
        msg_type,
        time: UnixSeconds::now().get(),
        data: Bytes::from(text),
        recipients: recipients.to_vec(),
        ..LiveMessage::default()
    }
}

fn notice_of(job: &Job) -> Notice {
    serde_json::from_slice(&job.body).unwrap()
}

impl Rig {
    async fn notices(&self, messages: Vec<LiveMessage>) -> Vec<Notice> {
        let jobs = self.push.jobs(&self.calls, messages).await.unwrap();
        assert!(jobs.iter().all(|job| job.lane == Lane::Webhook as u32));
        jobs.iter().map(notice_of).collect()
    }

    fn answers(&self, answers: &[Answer]) {
        let mut told = self.provider.answers.lock().unwrap();
        told.extend(answers.iter().cloned());
    }

    async fn attempt(&self, tries: u32) -> Outcome {
        let messages = vec![live(1, 2, 1, &[1, 2])];
        let jobs = self.push.jobs(&self.calls, messages).await.unwrap();
        let body = jobs[0].body.clone();
        self.push.attempt(&self.calls, body, tries).await
    }

    fn heard(&self) -> usize {
        self.provider.heard.lock().unwrap().len()
    }
}

#[tokio::test]
async fn those_with_devices_are_told_but_for_who_silenced_the_group() {
    let rig = rig(|config| config.preview = PreviewKind::Text);
    let all = vec![
        live(1, 2, 1, &[1, 2]),
        live(2, 9, 0x11, &[1, 2, 3, 4]),
        live(3, 4, 1, &[1, 4]),
    ];
    let told = rig.notices(all).await;
    let shape: Vec<_> = told
        .iter()
        .map(|it| (it.seq, it.user, it.badge, it.alert.as_deref()))
        .collect();
    assert_eq!(
        shape,
        [(1, 2, 4, Some("N1:hello")), (2, 2, 4, Some("N1:hello"))]
    );
    assert_eq!(told[0].collapse, "p1-2");
    assert_eq!(told[1].collapse, "g9");
}

#[tokio::test]
async fn a_generic_notice_has_neither_name_nor_text() {
    let rig = rig(|_| {});
    let told = rig.notices(vec![live(1, 2, 1, &[1, 2])]).await;
    assert_eq!(told[0].alert.as_deref(), Some("您收到了一条消息"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_left_alone_and_tried_again_later() {
    let rig = rig(|config| config.failures = 2);
    for _ in 0..2 {
        let begin = tokio::time::Instant::now();
        assert!(matches!(rig.attempt(0).await, Outcome::Again(_)));
        assert!(begin.elapsed() >= rig.push.config.attempt_timeout.duration());
    }
    let heard = rig.heard();
    let begin = tokio::time::Instant::now();
    assert!(matches!(rig.attempt(0).await, Outcome::Again(_)));
    assert_eq!(begin.elapsed(), Duration::ZERO, "it is not even asked");
    assert_eq!(rig.heard(), heard);
    assert_eq!(rig.push.metrics.attempts(Lane::Webhook, Fate::Paused), 1);
}

#[tokio::test]
async fn what_a_provider_says_is_done() {
    let rig = rig(|_| {});
    rig.answers(&[
        Answer::Taken,
        Answer::Rejected("no".to_owned()),
        Answer::Gone("gone".to_owned()),
        Answer::Later {
            reason: "busy".to_owned(),
            after: Some(Duration::from_secs(77)),
        },
    ]);
    for _ in 0..2 {
        assert_eq!(rig.attempt(0).await, Outcome::Done);
    }
    assert!(rig.gone.lock().unwrap().is_empty());
    assert_eq!(rig.attempt(0).await, Outcome::Done);
    assert_eq!(*rig.gone.lock().unwrap(), [("token 2".to_owned(), 7)]);
    assert_eq!(
        rig.attempt(0).await,
        Outcome::Again(Duration::from_secs(77))
    );
}

#[tokio::test]
async fn what_is_too_old_is_not_sent() {
    let rig = rig(|_| {});
    let messages = vec![live(1, 2, 1, &[1, 2])];
    let mut notice = rig.notices(messages).await.remove(0);
    notice.expires = unix_millis() / 1_000 - 1;
    let body = Bytes::from(serde_json::to_vec(&notice).unwrap());
    assert_eq!(rig.push.attempt(&rig.calls, body, 9).await, Outcome::Done);
    assert_eq!(rig.heard(), 0);
    assert_eq!(rig.push.metrics.attempts(Lane::Webhook, Fate::Expired), 1);
}

#[tokio::test]
async fn waits_double_up_to_their_bound() {
    let rig = rig(|_| {});
    let (least, most) = (rig.push.config.retry_min, rig.push.config.retry_max);
    let wait = |tries| rig.push.wait(tries, Duration::ZERO);
    assert!(wait(0) <= least.duration() && wait(0) >= least.duration() / 2);
    assert!(wait(3) > least.duration() * 3 && wait(3) <= least.duration() * 8);
    assert!(wait(99) <= most.duration() && wait(99) >= most.duration() / 2);
}

/// Asks for test notices; returns when all have an answer.
async fn testing(
    link: Link<FollowItems, FollowCalls>,
    mut tests: VecDeque<PushTest>,
) -> Vec<PushTested> {
    let Link { tx, mut rx, .. } = link;
    let (wanted, mut told) = (tests.len(), Vec::new());
    while told.len() < wanted {
        for call in rx.recv().await.unwrap().calls {
            let item = match call.call.unwrap() {
                Call::Tests(_) => match tests.pop_front() {
                    Some(test) => Item::Test(test),
                    None => continue,
                },
                Call::Facts(asked) => Item::Facts(PushFacts {
                    unread: asked.unread.into_iter().map(unread).collect(),
                    ..PushFacts::default()
                }),
                Call::Tested(tested) => {
                    told.push(tested);
                    Item::Done(FollowDone {})
                }
                other => panic!("{other:?}"),
            };
            let items = vec![FollowItem {
                tag: call.tag,
                item: Some(item),
            }];
            tx.send(FollowItems { items }).await.unwrap();
        }
    }
    told
}

/// One for a provider that hangs, one that it takes, and one for a PC, which nobody tells.
#[tokio::test(start_paused = true)]
async fn test_notices_are_made_beside_each_other_whatever_the_provider_did_before() {
    let rig = rig(|config| config.failures = 1);
    assert!(
        matches!(rig.attempt(0).await, Outcome::Again(_)),
        "it hangs"
    );
    let test = |id, client_type| PushTest {
        id,
        target: Some(PushTarget {
            client_type,
            ..target(2)
        }),
    };
    let (near, far) = link::pair("push", "db-proxy", 16);
    let tests = VecDeque::from([test(1, 0x11), test(2, 0x01), test(3, 0x12)]);
    let told = tokio::spawn(testing(far, tests));
    let calls = Calls::over(near);
    let heard = rig.heard();
    let making = rig.push.beside(&calls);
    let told = tokio::select! {
        // The link ends with whoever asked: both may be ready.
        biased;
        told = told => told.unwrap(),
        () = making => panic!("it makes tests until the link ends"),
    };
    let told: Vec<_> = told
        .into_iter()
        .map(|it| (it.id, it.verdict.unwrap()))
        .collect();
    assert_eq!(told[0], (2, im_proto_rpc::v1::PushVerdict::default()));
    let notices = rig.provider.heard.lock().unwrap().split_off(heard);
    assert_eq!(notices.len(), 2, "each once");
    for notice in &notices {
        assert!(notice.is_test() && notice.alert.is_some());
        assert_eq!((notice.badge, notice.token.as_str()), (4, "token 2"));
    }
    assert_ne!(notices[0].id, notices[1].id);
    for (_, verdict) in &told[1..] {
        assert_eq!(verdict.reason, "no answer in time");
    }
}
