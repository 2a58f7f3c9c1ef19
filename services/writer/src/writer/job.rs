//! What the writer is asked to do.

use std::sync::Arc;

use bytes::Bytes;
use im_config::WriterConfig;
use im_core::{ClientType, Conversation, Epoch, FrameSource, GroupId, Peer, RetryKey, UserId};
use im_proto_rpc::v1;
use im_trace::{Hop, Step, Trace, note};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{ChangeMembers, CreateGroup, MembersChanged, Room, WriterError};
use crate::filter::Question;
use crate::reject::RejectReason;

/// `IM.BaseDefine.MsgType` numbers that can be sent.
const SINGLE_TEXT: u32 = 0x01;
const SINGLE_VOICE: u32 = 0x02;
const GROUP_TEXT: u32 = 0x11;
const GROUP_VOICE: u32 = 0x12;

/// A voice message of so many bytes holds its duration only, and is not stored.
const EMPTY_VOICE_BYTES: usize = 4;

/// One entry of the writer's queue.
pub(crate) enum Job {
    /// Messages of one link.
    Sends(SendBatch),
    /// A group change.
    Group {
        job: Box<GroupJob>,
        reply: oneshot::Sender<Result<MembersChanged, WriterError>>,
        _room: Room,
    },
}

/// A change of a group.
pub(crate) enum GroupJob {
    Create(CreateGroup),
    Change(ChangeMembers),
}

/// Where the results of one link's sends go.
pub trait SendSink: Send + Sync {
    /// Takes results of a few bytes each, in the order of their sends; never waits.
    fn push(&self, results: Vec<v1::DbResult>);

    /// Learns that the results of these sends come later, since they wait for the filter; never waits.
    fn held(&self, _tags: Vec<u64>) {}
}

/// Sends of one link in stream order; their results go to its sink together.
pub struct SendBatch {
    /// In stream order.
    pub sends: Vec<Incoming>,
    pub(crate) sink: Arc<dyn SendSink>,
    pub(super) arrived: Instant,
    pub(super) room: Option<Room>,
    /// Has passed the filter.
    pub(super) is_judged: bool,
}

impl SendBatch {
    /// Sends of one link, at most [`MAX_JOB_SENDS`](crate::MAX_JOB_SENDS), whose results go to `sink`.
    pub fn new<S: SendSink + 'static>(sends: Vec<Incoming>, sink: Arc<S>) -> Self {
        Self {
            sends,
            sink,
            arrived: Instant::now(),
            room: None,
            is_judged: false,
        }
    }

    /// Sends that have passed the filter.
    pub(super) fn judged(sends: Vec<Incoming>, sink: Arc<dyn SendSink>) -> Self {
        Self {
            sends,
            sink,
            arrived: Instant::now(),
            room: None,
            is_judged: true,
        }
    }

    /// It goes into the writer's queue.
    pub(super) fn queued(&mut self) {
        self.arrived = Instant::now();
        for send in &self.sends {
            let hop = Hop {
                user: send.sender.get(),
                session: send.origin.0,
                ..Hop::of(Step::Queued)
            };
            note(send.trace.to_wire(), hop);
        }
    }

    /// Bytes of the bodies.
    pub fn bytes(&self) -> usize {
        self.sends.iter().map(|send| send.body.len()).sum()
    }
}

/// A message that passed the rules that need no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Echoed in the result.
    pub tag: u64,
    pub(crate) sender: UserId,
    /// Epoch of the sending session.
    pub(crate) origin: Epoch,
    pub(crate) conversation: Conversation,
    pub(crate) msg_type: u32,
    pub(crate) key: Option<SendKey>,
    pub(crate) body: Bytes,
    pub(crate) trace: Trace,
    /// It may not be stored before the filter has judged it.
    pub(crate) needs_verdict: bool,
}

impl Incoming {
    /// What the filter is asked.
    pub(super) fn question(&self) -> Question {
        Question {
            sender: self.sender,
            peer: match self.receiver() {
                Receiver::User(user) => Peer::User(user),
                Receiver::Group(group) => Peer::Group(group),
            },
            msg_type: self.msg_type,
            body: self.body.clone(),
        }
    }

