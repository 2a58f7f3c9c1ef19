//! The session itself: the clock, push settings, kicks, the end.

use im_e2e::originals::Original;
use im_proto_teamtalk::base::KickReasonType;
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImKickPcClientReq, ImKickPcClientRsp, ImKickUser,
    ImLogoutReq, ImLogoutRsp, ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq,
    ImQueryPushShieldRsp,
};
use im_proto_teamtalk::message::{ImClientTimeReq, ImClientTimeRsp};

use crate::support::*;

/// Asks for the time (0x0305).
pub(crate) async fn asks_time(client: &mut Original) {
    let script = client.script().clone();
    let expected = |got: &ImClientTimeRsp| ImClientTimeRsp {
        server_time: script.now(got.server_time),
    };
    client
        .ask(Command::ClientTimeReq, &ImClientTimeReq {}, expected)
        .await;
}

/// Registers the token of a phone (0x0108).
pub(crate) async fn registers(phone: &mut Original, token: &str) {
    let user_id = phone.user();
    let request = ImDeviceTokenReq {
        user_id: phone.named(),
        device_token: token.to_owned(),
        client_type: None,
        attach_data: None,
    };
    let expected = |_: &ImDeviceTokenRsp| ImDeviceTokenRsp {
        user_id,
        attach_data: None,
    };
    phone.ask(Command::DeviceTokenReq, &request, expected).await;
}

/// Sets the night shield (0x010c).
pub(crate) async fn rests(client: &mut Original, status: u32) {
    let user_id = client.user();
    let request = ImPushShieldReq {
        user_id: client.named(),
        shield_status: status,
        attach_data: None,
    };
    let expected = |_: &ImPushShieldRsp| ImPushShieldRsp {
        user_id,
        result_code: 0,
        shield_status: Some(status),
        attach_data: None,
    };
    client.ask(Command::PushShieldReq, &request, expected).await;
}

/// Asks for the night shield (0x010e).
pub(crate) async fn asks_rest(client: &mut Original, status: u32) {
    let user_id = client.user();
    let request = ImQueryPushShieldReq {
        user_id: client.named(),
        attach_data: None,
    };
    let expected = |_: &ImQueryPushShieldRsp| ImQueryPushShieldRsp {
        user_id,
        result_code: 0,
        shield_status: Some(status),
        attach_data: None,
    };
    client
        .ask(Command::QueryPushShieldReq, &request, expected)
        .await;
}

/// A phone ends the session of its user's PC (0x010a).
pub(crate) async fn kicks_pc(phone: &mut Original) {
    let user_id = phone.user();
    let request = ImKickPcClientReq {
        user_id: phone.named(),
    };
    let expected = |_: &ImKickPcClientRsp| ImKickPcClientRsp {
        user_id,
        result_code: 0,
    };
    phone
        .ask(Command::KickPcClientReq, &request, expected)
        .await;
}

/// Is told to leave (0x0107) and closed; these may have come before, and are nothing to this client.
pub(crate) async fn leaves(client: &mut Original, reason: KickReasonType, other: &[Command]) {
    let user_id = client.user();
    let expected = |_: &ImKickUser| ImKickUser {
        user_id,
        kick_reason: reason.into(),
    };
    client.notice(Command::KickUser, expected).await;
    client.closed(other).await;
}

/// Logs out (0x0105).
pub(crate) async fn logs_out(client: &mut Original) {
    let expected = |_: &ImLogoutRsp| ImLogoutRsp { result_code: 0 };
    client
        .ask(Command::LogoutReq, &ImLogoutReq {}, expected)
        .await;
    client.closed(&[]).await;
}
