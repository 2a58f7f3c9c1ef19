//! What becomes of a row of the original: pure.

use std::collections::HashSet;

use bytes::Bytes;
use im_core::{Conversation, GroupId, Peer, UserId};

use crate::oddities::{Oddities, OddityKind};
use crate::source::{Audio, MessageSource, Shard};

/// The id under which the original stored what its Redis gave no number for.
pub(crate) const NO_NUMBER: u32 = u32::MAX;
/// What a message takes beside its body, bytes.
pub(crate) const MESSAGE_BYTES: usize = 96;

/// A message as we store it, but for its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where it was: of which table, and under which key.
    pub(crate) shard: usize,
    pub(crate) key: u32,
    /// By its number.
    pub(crate) conversation: u64,
    /// The id that it had.
    pub(crate) msg_id: u32,
    pub(crate) sender: u32,
    pub(crate) msg_type: u32,
    pub(crate) time: u32,
    pub(crate) body: Bytes,
}

impl Message {
    pub(crate) fn size(&self) -> usize {
        self.body.len() + MESSAGE_BYTES
    }
}

/// What becomes of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Message(Message),
    /// An audio message: its sound is to be read. The number of its row of IMAudio, unless that is none.
    Audio(Message, Option<u32>),
    /// Not taken over. Of the conversation, if it leaves a hole in the ids that others count.
    LeftOut(Option<u64>),
}

/// The number of a conversation: a group's id, or of a pair the lower user id << 32 | the higher one.
pub(crate) fn number_of(conversation: Conversation) -> u64 {
    match conversation {
        Conversation::Pair(low, high) => u64::from(low.get()) << 32 | u64::from(high.get()),
        Conversation::Group(group) => group.get().into(),
    }
}

/// The conversation of a number.
pub(crate) fn conversation_of(number: u64) -> Option<Conversation> {
    let low = u32::try_from(number >> 32).ok()?;
    let high = u32::try_from(number & u64::from(u32::MAX)).ok()?;
    match UserId::from_wire(low) {
        None => GroupId::from_wire(high).map(Conversation::Group),
        Some(low) => Some(Conversation::Pair(low, UserId::from_wire(high)?)),
    }
}

/// A conversation as a report names it.
pub(crate) fn name_of(number: u64) -> String {
    match conversation_of(number) {
        Some(Conversation::Pair(low, high)) => format!("people {low} and {high}"),
        Some(Conversation::Group(group)) => format!("group {group}"),
        None => format!("conversation {number}"),
    }
}

/// The pair of two people, whose ids come from the original.
pub(crate) fn pair(one: u32, other: u32) -> Option<u64> {
    let other = UserId::from_wire(other)?;
    Conversation::of(UserId::from_wire(one)?, Peer::User(other)).map(number_of)
}

/// Who is there.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) users: HashSet<u32>,
    pub(crate) groups: HashSet<u32>,
}

/// Judges rows, and counts what is odd about them.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) known: Known,
    pub(crate) oddities: Oddities,
}

