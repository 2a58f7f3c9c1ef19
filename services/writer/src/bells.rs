//! Bells of those who wait for messages without a session: a bot that asks for what is new.
//!
//! *Invariant*: whoever hangs a bell and then reads the position of the log hears it for every message behind that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_core::UserId;
use im_order::CommitSeq;
use tokio::sync::Notify;

use crate::publication::{Outgoing, Recipients};

/// All bells; as many as somebody holds. Clones share them.
#[derive(Clone, Default)]
pub struct Bells(Arc<Mutex<HashMap<UserId, Vec<Arc<Rope>>>>>);

/// What rings a bell.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    wake: Notify,
    rung: Mutex<Option<Heard>>,
}

/// What a bell has rung for since it was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Every message lies behind this position; `None` where that is not known.
    pub after: Option<CommitSeq>,
    /// And none behind this one, which the log may reach a moment later.
    pub through: CommitSeq,
}

impl Heard {
    /// For something that is not known.
    const SOMETHING: Self = Self {
        after: None,
        through: CommitSeq::from_wire(0),
    };

    /// For one message.
    fn message(seq: CommitSeq) -> Self {
        Self {
            after: Some(seq.previous()),
            through: seq,
        }
    }

    fn and(self, other: Self) -> Self {
        let both = self.after.zip(other.after);
        Self {
            after: both.map(|(one, other)| one.min(other)),
            through: self.through.max(other.through),
        }
    }
}

/// No bell is hung as long as this is there.
pub(crate) type Ringing<'b> = MutexGuard<'b, HashMap<UserId, Vec<Arc<Rope>>>>;

/// A bell of one account, until it is dropped.
#[derive(Debug)]
pub struct Bell {
    bells: Bells,
    user: UserId,
    rope: Arc<Rope>,
}

impl Bells {
    /// A bell that rings when somebody else writes to this account from now on.
    pub fn hang(&self, user: UserId) -> Bell {
        let rope = Arc::<Rope>::default();
        self.lock().entry(user).or_default().push(Arc::clone(&rope));
        Bell {
            bells: self.clone(),
            user,
            rope,
        }
    }

