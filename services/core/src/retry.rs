//! Recognising that a frame repeats one that was already sent.

use crate::{Conversation, Epoch, TerminalClass, UserId};

/// Identifies one logical send; equal keys within the window mean "the same message again".
///
/// 128 bits of BLAKE3 over what makes a send unique. It is stored with the message, so that a retry
/// is recognised after a restart of every process. Only a sender can produce a collision, and only
/// with messages of his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryKey(pub [u8; 16]);

/// Whose numbers the sequence number of a frame is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSource {
    /// A client that puts its clock into its frames, as the one that repeats them does: the same
    /// second, number and content are the same frame on any connection of the terminal.
    Terminal {
        /// The sender.
        user: UserId,
        /// A user has one terminal of a class.
        class: TerminalClass,
        /// The time in the frame, Unix seconds by the client's clock.
        client_time: u32,
    },
    /// A client without a clock, which may count from 1 again on its next connection.
    Session(Epoch),
}

impl RetryKey {
    /// Key of a frame of an original client: its source, conversation, sequence number, type and
    /// body. `None` for sequence number 0, which never marks a retry.
    pub fn of_frame(
        source: FrameSource,
        conversation: Conversation,
        seq: u32,
        msg_type: u32,
        body: &[u8],
    ) -> Option<Self> {
        (seq != 0).then(|| {
            let mut hasher = blake3::Hasher::new();
            match source {
                FrameSource::Terminal {
                    user,
                    class,
                    client_time,
                } => {
                    hasher.update(b"terminal");
                    hasher.update(&user.get().to_le_bytes());
                    hasher.update(&[match class {
                        TerminalClass::Pc => 1,
                        TerminalClass::Mobile => 2,
                    }]);
                    hasher.update(&client_time.to_le_bytes());
                }
                FrameSource::Session(epoch) => {
                    hasher.update(b"frame");
                    hasher.update(&epoch.0.to_le_bytes());
                }
            }
            hash_conversation(&mut hasher, conversation);
            hasher.update(&seq.to_le_bytes());
            hasher.update(&msg_type.to_le_bytes());
            hasher.update(body);
            Self::finish(&hasher)
        })
    }

    /// Key of a message that carries our own client's random id: it survives a reconnect.
    pub fn of_client_id(
        sender: UserId,
        conversation: Conversation,
        client_msg_id: &[u8; 16],
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"client");
        hasher.update(&sender.get().to_le_bytes());
        hash_conversation(&mut hasher, conversation);
        hasher.update(client_msg_id);
        Self::finish(&hasher)
    }

    fn finish(hasher: &blake3::Hasher) -> Self {
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }
}

fn hash_conversation(hasher: &mut blake3::Hasher, conversation: Conversation) {
    let (kind, a, b) = match conversation {
        Conversation::Pair(low, high) => (1u32, low.get(), high.get()),
        Conversation::Group(group) => (2, group.get(), 0),
    };
    for part in [kind, a, b] {
        hasher.update(&part.to_le_bytes());
    }
}
