//! The published frames decode, and encode again to identical bytes.

use bytes::{Bytes, BytesMut};
use im_codec::text::TextCipher;
use im_codec::{
    Command, DEFAULT_MAX_INBOUND, DecodeError, Frame, Violation, decode_checked, encode,
    encode_raw, heartbeat, next_frame, validate,
};
use im_proto_teamtalk::base::{
    ClientType, MsgType, ResultType, SessionType, UnreadInfo, UserInfo, UserStatType,
};
use im_proto_teamtalk::group::ImGroupInfoListReq;
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck, ImUnreadMsgCntRsp};

use crate::document::{Golden, golden_frames};

fn golden(name: &str) -> Vec<u8> {
    golden_frames()
        .into_iter()
        .find(|golden| golden.name == name)
        .expect("known name")
        .bytes
}

fn frame(name: &str) -> Frame {
    let mut buffer = BytesMut::from(golden(name).as_slice());
    next_frame(&mut buffer, DEFAULT_MAX_INBOUND)
        .expect("good")
        .expect("whole")
}

#[test]
fn all_fifty_two_are_here() {
    let names: Vec<_> = golden_frames()
        .into_iter()
        .map(|golden| golden.name)
        .collect();
    let expected: Vec<_> = (1..=52).map(|number| format!("F{number}")).collect();
    assert_eq!(names, expected);
}

#[test]
fn every_frame_decodes_and_encodes_to_identical_bytes() {
    for Golden {
        name,
        complete,
        bytes,
    } in golden_frames()
    {
        let mut buffer = BytesMut::from(bytes.as_slice());
        let frame = next_frame(&mut buffer, DEFAULT_MAX_INBOUND)
            .expect("good")
            .expect("whole");
        assert!(buffer.is_empty(), "{name}");
        assert_eq!(frame.to_bytes(), bytes, "{name}");

        let command = frame.command().expect("known command");
        assert_eq!(frame.header.service_id, command.service() as u16, "{name}");
        assert_eq!(
            validate(command.message(), &frame.body).is_ok(),
            complete,
            "{name}"
        );
        if complete {
            let body = command.message().canonical(frame.body).expect("decodes");
            let again = [frame.header.to_bytes().as_slice(), &body].concat();
            assert_eq!(again, bytes, "{name}");
            if (frame.header.version, frame.header.reserved) == (1, 0) {
                assert_eq!(
                    encode_raw(command, frame.header.seq, &body),
                    bytes,
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn the_incomplete_one_is_the_device_token_answer_without_a_body() {
    let incomplete: Vec<_> = golden_frames()
        .into_iter()
        .filter(|golden| !golden.complete)
        .map(|golden| golden.name)
        .collect();
    assert_eq!(incomplete, ["F38"]);
    let frame = frame("F38");
    assert_eq!(frame.command(), Some(Command::DeviceTokenRsp));
    assert_eq!(
        Command::DeviceTokenRsp.message().canonical(frame.body),
        Err(DecodeError::Violation(Violation::Missing {
            message: "IM.Login.IMDeviceTokenRsp",
            field: "user_id"
        }))
    );
}

#[test]
fn our_heartbeat_is_that_of_windows() {
    assert_eq!(heartbeat(0), golden("F1"));
}

#[test]
fn a_login_carries_what_the_client_meant() {
    let frame = frame("F4");
    let request: ImLoginReq = decode_checked(frame.body).expect("complete");
    assert_eq!(request.user_name, "test");
    assert_eq!(request.password, "e10adc3949ba59abbe56e057f20f883e");
    assert_eq!(request.online_status(), UserStatType::UserStatusOnline);
    assert_eq!(request.client_type(), ClientType::Windows);
    assert_eq!(request.client_version.as_deref(), Some("win_10086"));
}

#[test]
fn a_login_answer_of_ours_is_that_of_the_original() {
    let answer = ImLoginRes {
        server_time: 1_700_000_000,
        result_code: ResultType::RefuseReasonNone.into(),
        result_string: Some("成功".to_owned()),
        online_status: Some(UserStatType::UserStatusOnline.into()),
        user_info: Some(UserInfo {
            user_id: 10,
            user_gender: 1,
            user_nick_name: "Test".to_owned(),
            avatar_url: "http://127.0.0.1:8700/g0/000/000/1.png".to_owned(),
            department_id: 1,
            email: "test@tt.org".to_owned(),
            user_real_name: "test".to_owned(),
            user_tel: String::new(),
            user_domain: "test".to_owned(),
            status: 0,
            sign_info: Some(String::new()),
        }),
        retry_after_ms: None,
    };
    assert_eq!(encode(Command::LoginRes, 1, &answer), golden("F6"));
}

#[test]
fn a_message_of_ours_is_that_of_the_original() {
    let text = TextCipher::default()
        .encrypt("你好".as_bytes())
        .expect("not empty");
    let mut message = ImMsgData {
        from_user_id: 10,
        to_session_id: 20,
        msg_id: 0,
        create_time: 1_700_000_000,
        msg_type: MsgType::SingleText.into(),
        msg_data: Bytes::from(text),
        attach_data: None,
        client_msg_id: None,
    };
    assert_eq!(encode(Command::MsgData, 0x01a2, &message), golden("F9"));
    message.msg_id = 5;
    message.create_time += 1;
    assert_eq!(encode(Command::MsgData, 0, &message), golden("F12"));
    let ack = ImMsgDataAck {
        user_id: 10,
        session_id: 20,
        msg_id: 5,
        session_type: SessionType::Single.into(),
    };
    assert_eq!(encode(Command::MsgDataAck, 0x01a2, &ack), golden("F11"));
}

#[test]
fn unread_texts_can_be_read() {
    let answer: ImUnreadMsgCntRsp = decode_checked(frame("F22").body).expect("complete");
    let [
        UnreadInfo {
            latest_msg_data, ..
        },
    ] = answer.unreadinfo_list.as_slice()
    else {
        panic!("one conversation");
    };
    let text = TextCipher::default()
        .decrypt(latest_msg_data)
        .expect("ciphertext");
    assert_eq!(text, "你好".as_bytes());
}

#[test]
fn a_message_inside_a_routing_blob_is_a_body_too() {
    let request: ImGroupInfoListReq = decode_checked(frame("F37").body).expect("complete");
    let blob = request.attach_data.expect("blob");
    let message: ImMsgData = decode_checked(blob.slice(16..)).expect("complete");
    assert_eq!((message.to_session_id, message.msg_id), (7, 12));
    assert_eq!(message.msg_type(), MsgType::GroupText);
}
