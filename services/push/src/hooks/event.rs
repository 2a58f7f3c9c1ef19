//! Which messages and changes a subscription is about, and how they are told.
//!
//! Pure.

use im_codec::text::TextCipher;
use im_core::{ClientType, Conversation, GroupId, Peer, UserId};
use im_proto_rpc::v1::{ChangeRecord, Hook, LiveMessage, SessionRecord, StoredFile};
use jiff::Timestamp;
use serde::Serialize;

use super::tail::Entry;
use crate::notice::Kind;

/// Kinds of events.
const STORED: &str = "message.stored";
const GROUP: &str = "group.changed";
const DIRECTORY: &str = "directory.changed";
const FILE: &str = "file.ready";
const UP: &str = "session.up";
const DOWN: &str = "session.down";

/// The bit of a kind; none of one that nobody knows.
fn bit(kind: &str) -> u8 {
    match kind {
        STORED => 1,
        GROUP => 2,
        DIRECTORY => 4,
        FILE => 8,
        UP => 16,
        DOWN => 32,
        _ => 0,
    }
}

/// What a subscription is about.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// One bit for each kind of event.
    kinds: u8,
    /// Sorted; none = all.
    groups: Vec<u32>,
    senders: Vec<u32>,
    /// Only what this bot would be told of; 0 = everything.
    bot: u32,
}

impl Filter {
    pub(super) fn of(hook: &Hook) -> Self {
        let sorted = |ids: &[u32]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        Self {
            kinds: hook.kinds.iter().fold(0, |all, kind| all | bit(kind)),
            groups: sorted(&hook.groups),
            senders: sorted(&hook.senders),
            bot: hook.bot,
        }
    }

    fn is_about(&self, kind: &str) -> bool {
        self.kinds & bit(kind) != 0
    }

    /// Whether the subscription is about this.
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Message(message) => self.matches_message(message),
            Entry::Change(change) if change.group != 0 => {
                let is_named = self.groups.binary_search(&change.group).is_ok();
                self.is_about(GROUP) && (self.groups.is_empty() || is_named)
            }
            Entry::Change(change) if change.file.is_some() => self.is_about(FILE),
            Entry::Change(_) => self.is_about(DIRECTORY),
            Entry::Session(session) if session.up => self.is_about(UP),
            Entry::Session(_) => self.is_about(DOWN),
        }
    }

    fn matches_message(&self, message: &LiveMessage) -> bool {
        let of_sender =
            self.senders.is_empty() || self.senders.binary_search(&message.from).is_ok();
        let of_group = self.groups.is_empty()
            || (is_grouped(message) && self.groups.binary_search(&message.to).is_ok());
        self.is_about(STORED) && of_sender && of_group && self.is_for_bot(message)
    }

    /// As `GET bot/updates` has it: what others write in the conversations that the bot has now.
    fn is_for_bot(&self, message: &LiveMessage) -> bool {
        self.bot == 0 || message.from != self.bot && message.recipients.contains(&self.bot)
    }
}

const fn is_grouped(message: &LiveMessage) -> bool {
    message.msg_type & 0x10 != 0
}

/// An event as receivers read it.
#[derive(Serialize)]
struct Event {
    r#type: &'static str,
    position: String,
    conversation: String,
    id: u32,
    sender: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    kind: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A change as receivers read it.
#[derive(Serialize)]
struct ChangeEvent {
    r#type: &'static str,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    /// Of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    department: Option<u32>,
    time: String,
}

/// A file that waits, as receivers read it.
#[derive(Serialize)]
struct FileEvent<'a> {
    r#type: &'static str,
    position: String,
    task: &'a str,
    sender: u32,
    receiver: u32,
    name: &'a str,
    /// Bytes.
    size: u32,
    time: String,
}

/// A session that came or went, as receivers read it. It has no position: nothing of it is kept.
#[derive(Serialize)]
struct SessionEvent<'a> {
    r#type: &'static str,
    session: String,
    user: u32,
    client: &'static str,
    server: &'a str,
    time: String,
}

/// What stands at a place of a log as JSON; `None` for what the logs do not have.
pub(super) fn of(entry: &Entry, cipher: Option<&TextCipher>) -> Option<String> {
    match entry {
        Entry::Message(message) => stored(message, cipher),
        Entry::Change(change) => match &change.file {
            Some(file) => ready(change, file),
            None => changed(change),
        },
        Entry::Session(record) => session(record),
    }
}

/// A file that waits for its receiver.
fn ready(change: &ChangeRecord, file: &StoredFile) -> Option<String> {
    let event = FileEvent {
        r#type: FILE,
        position: change.seq.to_string(),
        task: &file.task,
        sender: file.from,
        receiver: file.to,
        name: &file.name,
        size: file.size,
        time: time(change.at)?,
    };
    serde_json::to_string(&event).ok()
}

