//! The links of msg servers: each is worked on in the order in which it was sent.

use std::sync::Arc;

use im_core::UserId;
use im_proto_rpc::v1::file_call::Call;
use im_proto_rpc::v1::file_created::Outcome;
use im_proto_rpc::v1::file_item::Item;
use im_proto_rpc::v1::{
    FileCall, FileCalls, FileCreate, FileCreated, FileDone, FileItem, FileItems, FileReady,
    FileStatus, FileWaiting,
};
use im_rpc::{Accept, Link};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::hub::Hub;
use crate::tasks::{Offer, Unopened};

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

/// Answers a msg server until its link ends.
async fn serve(hub: &Arc<Hub>, link: Link<FileItems, FileCalls>, stop: CancellationToken) {
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    info!(%peer, "a msg server is linked");
    let mut load = hub.load.subscribe();
    let mut told_at = Instant::now();
    load.mark_unchanged();
    let mut items = vec![status(hub)];
    loop {
        if !items.is_empty() {
            let batch = FileItems {
                items: std::mem::take(&mut items),
            };
            let sent = tokio::select! {
                sent = tx.send(batch) => sent.is_ok(),
                () = closed.cancelled() => false,
                () = stop.cancelled() => false,
            };
            if !sent {
                break;
            }
        }
        let due = told_at + hub.config.report_interval.duration();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            calls = rx.recv() => match calls {
                Some(calls) => items.extend(calls.calls.into_iter().map(|call| answer(hub, call))),
                None => break,
            },
            changed = async {
                sleep_until(due).await;
                load.changed().await
            } => {
                if changed.is_err() {
                    break;
                }
                told_at = Instant::now();
                items.push(status(hub));
            }
        }
    }
    debug!(%peer, "the link of a msg server ended");
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
        None => Item::Done(FileDone {}),
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
