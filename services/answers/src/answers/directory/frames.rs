//! Frames of 0x0209.

use bytes::{BufMut as _, Bytes, BytesMut};
use im_accounts::user_info;
use im_core::time::UnixSeconds;
use im_proto_teamtalk::buddy::ImAllUserRsp;
use im_store::DirectoryEntry;
use prost::Message as _;

use crate::answered::Body;
use crate::answers::buddy::shown;
use crate::answers::frames::{Bounds, FIXED, Stamps, item_size};

/// Users of one frame.
#[derive(Clone)]
pub(super) struct Part {
    latest_update_time: UnixSeconds,
    /// Field 3 of the body, encoded.
    list: Bytes,
}

impl Part {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The body for somebody who asked since `since`; the list is shared.
    pub(super) fn body(&self, user_id: u32, since: UnixSeconds) -> Body {
        let head = ImAllUserRsp {
            user_id,
            latest_update_time: self.latest_update_time.max(since).get(),
            user_list: Vec::new(),
            attach_data: None,
        };
        Body {
            head: head.encode_to_vec().into(),
            rest: self.list.clone(),
        }
    }
}

/// Frames of 0x0209, filled one after the other with users in the order of their stamps.
pub(super) struct UserFrames {
    bounds: Bounds,
    /// Phone and mail are left out.
    hidden: bool,
    done: Vec<Part>,
    /// Bytes of all frames.
    total: usize,
    /// The present frame's list.
    list: BytesMut,
    stamps: Stamps,
    /// Nothing is taken any more.
    pub(super) full: bool,
}

impl UserFrames {
    pub(super) fn new(since: UnixSeconds, bounds: Bounds, hidden: bool) -> Self {
        Self {
            bounds,
            hidden,
            done: Vec::new(),
            total: FIXED,
            list: BytesMut::new(),
            stamps: Stamps::since(since),
            full: false,
        }
    }

    /// Sees a stamp.
    pub(super) fn pass(&mut self, stamp: UnixSeconds) {
        self.stamps.pass(stamp);
    }

    /// Adds a user. `false` when there is no room: then the answer ends with the last complete stamp.
    pub(super) fn push(&mut self, entry: DirectoryEntry) -> bool {
        self.pass(entry.stamp);
        let info = shown(user_info(entry.profile), self.hidden);
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
            self.close(true);
            self.total += FIXED;
        }
        // Field 3, length-delimited.
        self.list.put_u8((3 << 3) | 2);
        let encoded = info.encode_length_delimited(&mut self.list);
        debug_assert!(encoded.is_ok(), "the buffer grows");
        self.total += size;
        true
    }

    pub(super) fn finish(mut self) -> Vec<Part> {
        self.close(self.full);
        self.done
    }

    fn close(&mut self, is_cut: bool) {
        let list = std::mem::take(&mut self.list).freeze();
        self.done.push(Part {
            latest_update_time: self.stamps.complete(is_cut),
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
                kind: im_store::AccountKind::Person,
            },
            stamp: UnixSeconds::from_wire(stamp),
        }
    }

    /// (latest_update_time, ids) of each frame.
    fn frames(entries: &[(u32, u32)], bounds: Bounds) -> Vec<(u32, Vec<u32>)> {
        let mut frames = UserFrames::new(UnixSeconds::from_wire(5), bounds, false);
        for (id, stamp) in entries {
            if !frames.push(entry(*id, *stamp)) {
                break;
            }
        }
        let bodies: Vec<Bytes> = frames
            .finish()
            .iter()
            .map(|part| part.body(9, UnixSeconds::EPOCH).whole())
            .collect();
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
