//! What most modules need, under short names.

pub(crate) use im_client::Password;
pub(crate) use im_codec::{Command, Frame, TeamtalkMessage, decode_checked};
pub(crate) use im_core::ClientType::{Android, Ios, Mac, Windows};
pub(crate) use im_e2e::platform::{CHEAP_HASHES, Options, Platform, Shape};
pub(crate) use im_e2e::shared::{platform, users};
pub(crate) use im_e2e::terminal::{
    Terminal, WAIT, assert_conforms, in_group, login_request, text_message, text_of, with_user,
};
pub(crate) use im_proto_teamtalk::base::{GroupModifyType, GroupType, MsgType, SessionType};
pub(crate) use im_proto_teamtalk::group::{
    ImGroupChangeMemberReq, ImGroupChangeMemberRsp, ImGroupCreateReq, ImGroupCreateRsp,
};

/// Commands of these frames, for comparisons.
pub(crate) fn commands(frames: &[Frame]) -> Vec<Command> {
    frames.iter().filter_map(Frame::command).collect()
}

/// Decodes the body of a frame.
pub(crate) fn body<M: TeamtalkMessage>(frame: &Frame) -> M {
    decode_checked(frame.body.clone()).expect("the body was validated")
}

/// Makes a temporary group and returns its id.
pub(crate) async fn make_group(creator: &mut Terminal, name: &str, members: &[u32]) -> u32 {
    let request = ImGroupCreateReq {
        user_id: 0,
        group_type: GroupType::Tmp.into(),
        group_name: name.to_owned(),
        group_avatar: String::new(),
        member_id_list: members.to_vec(),
        attach_data: None,
    };
    let answer: ImGroupCreateRsp = creator.ask(Command::GroupCreateReq, &request).await;
    assert_eq!(answer.result_code, 0, "make group {name}");
    answer.group_id.expect("a made group has an id")
}

/// Adds or removes members.
pub(crate) async fn change_members(
    by: &mut Terminal,
    group: u32,
    change: GroupModifyType,
    members: &[u32],
) -> ImGroupChangeMemberRsp {
    let request = ImGroupChangeMemberReq {
        user_id: 0,
        change_type: change.into(),
        group_id: group,
        member_id_list: members.to_vec(),
        attach_data: None,
    };
    by.ask(Command::GroupChangeMemberReq, &request).await
}

/// A platform of one process with these settings and people.
pub(crate) async fn own_platform(people: u32, set: &[&str]) -> Platform {
    let set = CHEAP_HASHES.iter().chain(set);
    let options = set.fold(Options::people(people), |options, set| options.set(set));
    Platform::all_in_one(options)
        .await
        .expect("the platform starts")
}
