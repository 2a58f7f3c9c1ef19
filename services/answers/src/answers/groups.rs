//! Groups: lists, making, members, silencing.

use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use im_codec::Command;
use im_core::{GroupId, UserId};
use im_proto_teamtalk::base::{
    GroupInfo, GroupModifyType, GroupType as WireType, GroupVersionInfo,
};
use im_proto_teamtalk::group::{
    ImGroupChangeMemberNotify, ImGroupChangeMemberReq, ImGroupChangeMemberRsp, ImGroupCreateReq,
    ImGroupCreateRsp, ImGroupInfoListReq, ImGroupInfoListRsp, ImGroupShieldReq, ImGroupShieldRsp,
    ImNormalGroupListReq, ImNormalGroupListRsp,
};
use im_store::{GroupMember, GroupRecord, GroupType, MemberChange};
use im_writer::{
    ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, Publication, WriterError,
};
use tokio::time::Instant;

use super::events::to_users;
use super::{Answers, Asker, Bound, Grouping, Handled, QueryError, Reply, decode};

impl Answers {
    /// 0x0401: their groups, fixed and temporary. The original names fixed ones only; but every client asks
    /// this after a login, and nothing else names a group in which nobody has written yet.
    pub(super) async fn own_groups(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(ImNormalGroupListReq { .. }) = decode(body) else {
            return Ok(Reply::Silent);
        };
        let groups = self.store.groups_of(Some(asker.user)).await?;
        let parts = self
            .list_bounds(asker)
            .parts(groups.iter().map(|group| GroupVersionInfo {
                group_id: group.id.get(),
                version: group.version,
            }));
        Ok(Reply::many(
            Command::NormalGroupListRsp,
            parts
                .into_iter()
                .map(|group_version_list| ImNormalGroupListRsp {
                    user_id: asker.user.get(),
                    group_version_list,
                    attach_data: None,
                }),
        ))
    }

    /// 0x0403: those of the named groups that are newer than what the client holds and of which he
    /// is a member.
    pub(super) async fn group_infos(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGroupInfoListReq>(body) else {
            return Ok(Reply::Silent);
        };
        let named = request.group_version_list.len();
        self.fits(Bound::GroupInfos, named, self.limits().max_group_infos);
        let mut held: Vec<(GroupId, u32)> = request
            .group_version_list
            .iter()
            .filter_map(|held| Some((GroupId::from_wire(held.group_id)?, held.version)))
            .take(self.limits().max_group_infos)
            .collect();
        // Named twice, the older version counts.
        held.sort_unstable();
        held.dedup_by_key(|(group, _)| *group);
        let ids: Vec<GroupId> = held.iter().map(|(group, _)| *group).collect();
        let groups = if ids.is_empty() {
            Vec::new()
        } else {
            self.store.groups(&ids).await?
        };

        let mut infos = Vec::new();
        for group in groups {
            let known = held
                .binary_search_by_key(&group.id, |(group, _)| *group)
                .ok()
                .and_then(|place| held.get(place))
                .map_or(0, |(_, version)| *version);
            if group.version <= known {
                continue;
            }
            let members = self.store.members(group.id).await?;
            if let Some(own) = members.iter().find(|member| member.user == asker.user) {
                infos.push(info(&group, own, &members));
            }
        }
        let parts = self.bounds(asker).parts(infos);
        Ok(Reply::many(
            Command::GroupInfoListRsp,
            parts.into_iter().map(|group_info_list| ImGroupInfoListRsp {
                user_id: asker.user.get(),
                group_info_list,
                attach_data: None,
            }),
        ))
    }

    /// 0x0405: clients make temporary groups only. The creator is a member if he names himself, as
    /// all clients do; users that do not exist are left out.
    pub(super) async fn create_group(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGroupCreateReq>(body) else {
            return Ok(Reply::Silent);
        };
        if request.group_type != i32::from(WireType::Tmp) {
            return Ok(Reply::Silent);
        }
        let made = self.try_create(asker, &request).await?;
        let mut response = ImGroupCreateRsp {
            user_id: asker.user.get(),
            result_code: 1,
            group_name: request.group_name,
            ..ImGroupCreateRsp::default()
        };
        if let Some(made) = made {
            response.result_code = 0;
            response.group_id = Some(made.group.id.get());
            response.user_id_list = numbers(&made.members);
        }
        Ok(Reply::one(Command::GroupCreateRsp, &response))
    }