    /// The other end as the sender sees it.
    pub(super) fn receiver(&self) -> Receiver {
        match self.conversation {
            Conversation::Group(group) => Receiver::Group(group),
            Conversation::Pair(low, high) if low == self.sender => Receiver::User(high),
            Conversation::Pair(low, _) => Receiver::User(low),
        }
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    User(UserId),
    Group(GroupId),
}

/// What a repetition of this send is recognised by, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendKey {
    pub(crate) key: RetryKey,
    pub(crate) window_seconds: u32,
}

/// Bounds that a message is checked against before it is queued.
#[derive(Clone, Copy, Debug)]
pub struct SendRules {
    pub(crate) max_body_bytes: usize,
    pub(crate) client_id_window_seconds: u32,
    pub(crate) frame_window_seconds: u32,
}

impl From<&WriterConfig> for SendRules {
    fn from(config: &WriterConfig) -> Self {
        Self {
            max_body_bytes: config.max_body.as_usize(),
            client_id_window_seconds: config.client_id_window.as_seconds_u32(),
            frame_window_seconds: config.frame_window.as_seconds_u32(),
        }
    }
}

impl SendRules {
    /// Checks what needs no state, and computes the retry key, away from the writer's task.
    ///
    /// # Errors
    /// Why the message can never be stored.
    pub fn admit(&self, tag: u64, send: v1::Send) -> Result<Incoming, RejectReason> {
        let group = match send.msg_type {
            SINGLE_TEXT | SINGLE_VOICE => false,
            GROUP_TEXT | GROUP_VOICE => true,
            _ => return Err(RejectReason::UnknownType),
        };
        let sender = UserId::from_wire(send.from).ok_or(RejectReason::NoSender)?;
        let peer = if group {
            GroupId::from_wire(send.to).map(Peer::Group)
        } else {
            UserId::from_wire(send.to).map(Peer::User)
        };
        let peer = peer.ok_or(RejectReason::NoReceiver)?;
        let conversation = Conversation::of(sender, peer).ok_or(RejectReason::ToOneself)?;
        if send.data.is_empty() {
            return Err(RejectReason::EmptyBody);
        }
        let voice = matches!(send.msg_type, SINGLE_VOICE | GROUP_VOICE);
        if voice && send.data.len() <= EMPTY_VOICE_BYTES {
            return Err(RejectReason::ShortVoice);
        }
        if send.data.len() > self.max_body_bytes {
            return Err(RejectReason::BodyTooLarge);
        }
        let origin = Epoch(send.origin);
        let key = match <&[u8; 16]>::try_from(send.client_msg_id.as_ref()) {
            Ok(id) => Some(SendKey {
                key: RetryKey::of_client_id(sender, conversation, id),
                window_seconds: self.client_id_window_seconds,
            }),
            Err(_) => RetryKey::of_frame(
                frame_source(sender, &send),
                conversation,
                send.client_seq,
                send.msg_type,
                &send.data,
            )
            .map(|key| SendKey {
                key,
                window_seconds: self.frame_window_seconds,
            }),
        };
        Ok(Incoming {
            tag,
            sender,
            origin,
            conversation,
            msg_type: send.msg_type,
            key,
            body: send.data,
            trace: Trace::from_wire(send.trace),
            needs_verdict: false,
        })
    }
}

