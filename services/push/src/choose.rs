//! Who is told of a message.
//!
//! Pure: what is known of people and the time are given.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use im_config::When;
use im_core::time::UnixSeconds;
use im_core::{ClientType, Conversation, GroupId, Peer, UserId};
use im_proto_rpc::v1::{LiveMessage, PushTarget};

use crate::notice::{Kind, collapse};

/// A message that people may be told of.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) from: UserId,
    pub(crate) kind: Kind,
    pub(crate) msg_type: u32,
    pub(crate) time: UnixSeconds,
    pub(crate) group: Option<GroupId>,
    pub(crate) data: Bytes,
    pub(crate) collapse: String,
    /// Without its author.
    pub(crate) recipients: Vec<u32>,
}

/// By which terminals somebody is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Online {
    pub(crate) pc: bool,
    pub(crate) mobile: bool,
}

im_core::label_values! {
    /// Why a device is not told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Left {
        /// Its user is online.
        Online,
        /// It is night.
        Night,
        /// Its user wants no notices of the group.
        Shield,
    }
}

im_core::label_values! {
    /// How a device is told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Way {
        /// With what there is to show.
        Loud,
        /// The badge alone.
        Silent,
    }
}

/// Messages that are of a kind that people are told of, and young enough.
pub(crate) fn messages(
    live: Vec<LiveMessage>,
    now: UnixSeconds,
    expire_after: u32,
) -> Vec<Message> {
    let fresh = live
        .into_iter()
        .filter(|it| now.seconds_since(UnixSeconds::from_wire(it.time)) < expire_after);
    fresh.filter_map(message).collect()
}

fn message(live: LiveMessage) -> Option<Message> {
    let kind = Kind::of(live.msg_type)?;
    let from = UserId::from_wire(live.from)?;
    let group = if live.msg_type & 0x10 == 0 {
        None
    } else {
        Some(GroupId::from_wire(live.to)?)
    };
    let peer = match group {
        Some(group) => Peer::Group(group),
        None => Peer::User(UserId::from_wire(live.to)?),
    };
    let mut recipients = live.recipients;
    recipients.retain(|user| *user != from.get());
    Some(Message {
        seq: live.seq,
        from,
        kind,
        msg_type: live.msg_type,
        time: UnixSeconds::from_wire(live.time),
        group,
        data: live.data,
        collapse: collapse(Conversation::of(from, peer)?),
        recipients,
    })
}

/// Everybody whom the messages are for, each once.
pub(crate) fn people(messages: &[Message]) -> Vec<u32> {
    let all = messages.iter().flat_map(|message| &message.recipients);
    let all: HashSet<u32> = all.copied().collect();
    let mut all: Vec<u32> = all.into_iter().collect();
    all.sort_unstable();
    all
}

/// The groups of which somebody with a device is to be told, each once.
pub(crate) fn groups(messages: &[Message], devices: &HashMap<u32, Vec<PushTarget>>) -> Vec<u32> {
    let told = |message: &&Message| {
        let mut recipients = message.recipients.iter();
        recipients.any(|user| devices.contains_key(user))
    };
    let all = messages.iter().filter(told).filter_map(|it| it.group);
    let all: HashSet<u32> = all.map(GroupId::get).collect();
    let mut all: Vec<u32> = all.into_iter().collect();
    all.sort_unstable();
    all
}

/// Whether and how a person is told.
pub(crate) const fn way(when: When, online: Online) -> Result<Way, Left> {
    match when {
        When::Offline if online.pc || online.mobile => Err(Left::Online),
        When::Original if online.pc => Ok(Way::Silent),
        When::Offline | When::Original => Ok(Way::Loud),
    }
}

/// Whether it is night at this hour.
pub(crate) const fn is_night(hour: u16, from: u16, until: u16) -> bool {
    if from <= until {
        from <= hour && hour < until
    } else {
        from <= hour || hour < until
    }
}

/// Whether a device is left in peace at night: only iOS ones are, Android ones see to that themselves.
pub(crate) fn rests(target: &PushTarget, is_night: bool) -> bool {
    let is_ios = ClientType::from_wire(target.client_type) == Some(ClientType::Ios);
    is_night && is_ios && target.night_shield
}

