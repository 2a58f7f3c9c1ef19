//! Everything else that clients ask.

use im_codec::Command;
use im_proto_rpc::v1::route_call;
use im_proto_teamtalk::buddy::{ImAllUserReq, ImRemoveSessionReq, ImUsersStatReq, ImUsersStatRsp};
use im_proto_teamtalk::file::{
    ImFileDelOfflineReq, ImFileHasOfflineReq, ImFileHasOfflineRsp, ImFileReq, ImFileRsp,
};
use im_proto_teamtalk::group::{
    ImGroupChangeMemberReq, ImGroupChangeMemberRsp, ImGroupCreateReq, ImGroupCreateRsp,
    ImGroupInfoListReq, ImGroupInfoListRsp, ImGroupShieldReq, ImGroupShieldRsp,
    ImNormalGroupListReq, ImNormalGroupListRsp,
};
use im_proto_teamtalk::login::{ImDeviceTokenReq, ImDeviceTokenRsp};
use im_proto_teamtalk::message::{
    ImClientTimeReq, ImClientTimeRsp, ImMsgDataAck, ImMsgDataReadAck,
};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use prost::Message;

use super::rig::*;
use crate::metrics::{Pause, Refusal};

fn all_users() -> ImAllUserReq {
    ImAllUserReq {
        user_id: 0,
        latest_update_time: 5,
        attach_data: None,
    }
}

#[tokio::test]
async fn a_request_travels_as_it_is_in_the_sessions_name() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, MAC).await;
    client.send(Command::AllUserReq, 0xff03, &all_users()).await;
    let frame = client.frame().await.unwrap();
    assert_eq!(
        (frame.command(), frame.header.seq),
        (Some(Command::AllUserRsp), 0xff03)
    );
    assert_eq!(
        frame.body,
        all_users().encode_to_vec(),
        "db-proxy's bytes, as they are"
    );
    let query = rig.db.state().queries[0].clone();
    assert_eq!(
        (query.user, query.client_type, query.command),
        (7, 2, 0x0208)
    );
    assert_eq!(query.origin, rig.route().state().sessions[0].epoch);
}

#[tokio::test]
async fn an_answer_of_several_frames_carries_one_number() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, ANDROID).await;
    rig.db.state().more = vec!["two".into(), "three".into()];
    client.send(Command::AllUserReq, 3, &all_users()).await;
    for body in [
        all_users().encode_to_vec(),
        b"two".to_vec(),
        b"three".to_vec(),
    ] {
        let frame = client.frame().await.unwrap();
        assert_eq!(
            (frame.command(), frame.header.seq),
            (Some(Command::AllUserRsp), 3)
        );
        assert_eq!(frame.body, body);
    }
}

#[tokio::test]
async fn the_ios_way_to_remove_a_session_is_understood() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, IOS).await;
    let request = ImRemoveSessionReq {
        user_id: 0,
        session_type: 1,
        session_id: 9,
        attach_data: None,
    };
    let frame = im_codec::encode_raw(Command::RemoveSessionRsp, 3, &request.encode_to_vec());
    client.raw(&frame).await;
    let answer = client.frame().await.unwrap();
    assert_eq!(
        (answer.command(), answer.header.seq),
        (Some(Command::RemoveSessionRsp), 3)
    );
    assert_eq!(rig.db.state().queries[0].command, 0x0206);
}

#[tokio::test]
async fn what_has_no_answer_gets_none_and_bad_bodies_are_ignored() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    let read = ImMsgDataReadAck {
        user_id: 1,
        session_id: 8,
        msg_id: 5,
        session_type: 1,
    };
    client.send(Command::MsgDataReadAck, 3, &read).await;
    let receipt = ImMsgDataAck {
        user_id: 7,
        session_id: 8,
        msg_id: 5,
        session_type: 1,
    };
    client.send(Command::MsgDataAck, 4, &receipt).await;
    client
        .raw(&im_codec::encode_raw(Command::AllUserReq, 5, b"\xff\xff"))
        .await;
    client
        .raw(&im_codec::encode_raw(Command::LoginRes, 6, b""))
        .await;
    client
        .raw(&im_codec::encode_raw(Command::ServerKickUser, 7, b""))
        .await;
    client
        .raw(&[0, 0, 0, 16, 0, 1, 0, 0, 0, 9, 0x7f, 0x7f, 0, 1, 0, 0])
        .await;
    client.expect_silence().await;
    until("the read position is passed on", || {
        rig.db.state().queries.len() == 1
    })
    .await;
    assert_eq!(rig.db.state().queries[0].command, 0x0303);
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Malformed), 1);
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Command), 3);
}

#[tokio::test]
async fn the_time_is_told() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    client
        .send(Command::ClientTimeReq, 3, &ImClientTimeReq {})
        .await;
    let answer: ImClientTimeRsp = client.expect(Command::ClientTimeRsp, 3).await;
    assert!(answer.server_time > 1_700_000_000);
}

