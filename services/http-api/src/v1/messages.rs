//! Messages: sent for people, and read where the installation allows that.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_codec::text::TextCipher;
use im_proto_rpc::v1::{
    ConversationKey, GetMessageRequest, GetUserRequest, ListMessagesRequest, MessageRecord,
    SendMessageRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{MAX_ID, time, unix_seconds};
use super::{Change, made};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(send))
        .routes(routes!(list))
        .routes(routes!(get))
}

/// The cipher that every client has compiled in.
pub(super) static CIPHER: LazyLock<TextCipher> = LazyLock::new(TextCipher::default);

/// Numbers of `IM.BaseDefine.MsgType`.
const TEXT: u32 = 0x01;
const GROUP_TEXT: u32 = 0x11;

/// Most messages of a page.
const MAX_LIMIT: u32 = 200;

/// A conversation, as paths and answers spell it: `users-1-2` or `group-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Conversation {
    user: u32,
    other: u32,
    group: u32,
}

impl FromStr for Conversation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id > 0).ok_or(());
        if let Some(group) = text.strip_prefix("group-") {
            let group = number(group)?;
            return Ok(Self {
                user: 0,
                other: 0,
                group,
            });
        }
        let users = text
            .strip_prefix("users-")
            .and_then(|it| it.split_once('-'));
        let (user, other) = users.ok_or(())?;
        Ok(Self {
            user: number(user)?,
            other: number(other)?,
            group: 0,
        })
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            0 => write!(f, "users-{}-{}", self.user, self.other),
            group => write!(f, "group-{group}"),
        }
    }
}

impl From<ConversationKey> for Conversation {
    fn from(key: ConversationKey) -> Self {
        Self {
            user: key.user,
            other: key.other,
            group: key.group,
        }
    }
}

/// A message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    /// Its place in the log; digits.
    position: String,
    /// `users-1-2` by the ids of both, or `group-7`.
    #[schema(example = "users-1-2")]
    conversation: String,
    /// Its number in the conversation.
    id: u32,
    /// Id of the sender.
    sender: u32,
    /// `text`, or `other`, whose content is not shown.
    #[schema(example = "text")]
    kind: &'static str,
    /// When it was stored (RFC 3339).
    time: String,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl From<MessageRecord> for Message {
    fn from(record: MessageRecord) -> Self {
        let is_text = [TEXT, GROUP_TEXT].contains(&record.r#type);
        let text = || CIPHER.decrypt(&record.body).ok();
        let text = Some(()).filter(|()| is_text).and_then(|()| text());
        let conversation = Conversation::from(record.conversation.unwrap_or_default());
        Self {
            position: record.position.to_string(),
            conversation: conversation.to_string(),
            id: record.id,
            sender: record.sender,
            kind: if is_text { "text" } else { "other" },
            time: time(record.time),
            text: text.map(|text| String::from_utf8_lossy(&text).into_owned()),
        }
    }
}

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// Login name of the sender; a member of the group, if it goes to one. Absent in what a bot sends, which is
    /// from itself.
    #[schema(min_length = 1)]
    from: Option<String>,
    /// Login name of the receiver, unless it goes to a group.
    to: Option<String>,
    /// Id of the group.
    group: Option<u32>,
    /// Only `text`, which it is unless it is given.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The text.
    #[schema(min_length = 1)]
    text: String,
}

/// Sends a message as one that its sender's client had sent. Under an `Idempotency-Key` it is one message,
/// whatever fails on the way. With a bot's token the bot sends, and nobody else.
#[utoipa::path(post, path = "/api/v1/messages", operation_id = "sendMessage", tag = "messages", params(Change),
    security(("token" = ["messages:write"]), ("token" = ["bot"])), request_body = NewMessage,
    responses((status = 201, description = "It is stored.", body = Message), (status = 200, description = "A dry run: it is well formed.", body = Message), (status = 404, description = "")))]
async fn send(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewMessage>,
) -> Result<Response, Problem> {
    if new.kind.as_deref().is_some_and(|kind| kind != "text") {
        let detail = "only text is sent by this API";
        return Err(Problem::new(Kind::UnsupportedType, detail));
    }
    let body = CIPHER.encrypt(new.text.as_bytes());
    let body = body.map_err(|error| Problem::field("text", error.to_string()))?;
    let (receiver, group, kind) = match (new.to, new.group) {
        (Some(to), None) => (id_of(&api, &caller, to).await?, 0, TEXT),
        (None, Some(group)) if group <= MAX_ID => (0, group, GROUP_TEXT),
        (None, Some(_)) => return Err(Problem::new(Kind::NotFound, "there is no such group")),
        _ => {
            return Err(Problem::field(
                "to",
                "this or group must be given, not both",
            ));
        }
    };
    let message = SendMessageRequest {
        sender: sender(&api, &caller, new.from).await?,
        receiver,
        group,
        r#type: kind,
        body: body.into(),
        dry_run: change.dry_run,
    };
    let sent = api.admin.clone().send_message(caller.call(message)).await;
    let sent = sent.map_err(|status| caller.refused(&status))?;
    let text = Some(new.text);
    Ok(made(sent, change.dry_run, |record| Message {
        text,
        ..Message::from(record)
    }))
}