/// Of each device and conversation the newest message, in log order.
pub(crate) fn newest<'a>(
    messages: &'a [Message],
    devices: &'a HashMap<u32, Vec<PushTarget>>,
    is_left: impl Fn(&Message, &PushTarget) -> bool,
) -> Vec<(&'a Message, &'a PushTarget)> {
    let mut chosen: HashMap<(&str, &str), (&Message, &PushTarget)> = HashMap::new();
    for message in messages {
        let targets = message
            .recipients
            .iter()
            .filter_map(|user| devices.get(user));
        for target in targets.flatten() {
            if !is_left(message, target) {
                chosen.insert((&target.token, &message.collapse), (message, target));
            }
        }
    }
    let mut chosen: Vec<_> = chosen.into_values().collect();
    chosen.sort_unstable_by(|(a, to), (b, other)| (a.seq, &to.token).cmp(&(b.seq, &other.token)));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(seq: u64, from: u32, to: u32, msg_type: u32, recipients: &[u32]) -> LiveMessage {
        LiveMessage {
            seq,
            from,
            to,
            msg_type,
            time: 1_000,
            recipients: recipients.to_vec(),
            ..LiveMessage::default()
        }
    }

    fn target(user: u32, token: &str) -> PushTarget {
        PushTarget {
            user,
            client_type: 0x11,
            token: token.to_owned(),
            session: 1,
            night_shield: true,
        }
    }

    fn devices(targets: &[PushTarget]) -> HashMap<u32, Vec<PushTarget>> {
        let mut devices: HashMap<u32, Vec<PushTarget>> = HashMap::new();
        for target in targets {
            devices.entry(target.user).or_default().push(target.clone());
        }
        devices
    }

    #[test]
    fn the_author_an_old_message_and_an_unknown_kind_are_left_out() {
        let all = vec![
            live(1, 1, 2, 1, &[1, 2]),
            live(2, 1, 5, 0x11, &[1, 2, 3]),
            live(3, 1, 2, 9, &[1, 2]),
            LiveMessage {
                time: 1,
                ..live(4, 1, 9, 1, &[1, 9])
            },
        ];
        let now = UnixSeconds::from_wire(1_100);
        let told = messages(all, now, 600);
        let seqs: Vec<u64> = told.iter().map(|it| it.seq).collect();
        assert_eq!(seqs, [1, 2]);
        assert_eq!(people(&told), [2, 3]);
        assert_eq!(told[1].group, GroupId::from_wire(5));
        assert_eq!(groups(&told, &devices(&[target(2, "a")])), [5]);
        assert_eq!(groups(&told, &devices(&[target(4, "a")])), [0; 0]);
        assert_eq!(messages(vec![live(1, 1, 2, 1, &[2])], now, 100).len(), 0);
        assert_eq!(messages(vec![live(1, 1, 2, 1, &[2])], now, 101).len(), 1);
    }

    #[test]
    fn who_is_online_is_not_told_or_without_a_sound_as_in_the_original() {
        let online = |pc, mobile| Online { pc, mobile };
        for (when, online, expected) in [
            (When::Offline, online(false, false), Ok(Way::Loud)),
            (When::Offline, online(true, false), Err(Left::Online)),
            (When::Offline, online(false, true), Err(Left::Online)),
            (When::Original, online(false, false), Ok(Way::Loud)),
            (When::Original, online(false, true), Ok(Way::Loud)),
            (When::Original, online(true, false), Ok(Way::Silent)),
        ] {
            assert_eq!(way(when, online), expected, "{when:?} {online:?}");
        }
    }

    #[test]
    fn the_night_may_go_over_midnight() {
        let hours = |from, until| -> Vec<u16> {
            (0..24)
                .filter(|hour| is_night(*hour, from, until))
                .collect()
        };
        assert_eq!(hours(22, 8), [0, 1, 2, 3, 4, 5, 6, 7, 22, 23]);
        assert_eq!(hours(1, 3), [1, 2]);
        assert_eq!(hours(8, 8), [0; 0], "no night");
    }

    #[test]
    fn only_ios_devices_with_the_shield_rest_at_night() {
        let ios = target(1, "a");
        let android = PushTarget {
            client_type: 0x12,
            ..target(1, "b")
        };
        let without = PushTarget {
            night_shield: false,
            ..target(1, "c")
        };
        assert!(rests(&ios, true));
        assert!(!rests(&ios, false) && !rests(&android, true) && !rests(&without, true));
    }

    #[test]
    fn of_a_conversation_each_device_hears_the_newest_message() {
        let now = UnixSeconds::from_wire(1_100);
        let all = vec![
            live(1, 1, 2, 1, &[1, 2]),
            live(2, 3, 2, 1, &[3, 2]),
            live(3, 1, 2, 1, &[1, 2]),
            live(4, 2, 1, 1, &[1, 2]),
        ];
        let told = messages(all, now, 600);
        let devices = devices(&[target(2, "a"), target(2, "b"), target(1, "c")]);
        let shape = |chosen: Vec<(&Message, &PushTarget)>| -> Vec<(u64, String)> {
            let pairs = chosen.into_iter();
            pairs.map(|(it, to)| (it.seq, to.token.clone())).collect()
        };
        let pairs = |all: &[(u64, &str)]| -> Vec<(u64, String)> {
            all.iter()
                .map(|(seq, token)| (*seq, (*token).to_owned()))
                .collect()
        };
        let chosen = shape(newest(&told, &devices, |_, _| false));
        let expected = [(2, "a"), (2, "b"), (3, "a"), (3, "b"), (4, "c")];
        assert_eq!(chosen, pairs(&expected));
        let chosen = shape(newest(&told, &devices, |it, to| {
            it.seq == 3 || to.token == "b"
        }));
        assert_eq!(chosen, pairs(&[(1, "a"), (2, "a"), (4, "c")]));
    }
}
