use im_codec::Command;
use im_proto_rpc::v1::Audience;
use im_proto_teamtalk::buddy::{
    ImAllUserReq, ImAllUserRsp, ImAvatarChangedNotify, ImChangeAvatarReq, ImChangeAvatarRsp,
    ImChangeSignInfoReq, ImChangeSignInfoRsp, ImSignInfoChangedNotify, ImUsersInfoReq,
    ImUsersInfoRsp,
};
use im_store::{AccountStore as _, DirectoryStore as _, ImportedUser};

use crate::testing::{Rig, android, ios, small_config, user, windows};

#[tokio::test]
async fn user_details_are_those_of_existing_users_whatever_their_status() {
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
async fn a_signature_is_stored_echoed_and_told_to_everybody() {
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
async fn a_signature_beyond_128_bytes_fails() {
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
async fn a_new_avatar_is_answered_and_told_to_all_pcs() {
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

#[tokio::test]
async fn what_is_set_already_is_neither_written_nor_told() {
    let mut rig = Rig::new().await;
    let avatar = ImChangeAvatarReq {
        user_id: 5,
        avatar_url: "http://a/b.png".to_owned(),
        attach_data: None,
    };
    let signature = ImChangeSignInfoReq {
        user_id: 5,
        sign_info: "hello".to_owned(),
        attach_data: None,
    };
    let mut stamps = Vec::new();
    for _ in 0..2 {
        let rsp: ImChangeAvatarRsp = rig.ask(android(1), Command::ChangeAvatarReq, &avatar).await;
        assert_eq!(rsp.result_code, 0);
        let rsp: ImChangeSignInfoRsp = rig
            .ask(windows(1), Command::ChangeSignInfoReq, &signature)
            .await;
        assert_eq!(
            (rsp.result_code, rsp.sign_info.as_deref()),
            (0, Some("hello"))
        );
        stamps.push(rig.temp.store.directory_stamp().await.unwrap());
        if stamps.len() == 1 {
            rig.context.publisher.publish_gathered();
            rig.two_events().await;
        }
    }
    assert_eq!(stamps[0], stamps[1]);
    rig.no_event().await;
}

#[tokio::test]
async fn contacts_can_be_hidden_from_everybody_else() {
    for hidden in [false, true] {
        let mut config = small_config();
        config.answers.hide_contact = hidden;
        let rig = Rig::with(config).await;
        rig.import(vec![ImportedUser {
            name: "user2".to_owned(),
            phone: Some("123".to_owned()),
            email: Some("a@b".to_owned()),
            ..ImportedUser::default()
        }])
        .await;
        let request = ImUsersInfoReq {
            user_id: 0,
            user_id_list: vec![2],
            attach_data: None,
        };
        for (asker, shown) in [(1, !hidden), (2, true)] {
            let rsp: ImUsersInfoRsp = rig.ask(ios(asker), Command::UsersInfoReq, &request).await;
            let info = &rsp.user_info_list[0];
            let expected = if shown { ("123", "a@b") } else { ("", "") };
            assert_eq!((info.user_tel.as_str(), info.email.as_str()), expected);
        }
        let request = ImAllUserReq {
            user_id: 0,
            latest_update_time: 0,
            attach_data: None,
        };
        let rsp: ImAllUserRsp = rig.ask(windows(1), Command::AllUserReq, &request).await;
        let phones = rsp.user_list.iter().filter(|info| info.user_tel == "123");
        assert_eq!(phones.count(), usize::from(!hidden));
    }
}
