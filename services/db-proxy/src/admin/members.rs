//! Groups and their members, listed: a page costs the store a few questions, whatever is on it.

use std::collections::HashMap;

use im_core::{GroupId, UserId};
use im_proto_rpc::v1::{
    GetGroupRequest, GroupList, GroupMemberList, GroupMemberRecord, GroupRecord,
    ListGroupMembersRequest, ListGroupsRequest,
};
use im_store::ListPage;

use super::cursor::{List, Listed, id_of};
use super::groups::{bare_record, group_id, no_group};
use super::pages::{Limits, Page};
use super::{AdminError, AdminService};

/// Groups in one answer: the default, and the most.
const GROUPS: Limits = Limits {
    default: 200,
    most: 1_000,
};

/// Members in one answer: the default, and the most.
const MEMBERS: Limits = Limits {
    default: 100,
    most: 1_000,
};

/// Members of several groups that are read at once, unless one group has more.
const READ_AT_ONCE: u32 = 20_000;

impl AdminService {
    pub(super) async fn groups(&self, request: ListGroupsRequest) -> Result<GroupList, AdminError> {
        let user = match request.user.as_str() {
            "" => None,
            name => Some(self.account(name).await?.id),
        };
        let limit = GROUPS.of(request.limit);
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
        let found = self.store.list_groups(user, &wanted).await?;
        let bare = self.bare_records(&found).await?;
        let mut page = Page::new(limit);
        if request.without_members {
            for record in bare {
                if !page.takes(record.id.into(), record) {
                    break;
                }
            }
        } else {
            self.fill(&mut page, bare).await?;
        }
        let (groups, next) = self.end_page(listed, page);
        Ok(GroupList { groups, next })
    }

    /// Puts groups with their members on a page until it is full.
    async fn fill(
        &self,
        page: &mut Page<GroupRecord>,
        bare: Vec<GroupRecord>,
    ) -> Result<(), AdminError> {
        let mut rest = bare.into_iter().peekable();
        while rest.peek().is_some() {
            let mut read = 0;
            let mut some: Vec<GroupRecord> = Vec::new();
            while let Some(next) = rest.next_if(|next| {
                some.is_empty() || next.member_count.saturating_add(read) <= READ_AT_ONCE
            }) {
                read += next.member_count;
                some.push(next);
            }
            let ids: Vec<GroupId> = some
                .iter()
                .filter_map(|group| GroupId::from_wire(group.id))
                .collect();
            let mut members: HashMap<u32, Vec<String>> = HashMap::new();
            for (group, name) in self.store.group_member_names(&ids).await? {
                members.entry(group.get()).or_default().push(name);
            }
            for group in some {
                let members = members.remove(&group.id).unwrap_or_default();
                let place = group.id.into();
                if !page.takes(place, GroupRecord { members, ..group }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(super) async fn get_group_record(
        &self,
        request: GetGroupRequest,
    ) -> Result<GroupRecord, AdminError> {
        let group = group_id(request.group)?;
        let found = self.store.groups(&[group]).await?;
        let record = self.bare_records(&found).await?.pop();
        record.ok_or_else(|| no_group(group))
    }

    pub(super) async fn list_members(
        &self,
        request: ListGroupMembersRequest,
    ) -> Result<GroupMemberList, AdminError> {
        let group = group_id(request.group)?;
        if self.store.groups(&[group]).await?.is_empty() {
            return Err(no_group(group));
        }
        let number = request.group.to_string();
        let filters = [number.as_str()];
        let listed = Listed {
            list: List::Members,
            filters: &filters,
        };
        let limit = MEMBERS.of(request.limit);
        let after = self.cursors.read(listed, &request.cursor)?;
        let after = after.map_or(0, id_of);
        let mut page = Page::new(limit);
        for member in self
            .store
            .group_members_after(group, after, limit + 1)
            .await?
        {
            let record = GroupMemberRecord {
                id: member.id.get(),
                name: member.name,
                nick: member.nick,
            };
            if !page.takes(record.id.into(), record) {
                break;
            }
        }
        let (members, next) = self.end_page(listed, page);
        Ok(GroupMemberList { members, next })
    }

    /// Groups with the number of their members.
    async fn bare_records(
        &self,
        groups: &[im_store::GroupRecord],
    ) -> Result<Vec<GroupRecord>, AdminError> {
        let ids: Vec<GroupId> = groups.iter().map(|group| group.id).collect();
        let sizes: HashMap<GroupId, u32> =
            self.store.group_sizes(&ids).await?.into_iter().collect();
        let owners: Vec<UserId> = groups.iter().filter_map(|group| group.creator).collect();
        let names = self.names(&owners).await?;
        let records = groups.iter().map(|group| GroupRecord {
            member_count: sizes.get(&group.id).copied().unwrap_or(0),
            ..bare_record(group, &names)
        });
        Ok(records.collect())
    }
}
