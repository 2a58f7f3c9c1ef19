use std::sync::Arc;

use im_config::DbProxyConfig;
use im_config::units::Span;
use im_core::Conversation;
use im_store::contract::log::{Log, pair};
use im_store::testing::TempStore;
use im_store::{FollowerStep, FollowerStore as _, MessageStore as _, ReadLimit};
use im_writer::testing::people;
use im_writer::{Core, Metrics};

use super::*;
use crate::log::{LogReader, PageLimit};

/// Messages of each kind that are two days old.
const OLD: u64 = 700;

struct Rig {
    temp: TempStore,
    core: Core,
}

/// In turn a pair and a group have written, two days ago and now.
async fn rig(pairs: Span, groups: Span) -> Rig {
    let temp = people().await;
    let now = UnixSeconds::now();
    let old = now.saturating_sub(2 * 86_400);
    let mut log = Log::default();
    let group = Conversation::Group(log.group(&temp.store, &[1, 2], old.get()).await);
    for n in 0..2 * OLD + 4 {
        let conversation = if n % 2 == 0 { pair(1, 2) } else { group };
        let time = if n < 2 * OLD { old } else { now };
        log.send(1, conversation, time.get(), "something");
    }
    log.commit(&temp.store).await.unwrap();
    let mut config = DbProxyConfig::default();
    config.retention.pairs = pairs;
    config.retention.groups = groups;
    let store = Arc::new(temp.store.clone());
    let core = Core::start(Arc::new(config), store, Metrics::default());
    Rig { temp, core }
}

impl Rig {
    fn retention(&self) -> Retention {
        Retention::new(self.core.context.clone(), RetentionMetrics::default())
    }

    /// Positions of the log whose messages have no body.
    async fn gone(&self) -> Vec<u64> {
        let limit = ReadLimit::rows(10_000);
        let log = self.temp.store.read_log(CommitSeq::START, limit).await;
        let gone = log.unwrap().into_iter().map(|entry| entry.message);
        let gone = gone.filter(|message| message.body.is_empty());
        gone.map(|message| message.seq.to_wire()).collect()
    }

    /// A follower of this name has come so far.
    async fn follows(&self, name: &str, position: u64) {
        let store = &self.temp.store;
        let position = CommitSeq::from_wire(position);
        let held = store.hold_follower(name, Partition::ONLY, position).await;
        let step = FollowerStep {
            name: name.to_owned(),
            partition: Partition::ONLY,
            epoch: held.unwrap().epoch,
            position,
            put: Vec::new(),
            remove: Vec::new(),
        };
        assert!(store.step_follower(&step).await.unwrap());
    }
}

fn every_second(first: u64, last: u64) -> Vec<u64> {
    (first..=last).step_by(2).collect()
}

#[tokio::test]
async fn each_kind_has_its_own_age_and_the_young_stay() {
    let rig = rig(Span::days(1), Span::days(3)).await;
    let retention = rig.retention();
    for kind in RetentionKind::ALL {
        retention.pass(kind).await.unwrap();
    }
    assert_eq!(rig.gone().await, every_second(1, 2 * OLD));
    let label = ByKind {
        kind: KindLabel::Pairs,
    };
    assert_eq!(retention.metrics.expired.get_or_create(&label).get(), OLD);
}

#[tokio::test]
async fn what_has_expired_is_in_no_page_of_the_log() {
    let rig = rig(Span::days(1), Span::ZERO).await;
    rig.retention().pass(RetentionKind::Pairs).await.unwrap();
    let log = LogReader::new(rig.core.context.clone());
    let most = PageLimit {
        rows: 100,
        bytes: 1 << 20,
    };
    let (mut after, mut read) = (CommitSeq::START, Vec::new());
    loop {
        let page = log.page(after, most).await.unwrap();
        let messages = page.messages.iter();
        read.extend(messages.map(|message| message.seq));
        after = CommitSeq::from_wire(page.through);
        if !page.more {
            break;
        }
        assert_eq!(page.messages.len(), 50, "of a hundred that were looked at");
    }
    assert_eq!(after.to_wire(), 2 * OLD + 4);
    let young = [2 * OLD + 1, 2 * OLD + 3];
    let mut expected = every_second(2, 2 * OLD + 4);
    expected.extend(young);
    expected.sort_unstable();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_page_of_expired_messages_is_empty_and_not_the_last() {
    let rig = rig(Span::days(1), Span::ZERO).await;
    rig.retention().pass(RetentionKind::Pairs).await.unwrap();
    let log = LogReader::new(rig.core.context.clone());
    let one = PageLimit {
        rows: 1,
        bytes: 1 << 20,
    };
    let page = log.page(CommitSeq::START, one).await.unwrap();
    let (read, through) = (page.messages.len(), page.through);
    assert_eq!((read, through, page.more), (0, 1, true));
}

#[tokio::test]
async fn nothing_goes_that_a_follower_has_yet_to_read() {
    let rig = rig(Span::days(1), Span::ZERO).await;
    let retention = rig.retention();
    rig.follows("push", 10).await;
    rig.follows("subscription-1", 20).await;
    // These are no positions of the log of messages.
    rig.follows(SUBSCRIPTIONS, 0).await;
    rig.follows("subscription-1-changes", 1).await;
    let waits = || {
        let label = ByKind {
            kind: KindLabel::Pairs,
        };
        retention.metrics.waits.get_or_create(&label).get()
    };
    retention.pass(RetentionKind::Pairs).await.unwrap();
    assert_eq!(rig.gone().await, every_second(1, 10));
    assert_eq!(waits(), 1, "which is told");
    rig.follows("push", 30).await;
    retention.pass(RetentionKind::Pairs).await.unwrap();
    assert_eq!(rig.gone().await, every_second(1, 20));
    // Those who have read all that is old hold nothing up.
    for name in ["push", "subscription-1"] {
        rig.follows(name, 2 * OLD + 1).await;
    }
    retention.pass(RetentionKind::Pairs).await.unwrap();
    assert_eq!(rig.gone().await, every_second(1, 2 * OLD));
    assert_eq!(waits(), 0);
}

#[tokio::test]
async fn off_it_does_not_even_wait() {
    let rig = rig(Span::ZERO, Span::ZERO).await;
    rig.retention().run(CancellationToken::new()).await;
    assert_eq!(rig.gone().await, [0; 0]);
}
