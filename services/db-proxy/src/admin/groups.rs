//! Groups: fixed and temporary ones, and their members.

use std::collections::{BTreeSet, HashMap, HashSet};

use im_answers::{affected, change_notify};
use im_core::text::{first_unseen, unseen_kind};
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use im_proto_rpc::v1::{
    Audience, ChangeGroupMembersRequest, CreateGroupRequest, Event, GroupRecord,
    RemoveGroupRequest, RenameGroupRequest, SetGroupOwnerRequest,
};
use im_proto_teamtalk::base::GroupModifyType;
use im_store::{GroupType, MemberChange, StoreError};
use im_writer::{
    ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, Publication, WriterError,
};
use prost::Message as _;
use serde_json::json;

use super::notes::Changed;
use super::{AdminError, AdminService};

/// What original servers write as the author of a change by administrators.
const NOBODY: u32 = 0;

impl AdminService {
    /// The owner is a member too.
    pub(super) async fn make_group(
        &self,
        request: CreateGroupRequest,
    ) -> Result<GroupRecord, AdminError> {
        let limits = &self.config.answers;
        self.check_group_name(&request.name)?;
        if request.avatar.len() > limits.max_avatar.as_usize() {
            return Err(AdminError::Invalid(
                "the avatar's address is too long".to_owned(),
            ));
        }
        let owner = match (request.owner.as_str(), request.owner_id) {
            ("", 0) => None,
            (name, id) => Some(self.account_or_id(name, id).await?),
        };
        let owner_id = owner.as_ref().map(|owner| owner.id);
        let mut members = self.people(&request.members, &request.member_ids).await?;
        if let Some(owner) = owner_id
            && !members.contains(&owner)
        {
            members.push(owner);
        }
        members.sort_unstable();
        members.dedup();
        if members.is_empty() {
            return Err(AdminError::Invalid(
                "a group needs an owner or a member".to_owned(),
            ));
        }
        if members.len() > self.config.writer.max_group_members {
            return Err(AdminError::Invalid(self.too_many(members.len())));
        }
        let group_type = if request.fixed {
            GroupType::Normal
        } else {
            GroupType::Temporary
        };
        let would_be = GroupRecord {
            name: request.name.clone(),
            version: 1,
            fixed: request.fixed,
            owner: owner.map_or_else(String::new, |owner| owner.name),
            owner_id: owner_id.map_or(0, UserId::get),
            member_count: count(members.len()),
            avatar: request.avatar.clone(),
            ..GroupRecord::default()
        };
        if request.dry_run {
            let names = self.names(&members).await?;
            return Ok(GroupRecord {
                version: 0,
                members: in_order(&members, &names),
                ..would_be
            });
        }
        let changed = Changed::new_of("group")
            .after(json!({
                "name": would_be.name,
                "avatar": would_be.avatar,
                "fixed": would_be.fixed,
                "owner": would_be.owner,
                "members": ids(&members),
            }))
            .answer(&would_be);
        let made = self
            .writer
            .create_group(CreateGroup {
                name: request.name,
                avatar: request.avatar,
                creator: owner_id,
                group_type,
                members,
                note: self.note(changed),
            })
            .await?;
        self.group_record(&made.group, &made.members).await
    }

    /// Adds, then removes; who is a member already, or not, is passed over.
    pub(super) async fn change_group(
        &self,
        request: ChangeGroupMembersRequest,
    ) -> Result<GroupRecord, AdminError> {
        let group = group_id(request.group)?;
        let add = self.people(&request.add, &request.add_ids).await?;
        let remove = self.people(&request.remove, &request.remove_ids).await?;
        let record = self.group(group).await?;
        let mut members = self.members_of(group).await?;
        members.extend(&add);
        if request.dry_run {
            if members.len() > self.config.writer.max_group_members {
                return Err(AdminError::Refused(self.too_many(members.len())));
            }
            return Ok(record);
        }
        for user in &remove {
            members.remove(user);
        }
        let answer = GroupRecord {
            member_count: count(members.len()),
            members: Vec::new(),
            ..record
        };
        let target = format!("group {group}");
        let mut added = Changed::of(target.clone()).after(json!({ "added": ids(&add) }));
        let removed = Changed::of(target)
            .after(json!({ "removed": ids(&remove) }))
            .answer(&answer);
        if remove.is_empty() {
            added = added.answer(&answer);
        }
        self.change(group, MemberChange::Add, add, added).await?;
        self.change(group, MemberChange::Remove, remove, removed)
            .await?;
        self.group(group).await
    }

