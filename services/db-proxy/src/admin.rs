//! Administration: directory import, people, groups, sessions.
//!
//! Served on a port of its own, to holders of the administrators' secret. Names are login names. Whatever
//! takes the right to log in from somebody ends their sessions at once. Every change names who wants it
//! and leaves one line in the log ([`audit`]).

mod audit;
mod cursor;
mod departments;
mod groups;
mod import;
mod locks;
mod pages;
mod people;
mod rows;
mod sessions;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use im_accounts::{Accounts, HashError, SetPasswordError, names};
use im_config::DbProxyConfig;
use im_core::{Classify as _, ErrorKind, UserId};
use im_proto_rpc::v1::admin_server::Admin;
use im_proto_rpc::v1::{
    AddUserRequest, ChangeGroupMembersRequest, ClearLockReply, ClearLockRequest,
    CreateGroupRequest, DepartmentList, DepartmentRecord, GroupList, GroupRecord, ImportItem,
    ImportProgress, KickReply, KickSessionRequest, ListDepartmentsRequest, ListGroupsRequest,
    ListLocksRequest, ListRefusalsRequest, ListSessionsRequest, ListUsersRequest, LockList,
    MoveDepartmentRequest, MoveUserRequest, RefusalList, RemoveDepartmentRequest,
    RemoveGroupRequest, RemoveUserRequest, RemovedUser, RenameDepartmentRequest,
    RenameGroupRequest, RenameUserRequest, SessionsReply, SetGroupOwnerRequest, SetPasswordRequest,
    SetUserStatusRequest, UserList, UserRecord,
};
use im_rpc::Secret;
use im_store::{Store, StoreError, UserProfile};
use im_writer::{Context, GroupRefusal, ListError, Publisher, WriterError, WriterHandle};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};
use tracing::error;

use self::audit::Entry;
use self::cursor::Cursors;

/// The service `im.v1.Admin`.
pub(crate) struct AdminService {
    store: Arc<dyn Store>,
    writer: WriterHandle,
    publisher: Publisher,
    accounts: Arc<Accounts>,
    config: Arc<DbProxyConfig>,
    /// One change of names at a time: what was found free stays so until it is taken.
    changing: Arc<Mutex<()>>,
    cursors: Cursors,
}

