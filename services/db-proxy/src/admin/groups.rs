//! Groups: fixed and temporary ones, and their members.

use std::collections::HashMap;

use im_answers::{affected, change_notify};
use im_core::text::{first_unseen, unseen_kind};
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use im_proto_rpc::v1::{
    Audience, ChangeGroupMembersRequest, CreateGroupRequest, Event, GroupList, GroupRecord,
    ListGroupsRequest, RemoveGroupRequest, RenameGroupRequest, SetGroupOwnerRequest,
};
use im_proto_teamtalk::base::GroupModifyType;
use im_store::{GroupType, ListPage, MemberChange, StoreError};
use im_writer::{
    ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, Publication, WriterError,
};
use prost::Message as _;

use super::cursor::{List, Listed, id_of};
use super::pages::{Limits, Page};
use super::{AdminError, AdminService};

/// Groups in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 200,
    most: 1_000,
};

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
        let owner = self.person(&request.owner).await?.id;
        let mut members = self.people(&request.members).await?;
        if !members.contains(&owner) {
            members.push(owner);
        }
        if members.len() > self.config.writer.max_group_members {
            return Err(AdminError::Invalid(self.too_many(members.len())));
        }
        let group_type = if request.fixed {
            GroupType::Normal
        } else {
            GroupType::Temporary
        };
        if request.dry_run {
            let names = self.names(&members).await?;
            return Ok(GroupRecord {
                name: request.name,
                fixed: request.fixed,
                owner: names.get(&owner).cloned().unwrap_or_default(),
                members: in_order(&members, &names),
                ..GroupRecord::default()
            });
        }
        let made = self
            .writer
            .create_group(CreateGroup {
                name: request.name,
                avatar: request.avatar,
                creator: owner,
                group_type,
                members,
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
        let add = self.people(&request.add).await?;
        let remove = self.people(&request.remove).await?;
        if request.dry_run {
            let record = self.group(group).await?;
            let members = self.store.members(group).await?;
            let new = |user: &&UserId| members.iter().all(|member| member.user != **user);
            let after = members.len() + add.iter().filter(new).count();
            if after > self.config.writer.max_group_members {
                return Err(AdminError::Refused(self.too_many(after)));
            }
            return Ok(record);
        }
        self.change(group, MemberChange::Add, add).await?;
        self.change(group, MemberChange::Remove, remove).await?;
        self.group(group).await
    }

    pub(super) async fn groups(&self, request: ListGroupsRequest) -> Result<GroupList, AdminError> {
        let user = match request.user.as_str() {
            "" => None,
            name => Some(self.person(name).await?.id),
        };
        let limit = LIMITS.of(request.limit);
        let filters = [request.user.as_str(), request.matching.as_str()];
        let listed = Listed {
            list: List::Groups,
            filters: &filters,
        };
        let after = self.cursors.read(listed, &request.cursor)?;
        let wanted = ListPage {
            matching: request.matching.clone(),
            after: after.map_or(0, id_of),
            limit: limit + 1,
        };
        let mut page = Page::new(limit);
        for group in self.store.list_groups(user, &wanted).await? {
            let members: Vec<UserId> = self
                .store
                .members(group.id)
                .await?
                .iter()
                .map(|member| member.user)
                .collect();
            let record = self.group_record(&group, &members).await?;
            if !page.takes(group.id.get().into(), record) {
                break;
            }
        }
        let (groups, next) = self.end_page(listed, page);
        Ok(GroupList { groups, next })
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
        let now = UnixSeconds::now();
        let renamed = self.store.rename_group(group, &request.name, now);
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
        let owner = self.person(&request.owner).await?;
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
        let now = UnixSeconds::now();
        let given = self.store.set_group_owner(group, owner.id, now);
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
            let members = self.store.members(group).await?;
            let members = members.iter().map(|member| member.user).collect();
            self.change(group, MemberChange::Remove, members).await?;
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
        };
        match self.writer.change_members(change).await {
            Ok(_) | Err(WriterError::Refused(GroupRefusal::NothingToAdd)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ids of login names; all must exist.
    async fn people(&self, names: &[String]) -> Result<Vec<UserId>, AdminError> {
        if names.len() > self.config.writer.max_group_members {
            return Err(AdminError::Invalid(self.too_many(names.len())));
        }
        let mut users = Vec::with_capacity(names.len());
        for name in names {
            users.push(self.person(name).await?.id);
        }
        Ok(users)
    }

    async fn group_record(
        &self,
        group: &im_store::GroupRecord,
        members: &[UserId],
    ) -> Result<GroupRecord, AdminError> {
        let mut wanted = members.to_vec();
        wanted.push(group.creator);
        let names = self.names(&wanted).await?;
        Ok(GroupRecord {
            id: group.id.get(),
            name: group.name.clone(),
            version: group.version,
            fixed: group.group_type == GroupType::Normal,
            owner: names.get(&group.creator).cloned().unwrap_or_default(),
            member_count: u32::try_from(members.len()).unwrap_or(u32::MAX),
            members: in_order(members, &names),
            avatar: group.avatar.clone(),
            owner_id: group.creator.get(),
        })
    }
}

fn in_order(users: &[UserId], names: &HashMap<UserId, String>) -> Vec<String> {
    let names = users.iter().filter_map(|user| names.get(user).cloned());
    names.collect()
}

fn group_id(number: u32) -> Result<GroupId, AdminError> {
    GroupId::from_wire(number).ok_or_else(|| AdminError::Invalid("a group has a number".to_owned()))
}

fn no_group(group: GroupId) -> AdminError {
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
