//! What the messages say: texts that are unique over all runs, since equal ones would be taken for
//! retries, and the figure would be wrong.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use im_client::codec::text::TextCipher;
use im_client::codec::{Command, append};
use im_client::proto::base::MsgType;
use im_client::proto::message::ImMsgData;
use im_core::Peer;

/// Size of a voice body: exactly 100 bytes.
pub(crate) const VOICE_BYTES: usize = 100;

/// Makes message frames.
#[derive(Debug)]
pub(crate) struct Writer {
    cipher: TextCipher,
    run: u128,
    count: Cell<u64>,
}

impl Writer {
    /// A writer whose texts nobody has written before.
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            cipher: TextCipher::default(),
            run: now.as_nanos() ^ (u128::from(std::process::id()) << 96),
            count: Cell::new(0),
        }
    }

    fn next(&self) -> u64 {
        let count = self.count.get() + 1;
        self.count.set(count);
        count
    }

    /// Appends a text message: 108 bytes of ciphertext.
    pub(crate) fn text(
        &self,
        out: &mut BytesMut,
        seq: u16,
        from: u32,
        to: Peer,
    ) -> anyhow::Result<()> {
        let text = format!("{:032x} {:016x} a message of a run", self.run, self.next());
        let kind = match to {
            Peer::User(_) => MsgType::SingleText,
            Peer::Group(_) => MsgType::GroupText,
        };
        let data = Bytes::from(self.cipher.encrypt(text.as_bytes())?);
        append(out, Command::MsgData, seq, &message(from, to, kind, data));
        Ok(())
    }

    /// Appends a voice message with a body of [`VOICE_BYTES`].
    pub(crate) fn voice(&self, out: &mut BytesMut, seq: u16, from: u32, to: Peer) {
        let kind = match to {
            Peer::User(_) => MsgType::SingleAudio,
            Peer::Group(_) => MsgType::GroupAudio,
        };
        let mut body = BytesMut::zeroed(4);
        body.extend_from_slice(&self.run.to_be_bytes());
        body.extend_from_slice(&self.next().to_be_bytes());
        // Sound does not compress, and neither shall this.
        let mut state = self.count.get() | 1;
        while body.len() < VOICE_BYTES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            body.extend_from_slice(&state.to_be_bytes());
        }
        body.truncate(VOICE_BYTES);
        append(
            out,
            Command::MsgData,
            seq,
            &message(from, to, kind, body.freeze()),
        );
    }
}

fn message(from: u32, to: Peer, kind: MsgType, data: Bytes) -> ImMsgData {
    ImMsgData {
        from_user_id: from,
        to_session_id: to.session_id(),
        msg_id: 0,
        create_time: 0,
        msg_type: kind as i32,
        msg_data: data,
        attach_data: None,
        client_msg_id: None,
    }
}

#[cfg(test)]
mod tests {
    use im_client::codec::{DEFAULT_MAX_INBOUND, decode_checked, next_frame};
    use im_core::UserId;

    use super::*;

    fn bob() -> Peer {
        Peer::User(UserId::from_wire(9).unwrap())
    }

    fn bodies(out: &mut BytesMut) -> Vec<ImMsgData> {
        std::iter::from_fn(|| next_frame(out, DEFAULT_MAX_INBOUND).unwrap())
            .map(|frame| decode_checked(frame.body).unwrap())
            .collect()
    }

    #[test]
    fn every_text_is_another_and_can_be_decrypted() {
        let mut out = BytesMut::new();
        let writer = Writer::new();
        writer.text(&mut out, 1, 7, bob()).unwrap();
        writer.text(&mut out, 2, 7, bob()).unwrap();
        Writer::new().text(&mut out, 1, 7, bob()).unwrap();
        let bodies = bodies(&mut out);
        assert_eq!(bodies.len(), 3);
        for (at, message) in bodies.iter().enumerate() {
            assert_eq!(message.msg_data.len(), 108);
            assert!(writer.cipher.is_ciphertext(&message.msg_data));
            assert!(bodies[..at].iter().all(|m| m.msg_data != message.msg_data));
        }
    }

    #[test]
    fn a_voice_body_has_a_hundred_bytes() {
        let mut out = BytesMut::new();
        let writer = Writer::new();
        writer.voice(&mut out, 1, 7, bob());
        writer.voice(&mut out, 2, 7, bob());
        let bodies = bodies(&mut out);
        assert_eq!(bodies[0].msg_data.len(), VOICE_BYTES);
        assert_ne!(bodies[0].msg_data, bodies[1].msg_data);
    }
}