/// Why an administrator does not get what they asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Exists(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("too many passwords are being hashed, try again")]
    Hash(#[from] HashError),
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the group was not changed")]
    Writer(#[from] WriterError),
    #[error("sessions are not known")]
    Sessions(#[from] ListError),
}

impl From<SetPasswordError> for AdminError {
    fn from(error: SetPasswordError) -> Self {
        match error {
            SetPasswordError::Hash(error) => Self::Hash(error),
            SetPasswordError::Store(error) => Self::Store(error),
        }
    }
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        match &error {
            AdminError::Invalid(text) => Self::invalid_argument(text),
            AdminError::NotFound(text) => Self::not_found(text),
            AdminError::Exists(text) => Self::already_exists(text),
            AdminError::Refused(text) => Self::failed_precondition(text),
            AdminError::Unavailable(text) => Self::unavailable(text),
            AdminError::Hash(_) => Self::resource_exhausted(error.to_string()),
            AdminError::Store(cause) | AdminError::Writer(WriterError::Store(cause)) => {
                error!(error = %cause, "administration failed");
                of_kind(cause.kind(), &cause.to_string())
            }
            AdminError::Writer(WriterError::Stopping) => {
                Self::unavailable("the server is stopping")
            }
            AdminError::Writer(WriterError::Refused(refusal)) => match refusal {
                GroupRefusal::NoSuchGroup => Self::not_found("there is no such group"),
                GroupRefusal::NotAllowed => Self::permission_denied("this is not allowed"),
                GroupRefusal::NothingToAdd => {
                    Self::failed_precondition("all of them are members already")
                }
                GroupRefusal::TooLarge => {
                    Self::failed_precondition("the group would have too many members")
                }
            },
            AdminError::Sessions(cause) => Self::unavailable(format!("cannot {cause}")),
        }
    }
}

fn of_kind(kind: ErrorKind, text: &str) -> Status {
    let text = format!("cannot {text}");
    match kind {
        ErrorKind::Invalid => Status::invalid_argument(text),
        ErrorKind::NotFound => Status::not_found(text),
        ErrorKind::Denied => Status::permission_denied(text),
        ErrorKind::Conflict => Status::aborted(text),
        ErrorKind::Exhausted => Status::resource_exhausted(text),
        ErrorKind::Unavailable => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

impl AdminService {
    /// Works with the context and the accounts that logins are checked against; `secret` is the
    /// administrators'.
    pub(crate) fn new(context: &Context, accounts: Arc<Accounts>, secret: &Secret) -> Self {
        Self {
            store: Arc::clone(&context.store),
            writer: context.writer.clone(),
            publisher: context.publisher.clone(),
            accounts,
            config: Arc::clone(&context.config),
            changing: Arc::default(),
            cursors: Cursors::new(secret),
        }
    }

    /// Who has a login name: exactly this one, or as logins compare.
    async fn person(&self, name: &str) -> Result<UserProfile, AdminError> {
        let canonical = names::canonical(name);
        let decomposed = names::decomposed(&canonical);
        let forms = [Some(name), Some(canonical.as_ref()), decomposed.as_deref()];
        for name in forms.into_iter().flatten() {
            if let Some(profile) = self.store.profile_by_name(name).await? {
                return Ok(profile);
            }
        }
        Err(AdminError::NotFound(format!("there is no user {name:?}")))
    }

    /// Login names by id; ids that nobody has are missing.
    async fn names(
        &self,
        ids: &[UserId],
    ) -> Result<std::collections::HashMap<UserId, String>, AdminError> {
        if ids.is_empty() {
            return Ok(std::collections::HashMap::new());
        }
        let profiles = self.store.profiles(ids).await?;
        Ok(profiles
            .into_iter()
            .map(|profile| (profile.id, profile.name))
            .collect())
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    type ImportDirectoryStream =
        Pin<Box<dyn Stream<Item = Result<ImportProgress, Status>> + Send + 'static>>;

    async fn import_directory(
        &self,
        request: Request<Streaming<ImportItem>>,
    ) -> Result<Response<Self::ImportDirectoryStream>, Status> {
        let entry = Entry::of(&request, "ImportDirectory")?;
        let told = self.import(request.into_inner(), entry);
        Ok(Response::new(Box::pin(told)))
    }

    async fn add_user(
        &self,
        request: Request<AddUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.add_person(request.into_inner()).await)
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<UserList>, Status> {
        Ok(Response::new(self.list_people(request.into_inner()).await?))
    }

    async fn rename_user(
        &self,
        request: Request<RenameUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.rename_person(request.into_inner()).await)
    }

    async fn move_user(
        &self,
        request: Request<MoveUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.move_person(request.into_inner()).await)
    }

    async fn remove_user(
        &self,
        request: Request<RemoveUserRequest>,
    ) -> Result<Response<RemovedUser>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.remove_person(request.into_inner()).await)
    }

    async fn list_refusals(
        &self,
        request: Request<ListRefusalsRequest>,
    ) -> Result<Response<RefusalList>, Status> {
        Ok(Response::new(self.refusals(&request.into_inner().name)))
    }

    async fn set_password(
        &self,
        request: Request<SetPasswordRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.change_password(request.into_inner()).await)
    }

    async fn set_user_status(
        &self,
        request: Request<SetUserStatusRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.change_status(request.into_inner()).await)
    }

    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.make_group(request.into_inner()).await)
    }

    async fn change_group_members(
        &self,
        request: Request<ChangeGroupMembersRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.change_group(request.into_inner()).await)
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<GroupList>, Status> {
        Ok(Response::new(self.groups(request.into_inner()).await?))
    }

    async fn rename_group(
        &self,
        request: Request<RenameGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.rename_a_group(request.into_inner()).await)
    }

    async fn set_group_owner(
        &self,
        request: Request<SetGroupOwnerRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.give_a_group(request.into_inner()).await)
    }

    async fn remove_group(
        &self,
        request: Request<RemoveGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.remove_a_group(request.into_inner()).await)
    }

    async fn list_departments(
        &self,
        request: Request<ListDepartmentsRequest>,
    ) -> Result<Response<DepartmentList>, Status> {
        let list = self.list_tree(request.into_inner()).await?;
        Ok(Response::new(list))
    }

    async fn rename_department(
        &self,
        request: Request<RenameDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.rename_a_department(request.into_inner()).await)
    }

    async fn move_department(
        &self,
        request: Request<MoveDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.move_a_department(request.into_inner()).await)
    }

    async fn remove_department(
        &self,
        request: Request<RemoveDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.remove_a_department(request.into_inner()).await)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<SessionsReply>, Status> {
        Ok(Response::new(self.sessions(request.into_inner()).await?))
    }

    async fn kick_session(
        &self,
        request: Request<KickSessionRequest>,
    ) -> Result<Response<KickReply>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.kick(request.into_inner()).await)
    }

    async fn list_locks(
        &self,
        request: Request<ListLocksRequest>,
    ) -> Result<Response<LockList>, Status> {
        Ok(Response::new(self.locks(request.into_inner()).await?))
    }

    async fn clear_lock(
        &self,
        request: Request<ClearLockRequest>,
    ) -> Result<Response<ClearLockReply>, Status> {
        let entry = Entry::begin(&request)?;
        entry.end(self.unlock(request.into_inner()).await)
    }

    async fn get_user(
        &self,
        _request: Request<im_proto_rpc::v1::GetUserRequest>,
    ) -> Result<Response<im_proto_rpc::v1::UserRecord>, Status> {
        Err(Status::unimplemented("get_user"))
    }

    async fn find_users(
        &self,
        _request: Request<im_proto_rpc::v1::FindUsersRequest>,
    ) -> Result<Response<im_proto_rpc::v1::UserList>, Status> {
        Err(Status::unimplemented("find_users"))
    }

    async fn update_user(
        &self,
        _request: Request<im_proto_rpc::v1::UpdateUserRequest>,
    ) -> Result<Response<im_proto_rpc::v1::UserRecord>, Status> {
        Err(Status::unimplemented("update_user"))
    }

    async fn get_group(
        &self,
        _request: Request<im_proto_rpc::v1::GetGroupRequest>,
    ) -> Result<Response<im_proto_rpc::v1::GroupRecord>, Status> {
        Err(Status::unimplemented("get_group"))
    }

    async fn list_group_members(
        &self,
        _request: Request<im_proto_rpc::v1::ListGroupMembersRequest>,
    ) -> Result<Response<im_proto_rpc::v1::GroupMemberList>, Status> {
        Err(Status::unimplemented("list_group_members"))
    }

    async fn create_department(
        &self,
        _request: Request<im_proto_rpc::v1::CreateDepartmentRequest>,
    ) -> Result<Response<im_proto_rpc::v1::DepartmentRecord>, Status> {
        Err(Status::unimplemented("create_department"))
    }

    async fn create_token(
        &self,
        _request: Request<im_proto_rpc::v1::CreateTokenRequest>,
    ) -> Result<Response<im_proto_rpc::v1::CreatedToken>, Status> {
        Err(Status::unimplemented("create_token"))
    }

    async fn list_tokens(
        &self,
        _request: Request<im_proto_rpc::v1::ListTokensRequest>,
    ) -> Result<Response<im_proto_rpc::v1::TokenList>, Status> {
        Err(Status::unimplemented("list_tokens"))
    }

    async fn revoke_token(
        &self,
        _request: Request<im_proto_rpc::v1::RevokeTokenRequest>,
    ) -> Result<Response<im_proto_rpc::v1::TokenRecord>, Status> {
        Err(Status::unimplemented("revoke_token"))
    }

    async fn look_up_token(
        &self,
        _request: Request<im_proto_rpc::v1::LookUpTokenRequest>,
    ) -> Result<Response<im_proto_rpc::v1::TokenGrant>, Status> {
        Err(Status::unimplemented("look_up_token"))
    }

    async fn note_token_use(
        &self,
        _request: Request<im_proto_rpc::v1::NoteTokenUseRequest>,
    ) -> Result<Response<im_proto_rpc::v1::NoteTokenUseReply>, Status> {
        Err(Status::unimplemented("note_token_use"))
    }

    async fn list_audit(
        &self,
        _request: Request<im_proto_rpc::v1::ListAuditRequest>,
    ) -> Result<Response<im_proto_rpc::v1::AuditList>, Status> {
        Err(Status::unimplemented("list_audit"))
    }

    async fn verify_audit(
        &self,
        _request: Request<im_proto_rpc::v1::VerifyAuditRequest>,
    ) -> Result<Response<im_proto_rpc::v1::AuditVerdict>, Status> {
        Err(Status::unimplemented("verify_audit"))
    }

    async fn report_refusal(
        &self,
        _request: Request<im_proto_rpc::v1::ReportRefusalRequest>,
    ) -> Result<Response<im_proto_rpc::v1::ReportRefusalReply>, Status> {
        Err(Status::unimplemented("report_refusal"))
    }

    async fn list_messages(
        &self,
        _request: Request<im_proto_rpc::v1::ListMessagesRequest>,
    ) -> Result<Response<im_proto_rpc::v1::MessageList>, Status> {
        Err(Status::unimplemented("list_messages"))
    }

    async fn get_message(
        &self,
        _request: Request<im_proto_rpc::v1::GetMessageRequest>,
    ) -> Result<Response<im_proto_rpc::v1::MessageRecord>, Status> {
        Err(Status::unimplemented("get_message"))
    }

    async fn send_message(
        &self,
        _request: Request<im_proto_rpc::v1::SendMessageRequest>,
    ) -> Result<Response<im_proto_rpc::v1::MessageRecord>, Status> {
        Err(Status::unimplemented("send_message"))
    }
}

#[cfg(test)]
mod tests;
