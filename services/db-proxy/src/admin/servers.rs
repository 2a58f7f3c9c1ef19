//! What http-api needs to show and operate servers, which it reaches itself: names of people, and rows of the
//! audit log.

use im_core::UserId;
use im_core::text::is_unseen;
use im_proto_rpc::v1::{
    FileOrder, NameUsersRequest, OperateServerReply, OperateServerRequest, TraceOrder, UserNames,
    user_names,
};
use serde_json::{Map, Value, json};

use super::notes::Changed;
use super::{AdminError, AdminService};

/// Most ids of one question.
const MAX_IDS: usize = 1_000;

/// Longest name of a server, bytes.
const MAX_SERVER: usize = 128;

/// Digits of the id of a trace.
const TRACE: usize = 6;
/// The same of a file.
const FILE: usize = 32;

impl AdminService {
    /// Login names of people, whoever of these there is.
    pub(super) async fn name_people(
        &self,
        request: NameUsersRequest,
    ) -> Result<UserNames, AdminError> {
        if request.ids.len() > MAX_IDS {
            let text = format!("ids must be {MAX_IDS} at most");
            return Err(AdminError::Invalid(text));
        }
        let ids = request.ids.into_iter();
        let mut ids: Vec<UserId> = ids.filter_map(UserId::from_wire).collect();
        ids.sort_unstable();
        ids.dedup();
        let names = self.names(&ids).await?;
        let name = |(id, name): (&UserId, &String)| user_names::Name {
            id: id.get(),
            name: name.clone(),
        };
        Ok(UserNames {
            names: names.iter().map(name).collect(),
        })
    }

    /// Writes the row; whoever asks carries it out.
    pub(super) async fn operate(
        &self,
        request: OperateServerRequest,
    ) -> Result<OperateServerReply, AdminError> {
        let (what, after) = told(&request)?;
        let reply = OperateServerReply {};
        if request.dry_run {
            return Ok(reply);
        }
        let changed = Changed::of(what).after(after).answer(&reply);
        if let Some(note) = self.note(changed) {
            self.store.note(&note).await?;
        }
        Ok(reply)
    }
}

/// What the row is about, and what it tells.
fn told(request: &OperateServerRequest) -> Result<(String, Value), AdminError> {
    let operation = request.operation.as_str();
    if ["trace", "stop-trace"].contains(&operation) {
        return trace(operation, request.trace.as_ref());
    }
    let server = &request.server;
    if !(1..=MAX_SERVER).contains(&server.len()) || server.chars().any(is_unseen) {
        let text = format!("server must be 1 to {MAX_SERVER} bytes of visible characters");
        return Err(AdminError::Invalid(text));
    }
    let told = match operation {
        "cordon" | "uncordon" => json!({ "operation": operation }),
        "delete-file" => return file(server, request.file.as_ref()),
        "shed" => json!({
            "operation": operation,
            "sessions": request.sessions,
            "per_second": request.per_second,
        }),
        other => {
            return Err(AdminError::Invalid(format!(
                "operation must be cordon, uncordon, shed, delete-file, trace or stop-trace, is {other:?}"
            )));
        }
    };
    Ok((format!("server {server}"), told))
}

/// The same of a file that waits at a server.
fn file(server: &str, order: Option<&FileOrder>) -> Result<(String, Value), AdminError> {
    let order = order.ok_or_else(|| AdminError::Invalid("file must be given".to_owned()))?;
    if !is_hex(&order.id, FILE) {
        let text = format!("id of a file must be {FILE} hexadecimal digits");
        return Err(AdminError::Invalid(text));
    }
    let told = json!({
        "operation": "delete-file",
        "server": server,
        "from": order.from,
        "to": order.to,
        "name": order.name,
        "size": order.size,
    });
    Ok((format!("file {}", order.id), told))
}

fn is_hex(id: &str, digits: usize) -> bool {
    id.len() == digits && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The same of a trace, which is armed or stopped at all msg servers.
fn trace(operation: &str, order: Option<&TraceOrder>) -> Result<(String, Value), AdminError> {
    let order = order.ok_or_else(|| AdminError::Invalid("trace must be given".to_owned()))?;
    if !is_hex(&order.id, TRACE) {
        let text = format!("id of a trace must be {TRACE} hexadecimal digits");
        return Err(AdminError::Invalid(text));
    }
    let mut told = Map::new();
    let mut tell = |key: &str, value: Value| told.insert(key.to_owned(), value);
    tell("operation", operation.into());
    for (key, name) in [("user", &order.user), ("with", &order.with)] {
        if !name.is_empty() {
            tell(key, name.as_str().into());
        }
    }
    for (key, number) in [
        ("group", order.group),
        ("one_in", order.one_in),
        ("per_second", order.per_second),
        ("seconds", order.seconds),
    ] {
        if number != 0 {
            tell(key, number.into());
        }
    }
    Ok((format!("trace {}", order.id), Value::Object(told)))
}
