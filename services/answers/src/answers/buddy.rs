//! People: their records, and what a person changes of his own.

use bytes::Bytes;
use im_accounts::user_info;
use im_codec::Command;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::Audience;
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::buddy::{
    ImAvatarChangedNotify, ImChangeAvatarReq, ImChangeAvatarRsp, ImChangeSignInfoReq,
    ImChangeSignInfoRsp, ImSignInfoChangedNotify, ImUsersInfoReq, ImUsersInfoRsp,
};
use im_store::{StoreError, UserProfile};

use super::events::everybody;
use super::{Answers, Asker, Bound, Handled, Reply, decode};

impl Answers {
    async fn profile(&self, user: UserId) -> Result<Option<UserProfile>, StoreError> {
        Ok(self.store.profiles(&[user]).await?.pop())
    }

    /// 0x0204: those that exist, whatever their status. Where contacts are hidden, phone and mail are
    /// shown to themselves only.
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
        self.fits(Bound::Ids, users.len(), self.limits().max_ids);
        users.truncate(self.limits().max_ids);
        let profiles = if users.is_empty() {
            Vec::new()
        } else {
            self.store.profiles(&users).await?
        };
        let hidden = self.limits().hide_contact;
        let infos = profiles.into_iter().map(|profile| {
            let own = profile.id == asker.user;
            shown(user_info(profile), hidden && !own)
        });
        let parts = self.bounds(asker).parts(infos);
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
    /// terminals that understand the notice. One that is there already is nothing to tell.
    pub(super) async fn change_avatar(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImChangeAvatarReq>(body) else {
            return Ok(Reply::Silent);
        };
        let url = request.avatar_url;
        let fits = self.fits(
            Bound::Avatar,
            url.len(),
            self.limits().max_avatar.as_usize(),
        );
        let same = fits
            && self
                .profile(asker.user)
                .await?
                .is_some_and(|own| own.avatar == url);
        let changed = fits
            && !same
            && done(
                self.store
                    .set_avatar(asker.user, &url, UnixSeconds::now())
                    .await,
            )?;
        let is_set = same || changed;
        if changed {
            self.accounts.forget(asker.user);
            let notify = ImAvatarChangedNotify {
                changed_user_id: asker.user.get(),
                avatar_url: url,
            };
            self.publisher.gather(
                asker.user,
                everybody(Audience::Pc, Command::AvatarChangedNotify, &notify),
            );
        }
        Ok(Reply::one(
            Command::ChangeAvatarRsp,
            &ImChangeAvatarRsp {
                user_id: asker.user.get(),
                result_code: u32::from(!is_set),
                attach_data: None,
            },
        ))
    }

    /// 0x0213: every terminal of everybody learns of the new signature, the asking one too. One that is
    /// there already is nothing to tell.
    pub(super) async fn change_signature(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImChangeSignInfoReq>(body) else {
            return Ok(Reply::Silent);
        };
        let text = request.sign_info;
        let most = self.limits().max_signature.as_usize();
        let fits = self.fits(Bound::Signature, text.len(), most);
        let same = fits
            && self
                .profile(asker.user)
                .await?
                .is_some_and(|own| own.signature == text);
        let changed = fits
            && !same
            && done(
                self.store
                    .set_signature(asker.user, &text, UnixSeconds::now())
                    .await,
            )?;
        let is_set = same || changed;
        if changed {
            self.accounts.forget(asker.user);
            let notify = ImSignInfoChangedNotify {
                changed_user_id: asker.user.get(),
                sign_info: text.clone(),
            };
            self.publisher.gather(
                asker.user,
                everybody(Audience::All, Command::SignInfoChangedNotify, &notify),
            );
        }
        Ok(Reply::one(
            Command::ChangeSignInfoRsp,
            &ImChangeSignInfoRsp {
                user_id: asker.user.get(),
                result_code: u32::from(!is_set),
                sign_info: is_set.then_some(text),
                attach_data: None,
            },
        ))
    }
}

/// A record as others see it.
pub(super) fn shown(mut info: UserInfo, hidden: bool) -> UserInfo {
    if hidden {
        info.user_tel.clear();
        info.email.clear();
    }
    info
}

/// Whether there was somebody to change.
fn done(result: Result<(), StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