/// Whose frame this is: that of a terminal, if the client has put its clock into it.
fn frame_source(sender: UserId, send: &v1::Send) -> FrameSource {
    match ClientType::from_wire(send.client_type) {
        Some(client) if send.client_time != 0 => FrameSource::Terminal {
            user: sender,
            class: client.class(),
            client_time: send.client_time,
        },
        _ => FrameSource::Session(Epoch(send.origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SendRules = SendRules {
        max_body_bytes: 10,
        client_id_window_seconds: 600,
        frame_window_seconds: 30,
    };

    fn send(from: u32, to: u32, msg_type: u32, data: &'static [u8]) -> v1::Send {
        v1::Send {
            from,
            to,
            msg_type,
            data: Bytes::from_static(data),
            origin: 9,
            client_seq: 3,
            ..v1::Send::default()
        }
    }

    #[test]
    fn what_can_never_be_stored_is_refused_with_its_reason() {
        let refused = |send| RULES.admit(1, send).unwrap_err();
        assert_eq!(refused(send(1, 2, 0x03, b"x")), RejectReason::UnknownType);
        assert_eq!(refused(send(0, 2, 0x01, b"x")), RejectReason::NoSender);
        assert_eq!(refused(send(1, 0, 0x11, b"x")), RejectReason::NoReceiver);
        assert_eq!(refused(send(1, 1, 0x01, b"x")), RejectReason::ToOneself);
        assert_eq!(refused(send(1, 2, 0x01, b"")), RejectReason::EmptyBody);
        assert_eq!(refused(send(1, 2, 0x02, b"1234")), RejectReason::ShortVoice);
        assert_eq!(refused(send(1, 2, 0x12, b"1234")), RejectReason::ShortVoice);
        assert_eq!(
            refused(send(1, 2, 0x01, b"12345678901")),
            RejectReason::BodyTooLarge
        );
        assert!(RULES.admit(1, send(1, 2, 0x01, b"1234567890")).is_ok());
        assert!(
            RULES.admit(1, send(1, 1, 0x11, b"x")).is_ok(),
            "a group may have a user's number"
        );
    }

    #[test]
    fn a_clock_in_the_frame_makes_the_key_that_of_the_terminal() {
        let key = |change: &dyn Fn(&mut v1::Send)| {
            let mut frame = send(1, 2, 1, b"x");
            (frame.client_type, frame.client_time) = (0x01, 1_700_000_000);
            change(&mut frame);
            RULES.admit(1, frame).unwrap().key.unwrap()
        };
        let first = key(&|_| {});
        assert_eq!(first.window_seconds, 30);
        assert_eq!(key(&|frame| frame.origin = 10), first, "another session");
        assert_eq!(key(&|frame| frame.client_type = 0x02), first, "same class");
        let others: [&dyn Fn(&mut v1::Send); 5] = [
            &|frame| frame.client_type = 0x12,
            &|frame| frame.client_time += 1,
            &|frame| frame.client_seq += 1,
            &|frame| frame.data = Bytes::from_static(b"y"),
            &|frame| (frame.from, frame.to) = (2, 1),
        ];
        for other in others {
            assert_ne!(key(other), first);
        }
        // Without a clock, or from a msg server that tells no type, the session counts.
        for change in [
            (&|frame: &mut v1::Send| frame.client_time = 0) as &dyn Fn(&mut v1::Send),
            &|frame| frame.client_type = 0,
        ] {
            let elsewhere = key(&|frame| {
                change(frame);
                frame.origin = 10;
            });
            assert_ne!(key(change), elsewhere);
        }
    }

    #[test]
    fn a_client_id_replaces_session_and_sequence_in_the_key() {
        let plain = RULES.admit(1, send(1, 2, 1, b"x")).unwrap().key.unwrap();
        assert_eq!(plain.window_seconds, 30);
        let mut other = send(1, 2, 1, b"x");
        other.client_seq = 4;
        assert_ne!(
            RULES.admit(1, other.clone()).unwrap().key.unwrap().key,
            plain.key
        );
        other.client_seq = 0;
        assert_eq!(RULES.admit(1, other.clone()).unwrap().key, None);
        other.client_msg_id = Bytes::from_static(b"0123456789abcdef");
        let first = RULES.admit(1, other.clone()).unwrap().key.unwrap();
        assert_eq!(first.window_seconds, 600);
        other.origin = 77;
        other.client_seq = 12;
        assert_eq!(RULES.admit(1, other).unwrap().key, Some(first));
    }
}
