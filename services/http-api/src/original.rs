//! The two calls of the original server, as its back offices make and read them.
//!
//! They have no token; lists of addresses and of app keys say who may call them. What the original lets time
//! out, since its database server does not answer, is a refusal here, and every answer has a head.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse as _;
use im_config::{Networks, NotANetwork, OriginalCallsConfig};
use im_core::{Chain, Network};
use im_proto_rpc::v1::{ChangeGroupMembersRequest, CreateGroupRequest, GetGroupRequest};
use serde_json::{Map, Value};
use subtle::{Choice, ConstantTimeEq as _};
use tonic::Status;
use tracing::warn;

use crate::caller::{Key, slot};
use crate::db_proxy::{Asker, has_answered};
use crate::extract::whole;
use crate::metrics::Limited;
use crate::origin::Origin;
use crate::problem::{Kind, Problem};
use crate::service::Api;

/// What the paths of the calls begin with.
pub(crate) const PREFIX: &str = "/query/";

/// Makes a group.
pub(crate) const CREATE_GROUP: &str = "/query/CreateGroup";

/// Adds members to a group or takes them out.
pub(crate) const CHANGE_MEMBERS: &str = "/query/ChangeMembers";

/// Who may make the calls.
#[derive(Debug)]
pub(crate) struct Original {
    addresses: Networks,
    /// Hashes of the app keys.
    app_keys: Vec<blake3::Hash>,
}

impl Original {
    pub(crate) fn new(config: &OriginalCallsConfig) -> Result<Self, NotANetwork> {
        let keys = config.app_keys.iter();
        Ok(Self {
            addresses: Networks::parse(&config.addresses)?,
            app_keys: keys.map(|key| blake3::hash(key.as_bytes())).collect(),
        })
    }

    /// Whether this key is one of those that may be used. All are compared, so that the time tells nothing.
    fn knows(&self, app_key: &str) -> bool {
        let hash = blake3::hash(app_key.as_bytes());
        let same = |known: &blake3::Hash| known.as_bytes().ct_eq(hash.as_bytes());
        let found = self.app_keys.iter().map(same);
        self.app_keys.is_empty() || bool::from(found.fold(Choice::from(0), |all, one| all | one))
    }
}

/// The original's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Done = 0,
    Parameter = 1,
    NoSuchAppKey = 2,
    NotAuthorised = 5,
    Address = 6,
    Server = 10,
    CreateGroup = 11,
    ChangeMembers = 12,
}

impl Code {
    const fn text(self) -> &'static str {
        match self {
            Self::Done => "成功",
            Self::Parameter => "参数错误",
            Self::NoSuchAppKey => "appKey不存在",
            Self::NotAuthorised => "未授权的接口",
            Self::Address => "未授权的IP",
            Self::Server => "服务器异常",
            Self::CreateGroup => "创建群失败",
            Self::ChangeMembers => "更改群成员失败",
        }
    }
}

/// An answer: the original's keys in its order and its spacing.
fn answer(code: Code, group: Option<u32>) -> Response<Body> {
    let number = code as u8;
    let text = code.text();
    let group = group.map(|id| format!(",\n   \"group_id\" : {id}"));
    let group = group.unwrap_or_default();
    let body =
        format!("{{\n   \"error_code\" : {number},\n   \"error_msg\" : \"{text}\"{group}\n}}\n");
    let mut answer = Response::new(Body::from(body));
    let of = |text: &'static str| HeaderValue::from_static(text);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, of("text/html;charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, of("no-cache"));
    headers.insert(header::CONNECTION, of("close"));
    answer
}

