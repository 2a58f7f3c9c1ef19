//! The service's calls: each is passed on to where its subject is.

use std::pin::Pin;

use futures::Stream;
use im_proto_rpc::v1::admin_server::Admin;
use im_proto_rpc::v1::{
    AddUserRequest, AuditList, AuditVerdict, ChangeGroupMembersRequest, ClearLockReply,
    ClearLockRequest, CreateDepartmentRequest, CreateGroupRequest, CreateTokenRequest,
    CreatedToken, DepartmentList, DepartmentRecord, FindUsersRequest, GetGroupRequest,
    GetMessageRequest, GetUserRequest, GroupList, GroupMemberList, GroupRecord, ImportItem,
    ImportProgress, KickReply, KickSessionRequest, ListAuditRequest, ListDepartmentsRequest,
    ListGroupMembersRequest, ListGroupsRequest, ListLocksRequest, ListMessagesRequest,
    ListRefusalsRequest, ListSessionsRequest, ListTokensRequest, ListUsersRequest, LockList,
    LookUpTokenRequest, MessageList, MessageRecord, MoveDepartmentRequest, MoveUserRequest,
    NameUsersRequest, NoteTokenUseReply, NoteTokenUseRequest, OperateServerReply,
    OperateServerRequest, RefusalList, RemoveDepartmentRequest, RemoveGroupRequest,
    RemoveUserRequest, RemovedUser, RenameDepartmentRequest, RenameGroupRequest, RenameUserRequest,
    ReportRefusalReply, ReportRefusalRequest, RevokeTokenRequest, SendMessageRequest,
    SessionsReply, SetGroupOwnerRequest, SetPasswordRequest, SetUserStatusRequest, TokenGrant,
    TokenList, TokenRecord, UpdateUserRequest, UserList, UserNames, UserRecord, VerifyAuditRequest,
};
use tonic::{Request, Response, Status, Streaming};

use super::AdminService;
use super::audit::Entry;
use super::import::IMPORT;

#[tonic::async_trait]
impl Admin for AdminService {
    type ImportDirectoryStream =
        Pin<Box<dyn Stream<Item = Result<ImportProgress, Status>> + Send + 'static>>;

    async fn import_directory(
        &self,
        request: Request<Streaming<ImportItem>>,
    ) -> Result<Response<Self::ImportDirectoryStream>, Status> {
        let entry = Entry::of(&request, IMPORT)?;
        let told = self.import(request.into_inner(), entry);
        Ok(Response::new(Box::pin(told)))
    }

    async fn list_refusals(
        &self,
        request: Request<ListRefusalsRequest>,
    ) -> Result<Response<RefusalList>, Status> {
        Ok(Response::new(self.refusals(&request.into_inner().name)))
    }

    async fn report_refusal(
        &self,
        request: Request<ReportRefusalRequest>,
    ) -> Result<Response<ReportRefusalReply>, Status> {
        self.refused(request).await.map(Response::new)
    }

    async fn add_user(
        &self,
        request: Request<AddUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let work = |admin: Self, it| async move { admin.add_person(it).await };
        self.administer(request, work).await
    }

    async fn rename_user(
        &self,
        request: Request<RenameUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let work = |admin: Self, it| async move { admin.rename_person(it).await };
        self.administer(request, work).await
    }

    async fn move_user(
        &self,
        request: Request<MoveUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let work = |admin: Self, it| async move { admin.move_person(it).await };
        self.administer(request, work).await
    }

    async fn update_user(
        &self,
        request: Request<UpdateUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let work = |admin: Self, it| async move { admin.update_person(it).await };
        self.administer(request, work).await
    }

    async fn remove_user(
        &self,
        request: Request<RemoveUserRequest>,
    ) -> Result<Response<RemovedUser>, Status> {
        let work = |admin: Self, it| async move { admin.remove_person(it).await };
        self.administer(request, work).await
    }

    async fn set_password(
        &self,
        request: Request<SetPasswordRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let work = |admin: Self, it| async move { admin.change_password(it).await };
        self.administer(request, work).await
    }

