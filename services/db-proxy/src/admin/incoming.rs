//! Incoming hooks: made, listed, removed, written through; and the calls about them, of a service of their own.

use im_accounts::ACTIVE;
use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, Peer};
use im_proto_rpc::v1::incoming_hooks_server::IncomingHooks;
use im_proto_rpc::v1::{
    CheckIncomingHookRequest, CreateIncomingHookRequest, CreatedIncomingHook, IncomingHookList,
    IncomingHookRecord, ListIncomingHooksRequest, MessageRecord, PostIncomingHookRequest,
    RemoveIncomingHookRequest, SendMessageRequest,
};
use im_store::{IncomingHookRow, NewIncomingHook};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tonic::{Request, Response, Status};

use super::cursor::{List, Listed, id_of};
use super::groups::{group_id, no_group};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::tokens::{secret, text};
use super::{AdminError, AdminService};

/// Hooks in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 1_000,
};

/// `IM.BaseDefine.MsgType` of texts.
const TEXT: u32 = 0x01;
const GROUP_TEXT: u32 = 0x11;

impl AdminService {
    async fn make_incoming_hook(
        &self,
        request: CreateIncomingHookRequest,
    ) -> Result<CreatedIncomingHook, AdminError> {
        text("label", &request.label, 0)?;
        let sender = self.account(&request.sender).await?;
        if sender.status != ACTIVE {
            let name = sender.name;
            return Err(AdminError::Refused(format!("{name:?} is not active")));
        }
        let to = match (request.receiver.as_str(), request.group) {
            ("", 0) => None,
            ("", group) => Some(Peer::Group(group_id(group)?)),
            (name, 0) => Some(Peer::User(self.account(name).await?.id)),
            _ => None,
        };
        let to = to.ok_or_else(|| {
            AdminError::Invalid("a hook writes to one of these: a person, a group".to_owned())
        })?;
        if Conversation::of(sender.id, to).is_none() {
            return Err(AdminError::Invalid("the receiver is the sender".to_owned()));
        }
        if let Peer::Group(group) = to {
            self.judge_membership(group, sender.id).await?;
        }
        let made_by = self.call.as_ref().map(|call| call.caller.actor.clone());
        let secret = secret();
        let new = NewIncomingHook {
            hash: blake3::hash(secret.as_bytes()).into(),
            sender: sender.id,
            to,
            label: request.label,
            created: UnixSeconds::now(),
            made_by: made_by.unwrap_or_default(),
        };
        let would_be = record(IncomingHookRow {
            id: 0,
            hook: new.clone(),
        });
        let answer = CreatedIncomingHook {
            hook: Some(would_be.clone()),
            secret: String::new(),
        };
        if request.dry_run {
            return Ok(answer);
        }
        let changed = Changed::new_of("incoming hook")
            .after(json!({
                "sender": sender.name,
                "receiver": would_be.receiver,
                "group": would_be.group,
                "label": would_be.label,
            }))
            .answer(&answer);
        let most = self.config.administration.incoming_hooks;
        let store = self.noting(changed);
        let id = store.create_incoming_hook(&new, most).await?;
        Ok(CreatedIncomingHook {
            hook: Some(IncomingHookRecord { id, ..would_be }),
            secret,
        })
    }

    async fn judge_membership(
        &self,
        group: GroupId,
        sender: im_core::UserId,
    ) -> Result<(), AdminError> {
        if self.store.groups(&[group]).await?.is_empty() {
            return Err(no_group(group));
        }
        if self.store.member(group, sender).await?.is_none() {
            return Err(AdminError::Refused(
                "the sender is no member of the group".to_owned(),
            ));
        }
        Ok(())
    }

    async fn list_hooks(
        &self,
        request: ListIncomingHooksRequest,
    ) -> Result<IncomingHookList, AdminError> {
        let limit = LIMITS.of(request.limit);
        let listed = Listed {
            list: List::IncomingHooks,
            filters: &[],
        };
        let before = self.cursors.read(listed, &request.cursor)?;
        let before = before.map_or(u32::MAX, id_of);
        let mut page = Page::new(limit);
        for row in self.store.incoming_hooks(before, limit + 1).await? {
            if !page.takes(row.id.into(), record(row)) {
                break;
            }
        }
        let (hooks, next) = self.end_page(listed, page);
        Ok(IncomingHookList { hooks, next })
    }

