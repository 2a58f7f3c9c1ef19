//! Groups: fixed and temporary ones, and their members.

use im_core::{GroupId, UserId};
use im_proto_rpc::v1::{
    Audience, ChangeGroupMembersRequest, CreateGroupRequest, Event, GroupList, GroupRecord,
    ListGroupsRequest,
};
use im_proto_teamtalk::base::GroupModifyType;
use im_store::{GroupType, MemberChange};
use prost::Message as _;
use tracing::info;

use super::{AdminError, AdminService};
use crate::answers::{affected, change_notify};
use crate::publication::Publication;
use crate::writer::{ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, WriterError};

/// Groups in one answer.
const MAX_GROUPS: usize = 1_000;

/// What original servers write as the author of a change by administrators.
const NOBODY: u32 = 0;

impl AdminService {
    /// The owner is a member too.
    pub(super) async fn make_group(
        &self,
        request: CreateGroupRequest,
    ) -> Result<GroupRecord, AdminError> {
        let limits = &self.config.answers;
        if !(1..=limits.max_group_name.as_usize()).contains(&request.name.len()) {
            return Err(AdminError::Invalid(format!(
                "the name must have 1 to {} bytes",
                limits.max_group_name
            )));
        }
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
            return Err(AdminError::Invalid(
                "the group would have too many members".to_owned(),
            ));
        }
        let group_type = if request.fixed {
            GroupType::Normal
        } else {
            GroupType::Temporary
        };
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
        info!(group = %made.group.id, fixed = request.fixed, "group made");
        self.group_record(&made.group, &made.members).await
    }

    /// Adds, then removes; who is a member already, or not, is passed over.
    pub(super) async fn change_group(
        &self,
        request: ChangeGroupMembersRequest,
    ) -> Result<GroupRecord, AdminError> {
        let group = GroupId::from_wire(request.group)
            .ok_or_else(|| AdminError::Invalid("a group has a number".to_owned()))?;
        let add = self.people(&request.add).await?;
        let remove = self.people(&request.remove).await?;
        self.change(group, MemberChange::Add, add).await?;
        self.change(group, MemberChange::Remove, remove).await?;
        let record = self
            .store
            .groups(&[group])
            .await?
            .pop()
            .ok_or_else(|| AdminError::NotFound(format!("there is no group {group}")))?;
        let members: Vec<UserId> = self
            .store
            .members(group)
            .await?
            .iter()
            .map(|member| member.user)
            .collect();
        info!(%group, version = record.version, "group members changed");
        self.group_record(&record, &members).await
    }

    pub(super) async fn groups(&self, request: ListGroupsRequest) -> Result<GroupList, AdminError> {
        let user = match request.user.as_str() {
            "" => None,
            name => Some(self.person(name).await?.id),
        };
        let mut groups = Vec::new();
        for group in self
            .store
            .groups_of(user)
            .await?
            .into_iter()
            .take(MAX_GROUPS)
        {
            let members: Vec<UserId> = self
                .store
                .members(group.id)
                .await?
                .iter()
                .map(|member| member.user)
                .collect();
            groups.push(self.group_record(&group, &members).await?);
        }
        Ok(GroupList { groups })
    }

    async fn change(
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
            return Err(AdminError::Invalid(
                "these are more people than a group may have".to_owned(),
            ));
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
            members: members
                .iter()
                .filter_map(|member| names.get(member).cloned())
                .collect(),
        })
    }
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
