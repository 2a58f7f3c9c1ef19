//! What http-api needs to show and operate servers, which it reaches itself: names of people, and rows of the
//! audit log.

use im_core::UserId;
use im_core::text::is_unseen;
use im_proto_rpc::v1::{
    NameUsersRequest, OperateServerReply, OperateServerRequest, UserNames, user_names,
};
use serde_json::{Value, json};

use super::notes::Changed;
use super::{AdminError, AdminService};

/// Most ids of one question.
const MAX_IDS: usize = 1_000;

/// Longest name of a server, bytes.
const MAX_SERVER: usize = 128;

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
        let server = &request.server;
        if !(1..=MAX_SERVER).contains(&server.len()) || server.chars().any(is_unseen) {
            let text = format!("server must be 1 to {MAX_SERVER} bytes of visible characters");
            return Err(AdminError::Invalid(text));
        }
        let after = told(&request)?;
        let reply = OperateServerReply {};
        if request.dry_run {
            return Ok(reply);
        }
        let changed = Changed::of(format!("server {server}"))
            .after(after)
            .answer(&reply);
        if let Some(note) = self.note(changed) {
            self.store.note(&note).await?;
        }
        Ok(reply)
    }
}

/// What the row tells.
fn told(request: &OperateServerRequest) -> Result<Value, AdminError> {
    match request.operation.as_str() {
        operation @ ("cordon" | "uncordon") => Ok(json!({ "operation": operation })),
        "shed" => Ok(json!({
            "operation": "shed",
            "sessions": request.sessions,
            "per_second": request.per_second,
        })),
        other => Err(AdminError::Invalid(format!(
            "operation must be cordon, uncordon or shed, is {other:?}"
        ))),
    }
}