#[tokio::test]
async fn a_device_token_is_taken_from_phones_only() {
    let rig = Rig::start().await;
    let token = ImDeviceTokenReq {
        user_id: 1,
        device_token: "ios:abc".to_owned(),
        client_type: None,
        attach_data: None,
    };
    let mut pc = rig.client(7, WINDOWS).await;
    pc.send(Command::DeviceTokenReq, 3, &token).await;
    pc.expect_silence().await;
    assert!(rig.db.state().queries.is_empty());
    let mut phone = rig.client(7, IOS).await;
    phone.send(Command::DeviceTokenReq, 3, &token).await;
    assert_eq!(
        phone.frame().await.unwrap().command(),
        Some(Command::DeviceTokenRsp)
    );
    assert_eq!(rig.db.state().queries[0].client_type, 17);
}

#[tokio::test]
async fn presence_is_gathered_from_all_shards_and_told_in_the_order_of_the_question() {
    let rig = Rig::start_alone(config(), &["route-a", "route-b"]).await;
    rig.ready().await;
    until("both are in the ring", || {
        rig.dump("routes").as_array().unwrap().len() == 2
    })
    .await;
    let mut client = rig.client(7, WINDOWS).await;
    for route in &rig.routes {
        route.state().online = vec![3, 9, 12];
    }
    let asked: Vec<u32> = (0..20).rev().collect();
    let request = ImUsersStatReq {
        user_id: 0,
        user_id_list: asked.clone(),
        attach_data: None,
    };
    client.send(Command::UsersStatReq, 44, &request).await;
    let answer: ImUsersStatRsp = client.expect(Command::UsersStatRsp, 44).await;
    assert_eq!(answer.user_id, 7);
    let expected: Vec<(u32, i32)> = asked
        .iter()
        .map(|user| (*user, if [3, 9, 12].contains(user) { 1 } else { 2 }))
        .collect();
    let told: Vec<(u32, i32)> = answer
        .user_stat_list
        .iter()
        .map(|stat| (stat.user_id, stat.status))
        .collect();
    assert_eq!(told, expected);
    for route in &rig.routes {
        let calls = &route.state().calls;
        let n = calls
            .iter()
            .filter(|call| matches!(call, route_call::Call::Status(_)))
            .count();
        assert_eq!(n, 1, "each shard is asked for its own");
    }
    let empty = ImUsersStatReq {
        user_id: 0,
        user_id_list: vec![],
        attach_data: None,
    };
    client.send(Command::UsersStatReq, 45, &empty).await;
    let answer: ImUsersStatRsp = client.expect(Command::UsersStatRsp, 45).await;
    assert!(answer.user_stat_list.is_empty());
}

#[tokio::test]
async fn a_lost_route_server_does_not_leave_a_question_open() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.route().state().holds = true;
    let request = ImUsersStatReq {
        user_id: 0,
        user_id_list: vec![8],
        attach_data: None,
    };
    client.send(Command::UsersStatReq, 44, &request).await;
    until("it is asked", || {
        rig.route()
            .state()
            .calls
            .iter()
            .any(|call| matches!(call, route_call::Call::Status(_)))
    })
    .await;
    rig.route().cut(false);
    let answer: ImUsersStatRsp = client.expect(Command::UsersStatRsp, 44).await;
    assert_eq!(answer.user_stat_list[0].status, 2);
}

#[tokio::test]
async fn a_signal_goes_out_in_the_senders_name() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    let signal = Imp2pCmdMsg {
        from_user_id: 99,
        to_user_id: 8,
        cmd_msg_data: "{\"cmd_id\":65537}".to_owned(),
    };
    client.send(Command::P2pCmdMsg, 12, &signal).await;
    let signals = || {
        let route = rig.route().state();
        let signals = route.calls.iter().filter_map(|call| match call {
            route_call::Call::Signal(event) => Some(event.clone()),
            _ => None,
        });
        signals.collect::<Vec<_>>()
    };
    until("it is passed on", || !signals().is_empty()).await;
    let event = signals().remove(0);
    assert_eq!((event.users, event.command), (vec![7, 8], 0x0601));
    assert_eq!(event.except, rig.route().state().sessions[0].epoch);
    let body = Imp2pCmdMsg::decode(event.body).unwrap();
    assert_eq!(
        body,
        Imp2pCmdMsg {
            from_user_id: 7,
            ..signal
        }
    );
}