impl Judge {
    pub(crate) fn judge(&mut self, shard: Shard, row: MessageSource) -> Judged {
        let oddities = &mut self.oddities;
        let here = || format!("{} row {}", shard.table(), row.key);
        if row.status != 0 {
            oddities.note(OddityKind::RemovedMessage, here);
            return Judged::LeftOut(None);
        }
        let found = if shard.is_group {
            if self.known.groups.contains(&row.of) {
                Ok(u64::from(row.of))
            } else {
                Err(OddityKind::NoGroup)
            }
        } else {
            pair_of(&row, oddities, &here)
        };
        let conversation = match found {
            Ok(conversation) => conversation,
            Err(kind) => {
                oddities.note(kind, here);
                return Judged::LeftOut(None);
            }
        };
        let left_out = if row.from == 0 {
            Some(OddityKind::NoSender)
        } else if row.msg_type != shard.text_type() && row.msg_type != shard.audio_type() {
            Some(OddityKind::MessageType)
        } else {
            None
        };
        if let Some(kind) = left_out {
            oddities.note(kind, here);
            return Judged::LeftOut(Some(conversation));
        }
        for (is_odd, kind) in [
            (
                !self.known.users.contains(&row.from),
                OddityKind::UnknownUser,
            ),
            (row.content.is_empty(), OddityKind::EmptyMessage),
            (row.time == 0, OddityKind::NoTime),
            (row.msg_id == NO_NUMBER, OddityKind::NoNumber),
        ] {
            if is_odd {
                oddities.note(kind, here);
            }
        }
        let is_audio = row.msg_type == shard.audio_type();
        let audio = row.content.parse().ok();
        let message = Message {
            shard: shard.place(),
            key: row.key,
            conversation,
            msg_id: row.msg_id,
            sender: row.from,
            msg_type: row.msg_type,
            time: row.time,
            body: Bytes::from(row.content),
        };
        if is_audio {
            Judged::Audio(message, audio)
        } else {
            Judged::Message(message)
        }
    }

    /// Gives an audio message its body: its length in seconds, and the sound if it is there.
    pub(crate) fn voice(
        &mut self,
        message: &mut Message,
        audio: Option<&Audio>,
        sound: Result<Bytes, OddityKind>,
    ) {
        let shard = Shard::at(message.shard);
        let here = || format!("{} row {}", shard.table(), message.key);
        let seconds = audio.map_or(0, |audio| audio.seconds);
        let sound = match (audio, sound) {
            (None, _) => Err(OddityKind::NoAudio),
            (Some(_), sound) => sound,
        };
        let sound = sound.unwrap_or_else(|kind| {
            self.oddities.note(kind, here);
            Bytes::new()
        });
        let mut body = Vec::with_capacity(4 + sound.len());
        body.extend_from_slice(&seconds.to_be_bytes());
        body.extend_from_slice(&sound);
        message.body = Bytes::from(body);
    }
}

