//! Who changes what: one line in the log per change, whatever comes of it.

use im_proto_rpc::v1::{
    AddUserRequest, CancelAnnouncementRequest, ChangeGroupMembersRequest, ClearLockRequest,
    CreateAnnouncementRequest, CreateBotRequest, CreateDepartmentRequest,
    CreateDiscoveryItemRequest, CreateGroupRequest, CreateIncomingHookRequest,
    CreateSubscriptionRequest, CreateTokenRequest, DeliverAgainRequest, KickSessionRequest,
    MoveDepartmentRequest, MoveUserRequest, OperateServerRequest, PostIncomingHookRequest,
    RemoveBotRequest, RemoveDepartmentRequest, RemoveDiscoveryItemRequest, RemoveGroupRequest,
    RemoveIncomingHookRequest, RemovePushTargetRequest, RemoveSubscriptionRequest,
    RemoveUserRequest, RenameDepartmentRequest, RenameGroupRequest, RenameUserRequest,
    ReplaceBotTokenRequest, RevokeTokenRequest, RewindFollowerRequest,
    RotateSubscriptionSecretRequest, SendMessageRequest, SetGroupOwnerRequest, SetPasswordRequest,
    SetUserStatusRequest, TestPushRequest, UpdateBotRequest, UpdateDiscoveryItemRequest,
    UpdateUserRequest,
};
use tonic::{Request, Response, Status};
use tracing::info;

use super::AdminError;
use super::caller::Caller;

/// Longest subject in a line of the log, characters.
const MAX_SUBJECT: usize = 200;

/// A request that changes something.
pub(super) trait Change {
    /// The call, as the service names it.
    const CALL: &'static str;

    /// What is changed.
    fn subject(&self) -> String;

    /// Whether it is only judged.
    fn dry_run(&self) -> bool;
}

/// A change under way. It leaves its line when it ends, also when nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Entry {
    call: &'static str,
    caller: Caller,
    subject: String,
    dry_run: bool,
    ended: bool,
}

impl Entry {
    /// Notes who wants what.
    ///
    /// # Errors
    ///
    /// The request does not say who.
    pub(super) fn begin<T: Change>(request: &Request<T>) -> Result<Self, Status> {
        let change = request.get_ref();
        let mut entry = Self::of(request, T::CALL)?;
        entry.subject = change.subject();
        entry.dry_run = change.dry_run();
        Ok(entry)
    }

    /// The same for a call whose subject is not known yet.
    ///
    /// # Errors
    ///
    /// As [`Entry::begin`].
    pub(super) fn of<T>(request: &Request<T>, call: &'static str) -> Result<Self, Status> {
        Ok(Self {
            call,
            caller: Caller::of(request)?,
            subject: String::new(),
            dry_run: false,
            ended: false,
        })
    }

    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Says what is changed, once that is known.
    pub(super) fn about(&mut self, subject: String, dry_run: bool) {
        self.subject = subject;
        self.dry_run = dry_run;
    }

    /// Notes what came of it, and makes the answer of it.
    pub(super) fn end<T>(mut self, result: Result<T, AdminError>) -> Result<Response<T>, Status> {
        match result {
            Ok(answer) => {
                self.write("done", "");
                Ok(Response::new(answer))
            }
            Err(error) => Err(self.refuse(error.into())),
        }
    }

    /// Notes that it was done.
    pub(super) fn done(mut self) {
        self.write("done", "");
    }

    /// Notes that it was done before, under the same idempotency key.
    pub(super) fn repeated(mut self) {
        self.write("repeated", "");
    }

    /// Notes why it was not done, which is what the caller is told.
    pub(super) fn refuse(mut self, status: Status) -> Status {
        self.write("refused", status.message());
        status
    }

    /// An entry of a test.
    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        let request = super::caller::tests::asked((), &[(super::caller::ACTOR, b"a test")]);
        Self::of(&request, "ImportDirectory").expect("it names who wants it")
    }

    fn write(&mut self, outcome: &str, reason: &str) {
        self.ended = true;
        let subject: String = self.subject.chars().take(MAX_SUBJECT).collect();
        let Caller {
            actor,
            credential,
            address,
            request,
            secret,
            ..
        } = &self.caller;
        info!(
            actor,
            credential,
            address,
            request,
            secret,
            call = self.call,
            subject,
            dry_run = self.dry_run,
            outcome,
            reason,
            "administration"
        );
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            self.write("unknown", "the caller did not wait for the end");
        }
    }
}

/// Says of each request what it changes.
macro_rules! changes {
    ($($request:ident, $call:literal, $this:ident => $subject:expr;)*) => {
        $(impl Change for $request {
            const CALL: &'static str = $call;

            fn subject(&self) -> String {
                let $this = self;
                $subject
            }

            fn dry_run(&self) -> bool {
                self.dry_run
            }
        })*
    };
}

/// Something that a request names by name or by id.
fn named(what: &str, name: &str, id: u32) -> String {
    match id {
        0 => format!("{what} {name}"),
        id => format!("{what} #{id}"),
    }
}

fn department(path: &str, id: u32) -> String {
    match id {
        0 => format!("department {path:?}"),
        id => format!("department #{id}"),
    }
}

