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

use bytes::{BufMut as _, Bytes, BytesMut};
use im_codec::Command;
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::buddy::{ImAllUserReq, ImAllUserRsp, ImDepartmentReq, ImDepartmentRsp};
use im_store::DirectoryEntry;
use prost::Message as _;

use super::convert::{department, user_info};
use super::frames::{Bounds, FIXED};
use super::{Answers, Asker, Handled, QueryError, Reply, decode};

/// Status of people who have left: only reported to clients that may know them.
const LEFT: u32 = 3;

impl Answers {
    /// 0x0208
    pub(super) async fn all_users(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImAllUserReq>(body) else {
            return Ok(Reply::Silent);
        };
        let since = request.latest_update_time;
        let _turn = self.directory.acquire().await.map_err(|_| QueryError::Stopping)?;
        let mut frames = UserFrames::new(asker.user.get(), since, self.bounds(asker));
        let mut after = since;
        loop {
            let page = self.store.users_since(after, self.limits().directory_page).await?;
            let Some(last) = page.users.last() else { break };
            after = last.stamp;
            let mut room = true;
            for entry in page.users {
                // Pages behind the first would tell of people who had left before.
                if since == 0 && entry.profile.status == LEFT {
                    frames.pass(entry.stamp);
                } else {
                    room = frames.push(entry);
                }
                if !room {
                    break;
                }
            }
            if !page.more || !room {
                break;
            }
        }
        Ok(Reply::Frames(Command::AllUserRsp, frames.finish()))
    }

    /// 0x0210
    pub(super) async fn departments(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImDepartmentReq>(body) else {
            return Ok(Reply::Silent);
        };
        let records = self.store.departments_since(request.latest_update_time).await?;
        let latest_update_time =
            records.iter().map(|record| record.stamp).fold(request.latest_update_time, u32::max);
        let parts = self.bounds(asker).parts(records.into_iter().filter_map(department));
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

/// Frames of 0x0209, filled one after the other with encoded users in the order of stamps.
struct UserFrames {
    user_id: u32,
    bounds: Bounds,
    /// Finished bodies, their bytes.
    done: Vec<Bytes>,
    total: usize,
    /// Field 3 of the present frame, encoded.
    list: BytesMut,
    /// Greatest stamp seen, and the greatest one that cannot go on any more.
    stamp: u32,
    complete: u32,
    /// Nothing is taken any more.
    full: bool,
}

impl UserFrames {
    fn new(user_id: u32, since: u32, bounds: Bounds) -> Self {
        Self {
            user_id,
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
        let size = info.encoded_len();
        let size = 1 + prost::length_delimiter_len(size) + size;
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
        self.list.put_u8(3 << 3 | 2);
        let encoded = info.encode_length_delimited(&mut self.list);
        debug_assert!(encoded.is_ok(), "the buffer grows");
        self.total += size;
        true
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close(if self.full { self.complete } else { self.stamp });
        self.done
    }

    fn close(&mut self, latest_update_time: u32) {
        let head = ImAllUserRsp {
            user_id: self.user_id,
            latest_update_time,
            user_list: Vec::new(),
            attach_data: None,
        };
        let list = std::mem::take(&mut self.list);
        let mut body = BytesMut::with_capacity(head.encoded_len() + list.len());
        let encoded = head.encode(&mut body);
        debug_assert!(encoded.is_ok(), "the buffer has room");
        body.put(list);
        self.done.push(body.freeze());
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
        let mut frames = UserFrames::new(9, 5, bounds);
        for (id, stamp) in entries {
            if !frames.push(entry(*id, *stamp)) {
                break;
            }
        }
        let bodies = frames.finish();
        assert!(bodies.iter().all(|body| body.len() <= bounds.frame));
        bodies
            .into_iter()
            .map(|body| {
                let rsp: ImAllUserRsp = im_codec::decode_checked(body).unwrap();
                assert_eq!(rsp.user_id, 9);
                (rsp.latest_update_time, rsp.user_list.iter().map(|user| user.user_id).collect())
            })
            .collect()
    }

    fn size() -> usize {
        let info = user_info(entry(1, 1).profile);
        2 + info.encoded_len()
    }

    #[test]
    fn one_frame_ends_with_the_greatest_stamp() {
        let bounds = Bounds { frame: 100_000, total: 100_000 };
        assert_eq!(frames(&[(1, 7), (2, 7), (3, 9)], bounds), [(9, vec![1, 2, 3])]);
        assert_eq!(frames(&[], bounds), [(5, vec![])]);
    }

    #[test]
    fn each_frame_names_the_last_stamp_that_is_complete_up_to_it() {
        let bounds = Bounds { frame: FIXED + 2 * size(), total: 100_000 };
        assert_eq!(
            frames(&[(1, 7), (2, 7), (3, 7), (4, 8), (5, 9)], bounds),
            [(5, vec![1, 2]), (8, vec![3, 4]), (9, vec![5])],
            "the first frame ends inside a stamp, the second between two"
        );
    }

    #[test]
    fn an_answer_without_room_for_all_ends_with_the_last_complete_stamp() {
        let bounds = Bounds { frame: 100_000, total: FIXED + 3 * size() };
        assert_eq!(
            frames(&[(1, 7), (2, 8), (3, 8), (4, 8)], bounds),
            [(7, vec![1, 2, 3])]
        );
    }
}
