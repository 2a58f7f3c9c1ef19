//! Requests about files that wait for file servers.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use im_proto_rpc::v1::file_item::Item;
use im_proto_rpc::v1::{FileCreated, StoredFile};

use crate::connection::Conn;
use crate::ids::{LinkId, NumberMap};
use crate::requests::Line;

/// What a client wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) to: u32,
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u32,
    /// Stored until the receiver has it, instead of passed on.
    pub(crate) offline: bool,
}

/// What was asked.
#[derive(Debug)]
pub(crate) enum Asked {
    /// One server for a task, behind those that had none.
    Task { offer: Offer, tried: Vec<LinkId> },
    /// Every server what waits; what they have said.
    List(Vec<(LinkId, Vec<StoredFile>)>),
    /// Every server to do something. Only one can.
    Told,
}

/// One request of one client.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) conn: Weak<Conn>,
    /// Who asked.
    pub(crate) user: u32,
    /// Sequence number of the request.
    pub(crate) seq: u16,
    /// What it costs, bytes.
    pub(crate) bytes: u32,
    /// Server milliseconds when it was asked.
    pub(crate) since: u32,
    pub(crate) asked: Asked,
    /// File links that have not answered.
    pub(crate) waiting: Vec<LinkId>,
    pub(crate) line: Line,
}

/// What an answer leads to.
#[derive(Debug)]
pub(crate) enum Step {
    /// The task was opened or not; the job is no longer open.
    Created(Job, LinkId, FileCreated),
    /// A file can be fetched from this server: its receiver is to be told.
    Ready(LinkId, StoredFile),
    /// All have answered, or will not; the job is no longer open.
    Finished(Job),
}

#[derive(Default)]
struct Open {
    jobs: NumberMap<u64, Job>,
    last_tag: u64,
}

/// All open requests.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<Open>);

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a request; its tag names it to file servers.
    pub(crate) fn open(&self, job: Job) -> u64 {
        let mut open = self.lock();
        open.last_tag += 1;
        let tag = open.last_tag;
        open.jobs.insert(tag, job);
        tag
    }

    /// Takes a request back that could not be asked.
    pub(crate) fn take(&self, tag: u64) -> Option<Job> {
        self.lock().jobs.remove(&tag)
    }

    /// Open requests.
    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// A server has answered, or `None`: it will not.
    pub(crate) fn answered(&self, link: LinkId, tag: u64, item: Option<Item>) -> Vec<Step> {
        let mut open = self.lock();
        let Some(job) = open.jobs.get_mut(&tag) else {
            return Vec::new();
        };
        let before = job.waiting.len();
        job.waiting.retain(|waiting| *waiting != link);
        if job.waiting.len() == before {
            return Vec::new();
        }
        let mut steps = Vec::new();
        match (item, &mut job.asked) {
            (Some(Item::Created(created)), Asked::Task { .. }) => {
                steps.extend(
                    open.jobs
                        .remove(&tag)
                        .map(|job| Step::Created(job, link, created)),
                );
                return steps;
            }
            (Some(Item::Waiting(waiting)), Asked::List(lists)) => lists.push((link, waiting.files)),
            (Some(Item::Ready(ready)), Asked::Told) => {
                steps.extend(ready.file.map(|file| Step::Ready(link, file)));
            }
            _ => {}
        }
        if job.waiting.is_empty() {
            steps.extend(open.jobs.remove(&tag).map(Step::Finished));
        }
        steps
    }

    /// A file link is gone: it answers nothing any more.
    pub(crate) fn link_lost(&self, link: LinkId) -> Vec<Step> {
        let tags: Vec<u64> = {
            let open = self.lock();
            let jobs = open.jobs.iter();
            let waiting = jobs.filter(|(_, job)| job.waiting.contains(&link));
            waiting.map(|(tag, _)| *tag).collect()
        };
        let steps = tags.into_iter();
        steps
            .flat_map(|tag| self.answered(link, tag, None))
            .collect()
    }

    /// Takes the requests that are open for too long.
    pub(crate) fn expired(&self, is_old: impl Fn(u32) -> bool) -> Vec<Job> {
        let mut open = self.lock();
        let old = open.jobs.extract_if(|_, job| is_old(job.since));
        old.map(|(_, job)| job).collect()
    }
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::{FileDone, FileReady, FileWaiting};

    use super::*;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn job(asked: Asked, waiting: &[LinkId]) -> Job {
        Job {
            conn: Weak::new(),
            user: 1,
            seq: 7,
            bytes: 100,
            since: 50,
            asked,
            waiting: waiting.to_vec(),
            line: Line::default(),
        }
    }

    fn file(task: &str) -> StoredFile {
        StoredFile {
            task: task.to_owned(),
            ..StoredFile::default()
        }
    }

    #[test]
    fn a_list_is_whole_when_every_server_has_answered_or_is_gone() {
        let jobs = Jobs::default();
        let tag = jobs.open(job(Asked::List(Vec::new()), &[A, B]));
        let files = vec![file("x")];
        let waiting = Some(Item::Waiting(FileWaiting { files }));
        assert!(jobs.answered(A, tag, waiting.clone()).is_empty());
        assert!(jobs.answered(A, tag, waiting).is_empty(), "twice");
        let mut steps = jobs.link_lost(B);
        let Some(Step::Finished(done)) = steps.pop() else {
            panic!("{steps:?}");
        };
        let Asked::List(lists) = done.asked else {
            panic!("{:?}", done.asked);
        };
        assert_eq!(lists, [(A, vec![file("x")])]);
        assert_eq!(jobs.len(), 0);
    }

    #[test]
    fn whoever_has_the_file_says_so_and_the_others_answer_too() {
        let jobs = Jobs::default();
        let tag = jobs.open(job(Asked::Told, &[A, B]));
        let ready = FileReady {
            file: Some(file("x")),
        };
        let steps = jobs.answered(B, tag, Some(Item::Ready(ready)));
        assert!(matches!(&steps[..], [Step::Ready(B, it)] if it.task == "x"));
        let steps = jobs.answered(A, tag, Some(Item::Done(FileDone {})));
        assert!(matches!(&steps[..], [Step::Finished(_)]), "{steps:?}");
    }

    #[test]
    fn a_task_is_answered_by_the_server_that_was_asked_and_by_no_other() {
        let jobs = Jobs::default();
        let asked = || Asked::Task {
            offer: Offer {
                to: 2,
                name: "a".to_owned(),
                size: 1,
                offline: false,
            },
            tried: vec![A],
        };
        let created = || Some(Item::Created(FileCreated::default()));
        let tag = jobs.open(job(asked(), &[A]));
        assert!(jobs.answered(B, tag, created()).is_empty());
        let steps = jobs.answered(A, tag, created());
        assert!(matches!(&steps[..], [Step::Created(_, A, _)]), "{steps:?}");
        assert!(jobs.answered(A, tag, created()).is_empty());
        jobs.open(job(asked(), &[A]));
        let steps = jobs.link_lost(A);
        assert!(matches!(&steps[..], [Step::Finished(_)]), "{steps:?}");
    }

    #[test]
    fn what_is_open_for_too_long_is_taken() {
        let jobs = Jobs::default();
        jobs.open(job(Asked::Told, &[A]));
        assert!(jobs.expired(|since| since < 50).is_empty());
        assert_eq!(jobs.expired(|since| since <= 50).len(), 1);
        assert_eq!(jobs.len(), 0);
    }
}