changes! {
    AddUserRequest, "AddUser", it => {
        let name = it.user.as_ref().map_or("", |user| user.name.as_str());
        format!("user {name}")
    };
    RenameUserRequest, "RenameUser", it => format!("user {} to {}", it.name, it.new_name);
    MoveUserRequest, "MoveUser", it => format!("user {} to {:?}", it.name, it.department);
    RemoveUserRequest, "RemoveUser", it => format!("user {}", it.name);
    SetPasswordRequest, "SetPassword", it => format!("user {}", it.name);
    SetUserStatusRequest, "SetUserStatus", it => format!("user {} to {}", it.name, it.status);
    UpdateUserRequest, "UpdateUser", it => named("user", &it.name, it.id);
    CreateGroupRequest, "CreateGroup", it => {
        format!("group {:?} of {}", it.name, named("user", &it.owner, it.owner_id))
    };
    ChangeGroupMembersRequest, "ChangeGroupMembers", it => format!(
        "group {} add {:?} {:?} remove {:?} {:?}",
        it.group, it.add, it.add_ids, it.remove, it.remove_ids
    );
    RenameGroupRequest, "RenameGroup", it => format!("group {} to {:?}", it.group, it.name);
    SetGroupOwnerRequest, "SetGroupOwner", it => format!("group {} to user {}", it.group, it.owner);
    RemoveGroupRequest, "RemoveGroup", it => format!("group {}", it.group);
    CreateDepartmentRequest, "CreateDepartment", it => format!("department {:?}", it.path);
    RenameDepartmentRequest, "RenameDepartment", it => {
        format!("{} to {:?}", department(&it.path, it.id), it.name)
    };
    MoveDepartmentRequest, "MoveDepartment", it => {
        format!("{} under {:?}", department(&it.path, it.id), it.into)
    };
    RemoveDepartmentRequest, "RemoveDepartment", it => {
        format!("{} into {:?}", department(&it.path, it.id), it.into)
    };
    CreateTokenRequest, "CreateToken", it => {
        format!("token of {:?} for {}", it.owner, it.scopes.join(" "))
    };
    RevokeTokenRequest, "RevokeToken", it => format!("token {}", it.id);
    KickSessionRequest, "KickSession", it => match it.epoch {
        0 => format!("user {}", it.user),
        epoch => format!("user {} session {epoch:016x}", it.user),
    };
    OperateServerRequest, "OperateServer", it => match (&it.trace, &it.file) {
        (Some(trace), _) => format!("trace {}", trace.id),
        (None, Some(file)) => format!("file {}", file.id),
        (None, None) => format!("server {} {}", it.server, it.operation),
    };
    SendMessageRequest, "SendMessage", it => match it.group {
        0 => format!("user #{} to user #{}", it.sender, it.receiver),
        group => format!("user #{} to group {group}", it.sender),
    };
    ClearLockRequest, "ClearLock", it => format!("name {}", it.name);
    CreateAnnouncementRequest, "CreateAnnouncement", it => {
        let to = match (it.everybody, it.department.as_str()) {
            (true, _) => "everybody".to_owned(),
            (false, "") => format!("{} people", it.people.len()),
            (false, path) => format!("department {path:?}"),
        };
        format!("announcement of user {} to {to}", it.sender)
    };
    CancelAnnouncementRequest, "CancelAnnouncement", it => format!("announcement {}", it.id);
    CreateSubscriptionRequest, "CreateSubscription", it => format!("subscription of {}", it.url);
    RotateSubscriptionSecretRequest, "RotateSubscriptionSecret", it => {
        format!("subscription {}", it.id)
    };
    CreateIncomingHookRequest, "CreateIncomingHook", it => {
        let to = match it.group {
            0 => format!("user {}", it.receiver),
            group => format!("group {group}"),
        };
        format!("incoming hook of user {} to {to}", it.sender)
    };
    RemoveIncomingHookRequest, "RemoveIncomingHook", it => format!("incoming hook {}", it.id);
    RemoveSubscriptionRequest, "RemoveSubscription", it => format!("subscription {}", it.id);
    DeliverAgainRequest, "DeliverAgain", it => {
        format!("subscription {} delivery {}", it.subscription, it.delivery)
    };
    RewindFollowerRequest, "RewindFollower", it => {
        format!("follower {} to {}", it.name, it.position)
    };
    RemovePushTargetRequest, "RemovePushTarget", it => format!("device {} of user {}", it.id, it.user);
    CreateBotRequest, "CreateBot", it => format!("bot {}", it.name);
    UpdateBotRequest, "UpdateBot", it => format!("bot {}", it.name);
    RemoveBotRequest, "RemoveBot", it => format!("bot {}", it.name);
    ReplaceBotTokenRequest, "ReplaceBotToken", it => format!("bot {}", it.name);
    CreateDiscoveryItemRequest, "CreateDiscoveryItem", it => format!("discovery item {:?}", it.name);
    UpdateDiscoveryItemRequest, "UpdateDiscoveryItem", it => format!("discovery item {}", it.id);
    RemoveDiscoveryItemRequest, "RemoveDiscoveryItem", it => format!("discovery item {}", it.id);
    TestPushRequest, "TestPush", it => format!("device {} of user {}", it.id, it.user);
}

impl Change for PostIncomingHookRequest {
    const CALL: &'static str = "PostIncomingHook";

    fn subject(&self) -> String {
        format!("incoming hook {}", self.id)
    }

    fn dry_run(&self) -> bool {
        false
    }
}
