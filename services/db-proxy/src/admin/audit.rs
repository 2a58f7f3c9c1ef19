//! Who changes what: one line in the log per change, whatever comes of it.

use im_core::text::is_unseen;
use im_proto_rpc::v1::{
    AddUserRequest, ChangeGroupMembersRequest, ClearLockRequest, CreateGroupRequest,
    KickSessionRequest, MoveDepartmentRequest, MoveUserRequest, RemoveDepartmentRequest,
    RemoveGroupRequest, RemoveUserRequest, RenameDepartmentRequest, RenameGroupRequest,
    RenameUserRequest, SetGroupOwnerRequest, SetPasswordRequest, SetUserStatusRequest,
};
use im_rpc::Credential;
use tonic::{Request, Response, Status};
use tracing::info;

use super::AdminError;

/// Metadata that names who wants a change.
const ACTOR: &str = "im-actor-bin";

/// Longest name of an actor, bytes.
const MAX_ACTOR: usize = 128;

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
    actor: String,
    address: String,
    /// Which line of the secret's file was presented; 0 inside a process.
    secret: u8,
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
            actor: actor(request)?,
            address: request
                .remote_addr()
                .map_or_else(String::new, |address| address.to_string()),
            secret: request
                .extensions()
                .get::<Credential>()
                .map_or(0, |credential| credential.value),
            subject: String::new(),
            dry_run: false,
            ended: false,
        })
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

    /// Notes why it was not done, which is what the caller is told.
    pub(super) fn refuse(mut self, status: Status) -> Status {
        self.write("refused", status.message());
        status
    }

    /// An entry of a test.
    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        let mut request = Request::new(());
        let actor = tonic::metadata::MetadataValue::from_bytes(b"a test");
        request.metadata_mut().insert_bin(ACTOR, actor);
        Self::of(&request, "ImportDirectory").expect("it names who wants it")
    }

    fn write(&mut self, outcome: &str, reason: &str) {
        self.ended = true;
        let subject: String = self.subject.chars().take(MAX_SUBJECT).collect();
        info!(
            actor = self.actor,
            address = self.address,
            secret = self.secret,
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

fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    let refused = |why: &str| {
        Status::invalid_argument(format!(
            "metadata {ACTOR} must name who wants the change, in 1 to {MAX_ACTOR} bytes of visible \
             characters; {why}"
        ))
    };
    let Some(value) = request.metadata().get_bin(ACTOR) else {
        return Err(refused("there is none"));
    };
    let bytes = value.to_bytes().map_err(|_| refused("it is not base64"))?;
    let name = std::str::from_utf8(&bytes).map_err(|_| refused("it is not UTF-8"))?;
    if !(1..=MAX_ACTOR).contains(&name.len()) {
        return Err(refused(&format!("it has {}", name.len())));
    }
    if name.trim().is_empty() || name.chars().any(is_unseen) {
        return Err(refused("it has others"));
    }
    Ok(name.to_owned())
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
    CreateGroupRequest, "CreateGroup", it => format!("group {:?} of user {}", it.name, it.owner);
    ChangeGroupMembersRequest, "ChangeGroupMembers", it => {
        format!("group {} add {:?} remove {:?}", it.group, it.add, it.remove)
    };
    RenameGroupRequest, "RenameGroup", it => format!("group {} to {:?}", it.group, it.name);
    SetGroupOwnerRequest, "SetGroupOwner", it => format!("group {} to user {}", it.group, it.owner);
    RemoveGroupRequest, "RemoveGroup", it => format!("group {}", it.group);
    RenameDepartmentRequest, "RenameDepartment", it => {
        format!("department {:?} to {:?}", it.path, it.name)
    };
    MoveDepartmentRequest, "MoveDepartment", it => {
        format!("department {:?} under {:?}", it.path, it.into)
    };
    RemoveDepartmentRequest, "RemoveDepartment", it => {
        format!("department {:?} into {:?}", it.path, it.into)
    };
    KickSessionRequest, "KickSession", it => match it.epoch {
        0 => format!("user {}", it.user),
        epoch => format!("user {} session {epoch:016x}", it.user),
    };
    ClearLockRequest, "ClearLock", it => format!("name {}", it.name);
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn named(actor: Option<&[u8]>) -> Request<ClearLockRequest> {
        let mut request = Request::new(ClearLockRequest::default());
        if let Some(actor) = actor {
            let value = MetadataValue::from_bytes(actor);
            request.metadata_mut().insert_bin(ACTOR, value);
        }
        request
    }

    #[test]
    fn a_change_must_say_who_wants_it() {
        for good in ["ann", "Ann of operations", "安娜", &"x".repeat(MAX_ACTOR)] {
            let mut entry = Entry::begin(&named(Some(good.as_bytes()))).unwrap();
            assert_eq!(entry.actor, good);
            entry.ended = true;
        }
        let long = "x".repeat(MAX_ACTOR + 1);
        let cases: [(Option<&[u8]>, &str); 6] = [
            (None, "there is none"),
            (Some(b""), "it has 0"),
            (Some(long.as_bytes()), "it has 129"),
            (Some(b"\xff\xfe"), "it is not UTF-8"),
            (Some(b"a\x1b[2Jb"), "it has others"),
            (Some(b"   "), "it has others"),
        ];
        for (actor, why) in cases {
            let status = Entry::begin(&named(actor)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().ends_with(why), "{}", status.message());
        }
    }
}
