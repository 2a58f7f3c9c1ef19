use super::*;
use crate::encode::{encode_raw, heartbeat};

fn limit(bytes: u32) -> FrameLimit {
    FrameLimit::new(bytes)
}

#[test]
fn a_length_is_unknown_before_its_four_bytes_are_there() {
    for bytes in [&[][..], &[0], &[0xff, 0xff, 0xff]] {
        assert!(matches!(peek_len(bytes, DEFAULT_MAX_INBOUND), Ok(None)));
    }
}

#[test]
fn a_length_below_the_header_is_an_error_at_once() {
    for length in 0..16_u32 {
        let refused = peek_len(&length.to_be_bytes(), DEFAULT_MAX_INBOUND);
        assert!(matches!(refused, Err(FrameError::TooShort { length: found }) if found == length));
    }
    assert!(matches!(
        peek_len(&16_u32.to_be_bytes(), DEFAULT_MAX_INBOUND),
        Ok(Some(16))
    ));
}

#[test]
fn a_length_above_the_limit_is_an_error_at_once() {
    assert!(matches!(
        peek_len(&100_u32.to_be_bytes(), limit(100)),
        Ok(Some(100))
    ));
    for length in [101, 1 << 31, u32::MAX] {
        assert!(matches!(
            peek_len(&length.to_be_bytes(), limit(100)),
            Err(FrameError::TooLong { length: found, limit: 100 }) if found == length
        ));
    }
}

#[test]
fn a_limit_is_never_below_a_header() {
    assert_eq!(limit(0).get(), 16);
    assert_eq!(limit(17).get(), 17);
    assert_eq!(FrameLimit::default(), DEFAULT_MAX_INBOUND);
}

#[test]
fn a_bad_length_reserves_nothing() {
    for length in [0, 15, DEFAULT_MAX_INBOUND.get() + 1, u32::MAX] {
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(&length.to_be_bytes());
        let capacity = buffer.capacity();
        assert!(FrameDecoder::default().decode(&mut buffer).is_err());
        assert_eq!(buffer.capacity(), capacity);
        assert_eq!(
            buffer.len(),
            4,
            "the bytes stay for whoever wants to log them"
        );
    }
}

#[test]
fn a_long_frame_reserves_in_steps() {
    let mut buffer = BytesMut::new();
    buffer.extend_from_slice(&DEFAULT_MAX_INBOUND.get().to_be_bytes());
    assert!(matches!(
        FrameDecoder::default().decode(&mut buffer),
        Ok(None)
    ));
    assert!(
        buffer.capacity() < 2 * RESERVE_STEP,
        "{}",
        buffer.capacity()
    );
}

#[test]
fn a_body_is_not_copied() {
    let mut buffer = BytesMut::from(encode_raw(Command::MsgData, 1, &[7; 100]).as_ref());
    let memory = buffer.as_ptr_range();
    let frame = next_frame(&mut buffer, DEFAULT_MAX_INBOUND)
        .expect("good")
        .expect("whole");
    assert!(memory.contains(&frame.body.as_ptr()));
    assert_eq!(frame.body, [7; 100].as_slice());
    assert!(buffer.is_empty());
}

#[test]
fn what_follows_a_frame_stays() {
    let first = encode_raw(Command::MsgData, 1, b"body");
    let bytes = [first.as_ref(), &heartbeat(2), &[0, 0]].concat();

    let (frame, rest) = split_frame(&bytes, DEFAULT_MAX_INBOUND)
        .expect("good")
        .expect("whole");
    assert_eq!((frame.header.seq, frame.body), (1, b"body".as_slice()));
    assert_eq!(rest, &bytes[20..]);

    let mut buffer = BytesMut::from(bytes.as_slice());
    let owned = next_frame(&mut buffer, DEFAULT_MAX_INBOUND)
        .expect("good")
        .expect("whole");
    assert_eq!(owned, frame.to_frame());
    assert_eq!(buffer, rest);
}

#[test]
fn a_frame_goes_back_unchanged() {
    let android: &[u8] = &[0, 0, 0, 18, 0, 6, 0, 9, 0, 7, 7, 1, 0, 3, 0, 0x30, 1, 2];
    let mut buffer = BytesMut::from(android);
    let frame = next_frame(&mut buffer, DEFAULT_MAX_INBOUND)
        .expect("good")
        .expect("whole");
    assert_eq!(frame.command(), Some(Command::HeartBeat));
    assert_eq!(frame.to_bytes(), android);
}

#[test]
fn an_incomplete_frame_is_left_alone() {
    let whole = encode_raw(Command::MsgData, 1, b"body");
    for end in 0..whole.len() {
        let part = &whole[..end];
        assert!(matches!(split_frame(part, DEFAULT_MAX_INBOUND), Ok(None)));
        let mut buffer = BytesMut::from(part);
        assert!(matches!(
            next_frame(&mut buffer, DEFAULT_MAX_INBOUND),
            Ok(None)
        ));
        assert_eq!(buffer, part);
    }
}

#[test]
fn the_limits_are_what_their_comments_say() {
    assert_eq!(DEFAULT_MAX_INBOUND, limit(1 << 20));
    assert_eq!(DEFAULT_MAX_FROM_SERVER, limit(64 << 20));
}

#[test]
fn an_encoded_frame_is_sent_as_it_is_behind_what_waits() {
    let mut buffer = BytesMut::from(&b"waits"[..]);
    let frame = encode_raw(Command::HeartBeat, 3, b"body");
    let mut codec = FrameDecoder::new(DEFAULT_MAX_INBOUND);
    codec.encode(frame.clone(), &mut buffer).unwrap();
    assert_eq!(buffer, [b"waits", &frame[..]].concat());
}
