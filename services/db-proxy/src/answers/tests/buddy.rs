use im_codec::Command;
use im_proto_rpc::v1::Audience;
use im_proto_teamtalk::buddy::{
    ImAvatarChangedNotify, ImChangeAvatarReq, ImChangeAvatarRsp, ImChangeSignInfoReq,
    ImChangeSignInfoRsp, ImSignInfoChangedNotify, ImUsersInfoReq, ImUsersInfoRsp,
};
use im_store::{AccountStore as _, ImportedUser};

use super::rig::{Rig, android, ios, user, windows};

#[tokio::test]
async fn user_details_are_those_of_existing_users_whatever_their_status_wire_13_3() {
    let rig = Rig::new().await;
    rig.import(vec![ImportedUser {
        id: Some(20),
        name: "left".to_owned(),
        nick: Some("Gone".to_owned()),
        status: Some(3),
        ..ImportedUser::default()
    }])
    .await;
    let request = ImUsersInfoReq {
        user_id: 8,
        user_id_list: vec![20, 2, 2, 0, 555],
        attach_data: None,
    };
    let rsp: ImUsersInfoRsp = rig.ask(ios(1), Command::UsersInfoReq, &request).await;
    assert_eq!(rsp.user_id, 1);
    let got: Vec<_> = rsp
        .user_info_list
        .iter()
        .map(|info| {
            (
                info.user_id,
                info.user_real_name.as_str(),
                info.user_nick_name.as_str(),
                info.status,
            )
        })
        .collect();
    assert_eq!(got, [(2, "user2", "user2", 0), (20, "left", "Gone", 3)]);
    let request = ImUsersInfoReq {
        user_id: 8,
        user_id_list: vec![],
        attach_data: None,
    };
    let rsp: ImUsersInfoRsp = rig.ask(ios(1), Command::UsersInfoReq, &request).await;
    assert_eq!(rsp.user_info_list, []);
}

#[tokio::test]
async fn a_signature_is_stored_echoed_and_told_to_everybody_wire_10_19() {
    let mut rig = Rig::new().await;
    let text = "签名".repeat(21) + "xx";
    assert_eq!(text.len(), 128);
    let request = ImChangeSignInfoReq {
        user_id: 5,
        sign_info: text.clone(),
        attach_data: None,
    };
    let rsp: ImChangeSignInfoRsp = rig
        .ask(windows(1), Command::ChangeSignInfoReq, &request)
        .await;
    assert_eq!(
        (rsp.user_id, rsp.result_code, rsp.sign_info),
        (1, 0, Some(text.clone()))
    );
    let (event, notify): (_, ImSignInfoChangedNotify) =
        rig.event(Command::SignInfoChangedNotify).await;
    assert_eq!(
        notify,
        ImSignInfoChangedNotify {
            changed_user_id: 1,
            sign_info: text.clone()
        }
    );
    assert_eq!(
        (event.broadcast, event.except, event.audience()),
        (true, 0, Audience::All)
    );
    let profile = rig
        .temp
        .store
        .profiles(&[user(1)])
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(profile.signature, text);
}

#[tokio::test]
async fn a_signature_beyond_128_bytes_fails_backend_2_8_9() {
    let mut rig = Rig::new().await;
    let request = ImChangeSignInfoReq {
        user_id: 1,
        sign_info: "x".repeat(129),
        attach_data: None,
    };
    let rsp: ImChangeSignInfoRsp = rig
        .ask(windows(1), Command::ChangeSignInfoReq, &request)
        .await;
    assert_eq!((rsp.result_code, rsp.sign_info), (1, None));
    rig.no_event().await;
    let profile = rig
        .temp
        .store
        .profiles(&[user(1)])
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(profile.signature, "");
}

#[tokio::test]
async fn a_new_avatar_is_answered_and_told_to_all_pcs_wire_17_25() {
    let mut rig = Rig::new().await;
    let request = ImChangeAvatarReq {
        user_id: 5,
        avatar_url: "http://a/b.png".to_owned(),
        attach_data: None,
    };
    let rsp: ImChangeAvatarRsp = rig
        .ask(android(1), Command::ChangeAvatarReq, &request)
        .await;
    assert_eq!((rsp.user_id, rsp.result_code), (1, 0));
    let (event, notify): (_, ImAvatarChangedNotify) = rig.event(Command::AvatarChangedNotify).await;
    assert_eq!(notify.changed_user_id, 1);
    assert_eq!(notify.avatar_url, "http://a/b.png");
    assert_eq!((event.broadcast, event.audience()), (true, Audience::Pc));

    let request = ImChangeAvatarReq {
        avatar_url: "x".repeat(513),
        ..request
    };
    let rsp: ImChangeAvatarRsp = rig
        .ask(android(1), Command::ChangeAvatarReq, &request)
        .await;
    assert_eq!(rsp.result_code, 1);
    rig.no_event().await;
}
