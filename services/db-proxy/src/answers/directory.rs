//! The directory: everybody, or who changed since a stamp, and departments.
//!
//! Stamps are strict: "changed since" means a greater stamp, and whoever changes after an answer gets
//! a stamp above every one in it. So a client that sends back the `latest_update_time` it got misses
//! nothing, wherever an answer ends, as long as it ends between stamps.
//!
//! Windows, Mac and iOS get everything in one frame. Android takes no frame of 409,600 bytes; its
//! request for the directory waits for no sequence number, so every 0x0209 that arrives reaches the
//! handler, which adds the users in it to those it has (wire specification 2.5). It gets several
//! frames, each with the last stamp that is complete up to it. That it asked again by itself cannot
//! be relied on: it asks once per login.

use std::sync::{Mutex, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use im_codec::Command;
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::buddy::{ImAllUserReq, ImAllUserRsp, ImDepartmentReq, ImDepartmentRsp};
use im_store::DirectoryEntry;
use prost::Message as _;
use tokio::sync::Semaphore;

use super::convert::department;
use super::frames::{Bounds, FIXED, item_size};
use super::{Answers, Asker, Handled, QueryError, Reply, decode};
use crate::profile::user_info;

/// Status of people who have left: only reported to clients that may know them.
const LEFT: u32 = 3;

/// What the directory's answers share.
pub(super) struct Directory {
    /// Answers may be long: so many are built at a time.
    turns: Semaphore,
    /// The last answer about everybody in one frame, if it is not too long to keep.
    everybody: Mutex<Option<Part>>,
}

/// Users of one frame.
#[derive(Clone)]
struct Part {
    latest_update_time: u32,
    /// Field 3 of the body, encoded.
    list: Bytes,
}

impl Directory {
    pub(super) fn new(answers: usize) -> Self {
        Self {
            turns: Semaphore::new(answers.max(1)),
            everybody: Mutex::new(None),
        }
    }

    fn kept(&self) -> Option<Part> {
        self.everybody
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, part: Option<Part>) {
        *self
            .everybody
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = part;
    }
}

impl Answers {
    /// 0x0208
    pub(super) async fn all_users(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImAllUserReq>(body) else {
            return Ok(Reply::Silent);
        };
        let since = request.latest_update_time;
        let bounds = self.bounds(asker);
        let _turn = self
            .directory
            .turns
            .acquire()
            .await
            .map_err(|_| QueryError::Stopping)?;
        let parts = if since == 0 && bounds.is_one_frame() {
            vec![self.everybody(bounds).await?]
        } else {
            self.changed_users(since, bounds).await?.finish()
        };
        let frames = parts
            .iter()
            .map(|part| part.body(asker.user.get()))
            .collect();
        Ok(Reply::Frames(Command::AllUserRsp, frames))
    }

    /// Everybody in one frame. It is kept as long as no stamp is above it, since many may ask for it
    /// at the same time when an installation is new.
    async fn everybody(&self, bounds: Bounds) -> Result<Part, QueryError> {
        if let Some(part) = self.directory.kept()
            && self
                .store
                .users_since(part.latest_update_time, 1)
                .await?
                .users
                .is_empty()
        {
            return Ok(part);
        }
        let frames = self.changed_users(0, bounds).await?;
        let whole = !frames.full;
        let part = frames.finish().pop().unwrap_or_else(Part::nothing);
        let short = part.list.len() <= self.limits().directory_kept_bytes;
        self.directory
            .keep(Some(part.clone()).filter(|_| whole && short));
        Ok(part)
    }

    async fn changed_users(&self, since: u32, bounds: Bounds) -> Result<UserFrames, QueryError> {
        let mut frames = UserFrames::new(since, bounds);
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
                if since == 0 && entry.profile.status == LEFT {
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

    /// 0x0210
    pub(super) async fn departments(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImDepartmentReq>(body) else {
            return Ok(Reply::Silent);
        };
        let records = self
            .store
            .departments_since(request.latest_update_time)
            .await?;
        let latest_update_time = records
            .iter()
            .map(|record| record.stamp)
            .fold(request.latest_update_time, u32::max);
        let parts = self
            .bounds(asker)
            .parts(records.into_iter().filter_map(department));
        Ok(Reply::many(
            Command::DepartmentRsp,
            parts.into_iter().map(|dept_list| ImDepartmentRsp {
                user_id: asker.user.get(),
                latest_update_time,
                dept_list,
                attach_data: None,
            }),
        ))
    }
}

impl Part {
    fn nothing() -> Self {
        Self {
            latest_update_time: 0,
            list: Bytes::new(),
        }
    }

    fn body(&self, user_id: u32) -> Bytes {
        let head = ImAllUserRsp {
            user_id,
            latest_update_time: self.latest_update_time,
            user_list: Vec::new(),
            attach_data: None,
        };
        let mut body = BytesMut::with_capacity(head.encoded_len() + self.list.len());
        let encoded = head.encode(&mut body);
        debug_assert!(encoded.is_ok(), "the buffer has room");
        body.put_slice(&self.list);
        body.freeze()
    }
}

/// Frames of 0x0209, filled one after the other with users in the order of their stamps.
struct UserFrames {
    bounds: Bounds,
    done: Vec<Part>,
    /// Bytes of all frames.
    total: usize,
    /// The present frame's list.
    list: BytesMut,
    /// Greatest stamp seen, and the greatest one that cannot go on any more.
    stamp: u32,
    complete: u32,
    /// Nothing is taken any more.
    full: bool,
}

impl UserFrames {
    fn new(since: u32, bounds: Bounds) -> Self {
        Self {
            bounds,
            done: Vec::new(),
            total: FIXED,
            list: BytesMut::new(),
            stamp: since,
            complete: since,
            full: false,
        }
    }

    /// Sees a stamp.
    fn pass(&mut self, stamp: u32) {
        if stamp != self.stamp {
            self.complete = self.stamp;
            self.stamp = stamp;
        }
    }

    /// Adds a user. `false` when there is no room: then the answer ends with the last complete stamp.
    fn push(&mut self, entry: DirectoryEntry) -> bool {
        self.pass(entry.stamp);
        let info: UserInfo = user_info(entry.profile);
        let size = item_size(&info);
        if FIXED + size > self.bounds.frame {
            // No client could ever take it.
            return true;
        }
        if self.total + size > self.bounds.total {
            self.full = true;
            return false;
        }
        if FIXED + self.list.len() + size > self.bounds.frame {
            self.close(self.complete);
            self.total += FIXED;
        }
        // Field 3, length-delimited.
        self.list.put_u8((3 << 3) | 2);
        let encoded = info.encode_length_delimited(&mut self.list);
        debug_assert!(encoded.is_ok(), "the buffer grows");
        self.total += size;
        true
    }

    fn finish(mut self) -> Vec<Part> {
        self.close(if self.full { self.complete } else { self.stamp });
        self.done
    }

    fn close(&mut self, latest_update_time: u32) {
        let list = std::mem::take(&mut self.list).freeze();
        self.done.push(Part {
            latest_update_time,
            list,
        });
    }
}

#[cfg(test)]
mod tests {
    use im_core::UserId;
    use im_store::UserProfile;

    use super::*;

    fn entry(id: u32, stamp: u32) -> DirectoryEntry {
        let text = |n: usize| "x".repeat(n);
        DirectoryEntry {
            profile: UserProfile {
                id: UserId::from_wire(id).unwrap(),
                name: text(10),
                nick: text(10),
                sex: 1,
                department: 1,
                phone: text(10),
                email: text(10),
                domain: text(10),
                avatar: text(10),
                signature: text(10),
                status: 0,
            },
            stamp,
        }
    }

    /// (latest_update_time, ids) of each frame.
    fn frames(entries: &[(u32, u32)], bounds: Bounds) -> Vec<(u32, Vec<u32>)> {
        let mut frames = UserFrames::new(5, bounds);
        for (id, stamp) in entries {
            if !frames.push(entry(*id, *stamp)) {
                break;
            }
        }
        let bodies: Vec<Bytes> = frames.finish().iter().map(|part| part.body(9)).collect();
        assert!(bodies.iter().all(|body| body.len() <= bounds.frame));
        bodies
            .into_iter()
            .map(|body| {
                let rsp: ImAllUserRsp = im_codec::decode_checked(body).unwrap();
                assert_eq!(rsp.user_id, 9);
                (
                    rsp.latest_update_time,
                    rsp.user_list.iter().map(|user| user.user_id).collect(),
                )
            })
            .collect()
    }

    fn size() -> usize {
        let info = user_info(entry(1, 1).profile);
        2 + info.encoded_len()
    }

    #[test]
    fn one_frame_ends_with_the_greatest_stamp() {
        let bounds = Bounds {
            frame: 100_000,
            total: 100_000,
        };
        assert_eq!(
            frames(&[(1, 7), (2, 7), (3, 9)], bounds),
            [(9, vec![1, 2, 3])]
        );
        assert_eq!(frames(&[], bounds), [(5, vec![])]);
    }

    #[test]
    fn each_frame_names_the_last_stamp_that_is_complete_up_to_it() {
        let bounds = Bounds {
            frame: FIXED + 2 * size(),
            total: 100_000,
        };
        assert_eq!(
            frames(&[(1, 7), (2, 7), (3, 7), (4, 8), (5, 9)], bounds),
            [(5, vec![1, 2]), (8, vec![3, 4]), (9, vec![5])],
            "the first frame ends inside a stamp, the second between two"
        );
    }

    #[test]
    fn an_answer_without_room_for_all_ends_with_the_last_complete_stamp() {
        let bounds = Bounds {
            frame: 100_000,
            total: FIXED + 3 * size(),
        };
        assert_eq!(
            frames(&[(1, 7), (2, 8), (3, 8), (4, 8)], bounds),
            [(7, vec![1, 2, 3])]
        );
    }
}