/// Who sends: a bot itself, or whom the token's holder names.
async fn sender(api: &Api, caller: &Caller, from: Option<String>) -> Result<u32, Problem> {
    match (caller.grant.token.bot, from) {
        (0, Some(from)) => id_of(api, caller, from).await,
        (0, None) => Err(Problem::field("from", "must name who sends")),
        (bot, None) => Ok(bot),
        (bot, Some(from)) => match id_of(api, caller, from).await {
            Ok(named) if named == bot => Ok(bot),
            Err(problem) if problem.kind != Kind::NotFound => Err(problem),
            // Whether there is somebody of that name is none of its business.
            _ => {
                let detail = "a bot sends as itself: from is its own name, or absent";
                Err(Problem::new(Kind::NotAllowed, detail))
            }
        },
    }
}

async fn id_of(api: &Api, caller: &Caller, name: String) -> Result<u32, Problem> {
    let wanted = caller.plain_call(GetUserRequest {
        name,
        id: 0,
        any_account: true,
    });
    let found = api.admin.clone().get_user(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(found.into_inner().id)
}

/// Messages of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Messages {
    items: Vec<Message>,
    /// Whether more follow in this direction.
    more: bool,
}

/// Which messages are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Around {
    /// Only older ones than this number, the newest first.
    #[param(minimum = 1)]
    before: Option<u32>,
    /// Only newer ones, the oldest first; not together with `before`.
    #[param(minimum = 1)]
    after: Option<u32>,
    /// Only those of this moment (RFC 3339, in whole seconds) and later, the oldest first; without the others.
    #[param(example = "2026-01-31T08:00:00Z")]
    at: Option<String>,
    /// Most messages: 1 to 200; 50 unless it is given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Reads a conversation, the newest messages first unless `after` or `at` is given; where the installation allows it
/// (`http_api.read_messages`).
#[utoipa::path(get, path = "/api/v1/conversations/{conversation}/messages", operation_id = "listMessages", tag = "messages",
    params(("conversation" = String, Path, description = "`users-1-2` by the ids of both, or `group-7`."), Around),
    security(("token" = ["messages:read"])),
    responses((status = 200, description = "Messages.", body = Messages), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(conversation): Path<String>,
    Query(around): Query<Around>,
) -> Result<Json<Messages>, Problem> {
    may_read(&api)?;
    let none = |()| Problem::new(Kind::NotFound, "a conversation is users-1-2 or group-7");
    let wanted: Conversation = conversation.parse().map_err(none)?;
    let limit = around.limit.unwrap_or(50);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let detail = "limit must be 1 to 200";
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    let wanted = caller.call(ListMessagesRequest {
        conversation: Some(ConversationKey {
            user: wanted.user,
            other: wanted.other,
            group: wanted.group,
        }),
        before: around.before.unwrap_or(0),
        after: around.after.unwrap_or(0),
        at: around.at.as_deref().map_or(Ok(0), unix_seconds)?,
        limit,
    });
    let found = api.admin.clone().list_messages(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Messages {
        items: found.messages.into_iter().map(Message::from).collect(),
        more: found.more,
    }))
}

/// Reads the message at a place in the log, where the installation allows it (`http_api.read_messages`).
#[utoipa::path(get, path = "/api/v1/messages/{position}", operation_id = "getMessage", tag = "messages",
    params(("position" = String, Path, description = "Its place in the log.")),
    security(("token" = ["messages:read"])),
    responses((status = 200, description = "The message.", body = Message), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(position): Path<u64>,
) -> Result<Json<Message>, Problem> {
    may_read(&api)?;
    let wanted = caller.call(GetMessageRequest { position });
    let found = api.admin.clone().get_message(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// What people write to each other is theirs, unless the installation says otherwise.
fn may_read(api: &Api) -> Result<(), Problem> {
    if api.config.read_messages {
        return Ok(());
    }
    let detail = "messages are not read over this API (http_api.read_messages)";
    Err(Problem::new(Kind::NotAllowed, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_spelled_in_one_way() {
        for text in ["users-1-2", "group-7"] {
            assert_eq!(text.parse::<Conversation>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "users-1",
            "users-0-1",
            "users-1-x",
            "group-",
            "group-0",
            "room-1",
        ] {
            assert!(wrong.parse::<Conversation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_shown_and_anything_else_is_not() {
        let record = |kind: u32, body: Vec<u8>| MessageRecord {
            r#type: kind,
            body: body.into(),
            ..MessageRecord::default()
        };
        let text = CIPHER.encrypt("hello".as_bytes()).unwrap();
        let shown = Message::from(record(TEXT, text.into()));
        assert_eq!((shown.kind, shown.text.as_deref()), ("text", Some("hello")));
        let voice = Message::from(record(0x02, b"ogg".to_vec()));
        assert_eq!((voice.kind, voice.text), ("other", None));
        let broken = Message::from(record(GROUP_TEXT, b"x".to_vec()));
        assert_eq!((broken.kind, broken.text), ("text", None));
    }
}
