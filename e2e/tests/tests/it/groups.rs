//! Groups (S-30, S-39, S-46, S-52, S-56 to S-62).

use im_proto_teamtalk::base::GroupVersionInfo;
use im_proto_teamtalk::group::{ImGroupChangeMemberNotify, ImGroupInfoListReq, ImGroupInfoListRsp};

use crate::support::*;

const ADD: GroupModifyType = GroupModifyType::Add;
const DEL: GroupModifyType = GroupModifyType::Del;

fn create_request(name: &str, members: &[u32]) -> ImGroupCreateReq {
    ImGroupCreateReq {
        user_id: 0,
        group_type: GroupType::Tmp.into(),
        group_name: name.to_owned(),
        group_avatar: String::new(),
        member_id_list: members.to_vec(),
        attach_data: None,
    }
}

/// Group infos for (group, version held).
pub(crate) async fn infos(
    asker: &mut Terminal,
    groups: &[(u32, u32)],
) -> Vec<im_proto_teamtalk::base::GroupInfo> {
    let list = groups.iter().map(|(group_id, version)| GroupVersionInfo {
        group_id: *group_id,
        version: *version,
    });
    let request = ImGroupInfoListReq {
        user_id: 0,
        group_version_list: list.collect(),
        attach_data: None,
    };
    let answer: ImGroupInfoListRsp = asker.ask(Command::GroupInfoListReq, &request).await;
    assert_eq!(answer.user_id, asker.user());
    answer.group_info_list
}

fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids
}

/// F52, S-52: the answer has the id and the members, ascending, each once; only the
/// creator is told.
#[tokio::test]
async fn a_made_group_is_answered_to_its_creator_only() {
    let shared = platform().await;
    let [a, b, c] = users();
    let mut creator = shared.pc(a).await;
    let mut member = shared.pc(b).await;
    let answer: ImGroupCreateRsp = creator
        .ask(
            Command::GroupCreateReq,
            &create_request("team 组", &[c, a, b, c, 0, 3_999_999]),
        )
        .await;
    assert_eq!((answer.user_id, answer.result_code), (a, 0));
    assert_eq!(answer.group_name, "team 组");
    assert_eq!(answer.user_id_list, sorted(vec![a, b, c]));
    let group = answer.group_id.unwrap();

    let info = infos(&mut member, &[(group, 0)]).await.remove(0);
    assert_eq!(
        (info.group_id, info.version, info.group_creator_id),
        (group, 1, a)
    );
    assert_eq!(info.group_name, "team 组");
    assert_eq!(info.group_type, i32::from(GroupType::Tmp));
    assert_eq!(sorted(info.group_member_list), sorted(vec![a, b, c]));
    assert_eq!(commands(&member.fence(&mut creator).await), []);
}

/// D22, S-52: no name, no members or too long a name fail with result 1 and the name;
/// a fixed group cannot be made by a client and is not answered.
#[tokio::test]
async fn a_group_needs_a_name_and_members_and_clients_make_temporary_ones_only() {
    let shared = platform().await;
    let [a, b] = users();
    let mut creator = shared.pc(a).await;
    let fixed = ImGroupCreateReq {
        group_type: GroupType::Normal.into(),
        ..create_request("f", &[a, b])
    };
    creator.send(Command::GroupCreateReq, &fixed).await;
    let long = "x".repeat(129);
    let bad: [(&str, &[u32]); 3] = [("", &[a, b]), ("nobody", &[]), (&long, &[a, b])];
    for (name, members) in bad {
        let answer: ImGroupCreateRsp = creator
            .ask(Command::GroupCreateReq, &create_request(name, members))
            .await;
        assert_eq!(
            (answer.result_code, answer.group_id),
            (1, None),
            "name {name:?}"
        );
        assert_eq!(answer.group_name, name);
        assert_eq!(answer.user_id_list, [] as [u32; 0]);
    }
    make_group(&mut creator, &"x".repeat(128), &[a, b]).await;
    assert_eq!(
        commands(&creator.settle().await),
        [],
        "no answer to the fixed group"
    );
}

