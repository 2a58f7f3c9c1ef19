//! Links to file servers.
//!
//! One outbox for each link, emptied in order: a question never overtakes what was confirmed before it.
//! What waits in it is bounded by the room for questions of all connections, of which every call takes a
//! part until it is answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use im_proto_rpc::v1::file_call::Call;
use im_proto_rpc::v1::{FileAddress, FileCall, FileCalls, FileStatus};
use im_rpc::batch;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::ids::LinkId;

/// Calls of one batch.
const MAX_BATCH: usize = 256;

#[derive(Default)]
struct State {
    calls: VecDeque<FileCall>,
    closed: bool,
    status: Option<FileStatus>,
    /// Tasks asked for since the server has said how many it has.
    opened: u32,
}

/// One incarnation of a link to a file server.
pub(crate) struct FileLink {
    pub(crate) id: LinkId,
    pub(crate) name: String,
    state: Mutex<State>,
    wake: Notify,
}

impl FileLink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call; false when the link is gone.
    pub(crate) fn call(&self, tag: u64, call: Call) -> bool {
        {
            let mut state = self.state();
            if state.closed {
                return false;
            }
            if matches!(call, Call::Create(_)) {
                state.opened = state.opened.saturating_add(1);
            }
            let call = Some(call);
            state.calls.push_back(FileCall { tag, call });
        }
        self.wake.notify_one();
        true
    }

    /// The server says how much it has to do.
    pub(crate) fn set_status(&self, status: FileStatus) {
        let mut state = self.state();
        state.status = Some(status);
        state.opened = 0;
    }

    /// Where clients reach it.
    pub(crate) fn addresses(&self) -> Vec<FileAddress> {
        let state = self.state();
        let status = state.status.as_ref();
        status.map_or_else(Vec::new, |status| status.addresses.clone())
    }

    /// Whether it may be asked for tasks.
    pub(crate) fn takes_tasks(&self) -> bool {
        self.load().is_some()
    }

    /// How full it is, in parts of a million; nothing while it takes no tasks.
    fn load(&self) -> Option<u64> {
        let state = self.state();
        let status = state.status.as_ref().filter(|status| !status.draining)?;
        let tasks = status.tasks.saturating_add(state.opened);
        (tasks < status.max_tasks)
            .then(|| u64::from(tasks) * 1_000_000 / u64::from(status.max_tasks))
    }

    /// The link is gone: nothing is taken any more.
    pub(crate) fn close(&self) {
        *self.state() = State {
            closed: true,
            ..State::default()
        };
        self.wake.notify_one();
    }

    /// Sends what gathers, in batches of at most so many bytes, until the link ends.
    pub(crate) async fn run(
        self: Arc<Self>,
        tx: mpsc::Sender<FileCalls>,
        bound: usize,
        over: CancellationToken,
    ) {
        while over
            .run_until_cancelled(self.wake.notified())
            .await
            .is_some()
        {
            loop {
                let Some(Ok(permit)) = over.run_until_cancelled(tx.reserve()).await else {
                    return;
                };
                let calls = {
                    let mut state = self.state();
                    batch::take_front(&mut state.calls, MAX_BATCH, bound, batch::weight)
                };
                if calls.is_empty() {
                    break;
                }
                permit.send(FileCalls { calls });
            }
        }
    }
}

/// The file servers that are linked.
#[derive(Default)]
pub(crate) struct FileServers(RwLock<Links>);

#[derive(Default)]
struct Links {
    links: Vec<Arc<FileLink>>,
    last: LinkId,
}

