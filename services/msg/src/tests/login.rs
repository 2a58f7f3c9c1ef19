//! Login, kicks, logout, and what counts before login.

use im_codec::{Command, HEADER_LEN, Header};
use im_proto_rpc::v1::{Audience, Kick, PcStatus, route_call, route_item};
use im_proto_teamtalk::buddy::{ImAllUserReq, ImpcLoginStatusNotify};
use im_proto_teamtalk::login::{
    ImKickPcClientReq, ImKickPcClientRsp, ImKickUser, ImLoginReq, ImLoginRes, ImLogoutReq,
    ImLogoutRsp,
};
use im_proto_teamtalk::message::ImClientTimeReq;
use prost::Message;

use super::rig::*;
use crate::metrics::Refusal;

#[tokio::test]
async fn a_login_answers_with_everything_the_client_needs() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client
        .send(Command::LoginReq, 0x1234, &login_req("u7", WINDOWS))
        .await;
    let answer: ImLoginRes = client.expect(Command::LoginRes, 0x1234).await;
    assert!(answer.server_time > 1_700_000_000);
    assert_eq!(answer.result_code, 0);
    assert_eq!(answer.result_string.as_deref(), Some("成功"));
    assert_eq!(answer.online_status, Some(1));
    let info = answer.user_info.unwrap();
    assert_eq!((info.user_id, info.user_nick_name.as_str()), (7, "nick 7"));
    assert_eq!(info.sign_info.as_deref(), Some("sign"));
    let session = rig.route().state().sessions[0].clone();
    assert_eq!(
        (session.user, session.client_type, session.status),
        (7, 1, 1)
    );
    assert_eq!(
        (session.server.as_str(), session.address.as_str()),
        ("msg-test", "127.0.0.1")
    );
    assert_eq!(session.client_version, "test/1");
    assert_ne!(session.epoch, 0);
    assert_eq!(session.login_ms, LOGIN_MS, "as db-proxy said");

    rig.db.state().says_no_time = true;
    let _other = rig.client(8, WINDOWS).await;
    let session = rig.route().state().sessions[1].clone();
    assert!(session.login_ms > 1_700_000_000_000, "this clock");
}

#[tokio::test]
async fn the_answer_waits_for_the_route_server_and_nothing_goes_before_it() {
    let rig = Rig::start().await;
    rig.route().state().holds = true;
    let mut client = rig.connect().await;
    client
        .send(Command::LoginReq, 1, &login_req("u7", WINDOWS))
        .await;
    until("the session is announced", || {
        !rig.route().state().sessions.is_empty()
    })
    .await;
    rig.route().push(rig.db.commit(1, &[7]));
    client.expect_silence().await;
    rig.route().release();
    let _: ImLoginRes = client.expect(Command::LoginRes, 1).await;
    rig.route().push(rig.db.commit(1, &[7]));
    assert_eq!(
        client.expect_message().await.msg_id,
        2,
        "what was before is found by the client"
    );
}

#[tokio::test]
async fn a_missing_role_is_named_by_the_result_and_the_connection_ends() {
    let check = async |rig: &Rig, code: i32| {
        let mut client = rig.connect().await;
        client
            .send(Command::LoginReq, 9, &login_req("u7", WINDOWS))
            .await;
        let answer: ImLoginRes = client.expect(Command::LoginRes, 9).await;
        assert_eq!(answer.result_code, code);
        assert_eq!(answer.result_string.as_deref(), Some("服务端异常"));
        assert_eq!(answer.user_info, None);
        client.expect_end().await;
    };
    let rig = Rig::start().await;
    rig.route().cut(false);
    until("the route server is missed", || {
        rig.dump("routes_usable") == false
    })
    .await;
    check(&rig, 5).await;
    rig.login.cut(false);
    until("the login server is missed", || {
        rig.dump("login_links") == 0
    })
    .await;
    check(&rig, 4).await;
    rig.db.cut(false);
    until("db-proxy is missed", || rig.dump("db_proxy_link") == false).await;
    check(&rig, 3).await;
}

#[tokio::test]
async fn wrong_credentials_are_answered_and_then_the_connection_ends() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let request = ImLoginReq {
        password: "wrong".to_owned(),
        ..login_req("u7", ANDROID)
    };
    client.send(Command::LoginReq, 3, &request).await;
    let answer: ImLoginRes = client.expect(Command::LoginRes, 3).await;
    assert_eq!(answer.result_code, 6);
    assert_eq!(answer.result_string.as_deref(), Some("用户名/密码错误"));
    client.expect_end().await;
    assert!(rig.route().state().sessions.is_empty());
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::Credentials), 1);
}

