//! People: adding, finding, passwords, status.

use std::collections::HashMap;

use im_accounts::names::{Named, Names};
use im_accounts::{ACTIVE, digest_of};
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    AddUserRequest, DirectoryRow, ListUsersRequest, MoveUserRequest, RemoveUserRequest,
    RemovedUser, RenameUserRequest, SetPasswordRequest, SetUserStatusRequest, UserList, UserRecord,
};
use im_store::{DirectoryImport, ImportedUser, MemberChange, UserProfile};
use im_writer::Publication;

use super::cursor::{List, Listed, id_of};
use super::pages::{Limits, Page};
use super::rows::{Rows, STATUSES, status_number, status_word};
use super::sessions::kick_everywhere;
use super::{AdminError, AdminService};

/// People in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 1_000,
    most: 10_000,
};

/// Departments above one another that a path shows.
const MAX_DEPTH: usize = 32;

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
        let name = user.name.clone();
        let _changing = self.changing.lock().await;
        self.free_name(&name).await?;
        self.put(user.clone(), request.dry_run).await?;
        if request.dry_run {
            return Ok(UserRecord {
                id: user.id.unwrap_or(0),
                nick: user.nick.unwrap_or_default(),
                status: status_word(user.status.unwrap_or(ACTIVE)).to_owned(),
                department: user.department.unwrap_or_default().join("/"),
                name,
                sex: user.sex.unwrap_or(0),
                phone: user.phone.unwrap_or_default(),
                email: user.email.unwrap_or_default(),
                domain: user.domain.unwrap_or_default(),
                avatar: user.avatar.unwrap_or_default(),
                signature: user.signature.unwrap_or_default(),
                department_id: 0,
            });
        }
        self.record(self.person(&name).await?).await
    }

    /// Adds or changes one person, or only judges that.
    async fn put(&self, user: ImportedUser, dry_run: bool) -> Result<(), AdminError> {
        let import = DirectoryImport {
            users: vec![user],
            now: UnixSeconds::now(),
        };
        let outcome = if dry_run {
            self.store.rehearse_import(&import).await?
        } else {
            let outcome = self.store.import(&import).await;
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
        let profile = self.person(&request.name).await?;
        let path: Vec<String> = match request.department.trim() {
            "" => Vec::new(),
            wanted => {
                self.tree().await?.find(wanted)?;
                wanted
                    .split('/')
                    .map(|name| name.trim().to_owned())
                    .collect()
            }
        };
        if request.dry_run {
            return self.record(profile).await;
        }
        let moved = ImportedUser {
            name: profile.name.clone(),
            department: Some(path),
            ..ImportedUser::default()
        };
        self.put(moved, false).await?;
        self.record(self.person(&profile.name).await?).await
    }

    /// Refuses a name that somebody has, or that looks like that of somebody else.
    async fn free_name(&self, name: &str) -> Result<(), AdminError> {
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
        self.store.rename_account(profile.id, &name, now).await?;
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
        for group in groups {
            self.change(group.id, MemberChange::Remove, vec![profile.id])
                .await?;
        }
        let _changing = self.changing.lock().await;
        let name = format!("{}#{}", profile.name, profile.id);
        let now = UnixSeconds::now();
        self.store.remove_account(profile.id, &name, now).await?;
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
        if !request.dry_run {
            self.accounts
                .set_password(profile.id, &request.password)
                .await?;
        }
        self.record(profile).await
    }

    /// Whoever is not active any more loses his sessions.
    pub(super) async fn change_status(
        &self,
        request: SetUserStatusRequest,
    ) -> Result<UserRecord, AdminError> {
        let status = status_number(&request.status).ok_or_else(|| {
            AdminError::Invalid(format!(
                "status must be one of {}, is {:?}",
                STATUSES.join(", "),
                request.status
            ))
        })?;
        let mut profile = self.person(&request.name).await?;
        if request.dry_run {
            return self.record(profile).await;
        }
        self.accounts.set_status(profile.id, status).await?;
        if status != ACTIVE {
            self.publisher
                .publish(vec![Publication::Kick(kick_everywhere(profile.id))]);
        }
        profile.status = status;
        self.record(profile).await
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

fn record(profile: UserProfile, departments: &HashMap<u32, (u32, String)>) -> UserRecord {
    UserRecord {
        id: profile.id.get(),
        name: profile.name,
        nick: profile.nick,
        status: status_word(profile.status).to_owned(),
        department: path(profile.department, departments),
        sex: profile.sex,
        phone: profile.phone,
        email: profile.email,
        domain: profile.domain,
        avatar: profile.avatar,
        signature: profile.signature,
        department_id: profile.department,
    }
}

pub(super) fn path(mut id: u32, departments: &HashMap<u32, (u32, String)>) -> String {
    let mut names = Vec::new();
    while let Some((parent, name)) = departments.get(&id)
        && names.len() < MAX_DEPTH
    {
        names.push(name.as_str());
        id = *parent;
    }
    names.reverse();
    names.join("/")
}
