//! What a client hears without having asked.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use im_codec::Frame;
use im_core::{Peer, SessionType};
use im_proto_teamtalk::base::{MsgType, UserInfo, UserStat};
use im_proto_teamtalk::buddy::{
    ImAvatarChangedNotify, ImRemoveSessionNotify, ImSignInfoChangedNotify, ImpcLoginStatusNotify,
};
use im_proto_teamtalk::file::ImFileNotify;
use im_proto_teamtalk::group::ImGroupChangeMemberNotify;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataReadNotify};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use tokio::sync::mpsc;

use crate::error::Error;

/// A message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its fields.
    pub data: ImMsgData,
    /// Whom it was delivered to.
    pub receiver: u32,
}

impl Message {
    /// The conversation as the receiver sees it; nothing when the server sent ids or a type that
    /// the protocol does not know.
    pub fn peer(&self) -> Option<Peer> {
        let data = &self.data;
        match self.session_type()? {
            SessionType::Group => Peer::from_wire(SessionType::Group.to_wire(), data.to_session_id),
            SessionType::Single => {
                let other = if data.from_user_id == self.receiver {
                    data.to_session_id
                } else {
                    data.from_user_id
                };
                Peer::from_wire(SessionType::Single.to_wire(), other)
            }
        }
    }

    /// Single or group, by the message type.
    pub fn session_type(&self) -> Option<SessionType> {
        Some(match MsgType::try_from(self.data.msg_type).ok()? {
            MsgType::SingleText | MsgType::SingleAudio => SessionType::Single,
            MsgType::GroupText | MsgType::GroupAudio => SessionType::Group,
        })
    }

    /// Whether it holds encrypted text.
    pub fn is_text(&self) -> bool {
        matches!(
            MsgType::try_from(self.data.msg_type),
            Ok(MsgType::SingleText | MsgType::GroupText)
        )
    }

    /// Duration in seconds and sound of a voice message.
    pub fn voice(&self) -> Option<(u32, Bytes)> {
        if self.is_text() {
            return None;
        }
        let seconds = u32::from_be_bytes(*self.data.msg_data.first_chunk::<4>()?);
        Some((seconds, self.data.msg_data.slice(4..)))
    }
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Logged in, the first time or again.
    Connected {
        /// The msg server.
        address: String,
        /// The user's own record.
        user: Box<UserInfo>,
    },
    /// The connection is gone; the client tries again after the wait.
    Disconnected {
        /// Why.
        error: Error,
        /// Wait before the next attempt.
        retry_in: Duration,
    },
    /// A message from somebody, or from another terminal of this user.
    Message(Message),
    /// Another terminal of this user read a conversation.
    ReadNotify(ImMsgDataReadNotify),
    /// This terminal has to leave (`KickReasonType`); the client ends.
    Kick {
        /// Why.
        reason: i32,
    },
    /// Somebody's presence changed.
    Presence(UserStat),
    /// This user's PC came or went.
    PcStatus(ImpcLoginStatusNotify),
    /// A group got or lost members.
    GroupChanged(ImGroupChangeMemberNotify),
    /// Somebody changed the signature.
    Signature(ImSignInfoChangedNotify),
    /// Somebody changed the avatar.
    Avatar(ImAvatarChangedNotify),
    /// A signal of another client.
    P2p(Imp2pCmdMsg),
    /// Another terminal of this user hid a conversation.
    SessionRemoved(ImRemoveSessionNotify),
    /// Somebody offers a file.
    File(ImFileNotify),
    /// A frame that fits nothing: an answer nobody waits for, an unknown command, or a body that
    /// does not decode.
    Unmatched(Frame),
    /// So many events found no room because nobody took them.
    Missed {
        /// How many.
        count: u64,
    },
    /// The client ended; nothing follows.
    Closed {
        /// Why, unless it was closed from here.
        error: Option<Error>,
    },
}

/// The events of one client, in order.
///
/// The stream is bounded: what finds no room is dropped and counted in [`Event::Missed`], because
/// a client whose events nobody takes must still get its answers. It ends with the client.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; nothing once the client has ended. Cancellation-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await
    }

    /// The next event if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.queue.try_recv().ok()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll_recv(cx)
    }
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct EventSink {
    queue: mpsc::Sender<Event>,
    missed: u64,
}

impl EventSink {
    pub(crate) fn new(capacity: usize) -> (Self, Events) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (
            Self {
                queue: sender,
                missed: 0,
            },
            Events { queue: receiver },
        )
    }

    pub(crate) fn emit(&mut self, event: Event) {
        if self.missed > 0 {
            let notice = Event::Missed { count: self.missed };
            if self.queue.try_send(notice).is_ok() {
                self.missed = 0;
            }
        }
        // Order: nothing overtakes the notice of a gap.
        if self.missed > 0 || self.queue.try_send(event).is_err() {
            self.missed = self.missed.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_without_room_are_counted_and_the_gap_is_told_first() {
        let (mut sink, mut events) = EventSink::new(2);
        for reason in 0..5 {
            sink.emit(Event::Kick { reason });
        }
        assert!(matches!(events.try_recv(), Some(Event::Kick { reason: 0 })));
        assert!(matches!(events.try_recv(), Some(Event::Kick { reason: 1 })));
        assert!(events.try_recv().is_none());
        sink.emit(Event::Kick { reason: 9 });
        assert!(matches!(
            events.try_recv(),
            Some(Event::Missed { count: 3 })
        ));
        assert!(matches!(events.try_recv(), Some(Event::Kick { reason: 9 })));
    }

    #[test]
    fn a_pair_message_belongs_to_the_other_one_of_the_pair() {
        let data = ImMsgData {
            from_user_id: 7,
            to_session_id: 9,
            msg_type: MsgType::SingleText as i32,
            ..ImMsgData::default()
        };
        let at_receiver = Message {
            data: data.clone(),
            receiver: 9,
        };
        let at_sender = Message { data, receiver: 7 };
        assert_eq!(at_receiver.peer().map(Peer::session_id), Some(7));
        assert_eq!(at_sender.peer().map(Peer::session_id), Some(9));
    }
}
