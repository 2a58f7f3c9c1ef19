//! Where the original servers' behaviour is odd or their clients would not notice: what happens here,
//! as COMPATIBILITY says it.

use bytes::Bytes;
use im_codec::encode_raw;
use im_proto_teamtalk::base::{GroupVersionInfo, UserInfo, UserStatType};
use im_proto_teamtalk::buddy::{
    ImAllUserReq, ImAllUserRsp, ImChangeSignInfoReq, ImChangeSignInfoRsp, ImRemoveSessionReq,
    ImRemoveSessionRsp, ImSignInfoChangedNotify, ImUsersInfoReq, ImUsersInfoRsp,
};
use im_proto_teamtalk::group::{ImGroupInfoListReq, ImGroupInfoListRsp};
use im_proto_teamtalk::login::ImLoginReq;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};

use crate::history::{ids, list, recents, unread};
use crate::support::*;

const ADD: GroupModifyType = GroupModifyType::Add;
const DEL: GroupModifyType = GroupModifyType::Del;

/// D32: what is no status counts as online; so do the others learn it.
#[tokio::test]
async fn a_login_with_an_unknown_status_is_an_online_one() {
    let shared = platform().await;
    let [observer, user] = users();
    let mut other = shared.pc(observer).await;
    // Each takes over from the one before, so that the user stays online.
    let mut pcs = Vec::new();
    for status in [0, 4, 77, -1] {
        let mut pc = Terminal::connect(shared.address).await;
        let request = ImLoginReq {
            online_status: status,
            ..login_request(user, Windows)
        };
        let answer = pc.try_login(&request).await;
        assert_eq!(answer.result_code, 0, "status {status}");
        assert_eq!(
            answer.online_status,
            Some(UserStatType::UserStatusOnline.into())
        );
        pcs.push(pc);
    }
    let stat = other.presence_of(user).await;
    assert_eq!(stat.status, i32::from(UserStatType::UserStatusOnline));
}

/// D33: blanks around a login name do not count; case and everything inside does.
#[tokio::test]
async fn blanks_around_a_login_name_do_not_count() {
    let shared = platform().await;
    let [user] = users();
    let login = async |name: String| {
        let mut pc = Terminal::connect(shared.address).await;
        let request = ImLoginReq {
            user_name: name,
            ..login_request(user, Windows)
        };
        pc.try_login(&request).await
    };
    for (before, behind) in [("", ""), ("", " "), ("", "    "), (" ", "\t")] {
        let answer = login(format!("{before}u{user}{behind}")).await;
        assert_eq!(answer.result_code, 0, "{before:?} {behind:?}");
        let info = answer.user_info.unwrap();
        assert_eq!(info.user_real_name, format!("u{user}"), "as it is stored");
    }
    for name in [format!("U{user}"), format!("u {user}")] {
        assert_eq!(login(name.clone()).await.result_code, 6, "{name:?}");
    }
}

/// D40: phone and mail are everybody's to see, unless they are hidden from all but their owners.
#[tokio::test]
async fn phone_and_mail_are_shown_to_everybody_or_to_their_owners() {
    for (hide, shown) in [("false", true), ("true", false)] {
        let hide = format!("db_proxy.answers.hide_contact={hide}");
        let mut platform = own_platform(2, &[&hide]).await;
        let file = platform.dir().join("contacts.csv");
        let csv = "name,phone,email\nu1,0170 1,u1@example.org\nu2,0170 2,u2@example.org\n";
        std::fs::write(&file, csv).unwrap();
        platform.import_file(&file).unwrap();

        let mut pc = Terminal::connect(platform.msg_address("all")).await;
        let own = pc.try_login(&login_request(1, Windows)).await;
        let contact = |info: &UserInfo| (info.user_tel.clone(), info.email.clone());
        let known = |user: u32| (format!("0170 {user}"), format!("u{user}@example.org"));
        let seen = |user: u32| {
            if shown {
                known(user)
            } else {
                (String::new(), String::new())
            }
        };
        assert_eq!(contact(&own.user_info.unwrap()), known(1), "at the login");

        let request = ImUsersInfoReq {
            user_id: 0,
            user_id_list: vec![1, 2],
            attach_data: None,
        };
        let mut named: ImUsersInfoRsp = pc.ask(Command::UsersInfoReq, &request).await;
        named.user_info_list.sort_by_key(|info| info.user_id);
        let named: Vec<_> = named.user_info_list.iter().map(contact).collect();
        assert_eq!(named, [known(1), seen(2)], "0x0204");

        let request = ImAllUserReq {
            user_id: 0,
            latest_update_time: 0,
            attach_data: None,
        };
        let mut all: ImAllUserRsp = pc.ask(Command::AllUserReq, &request).await;
        all.user_list.sort_by_key(|info| info.user_id);
        let all: Vec<_> = all.user_list.iter().map(contact).collect();
        assert_eq!(all, [seen(1), seen(2)], "0x0208, one answer for all");
    }
}

