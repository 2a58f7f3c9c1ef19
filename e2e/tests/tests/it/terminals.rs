//! Several terminals of one user: classes, kicks, logout, phones and their PC (S-16, S-17).

use std::time::Duration;

use im_proto_teamtalk::base::{KickReasonType, UserStatType};
use im_proto_teamtalk::buddy::{ImUsersStatReq, ImUsersStatRsp, ImpcLoginStatusNotify};
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImKickPcClientReq, ImKickPcClientRsp, ImKickUser,
    ImLogoutReq, ImLogoutRsp,
};
use tokio::time::Instant;

use crate::support::*;

const ONLINE: i32 = UserStatType::UserStatusOnline as i32;
const OFFLINE: i32 = UserStatType::UserStatusOffline as i32;

/// Whether a user is online, as an asker is told.
pub(crate) async fn status_of(asker: &mut Terminal, user: u32) -> i32 {
    let request = ImUsersStatReq {
        user_id: 0,
        user_id_list: vec![user],
        attach_data: None,
    };
    let answer: ImUsersStatRsp = asker.ask(Command::UsersStatReq, &request).await;
    answer.user_stat_list[0].status
}

/// Takes the kick (F18), then the close within two seconds of it (D6, S-17).
async fn expect_kick(terminal: &mut Terminal, reason: KickReasonType) {
    let kick: ImKickUser = terminal.push(Command::KickUser).await;
    assert_eq!(
        kick,
        ImKickUser {
            user_id: terminal.user(),
            kick_reason: reason.into()
        }
    );
    let told = Instant::now();
    terminal.closed().await;
    assert!(
        told.elapsed().as_secs() < 2,
        "closed after {:?}",
        told.elapsed()
    );
}

/// One PC and one phone live together; a second PC or phone replaces its like.
#[tokio::test]
async fn one_terminal_per_class_and_the_older_one_is_kicked() {
    let shared = platform().await;
    let [user, other] = users();
    let mut windows = shared.login(user, Windows).await;
    let mut android = shared.login(user, Android).await;
    let mut mac = shared.login(user, Mac).await;
    expect_kick(&mut windows, KickReasonType::KickReasonDuplicateUser).await;
    let mut ios = shared.login(user, Ios).await;
    expect_kick(&mut android, KickReasonType::KickReasonDuplicateUser).await;

    // Only the two later ones hear of a message, each once.
    let mut sender = shared.pc(other).await;
    sender.say(with_user(user), "to whom?").await;
    for terminal in [&mut mac, &mut ios] {
        assert_eq!(text_of(&terminal.message().await), "to whom?");
        assert!(!commands(&terminal.settle().await).contains(&Command::KickUser));
    }
    // The replaced PC was never missed: no notice says so (trace 20.2).
    assert_eq!(status_of(&mut sender, user).await, ONLINE);
}

/// 0x010a: only a phone ends the PC's session; answered even when there is no PC.
#[tokio::test]
async fn a_phone_ends_the_session_of_its_users_pc() {
    let shared = platform().await;
    let [user] = users();
    let mut pc = shared.pc(user).await;
    let mut phone = shared.phone(user).await;
    let request = ImKickPcClientReq { user_id: 99 };

    pc.send(Command::KickPcClientReq, &request).await;
    assert_eq!(
        commands(&pc.settle().await),
        [],
        "a PC may not, and gets no answer"
    );
    let answer: ImKickPcClientRsp = phone.ask(Command::KickPcClientReq, &request).await;
    assert_eq!(
        answer,
        ImKickPcClientRsp {
            user_id: user,
            result_code: 0
        }
    );
    expect_kick(&mut pc, KickReasonType::KickReasonMobileKick).await;
    let answer: ImKickPcClientRsp = phone.ask(Command::KickPcClientReq, &request).await;
    assert_eq!(answer.result_code, 0);
}

/// F40, S-16: answered, closed, and offline for everybody.
#[tokio::test]
async fn logout_is_answered_and_ends_the_session() {
    let shared = platform().await;
    let [user, observer] = users();
    let mut pc = shared.pc(user).await;
    let mut other = shared.pc(observer).await;
    assert_eq!(status_of(&mut other, user).await, ONLINE);
    let begin = Instant::now();
    let answer: ImLogoutRsp = pc.ask(Command::LogoutReq, &ImLogoutReq {}).await;
    assert_eq!(answer.result_code, 0);
    assert_eq!(commands(&pc.closed().await), []);
    assert!(begin.elapsed() < Duration::from_secs(2), "closed at once");
    let gone = async { while status_of(&mut other, user).await != OFFLINE {} };
    tokio::time::timeout(Duration::from_secs(2), gone)
        .await
        .expect("offline after logout");
    // What comes now waits for the next login.
    let later = other.say(with_user(user), "later").await.msg_id;
    let mut again = shared.pc(user).await;
    assert_eq!(
        commands(&again.settle().await),
        [],
        "a backlog is pulled, never pushed"
    );
    crate::history::expect_unread(&mut again, with_user(observer), 1).await;
    let found = crate::history::ids(&mut again, with_user(observer), 0, 10).await;
    assert_eq!(found, [later]);
}

/// F36: a phone learns at its login that a PC is on, and each change afterwards; PCs
/// are never told.
#[tokio::test]
async fn a_phone_knows_about_its_users_pc() {
    let shared = platform().await;
    let [user] = users();
    let mut pc = shared.pc(user).await;
    let mut phone = shared.phone(user).await;
    let on = ImpcLoginStatusNotify {
        user_id: user,
        login_stat: ONLINE,
    };
    let off = ImpcLoginStatusNotify {
        user_id: user,
        login_stat: OFFLINE,
    };
    assert_eq!(
        phone
            .push::<ImpcLoginStatusNotify>(Command::PcLoginStatusNotify)
            .await,
        on
    );
    assert!(!commands(&pc.settle().await).contains(&Command::PcLoginStatusNotify));
    drop(pc);
    assert_eq!(
        phone
            .push::<ImpcLoginStatusNotify>(Command::PcLoginStatusNotify)
            .await,
        off
    );
    let mut pc = shared.login(user, Mac).await;
    assert_eq!(
        phone
            .push::<ImpcLoginStatusNotify>(Command::PcLoginStatusNotify)
            .await,
        on
    );
    let _: ImLogoutRsp = pc.ask(Command::LogoutReq, &ImLogoutReq {}).await;
    assert_eq!(
        phone
            .push::<ImpcLoginStatusNotify>(Command::PcLoginStatusNotify)
            .await,
        off
    );
}

/// D7: phones only; the answer names the user.
#[tokio::test]
async fn a_push_token_is_taken_from_phones_only() {
    let shared = platform().await;
    let [user] = users();
    let mut pc = shared.pc(user).await;
    let mut phone = shared.login(user, Ios).await;
    let request = ImDeviceTokenReq {
        user_id: 0,
        device_token: "ab".repeat(32),
        client_type: None,
        attach_data: None,
    };
    pc.send(Command::DeviceTokenReq, &request).await;
    let answer: ImDeviceTokenRsp = phone.ask(Command::DeviceTokenReq, &request).await;
    assert_eq!(answer.user_id, user);
    let forget = ImDeviceTokenReq {
        device_token: String::new(),
        ..request
    };
    let answer: ImDeviceTokenRsp = phone.ask(Command::DeviceTokenReq, &forget).await;
    assert_eq!(answer.user_id, user);
    assert_eq!(commands(&pc.settle().await), []);
}