    pub(super) async fn rename_a_group(
        &self,
        request: RenameGroupRequest,
    ) -> Result<GroupRecord, AdminError> {
        let group = group_id(request.group)?;
        self.check_group_name(&request.name)?;
        if request.dry_run {
            return self.group(group).await;
        }
        let was = self.group(group).await?;
        let answer = GroupRecord {
            name: request.name.clone(),
            version: was.version.saturating_add(1),
            members: Vec::new(),
            ..was.clone()
        };
        let changed = Changed::of(format!("group {group}"))
            .before(json!({ "name": was.name }))
            .after(json!({ "name": request.name }))
            .answer(&answer);
        let now = UnixSeconds::now();
        let store = self.noting(changed);
        let renamed = store.rename_group(group, &request.name, now);
        renamed.await.map_err(|error| match error {
            StoreError::NotFound { .. } => no_group(group),
            error => error.into(),
        })?;
        self.group(group).await
    }

    /// From then on the new owner may change the members, and the one before may not. No frame of the
    /// protocol tells that; clients ask for groups whose version has risen after their next login.
    pub(super) async fn give_a_group(
        &self,
        request: SetGroupOwnerRequest,
    ) -> Result<GroupRecord, AdminError> {
        let group = group_id(request.group)?;
        let record = self.group(group).await?;
        let owner = self.account(&request.owner).await?;
        let stranger = || {
            AdminError::Refused(format!(
                "{:?} is no member of group {group}: add them first",
                owner.name
            ))
        };
        if !record.members.contains(&owner.name) {
            return Err(stranger());
        }
        if request.dry_run || record.owner == owner.name {
            return Ok(record);
        }
        let answer = GroupRecord {
            owner: owner.name.clone(),
            owner_id: owner.id.get(),
            version: record.version.saturating_add(1),
            members: Vec::new(),
            ..record.clone()
        };
        let changed = Changed::of(format!("group {group}"))
            .before(json!({ "owner": record.owner }))
            .after(json!({ "owner": owner.name }))
            .answer(&answer);
        let now = UnixSeconds::now();
        let store = self.noting(changed);
        let given = store.set_group_owner(group, owner.id, now);
        given.await.map_err(|error| match error {
            StoreError::NotFound { .. } => stranger(),
            error => error.into(),
        })?;
        self.group(group).await
    }

    /// Without members a group is in nobody's list; what was written in it stays.
    pub(super) async fn remove_a_group(
        &self,
        request: RemoveGroupRequest,
    ) -> Result<GroupRecord, AdminError> {
        let group = group_id(request.group)?;
        let record = self.group(group).await?;
        if !request.dry_run {
            let members: Vec<UserId> = self.members_of(group).await?.into_iter().collect();
            let answer = GroupRecord {
                members: Vec::new(),
                ..record.clone()
            };
            let changed = Changed::of(format!("group {group}"))
                .before(json!({ "name": record.name, "members": ids(&members) }))
                .after(json!({ "removed": "all" }))
                .answer(&answer);
            self.change(group, MemberChange::Remove, members, changed)
                .await?;
        }
        Ok(record)
    }

    async fn group(&self, group: GroupId) -> Result<GroupRecord, AdminError> {
        let record = self
            .store
            .groups(&[group])
            .await?
            .pop()
            .ok_or_else(|| no_group(group))?;
        let members = self.store.members(group).await?;
        let members: Vec<UserId> = members.iter().map(|member| member.user).collect();
        self.group_record(&record, &members).await
    }

    fn check_group_name(&self, name: &str) -> Result<(), AdminError> {
        let most = self.config.answers.max_group_name;
        if !(1..=most.as_usize()).contains(&name.len()) {
            return Err(AdminError::Invalid(format!(
                "the name of a group has 1 to {most} bytes, this one has {}",
                name.len()
            )));
        }
        if let Some((_, c)) = first_unseen(name, true) {
            let (code, kind) = (u32::from(c), unseen_kind(c));
            return Err(AdminError::Invalid(format!(
                "the name of a group has U+{code:04X}, {kind}"
            )));
        }
        Ok(())
    }

