//! Files that wait for people who were away.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use im_proto_rpc::v1::{FileOrder, FilesAsk, OperateServerRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::servers::no_answer;
use super::sessions::{names, person};
use super::words::moment;
use super::{Change, hex, rows};
use crate::caller::Caller;
use crate::extract::{Path, Query};
use crate::monitor::{FILE, FILE_ID, FilesListed, Waiting};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(delete))
}

/// A file that somebody sent to somebody who was away, and that has not been fetched.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct File {
    /// Names it; 32 hexadecimal digits. Nobody can fetch the file who knows this.
    #[schema(example = "0123456789abcdef0123456789abcdef")]
    id: String,
    /// Name of the file server that has it.
    server: String,
    /// Login name of who sent it; empty when they were taken out.
    from: String,
    /// Login name of whom it is for.
    to: String,
    /// As its sender's client named it.
    name: String,
    /// Bytes.
    size: u32,
    /// When it was stored (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
}

/// Which files are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// Login name of who sent them.
    #[serde(default)]
    #[param(required = false)]
    from: String,
    /// Login name of whom they are for.
    #[serde(default)]
    #[param(required = false)]
    to: String,
    /// Name of the file server.
    #[serde(default)]
    #[param(required = false)]
    server: String,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of files.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilePage {
    /// The rows, by id. A page may have fewer than were asked for, or none, and another one behind it.
    items: Vec<File>,
    /// Cursor of what follows; absent when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// File servers that were asked: those that report here.
    asked: usize,
    /// Of them, those that have not answered: their files are missing in this page.
    silent: Vec<String>,
}

/// Lists files that wait for people who were away, as the file servers that report here have them. What is in them
/// is not shown.
#[utoipa::path(get, path = "/api/v1/files", operation_id = "listFiles", tag = "files", params(Find),
    security(("token" = ["files:read"])),
    responses((status = 200, description = "A page of files.", body = FilePage), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(find): Query<Find>,
) -> Result<Json<FilePage>, Problem> {
    let limit = rows(find.limit)? as usize;
    let about = [
        "files",
        find.from.as_str(),
        find.to.as_str(),
        find.server.as_str(),
    ];
    let after = api.cursors.read(&about, find.cursor.as_deref())?;
    let server = Some(find.server.as_str()).filter(|server| !server.is_empty());
    if let Some(name) = server.filter(|name| api.monitor.server(name).is_none()) {
        let detail = format!("no server {name} reports here");
        return Err(Problem::new(Kind::NotFound, detail));
    }
    let ask = FilesAsk {
        after: after.unwrap_or_default().into(),
        from: id_of(&api, &caller, &find.from).await?,
        to: id_of(&api, &caller, &find.to).await?,
        ..FilesAsk::default()
    };
    let FilesListed {
        files,
        next,
        asked,
        silent,
    } = api.monitor.files(server, ask, limit).await;
    Ok(Json(FilePage {
        items: shown(&api, &caller, files).await?,
        next: next.map(|id| api.cursors.make(&about, &id)),
        asked,
        silent,
    }))
}

async fn id_of(api: &Api, caller: &Caller, name: &str) -> Result<u32, Problem> {
    match name {
        "" => Ok(0),
        name => person(api, caller, name).await,
    }
}

async fn shown(api: &Api, caller: &Caller, files: Vec<Waiting>) -> Result<Vec<File>, Problem> {
    let people = files.iter().flat_map(|it| [it.file.from, it.file.to]);
    let names = names(api, caller, people.collect()).await?;
    let name = |id| names.get(&id).cloned().unwrap_or_default();
    let shown = files.into_iter().map(|Waiting { id, server, file }| File {
        id: hex(&id),
        server,
        from: name(file.from),
        to: name(file.to),
        name: file.name,
        size: file.size,
        stored: moment(file.stored),
    });
    Ok(shown.collect())
}

/// Deletes a file that waits: it is in no list of its receiver any more, and whoever is fetching it gets no further
/// block.
#[utoipa::path(delete, path = "/api/v1/files/{id}", operation_id = "deleteFile", tag = "files",
    params(("id" = String, Path, description = "Its id."), Change),
    security(("token" = ["files:write"])),
    responses((status = 200, description = "The file, which is gone; or would be.", body = File), (status = 404, description = "")))]
async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<File>, Problem> {
    let missing = || Problem::new(Kind::NotFound, format!("no file waits under {id}"));
    let wanted = read(&id).ok_or_else(missing)?;
    let ask = FilesAsk {
        id: Bytes::copy_from_slice(&wanted),
        ..FilesAsk::default()
    };
    let found = api.monitor.files(None, ask, 1).await;
    if found.files.is_empty() && !found.silent.is_empty() {
        let silent = found.silent.join(", ");
        let detail = format!("nothing of this file: {FILE} servers have not answered: {silent}");
        return Err(Problem::new(Kind::ServerUnavailable, detail).after(2));
    }
    let file = shown(&api, &caller, found.files).await?;
    let file = file.into_iter().next().ok_or_else(missing)?;
    let row = caller.call(OperateServerRequest {
        server: file.server.clone(),
        operation: "delete-file".to_owned(),
        file: Some(FileOrder {
            id: file.id.clone(),
            from: file.from.clone(),
            to: file.to.clone(),
            name: file.name.clone(),
            size: file.size,
        }),
        dry_run: change.dry_run,
        ..OperateServerRequest::default()
    });
    let noted = api.admin.clone().operate_server(row).await;
    noted.map_err(|status| caller.refused(&status))?;
    if change.dry_run {
        return Ok(Json(file));
    }
    match api.monitor.delete_file(&file.server, wanted).await {
        Ok(true) => Ok(Json(file)),
        Ok(false) => Err(missing()),
        Err(why) => Err(no_answer(&api, &file.server, why)),
    }
}

/// The id of a file, as answers spell it.
fn read(id: &str) -> Option<[u8; FILE_ID]> {
    let number = u128::from_str_radix(id, 16).ok()?;
    let bytes = number.to_be_bytes();
    (hex(&bytes) == id).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_spelled_and_in_no_other_way() {
        let id = "00112233445566778899aabbccddeeff";
        assert_eq!(hex(&read(id).unwrap()), id);
        let long = format!("0{id}");
        for wrong in ["", "0", "00112233445566778899AABBCCDDEEFF", long.as_str()] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