/// S-30, S-46: every terminal of every member gets a message, the sending one does not;
/// strangers neither send nor receive; who was away finds it counted.
#[tokio::test]
async fn a_group_message_reaches_all_members_once_and_nobody_else() {
    let shared = platform().await;
    let [a, b, c, stranger] = users();
    let mut a_pc = shared.pc(a).await;
    let mut a_phone = shared.phone(a).await;
    let mut b_pc = shared.pc(b).await;
    let mut outside = shared.pc(stranger).await;
    let group = make_group(&mut a_pc, "g", &[a, b, c]).await;
    for n in 1..=10 {
        let ack = a_pc.say(in_group(group), &format!("message {n}")).await;
        assert_eq!((ack.user_id, ack.session_id, ack.msg_id), (a, group, n));
        assert_eq!(ack.session_type, i32::from(SessionType::Group));
    }
    for terminal in [&mut a_phone, &mut b_pc] {
        for n in 1..=10 {
            let copy = terminal.message().await;
            assert_eq!(
                (copy.from_user_id, copy.to_session_id, copy.msg_id),
                (a, group, n)
            );
            assert_eq!(text_of(&copy), format!("message {n}"));
        }
    }
    // No ack and no effect for a stranger, nor for a group that does not exist.
    outside
        .send(
            Command::MsgData,
            &text_message(stranger, in_group(group), "let me in"),
        )
        .await;
    outside
        .send(
            Command::MsgData,
            &text_message(stranger, in_group(3_999_999), "anybody?"),
        )
        .await;
    assert_eq!(outside.say(with_user(b), "hello").await.msg_id, 1);
    assert_eq!(commands(&outside.settle().await), []);
    assert_eq!(text_of(&b_pc.message().await), "hello");
    assert_eq!(commands(&b_pc.settle().await), []);
    assert_eq!(commands(&a_pc.settle().await), []);
    let mut away = shared.pc(c).await;
    crate::history::expect_unread(&mut away, in_group(group), 10).await;
}

/// D24, S-56, S-57: the answer first, then one notice to each terminal of each old and new
/// member but the one that asked; the version grows.
#[tokio::test]
async fn members_changed_is_told_once_to_each_terminal_concerned() {
    let shared = platform().await;
    let [a, b, c] = users();
    let mut a_pc = shared.pc(a).await;
    let mut a_phone = shared.phone(a).await;
    let mut b_pc = shared.pc(b).await;
    let mut c_pc = shared.pc(c).await;
    let group = make_group(&mut a_pc, "g", &[a, b]).await;

    let answer = change_members(&mut a_pc, group, ADD, &[c, b]).await;
    assert_eq!(
        (answer.user_id, answer.result_code, answer.group_id),
        (a, 0, group)
    );
    assert_eq!(answer.change_type, i32::from(ADD));
    assert_eq!(sorted(answer.cur_user_id_list), sorted(vec![a, b, c]));
    assert_eq!(answer.chg_user_id_list, [c], "those who were really new");
    for terminal in [&mut a_phone, &mut b_pc, &mut c_pc] {
        let notice: ImGroupChangeMemberNotify =
            terminal.push(Command::GroupChangeMemberNotify).await;
        assert_eq!((notice.user_id, notice.group_id), (a, group));
        assert_eq!(notice.change_type, i32::from(ADD));
        assert_eq!(sorted(notice.cur_user_id_list), sorted(vec![a, b, c]));
        assert_eq!(notice.chg_user_id_list, [c]);
    }
    assert_eq!(infos(&mut c_pc, &[(group, 0)]).await[0].version, 2);

    let answer = change_members(&mut a_pc, group, DEL, &[c]).await;
    assert_eq!((answer.result_code, answer.chg_user_id_list), (0, vec![c]));
    for terminal in [&mut a_phone, &mut b_pc, &mut c_pc] {
        let notice: ImGroupChangeMemberNotify =
            terminal.push(Command::GroupChangeMemberNotify).await;
        assert_eq!(notice.change_type, i32::from(DEL));
        assert_eq!(sorted(notice.cur_user_id_list), sorted(vec![a, b]));
        assert_eq!(notice.chg_user_id_list, [c]);
        assert!(!commands(&terminal.settle().await).contains(&Command::GroupChangeMemberNotify));
    }
    assert_eq!(commands(&a_pc.settle().await), []);
    // Who was removed neither hears nor speaks any more.
    c_pc.send(
        Command::MsgData,
        &text_message(c, in_group(group), "still here"),
    )
    .await;
    a_pc.say(in_group(group), "without c").await;
    assert_eq!(text_of(&b_pc.message().await), "without c");
    assert_eq!(commands(&c_pc.fence(&mut b_pc).await), []);
}