#[tokio::test]
async fn a_second_login_on_a_connection_is_ignored() {
    let rig = Rig::start().await;
    rig.db.state().holds = true;
    let mut client = rig.connect().await;
    client
        .send(Command::LoginReq, 1, &login_req("u7", WINDOWS))
        .await;
    client
        .send(Command::LoginReq, 2, &login_req("u8", WINDOWS))
        .await;
    client.expect_silence().await;
    rig.db.release();
    let answer: ImLoginRes = client.expect(Command::LoginRes, 1).await;
    assert_eq!(answer.user_info.unwrap().user_id, 7);
    client
        .send(Command::LoginReq, 3, &login_req("u8", WINDOWS))
        .await;
    client.expect_silence().await;
    assert_eq!(rig.db.state().logins, 1);
}

#[tokio::test]
async fn a_login_that_cannot_be_read_may_be_sent_again() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client
        .raw(&im_codec::encode_raw(Command::LoginReq, 1, b"\x0a\x02u7"))
        .await;
    client.expect_silence().await;
    client
        .send(Command::LoginReq, 2, &login_req("u7", WINDOWS))
        .await;
    let _: ImLoginRes = client.expect(Command::LoginRes, 2).await;
}

#[tokio::test]
async fn a_wanted_presence_that_does_not_exist_counts_as_online() {
    let rig = Rig::start().await;
    for (wanted, accepted) in [(3, 3), (9, 1)] {
        let mut client = rig.connect().await;
        let request = ImLoginReq {
            online_status: wanted,
            ..login_req("u7", WINDOWS)
        };
        client.send(Command::LoginReq, 2, &request).await;
        let answer: ImLoginRes = client.expect(Command::LoginRes, 2).await;
        assert_eq!(answer.online_status, Some(accepted));
    }
}

#[tokio::test]
async fn before_login_only_login_and_heartbeat_have_an_effect() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(Command::MsgData, 5, &text(8, "early")).await;
    client
        .send(Command::ClientTimeReq, 6, &ImClientTimeReq {})
        .await;
    let request = ImAllUserReq {
        user_id: 7,
        latest_update_time: 0,
        attach_data: None,
    };
    client.send(Command::AllUserReq, 7, &request).await;
    client.send(Command::LogoutReq, 8, &ImLogoutReq {}).await;
    client.expect_silence().await;
    assert_eq!(rig.gateway.env.metrics.refusals(Refusal::NotLoggedIn), 4);
    assert!(rig.db.state().sends.is_empty() && rig.db.state().queries.is_empty());
}

#[tokio::test]
async fn a_heartbeat_comes_back_unchanged() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    // As the Android client sends it, with a body that nobody expects.
    let mut bytes = vec![0, 0, 0, 18, 0, 6, 0, 9, 0, 7, 7, 1, 0xff, 3, 0, 0x30, 1, 2];
    client.raw(&bytes).await;
    let frame = client.frame().await.unwrap();
    assert_eq!(frame.to_bytes(), bytes);
    bytes.truncate(HEADER_LEN);
    bytes[3] = 16;
    client.raw(&bytes).await;
    let frame = client.frame().await.unwrap();
    assert_eq!(frame.header, Header::parse(bytes.first_chunk().unwrap()));
}

#[tokio::test]
async fn a_kicked_client_is_told_and_then_closed() {
    let rig = Rig::start().await;
    let mut client = rig.client(7, WINDOWS).await;
    let mut other = rig.client(7, IOS).await;
    let epoch = rig.route().state().sessions[0].epoch;
    let kick = Kick {
        user: 7,
        epoch,
        reason: 1,
        ..Kick::default()
    };
    rig.route().send(0, vec![route_item::Item::Kick(kick)]);
    let told: ImKickUser = client.expect(Command::KickUser, 0).await;
    assert_eq!((told.user_id, told.kick_reason), (7, 1));
    // Nothing it sends counts any more.
    client.send(Command::MsgData, 5, &text(8, "too late")).await;
    client.expect_end().await;
    until("the session is taken back", || {
        rig.route().state().sessions.len() == 1
    })
    .await;
    assert!(rig.db.state().sends.is_empty());
    other.expect_silence().await;
}

#[tokio::test]
async fn a_kick_selects_by_class_and_spares_the_exception() {
    let rig = Rig::start().await;
    let mut pc = rig.client(7, MAC).await;
    let mut phone = rig.client(7, ANDROID).await;
    let kick = Kick {
        user: 7,
        audience: Audience::Pc as i32,
        reason: 2,
        ..Kick::default()
    };
    rig.route().send(0, vec![route_item::Item::Kick(kick)]);
    let told: ImKickUser = pc.expect(Command::KickUser, 0).await;
    assert_eq!(told.kick_reason, 2);
    phone.expect_silence().await;
    let except = rig
        .route()
        .state()
        .sessions
        .iter()
        .find(|s| s.client_type == 18)
        .unwrap()
        .epoch;
    let kick = Kick {
        user: 7,
        except,
        reason: 1,
        ..Kick::default()
    };
    rig.route().send(0, vec![route_item::Item::Kick(kick)]);
    phone.expect_silence().await;
}

