//! A user's own settings: push tokens and night shield.

use bytes::Bytes;
use im_codec::Command;
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq,
    ImQueryPushShieldRsp,
};
use im_store::{PushTarget, Told};

use super::{Answers, Asker, Bound, Handled, Reply, decode};

impl Answers {
    /// 0x0108: phones only. A person may have several, and a token has one owner. An empty one forgets what
    /// the session has registered, which is also what a phone's logout asks for; a session that has
    /// registered nothing forgets all of its kind of phone, since nobody knows which of them it is.
    pub(super) async fn device_token(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImDeviceTokenReq>(body) else {
            return Ok(Reply::Silent);
        };
        let Some(client_type) = asker.client.filter(|_| asker.is_mobile()) else {
            return Ok(Reply::Silent);
        };
        let token = request.device_token;
        if !self.fits(
            Bound::Token,
            token.len(),
            self.limits().max_token.as_usize(),
        ) {
            return Ok(Reply::Silent);
        }
        // What is set already is not written again.
        let held = self.store.push_targets(&[asker.user]).await?;
        if token.is_empty() {
            let kind = |told: &Told| told.target.client_type == client_type;
            if held
                .iter()
                .any(|told| kind(told) || told.target.session == asker.origin)
            {
                self.store
                    .clear_push_targets(asker.user, client_type, asker.origin)
                    .await?;
            }
        } else {
            let target = PushTarget {
                user: asker.user,
                client_type,
                token,
                session: asker.origin,
            };
            if !held.iter().any(|told| told.target == target) {
                let most = self.limits().max_push_targets;
                let others = held.iter().filter(|told| told.target.token != target.token);
                self.fits(
                    Bound::PushTargets,
                    others.count().saturating_add(1),
                    usize::try_from(most).unwrap_or(usize::MAX),
                );
                self.store.set_push_target(&target, most).await?;
            }
        }
        Ok(Reply::one(
            Command::DeviceTokenRsp,
            &ImDeviceTokenRsp {
                user_id: asker.user.get(),
                attach_data: None,
            },
        ))
    }

    /// 0x010c
    pub(super) async fn set_push_shield(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(ImPushShieldReq { shield_status, .. }) = decode(body) else {
            return Ok(Reply::Silent);
        };
        let stored = match self.store.push_shield(asker.user).await? {
            None => false,
            Some(held) if held == shield_status => true,
            Some(_) => {
                self.store
                    .set_push_shield(asker.user, shield_status)
                    .await?
            }
        };
        Ok(Reply::one(
            Command::PushShieldRsp,
            &ImPushShieldRsp {
                user_id: asker.user.get(),
                result_code: u32::from(!stored),
                shield_status: stored.then_some(shield_status),
                attach_data: None,
            },
        ))
    }

    /// 0x010e
    pub(super) async fn push_shield(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(ImQueryPushShieldReq { .. }) = decode(body) else {
            return Ok(Reply::Silent);
        };
        let shield_status = self.store.push_shield(asker.user).await?;
        Ok(Reply::one(
            Command::QueryPushShieldRsp,
            &ImQueryPushShieldRsp {
                user_id: asker.user.get(),
                result_code: u32::from(shield_status.is_none()),
                shield_status,
                attach_data: None,
            },
        ))
    }
}
