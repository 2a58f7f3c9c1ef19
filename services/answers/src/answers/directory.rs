//! The directory: everybody, or who changed since a stamp, and departments.
//!
//! Stamps are strict: "changed since" means a greater stamp, and whoever changes after an answer gets
//! a stamp above every one in it. So a client that sends back the `latest_update_time` it got misses
//! nothing, wherever an answer ends, as long as it ends between stamps.
//!
//! Windows, Mac and iOS get everything in one frame. Android takes no frame of 409,600 bytes; its
//! request for the directory waits for no sequence number, so every 0x0209 that arrives reaches the
//! handler, which adds the users in it to those it has. It gets several
//! frames, each with the last stamp that is complete up to it. That it asked again by itself cannot
//! be relied on: it asks once per login.

mod frames;
mod shared;

use std::sync::Arc;

use bytes::Bytes;
use im_codec::Command;
use im_core::time::UnixSeconds;
use im_proto_teamtalk::buddy::{ImAllUserReq, ImDepartmentReq, ImDepartmentRsp};
use tokio::sync::Semaphore;

use super::convert::department;
use super::frames::Bounds;
use super::{Answers, Asker, Bound, Handled, QueryError, Reply, decode};
use frames::{Part, UserFrames};
use shared::{Built, Key, Shared};

/// Status of people who have left: only reported to clients that may know them.
const LEFT: u32 = 3;

/// What the directory's answers share.
pub(super) struct Directory {
    /// Answers may be long: so many are built at a time.
    turns: Semaphore,
    built: Shared,
}

impl Directory {
    pub(super) fn new(answers: usize, kept_bytes: usize) -> Self {
        Self {
            turns: Semaphore::new(answers.max(1)),
            built: Shared::new(kept_bytes),
        }
    }
}

impl Answers {
    /// 0x0208: an answer is built once for all who wait for the same, and kept while no stamp is above
    /// it.
    pub(super) async fn all_users(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImAllUserReq>(body) else {
            return Ok(Reply::Silent);
        };
        let since = UnixSeconds::from_wire(request.latest_update_time);
        let bounds = self.bounds(asker);
        let after = match since {
            UnixSeconds::EPOCH => None,
            since => Some(self.store.stamp_before(since).await?),
        };
        let key = Key {
            after,
            one_frame: bounds.is_one_frame(),
        };
        let parts = self.shared_users(key, since, bounds).await?;
        let frames = parts
            .iter()
            .map(|part| part.body(asker.user.get(), since))
            .collect();
        Ok(Reply::Frames(Command::AllUserRsp, frames))
    }

    async fn shared_users(
        &self,
        key: Key,
        since: UnixSeconds,
        bounds: Bounds,
    ) -> Result<Arc<[Part]>, QueryError> {
        let built = &self.directory.built;
        let asked = built.now();
        let place = built.place(key);
        let mut place = place.lock().await;
        if let Some(found) = place.as_ref() {
            // Whatever was begun after the question is as good as one that is built now.
            let fresh = found.begun > asked;
            if fresh || found.stamp == self.store.directory_stamp().await? {
                return Ok(Arc::clone(&found.parts));
            }
        }
        let _turn = self
            .directory
            .turns
            .acquire()
            .await
            .map_err(|_| QueryError::Stopping)?;
        self.metrics.directory_built();
        let begun = built.begin();
        let stamp = self.store.directory_stamp().await?;
        let users = self.changed_users(since, bounds).await?;
        if users.full {
            self.metrics.reached(Bound::Directory);
        }
        let parts: Arc<[Part]> = users.finish().into();
        built.keep(key, parts.iter().map(Part::len).sum());
        *place = Some(Built {
            begun,
            stamp,
            parts: Arc::clone(&parts),
        });
        Ok(parts)
    }

    async fn changed_users(
        &self,
        since: UnixSeconds,
        bounds: Bounds,
    ) -> Result<UserFrames, QueryError> {
        let mut frames = UserFrames::new(since, bounds, self.limits().hide_contact);
        let mut after = since;
        loop {
            let page = self
                .store
                .users_since(after, self.limits().directory_page)
                .await?;
            let Some(last) = page.users.last() else { break };
            after = last.stamp;
            for entry in page.users {
                // Pages behind the first would tell of people who had left before.
                if since == UnixSeconds::EPOCH && entry.profile.status == LEFT {
                    frames.pass(entry.stamp);
                } else if !frames.push(entry) {
                    break;
                }
            }
            if !page.more || frames.full {
                break;
            }
        }
        Ok(frames)
    }

    /// 0x0210: like everybody, cut between stamps.
    pub(super) async fn departments(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImDepartmentReq>(body) else {
            return Ok(Reply::Silent);
        };
        let since = UnixSeconds::from_wire(request.latest_update_time);
        let records = self.store.departments_since(since).await?;
        let stamped = records
            .into_iter()
            .map(|record| (record.stamp, department(record)));
        let bounds = self.list_bounds(asker);
        let parts = bounds.stamped_parts(since, stamped);
        Ok(Reply::many(
            Command::DepartmentRsp,
            parts
                .into_iter()
                .map(|(latest_update_time, dept_list)| ImDepartmentRsp {
                    user_id: asker.user.get(),
                    latest_update_time: latest_update_time.get(),
                    dept_list,
                    attach_data: None,
                }),
        ))
    }
}