/// `POST /query/CreateGroup`; the original takes any method.
pub(crate) async fn create_group(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let fields = match fields(&api, request).await {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let Some(wanted) = group_of(&fields.json) else {
        return answer(Code::Parameter, None);
    };
    if wanted.name.is_empty() || wanted.member_ids.is_empty() {
        return answer(Code::CreateGroup, Some(0));
    }
    let call = fields.asker.call(wanted, None);
    match api.admin.clone().create_group(call).await {
        Ok(made) => answer(Code::Done, Some(made.into_inner().id)),
        Err(status) => answer(code_of(&status, Code::CreateGroup), Some(0)),
    }
}

/// `POST /query/ChangeMembers`; the original takes any method.
pub(crate) async fn change_members(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Response<Body> {
    let fields = match fields(&api, request).await {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let Some(wanted) = members_of(&fields.json) else {
        return answer(Code::Parameter, None);
    };
    let mut admin = api.admin.clone();
    let refused = |status: Status| answer(code_of(&status, Code::ChangeMembers), None);
    let group = wanted.group;
    let adds = wanted.remove_ids.is_empty() && fields.is_addition();
    if adds && wanted.add_ids.is_empty() {
        return answer(Code::ChangeMembers, None);
    }
    let question = fields.asker.call(GetGroupRequest { group }, None);
    let before = match admin.get_group(question).await {
        Ok(group) => group.into_inner().version,
        Err(status) => return refused(status),
    };
    let call = fields.asker.call(wanted, None);
    match admin.change_group_members(call).await {
        // To add nobody but members is a failure to the original.
        Ok(after) if adds && after.get_ref().version == before => answer(Code::ChangeMembers, None),
        Ok(_) => answer(Code::Done, None),
        Err(status) => refused(status),
    }
}

/// What a call says, and who makes it.
struct Fields {
    json: Map<String, Value>,
    asker: Asker,
    _slot: crate::slots::Slot<Key>,
}

impl Fields {
    fn is_addition(&self) -> bool {
        uint(&self.json, "modify_type") == Some(ADD)
    }
}

/// Lets a call in, and reads what is common to both.
async fn fields(api: &Api, request: Request) -> Result<Fields, Box<Response<Body>>> {
    let (parts, body) = request.into_parts();
    let Some(origin) = parts.extensions.get::<Origin>() else {
        return Err(Box::new(Problem::new(Kind::Internal, "").into_response()));
    };
    let original = &api.original;
    if !original.addresses.is_empty() && !original.addresses.contains(origin.address) {
        return Err(Box::new(answer(Code::Address, None)));
    }
    let slot = slot(api, Key::Address(Network::host(origin.address)));
    let slot = slot.map_err(|problem| Box::new(problem.into_response()))?;
    let bytes = read(api, &parts.headers, body).await?;
    let json = judge(original, &bytes).map_err(|code| Box::new(answer(code, None)))?;
    Ok(Fields {
        json,
        asker: Asker {
            actor: "back office".to_owned(),
            credential: "original call".to_owned(),
            address: origin.address.to_string(),
            request_id: origin.request_id.clone(),
        },
        _slot: slot,
    })
}

async fn read(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<bytes::Bytes, Box<Response<Body>>> {
    let limit = api.config.request_timeout.duration();
    let read = whole(headers, body, api.config.max_body.as_usize());
    let failed = match tokio::time::timeout(limit, read).await {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(problem)) => problem,
        Err(_) => {
            api.metrics.limit(Limited::Time);
            return Err(Box::new(Problem::new(Kind::Timeout, "").into_response()));
        }
    };
    if failed.kind == Kind::BodyTooLarge {
        api.metrics.limit(Limited::Body);
    }
    let mut refused = answer(Code::Parameter, None);
    *refused.status_mut() = match failed.kind {
        Kind::BodyTooLarge => failed.kind.status(),
        _ => StatusCode::OK,
    };
    Err(Box::new(refused))
}

/// Reads a body and judges what both calls have.
fn judge(original: &Original, bytes: &[u8]) -> Result<Map<String, Value>, Code> {
    let json = match serde_json::from_slice(bytes) {
        Ok(Value::Object(json)) => json,
        Ok(_) => return Err(Code::NotAuthorised),
        Err(_) => return Err(Code::Parameter),
    };
    let app_key = match json.get("app_key") {
        None | Some(Value::Null) => "",
        Some(Value::String(key)) => key,
        Some(_) => return Err(Code::NotAuthorised),
    };
    match json.get("req_user_id") {
        None | Some(Value::Null) => return Err(Code::Parameter),
        Some(_) if uint(&json, "req_user_id").is_none() => return Err(Code::NotAuthorised),
        Some(_) => {}
    }
    if !original.knows(app_key) {
        return Err(Code::NoSuchAppKey);
    }
    Ok(json)
}

/// Kinds of groups, and of changes.
const FIXED: u32 = 1;
const TEMPORARY: u32 = 2;
const ADD: u32 = 1;
const DELETE: u32 = 2;

/// The group that a call asks for; `None` when a parameter is missing or is of another type.
fn group_of(json: &Map<String, Value>) -> Option<CreateGroupRequest> {
    let kind = uint(json, "group_type").filter(|kind| [FIXED, TEMPORARY].contains(kind))?;
    Some(CreateGroupRequest {
        name: json.get("group_name")?.as_str()?.to_owned(),
        avatar: json.get("group_avatar")?.as_str()?.to_owned(),
        member_ids: uints(json, "user_id_list")?,
        fixed: kind == FIXED,
        ..CreateGroupRequest::default()
    })
}

/// The change that a call asks for, likewise.
fn members_of(json: &Map<String, Value>) -> Option<ChangeGroupMembersRequest> {
    let kind = uint(json, "modify_type").filter(|kind| [ADD, DELETE].contains(kind))?;
    let (group, ids) = (uint(json, "group_id")?, uints(json, "user_id_list")?);
    let (add_ids, remove_ids) = if kind == ADD {
        (ids, Vec::new())
    } else {
        (Vec::new(), ids)
    };
    Some(ChangeGroupMembersRequest {
        group,
        add_ids,
        remove_ids,
        ..ChangeGroupMembersRequest::default()
    })
}

fn uint(json: &Map<String, Value>, key: &str) -> Option<u32> {
    json.get(key)?.as_u64()?.try_into().ok()
}

fn uints(json: &Map<String, Value>, key: &str) -> Option<Vec<u32>> {
    let list = json.get(key)?.as_array()?.iter();
    list.map(|id| id.as_u64()?.try_into().ok()).collect()
}

/// The code for what db-proxy has refused.
fn code_of(status: &Status, refused: Code) -> Code {
    let is_theirs = has_answered(&Err::<(), _>(status.clone()));
    if !is_theirs {
        warn!(error = %Chain(status), "an original call could not be carried out");
        return Code::Server;
    }
    refused
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    fn original(app_keys: &[&str]) -> Original {
        Original::new(&OriginalCallsConfig {
            app_keys: app_keys.iter().map(|key| (*key).to_owned()).collect(),
            ..OriginalCallsConfig::default()
        })
        .unwrap()
    }

    #[tokio::test]
    async fn answers_have_the_originals_bytes() {
        let text = async |answer: Response<Body>| {
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let done = answer(Code::Done, Some(7));
        assert_eq!(
            done.headers()[header::CONTENT_TYPE],
            "text/html;charset=utf-8"
        );
        assert_eq!(done.headers()[header::CONNECTION], "close");
        assert_eq!(done.headers()[header::CACHE_CONTROL], "no-cache");
        let expected =
            "{\n   \"error_code\" : 0,\n   \"error_msg\" : \"成功\",\n   \"group_id\" : 7\n}\n";
        assert_eq!(text(done).await, expected);
        let expected = "{\n   \"error_code\" : 1,\n   \"error_msg\" : \"参数错误\"\n}\n";
        assert_eq!(text(answer(Code::Parameter, None)).await, expected);
    }

    #[test]
    fn what_is_common_to_both_calls_is_judged_as_the_original_does() {
        let judged = |json: Value| judge(&original(&[]), json.to_string().as_bytes()).err();
        assert_eq!(judged(json!({"req_user_id": 0})), None);
        assert_eq!(judged(json!({"req_user_id": 1, "app_key": "any"})), None);
        assert_eq!(judged(json!({"req_user_id": 1, "app_key": null})), None);
        for missing in [json!({}), json!({"req_user_id": null})] {
            assert_eq!(judged(missing), Some(Code::Parameter));
        }
        for wrong in [
            json!({"req_user_id": "1"}),
            json!({"req_user_id": -1}),
            json!({"req_user_id": 1, "app_key": 7}),
            json!([1]),
            json!("x"),
        ] {
            assert_eq!(judged(wrong.clone()), Some(Code::NotAuthorised), "{wrong}");
        }
        assert_eq!(judge(&original(&[]), b"{").err(), Some(Code::Parameter));
    }

    #[test]
    fn a_list_of_app_keys_lets_nobody_else_in() {
        let keyed = original(&["one", "two"]);
        let judged = |key: &str| {
            let json = json!({"req_user_id": 1, "app_key": key});
            judge(&keyed, json.to_string().as_bytes()).err()
        };
        assert_eq!(judged("two"), None);
        assert_eq!(judged("three"), Some(Code::NoSuchAppKey));
        let none = judge(&keyed, b"{\"req_user_id\": 1}").err();
        assert_eq!(none, Some(Code::NoSuchAppKey));
    }

    #[test]
    fn every_parameter_must_be_there_and_of_its_type() {
        let whole = json!({
            "req_user_id": 1, "app_key": "x", "group_name": "g", "group_type": 1,
            "group_avatar": "", "user_id_list": [1, 2],
        });
        let group = |json: &Value| group_of(json.as_object().unwrap());
        let wanted = group(&whole).unwrap();
        assert_eq!((wanted.name.as_str(), wanted.fixed), ("g", true));
        assert_eq!(wanted.member_ids, [1, 2]);
        assert!(wanted.owner.is_empty() && wanted.owner_id == 0);
        for (key, wrong) in [
            ("group_name", json!(7)),
            ("group_name", Value::Null),
            ("group_type", json!(3)),
            ("group_type", json!("1")),
            ("group_avatar", Value::Null),
            ("user_id_list", json!(7)),
            ("user_id_list", json!(["1"])),
            ("user_id_list", json!([-1])),
            ("user_id_list", json!([4_294_967_296_u64])),
        ] {
            let mut json = whole.clone();
            json[key] = wrong;
            assert!(group(&json).is_none(), "{json}");
        }
        let change = |kind: u32| {
            let json = json!({"group_id": 7, "modify_type": kind, "user_id_list": [3]});
            members_of(json.as_object().unwrap())
        };
        let add = change(1).unwrap();
        assert_eq!(
            (add.group, add.add_ids, add.remove_ids),
            (7, vec![3], vec![])
        );
        assert_eq!(change(2).unwrap().remove_ids, [3]);
        assert!(change(3).is_none());
    }

    #[test]
    fn a_server_that_is_away_has_a_code_of_its_own() {
        let code = |status: Status| code_of(&status, Code::CreateGroup);
        assert_eq!(code(Status::unavailable("x")), Code::Server);
        assert_eq!(code(Status::unauthenticated("x")), Code::Server);
        assert_eq!(code(Status::not_found("x")), Code::CreateGroup);
    }
}