#[tokio::test]
async fn files_are_answered_as_without_a_file_server() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    let request = ImFileReq {
        from_user_id: 99,
        to_user_id: 8,
        file_name: "C:/a.txt".to_owned(),
        file_size: 10,
        trans_mode: 1,
    };
    client.send(Command::FileReq, 3, &request).await;
    let answer: ImFileRsp = client.expect(Command::FileRsp, 3).await;
    assert_eq!(
        (answer.result_code, answer.from_user_id, answer.to_user_id),
        (1, 7, 8)
    );
    assert_eq!(
        (answer.file_name.as_str(), answer.task_id.as_str()),
        ("C:/a.txt", "")
    );
    assert!(answer.ip_addr_list.is_empty());
    let request = ImFileHasOfflineReq {
        user_id: 0,
        attach_data: None,
    };
    client.send(Command::FileHasOfflineReq, 4, &request).await;
    let answer: ImFileHasOfflineRsp = client.expect(Command::FileHasOfflineRsp, 4).await;
    assert_eq!((answer.user_id, answer.offline_file_list.len()), (7, 0));
    let request = ImFileDelOfflineReq {
        from_user_id: 8,
        to_user_id: 7,
        task_id: "t".to_owned(),
    };
    client.send(Command::FileDelOfflineReq, 5, &request).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn without_db_proxy_some_requests_are_answered_and_the_others_left_open() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, IOS).await;
    rig.db.cut(false);
    until("the link is missed", || rig.dump("db_proxy_link") == false).await;
    client.send(Command::AllUserReq, 1, &all_users()).await;
    let request = ImNormalGroupListReq {
        user_id: 0,
        attach_data: None,
    };
    client.send(Command::NormalGroupListReq, 2, &request).await;
    let answer: ImNormalGroupListRsp = client.expect(Command::NormalGroupListRsp, 2).await;
    assert_eq!(answer.user_id, 7);
    let request = ImGroupInfoListReq::default();
    client.send(Command::GroupInfoListReq, 3, &request).await;
    let answer: ImGroupInfoListRsp = client.expect(Command::GroupInfoListRsp, 3).await;
    assert_eq!((answer.user_id, answer.group_info_list.len()), (7, 0));
    let request = ImGroupCreateReq {
        group_type: 2,
        group_name: "us".to_owned(),
        ..ImGroupCreateReq::default()
    };
    client.send(Command::GroupCreateReq, 4, &request).await;
    let answer: ImGroupCreateRsp = client.expect(Command::GroupCreateRsp, 4).await;
    assert_eq!(
        (
            answer.user_id,
            answer.result_code,
            answer.group_name.as_str()
        ),
        (7, 1, "us")
    );
    let request = ImGroupChangeMemberReq {
        change_type: 2,
        group_id: 5,
        ..ImGroupChangeMemberReq::default()
    };
    client
        .send(Command::GroupChangeMemberReq, 5, &request)
        .await;
    let answer: ImGroupChangeMemberRsp = client.expect(Command::GroupChangeMemberRsp, 5).await;
    assert_eq!(
        (answer.change_type, answer.result_code, answer.group_id),
        (2, 1, 5)
    );
    let request = ImGroupShieldReq {
        group_id: 5,
        ..ImGroupShieldReq::default()
    };
    client.send(Command::GroupShieldReq, 6, &request).await;
    let answer: ImGroupShieldRsp = client.expect(Command::GroupShieldRsp, 6).await;
    assert_eq!(
        (answer.user_id, answer.group_id, answer.result_code),
        (7, 5, 1)
    );
    let token = ImDeviceTokenReq {
        device_token: "t".to_owned(),
        ..ImDeviceTokenReq::default()
    };
    client.send(Command::DeviceTokenReq, 7, &token).await;
    let answer: ImDeviceTokenRsp = client.expect(Command::DeviceTokenRsp, 7).await;
    assert_eq!(answer.user_id, 7);
    client.expect_silence().await;
}

#[tokio::test]
async fn a_connection_with_too_many_open_requests_is_read_later() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    for seq in 1..=40 {
        client.send(Command::AllUserReq, seq, &all_users()).await;
    }
    until("the bound is reached", || {
        rig.gateway.env.metrics.pauses(Pause::Queries) > 0
    })
    .await;
    // What was read may still be on its way to the link.
    until("they are in flight", || rig.gateway.db.sizes().1 >= 16).await;
    assert_eq!(rig.gateway.db.sizes().1, 16);
    rig.db.release();
    for seq in 1..=40 {
        assert_eq!(client.frame().await.unwrap().header.seq, seq);
    }
}

#[tokio::test]
async fn requests_on_a_lost_link_stay_unanswered_and_do_not_block_later_ones() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    rig.db.state().holds = true;
    for seq in 1..=16 {
        client.send(Command::AllUserReq, seq, &all_users()).await;
    }
    until("they are in flight", || rig.gateway.db.sizes().1 == 16).await;
    rig.db.state().holds = false;
    rig.db.cut(true);
    until("they are forgotten", || rig.gateway.db.sizes().1 == 0).await;
    rig.ready().await;
    client.send(Command::AllUserReq, 17, &all_users()).await;
    assert_eq!(client.frame().await.unwrap().header.seq, 17);
}