/// D34: a message to nobody is not acknowledged and disturbs nothing; who has left can be written to.
#[tokio::test]
async fn a_message_to_nobody_gets_no_ack_and_one_to_somebody_who_left_is_stored() {
    let shared = platform().await;
    let [a, b, gone] = users();
    let mut pc = shared.pc(a).await;
    let nobody = text_message(a, with_user(3_999_999), "anybody there?");
    for _ in 0..2 {
        pc.send(Command::MsgData, &nobody).await;
    }
    assert_eq!(pc.say(with_user(b), "hello").await.msg_id, 1);
    assert_eq!(commands(&pc.settle().await), []);

    let name = im_e2e::people::name(gone);
    let set = |status| shared.imd(&["admin", "user", "set-status", &name, status]);
    set("left").unwrap();
    assert_eq!(pc.say(with_user(gone), "farewell").await.msg_id, 1);
    set("active").unwrap();
    let mut back = shared.pc(gone).await;
    assert_eq!(ids(&mut back, with_user(a), 0, 10).await, [1]);
}

/// D35: the original's column ends at 4,096 characters; here history has the whole text. Summaries
/// have what every client can decrypt.
#[tokio::test]
async fn a_long_text_is_kept_whole() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut phone = shared.login(b, Ios).await;
    let text = "x".repeat(5_000);
    let ack = pc.say(with_user(b), &text).await;
    assert_eq!(ack.msg_id, 1);
    assert_eq!(text_of(&phone.message().await), text);
    let stored = list(&mut phone, with_user(a), 0, 1)
        .await
        .msg_list
        .remove(0);
    assert!(stored.msg_data.len() > 4_096);
    let as_text = |msg_data: Bytes| {
        text_of(&ImMsgData {
            msg_data,
            ..ImMsgData::default()
        })
    };
    assert_eq!(as_text(stored.msg_data), text);
    let counted = unread(&mut phone, with_user(a)).await.unwrap();
    assert_eq!((counted.unread_cnt, counted.latest_msg_id), (1, 1));
    let recent = recents(&mut phone, 0).await.remove(0);
    for summary in [counted.latest_msg_data, recent.latest_msg_data] {
        assert!(!as_text(summary).is_empty());
    }
}

/// D36: bodies are bytes and pass as they come; texts of the protocol itself must be UTF-8.
#[tokio::test]
async fn bodies_are_bytes_and_names_are_utf_8() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut other = shared.pc(b).await;
    let bytes = Bytes::from_static(&[0xff, 0xfe, 0, b'a', 0xed, 0xa0, 0xbd, 0x80]);
    let message = ImMsgData {
        msg_data: bytes.clone(),
        ..text_message(a, with_user(b), "x")
    };
    let ack: ImMsgDataAck = pc.ask(Command::MsgData, &message).await;
    assert_eq!(ack.msg_id, 1);
    assert_eq!(other.message().await.msg_data, bytes);
    let stored = list(&mut other, with_user(a), 0, 1)
        .await
        .msg_list
        .remove(0);
    assert_eq!(stored.msg_data, bytes);

    let signature = ImChangeSignInfoReq {
        user_id: 0,
        sign_info: "zz".to_owned(),
        attach_data: None,
    };
    let broken = not_utf_8(&signature);
    pc.send_bytes(&encode_raw(Command::ChangeSignInfoReq, 900, &broken))
        .await;
    assert_eq!(commands(&pc.settle().await), [], "ignored, and connected");

    let mut fresh = Terminal::connect(shared.address).await;
    let request = login_request(a, Android);
    let named = ImLoginReq {
        user_name: "zz".to_owned(),
        ..request.clone()
    };
    fresh
        .send_bytes(&encode_raw(Command::LoginReq, 901, &not_utf_8(&named)))
        .await;
    assert_eq!(fresh.try_login(&request).await.result_code, 0);
}

/// The encoded message with its text `zz` replaced by two bytes that are no UTF-8.
fn not_utf_8<M: TeamtalkMessage>(message: &M) -> Vec<u8> {
    let mut body = message.encode_to_vec();
    let at = body.windows(2).position(|two| two == b"zz").unwrap();
    body[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    body
}

/// D37: setting what is set already succeeds, and nobody is told.
#[tokio::test]
async fn setting_the_same_value_twice_succeeds_and_is_told_once() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut other = shared.pc(b).await;
    let mut sign = async |text: &str| {
        let request = ImChangeSignInfoReq {
            user_id: 0,
            sign_info: text.to_owned(),
            attach_data: None,
        };
        let answer: ImChangeSignInfoRsp = pc.ask(Command::ChangeSignInfoReq, &request).await;
        assert_eq!(answer.result_code, 0);
        assert_eq!(answer.sign_info.as_deref(), Some(text));
    };
    let mut told = async || {
        let about_a = |frame: &Frame| {
            frame.command() == Some(Command::SignInfoChangedNotify)
                && body::<ImSignInfoChangedNotify>(frame).changed_user_id == a
        };
        let frame = other.find("a signature", about_a).await;
        body::<ImSignInfoChangedNotify>(&frame).sign_info
    };
    sign("one").await;
    assert_eq!(told().await, "one");
    sign("one").await;
    sign("two").await;
    assert_eq!(told().await, "two", "the repetition was told to nobody");
}

