//! Making and changing groups, at their place in the log.

use std::collections::HashSet;
use std::sync::Arc;

use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, UserId};
use im_store::{
    ChangeNote, ConversationRow, GroupChange, GroupMember, GroupRecord, GroupType, MemberChange,
    NewGroup, Store, StoreError,
};

use super::handle::{ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, WriterError};
use super::plan::Known;
use super::task::Writer;
use crate::members::Members;

impl Writer {
    pub(super) async fn create_group(
        &mut self,
        create: CreateGroup,
        now: UnixSeconds,
    ) -> Result<MembersChanged, WriterError> {
        let mut members = create.members;
        members.sort_unstable();
        members.dedup();
        if members.len() > self.config.max_group_members {
            return Err(WriterError::Refused(GroupRefusal::TooLarge));
        }
        let row = ConversationRow(self.memory.last_row.0 + 1);
        let new = NewGroup {
            row,
            name: create.name,
            avatar: create.avatar,
            creator: create.creator,
            group_type: create.group_type,
            members,
            now,
        };
        let store = self.noting(create.note);
        let group = store.create_group(self.owned().standing(), &new).await?;
        self.memory.last_row = row;
        let conversation = Conversation::Group(group);
        let known = Known {
            row: Some(row),
            last_id: self.memory.skipped,
            low_sent: 0,
        };
        self.memory.conversations.insert(conversation, known);
        let joined = |user: &UserId| GroupMember {
            user: *user,
            joined_id: 0,
            shielded: false,
        };
        self.remember_members(group, new.members.iter().map(joined).collect());
        let record = GroupRecord {
            id: group,
            name: new.name,
            avatar: new.avatar,
            creator: new.creator,
            group_type: new.group_type,
            version: 1,
        };
        Ok(MembersChanged {
            group: record,
            changed: new.members.clone(),
            members: new.members,
        })
    }

    pub(super) async fn change_members(
        &mut self,
        change: ChangeMembers,
        now: UnixSeconds,
    ) -> Result<MembersChanged, WriterError> {
        let refused = |refusal| Err(WriterError::Refused(refusal));
        let Some(mut record) = self.store.groups(&[change.group]).await?.pop() else {
            return refused(GroupRefusal::NoSuchGroup);
        };
        let present = self.store.members(change.group).await?;
        if !may_change(&record, &present, &change) {
            return refused(GroupRefusal::NotAllowed);
        }
        let mut changed = really_changed(&present, &change);
        changed.sort_unstable();
        let adds = change.change == MemberChange::Add;
        if changed.is_empty() && adds {
            return refused(GroupRefusal::NothingToAdd);
        }
        if adds && present.len() + changed.len() > self.config.max_group_members {
            return refused(GroupRefusal::TooLarge);
        }
        let mut members = present;
        if !changed.is_empty() {
            let last_id = self.last_id(change.group).await?;
            let stored = GroupChange {
                group: change.group,
                change: change.change,
                users: changed.clone(),
                by: change.by,
                last_id,
                now,
            };
            let fence = self.owned().standing();
            let store = self.noting(change.note);
            record.version = match store.change_members(fence, &stored).await {
                Ok(version) => version,
                Err(error) => {
                    // It may have been stored all the same.
                    self.forget_group(change.group);
                    return Err(error.into());
                }
            };
            members = members_after(members, &stored);
            self.remember_members(change.group, members.clone());
        }
        let mut members: Vec<UserId> = members.iter().map(|member| member.user).collect();
        members.sort_unstable();
        let result = MembersChanged {
            group: record,
            changed,
            members,
        };
        if let Some(notice) = change.notice {
            self.publisher.publish(notice(&result));
        }
        Ok(result)
    }

    /// The store, which writes a note with its change.
    fn noting(&self, note: Option<ChangeNote>) -> Arc<dyn Store> {
        match note {
            Some(note) => self.store.noting(note),
            None => Arc::clone(&self.store),
        }
    }

