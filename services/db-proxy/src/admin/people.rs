//! People: adding, finding, passwords, status.

use std::collections::HashMap;

use im_accounts::names::{Named, Names};
use im_accounts::{ACTIVE, digest_of};
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    AddUserRequest, DirectoryRow, ListUsersRequest, MoveUserRequest, RemoveUserRequest,
    RemovedUser, RenameUserRequest, SetPasswordRequest, SetUserStatusRequest, UserList, UserRecord,
};
use im_store::{DirectoryImport, ImportedUser, UserProfile};
use im_writer::Publication;
use serde_json::{Map, Value, json};

use super::cursor::{List, Listed, id_of};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::records::{fields, record, would_be};
use super::rows::{Rows, status_of, status_word};
use super::sessions::kick_everywhere;
use super::{AdminError, AdminService};

/// People in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 1_000,
    most: 10_000,
};

/// The status of whoever was taken out.
pub(super) const LEFT: u32 = 3;

impl AdminService {
    pub(super) async fn add_person(
        &self,
        request: AddUserRequest,
    ) -> Result<UserRecord, AdminError> {
        let row = request.user.unwrap_or_default();
        let mut rows = Rows::new(&self.config.accounts, &self.config.answers);
        rows.push(row);
        if let Some(error) = rows.errors.first() {
            return Err(AdminError::Invalid(error.message.clone()));
        }
        let Some(mut line) = rows.lines.pop() else {
            return Err(AdminError::Invalid("the user is missing".to_owned()));
        };
        self.free_name(&line.user.name).await?;
        if request.dry_run {
            line.user.hash = Some("new".to_owned());
        } else if let Some(password) = line.password.take() {
            line.user.hash = Some(self.accounts.pool().make(digest_of(&password)).await?);
        }
        let user = line.user;
        let would_be = would_be(&user);
        let name = user.name.clone();
        let _changing = self.changing.lock().await;
        self.free_name(&name).await?;
        let after: Map<String, Value> = fields(&would_be)
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let changed = Changed::of(format!("user {name}"))
            .after(after.into())
            .answer(&would_be);
        self.put(user, request.dry_run, changed).await?;
        if request.dry_run {
            return Ok(would_be);
        }
        self.record(self.person(&name).await?).await
    }

    /// Adds or changes one person, or only judges that.
    pub(super) async fn put(
        &self,
        user: ImportedUser,
        dry_run: bool,
        changed: Changed,
    ) -> Result<(), AdminError> {
        let import = DirectoryImport {
            users: vec![user],
            now: UnixSeconds::now(),
        };
        let outcome = if dry_run {
            self.store.rehearse_import(&import).await?
        } else {
            let outcome = self.noting(changed).import(&import).await;
            self.accounts.forget_everybody();
            outcome?
        };
        match outcome.conflicts.into_iter().next() {
            Some((_, reason)) => Err(AdminError::Exists(reason)),
            None => Ok(()),
        }
    }

    /// Only into a department that exists: a path that was typed wrong makes none.
    pub(super) async fn move_person(
        &self,
        request: MoveUserRequest,
    ) -> Result<UserRecord, AdminError> {
        // Nobody gives them another name meanwhile.
        let _changing = self.changing.lock().await;
        let profile = self.person(&request.name).await?;
        let (into, path): (u32, Vec<String>) = match request.department.trim() {
            "" => (0, Vec::new()),
            wanted => {
                let id = self.tree().await?.find(wanted)?;
                let names = wanted.split('/').map(|name| name.trim().to_owned());
                (id, names.collect())
            }
        };
        if request.dry_run {
            return self.record(profile).await;
        }
        let was = self.record(profile.clone()).await?;
        let is = UserRecord {
            department: path.join("/"),
            department_id: into,
            ..was.clone()
        };
        let changed = Changed::of(format!("user {}", profile.name))
            .before(json!({ "department": was.department }))
            .after(json!({ "department": is.department }))
            .answer(&is);
        let moved = ImportedUser {
            id: Some(profile.id.get()),
            name: profile.name.clone(),
            department: Some(path),
            ..ImportedUser::default()
        };
        self.put(moved, false, changed).await?;
        self.record(self.person(&profile.name).await?).await
    }

    /// Refuses a name that somebody has, or that looks like that of somebody else.
    pub(super) async fn free_name(&self, name: &str) -> Result<(), AdminError> {
        match Names::of(self.store.login_names().await?).judge(name) {
            Named::New => Ok(()),
            Named::Known(stored) => Err(AdminError::Exists(format!(
                "there is a user {stored:?} already"
            ))),
            Named::Taken(why) => Err(AdminError::Exists(why)),
        }
    }

