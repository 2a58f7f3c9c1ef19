//! The links of msg servers: each is worked on in the order in which it was sent.

use std::sync::Arc;
use std::time::Duration;

use im_core::UserId;
use im_proto_rpc::v1::file_call::Call;
use im_proto_rpc::v1::file_created::Outcome;
use im_proto_rpc::v1::file_item::Item;
use im_proto_rpc::v1::{
    FileCall, FileCalls, FileCreate, FileCreated, FileDone, FileItem, FileItems, FileReady,
    FileStatus, FileWaiting,
};
use im_rpc::{Accept, Link, batch};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::hub::Hub;
use crate::tasks::{Offer, Unopened};

/// Files that one link is told of before it says that some are noted.
const MAX_KEPT: usize = 64;

/// How often it is looked whether a file is to be told again.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// The way in for msg servers, from the port and from the same process.
pub struct Attach {
    pub(crate) hub: Arc<Hub>,
    /// Ends the links.
    pub(crate) stop: CancellationToken,
}

impl std::fmt::Debug for Attach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attach").finish_non_exhaustive()
    }
}

impl Accept<FileItems, FileCalls> for Attach {
    fn accept(&self, link: Link<FileItems, FileCalls>) {
        let (hub, stop) = (Arc::clone(&self.hub), self.stop.clone());
        let tasks = hub.tasks.clone();
        tasks.spawn(async move { serve(&hub, link, stop).await });
    }
}

/// What is said to a msg server, gathered up to what a batch should weigh.
struct Outbox {
    tx: mpsc::Sender<FileItems>,
    items: Vec<FileItem>,
    /// What they weigh, and from what on they are sent, bytes.
    bytes: usize,
    bound: usize,
    closed: CancellationToken,
    stop: CancellationToken,
}

impl Outbox {
    /// Adds an item; false when the link has ended.
    async fn add(&mut self, item: FileItem) -> bool {
        self.bytes += batch::weight(&item);
        self.items.push(item);
        self.bytes < self.bound || self.send().await
    }

    /// Sends what has gathered; false when the link has ended.
    async fn send(&mut self) -> bool {
        self.bytes = 0;
        if self.items.is_empty() {
            return true;
        }
        let items = std::mem::take(&mut self.items);
        tokio::select! {
            sent = self.tx.send(FileItems { items }) => sent.is_ok(),
            () = self.closed.cancelled() => false,
            () = self.stop.cancelled() => false,
        }
    }
}

/// Answers a msg server until its link ends.
async fn serve(hub: &Arc<Hub>, link: Link<FileItems, FileCalls>, stop: CancellationToken) {
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    info!(%peer, "a msg server is linked");
    let mut out = Outbox {
        tx,
        items: Vec::new(),
        bytes: 0,
        bound: batch::sending_bound(&hub.config.link),
        closed,
        stop: stop.clone(),
    };
    let mut load = hub.load.subscribe();
    load.mark_unchanged();
    let mut told_at = Instant::now();
    let mut kept = hub.kept();
    // The first look is at once.
    let mut again = interval(TELL_AGAIN);
    let mut is_open = out.add(status(hub)).await;
    while is_open && out.send().await {
        let due = told_at + hub.config.report_interval.duration();
        is_open = tokio::select! {
            biased;
            () = stop.cancelled() => false,
            calls = rx.recv() => match calls {
                Some(calls) => answer_all(hub, calls, &mut out).await,
                None => false,
            },
            changed = async {
                tokio::select! {
                    changed = kept.changed() => changed.is_ok(),
                    _ = again.tick() => true,
                }
            } => changed && tell_kept(hub, MAX_KEPT, &mut out).await,
            changed = async {
                sleep_until(due).await;
                load.changed().await
            } => {
                told_at = Instant::now();
                changed.is_ok() && out.add(status(hub)).await
            }
        };
    }
    debug!(%peer, "the link of a msg server ended");
}