    /// Newest id of a group's conversation.
    async fn last_id(&mut self, group: GroupId) -> Result<u32, StoreError> {
        let conversation = Conversation::Group(group);
        if let Some(known) = self.memory.conversations.get(&conversation) {
            return Ok(known.last_id);
        }
        let states = self.store.conversation_states(&[conversation]).await?;
        Ok(states
            .into_iter()
            .flatten()
            .next()
            .map_or(0, |state| state.last_id))
    }

    fn remember_members(&mut self, group: GroupId, members: Vec<GroupMember>) {
        let members = Arc::new(Members::new(members));
        self.member_cache.changed(group, Some(&members));
        self.memory.groups.insert(group, members);
    }

    fn forget_group(&mut self, group: GroupId) {
        self.member_cache.changed(group, None);
        self.memory.groups.remove(&group);
        self.memory
            .conversations
            .remove(&Conversation::Group(group));
    }
}

fn is_member(members: &[GroupMember], user: UserId) -> bool {
    members.iter().any(|member| member.user == user)
}

/// Administrators and the creator may do everything. A temporary group lets its members add users,
/// and lets each of them leave.
fn may_change(group: &GroupRecord, members: &[GroupMember], change: &ChangeMembers) -> bool {
    let Some(by) = change.by else { return true };
    if Some(by) == group.creator {
        return true;
    }
    group.group_type == GroupType::Temporary
        && is_member(members, by)
        && match change.change {
            MemberChange::Add => true,
            MemberChange::Remove => change.users.iter().all(|user| *user == by),
        }
}

fn really_changed(members: &[GroupMember], change: &ChangeMembers) -> Vec<UserId> {
    let present: HashSet<UserId> = members.iter().map(|member| member.user).collect();
    let asked: HashSet<UserId> = change.users.iter().copied().collect();
    let adds = change.change == MemberChange::Add;
    asked
        .into_iter()
        .filter(|user| present.contains(user) != adds)
        .collect()
}

fn members_after(mut members: Vec<GroupMember>, change: &GroupChange) -> Vec<GroupMember> {
    match change.change {
        MemberChange::Remove => members.retain(|m| !change.users.contains(&m.user)),
        MemberChange::Add => members.extend(change.users.iter().map(|user| GroupMember {
            user: *user,
            joined_id: change.last_id,
            shielded: false,
        })),
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    fn may(kind: GroupType, by: Option<u32>, change: MemberChange, users: &[u32]) -> bool {
        let group = GroupRecord {
            id: GroupId::from_wire(1).unwrap(),
            name: "g".into(),
            avatar: String::new(),
            creator: Some(user(1)),
            group_type: kind,
            version: 1,
        };
        let members: Vec<GroupMember> = [1, 2, 3]
            .map(|id| GroupMember {
                user: user(id),
                joined_id: 0,
                shielded: false,
            })
            .into();
        let change = ChangeMembers {
            group: group.id,
            change,
            users: users.iter().copied().map(user).collect(),
            by: by.map(user),
            notice: None,
            note: None,
        };
        may_change(&group, &members, &change)
    }

    #[test]
    fn creators_and_administrators_change_every_group() {
        for kind in [GroupType::Normal, GroupType::Temporary] {
            for by in [None, Some(1)] {
                assert!(may(kind, by, MemberChange::Add, &[7]));
                assert!(may(kind, by, MemberChange::Remove, &[2, 3]));
            }
        }
    }

    #[test]
    fn members_add_to_a_temporary_group_and_leave_it_themselves() {
        let temporary = GroupType::Temporary;
        assert!(may(temporary, Some(2), MemberChange::Add, &[7, 8]));
        assert!(
            !may(temporary, Some(9), MemberChange::Add, &[9]),
            "not a member"
        );
        assert!(may(temporary, Some(2), MemberChange::Remove, &[2]));
        assert!(!may(temporary, Some(2), MemberChange::Remove, &[2, 3]));
        assert!(!may(GroupType::Normal, Some(2), MemberChange::Add, &[7]));
        assert!(!may(GroupType::Normal, Some(2), MemberChange::Remove, &[2]));
    }
}
