//! The newest page of a log, read once for all whose position is there.

use std::sync::Arc;
use std::time::Duration;

use im_config::SubscriptionsConfig;
use im_follower::{Calls, Ended};
use im_proto_rpc::v1::{
    ChangeRecord, ChangesAfter, FollowRead, LiveMessage, SessionRecord, SessionsAfter,
    SubscribedLog,
};
use tokio::sync::watch;

/// How long a read waits for a message before it is asked anew, milliseconds.
const WAIT_MS: u32 = 5_000;

/// What stands at one place of a log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Message(LiveMessage),
    Change(ChangeRecord),
    Session(SessionRecord),
}

impl Entry {
    pub(super) const fn seq(&self) -> u64 {
        match self {
            Self::Message(message) => message.seq,
            Self::Change(change) => change.seq,
            Self::Session(session) => session.seq,
        }
    }

    /// When it was stored, unix seconds.
    pub(super) const fn time(&self) -> u32 {
        match self {
            Self::Message(message) => message.time,
            Self::Change(change) => change.at,
            Self::Session(session) => session.at,
        }
    }
}

/// A page of a log.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) after: u64,
    pub(super) through: u64,
    pub(super) entries: Vec<Entry>,
}

/// The newest page; empty ones say where the log ends.
pub(super) type Tail = watch::Receiver<Arc<Page>>;

/// Reads what a log has behind a place, and whether there is more: of messages and sessions, it waits so long for
/// one.
pub(super) async fn read(
    calls: &Calls,
    log: SubscribedLog,
    after: u64,
    wait_ms: u32,
    config: &SubscriptionsConfig,
) -> Result<(Page, bool), Ended> {
    let (through, more, entries) = match log {
        SubscribedLog::Messages => {
            let page = calls.read(messages(after, wait_ms, config)).await?;
            let entries = page.messages.into_iter().map(Entry::Message);
            (page.through, page.more, entries.collect())
        }
        SubscribedLog::Changes => {
            let page = calls.changes(ChangesAfter { after, rows: 0 }).await?;
            let entries = page.changes.into_iter().map(Entry::Change);
            (page.through, page.more, entries.collect())
        }
        SubscribedLog::Sessions => {
            let page = calls.sessions(SessionsAfter { after, wait_ms }).await?;
            let entries = page.sessions.into_iter().map(Entry::Session);
            (page.through, page.more, entries.collect())
        }
    };
    let page = Page {
        after,
        through,
        entries,
    };
    Ok((page, more))
}

/// How much is read at a time, and up to which length bodies come along.
fn messages(after: u64, wait_ms: u32, config: &SubscriptionsConfig) -> FollowRead {
    FollowRead {
        after,
        rows: 0,
        bytes: config.page_bytes.as_u32(),
        wait_ms,
        body_bytes: if config.text {
            config.text_bytes.as_u32()
        } else {
            0
        },
    }
}

/// Follows a log from its end on.
pub(super) async fn follow(
    calls: Calls,
    log: SubscribedLog,
    tail: Arc<watch::Sender<Arc<Page>>>,
    config: Arc<SubscriptionsConfig>,
) -> Result<(), Ended> {
    let mut after = tail.borrow().through;
    loop {
        let (page, more) = read(&calls, log, after, WAIT_MS, &config).await?;
        if page.through > after {
            after = page.through;
            tail.send_replace(Arc::new(page));
        }
        if !more {
            tokio::time::sleep(pause(log, &config)).await;
        }
    }
}

/// How long more gathers: a read of messages or sessions has waited for the first one.
fn pause(log: SubscribedLog, config: &SubscriptionsConfig) -> Duration {
    match log {
        SubscribedLog::Messages | SubscribedLog::Sessions => config.gather.duration(),
        SubscribedLog::Changes => config.look_every.duration(),
    }
}
