//! Random messages survive the way through a frame.

use bytes::{Bytes, BytesMut};
use im_codec::text::TextCipher;
use im_codec::{
    Command, DEFAULT_MAX_FROM_SERVER, TeamtalkMessage, decode_checked, encode, next_frame,
    stamp_seq, validate,
};
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::buddy::ImAllUserRsp;
use im_proto_teamtalk::group::ImGroupChangeMemberNotify;
use im_proto_teamtalk::login::ImLoginReq;
use im_proto_teamtalk::message::ImMsgData;
use proptest::collection::vec;
use proptest::prelude::*;

fn through_a_frame<M: TeamtalkMessage + PartialEq>(
    command: Command,
    seq: u16,
    message: &M,
) -> Result<(), TestCaseError> {
    let bytes = encode(command, seq, message);
    let mut buffer = BytesMut::from(bytes.as_ref());
    let frame = next_frame(&mut buffer, DEFAULT_MAX_FROM_SERVER)
        .expect("good")
        .expect("whole");
    prop_assert!(buffer.is_empty());
    prop_assert_eq!(frame.command(), Some(command));
    prop_assert_eq!(frame.header.seq, seq);
    prop_assert_eq!(frame.header.service_id, command.service() as u16);
    prop_assert_eq!(&decode_checked::<M>(frame.body).expect("complete"), message);
    prop_assert_eq!(stamp_seq(bytes.clone(), 9), encode(command, 9, message));
    Ok(())
}

fn any_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

prop_compose! {
    fn any_message()(
        numbers in any::<[u32; 4]>(),
        msg_type in prop::sample::select(vec![1, 2, 0x11, 0x12]),
        msg_data in any_bytes(500),
        attach_data in prop::option::of(any_bytes(30)),
        client_msg_id in prop::option::of(any::<[u8; 16]>()),
    ) -> ImMsgData {
        let [from_user_id, to_session_id, msg_id, create_time] = numbers;
        ImMsgData {
            from_user_id,
            to_session_id,
            msg_id,
            create_time,
            msg_type,
            msg_data,
            attach_data,
            client_msg_id: client_msg_id.map(|id| Bytes::copy_from_slice(&id)),
        }
    }
}

prop_compose! {
    fn any_user()(
        numbers in any::<[u32; 4]>(),
        texts in any::<[String; 6]>(),
        sign_info in any::<Option<String>>(),
    ) -> UserInfo {
        let [user_id, user_gender, department_id, status] = numbers;
        let [user_nick_name, avatar_url, email, user_real_name, user_tel, user_domain] = texts;
        UserInfo {
            user_id,
            user_gender,
            user_nick_name,
            avatar_url,
            department_id,
            email,
            user_real_name,
            user_tel,
            user_domain,
            status,
            sign_info,
        }
    }
}

proptest! {
    #[test]
    fn chat_messages(seq in any::<u16>(), message in any_message()) {
        through_a_frame(Command::MsgData, seq, &message)?;
    }

    #[test]
    fn logins(
        seq in any::<u16>(),
        user_name in any::<String>(),
        password in any::<String>(),
        online_status in 1..=3,
        client_type in prop::sample::select(vec![1, 2, 0x11, 0x12]),
        client_version in any::<Option<String>>(),
    ) {
        let request = ImLoginReq {
            user_name, password, online_status, client_type, client_version, features: None
        };
        through_a_frame(Command::LoginReq, seq, &request)?;
    }

    #[test]
    fn directories(user_id in any::<u32>(), latest_update_time in any::<u32>(), user_list in vec(any_user(), 0..10)) {
        let answer = ImAllUserRsp { user_id, latest_update_time, user_list, attach_data: None };
        through_a_frame(Command::AllUserRsp, 1, &answer)?;
    }

    #[test]
    fn member_lists(
        user_id in any::<u32>(),
        change_type in 1..=2,
        group_id in any::<u32>(),
        cur_user_id_list in vec(any::<u32>(), 0..500),
        chg_user_id_list in vec(any::<u32>(), 0..50),
    ) {
        let notice = ImGroupChangeMemberNotify {
            user_id,
            change_type,
            group_id,
            cur_user_id_list,
            chg_user_id_list,
        };
        through_a_frame(Command::GroupChangeMemberNotify, 0, &notice)?;
    }

    #[test]
    fn bodies_cut_anywhere_never_panic(message in any_message(), at in any::<prop::sample::Index>()) {
        let frame = encode(Command::MsgData, 1, &message);
        let body = frame.slice(16..);
        let cut = body.slice(..at.index(body.len()));
        // Everything from the last required field on is optional.
        let checked = validate(ImMsgData::KIND, &cut);
        prop_assert_eq!(checked.is_ok(), decode_checked::<ImMsgData>(cut).is_ok());
    }

    #[test]
    fn texts(clear in vec(any::<u8>(), 1..600)) {
        let cipher = TextCipher::default();
        let secret = cipher.encrypt(&clear).expect("not empty");
        let blocks = (clear.len() + 4).div_ceil(16);
        prop_assert_eq!(secret.len(), (blocks * 16).div_ceil(3) * 4);
        prop_assert_eq!(cipher.decrypt(secret.as_bytes()), Ok(clear));
    }

    #[test]
    fn random_texts_never_panic(secret in vec(any::<u8>(), 0..200)) {
        if let Ok(clear) = TextCipher::default().decrypt(&secret) {
            prop_assert!(clear.len() <= secret.len());
        }
    }
}