    pub(super) async fn rename_person(
        &self,
        request: RenameUserRequest,
    ) -> Result<UserRecord, AdminError> {
        let profile = self.person(&request.name).await?;
        let mut rows = Rows::new(&self.config.accounts, &self.config.answers);
        rows.push(DirectoryRow {
            name: request.new_name,
            ..DirectoryRow::default()
        });
        if let Some(error) = rows.errors.first() {
            return Err(AdminError::Invalid(error.message.clone()));
        }
        let name = rows.lines.pop().map(|line| line.user.name);
        let name = name.ok_or_else(|| AdminError::Invalid("the name is missing".to_owned()))?;
        let _changing = self.changing.lock().await;
        let others = self.store.login_names().await?;
        // Whoever changes only the case of their name is nobody else.
        let others = others.into_iter().filter(|(id, _)| *id != profile.id);
        match Names::of(others.collect()).judge(&name) {
            Named::New => {}
            Named::Known(stored) => {
                return Err(AdminError::Exists(format!(
                    "there is a user {stored:?} already"
                )));
            }
            Named::Taken(why) => return Err(AdminError::Exists(why)),
        }
        if request.dry_run {
            return self.record(profile).await;
        }
        let now = UnixSeconds::now();
        let was = self.record(profile.clone()).await?;
        let is = UserRecord {
            name: name.clone(),
            ..was.clone()
        };
        let changed = Changed::of(format!("user {}", was.name))
            .before(json!({ "name": was.name }))
            .after(json!({ "name": name }))
            .answer(&is);
        let store = self.noting(changed);
        store.rename_account(profile.id, &name, now).await?;
        self.accounts.forget(profile.id);
        self.record(self.person(&name).await?).await
    }

    /// The name becomes `name#id`, so that somebody else can have it; groups lose the member.
    pub(super) async fn remove_person(
        &self,
        request: RemoveUserRequest,
    ) -> Result<RemovedUser, AdminError> {
        let profile = self.person(&request.name).await?;
        let groups = self.store.groups_of(Some(profile.id)).await?;
        let ids: Vec<u32> = groups.iter().map(|group| group.id.get()).collect();
        if request.dry_run {
            let user = Some(self.record(profile).await?);
            return Ok(RemovedUser { user, groups: ids });
        }
        self.leave_groups(profile.id, &profile.name).await?;
        let _changing = self.changing.lock().await;
        let name = format!("{}#{}", profile.name, profile.id);
        let now = UnixSeconds::now();
        let was = self.record(profile.clone()).await?;
        let is = RemovedUser {
            user: Some(UserRecord {
                name: name.clone(),
                status: status_word(LEFT).to_owned(),
                phone: String::new(),
                email: String::new(),
                signature: String::new(),
                ..was.clone()
            }),
            // There may be very many of them.
            groups: Vec::new(),
        };
        let changed = Changed::of(format!("user {}", was.name))
            .before(json!({ "name": was.name, "status": was.status }))
            .after(json!({ "name": name, "status": status_word(LEFT) }))
            .answer(&is);
        let store = self.noting(changed);
        store.remove_account(profile.id, &name, now).await?;
        self.accounts.forget(profile.id);
        self.publisher
            .publish(vec![Publication::Kick(kick_everywhere(profile.id))]);
        let user = Some(self.record(self.person(&name).await?).await?);
        Ok(RemovedUser { user, groups: ids })
    }

    pub(super) async fn list_people(
        &self,
        request: ListUsersRequest,
    ) -> Result<UserList, AdminError> {
        let limit = LIMITS.of(request.limit);
        let filters = [request.matching.as_str()];
        let listed = Listed {
            list: List::Users,
            filters: &filters,
        };
        let after = self.cursors.read(listed, &request.cursor)?;
        let profiles = self
            .store
            .find_profiles(&request.matching, after.map_or(0, id_of), limit + 1)
            .await?;
        let departments = self.departments().await?;
        let mut page = Page::new(limit);
        for profile in profiles {
            let place = profile.id.get().into();
            if !page.takes(place, record(profile, &departments)) {
                break;
            }
        }
        let (users, next) = self.end_page(listed, page);
        Ok(UserList { users, next })
    }

    pub(super) async fn change_password(
        &self,
        request: SetPasswordRequest,
    ) -> Result<UserRecord, AdminError> {
        if request.password.is_empty() {
            return Err(AdminError::Invalid("the password is empty".to_owned()));
        }
        let profile = self.person(&request.name).await?;
        let record = self.record(profile).await?;
        if !request.dry_run {
            let changed = Changed::of(format!("user {}", record.name))
                .after(json!({ "password": "set" }))
                .answer(&record);
            let store = self.noting(changed);
            let Some(user) = UserId::from_wire(record.id) else {
                return Err(AdminError::NotFound("there is no such user".to_owned()));
            };
            self.accounts
                .set_password(store.as_ref(), user, &request.password)
                .await?;
        }
        Ok(record)
    }

    /// Whoever is not active any more loses his sessions.
    pub(super) async fn change_status(
        &self,
        request: SetUserStatusRequest,
    ) -> Result<UserRecord, AdminError> {
        let status = status_of(&request.status)?;
        let profile = self.person(&request.name).await?;
        let user = profile.id;
        let was = self.record(profile).await?;
        if request.dry_run {
            return Ok(was);
        }
        let is = UserRecord {
            status: request.status,
            ..was.clone()
        };
        let changed = Changed::of(format!("user {}", was.name))
            .before(json!({ "status": was.status }))
            .after(json!({ "status": is.status }))
            .answer(&is);
        let store = self.noting(changed);
        self.accounts
            .set_status(store.as_ref(), user, status)
            .await?;
        if status != ACTIVE {
            self.publisher
                .publish(vec![Publication::Kick(kick_everywhere(user))]);
        }
        Ok(is)
    }

    async fn record(&self, profile: UserProfile) -> Result<UserRecord, AdminError> {
        Ok(record(profile, &self.departments().await?))
    }

    /// All that there ever were, by id: parent and name.
    pub(super) async fn departments(&self) -> Result<HashMap<u32, (u32, String)>, AdminError> {
        let records = self.store.departments_since(UnixSeconds::EPOCH).await?;
        Ok(records
            .into_iter()
            .map(|record| (record.id, (record.parent, record.name)))
            .collect())
    }
}