/// D23, S-56, S-58: who may do what.
#[tokio::test]
async fn members_add_the_creator_removes_and_anybody_may_leave() {
    let shared = platform().await;
    let [a, b, c, d, stranger] = users();
    let mut creator = shared.pc(a).await;
    let mut member = shared.pc(b).await;
    let mut outside = shared.pc(stranger).await;
    let group = make_group(&mut creator, "g", &[a, b, c]).await;
    let refused = |answer: ImGroupChangeMemberRsp| {
        assert_eq!(answer.result_code, 1);
        assert_eq!(answer.group_id, group);
        assert_eq!(answer.cur_user_id_list, [] as [u32; 0]);
        assert_eq!(answer.chg_user_id_list, [] as [u32; 0]);
    };
    refused(change_members(&mut outside, group, ADD, &[stranger]).await);
    refused(change_members(&mut outside, group, DEL, &[c]).await);
    refused(change_members(&mut member, group, DEL, &[c]).await);
    refused(change_members(&mut creator, group, DEL, &[]).await);
    refused(change_members(&mut creator, group, ADD, &[b, c]).await);
    let answer = change_members(&mut member, group, ADD, &[d]).await;
    assert_eq!((answer.result_code, answer.chg_user_id_list), (0, vec![d]));
    let answer = change_members(&mut member, group, DEL, &[b]).await;
    assert_eq!((answer.result_code, answer.chg_user_id_list), (0, vec![b]));
    assert!(
        infos(&mut member, &[(group, 0)]).await.is_empty(),
        "no longer for him"
    );
    let answer = change_members(&mut creator, group, DEL, &[c]).await;
    assert_eq!(answer.result_code, 0);
    assert_eq!(sorted(answer.cur_user_id_list), sorted(vec![a, d]));
}

/// A change of a group that does not exist has no answer.
#[tokio::test]
async fn a_change_of_no_group_is_not_answered() {
    let shared = platform().await;
    let [a] = users();
    let mut pc = shared.pc(a).await;
    let request = ImGroupChangeMemberReq {
        user_id: 0,
        change_type: ADD.into(),
        group_id: 3_999_999,
        member_id_list: vec![a],
        attach_data: None,
    };
    pc.send(Command::GroupChangeMemberReq, &request).await;
    // Changes of one connection are answered in order: the next answer is that of the next.
    make_group(&mut pc, "g", &[a]).await;
    assert_eq!(commands(&pc.settle().await), []);
}

/// D21, S-61: only what is newer than the version held, only for members.
#[tokio::test]
async fn group_info_comes_when_newer_and_for_members_only() {
    let shared = platform().await;
    let [a, b, stranger] = users();
    let mut creator = shared.pc(a).await;
    let mut outside = shared.pc(stranger).await;
    let first = make_group(&mut creator, "first", &[a, b]).await;
    let second = make_group(&mut creator, "second", &[a, b]).await;
    let names = |infos: Vec<im_proto_teamtalk::base::GroupInfo>| {
        infos
            .into_iter()
            .map(|info| info.group_name)
            .collect::<Vec<_>>()
    };
    let wanted = [(first, 0), (second, 0), (3_999_999, 0)];
    let mut all = names(infos(&mut creator, &wanted).await);
    all.sort();
    assert_eq!(all, ["first", "second"]);
    assert_eq!(
        names(infos(&mut creator, &[(first, 1), (second, 0)]).await),
        ["second"]
    );
    assert_eq!(names(infos(&mut outside, &wanted).await), [] as [&str; 0]);
}