fn removal(session_type: SessionType, session_id: u32) -> ImRemoveSessionReq {
    ImRemoveSessionReq {
        user_id: 0,
        session_type: session_type.into(),
        session_id,
        attach_data: None,
    }
}

/// D10: only a removal that removed something is told to the own other terminals.
#[tokio::test]
async fn a_session_that_is_not_there_is_not_told_as_removed() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut phone = shared.phone(a).await;
    let mut other = shared.pc(b).await;
    let pair = removal(SessionType::Single, b);
    let mut results = Vec::new();
    other.say(with_user(a), "hello").await;
    for _ in 0..2 {
        let answer: ImRemoveSessionRsp = pc.ask(Command::RemoveSessionReq, &pair).await;
        results.push(answer.result_code);
    }
    assert_eq!(results, [0, 1]);
    let seen = commands(&phone.fence(&mut other).await);
    let notices = seen
        .iter()
        .filter(|command| **command == Command::RemoveSessionNotify);
    assert_eq!(notices.count(), 1, "{seen:?}");
}

/// D38: a removed group session comes back with the next message of anybody, as a removed pair does.
#[tokio::test]
async fn a_removed_group_session_comes_back_with_the_next_message() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut other = shared.pc(b).await;
    let group = make_group(&mut other, "g", &[a, b]).await;
    for n in 1..=2 {
        other.say(in_group(group), "hello").await;
        let recent = recents(&mut pc, 0).await.remove(0);
        assert_eq!((recent.session_id, recent.latest_msg_id), (group, n));
        let request = removal(SessionType::Group, group);
        let answer: ImRemoveSessionRsp = pc.ask(Command::RemoveSessionReq, &request).await;
        assert_eq!(answer.result_code, 0);
        assert_eq!(recents(&mut pc, 0).await, []);
        assert_eq!(unread(&mut pc, in_group(group)).await, None);
    }
}

/// D39: a group whose last member has left stays, for nobody but its creator to fill again.
#[tokio::test]
async fn a_group_without_members_can_be_filled_again_by_its_creator() {
    let shared = platform().await;
    let [a, b, stranger] = users();
    let mut creator = shared.pc(a).await;
    let mut member = shared.pc(b).await;
    let mut outside = shared.pc(stranger).await;
    let group = make_group(&mut creator, "g", &[a, b]).await;
    assert_eq!(creator.say(in_group(group), "before").await.msg_id, 1);
    for (who, id) in [(&mut member, b), (&mut creator, a)] {
        let left = change_members(who, group, DEL, &[id]).await;
        assert_eq!(left.result_code, 0);
    }
    // Nobody speaks, nobody reads, nobody else gets in.
    creator
        .send(
            Command::MsgData,
            &text_message(a, in_group(group), "anybody?"),
        )
        .await;
    assert_eq!(infos(&mut creator, group).await, 0);
    for who in [&mut member, &mut outside] {
        let refused = change_members(who, group, ADD, &[b]).await;
        assert_eq!(refused.result_code, 1);
    }
    let filled = change_members(&mut creator, group, ADD, &[a, b]).await;
    assert_eq!(filled.result_code, 0);
    assert_eq!(creator.say(in_group(group), "after").await.msg_id, 2);
    assert_eq!(
        ids(&mut member, in_group(group), 0, 10).await,
        [2],
        "who comes back sees what comes afterwards"
    );
}

/// How many groups the answer to a question about one describes.
async fn infos(asker: &mut Terminal, group: u32) -> usize {
    let request = ImGroupInfoListReq {
        user_id: 0,
        group_version_list: vec![GroupVersionInfo {
            group_id: group,
            version: 0,
        }],
        attach_data: None,
    };
    let answer: ImGroupInfoListRsp = asker.ask(Command::GroupInfoListReq, &request).await;
    answer.group_info_list.len()
}

/// D23: nobody is asked before being put into a group, and everybody may leave.
#[tokio::test]
async fn anybody_may_be_put_into_a_group_and_may_leave_it() {
    let shared = platform().await;
    let [a, b] = users();
    let mut creator = shared.pc(a).await;
    let mut pc = shared.pc(b).await;
    let group = make_group(&mut creator, "surprise", &[a, b]).await;
    creator.say(in_group(group), "hello").await;
    assert_eq!(pc.message().await.to_session_id, group);
    let left = change_members(&mut pc, group, DEL, &[b]).await;
    assert_eq!((left.result_code, left.chg_user_id_list), (0, vec![b]));
    creator.say(in_group(group), "who is left?").await;
    assert_eq!(commands(&pc.fence(&mut creator).await), []);
}