/// Answers a batch, in its order; false when the link has ended.
async fn answer_all(hub: &Arc<Hub>, calls: FileCalls, out: &mut Outbox) -> bool {
    for call in calls.calls {
        let is_open = if let Some(Call::Noted(noted)) = &call.call {
            hub.noted(&noted.task);
            tell_kept(hub, 1, out).await
        } else {
            out.add(answer(hub, call)).await
        };
        if !is_open {
            return false;
        }
    }
    true
}

/// Tells of files that wait and are not noted yet; false when the link has ended.
async fn tell_kept(hub: &Hub, most: usize, out: &mut Outbox) -> bool {
    for file in hub.tell(most) {
        let item = FileItem {
            tag: 0,
            item: Some(Item::Kept(file)),
        };
        if !out.add(item).await {
            return false;
        }
    }
    true
}

fn status(hub: &Hub) -> FileItem {
    let load = *hub.load.borrow();
    let status = FileStatus {
        addresses: hub.addresses.clone(),
        tasks: load.tasks,
        max_tasks: hub.config.max_tasks,
        draining: load.draining,
    };
    FileItem {
        tag: 0,
        item: Some(Item::Status(status)),
    }
}

fn answer(hub: &Arc<Hub>, call: FileCall) -> FileItem {
    let item = match call.call {
        Some(Call::Create(create)) => Item::Created(created(hub, create)),
        Some(Call::List(list)) => {
            let user = UserId::from_wire(list.user);
            let files = user.map(|user| hub.waiting(user)).unwrap_or_default();
            Item::Waiting(FileWaiting { files })
        }
        Some(Call::Confirm(confirm)) => {
            let from = UserId::from_wire(confirm.from);
            let known = from.zip(confirm.task.parse().ok());
            match known.and_then(|(from, task)| hub.confirmed(from, task)) {
                Some(file) => Item::Ready(FileReady { file: Some(file) }),
                None => Item::Done(FileDone {}),
            }
        }
        Some(Call::Delete(delete)) => {
            let to = UserId::from_wire(delete.to);
            if let Some((to, task)) = to.zip(delete.task.parse().ok()) {
                hub.delete(to, task);
            }
            Item::Done(FileDone {})
        }
        Some(Call::Noted(_)) | None => Item::Done(FileDone {}),
    };
    FileItem {
        tag: call.tag,
        item: Some(item),
    }
}

fn created(hub: &Hub, create: FileCreate) -> FileCreated {
    let people = UserId::from_wire(create.from).zip(UserId::from_wire(create.to));
    let created = match people {
        Some((from, to)) => hub.create(Offer {
            from,
            to,
            name: create.name,
            size: create.size,
            offline: create.offline,
        }),
        None => Err(Unopened::Offer),
    };
    let (outcome, task) = match created {
        Ok(task) => (Outcome::Created, task.to_string()),
        // Another server counts this person apart, and is not asked.
        Err(Unopened::Offer | Unopened::Person) => (Outcome::Refused, String::new()),
        Err(Unopened::Full) => (Outcome::Full, String::new()),
    };
    FileCreated {
        outcome: outcome.into(),
        task,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_weighs_enough_is_sent_before_the_rest_is_answered() {
        let (tx, mut rx) = mpsc::channel(8);
        let mut out = Outbox {
            tx,
            items: Vec::new(),
            bytes: 0,
            bound: 100,
            closed: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        let named = |tag, length| {
            let name = "n".repeat(length);
            let files = vec![im_proto_rpc::v1::StoredFile {
                name,
                ..Default::default()
            }];
            let item = Some(Item::Waiting(FileWaiting { files }));
            FileItem { tag, item }
        };
        assert!(out.add(named(1, 50)).await);
        assert!(rx.try_recv().is_err(), "more may join it");
        assert!(out.add(named(2, 50)).await);
        assert!(out.add(named(3, 5)).await);
        let tags = |batch: FileItems| batch.items.iter().map(|it| it.tag).collect::<Vec<_>>();
        assert_eq!(tags(rx.try_recv().unwrap()), [1, 2]);
        assert!(rx.try_recv().is_err());
        assert!(out.send().await);
        assert_eq!(tags(rx.try_recv().unwrap()), [3]);
        drop(rx);
        assert!(!out.add(named(4, 200)).await);
    }
}