/// The pair that a message belongs to. The original shows it to those of its relation, whoever it was sent to.
fn pair_of(
    row: &MessageSource,
    oddities: &mut Oddities,
    here: &dyn Fn() -> String,
) -> Result<u64, OddityKind> {
    let [low, high] = row.relation;
    if low == 0 && high == 0 {
        let pair = pair(row.from, row.to).ok_or(OddityKind::NoSender)?;
        oddities.note(OddityKind::NoRelation, here);
        return Ok(pair);
    }
    let pair = pair(low, high).ok_or(OddityKind::SelfRelation)?;
    let other = if row.from == low { high } else { low };
    if row.from == 0 || row.from == row.to {
        return Err(OddityKind::NoSender);
    }
    if row.from != low && row.from != high {
        return Err(OddityKind::ForeignRelation);
    }
    if row.to != other {
        oddities.note(OddityKind::OtherReceiver, here);
    }
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        Judge {
            known: Known {
                users: HashSet::from([1, 2]),
                groups: HashSet::from([5]),
            },
            ..Judge::default()
        }
    }

    fn row(from: u32, to: u32) -> MessageSource {
        MessageSource {
            key: 9,
            of: 5,
            relation: [1, 2],
            from,
            to,
            msg_id: 3,
            msg_type: 1,
            status: 0,
            time: 10,
            content: "nnZSBwfPCz60q69ddmfIJA==".to_owned(),
        }
    }

    fn of_pair(row: MessageSource) -> (Judged, Vec<OddityKind>) {
        let mut judge = judge();
        let judged = judge.judge(Shard::pair(3), row);
        let kinds = judge.oddities.into_list();
        (judged, kinds.iter().map(|one| one.kind).collect())
    }

    #[test]
    fn a_message_keeps_its_text_as_its_client_has_encrypted_it() {
        let (judged, odd) = of_pair(row(2, 1));
        let Judged::Message(message) = judged else {
            panic!("{judged:?}");
        };
        assert_eq!(message.conversation, 1 << 32 | 2);
        assert_eq!(&message.body[..], b"nnZSBwfPCz60q69ddmfIJA==");
        assert_eq!((message.sender, message.msg_id, message.shard), (2, 3, 3));
        assert!(odd.is_empty());
        assert_eq!(name_of(message.conversation), "people 1 and 2");
        assert_eq!(name_of(5), "group 5");
    }

    #[test]
    fn each_odd_row_is_counted_and_none_that_makes_no_sense_is_taken() {
        use OddityKind::{
            EmptyMessage, ForeignRelation, MessageType, NoGroup, NoNumber, NoRelation, NoSender,
            NoTime, OtherReceiver, RemovedMessage, SelfRelation, UnknownUser,
        };
        let of = |change: &dyn Fn(&mut MessageSource)| {
            let mut row = row(2, 1);
            change(&mut row);
            let (judged, odd) = of_pair(row);
            (matches!(judged, Judged::Message(_)), odd)
        };
        assert_eq!(of(&|row| row.status = 1), (false, vec![RemovedMessage]));
        assert_eq!(of(&|row| row.msg_type = 17), (false, vec![MessageType]));
        assert_eq!(of(&|row| row.from = 0), (false, vec![NoSender]));
        assert_eq!(of(&|row| row.to = 2), (false, vec![NoSender]));
        assert_eq!(
            of(&|row| row.relation = [7, 7]),
            (false, vec![SelfRelation])
        );
        assert_eq!(
            of(&|row| row.relation = [1, 3]),
            (false, vec![ForeignRelation])
        );
        assert_eq!(
            of(&|row| row.relation = [2, 3]),
            (true, vec![OtherReceiver])
        );
        assert_eq!(of(&|row| row.relation = [0, 0]), (true, vec![NoRelation]));
        assert_eq!(of(&|row| row.content.clear()), (true, vec![EmptyMessage]));
        assert_eq!(of(&|row| row.time = 0), (true, vec![NoTime]));
        assert_eq!(of(&|row| row.msg_id = NO_NUMBER), (true, vec![NoNumber]));
        let mut judge = judge();
        let mut stranger = row(8, 0);
        stranger.msg_type = 17;
        let judged = judge.judge(Shard::group(5), stranger.clone());
        assert!(matches!(
            judged,
            Judged::Message(Message {
                conversation: 5,
                ..
            })
        ));
        assert_eq!(judge.oddities.count(UnknownUser), 1);
        stranger.of = 6;
        assert_eq!(
            judge.judge(Shard::group(6), stranger),
            Judged::LeftOut(None)
        );
        assert_eq!(judge.oddities.count(NoGroup), 1);
    }

    #[test]
    fn a_hole_in_the_ids_is_told_where_others_count_them() {
        let mut odd = row(2, 1);
        odd.msg_type = 9;
        assert_eq!(of_pair(odd).0, Judged::LeftOut(Some(1 << 32 | 2)));
    }

    #[test]
    fn an_audio_message_is_its_length_and_its_sound() {
        let mut judge = judge();
        let mut audio = row(1, 2);
        audio.msg_type = 2;
        audio.content = "44".to_owned();
        let Judged::Audio(mut message, Some(44)) = judge.judge(Shard::pair(0), audio) else {
            panic!("no audio");
        };
        let row = Audio {
            seconds: 258,
            path: String::new(),
        };
        judge.voice(&mut message, Some(&row), Ok(Bytes::from_static(b"sound")));
        assert_eq!(&message.body[..], b"\0\0\x01\x02sound");
        judge.voice(&mut message, Some(&row), Err(OddityKind::NoAudioFile));
        assert_eq!(&message.body[..], b"\0\0\x01\x02");
        judge.voice(&mut message, None, Ok(Bytes::new()));
        assert_eq!(&message.body[..], b"\0\0\0\0");
        assert_eq!(judge.oddities.count(OddityKind::NoAudio), 1);
    }
}
