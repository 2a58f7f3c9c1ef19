use prost::Message as _;

use super::*;
use crate::base::{SessionType, UserInfo};
use crate::buddy::{ImUserStatNotify, ImUsersStatReq};
use crate::login::{ImDeviceTokenReq, ImLoginReq, ImLoginRes};
use crate::message::{ImMsgData, ImMsgDataAck};

const ACK: &[u8] = &[0x08, 10, 0x10, 20, 0x18, 5, 0x20, 1];

fn ack(body: &[u8]) -> Result<(), Violation> {
    validate(MessageKind::ImMsgDataAck, body)
}

fn ack_lacks(field: &'static str) -> Result<(), Violation> {
    Err(Violation::Missing {
        message: "IM.Message.IMMsgDataAck",
        field,
    })
}

#[test]
fn a_complete_body_is_accepted_and_decoded() {
    let message: ImMsgDataAck = decode_checked(Bytes::from_static(ACK)).expect("complete");
    assert_eq!(
        message,
        ImMsgDataAck {
            user_id: 10,
            session_id: 20,
            msg_id: 5,
            session_type: SessionType::Single.into()
        }
    );
}

#[test]
fn bytes_fields_share_the_memory_of_the_body() {
    let message = ImMsgData {
        msg_data: Bytes::from_static(b"text"),
        msg_type: 1,
        ..ImMsgData::default()
    };
    let body = Bytes::from(message.encode_to_vec());
    let decoded: ImMsgData = decode_checked(body.clone()).expect("complete");
    assert!(body.as_ptr_range().contains(&decoded.msg_data.as_ptr()));
}

#[test]
fn the_missing_field_is_named() {
    assert_eq!(ack(&[]), ack_lacks("user_id"));
    assert_eq!(ack(&[0x08, 10, 0x18, 5, 0x20, 1]), ack_lacks("session_id"));
    assert_eq!(ack(&ACK[..6]), ack_lacks("session_type"));
}

#[test]
fn fields_may_come_in_any_order_and_more_than_once() {
    assert_eq!(
        ack(&[0x20, 2, 0x18, 5, 0x10, 20, 0x08, 10, 0x08, 11]),
        Ok(())
    );
}

#[test]
fn an_undeclared_value_of_a_required_enumeration_counts_as_missing() {
    for value in [0, 3, 63, 64, 0x7f] {
        assert_eq!(
            ack(&[0x08, 10, 0x10, 20, 0x18, 5, 0x20, value]),
            ack_lacks("session_type")
        );
    }
    // Minus one, as a C++ client would write it.
    let mut negative = ACK[..7].to_vec();
    negative.extend([0xff; 9]);
    negative.push(1);
    assert_eq!(ack(&negative), ack_lacks("session_type"));
    // Only the low 32 bits of an enumeration count.
    let mut wide = ACK[..7].to_vec();
    wide.extend([0x81, 0x80, 0x80, 0x80, 0x10]);
    assert_eq!(ack(&wide), Ok(()));
}

#[test]
fn a_later_undeclared_value_cannot_replace_a_good_one() {
    assert_eq!(ack(&[ACK, &[0x20, 9]].concat()), ack_lacks("session_type"));
}

