//! What the filter is asked, and what it answers, as JSON.
//!
//! Pure. Texts are asked about, and replaced, as a person reads them: the cipher of the clients is taken off
//! and put on here.

use std::collections::HashMap;

use bytes::Bytes;
use im_codec::text::TextCipher;
use im_config::FilterKind;
use im_core::{Conversation, Peer};
use im_writer::{Question, Verdict};
use serde::{Deserialize, Serialize};

use super::about::kind;
use super::metrics::Failure;

/// A request.
#[derive(Serialize)]
struct Asking<'a> {
    r#type: &'static str,
    id: &'a str,
    messages: Vec<Asked>,
}

/// A message in it.
#[derive(Serialize)]
struct Asked {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<String>,
    sender: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    kind: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// An answer.
#[derive(Deserialize)]
struct Answering {
    verdicts: Vec<Said>,
}

/// A verdict in it.
#[derive(Deserialize)]
struct Said {
    id: String,
    verdict: String,
    #[serde(default)]
    text: Option<String>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// One per question, in their order; `None` where nothing of use was said.
    pub(super) verdicts: Vec<Option<Verdict>>,
    /// What was wrong with it.
    pub(super) failure: Option<Failure>,
}

impl Answers {
    /// There is none.
    pub(super) const fn none(failure: Failure) -> Self {
        Self {
            verdicts: Vec::new(),
            failure: Some(failure),
        }
    }
}

/// The body of a request.
pub(super) fn request(id: &str, questions: &[Question], cipher: &TextCipher) -> String {
    let messages = questions.iter().enumerate();
    let messages = messages.map(|(number, question)| asked(number, question, cipher));
    let asking = Asking {
        r#type: "message.filter",
        id,
        messages: messages.collect(),
    };
    // It holds nothing that JSON cannot.
    serde_json::to_string(&asking).unwrap_or_default()
}

fn asked(number: usize, question: &Question, cipher: &TextCipher) -> Asked {
    let Question {
        sender,
        peer,
        msg_type,
        body,
    } = question;
    let (receiver, group) = match peer {
        Peer::User(user) => (Some(user.get()), None),
        Peer::Group(group) => (None, Some(group.get())),
    };
    let conversation = Conversation::of(*sender, *peer).map(|it| match it {
        Conversation::Pair(low, high) => format!("users-{}-{}", low.get(), high.get()),
        Conversation::Group(group) => format!("group-{}", group.get()),
    });
    let kind = kind(*msg_type);
    let text = (kind == FilterKind::Text).then(|| cipher.decrypt(body).ok());
    Asked {
        id: number.to_string(),
        conversation,
        sender: sender.get(),
        receiver,
        group,
        kind: match kind {
            FilterKind::Text => "text",
            FilterKind::Voice => "voice",
        },
        bytes: body.len(),
        text: { text.flatten() }.map(|text| String::from_utf8_lossy(&text).into_owned()),
    }
}

/// Reads an answer; `None` for what is no answer at all.
pub(super) fn answers(
    body: &[u8],
    questions: &[Question],
    cipher: &TextCipher,
    max_body: usize,
) -> Option<Answers> {
    let said: Answering = serde_json::from_slice(body).ok()?;
    let count = said.verdicts.len();
    let mut by_id: HashMap<String, Said> = { said.verdicts.into_iter() }
        .map(|said| (said.id.clone(), said))
        .collect();
    // Of two verdicts on one message nobody knows which is meant.
    if by_id.len() != count {
        return None;
    }
    let mut failure = None;
    let verdicts = questions.iter().enumerate().map(|(number, question)| {
        let Some(said) = by_id.remove(&number.to_string()) else {
            failure = Some(Failure::Missing);
            return None;
        };
        let verdict = verdict(&said, question, cipher, max_body);
        if verdict.is_none() {
            failure = Some(Failure::Unusable);
        }
        verdict
    });
    let verdicts = verdicts.collect();
    Some(Answers { verdicts, failure })
}

fn verdict(
    said: &Said,
    question: &Question,
    cipher: &TextCipher,
    max_body: usize,
) -> Option<Verdict> {
    match said.verdict.as_str() {
        "allow" => Some(Verdict::Allow),
        "deny" => Some(Verdict::Deny),
        "replace" if kind(question.msg_type) == FilterKind::Text => {
            let text = said.text.as_deref().unwrap_or_default();
            let body = cipher.encrypt(text.as_bytes()).ok()?;
            (body.len() <= max_body).then(|| Verdict::Replace(Bytes::from(body)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use im_core::{GroupId, UserId};
    use serde_json::{Value, json};

    use super::*;

    const MAX: usize = 1_024;

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    fn questions() -> Vec<Question> {
        let cipher = TextCipher::default();
        let body = |text: &str| Bytes::from(cipher.encrypt(text.as_bytes()).unwrap());
        let group = Peer::Group(GroupId::from_wire(7).unwrap());
        [
            (Peer::User(user(1)), 0x01, body("hello, 世界")),
            (group, 0x11, Bytes::from_static(b"no ciphertext")),
            (group, 0x12, Bytes::from_static(b"\0\0\0\x05sound")),
        ]
        .map(|(peer, msg_type, body)| Question {
            sender: user(3),
            peer,
            msg_type,
            body,
        })
        .into()
    }

    fn read(answer: &Value) -> Option<Answers> {
        let body = answer.to_string();
        answers(body.as_bytes(), &questions(), &TextCipher::default(), MAX)
    }

    #[test]
    fn a_request_says_what_a_person_would_read() {
        let asked = request("flt_1", &questions(), &TextCipher::default());
        let asked: Value = serde_json::from_str(&asked).unwrap();
        let length = questions()[0].body.len();
        let expected = json!({
            "type": "message.filter",
            "id": "flt_1",
            "messages": [
                {"id": "0", "conversation": "users-1-3", "sender": 3, "receiver": 1, "kind": "text",
                 "bytes": length, "text": "hello, 世界"},
                {"id": "1", "conversation": "group-7", "sender": 3, "group": 7, "kind": "text", "bytes": 13},
                {"id": "2", "conversation": "group-7", "sender": 3, "group": 7, "kind": "voice", "bytes": 9},
            ],
        });
        assert_eq!(asked, expected);
    }

    #[test]
    fn each_message_gets_its_verdict_in_whatever_order_they_come() {
        let said = read(&json!({"verdicts": [
            {"id": "2", "verdict": "allow"},
            {"id": "0", "verdict": "replace", "text": "***"},
            {"id": "1", "verdict": "deny", "reason": "unknown fields are left out"},
            {"id": "9", "verdict": "deny"},
        ]}));
        let said = said.unwrap();
        assert_eq!(said.failure, None);
        let body = TextCipher::default().encrypt(b"***").unwrap();
        let expected = [Verdict::Replace(body.into()), Verdict::Deny, Verdict::Allow];
        assert_eq!(said.verdicts, expected.map(Some));
    }

    #[test]
    fn what_is_missing_or_cannot_be_carried_out_is_a_failure_of_that_message() {
        let allowed = |id: &str| json!({"id": id, "verdict": "allow"});
        let said = read(&json!({"verdicts": [allowed("1"), allowed("2")]})).unwrap();
        let expected = [None, Some(Verdict::Allow), Some(Verdict::Allow)];
        assert_eq!(
            (said.verdicts.as_slice(), said.failure),
            (&expected[..], Some(Failure::Missing))
        );
        for first in [
            json!({"id": "0", "verdict": "perhaps"}),
            json!({"id": "0", "verdict": "replace"}),
            json!({"id": "0", "verdict": "replace", "text": ""}),
            json!({"id": "0", "verdict": "replace", "text": "x".repeat(MAX)}),
        ] {
            let said = read(&json!({"verdicts": [first, allowed("1"), allowed("2")]})).unwrap();
            assert_eq!(said.verdicts[0], None);
            assert_eq!(said.verdicts[1], Some(Verdict::Allow));
            assert_eq!(said.failure, Some(Failure::Unusable));
        }
        // A voice message has no text to replace.
        let voice = json!({"id": "2", "verdict": "replace", "text": "x"});
        let said = read(&json!({"verdicts": [allowed("0"), allowed("1"), voice]})).unwrap();
        assert_eq!(
            (&said.verdicts[2], said.failure),
            (&None, Some(Failure::Unusable))
        );
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for bad in [
            json!(null),
            json!([]),
            json!({}),
            json!({"verdicts": {}}),
            json!({"verdicts": [{"verdict": "allow"}]}),
            json!({"verdicts": [{"id": 0, "verdict": "allow"}]}),
            json!({"verdicts": [{"id": "0", "verdict": "allow"}, {"id": "0", "verdict": "deny"}]}),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
        let cipher = TextCipher::default();
        assert_eq!(
            answers(b"{\"verdicts\": [", &questions(), &cipher, MAX),
            None
        );
    }

    #[test]
    fn the_largest_text_that_fits_is_taken() {
        // 1,024 bytes of base64 hold 768 bytes of blocks, four of them the length.
        let verdict_on = |text: usize| {
            let text = "x".repeat(text);
            let all = json!({"verdicts": [{"id": "0", "verdict": "replace", "text": text}]});
            read(&all).unwrap().verdicts[0].is_some()
        };
        assert!(verdict_on(764));
        assert!(!verdict_on(765));
    }
}
