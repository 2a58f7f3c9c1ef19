//! People found by login name, at a cost that does not depend on how many come before.

use im_proto_rpc::v1::{FindUsersRequest, GetUserRequest, UserList, UserRecord};
use im_store::PeopleQuery;

use super::cursor::{List, Listed};
use super::pages::{Limits, Page};
use super::records::record;
use super::rows::status_of;
use super::{AdminError, AdminService};

/// People in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 1_000,
};

impl AdminService {
    pub(super) async fn get_person(
        &self,
        request: GetUserRequest,
    ) -> Result<UserRecord, AdminError> {
        let GetUserRequest {
            name,
            id,
            any_account,
        } = request;
        let profile = if any_account {
            self.account_or_id(&name, id).await?
        } else {
            self.person_or_id(&name, id).await?
        };
        Ok(record(profile, &self.departments().await?))
    }

    /// A removed department has nobody.
    pub(super) async fn find_people(
        &self,
        request: FindUsersRequest,
    ) -> Result<UserList, AdminError> {
        let department = match (request.department.as_str(), request.department_id) {
            ("", 0) => None,
            (path, 0) => Some(self.tree().await?.find(path)?),
            (_, id) => Some(id),
        };
        let status = match request.status.as_str() {
            "" => None,
            word => Some(status_of(word)?),
        };
        let id = request.department_id.to_string();
        let filters = [
            request.prefix.as_str(),
            request.department.as_str(),
            id.as_str(),
            request.status.as_str(),
        ];
        let listed = Listed {
            list: List::Names,
            filters: &filters,
        };
        let limit = LIMITS.of(request.limit);
        let query = PeopleQuery {
            prefix: request.prefix.clone(),
            department,
            status,
            after: self.cursors.read_at(listed, &request.cursor)?,
            limit: limit + 1,
        };
        let found = self.store.people_by_name(&query).await?;
        let departments = self.departments().await?;
        let mut page = Page::new(limit);
        for (place, profile) in (0..).zip(found) {
            if !page.takes(place, record(profile, &departments)) {
                break;
            }
        }
        let (users, is_cut) = page.into_rows();
        let next = match users.last() {
            Some(last) if is_cut => self.cursors.make_at(listed, &last.name),
            _ => String::new(),
        };
        Ok(UserList { users, next })
    }
}