#[test]
fn an_undeclared_value_of_an_optional_enumeration_is_tolerated() {
    let mut request = ImDeviceTokenReq {
        user_id: 1,
        device_token: "token".to_owned(),
        client_type: Some(99),
        attach_data: None,
    };
    assert_eq!(
        validate(MessageKind::ImDeviceTokenReq, &request.encode_to_vec()),
        Ok(())
    );
    request.client_type = None;
    assert_eq!(
        validate(MessageKind::ImDeviceTokenReq, &request.encode_to_vec()),
        Ok(())
    );
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped() {
    let unknown: [&[u8]; 5] = [
        &[0xf8, 0x07, 0x80, 1],
        &[0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xfa, 0x07, 2, 0xff, 0xff],
        &[0xfd, 0x07, 1, 2, 3, 4],
        // A group with a number and another group in it.
        &[0xfb, 0x07, 0x08, 1, 0x13, 0x14, 0xfc, 0x07],
    ];
    for field in unknown {
        let body = [field, ACK].concat();
        assert_eq!(ack(&body), Ok(()), "{field:x?}");
        assert!(
            decode_checked::<ImMsgDataAck>(body.into()).is_ok(),
            "{field:x?}"
        );
    }
}

#[test]
fn a_known_field_under_the_wrong_wire_type_counts_as_unknown() {
    let as_bytes = [0x08, 10, 0x12, 1, 20, 0x18, 5, 0x20, 1];
    assert_eq!(ack(&as_bytes), ack_lacks("session_id"));
    // A good occurrence elsewhere is enough for the check; prost is stricter.
    let body = [&as_bytes[..], &[0x10, 20]].concat();
    assert_eq!(ack(&body), Ok(()));
    let refused = decode_checked::<ImMsgDataAck>(body.into());
    assert!(matches!(refused, Err(DecodeError::Prost(_))));
}

#[test]
fn text_that_is_not_utf8_is_refused_by_prost_only() {
    let body: &[u8] = &[0x0a, 2, 0xc4, 0xe3, 0x12, 1, b'x', 0x18, 1, 0x20, 1];
    assert_eq!(validate(MessageKind::ImLoginReq, body), Ok(()));
    let refused = decode_checked::<ImLoginReq>(Bytes::from_static(body));
    assert!(matches!(refused, Err(DecodeError::Prost(_))));
}

#[test]
fn lists_are_accepted_packed_and_unpacked() {
    for body in [&[0x08, 1, 0x10, 2, 0x10, 3][..], &[0x08, 1, 0x12, 2, 2, 3]] {
        let request: ImUsersStatReq = decode_checked(Bytes::copy_from_slice(body)).expect("good");
        assert_eq!(request.user_id_list, [2, 3]);
    }
    assert_eq!(
        validate(MessageKind::ImUsersStatReq, &[0x08, 1, 0x12, 2, 2, 0x80]),
        Err(Violation::Truncated)
    );
}

#[test]
fn our_lists_are_written_unpacked() {
    let request = ImUsersStatReq {
        user_id: 1,
        user_id_list: vec![2, 3],
        attach_data: None,
    };
    assert_eq!(request.encode_to_vec(), [0x08, 1, 0x10, 2, 0x10, 3]);
}

#[test]
fn nested_messages_are_checked_too() {
    let complete = [0x0a, 4, 0x08, 10, 0x10, 1];
    assert!(decode_checked::<ImUserStatNotify>(Bytes::copy_from_slice(&complete)).is_ok());
    assert_eq!(
        validate(MessageKind::ImUserStatNotify, &complete[..1]),
        Err(Violation::Truncated)
    );
    assert_eq!(
        validate(MessageKind::ImUserStatNotify, &[0x0a, 2, 0x08, 10]),
        Err(Violation::Missing {
            message: "IM.BaseDefine.UserStat",
            field: "status"
        })
    );
}

#[test]
fn an_optional_nested_message_must_be_complete_when_it_is_there() {
    let mut response = ImLoginRes {
        server_time: 1,
        ..ImLoginRes::default()
    };
    assert_eq!(
        validate(MessageKind::ImLoginRes, &response.encode_to_vec()),
        Ok(())
    );
    response.user_info = Some(UserInfo::default());
    let mut body = response.encode_to_vec();
    assert_eq!(validate(MessageKind::ImLoginRes, &body), Ok(()));
    body.truncate(4);
    body.extend([0x2a, 0]);
    assert_eq!(
        validate(MessageKind::ImLoginRes, &body),
        Err(Violation::Missing {
            message: "IM.BaseDefine.UserInfo",
            field: "user_id"
        })
    );
}

#[test]
fn a_body_cut_inside_a_field_is_truncated() {
    for end in [1, 3, 5, 7] {
        assert_eq!(ack(&ACK[..end]), Err(Violation::Truncated));
    }
    for body in [
        &[0x0a, 5, b'a'][..],
        &[0x0a, 0x80],
        &[0xfd, 0x07, 1],
        &[0x0b, 0x08, 1],
    ] {
        assert_eq!(
            validate(MessageKind::ImHeartBeat, body),
            Err(Violation::Truncated)
        );
    }
    let huge = [
        0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
    ];
    assert_eq!(
        validate(MessageKind::ImHeartBeat, &huge),
        Err(Violation::Truncated)
    );
}

#[test]
fn bytes_that_are_no_protocol_buffer_are_malformed() {
    let bodies: [&[u8]; 7] = [
        // Field number 0, wire types 6 and 7.
        &[0x00, 1],
        &[0x0e],
        &[0x0f],
        // The end of a group that never began, or of another one.
        &[0x0c],
        &[0x0b, 0x14],
        // Numbers longer than ten bytes, or than 64 bits.
        &[
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 1,
        ],
        &[
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
        ],
    ];
    for body in bodies {
        assert_eq!(
            validate(MessageKind::ImHeartBeat, body),
            Err(Violation::Malformed),
            "{body:x?}"
        );
    }
}

#[test]
fn groups_cannot_exhaust_the_stack() {
    let deep = vec![0x0b; 1_000_000];
    assert_eq!(
        validate(MessageKind::ImHeartBeat, &deep),
        Err(Violation::TooDeep)
    );
    let shallow = [[0x0b; MAX_DEPTH - 1], [0x0c; MAX_DEPTH - 1]].concat();
    assert_eq!(validate(MessageKind::ImHeartBeat, &shallow), Ok(()));
}

#[test]
fn empty_messages_accept_an_empty_body() {
    for kind in [
        MessageKind::ImHeartBeat,
        MessageKind::ImLogoutReq,
        MessageKind::ImClientTimeReq,
    ] {
        assert_eq!(kind.canonical(Bytes::new()), Ok(Vec::new()));
    }
}

#[test]
fn secrets_do_not_appear_in_debug_output() {
    let request = ImLoginReq {
        user_name: "test".to_owned(),
        password: "e10adc3949ba59abbe56e057f20f883e".to_owned(),
        ..ImLoginReq::default()
    };
    let printed = format!("{request:?}");
    assert!(
        printed.contains("test") && !printed.contains("e10adc"),
        "{printed}"
    );
    let request = ImDeviceTokenReq {
        device_token: "abab".to_owned(),
        ..Default::default()
    };
    assert!(!format!("{request:?}").contains("abab"));
}