/// S-39, S-62: who joins sees what comes afterwards; who comes back sees what comes
/// after coming back.
#[tokio::test]
async fn a_new_member_gets_no_older_backlog() {
    let shared = platform().await;
    let [a, b] = users();
    let mut creator = shared.pc(a).await;
    let mut joiner = shared.pc(b).await;
    let group = make_group(&mut creator, "g", &[a]).await;
    for n in 1..=3 {
        assert_eq!(creator.say(in_group(group), "before").await.msg_id, n);
    }
    for (joined_at, texts) in [(3, 2), (7, 3)] {
        change_members(&mut creator, group, ADD, &[b]).await;
        for _ in 0..texts {
            creator.say(in_group(group), "while here").await;
        }
        let ids = crate::history::ids(&mut joiner, in_group(group), 0, 50).await;
        let expected: Vec<u32> = (joined_at + 1..=joined_at + texts).rev().collect();
        assert_eq!(ids, expected);
        let unread = crate::history::unread(&mut joiner, in_group(group)).await;
        assert_eq!(unread.map(|info| info.unread_cnt), Some(texts));
        change_members(&mut creator, group, DEL, &[b]).await;
        for _ in 0..2 {
            creator.say(in_group(group), "while away").await;
        }
        assert!(
            crate::history::ids(&mut joiner, in_group(group), 0, 50)
                .await
                .is_empty()
        );
        assert!(
            crate::history::unread(&mut joiner, in_group(group))
                .await
                .is_none()
        );
    }
}

/// S-59, S-52: limits of members and of groups per creator hold, with joins side by side too.
#[tokio::test]
async fn limits_of_group_size_and_groups_per_creator_hold() {
    let mut platform = own_platform(
        30,
        &[
            "db_proxy.writer.max_group_members=5",
            "db_proxy.answers.max_groups_per_creator=2",
        ],
    )
    .await;
    let address = platform.msg_address("all");
    let mut creator = Terminal::login(address, 1, Windows).await;
    let group = make_group(&mut creator, "g", &[1, 2]).await;
    let too_many: ImGroupCreateRsp = creator
        .ask(
            Command::GroupCreateReq,
            &create_request("big", &[1, 2, 3, 4, 5, 6]),
        )
        .await;
    assert_eq!(too_many.result_code, 1);
    let mut second = Terminal::login(address, 2, Windows).await;
    let mut waiting = Vec::new();
    for user in 10..30 {
        let request = ImGroupChangeMemberReq {
            user_id: 0,
            change_type: ADD.into(),
            group_id: group,
            member_id_list: vec![user],
            attach_data: None,
        };
        let by = if user % 2 == 0 {
            &mut creator
        } else {
            &mut second
        };
        waiting.push((user, by.send(Command::GroupChangeMemberReq, &request).await));
    }
    let mut joined = 0;
    for (user, seq) in waiting {
        let by = if user % 2 == 0 {
            &mut creator
        } else {
            &mut second
        };
        let answer: ImGroupChangeMemberRsp = by.answer(Command::GroupChangeMemberRsp, seq).await;
        assert!(answer.cur_user_id_list.len() <= 5);
        joined += u32::from(answer.result_code == 0);
    }
    assert_eq!(joined, 3);
    assert_eq!(
        infos(&mut creator, &[(group, 0)]).await[0]
            .group_member_list
            .len(),
        5
    );
    make_group(&mut creator, "second", &[1]).await;
    let third: ImGroupCreateRsp = creator
        .ask(Command::GroupCreateReq, &create_request("third", &[1]))
        .await;
    assert_eq!(third.result_code, 1, "the limit of two groups");
}