    async fn set_user_status(
        &self,
        request: Request<SetUserStatusRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        let work = |admin: Self, it| async move { admin.change_status(it).await };
        self.administer(request, work).await
    }

    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let work = |admin: Self, it| async move { admin.make_group(it).await };
        self.administer(request, work).await
    }

    async fn change_group_members(
        &self,
        request: Request<ChangeGroupMembersRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let work = |admin: Self, it| async move { admin.change_group(it).await };
        self.administer(request, work).await
    }

    async fn rename_group(
        &self,
        request: Request<RenameGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let work = |admin: Self, it| async move { admin.rename_a_group(it).await };
        self.administer(request, work).await
    }

    async fn set_group_owner(
        &self,
        request: Request<SetGroupOwnerRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let work = |admin: Self, it| async move { admin.give_a_group(it).await };
        self.administer(request, work).await
    }

    async fn remove_group(
        &self,
        request: Request<RemoveGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        let work = |admin: Self, it| async move { admin.remove_a_group(it).await };
        self.administer(request, work).await
    }

    async fn create_department(
        &self,
        request: Request<CreateDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let work = |admin: Self, it| async move { admin.make_department(it).await };
        self.administer(request, work).await
    }

    async fn rename_department(
        &self,
        request: Request<RenameDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let work = |admin: Self, it| async move { admin.rename_a_department(it).await };
        self.administer(request, work).await
    }

    async fn move_department(
        &self,
        request: Request<MoveDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let work = |admin: Self, it| async move { admin.move_a_department(it).await };
        self.administer(request, work).await
    }

    async fn remove_department(
        &self,
        request: Request<RemoveDepartmentRequest>,
    ) -> Result<Response<DepartmentRecord>, Status> {
        let work = |admin: Self, it| async move { admin.remove_a_department(it).await };
        self.administer(request, work).await
    }

    async fn kick_session(
        &self,
        request: Request<KickSessionRequest>,
    ) -> Result<Response<KickReply>, Status> {
        let work = |admin: Self, it| async move { admin.kick(it).await };
        self.administer(request, work).await
    }

    async fn name_users(
        &self,
        request: Request<NameUsersRequest>,
    ) -> Result<Response<UserNames>, Status> {
        Ok(Response::new(self.name_people(request.into_inner()).await?))
    }

    async fn operate_server(
        &self,
        request: Request<OperateServerRequest>,
    ) -> Result<Response<OperateServerReply>, Status> {
        let work = |admin: Self, it| async move { admin.operate(it).await };
        self.administer(request, work).await
    }

    async fn clear_lock(
        &self,
        request: Request<ClearLockRequest>,
    ) -> Result<Response<ClearLockReply>, Status> {
        let work = |admin: Self, it| async move { admin.unlock(it).await };
        self.administer(request, work).await
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreatedToken>, Status> {
        let work = |admin: Self, it| async move { admin.make_token(it).await };
        self.administer(request, work).await
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<TokenRecord>, Status> {
        let work = |admin: Self, it| async move { admin.end_token(it).await };
        self.administer(request, work).await
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<UserList>, Status> {
        Ok(Response::new(self.list_people(request.into_inner()).await?))
    }

    async fn get_user(
        &self,
        request: Request<GetUserRequest>,
    ) -> Result<Response<UserRecord>, Status> {
        Ok(Response::new(self.get_person(request.into_inner()).await?))
    }

    async fn find_users(
        &self,
        request: Request<FindUsersRequest>,
    ) -> Result<Response<UserList>, Status> {
        Ok(Response::new(self.find_people(request.into_inner()).await?))
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<GroupList>, Status> {
        Ok(Response::new(self.groups(request.into_inner()).await?))
    }

    async fn get_group(
        &self,
        request: Request<GetGroupRequest>,
    ) -> Result<Response<GroupRecord>, Status> {
        Ok(Response::new(
            self.get_group_record(request.into_inner()).await?,
        ))
    }

    async fn list_group_members(
        &self,
        request: Request<ListGroupMembersRequest>,
    ) -> Result<Response<GroupMemberList>, Status> {
        Ok(Response::new(
            self.list_members(request.into_inner()).await?,
        ))
    }

    async fn list_departments(
        &self,
        request: Request<ListDepartmentsRequest>,
    ) -> Result<Response<DepartmentList>, Status> {
        Ok(Response::new(self.list_tree(request.into_inner()).await?))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<SessionsReply>, Status> {
        Ok(Response::new(self.sessions(request.into_inner()).await?))
    }

    async fn list_locks(
        &self,
        request: Request<ListLocksRequest>,
    ) -> Result<Response<LockList>, Status> {
        Ok(Response::new(self.locks(request.into_inner()).await?))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<TokenList>, Status> {
        Ok(Response::new(
            self.list_all_tokens(request.into_inner()).await?,
        ))
    }

    async fn look_up_token(
        &self,
        request: Request<LookUpTokenRequest>,
    ) -> Result<Response<TokenGrant>, Status> {
        Ok(Response::new(self.grant(request.into_inner()).await?))
    }

    async fn note_token_use(
        &self,
        request: Request<NoteTokenUseRequest>,
    ) -> Result<Response<NoteTokenUseReply>, Status> {
        Ok(Response::new(self.note_use(request.into_inner()).await?))
    }

    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<AuditList>, Status> {
        Ok(Response::new(self.list_trail(request.into_inner()).await?))
    }

    async fn verify_audit(
        &self,
        request: Request<VerifyAuditRequest>,
    ) -> Result<Response<AuditVerdict>, Status> {
        Ok(Response::new(
            self.verify_trail(request.into_inner()).await?,
        ))
    }

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<MessageRecord>, Status> {
        let work = |admin: Self, it| async move { admin.send_message_of(it).await };
        self.administer(request, work).await
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<MessageList>, Status> {
        Ok(Response::new(
            self.list_messages_of(request.into_inner()).await?,
        ))
    }

    async fn get_message(
        &self,
        request: Request<GetMessageRequest>,
    ) -> Result<Response<MessageRecord>, Status> {
        Ok(Response::new(self.message(request.into_inner()).await?))
    }
}
