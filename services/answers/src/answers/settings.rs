//! A user's own settings: push token and night shield.

use bytes::Bytes;
use im_codec::Command;
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq,
    ImQueryPushShieldRsp,
};
use im_store::DeviceToken;

use super::{Answers, Asker, Bound, Handled, Reply, decode};

impl Answers {
    /// 0x0108: phones only. A token has one owner; an empty one is forgotten, which is also what a
    /// phone's logout asks for.
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
        let held = self.store.device_tokens(&[asker.user]).await?.pop();
        if token.is_empty() {
            if held.is_some() {
                self.store.clear_device_token(asker.user).await?;
            }
        } else {
            let token = DeviceToken {
                user: asker.user,
                client_type,
                token,
            };
            if held.as_ref() != Some(&token) {
                self.store.set_device_token(&token).await?;
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
