use im_codec::Command;
use im_proto_rpc::v1::answer::Outcome;
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq,
    ImQueryPushShieldRsp,
};
use im_store::DeviceStore as _;

use crate::answers::metrics::Bound;
use crate::testing::{Rig, Terminal, android, ios, small_config, user, windows};

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
    let told = rig.temp.store.push_targets(&users).await.unwrap();
    told.into_iter()
        .map(|told| (told.target.user.get(), told.target.token))
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

/// A terminal of the same person and kind in another session.
fn again(terminal: Terminal) -> Terminal {
    Terminal {
        origin: terminal.origin + 1_000,
        ..terminal
    }
}

#[tokio::test]
async fn a_person_has_several_devices_and_signs_out_of_one() {
    let mut config = small_config();
    config.answers.max_push_targets = 2;
    let rig = Rig::with(config).await;
    let set = async |from, text: &str| {
        let _: ImDeviceTokenRsp = rig.ask(from, Command::DeviceTokenReq, &token(text)).await;
    };
    let held = async || {
        let held = tokens(&rig).await.into_iter().map(|(_, token)| token);
        held.collect::<Vec<_>>()
    };
    let reached = || rig.answers.metrics.times_reached(Bound::PushTargets);
    set(ios(1), "phone").await;
    set(again(ios(1)), "tablet").await;
    assert_eq!(
        (held().await, reached()),
        (vec!["phone".to_owned(), "tablet".to_owned()], 0)
    );
    set(android(1), "third").await;
    assert_eq!(
        (held().await, reached()),
        (vec!["tablet".to_owned(), "third".to_owned()], 1)
    );
    set(again(ios(1)), "").await;
    assert_eq!(held().await, ["third"], "the device of that session");
    set(again(android(1)), "").await;
    assert_eq!(held().await, [""; 0], "whoever it was");
}

#[tokio::test]
async fn what_is_registered_already_is_not_written_again() {
    let rig = Rig::new().await;
    let changes = || rig.temp.store.change_counts().changes;
    let _: ImDeviceTokenRsp = rig.ask(ios(1), Command::DeviceTokenReq, &token("t")).await;
    let before = changes();
    for text in ["t", "t"] {
        let _: ImDeviceTokenRsp = rig.ask(ios(1), Command::DeviceTokenReq, &token(text)).await;
    }
    let _: ImDeviceTokenRsp = rig.ask(ios(2), Command::DeviceTokenReq, &token("")).await;
    assert_eq!(changes(), before);
    let _: ImDeviceTokenRsp = rig.ask(ios(1), Command::DeviceTokenReq, &token("u")).await;
    assert!(changes() > before);
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