    async fn end_incoming_hook(
        &self,
        request: RemoveIncomingHookRequest,
    ) -> Result<IncomingHookRecord, AdminError> {
        let id = request.id;
        let row = self.store.incoming_hook(id).await?;
        let missing = || AdminError::NotFound(format!("there is no incoming hook {id}"));
        let was = record(row.ok_or_else(missing)?);
        if request.dry_run {
            return Ok(was);
        }
        let note = Changed::of(format!("incoming hook {id}")).before(json!({
            "sender": was.sender,
            "receiver": was.receiver,
            "group": was.group,
            "label": was.label,
        }));
        self.noting(note).remove_incoming_hook(id).await?;
        Ok(was)
    }

    /// The hook, if the secret is its own: a wrong one and an unknown id cost and tell the same.
    async fn checked(&self, id: u32, secret: &str) -> Result<IncomingHookRow, AdminError> {
        let row = self.store.incoming_hook(id).await?;
        let kept = row.as_ref().map_or([0; 32], |row| row.hook.hash);
        let shown: [u8; 32] = blake3::hash(secret.as_bytes()).into();
        let is_right = bool::from(kept.ct_eq(&shown));
        let missing = || AdminError::NotFound("there is no such hook".to_owned());
        row.filter(|_| is_right).ok_or_else(missing)
    }

    async fn post_through(
        &self,
        request: PostIncomingHookRequest,
    ) -> Result<MessageRecord, AdminError> {
        let hook = self.checked(request.id, &request.secret).await?.hook;
        let (receiver, group, kind) = match hook.to {
            Peer::User(user) => (user.get(), 0, TEXT),
            Peer::Group(group) => (0, group.get(), GROUP_TEXT),
        };
        let message = SendMessageRequest {
            sender: hook.sender.get(),
            receiver,
            group,
            r#type: kind,
            body: request.body,
            dry_run: false,
        };
        self.send_message_of(message).await
    }
}

#[tonic::async_trait]
impl IncomingHooks for AdminService {
    async fn create_incoming_hook(
        &self,
        request: Request<CreateIncomingHookRequest>,
    ) -> Result<Response<CreatedIncomingHook>, Status> {
        let work = |admin: Self, it| async move { admin.make_incoming_hook(it).await };
        self.administer(request, work).await
    }

    async fn list_incoming_hooks(
        &self,
        request: Request<ListIncomingHooksRequest>,
    ) -> Result<Response<IncomingHookList>, Status> {
        Ok(Response::new(self.list_hooks(request.into_inner()).await?))
    }

    async fn remove_incoming_hook(
        &self,
        request: Request<RemoveIncomingHookRequest>,
    ) -> Result<Response<IncomingHookRecord>, Status> {
        let work = |admin: Self, it| async move { admin.end_incoming_hook(it).await };
        self.administer(request, work).await
    }

    async fn check_incoming_hook(
        &self,
        request: Request<CheckIncomingHookRequest>,
    ) -> Result<Response<IncomingHookRecord>, Status> {
        let CheckIncomingHookRequest { id, secret } = request.into_inner();
        Ok(Response::new(record(self.checked(id, &secret).await?)))
    }

    async fn post_incoming_hook(
        &self,
        request: Request<PostIncomingHookRequest>,
    ) -> Result<Response<MessageRecord>, Status> {
        let work = |admin: Self, it| async move { admin.post_through(it).await };
        self.administer(request, work).await
    }
}

fn record(row: IncomingHookRow) -> IncomingHookRecord {
    let (receiver, group) = match row.hook.to {
        Peer::User(user) => (user.get(), 0),
        Peer::Group(group) => (0, group.get()),
    };
    IncomingHookRecord {
        id: row.id,
        sender: row.hook.sender.get(),
        receiver,
        group,
        label: row.hook.label,
        created: row.hook.created.get(),
        made_by: row.hook.made_by,
    }
}