/// A session that came or went.
fn session(record: &SessionRecord) -> Option<String> {
    let session = record.session.as_ref()?;
    let event = SessionEvent {
        r#type: if record.up { UP } else { DOWN },
        session: session.epoch.to_string(),
        user: session.user,
        client: match ClientType::from_wire(session.client_type) {
            Some(ClientType::Windows) => "windows",
            Some(ClientType::Mac) => "mac",
            Some(ClientType::Ios) => "ios",
            Some(ClientType::Android) => "android",
            None => "unknown",
        },
        server: &session.server,
        time: time(record.at)?,
    };
    serde_json::to_string(&event).ok()
}

fn changed(change: &ChangeRecord) -> Option<String> {
    let some = |id: u32| Some(id).filter(|id| *id != 0);
    let group = some(change.group);
    let event = ChangeEvent {
        r#type: if group.is_some() { GROUP } else { DIRECTORY },
        position: change.seq.to_string(),
        version: group.map(|_| change.value),
        group,
        user: some(change.user),
        department: some(change.department),
        time: time(change.at)?,
    };
    serde_json::to_string(&event).ok()
}

fn time(seconds: u32) -> Option<String> {
    let time = Timestamp::from_second(seconds.into()).ok()?;
    Some(time.to_string())
}

/// A stored message as JSON, with its text if there is something to read it by; `None` for a message without a
/// conversation, which the log does not have.
fn stored(message: &LiveMessage, cipher: Option<&TextCipher>) -> Option<String> {
    let sender = UserId::from_wire(message.from)?;
    let peer = if is_grouped(message) {
        Peer::Group(GroupId::from_wire(message.to)?)
    } else {
        Peer::User(UserId::from_wire(message.to)?)
    };
    let (receiver, group) = match peer {
        Peer::User(user) => (Some(user.get()), None),
        Peer::Group(group) => (None, Some(group.get())),
    };
    let conversation = match Conversation::of(sender, peer)? {
        Conversation::Pair(low, high) => format!("users-{}-{}", low.get(), high.get()),
        Conversation::Group(group) => format!("group-{}", group.get()),
    };
    let kind = Kind::of(message.msg_type);
    let cipher = cipher.filter(|_| kind == Some(Kind::Text) && !message.data.is_empty());
    let text = cipher.and_then(|cipher| cipher.decrypt(&message.data).ok());
    let event = Event {
        r#type: STORED,
        position: message.seq.to_string(),
        conversation,
        id: message.msg_id,
        sender: sender.get(),
        receiver,
        group,
        kind: match kind {
            Some(Kind::Text) => "text",
            Some(Kind::Voice) => "voice",
            None => "other",
        },
        time: time(message.time)?,
        text: text.map(|text| String::from_utf8_lossy(&text).into_owned()),
    };
    serde_json::to_string(&event).ok()
}

#[cfg(test)]
mod tests {
    use im_codec::text::DEFAULT_KEY;
    use serde_json::{Value, json};

    use super::*;

    fn live(from: u32, to: u32, msg_type: u32) -> LiveMessage {
        LiveMessage {
            seq: 9,
            msg_id: 4,
            from,
            to,
            msg_type,
            ..LiveMessage::default()
        }
    }

    fn message(from: u32, to: u32, msg_type: u32) -> Entry {
        Entry::Message(live(from, to, msg_type))
    }

    fn filter(groups: &[u32], senders: &[u32]) -> Filter {
        Filter::of(&Hook {
            kinds: vec!["message.stored".to_owned()],
            groups: groups.to_vec(),
            senders: senders.to_vec(),
            ..Hook::default()
        })
    }

    #[test]
    fn a_subscription_is_about_groups_and_senders_that_it_names() {
        let (to_user, to_group) = (message(1, 7, 1), message(1, 7, 0x11));
        assert!(filter(&[], &[]).matches(&to_user) && filter(&[], &[]).matches(&to_group));
        let group = filter(&[9, 7], &[]);
        assert!(group.matches(&to_group));
        assert!(!group.matches(&to_user), "user 7 is no group");
        assert!(!group.matches(&message(1, 8, 0x11)));
        let sender = filter(&[], &[3, 1]);
        assert!(sender.matches(&to_user) && !sender.matches(&message(2, 1, 1)));
        assert!(!filter(&[7], &[2]).matches(&to_group), "both must hold");
        assert!(
            !Filter::of(&Hook::default()).matches(&to_user),
            "of no kind"
        );
    }

    #[test]
    fn a_bot_is_told_of_what_others_write_where_it_is() {
        let filter = Filter::of(&Hook {
            kinds: vec!["message.stored".to_owned()],
            bot: 7,
            ..Hook::default()
        });
        let about = |from: u32, recipients: &[u32]| {
            filter.matches(&Entry::Message(LiveMessage {
                recipients: recipients.to_vec(),
                ..live(from, 7, 0x11)
            }))
        };
        assert!(about(1, &[1, 7]) && about(1, &[7]));
        assert!(!about(7, &[1, 7]), "its own");
        assert!(!about(1, &[1, 2]), "where it is not");
    }

