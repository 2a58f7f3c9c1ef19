//! Shields and fixed groups (D7), and the file commands as long as there is
//! no file server.

use im_proto_teamtalk::base::{GroupVersionInfo, TransferFileType};
use im_proto_teamtalk::file::{
    ImFileAddOfflineReq, ImFileDelOfflineReq, ImFileHasOfflineReq, ImFileHasOfflineRsp, ImFileReq,
    ImFileRsp,
};
use im_proto_teamtalk::group::{
    ImGroupInfoListReq, ImGroupInfoListRsp, ImGroupShieldReq, ImGroupShieldRsp,
    ImNormalGroupListReq, ImNormalGroupListRsp,
};
use im_proto_teamtalk::login::{
    ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq, ImQueryPushShieldRsp,
};

use crate::support::*;

/// One flag per user, for all of his terminals.
#[tokio::test]
async fn the_night_shield_is_kept_per_user() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut phone = shared.login(a, Ios).await;
    let mut other = shared.pc(b).await;
    let query = ImQueryPushShieldReq {
        user_id: 0,
        attach_data: None,
    };
    for status in [1, 0, 1] {
        let set = ImPushShieldReq {
            user_id: b,
            shield_status: status,
            attach_data: None,
        };
        let answer: ImPushShieldRsp = phone.ask(Command::PushShieldReq, &set).await;
        assert_eq!((answer.user_id, answer.result_code), (a, 0));
        assert_eq!(answer.shield_status, Some(status));
        let answer: ImQueryPushShieldRsp = pc.ask(Command::QueryPushShieldReq, &query).await;
        assert_eq!((answer.user_id, answer.result_code), (a, 0));
        assert_eq!(answer.shield_status, Some(status));
    }
    let answer: ImQueryPushShieldRsp = other.ask(Command::QueryPushShieldReq, &query).await;
    assert_eq!(
        answer.shield_status,
        Some(0),
        "off until it is set; the id is the session's"
    );
}

/// D7: one flag per group and member, shown in the group's info; members only.
#[tokio::test]
async fn a_group_can_be_shielded_by_each_member_for_himself() {
    let shared = platform().await;
    let [a, b, stranger] = users();
    let mut a_pc = shared.pc(a).await;
    let mut b_pc = shared.pc(b).await;
    let mut outside = shared.pc(stranger).await;
    let group = make_group(&mut a_pc, "g", &[a, b]).await;
    let shield = ImGroupShieldReq {
        user_id: 0,
        group_id: group,
        shield_status: 1,
        attach_data: None,
    };
    let answer: ImGroupShieldRsp = a_pc.ask(Command::GroupShieldReq, &shield).await;
    assert_eq!(
        (answer.user_id, answer.group_id, answer.result_code),
        (a, group, 0)
    );
    let answer: ImGroupShieldRsp = outside.ask(Command::GroupShieldReq, &shield).await;
    assert_eq!(
        (answer.user_id, answer.group_id, answer.result_code),
        (stranger, group, 1)
    );
    for (asker, expected) in [(&mut a_pc, 1), (&mut b_pc, 0)] {
        let request = ImGroupInfoListReq {
            user_id: 0,
            group_version_list: vec![GroupVersionInfo {
                group_id: group,
                version: 0,
            }],
            attach_data: None,
        };
        let answer: ImGroupInfoListRsp = asker.ask(Command::GroupInfoListReq, &request).await;
        assert_eq!(answer.group_info_list[0].shield_status, expected);
    }
}

/// D7, D47: a new group is in its members' list before anybody has written in it, and so it is for
/// somebody added later; the answer names the user even when it is empty.
#[tokio::test]
async fn a_new_group_is_listed_for_its_members_before_anybody_writes() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let request = ImNormalGroupListReq {
        user_id: 0,
        attach_data: None,
    };
    let answer: ImNormalGroupListRsp = pc.ask(Command::NormalGroupListReq, &request).await;
    assert_eq!((answer.user_id, answer.group_version_list.len()), (a, 0));
    let group = make_group(&mut pc, "temporary", &[a, b]).await;
    for user in [a, b] {
        let mut again = shared.phone(user).await;
        let answer: ImNormalGroupListRsp = again.ask(Command::NormalGroupListReq, &request).await;
        let listed: Vec<u32> = answer
            .group_version_list
            .iter()
            .map(|one| one.group_id)
            .collect();
        assert_eq!(listed, [group]);
    }
}

/// S-87: where the role is off a request fails with result 1 and the unchanged name, lists are
/// empty, the rest is silent; nobody else hears of it.
#[tokio::test]
async fn files_are_refused_where_there_is_no_file_server() {
    let mut platform = own_platform(2, &["file.enabled=false"]).await;
    let [a, b] = [1, 2];
    let address = platform.msg_address("all");
    let mut pc = Terminal::login(address, a, Windows).await;
    let mut other = Terminal::login(address, b, Windows).await;
    assert!(!platform.file_dir("all").try_exists().unwrap());
    let name = "C:/Users/某人/a b.txt";
    for mode in [
        TransferFileType::FileTypeOnline,
        TransferFileType::FileTypeOffline,
    ] {
        let request = ImFileReq {
            from_user_id: 99,
            to_user_id: b,
            file_name: name.to_owned(),
            file_size: 5,
            trans_mode: mode.into(),
        };
        let answer: ImFileRsp = pc.ask(Command::FileReq, &request).await;
        assert_eq!(
            (answer.result_code, answer.from_user_id, answer.to_user_id),
            (1, a, b)
        );
        assert_eq!(
            (answer.file_name.as_str(), answer.task_id.as_str()),
            (name, "")
        );
        assert_eq!(answer.ip_addr_list, []);
        assert_eq!(answer.trans_mode, i32::from(mode));
    }
    let add = ImFileAddOfflineReq {
        from_user_id: a,
        to_user_id: b,
        task_id: "t".to_owned(),
        file_name: name.to_owned(),
        file_size: 5,
    };
    pc.send(Command::FileAddOfflineReq, &add).await;
    let delete = ImFileDelOfflineReq {
        from_user_id: a,
        to_user_id: b,
        task_id: "t".to_owned(),
    };
    pc.send(Command::FileDelOfflineReq, &delete).await;
    for terminal in [&mut pc, &mut other] {
        let request = ImFileHasOfflineReq {
            user_id: 0,
            attach_data: None,
        };
        let answer: ImFileHasOfflineRsp = terminal.ask(Command::FileHasOfflineReq, &request).await;
        assert_eq!(answer.user_id, terminal.user());
        assert_eq!(answer.ip_addr_list, []);
    }
    assert_eq!(commands(&other.fence(&mut pc).await), []);
    assert_eq!(commands(&pc.settle().await), []);
}
