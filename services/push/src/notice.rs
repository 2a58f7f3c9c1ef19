//! What a notice is and says.

use im_core::{ClientType, Conversation};
use serde::{Deserialize, Serialize};

/// What every notice of the original sounds like.
pub(crate) const SOUND: &str = "bingbong.aiff";

/// How marks of pictures begin and end in a text.
const PICTURE: (&str, &str) = ("&$#@~^@[{:", ":}]&$~@#@");

/// Behind a text that was cut.
const CUT: &str = "...";

/// One notice for one device, as it waits for its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) user: u32,
    /// `IM.BaseDefine.ClientType`.
    pub(crate) client_type: u32,
    pub(crate) token: String,
    /// Epoch of the session that registered the token.
    pub(crate) session: u64,
    /// `None`: without a word or a sound, only the badge changes.
    pub(crate) alert: Option<String>,
    /// Unread messages.
    pub(crate) badge: u32,
    /// JSON that the app reads by itself.
    pub(crate) custom: String,
    /// A newer notice with the same takes the place of this one on the device.
    pub(crate) collapse: String,
    /// Names the notice, the same at each attempt.
    pub(crate) id: String,
    /// Log position of its message; 0 = a test.
    pub(crate) seq: u64,
    /// Of no use after this, unix seconds.
    pub(crate) expires: u64,
}

impl Notice {
    /// The kind of phone; `None` for none that this version knows.
    pub(crate) const fn client(&self) -> Option<ClientType> {
        ClientType::from_wire(self.client_type)
    }

    /// Whether an administrator asked for it.
    pub(crate) const fn is_test(&self) -> bool {
        self.seq == 0
    }
}

/// Kinds of messages that the original knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Voice,
}

impl Kind {
    /// From `IM.BaseDefine.MsgType`.
    pub(crate) const fn of(msg_type: u32) -> Option<Self> {
        match msg_type & !0x10 {
            1 => Some(Self::Text),
            2 => Some(Self::Voice),
            _ => None,
        }
    }
}

/// What a notice shows: name and text, as the original writes them, cut at a character after `most` bytes.
/// `None` where it shows that there is a message and no more: a picture, an unknown sender.
pub(crate) fn preview(
    nick: &str,
    kind: Kind,
    in_group: bool,
    text: Option<&[u8]>,
    most: usize,
) -> Option<String> {
    if nick.is_empty() {
        return None;
    }
    let shown = match (kind, in_group) {
        (Kind::Voice, true) => format!("{nick}在群聊中发送了一条语音消息"),
        (Kind::Voice, false) => format!("{nick}给您发送了一条语音消息"),
        (Kind::Text, _) => {
            let text = String::from_utf8_lossy(text?);
            if has_picture(&text) {
                return None;
            }
            format!("{nick}:{text}")
        }
    };
    Some(cut(&shown, most))
}

fn has_picture(text: &str) -> bool {
    let (begin, end) = PICTURE;
    text.split_once(begin)
        .is_some_and(|(_, behind)| behind.contains(end))
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}{CUT}")
}

/// What the app reads: as the original writes it, tabs, order and all.
pub(crate) fn custom(from: u32, group: Option<u32>, msg_type: u32) -> String {
    let group = group.map_or_else(String::new, |group| format!(",\n\t\"group_id\": {group}"));
    format!("{{\n\t\"from_id\": {from}{group},\n\t\"msg_type\": {msg_type} \n}} \n")
}

/// A newer notice of a conversation takes the place of the older one.
pub(crate) fn collapse(conversation: Conversation) -> String {
    match conversation {
        Conversation::Pair(low, high) => format!("p{low}-{high}"),
        Conversation::Group(group) => format!("g{group}"),
    }
}

/// Names a notice: the same whoever makes it again.
pub(crate) fn id(seq: u64, token: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"notice");
    hasher.update(&seq.to_be_bytes());
    hasher.update(token.as_bytes());
    let hex = hasher.finalize().to_hex();
    format!("n{}", hex.get(..32).unwrap_or_default())
}

/// What a newer notice for the same device and conversation has as well.
pub(crate) fn key(token: &str, collapse: &str) -> bytes::Bytes {
    let mut hasher = blake3::Hasher::new();
    hasher.update(collapse.as_bytes());
    hasher.update(&[0]);
    hasher.update(token.as_bytes());
    bytes::Bytes::copy_from_slice(hasher.finalize().as_bytes())
}

