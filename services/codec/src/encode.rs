//! Making frames: version 1, flag 0, reserved 0, encoded once and shared.

use bytes::{BufMut, Bytes, BytesMut};
use im_proto_teamtalk::TeamtalkMessage;

use crate::command::Command;
use crate::header::{HEADER_LEN, Header};

/// Where the sequence number stands in a frame.
const SEQ_AT: usize = 12;

/// A whole frame with one allocation of exactly its size. `seq` is the request's in an answer
/// and 0 in everything unsolicited.
pub fn encode<M: TeamtalkMessage>(command: Command, seq: u16, message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(HEADER_LEN + length);
    write(&mut out, command, seq, message, length);
    out.freeze()
}

/// A whole frame around a body that is encoded already.
pub fn encode_raw(command: Command, seq: u16, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + body.len());
    append_raw(&mut out, command, seq, body);
    out.freeze()
}

/// Writes a frame behind whatever is in the buffer.
pub fn append<M: TeamtalkMessage>(out: &mut BytesMut, command: Command, seq: u16, message: &M) {
    let length = message.encoded_len();
    out.reserve(HEADER_LEN + length);
    write(out, command, seq, message, length);
}

/// Writes a frame around an encoded body behind whatever is in the buffer.
pub fn append_raw(out: &mut BytesMut, command: Command, seq: u16, body: &[u8]) {
    out.reserve(HEADER_LEN + body.len());
    out.put_slice(&Header::new(command, seq, body.len()).to_bytes());
    out.put_slice(body);
}

/// A heartbeat of our own; a server answers one by sending back the very frame it received.
pub fn heartbeat(seq: u16) -> Bytes {
    Bytes::copy_from_slice(&Header::new(Command::HeartBeat, seq, 0).to_bytes())
}

/// The same frame with another sequence number. Free when nobody else holds the bytes, one copy
/// otherwise; to send one body under many numbers without copying it, write
/// [`Header::to_bytes`] and the shared body as two pieces.
#[must_use]
pub fn stamp_seq(frame: Bytes, seq: u16) -> Bytes {
    let mut frame = frame
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    stamp_seq_in_place(&mut frame, seq);
    frame.freeze()
}

/// Overwrites the sequence number of the frame that starts here; bytes too short for a header
/// stay as they are.
pub fn stamp_seq_in_place(frame: &mut [u8], seq: u16) {
    if let Some(header) = frame.first_chunk_mut::<HEADER_LEN>()
        && let Some(place) = header.get_mut(SEQ_AT..SEQ_AT + 2)
    {
        place.copy_from_slice(&seq.to_be_bytes());
    }
}

fn write<M: TeamtalkMessage>(
    out: &mut BytesMut,
    command: Command,
    seq: u16,
    message: &M,
    length: usize,
) {
    debug_assert_eq!(command.message(), M::KIND, "message of another command");
    out.put_slice(&Header::new(command, seq, length).to_bytes());
    message.encode_raw(out);
}

#[cfg(test)]
mod tests {
    use im_proto_teamtalk::login::ImLogoutRsp;
    use im_proto_teamtalk::message::{ImClientTimeRsp, ImMsgDataAck};

    use super::*;

    const ACK: ImMsgDataAck = ImMsgDataAck {
        user_id: 10,
        session_id: 20,
        msg_id: 5,
        session_type: 1,
    };

    #[test]
    fn a_frame_is_allocated_once_with_exactly_its_size() {
        let frame = encode(Command::MsgDataAck, 0x01a2, &ACK);
        assert_eq!(frame.len(), 24);
        let owned = frame.try_into_mut().expect("nobody shares it");
        assert_eq!(owned.capacity(), 24);
    }

    #[test]
    fn append_puts_frames_one_behind_the_other() {
        let mut out = BytesMut::new();
        append(&mut out, Command::MsgDataAck, 7, &ACK);
        append(
            &mut out,
            Command::LogoutRsp,
            8,
            &ImLogoutRsp { result_code: 0 },
        );
        append_raw(&mut out, Command::LogoutReq, 9, &[]);
        let expected = [
            encode(Command::MsgDataAck, 7, &ACK),
            encode(Command::LogoutRsp, 8, &ImLogoutRsp { result_code: 0 }),
            encode_raw(Command::LogoutReq, 9, &[]),
        ]
        .concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn stamping_changes_the_sequence_number_and_nothing_else() {
        let frame = encode(
            Command::ClientTimeRsp,
            1,
            &ImClientTimeRsp {
                server_time: 1_700_000_000,
            },
        );
        let expected = encode(
            Command::ClientTimeRsp,
            0xff03,
            &ImClientTimeRsp {
                server_time: 1_700_000_000,
            },
        );
        let shared = frame.clone();
        assert_eq!(stamp_seq(frame, 0xff03), expected);
        assert_eq!(
            shared.get(12..14),
            Some(&[0, 1][..]),
            "the shared frame stays as it was"
        );
        let memory = shared.as_ptr();
        let stamped = stamp_seq(shared, 0xff03);
        assert_eq!(stamped, expected);
        assert_eq!(
            stamped.as_ptr(),
            memory,
            "a frame of one owner is stamped in place"
        );
    }

    #[test]
    fn stamping_too_few_bytes_is_harmless() {
        let mut short = [7_u8; 15];
        stamp_seq_in_place(&mut short, 1);
        assert_eq!(short, [7; 15]);
    }

    #[test]
    fn a_heartbeat_is_a_bare_header() {
        assert_eq!(
            heartbeat(3).as_ref(),
            [0, 0, 0, 16, 0, 1, 0, 0, 0, 7, 7, 1, 0, 3, 0, 0]
        );
    }
}
