//! Members of a group, as the writer and the readers of the log share them.

use std::sync::{Arc, Mutex, PoisonError};

use im_core::{Cache, GroupId, UserId};
use im_rpc::Ring;
use im_store::GroupMember;

/// The members of one group at one place of the log; immutable.
#[derive(Debug)]
pub struct Members {
    /// Ascending.
    users: Box<[UserId]>,
    /// For each user: ids up to this one lie before their joining.
    joined: Box<[u32]>,
    newest_join: u32,
    split: Mutex<Option<Arc<Split>>>,
}

/// Users by the index of their shard in the ring of this digest.
#[derive(Debug)]
struct Split {
    ring: u64,
    shards: Vec<Vec<u32>>,
}

impl Members {
    /// Members as the store has them, in any order.
    pub fn new(mut members: Vec<GroupMember>) -> Self {
        members.sort_unstable_by_key(|member| member.user);
        members.dedup_by_key(|member| member.user);
        Self {
            users: members.iter().map(|member| member.user).collect(),
            joined: members.iter().map(|member| member.joined_id).collect(),
            newest_join: members
                .iter()
                .map(|member| member.joined_id)
                .max()
                .unwrap_or(0),
            split: Mutex::new(None),
        }
    }

    /// All of them, ascending.
    pub(crate) fn users(&self) -> &[UserId] {
        &self.users
    }

    pub(crate) fn contains(&self, user: UserId) -> bool {
        self.users.binary_search(&user).is_ok()
    }

    /// Members that may see a message: those who had joined before it.
    pub fn recipients_of(&self, msg_id: u32) -> Vec<u32> {
        if self.newest_join < msg_id {
            return self.users.iter().map(|user| user.get()).collect();
        }
        let pairs = self.users.iter().zip(&self.joined);
        pairs
            .filter(|(_, joined)| **joined < msg_id)
            .map(|(user, _)| user.get())
            .collect()
    }

    /// Calls `each` for every shard that has members, with a copy of their ids. Which member is
    /// where is computed once per ring.
    pub(crate) fn for_shards(&self, ring: &Ring, mut each: impl FnMut(usize, Vec<u32>)) {
        let split = self.split_by(ring);
        for (index, users) in split
            .shards
            .iter()
            .enumerate()
            .filter(|(_, u)| !u.is_empty())
        {
            each(index, users.clone());
        }
    }

    fn split_by(&self, ring: &Ring) -> Arc<Split> {
        let mut kept = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(split) = kept.as_ref().filter(|split| split.ring == ring.digest()) {
            return Arc::clone(split);
        }
        let mut shards = vec![Vec::new(); ring.len()];
        for user in &self.users {
            if let Some(shard) = ring.index_of(*user).and_then(|index| shards.get_mut(index)) {
                shard.push(user.get());
            }
        }
        let split = Arc::new(Split {
            ring: ring.digest(),
            shards,
        });
        *kept = Some(Arc::clone(&split));
        split
    }
}

/// Members of groups as readers of the log need them: bounded, and never older than the newest
/// change that the writer made.
#[derive(Clone, Debug)]
pub struct MemberCache(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    groups: Cache<GroupId, Arc<Members>>,
    changes: u64,
}

impl MemberCache {
    pub(crate) fn new(groups: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            groups: Cache::new(groups, 1),
            changes: 0,
        })))
    }

    /// The members if they are known, and otherwise a ticket for [`Self::put`], to be taken before
    /// the store is read.
    ///
    /// # Errors
    /// The members are not known: the ticket.
    pub fn get(&self, group: GroupId) -> Result<Arc<Members>, u64> {
        let mut inner = self.lock();
        let changes = inner.changes;
        inner
            .groups
            .get(&group)
            .map(|members| Arc::clone(members))
            .ok_or(changes)
    }

    /// Remembers what was read from the store, unless a group has changed meanwhile.
    pub fn put(&self, ticket: u64, group: GroupId, members: &Arc<Members>) {
        let mut inner = self.lock();
        if inner.changes == ticket {
            inner.groups.insert(group, Arc::clone(members));
        }
    }

    /// A group changes: called after the change is committed, or may be.
    pub(crate) fn changed(&self, group: GroupId, members: Option<&Arc<Members>>) {
        let mut inner = self.lock();
        inner.changes += 1;
        match members {
            Some(members) => inner.groups.insert(group, Arc::clone(members)),
            None => inner.groups.remove(&group),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(user: u32, joined_id: u32) -> GroupMember {
        GroupMember {
            user: UserId::from_wire(user).unwrap(),
            joined_id,
            shielded: false,
        }
    }

    #[test]
    fn who_joined_after_a_message_is_not_among_its_recipients() {
        let members = Members::new(vec![member(3, 10), member(1, 0), member(2, 5)]);
        assert_eq!(members.recipients_of(5), [1]);
        assert_eq!(members.recipients_of(6), [1, 2]);
        assert_eq!(members.recipients_of(10), [1, 2]);
        assert_eq!(members.recipients_of(11), [1, 2, 3]);
    }

    #[test]
    fn every_member_is_in_exactly_one_shard_whatever_ring_came_before() {
        let members = Members::new((1..=500).map(|user| member(user, 0)).collect());
        for names in [vec!["a"], vec!["a", "b", "c"], vec!["a"]] {
            let ring = Ring::new(names);
            let mut seen = Vec::new();
            members.for_shards(&ring, |index, users| {
                for user in &users {
                    assert_eq!(
                        ring.index_of(UserId::from_wire(*user).unwrap()),
                        Some(index)
                    );
                }
                seen.extend(users);
            });
            seen.sort_unstable();
            assert_eq!(seen, (1..=500).collect::<Vec<_>>());
        }
        members.for_shards(&Ring::default(), |_, _| panic!("no shard in an empty ring"));
    }

    #[test]
    fn members_read_before_a_change_are_not_remembered_after_it() {
        let cache = MemberCache::new(10);
        let group = GroupId::from_wire(1).unwrap();
        let old = Arc::new(Members::new(vec![member(1, 0)]));
        let new = Arc::new(Members::new(vec![member(1, 0), member(2, 0)]));
        let ticket = cache.get(group).unwrap_err();
        cache.changed(group, Some(&new));
        cache.put(ticket, group, &old);
        assert_eq!(cache.get(group).unwrap().users.len(), 2);
        cache.changed(group, None);
        let ticket = cache.get(group).unwrap_err();
        cache.put(ticket, group, &new);
        assert_eq!(cache.get(group).unwrap().users.len(), 2);
    }
}
