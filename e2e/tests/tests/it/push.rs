//! Push (S-75): who is told of a message by which provider, and what becomes of it when somebody fails.

mod apple;
mod choice;
pub(crate) mod faults;
mod google;
pub(crate) mod provider;
mod trial;
pub(crate) mod webhook;

use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImLogoutReq, ImLogoutRsp, ImPushShieldReq, ImPushShieldRsp,
};

use crate::support::*;

/// What signs in these tests.
const SECRET: &str = "a secret of these tests";

/// A phone registers its token, and goes.
pub(crate) async fn register(
    platform: &mut Platform,
    msg: &str,
    user: u32,
    kind: im_core::ClientType,
    token: &str,
) {
    let mut phone = Terminal::login(platform.msg_address(msg), user, kind).await;
    set_token(&mut phone, token).await;
    drop(phone);
    gone(platform, user);
}

async fn set_token(phone: &mut Terminal, token: &str) {
    let request = ImDeviceTokenReq {
        user_id: 0,
        device_token: token.to_owned(),
        client_type: None,
        attach_data: None,
    };
    let _: ImDeviceTokenRsp = phone.ask(Command::DeviceTokenReq, &request).await;
}

/// Waits until nobody of this user is online.
fn gone(platform: &Platform, user: u32) {
    let name = format!("u{user}");
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        let listed = platform.imd(&["admin", "session", "list", "--json", "--user", &name]);
        let listed = listed.unwrap();
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        if listed.as_array().is_some_and(Vec::is_empty) {
            return;
        }
        assert!(
            tokio::time::Instant::now() < until,
            "{name} stays online: {listed}"
        );
    }
}

async fn sign_out(phone: &mut Terminal) {
    let _: ImLogoutRsp = phone.ask(Command::LogoutReq, &ImLogoutReq {}).await;
}

async fn shield_the_night(phone: &mut Terminal) {
    let request = ImPushShieldReq {
        user_id: 0,
        shield_status: 1,
        attach_data: None,
    };
    let answer: ImPushShieldRsp = phone.ask(Command::PushShieldReq, &request).await;
    assert_eq!(answer.result_code, 0);
}

/// A token as iOS has them.
pub(crate) fn ios_token(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}