impl FileServers {
    /// A link is up.
    pub(crate) fn add(&self, name: String) -> Arc<FileLink> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.last = table.last.next();
        let link = Arc::new(FileLink {
            id: table.last,
            name,
            state: Mutex::default(),
            wake: Notify::new(),
        });
        table.links.push(Arc::clone(&link));
        link
    }

    /// A link is gone.
    pub(crate) fn remove(&self, id: LinkId) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.links.retain(|link| link.id != id);
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<FileLink>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.links.clone()
    }

    /// The one of this number.
    pub(crate) fn get(&self, id: LinkId) -> Option<Arc<FileLink>> {
        self.all().into_iter().find(|link| link.id == id)
    }

    /// The least full of those that were not tried; any of several that are as full.
    pub(crate) fn choose(&self, tried: &[LinkId]) -> Option<Arc<FileLink>> {
        let links = self.all().into_iter();
        let open = links.filter(|link| !tried.contains(&link.id));
        let loads = open.filter_map(|link| Some((link.load()?, rand::random::<u32>(), link)));
        let least = loads.min_by_key(|(load, lot, _)| (*load, *lot));
        least.map(|(_, _, link)| link)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use im_proto_rpc::v1::{FileCreate, FileList};

    use super::*;

    fn status(tasks: u32, max_tasks: u32, draining: bool) -> FileStatus {
        FileStatus {
            addresses: Vec::new(),
            tasks,
            max_tasks,
            draining,
        }
    }

    #[test]
    fn the_least_full_server_is_chosen_and_none_that_is_full_or_goes_or_was_tried() {
        let servers = FileServers::default();
        assert!(servers.choose(&[]).is_none());
        let links: Vec<_> = (0..4).map(|n| servers.add(n.to_string())).collect();
        assert!(servers.choose(&[]).is_none(), "none has said anything yet");
        links[0].set_status(status(5, 10, false));
        links[1].set_status(status(40, 100, false));
        links[2].set_status(status(0, 10, true));
        links[3].set_status(status(10, 10, false));
        let chosen = |tried: &[LinkId]| servers.choose(tried).map(|link| link.id);
        assert_eq!(chosen(&[]), Some(links[1].id));
        assert_eq!(chosen(&[links[1].id]), Some(links[0].id));
        assert_eq!(chosen(&[links[1].id, links[0].id]), None);
        servers.remove(links[1].id);
        assert_eq!(chosen(&[]), Some(links[0].id));
        assert!(servers.get(links[1].id).is_none());
    }

    #[test]
    fn tasks_that_were_just_asked_for_count_and_equal_servers_share() {
        let servers = FileServers::default();
        let links: Vec<_> = (0..3).map(|n| servers.add(n.to_string())).collect();
        for link in &links {
            link.set_status(status(0, 100, false));
        }
        for _ in 0..30 {
            let link = servers.choose(&[]).unwrap();
            assert!(link.call(1, Call::Create(FileCreate::default())));
        }
        let opened: Vec<_> = links.iter().map(|link| link.state().opened).collect();
        assert_eq!(opened, [10, 10, 10]);
        let first = |_| {
            let servers = FileServers::default();
            for n in 0..3 {
                servers.add(n.to_string()).set_status(status(0, 100, false));
            }
            servers.choose(&[]).map(|link| link.id)
        };
        let firsts: BTreeSet<_> = (0..100).map(first).collect();
        assert_eq!(firsts.len(), 3, "not always the same one");
    }

    #[tokio::test]
    async fn calls_leave_in_order_and_none_is_taken_when_the_link_is_gone() {
        let servers = FileServers::default();
        let link = servers.add("a".to_owned());
        let (tx, mut rx) = mpsc::channel(64);
        let over = CancellationToken::new();
        for tag in 1..=600 {
            assert!(link.call(tag, Call::List(FileList::default())));
        }
        let task = tokio::spawn(Arc::clone(&link).run(tx, 1 << 20, over.clone()));
        let mut tags = Vec::new();
        while tags.len() < 600 {
            let batch = rx.recv().await.unwrap();
            assert!(batch.calls.len() <= MAX_BATCH);
            tags.extend(batch.calls.into_iter().map(|call| call.tag));
        }
        assert!(tags.into_iter().eq(1..=600));
        link.close();
        assert!(!link.call(601, Call::List(FileList::default())));
        over.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_batch_weighs_no_more_than_links_carry_and_a_longer_call_stands_alone() {
        let link = FileServers::default().add("a".to_owned());
        for (tag, length) in [(1, 60), (2, 30), (3, 200), (4, 5)] {
            let name = "n".repeat(length);
            let create = FileCreate {
                name,
                ..FileCreate::default()
            };
            link.call(tag, Call::Create(create));
        }
        let (tx, mut rx) = mpsc::channel(64);
        let over = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&link).run(tx, 130, over.clone()));
        for expected in [&[1, 2][..], &[3], &[4]] {
            let calls = rx.recv().await.unwrap().calls;
            let tags: Vec<u64> = calls.iter().map(|call| call.tag).collect();
            assert_eq!(tags, expected);
        }
        over.cancel();
        task.await.unwrap();
    }
}