    fn too_many(&self, members: usize) -> String {
        let most = self.config.writer.max_group_members;
        format!(
            "a group has at most {most} members (db_proxy.writer.max_group_members), these are {members}"
        )
    }

    pub(super) async fn change(
        &self,
        group: GroupId,
        change: MemberChange,
        users: Vec<UserId>,
        changed: Changed,
    ) -> Result<(), AdminError> {
        if users.is_empty() {
            return Ok(());
        }
        let modify = match change {
            MemberChange::Add => GroupModifyType::Add,
            MemberChange::Remove => GroupModifyType::Del,
        };
        let notice = move |changed: &MembersChanged| notice(modify, changed);
        let change = ChangeMembers {
            group,
            change,
            users,
            by: None,
            notice: Some(Box::new(notice)),
            note: self.note(changed),
        };
        match self.writer.change_members(change).await {
            Ok(_) | Err(WriterError::Refused(GroupRefusal::NothingToAdd)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ids of login names, and of those who are named by id; all must exist.
    async fn people(&self, names: &[String], ids: &[u32]) -> Result<Vec<UserId>, AdminError> {
        let asked = names.len() + ids.len();
        if asked > self.config.writer.max_group_members {
            return Err(AdminError::Invalid(self.too_many(asked)));
        }
        let mut users = Vec::with_capacity(asked);
        for name in names {
            users.push(self.account(name).await?.id);
        }
        if ids.is_empty() {
            return Ok(users);
        }
        let wanted: Vec<UserId> = ids.iter().filter_map(|id| UserId::from_wire(*id)).collect();
        let known = self.store.profiles(&wanted).await?;
        let known: HashSet<u32> = known.iter().map(|profile| profile.id.get()).collect();
        if let Some(nobody) = ids.iter().find(|id| !known.contains(id)) {
            return Err(AdminError::NotFound(format!("there is no user #{nobody}")));
        }
        users.extend(wanted);
        Ok(users)
    }

    async fn members_of(&self, group: GroupId) -> Result<BTreeSet<UserId>, AdminError> {
        let members = self.store.members(group).await?;
        Ok(members.iter().map(|member| member.user).collect())
    }

    async fn group_record(
        &self,
        group: &im_store::GroupRecord,
        members: &[UserId],
    ) -> Result<GroupRecord, AdminError> {
        let mut wanted = members.to_vec();
        wanted.extend(group.creator);
        let names = self.names(&wanted).await?;
        Ok(GroupRecord {
            member_count: count(members.len()),
            members: in_order(members, &names),
            ..bare_record(group, &names)
        })
    }
}

/// A group without its members; `names` has that of its owner.
pub(super) fn bare_record(
    group: &im_store::GroupRecord,
    names: &HashMap<UserId, String>,
) -> GroupRecord {
    let owner = group.creator.and_then(|owner| names.get(&owner));
    GroupRecord {
        id: group.id.get(),
        name: group.name.clone(),
        version: group.version,
        fixed: group.group_type == GroupType::Normal,
        owner: owner.cloned().unwrap_or_default(),
        avatar: group.avatar.clone(),
        owner_id: group.creator.map_or(0, UserId::get),
        ..GroupRecord::default()
    }
}

/// Ids as they stand in the audit log.
fn ids(users: &[UserId]) -> Vec<u32> {
    users.iter().map(|user| user.get()).collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn in_order(users: &[UserId], names: &HashMap<UserId, String>) -> Vec<String> {
    let names = users.iter().filter_map(|user| names.get(user).cloned());
    names.collect()
}

pub(super) fn group_id(number: u32) -> Result<GroupId, AdminError> {
    GroupId::from_wire(number).ok_or_else(|| AdminError::Invalid("a group has a number".to_owned()))
}

pub(super) fn no_group(group: GroupId) -> AdminError {
    AdminError::NotFound(format!("there is no group {group}"))
}

fn notice(change: GroupModifyType, changed: &MembersChanged) -> Vec<Publication> {
    if changed.changed.is_empty() {
        return Vec::new();
    }
    vec![Publication::Event(Event {
        users: affected(changed),
        audience: Audience::All.into(),
        command: im_codec::Command::GroupChangeMemberNotify.id().into(),
        body: change_notify(NOBODY, change, changed)
            .encode_to_vec()
            .into(),
        ..Event::default()
    })]
}
