use im_codec::Command;
use im_proto_rpc::v1::answer::Outcome;
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq,
    ImQueryPushShieldRsp,
};
use im_store::DeviceStore as _;

use crate::testing::{Rig, android, ios, user, windows};

fn token(token: &str) -> ImDeviceTokenReq {
    // Whatever a client says about itself.
    ImDeviceTokenReq {
        user_id: 77,
        device_token: token.to_owned(),
        client_type: None,
        attach_data: None,
    }
}

async fn tokens(rig: &Rig) -> Vec<(u32, String)> {
    let users = [user(1), user(2)];
    let tokens = rig.temp.store.device_tokens(&users).await.unwrap();
    tokens
        .into_iter()
        .map(|token| (token.user.get(), token.token))
        .collect()
}

#[tokio::test]
async fn a_token_belongs_to_the_session_and_has_one_owner() {
    let rig = Rig::new().await;
    let rsp: ImDeviceTokenRsp = rig.ask(ios(1), Command::DeviceTokenReq, &token("t")).await;
    assert_eq!(rsp.user_id, 1);
    assert_eq!(tokens(&rig).await, [(1, "t".to_owned())]);
    let rsp: ImDeviceTokenRsp = rig
        .ask(android(2), Command::DeviceTokenReq, &token("t"))
        .await;
    assert_eq!(rsp.user_id, 2);
    assert_eq!(tokens(&rig).await, [(2, "t".to_owned())]);
    let _: ImDeviceTokenRsp = rig
        .ask(android(2), Command::DeviceTokenReq, &token(""))
        .await;
    assert_eq!(tokens(&rig).await, []);
}

#[tokio::test]
async fn a_token_from_a_pc_or_a_huge_one_is_ignored() {
    let rig = Rig::new().await;
    rig.silent(windows(1), Command::DeviceTokenReq, &token("t"))
        .await;
    rig.silent(ios(1), Command::DeviceTokenReq, &token(&"t".repeat(513)))
        .await;
    assert_eq!(tokens(&rig).await, []);
}

#[tokio::test]
async fn the_night_shield_is_kept_per_user() {
    let rig = Rig::new().await;
    let query = ImQueryPushShieldReq {
        user_id: 0,
        attach_data: None,
    };
    let rsp: ImQueryPushShieldRsp = rig.ask(ios(1), Command::QueryPushShieldReq, &query).await;
    assert_eq!(
        (rsp.user_id, rsp.result_code, rsp.shield_status),
        (1, 0, Some(0))
    );
    let set = ImPushShieldReq {
        user_id: 2,
        shield_status: 1,
        attach_data: None,
    };
    let rsp: ImPushShieldRsp = rig.ask(ios(1), Command::PushShieldReq, &set).await;
    assert_eq!(
        (rsp.user_id, rsp.result_code, rsp.shield_status),
        (1, 0, Some(1))
    );
    let rsp: ImQueryPushShieldRsp = rig.ask(ios(1), Command::QueryPushShieldReq, &query).await;
    assert_eq!(rsp.shield_status, Some(1));
    let rsp: ImQueryPushShieldRsp = rig.ask(ios(2), Command::QueryPushShieldReq, &query).await;
    assert_eq!(rsp.shield_status, Some(0));
}

#[tokio::test]
async fn bodies_that_the_original_ignores_and_foreign_commands_get_no_answer() {
    let rig = Rig::new().await;
    for command in Command::ALL {
        let body = bytes::Bytes::from_static(&[0xff, 0xff]);
        let answer = rig.raw(windows(1), command.id().into(), body).await;
        assert_eq!(answer.outcome(), Outcome::Silent, "{command:?}");
    }
    for command in [0, 0x0110, 0xffff, 0x1_0201] {
        let answer = rig.raw(windows(1), command, bytes::Bytes::new()).await;
        assert_eq!(answer.outcome(), Outcome::Silent);
    }
    let nobody = crate::testing::Terminal {
        user: 0,
        ..windows(1)
    };
    let answer = rig.raw(nobody, 0x0105, bytes::Bytes::new()).await;
    assert_eq!(answer.outcome(), Outcome::Silent);
}