    #[test]
    fn an_event_says_where_a_message_is_and_its_text_only_where_that_is_wanted() {
        let cipher = TextCipher::new(DEFAULT_KEY);
        let text = LiveMessage {
            data: cipher.encrypt("hello \"you\"".as_bytes()).unwrap().into(),
            ..live(2, 1, 1)
        };
        let json = |it: Option<String>| serde_json::from_str::<Value>(&it.unwrap()).unwrap();
        let expected = json!({
            "type": "message.stored", "position": "9", "conversation": "users-1-2", "id": 4,
            "sender": 2, "receiver": 1, "kind": "text", "time": "1970-01-01T00:00:00Z",
        });
        assert_eq!(json(stored(&text, None)), expected);
        let with_text = json(stored(&text, Some(&cipher)));
        assert_eq!(with_text["text"], "hello \"you\"");
        let voice = json(stored(&live(2, 7, 0x12), Some(&cipher)));
        assert_eq!(
            (&voice["kind"], &voice["conversation"], &voice["group"]),
            (&json!("voice"), &json!("group-7"), &json!(7))
        );
        assert_eq!(voice["text"], Value::Null);
        let left_out = json(stored(&live(2, 1, 1), Some(&cipher)));
        assert_eq!(left_out["text"], Value::Null, "its body was too long");
        assert_eq!(stored(&live(0, 1, 1), None), None);
    }

    #[test]
    fn a_subscription_is_about_the_kinds_of_changes_that_it_names() {
        let of = |kinds: &[&str], groups: &[u32]| {
            Filter::of(&Hook {
                kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                groups: groups.to_vec(),
                senders: vec![99],
                ..Hook::default()
            })
        };
        let group = Entry::Change(ChangeRecord {
            seq: 4,
            group: 7,
            value: 3,
            ..ChangeRecord::default()
        });
        let person = Entry::Change(ChangeRecord {
            seq: 5,
            user: 9,
            value: 77,
            ..ChangeRecord::default()
        });
        let groups = of(&[GROUP], &[]);
        assert!(groups.matches(&group) && !groups.matches(&person));
        assert!(of(&[GROUP], &[7]).matches(&group) && !of(&[GROUP], &[8]).matches(&group));
        let directory = of(&[DIRECTORY], &[8]);
        assert!(directory.matches(&person) && !directory.matches(&group));
        assert!(!of(&[STORED], &[]).matches(&group));
        assert!(!groups.matches(&message(99, 7, 1)));
        let json = |it: &Entry| serde_json::from_str::<Value>(&super::of(it, None).unwrap());
        assert_eq!(
            json(&group).unwrap(),
            json!({"type": "group.changed", "position": "4", "group": 7, "version": 3,
                "time": "1970-01-01T00:00:00Z"})
        );
        assert_eq!(
            json(&person).unwrap(),
            json!({"type": "directory.changed", "position": "5", "user": 9,
                "time": "1970-01-01T00:00:00Z"})
        );
    }

    #[test]
    fn files_and_sessions_are_told_to_who_asks_for_their_kind() {
        let of = |kind: &str| {
            Filter::of(&Hook {
                kinds: vec![kind.to_owned()],
                ..Hook::default()
            })
        };
        let file = Entry::Change(ChangeRecord {
            seq: 6,
            file: Some(StoredFile {
                task: "t".to_owned(),
                from: 1,
                to: 2,
                name: "a.txt".to_owned(),
                size: 9,
                stored: 0,
            }),
            ..ChangeRecord::default()
        });
        let session = |up| {
            Entry::Session(SessionRecord {
                seq: 3,
                up,
                session: Some(im_proto_rpc::v1::SessionInfo {
                    user: 4,
                    epoch: u64::MAX,
                    client_type: ClientType::Mac.to_wire(),
                    server: "msg-1".to_owned(),
                    address: "10.0.0.7:1".to_owned(),
                    ..im_proto_rpc::v1::SessionInfo::default()
                }),
                ..SessionRecord::default()
            })
        };
        let all = [&file, &session(true), &session(false)];
        for (kind, expected) in [
            (FILE, [true, false, false]),
            (UP, [false, true, false]),
            (DOWN, [false, false, true]),
            (DIRECTORY, [false; 3]),
            (GROUP, [false; 3]),
            (STORED, [false; 3]),
        ] {
            assert_eq!(all.map(|it| of(kind).matches(it)), expected, "{kind}");
        }
        let json = |it: &Entry| serde_json::from_str::<Value>(&super::of(it, None).unwrap());
        assert_eq!(
            json(&file).unwrap(),
            json!({"type": "file.ready", "position": "6", "task": "t", "sender": 1, "receiver": 2,
                "name": "a.txt", "size": 9, "time": "1970-01-01T00:00:00Z"})
        );
        assert_eq!(
            json(&session(false)).unwrap(),
            json!({"type": "session.down", "session": u64::MAX.to_string(), "user": 4,
                "client": "mac", "server": "msg-1", "time": "1970-01-01T00:00:00Z"})
        );
    }
}
