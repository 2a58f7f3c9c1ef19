//! People: their records, and what a person changes of his own.

use bytes::Bytes;
use im_codec::Command;
use im_core::UserId;
use im_core::time::unix_seconds;
use im_proto_rpc::v1::Audience;
use im_proto_teamtalk::buddy::{
    ImAvatarChangedNotify, ImChangeAvatarReq, ImChangeAvatarRsp, ImChangeSignInfoReq,
    ImChangeSignInfoRsp, ImSignInfoChangedNotify, ImUsersInfoReq, ImUsersInfoRsp,
};
use im_store::StoreError;

use super::events::to_everybody;
use super::{Answers, Asker, Handled, Reply, decode};
use crate::profile::user_info;

impl Answers {
    /// 0x0204: those that exist, whatever their status.
    pub(super) async fn users_info(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImUsersInfoReq>(body) else {
            return Ok(Reply::Silent);
        };
        let mut users: Vec<UserId> = request
            .user_id_list
            .iter()
            .filter_map(|id| UserId::from_wire(*id))
            .collect();
        users.sort_unstable();
        users.dedup();
        users.truncate(self.limits().max_ids);
        let profiles = if users.is_empty() {
            Vec::new()
        } else {
            self.store.profiles(&users).await?
        };
        let parts = self
            .bounds(asker)
            .parts(profiles.into_iter().map(user_info));
        Ok(Reply::many(
            Command::UsersInfoRsp,
            parts.into_iter().map(|user_info_list| ImUsersInfoRsp {
                user_id: asker.user.get(),
                user_info_list,
                attach_data: None,
            }),
        ))
    }

    /// 0x020c, which the original never answers: everybody's PCs learn of the new picture, the only
    /// terminals that understand the notice.
    pub(super) async fn change_avatar(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImChangeAvatarReq>(body) else {
            return Ok(Reply::Silent);
        };
        let url = request.avatar_url;
        let changed = url.len() <= self.limits().max_avatar_bytes
            && done(
                self.store
                    .set_avatar(asker.user, &url, unix_seconds())
                    .await,
            )?;
        if changed {
            self.accounts.forget(asker.user);
            let notify = ImAvatarChangedNotify {
                changed_user_id: asker.user.get(),
                avatar_url: url,
            };
            self.publisher.publish(vec![to_everybody(
                Audience::Pc,
                Command::AvatarChangedNotify,
                &notify,
            )]);
        }
        Ok(Reply::one(
            Command::ChangeAvatarRsp,
            &ImChangeAvatarRsp {
                user_id: asker.user.get(),
                result_code: u32::from(!changed),
                attach_data: None,
            },
        ))
    }

    /// 0x0213: every terminal of everybody learns of the new signature, the asking one too.
    pub(super) async fn change_signature(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImChangeSignInfoReq>(body) else {
            return Ok(Reply::Silent);
        };
        let text = request.sign_info;
        let changed = text.len() <= self.limits().max_signature_bytes
            && done(
                self.store
                    .set_signature(asker.user, &text, unix_seconds())
                    .await,
            )?;
        if changed {
            self.accounts.forget(asker.user);
            let notify = ImSignInfoChangedNotify {
                changed_user_id: asker.user.get(),
                sign_info: text.clone(),
            };
            self.publisher.publish(vec![to_everybody(
                Audience::All,
                Command::SignInfoChangedNotify,
                &notify,
            )]);
        }
        Ok(Reply::one(
            Command::ChangeSignInfoRsp,
            &ImChangeSignInfoRsp {
                user_id: asker.user.get(),
                result_code: u32::from(!changed),
                sign_info: changed.then_some(text),
                attach_data: None,
            },
        ))
    }
}

/// Whether there was somebody to change.
fn done(result: Result<(), StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