    /// Rings for an account, whose rights may have ended.
    pub fn ring(&self, user: UserId) {
        if let Some(ropes) = self.lock().get(&user) {
            pull(ropes, Heard::SOMETHING);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Rings for everybody: something may have been stored.
    pub(crate) fn ring_all(&self) {
        for ropes in self.lock().values() {
            pull(ropes, Heard::SOMETHING);
        }
    }

    /// Rings for those to whom messages were sent; the position of the log is to move before what this gives is
    /// dropped. Costs next to nothing while nobody has a bell.
    pub(crate) fn committed(&self, messages: &[Outgoing]) -> Ringing<'_> {
        let hung = self.lock();
        if hung.is_empty() {
            return hung;
        }
        for Outgoing {
            message,
            recipients,
        } in messages
        {
            let ring = |user: &UserId| {
                if user.get() != message.from
                    && let Some(ropes) = hung.get(user)
                {
                    pull(ropes, Heard::message(CommitSeq::from_wire(message.seq)));
                }
            };
            match recipients {
                Recipients::Pair(low, high) => [low, high].into_iter().for_each(ring),
                Recipients::Group(members) if members.users().len() <= hung.len() => {
                    members.users().iter().for_each(ring);
                }
                Recipients::Group(members) => {
                    hung.keys()
                        .filter(|user| members.contains(**user))
                        .for_each(ring);
                }
            }
        }
        hung
    }

    fn lock(&self) -> Ringing<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pull(ropes: &[Arc<Rope>], what: Heard) {
    for rope in ropes {
        let mut rung = rope.rung.lock().unwrap_or_else(PoisonError::into_inner);
        *rung = Some(rung.map_or(what, |before| before.and(what)));
        drop(rung);
        rope.wake.notify_one();
    }
}

impl Bell {
    /// Waits until it has rung since it was heard last.
    pub async fn heard(&self) -> Heard {
        loop {
            let rung = &self.rope.rung;
            let heard = rung.lock().unwrap_or_else(PoisonError::into_inner).take();
            match heard {
                Some(heard) => return heard,
                None => self.rope.wake.notified().await,
            }
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut hung = self.bells.lock();
        if let Entry::Occupied(mut of) = hung.entry(self.user) {
            of.get_mut().retain(|rope| !Arc::ptr_eq(rope, &self.rope));
            if of.get().is_empty() {
                of.remove();
            }
        }
    }
}

impl fmt::Debug for Bells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bells").field(&self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use im_proto_rpc::v1::LiveMessage;
    use im_store::GroupMember;

    use super::*;
    use crate::members::Members;

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    fn sent(seq: u64, from: u32, recipients: Recipients) -> Outgoing {
        let message = LiveMessage {
            seq,
            from,
            ..LiveMessage::default()
        };
        Outgoing {
            message,
            recipients,
        }
    }

    fn pair(seq: u64, from: u32, to: u32) -> Outgoing {
        let (low, high) = (user(from.min(to)), user(from.max(to)));
        sent(seq, from, Recipients::Pair(low, high))
    }

    fn group(seq: u64, from: u32, members: &[u32]) -> Outgoing {
        let member = |id: &u32| GroupMember {
            user: user(*id),
            joined_id: 0,
            shielded: false,
        };
        let members = Members::new(members.iter().map(member).collect());
        sent(seq, from, Recipients::Group(Arc::new(members)))
    }

    /// What the bell has rung for: behind which position, up to which one.
    fn heard(bell: &Bell) -> Option<(u64, u64)> {
        let Heard { after, through } = bell.heard().now_or_never()?;
        let after = after.map_or(u64::MAX, CommitSeq::to_wire);
        Some((after, through.to_wire()))
    }

    #[test]
    fn a_bell_rings_for_what_others_write_to_its_account_and_for_nothing_else() {
        let bells = Bells::default();
        let (seven, eight) = (bells.hang(user(7)), bells.hang(user(8)));
        let messages = [
            pair(10, 1, 2),
            pair(11, 7, 2),
            pair(12, 1, 7),
            pair(13, 1, 7),
            group(14, 7, &[1, 7, 9]),
            group(15, 1, &[1, 2, 3, 4, 8]),
            group(16, 1, &[1, 2, 3, 4]),
        ];
        drop(bells.committed(&messages));
        assert_eq!(heard(&seven), Some((11, 13)));
        assert_eq!(heard(&seven), None, "it was heard");
        assert_eq!(heard(&eight), Some((14, 15)));
        drop(bells.committed(&[group(17, 1, &[1, 8])]));
        assert_eq!((heard(&seven), heard(&eight)), (None, Some((16, 17))));
    }

    #[test]
    fn a_bell_rings_for_whatever_may_be_and_goes_with_who_had_it() {
        let bells = Bells::default();
        let (one, other) = (bells.hang(user(7)), bells.hang(user(7)));
        assert_eq!(bells.len(), 2);
        drop(bells.committed(&[pair(12, 1, 7)]));
        bells.ring(user(7));
        let unknown = Some((u64::MAX, 12));
        assert_eq!((heard(&one), heard(&other)), (unknown, unknown));
        drop(other);
        bells.ring_all();
        bells.ring(user(9));
        assert_eq!((heard(&one), bells.len()), (Some((u64::MAX, 0)), 1));
        drop(one);
        assert!(bells.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_at_a_bell_is_woken() {
        let bells = Bells::default();
        let bell = bells.hang(user(7));
        let ringing = async {
            tokio::task::yield_now().await;
            drop(bells.committed(&[pair(5, 1, 7)]));
        };
        let (heard, ()) = tokio::join!(bell.heard(), ringing);
        assert_eq!(heard, Heard::message(CommitSeq::from_wire(5)));
    }
}