    async fn try_create(
        &self,
        asker: Asker,
        request: &ImGroupCreateReq,
    ) -> Result<Option<MembersChanged>, QueryError> {
        let limits = self.limits();
        let max_members = self.config.writer.max_group_members;
        let (name, avatar) = (&request.group_name, &request.group_avatar);
        if name.is_empty()
            || !self.fits(
                Bound::GroupName,
                name.len(),
                limits.max_group_name.as_usize(),
            )
            || !self.fits(Bound::Avatar, avatar.len(), limits.max_avatar.as_usize())
        {
            return Ok(None);
        }
        let members = self
            .existing(&request.member_id_list, max_members + 1)
            .await?;
        if members.is_empty() || !self.fits(Bound::GroupMembers, members.len(), max_members) {
            return Ok(None);
        }
        let _turn = self.creating.take(asker.user.get()).await;
        let made = self
            .store
            .groups_created_by(asker.user, GroupType::Temporary)
            .await?;
        if made >= limits.max_groups_per_creator {
            self.metrics.reached(Bound::Groups);
            return Ok(None);
        }
        if !self.may_group(asker.user, &members, true) {
            return Ok(None);
        }
        let group = CreateGroup {
            name: request.group_name.clone(),
            avatar: request.group_avatar.clone(),
            creator: Some(asker.user),
            group_type: GroupType::Temporary,
            members,
            note: None,
        };
        match self.writer.create_group(group).await {
            Ok(made) => {
                self.grouped(asker.user, &made.members, true);
                Ok(Some(made))
            }
            Err(WriterError::Refused(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// 0x0407: the creator may do everything, members of a temporary group may add people and leave.
    /// Everybody concerned is told once, at the place of the change among the messages; the asking
    /// terminal has its answer instead.
    pub(super) async fn change_members(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGroupChangeMemberReq>(body) else {
            return Ok(Reply::Silent);
        };
        let (Some(group), Ok(change_type)) = (
            GroupId::from_wire(request.group_id),
            GroupModifyType::try_from(request.change_type),
        ) else {
            return Ok(Reply::Silent);
        };
        let max = self.limits().max_ids;
        self.fits(Bound::Ids, request.member_id_list.len(), max);
        let (change, users) = match change_type {
            GroupModifyType::Add => (
                MemberChange::Add,
                self.existing(&request.member_id_list, max).await?,
            ),
            GroupModifyType::Del => {
                let ids = request.member_id_list.iter();
                let users = ids.filter_map(|id| UserId::from_wire(*id)).take(max);
                (MemberChange::Remove, users.collect())
            }
        };
        let changed = if users.is_empty() {
            if self.store.groups(&[group]).await?.is_empty() {
                return Ok(Reply::Silent);
            }
            None
        } else {
            if change == MemberChange::Add && !self.may_group(asker.user, &users, false) {
                return Ok(Reply::one(
                    Command::GroupChangeMemberRsp,
                    &refused_change(asker, &request),
                ));
            }
            let notice = move |changed: &MembersChanged| notice(asker, change_type, changed);
            let asked = ChangeMembers {
                group,
                change,
                users,
                by: Some(asker.user),
                notice: Some(Box::new(notice)),
                note: None,
            };
            match self.writer.change_members(asked).await {
                Ok(changed) if changed.changed.is_empty() => None,
                Ok(changed) => {
                    if change == MemberChange::Add {
                        self.grouped(asker.user, &changed.changed, false);
                    }
                    let people = affected(&changed).len();
                    self.metrics.told_members(people, changed.members.len());
                    Some(changed)
                }
                Err(WriterError::Refused(GroupRefusal::NoSuchGroup)) => return Ok(Reply::Silent),
                Err(WriterError::Refused(refusal)) => {
                    if refusal == GroupRefusal::TooLarge {
                        self.metrics.reached(Bound::GroupMembers);
                    }
                    None
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut response = refused_change(asker, &request);
        if let Some(changed) = changed {
            response.result_code = 0;
            response.cur_user_id_list = numbers(&changed.members);
            response.chg_user_id_list = numbers(&changed.changed);
        }
        Ok(Reply::one(Command::GroupChangeMemberRsp, &response))
    }

    /// Whether somebody may make a group, or put others into one, this hour. Being put into groups by
    /// others has a bound of its own, so that a crowd cannot fill anybody's lists.
    fn may_group(&self, by: UserId, members: &[UserId], makes: bool) -> bool {
        let now = Instant::now();
        let limits = self.limits();
        let mut hourly = self.grouping();
        let may = (!makes
            || hourly
                .made
                .has_room(&by, limits.max_groups_made_per_hour, now))
            && members.iter().all(|member| {
                let max = limits.max_groups_joined_per_hour;
                *member == by || hourly.joined.has_room(member, max, now)
            });
        if !may {
            self.metrics.grouping_refused();
        }
        may
    }

    /// Counts what was done.
    fn grouped(&self, by: UserId, members: &[UserId], made: bool) {
        let now = Instant::now();
        let mut hourly = self.grouping();
        if made {
            hourly.made.count(by, now);
        }
        for member in members.iter().filter(|member| **member != by) {
            hourly.joined.count(*member, now);
        }
    }

    fn grouping(&self) -> MutexGuard<'_, Grouping> {
        self.grouping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 0x0409: a member silences the pushes of a group.
    pub(super) async fn shield_group(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGroupShieldReq>(body) else {
            return Ok(Reply::Silent);
        };
        let Some(group) = GroupId::from_wire(request.group_id) else {
            return Ok(Reply::Silent);
        };
        let shielded = request.shield_status != 0;
        let stored = match self.store.member(group, asker.user).await? {
            None => false,
            Some(member) if member.shielded == shielded => true,
            Some(_) => self.store.set_shield(group, asker.user, shielded).await?,
        };
        if !stored && self.store.groups(&[group]).await?.is_empty() {
            return Ok(Reply::Silent);
        }
        Ok(Reply::one(
            Command::GroupShieldRsp,
            &ImGroupShieldRsp {
                user_id: asker.user.get(),
                group_id: request.group_id,
                result_code: u32::from(!stored),
                attach_data: None,
            },
        ))
    }
}

fn refused_change(asker: Asker, request: &ImGroupChangeMemberReq) -> ImGroupChangeMemberRsp {
    ImGroupChangeMemberRsp {
        user_id: asker.user.get(),
        change_type: request.change_type,
        result_code: 1,
        group_id: request.group_id,
        ..ImGroupChangeMemberRsp::default()
    }
}

/// 0x040b to every old and new member, each once.
fn notice(asker: Asker, change: GroupModifyType, changed: &MembersChanged) -> Vec<Publication> {
    if changed.changed.is_empty() {
        return Vec::new();
    }
    let notify = change_notify(asker.user.get(), change, changed);
    vec![to_users(
        affected(changed),
        asker.origin,
        Command::GroupChangeMemberNotify,
        &notify,
    )]
}

/// The notice of a member change by somebody (0 for an administrator).
pub fn change_notify(
    by: u32,
    change: GroupModifyType,
    changed: &MembersChanged,
) -> ImGroupChangeMemberNotify {
    ImGroupChangeMemberNotify {
        user_id: by,
        change_type: change.into(),
        group_id: changed.group.id.get(),
        cur_user_id_list: numbers(&changed.members),
        chg_user_id_list: numbers(&changed.changed),
    }
}

/// Members before or after a change, ascending.
pub fn affected(changed: &MembersChanged) -> Vec<u32> {
    let mut users = numbers(&changed.members);
    users.extend(numbers(&changed.changed));
    users.sort_unstable();
    users.dedup();
    users
}

fn info(group: &GroupRecord, own: &GroupMember, members: &[GroupMember]) -> GroupInfo {
    let group_type = match group.group_type {
        GroupType::Normal => WireType::Normal,
        GroupType::Temporary => WireType::Tmp,
    };
    GroupInfo {
        group_id: group.id.get(),
        version: group.version,
        group_name: group.name.clone(),
        group_avatar: group.avatar.clone(),
        group_creator_id: group.creator.map_or(0, UserId::get),
        group_type: group_type.into(),
        shield_status: own.shielded.into(),
        group_member_list: members.iter().map(|member| member.user.get()).collect(),
    }
}

fn numbers(users: &[UserId]) -> Vec<u32> {
    users.iter().map(|user| user.get()).collect()
}
