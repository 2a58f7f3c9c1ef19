//! Directory, presence, signatures and avatars.

use im_e2e::originals::Original;
use im_proto_teamtalk::base::{UserInfo, UserStat, UserStatType};
use im_proto_teamtalk::buddy::{
    ImAllUserReq, ImAllUserRsp, ImAvatarChangedNotify, ImChangeAvatarReq, ImChangeAvatarRsp,
    ImChangeSignInfoReq, ImChangeSignInfoRsp, ImDepartmentReq, ImDepartmentRsp,
    ImSignInfoChangedNotify, ImUserStatNotify, ImUsersInfoReq, ImUsersInfoRsp, ImUsersStatReq,
    ImUsersStatRsp, ImpcLoginStatusNotify,
};

use super::world::{PEOPLE, departments, info};
use crate::support::*;

pub(crate) const ONLINE: UserStatType = UserStatType::UserStatusOnline;
pub(crate) const OFFLINE: UserStatType = UserStatType::UserStatusOffline;

/// The request for departments (0x0210).
pub(crate) fn departments_since(client: &Original, since: u32) -> ImDepartmentReq {
    ImDepartmentReq {
        user_id: client.named(),
        latest_update_time: since,
        attach_data: None,
    }
}

/// Takes all departments; gives the time to ask with the next time.
pub(crate) async fn all_departments(client: &mut Original, seq: u16) -> u32 {
    let (user_id, script) = (client.user(), client.script().clone());
    let expected = |got: &ImDepartmentRsp| ImDepartmentRsp {
        user_id,
        latest_update_time: script.stamp(got.latest_update_time),
        dept_list: departments(),
        attach_data: None,
    };
    let got = client.answer(Command::DepartmentRsp, seq, expected).await;
    got.latest_update_time
}

/// Asks for departments that changed since; there are none, and the time is the same.
pub(crate) async fn no_departments_since(client: &mut Original, since: u32) {
    let user_id = client.user();
    let request = departments_since(client, since);
    let expected = |_: &ImDepartmentRsp| ImDepartmentRsp {
        user_id,
        latest_update_time: since,
        dept_list: Vec::new(),
        attach_data: None,
    };
    client.ask(Command::DepartmentReq, &request, expected).await;
}

/// The request for everybody (0x0208).
pub(crate) fn people_since(client: &Original, since: u32) -> ImAllUserReq {
    ImAllUserReq {
        user_id: client.named(),
        latest_update_time: since,
        attach_data: None,
    }
}

/// Takes everybody's record, in whatever order; gives the time to ask with the next time.
pub(crate) async fn all_people(client: &mut Original, seq: u16) -> u32 {
    let (user_id, script) = (client.user(), client.script().clone());
    let expected = |got: &ImAllUserRsp| ImAllUserRsp {
        user_id,
        latest_update_time: script.stamp(got.latest_update_time),
        user_list: in_order_of(&got.user_list, (1..=PEOPLE).map(info).collect()),
        attach_data: None,
    };
    let got = client.answer(Command::AllUserRsp, seq, expected).await;
    got.latest_update_time
}

/// The same records in the order of others.
fn in_order_of(others: &[UserInfo], mut records: Vec<UserInfo>) -> Vec<UserInfo> {
    records.sort_by_key(|it| others.iter().position(|other| other.user_id == it.user_id));
    records
}

/// Asks for the records of these people (0x0204).
pub(crate) async fn details(client: &mut Original, records: Vec<UserInfo>) {
    let user_id = client.user();
    let request = ImUsersInfoReq {
        user_id: client.named(),
        user_id_list: records.iter().map(|it| it.user_id).collect(),
        attach_data: None,
    };
    let expected = |got: &ImUsersInfoRsp| ImUsersInfoRsp {
        user_id,
        user_info_list: in_order_of(&got.user_info_list, records),
        attach_data: None,
    };
    client.ask(Command::UsersInfoReq, &request, expected).await;
}

/// Asks who is online (0x020a); the answer has the order of the question.
pub(crate) async fn statuses(client: &mut Original, people: &[(u32, UserStatType)]) {
    let user_id = client.user();
    let request = ImUsersStatReq {
        user_id: client.named(),
        user_id_list: people.iter().map(|(user, _)| *user).collect(),
        attach_data: None,
    };
    let stat = |(user_id, status): &(u32, UserStatType)| UserStat {
        user_id: *user_id,
        status: (*status).into(),
    };
    let expected = |_: &ImUsersStatRsp| ImUsersStatRsp {
        user_id,
        user_stat_list: people.iter().map(stat).collect(),
        attach_data: None,
    };
    client.ask(Command::UsersStatReq, &request, expected).await;
}

/// Is told that somebody came or went (0x0203).
pub(crate) async fn sees(client: &mut Original, user: u32, status: UserStatType) {
    let expected = ImUserStatNotify {
        user_stat: UserStat {
            user_id: user,
            status: status.into(),
        },
    };
    let about = |it: &ImUserStatNotify| it.user_stat.user_id == user;
    client
        .notice_of(Command::UserStatNotify, about, expected)
        .await;
}

/// A phone is told that its user's PC came or went (0x020e).
pub(crate) async fn pc_is(phone: &mut Original, status: UserStatType) {
    let user_id = phone.user();
    let expected = |_: &ImpcLoginStatusNotify| ImpcLoginStatusNotify {
        user_id,
        login_stat: status.into(),
    };
    phone.notice(Command::PcLoginStatusNotify, expected).await;
}

/// Changes the own signature (0x0213).
pub(crate) async fn sign(client: &mut Original, text: &str) {
    let user_id = client.user();
    let request = ImChangeSignInfoReq {
        user_id: client.named(),
        sign_info: text.to_owned(),
        attach_data: None,
    };
    let expected = |_: &ImChangeSignInfoRsp| ImChangeSignInfoRsp {
        user_id,
        result_code: 0,
        sign_info: Some(text.to_owned()),
        attach_data: None,
    };
    client
        .ask(Command::ChangeSignInfoReq, &request, expected)
        .await;
}

/// Is told of somebody's signature (0x0215).
pub(crate) async fn sees_sign(client: &mut Original, user: u32, text: &str) {
    let expected = ImSignInfoChangedNotify {
        changed_user_id: user,
        sign_info: text.to_owned(),
    };
    let about = |it: &ImSignInfoChangedNotify| it.changed_user_id == user;
    client
        .notice_of(Command::SignInfoChangedNotify, about, expected)
        .await;
}

/// Changes the own avatar (0x020c).
pub(crate) async fn show(client: &mut Original, url: &str) {
    let user_id = client.user();
    let request = ImChangeAvatarReq {
        user_id: client.named(),
        avatar_url: url.to_owned(),
        attach_data: None,
    };
    let expected = |_: &ImChangeAvatarRsp| ImChangeAvatarRsp {
        user_id,
        result_code: 0,
        attach_data: None,
    };
    client
        .ask(Command::ChangeAvatarReq, &request, expected)
        .await;
}

/// Is told of somebody's avatar (0x0212).
pub(crate) async fn sees_avatar(client: &mut Original, user: u32, url: &str) {
    let expected = ImAvatarChangedNotify {
        changed_user_id: user,
        avatar_url: url.to_owned(),
    };
    let about = |it: &ImAvatarChangedNotify| it.changed_user_id == user;
    client
        .notice_of(Command::AvatarChangedNotify, about, expected)
        .await;
}
