//! How long answers may be, and how long ones are cut.
//!
//! Android drops every frame of 409,600 bytes or more; nobody else has a limit. Android waits by
//! sequence number only for the answers to login, heartbeat, sending, group changes and shields, and
//! kicks; all other answers reach their handler by service and command
//! alone, whatever their number and however many there are. So a list that does not fit one frame is
//! answered to Android with several frames of the same command. It could not ask for the rest
//! itself: there is no request for a second page.

use im_codec::HEADER_LEN;
use im_config::AnswersConfig;
use im_core::ClientType;
use im_core::time::UnixSeconds;
use prost::Message;

/// Bounds of one answer, bytes of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// One frame.
    pub(super) frame: usize,
    /// All frames together.
    pub(super) total: usize,
}

/// Bytes of an answer besides its list: five numbers of up to six bytes, rounded up.
pub(super) const FIXED: usize = 64;

impl Bounds {
    /// Bounds of an answer of at most `total` bytes.
    pub(super) fn of(client: Option<ClientType>, config: &AnswersConfig, total: usize) -> Self {
        match client {
            // A terminal of unknown kind gets what everybody accepts.
            Some(ClientType::Android) | None => Self {
                frame: config
                    .max_frame_android
                    .as_usize()
                    .saturating_sub(HEADER_LEN)
                    .min(total),
                total,
            },
            Some(ClientType::Windows | ClientType::Mac | ClientType::Ios) => Self {
                frame: total,
                total,
            },
        }
    }

    /// Whether this terminal takes everything in one frame.
    pub(super) fn is_one_frame(self) -> bool {
        self.frame >= self.total
    }

    /// Cuts a list into parts that fit frames; at least one part, which may be empty. An item that
    /// fits no frame is left out, and so is what is beyond the total.
    pub(super) fn parts<T: Message>(self, items: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let (mut used, mut total) = (FIXED, FIXED);
        for item in items {
            let size = item_size(&item);
            if FIXED + size > self.frame {
                continue;
            }
            if total + size > self.total {
                break;
            }
            if used + size > self.frame {
                parts.push(std::mem::take(&mut part));
                (used, total) = (FIXED, total + FIXED);
            }
            used += size;
            total += size;
            part.push(item);
        }
        parts.push(part);
        parts
    }

    /// The same with items in the order of their stamps: each part with the last stamp that is complete
    /// up to it, so that who asks what has changed since then gets what is left out here. A stamp
    /// without an item is one whose item nobody wants.
    pub(super) fn stamped_parts<T: Message>(
        self,
        since: UnixSeconds,
        items: impl IntoIterator<Item = (UnixSeconds, Option<T>)>,
    ) -> Vec<(UnixSeconds, Vec<T>)> {
        let mut stamps = Stamps::since(since);
        let mut is_cut = false;
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let (mut used, mut total) = (FIXED, FIXED);
        for (stamp, item) in items {
            stamps.pass(stamp);
            let Some(item) = item else { continue };
            let size = item_size(&item);
            if FIXED + size > self.frame {
                continue;
            }
            if total + size > self.total {
                is_cut = true;
                break;
            }
            if used + size > self.frame {
                parts.push((stamps.complete(true), std::mem::take(&mut part)));
                (used, total) = (FIXED, total + FIXED);
            }
            used += size;
            total += size;
            part.push(item);
        }
        parts.push((stamps.complete(is_cut), part));
        parts
    }

    /// The first items that fit one frame. An item that fits no frame at all is left out, since it
    /// would hide everything behind it.
    pub(super) fn first_part<T: Message>(self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut used = FIXED;
        let mut part = Vec::new();
        for item in items {
            let size = item_size(&item);
            if FIXED + size > self.frame {
                continue;
            }
            if used + size > self.frame {
                break;
            }
            used += size;
            part.push(item);
        }
        part
    }
}

/// Stamps in ascending order, and where among them an answer may end: clients ask for what is strictly
/// later than the stamp that they got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    newest: UnixSeconds,
    before: UnixSeconds,
}