#[tokio::test]
async fn a_login_that_is_kicked_before_its_answer_hears_both() {
    let rig = Rig::start().await;
    rig.route().state().holds = true;
    let mut client = rig.connect().await;
    client
        .send(Command::LoginReq, 1, &login_req("u7", WINDOWS))
        .await;
    until("the session is announced", || {
        !rig.route().state().sessions.is_empty()
    })
    .await;
    let epoch = rig.route().state().sessions[0].epoch;
    let kick = Kick {
        user: 7,
        epoch,
        reason: 1,
        ..Kick::default()
    };
    rig.route().send(0, vec![route_item::Item::Kick(kick)]);
    let answer: ImLoginRes = client.expect(Command::LoginRes, 1).await;
    assert_eq!(answer.result_code, 0);
    let _: ImKickUser = client.expect(Command::KickUser, 0).await;
    client.expect_end().await;
    assert_eq!(rig.dump("pending_logins"), 0);
}

#[tokio::test]
async fn a_phone_may_kick_the_pc_and_a_pc_may_not() {
    let rig = Rig::start().await;
    let mut phone = rig.client(7, IOS).await;
    let mut pc = rig.client(7, WINDOWS).await;
    pc.send(
        Command::KickPcClientReq,
        4,
        &ImKickPcClientReq { user_id: 7 },
    )
    .await;
    pc.expect_silence().await;
    phone
        .send(
            Command::KickPcClientReq,
            5,
            &ImKickPcClientReq { user_id: 99 },
        )
        .await;
    let answer: ImKickPcClientRsp = phone.expect(Command::KickPcClientRsp, 5).await;
    assert_eq!((answer.user_id, answer.result_code), (7, 0));
    let kicks = || {
        let route = rig.route().state();
        let kicks = route.calls.iter().filter_map(|call| match call {
            route_call::Call::Kick(kick) => Some(*kick),
            _ => None,
        });
        kicks.collect::<Vec<_>>()
    };
    until("the kick is passed on", || !kicks().is_empty()).await;
    let kick = kicks()[0];
    assert_eq!((kick.user, kick.epoch, kick.reason), (7, 0, 2));
    assert_eq!(kick.audience(), Audience::Pc);
}

#[tokio::test]
async fn phones_hear_of_their_users_pc() {
    let rig = Rig::start().await;
    let mut phone = rig.client(7, ANDROID).await;
    let mut pc = rig.client(7, WINDOWS).await;
    let status = |online| route_item::Item::PcStatus(PcStatus { user: 7, online });
    rig.route().send(0, vec![status(true), status(false)]);
    let on: ImpcLoginStatusNotify = phone.expect(Command::PcLoginStatusNotify, 0).await;
    let off: ImpcLoginStatusNotify = phone.expect(Command::PcLoginStatusNotify, 0).await;
    assert_eq!((on.user_id, on.login_stat, off.login_stat), (7, 1, 2));
    pc.expect_silence().await;
}

#[tokio::test]
async fn a_logout_is_answered_and_ends_the_session() {
    let rig = Rig::start().await;
    let mut phone = rig.client(7, ANDROID).await;
    phone.send(Command::LogoutReq, 9, &ImLogoutReq {}).await;
    let answer: ImLogoutRsp = phone.expect(Command::LogoutRsp, 9).await;
    assert_eq!(answer.result_code, 0);
    phone.expect_end().await;
    until("the session is taken back", || {
        rig.route().state().sessions.is_empty()
    })
    .await;
    until("the push token is forgotten", || {
        !rig.db.state().queries.is_empty()
    })
    .await;
    let query = rig.db.state().queries[0].clone();
    assert_eq!((query.user, query.command), (7, 0x0108));
    let token = im_proto_teamtalk::login::ImDeviceTokenReq::decode(query.body).unwrap();
    assert_eq!(token.device_token, "");

    let mut pc = rig.client(8, WINDOWS).await;
    pc.send(Command::LogoutReq, 9, &ImLogoutReq {}).await;
    let _: ImLogoutRsp = pc.expect(Command::LogoutRsp, 9).await;
    pc.expect_end().await;
    assert_eq!(
        rig.db.state().queries.len(),
        1,
        "a PC has no push token to forget"
    );
    assert_eq!(rig.dump("sessions"), 0);
}
