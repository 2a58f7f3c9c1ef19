//! Presence questions that wait for route servers.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use super::files::{Job, Offer};
use crate::connection::Conn;
use crate::ids::{LinkId, NumberMap};
use crate::requests::Line;

/// One question of one client.
pub(crate) struct StatusJob {
    pub(crate) conn: Weak<Conn>,
    /// Sequence number of the question.
    pub(crate) seq: u16,
    /// What it costs, bytes.
    pub(crate) bytes: u32,
    /// Server milliseconds when it was asked.
    pub(crate) since: u32,
    /// As asked, in order.
    pub(crate) users: Vec<u32>,
    /// Those who are online, as each route server has said.
    pub(crate) online: Vec<Vec<u32>>,
    /// Route links that have not answered.
    pub(crate) waiting: Vec<LinkId>,
    /// The file for whose receiver it was asked, and not by a client.
    pub(crate) file: Option<(Job, Offer)>,
    /// Of the client's question.
    pub(crate) line: Line,
}

#[derive(Default)]
struct Jobs {
    open: NumberMap<u64, StatusJob>,
    last_tag: u64,
}

/// All open questions.
#[derive(Default)]
pub(crate) struct StatusJobs(Mutex<Jobs>);

impl StatusJobs {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a question; its tag names it to route servers.
    pub(crate) fn open(&self, job: StatusJob) -> u64 {
        let mut jobs = self.lock();
        jobs.last_tag += 1;
        let tag = jobs.last_tag;
        jobs.open.insert(tag, job);
        tag
    }

    /// Notes what a route server has answered.
    pub(crate) fn result(&self, link: LinkId, tag: u64, online: &[u32]) {
        if let Some(job) = self.lock().open.get_mut(&tag) {
            job.waiting.retain(|waiting| *waiting != link);
            job.online.push(online.to_vec());
        }
    }

    /// Takes a question whose parts are all there.
    pub(crate) fn finish(&self, tag: u64) -> Option<StatusJob> {
        let mut jobs = self.lock();
        match jobs.open.get(&tag) {
            Some(job) if job.waiting.is_empty() => jobs.open.remove(&tag),
            _ => None,
        }
    }

    /// A route link is gone: its users count as offline in what was asked. Returns the questions
    /// that wait for nobody else.
    pub(crate) fn link_lost(&self, link: LinkId) -> Vec<u64> {
        let mut tags = Vec::new();
        for (tag, job) in &mut self.lock().open {
            job.waiting.retain(|waiting| *waiting != link);
            if job.waiting.is_empty() {
                tags.push(*tag);
            }
        }
        tags
    }

    /// Questions that are open for too long wait for nobody any more; returns their tags.
    pub(crate) fn expired(&self, is_old: impl Fn(u32) -> bool) -> Vec<u64> {
        let mut tags = Vec::new();
        for (tag, job) in &mut self.lock().open {
            if is_old(job.since) {
                job.waiting.clear();
                tags.push(*tag);
            }
        }
        tags
    }
}