impl Stamps {
    /// Of what has changed since a stamp.
    pub(super) fn since(stamp: UnixSeconds) -> Self {
        Self {
            newest: stamp,
            before: stamp,
        }
    }

    /// Sees the next one.
    pub(super) fn pass(&mut self, stamp: UnixSeconds) {
        if stamp != self.newest {
            self.before = self.newest;
            self.newest = stamp;
        }
    }

    /// The last one up to which everything was given: the newest may go on when the answer is cut here.
    pub(super) fn complete(self, is_cut: bool) -> UnixSeconds {
        if is_cut { self.before } else { self.newest }
    }
}

/// Bytes of a list item with its key and length.
pub(super) fn item_size<T: Message>(item: &T) -> usize {
    let size = item.encoded_len();
    1 + prost::length_delimiter_len(size) + size
}

#[cfg(test)]
mod tests {
    use im_proto_teamtalk::base::GroupVersionInfo;

    use super::*;

    /// Seven bytes each in a list.
    fn items(n: u32) -> Vec<GroupVersionInfo> {
        (0..n)
            .map(|n| GroupVersionInfo {
                group_id: 1_000 + n,
                version: 1,
            })
            .collect()
    }

    #[test]
    fn android_and_unknown_terminals_get_short_frames_others_one() {
        let config = AnswersConfig::default();
        for client in [Some(ClientType::Android), None] {
            let bounds = Bounds::of(client, &config, config.max_answer.as_usize());
            assert!(bounds.frame + HEADER_LEN < im_codec::ANDROID_MAX_FRAME);
        }
        for client in [ClientType::Windows, ClientType::Mac, ClientType::Ios] {
            let bounds = Bounds::of(Some(client), &config, config.max_answer.as_usize());
            assert_eq!(bounds.frame, bounds.total);
        }
    }

    #[test]
    fn parts_fit_and_together_are_the_list() {
        let bounds = Bounds {
            frame: FIXED + 70,
            total: 10_000,
        };
        let parts = bounds.parts(items(25));
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(parts.concat(), items(25));
        assert_eq!(bounds.first_part(items(25)), items(10));
        assert_eq!(bounds.parts(items(0)), [vec![]]);
    }

    #[test]
    fn each_part_names_the_last_stamp_that_is_complete_up_to_it() {
        let at = UnixSeconds::from_wire;
        let stamped = |stamps: [u32; 5]| {
            let stamps = stamps.into_iter().map(at);
            stamps.zip(items(5).into_iter().map(Some))
        };
        let shape = |bounds: Bounds, stamps| -> Vec<(u32, usize)> {
            let parts = bounds.stamped_parts(at(3), stamped(stamps)).into_iter();
            parts
                .map(|(stamp, part)| (stamp.get(), part.len()))
                .collect()
        };
        let bounds = Bounds {
            frame: FIXED + 14,
            total: 10_000,
        };
        assert_eq!(shape(bounds, [7, 7, 7, 8, 9]), [(3, 2), (8, 2), (9, 1)]);
        let bounds = Bounds {
            frame: 10_000,
            total: FIXED + 21,
        };
        assert_eq!(shape(bounds, [7, 8, 8, 8, 9]), [(7, 3)]);
        assert_eq!(shape(bounds, [7, 8, 9, 10, 11]), [(9, 3)]);
        assert_eq!(shape(bounds, [7; 5]), [(3, 3)]);
        let nobody = bounds.stamped_parts(at(3), [(at(8), None::<GroupVersionInfo>)]);
        assert_eq!(nobody, [(at(8), vec![])]);
    }

    #[test]
    fn what_is_beyond_the_total_or_fits_no_frame_is_left_out() {
        let bounds = Bounds {
            frame: 10_000,
            total: FIXED + 70,
        };
        assert_eq!(bounds.parts(items(25)), [items(10)]);
        let bounds = Bounds {
            frame: FIXED + 6,
            total: 10_000,
        };
        assert_eq!(bounds.parts(items(25)), [vec![]]);
        assert!(bounds.first_part(items(25)).is_empty());
    }
}