/// The JSON of the original for iOS: `alert` and `sound` only where something is shown.
pub(crate) fn aps(notice: &Notice) -> serde_json::Value {
    match &notice.alert {
        Some(alert) => serde_json::json!({
            "aps": { "alert": { "body": alert }, "badge": notice.badge, "sound": SOUND },
            "custom": notice.custom,
        }),
        None => serde_json::json!({
            "aps": { "badge": notice.badge },
            "custom": notice.custom,
        }),
    }
}

#[cfg(test)]
mod tests {
    use im_core::{GroupId, UserId};

    use super::*;

    #[test]
    fn texts_are_shown_as_the_original_shows_them() {
        let text = |text: &str| preview("Test", Kind::Text, false, Some(text.as_bytes()), 37);
        assert_eq!(text("你好").unwrap(), "Test:你好", "F49");
        assert_eq!(text("&$#@~^@[{:http://a/1.png:}]&$~@#@"), None);
        assert_eq!(text(":}]&$~@#@ &$#@~^@[{:").unwrap().len(), 5 + 20);
        assert_eq!(preview("", Kind::Text, false, Some(b"x"), 37), None);
        assert_eq!(preview("Test", Kind::Text, false, None, 37), None);
        let voice = |group| preview("Ann", Kind::Voice, group, None, 99).unwrap();
        assert_eq!(voice(false), "Ann给您发送了一条语音消息");
        assert_eq!(voice(true), "Ann在群聊中发送了一条语音消息");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let shown =
            |text: &str| preview("N", Kind::Text, false, Some(text.as_bytes()), 37).unwrap();
        assert_eq!(shown(&"x".repeat(35)).len(), 37);
        assert_eq!(shown(&"x".repeat(36)), format!("N:{}...", "x".repeat(35)));
        // Eleven characters of three bytes fit, the twelfth would end at 38.
        assert_eq!(shown(&"好".repeat(20)), format!("N:{}...", "好".repeat(11)));
    }

    #[test]
    fn what_the_app_reads_is_that_of_the_original() {
        let expected = "{\n\t\"from_id\": 10,\n\t\"msg_type\": 1 \n} \n";
        assert_eq!(custom(10, None, 1), expected, "F49");
        let in_group = "{\n\t\"from_id\": 10,\n\t\"group_id\": 3,\n\t\"msg_type\": 17 \n} \n";
        assert_eq!(custom(10, Some(3), 17), in_group);
        let read: serde_json::Value = serde_json::from_str(&custom(10, Some(3), 17)).unwrap();
        assert_eq!(read["group_id"], 3);
    }

    #[test]
    fn a_notice_without_a_word_changes_the_badge_alone() {
        let mut notice = Notice {
            user: 1,
            client_type: 0x11,
            token: "t".to_owned(),
            session: 1,
            alert: Some("N:x".to_owned()),
            badge: 3,
            custom: "{}".to_owned(),
            collapse: "p1-2".to_owned(),
            id: "n".to_owned(),
            seq: 1,
            expires: 1,
        };
        let shown =
            r#"{"aps":{"alert":{"body":"N:x"},"badge":3,"sound":"bingbong.aiff"},"custom":"{}"}"#;
        assert_eq!(aps(&notice).to_string(), shown);
        notice.alert = None;
        assert_eq!(
            aps(&notice).to_string(),
            r#"{"aps":{"badge":3},"custom":"{}"}"#
        );
    }

    #[test]
    fn conversations_and_notices_have_names_that_differ() {
        let user = |id| UserId::from_wire(id).unwrap();
        let pair = collapse(Conversation::Pair(user(1), user(23)));
        assert_ne!(pair, collapse(Conversation::Pair(user(12), user(3))));
        assert_eq!(
            collapse(Conversation::Group(GroupId::from_wire(7).unwrap())),
            "g7"
        );
        assert_ne!(key("a", "g1"), key("b", "g1"));
        assert_ne!(key("1a", "g"), key("a", "g1"));
        assert_eq!(id(1, "a"), id(1, "a"));
        assert_ne!(id(1, "a"), id(2, "a"));
        assert_eq!(id(1, "a").len(), 33);
    }
}
