//! The OpenAPI document: what the routes say, and what is true of all of them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::problem::{Details, FieldError, MEDIA_TYPE};
use crate::{v1, verb};

/// What the document says beside the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "imcluster",
        description = "People, bots, departments, groups, messages, sessions, files, servers, subscriptions, tokens and the audit log of an \
                       imcluster installation.\n\nEvery answer has the number of its request in `X-Request-Id`; the logs \
                       and the audit log have it too. Refusals are problem details (RFC 9457) with a stable \
                       `type`. Lists come in pages: `next` of an answer is the `cursor` of the request for what \
                       follows. A POST with an `Idempotency-Key` counts once in 24 hours, however often it \
                       is sent. With `dry_run=true` a change is judged in full and not made.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "people", description = "Accounts of people, their passwords and states."),
        (name = "departments", description = "The tree in which clients show people."),
        (name = "groups", description = "Groups and their members."),
        (name = "messages", description = "Messages of people and groups."),
        (name = "sessions", description = "Logged-in terminals."),
        (name = "files", description = "Files that wait for people who were away."),
        (name = "bots", description = "Accounts of programs, and what they are told."),
        (name = "discovery", description = "Links that clients show to everybody."),
        (name = "hooks", description = "Receivers that are told of what is stored, and followers of the log."),
        (name = "servers", description = "Servers of this installation, and what happens at them."),
        (name = "tokens", description = "Tokens of this API."),
        (name = "audit", description = "Who has changed what."),
        (name = "self", description = "This API.")
    ),
    components(schemas(Details, FieldError))
)]
pub(crate) struct Base;

/// The document of the API under `/api/v1`, OpenAPI 3.1.
pub fn document() -> Value {
    v1::router().1
}

/// Completes what the routes have said of themselves.
pub(crate) fn complete(api: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(api).unwrap_or_default();
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        let inside = std::mem::take(paths).into_iter();
        paths.extend(inside.map(|(path, item)| (verb::spelled(&path), item)));
    }
    each_operation(&mut document, |method, path, operation| {
        add_responses(method, operation);
        // Repeating an import changes nothing.
        if method == "post" && path != v1::IMPORT {
            add_key(operation);
        }
    });
    if let Some(components) = document
        .get_mut("components")
        .and_then(Value::as_object_mut)
    {
        let scheme = json!({"token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "imt_<id>_<secret>",
            "description": "Made by `imd token create` or by this API. Over plain HTTP it is taken from this \
                            machine and from proxies that are named in `http_api.trusted_proxies` only.",
        }});
        components.insert("securitySchemes".to_owned(), scheme);
    }
    document
}

/// Looks at every operation with its method and path.
fn each_operation(document: &mut Value, mut look: impl FnMut(&str, &str, &mut Map<String, Value>)) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                look(method, path, operation);
            }
        }
    }
}

/// What a token must allow for an operation: all of one of these lists. `None` where no token is needed.
fn scopes(operation: &Map<String, Value>) -> Option<Vec<Vec<String>>> {
    let ways = operation.get("security")?.as_array()?.iter();
    let of_way = |way: &Value| {
        let scopes = way.get("token")?.as_array()?.iter();
        let words = scopes.filter_map(Value::as_str).map(str::to_owned);
        Some(words.collect())
    };
    ways.map(of_way).collect()
}

/// Statuses of refusals that any such operation has.
fn refusals(method: &str, operation: &Map<String, Value>) -> Vec<u16> {
    let mut refusals = vec![429];
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let mut parameters = parameters.into_iter().flatten();
    if method != "get" || parameters.any(|it| it.get("in") == Some(&json!("query"))) {
        refusals.push(400);
    }
    if scopes(operation).is_some() {
        refusals.extend([401, 403, 503, 504]);
    }
    if operation.contains_key("requestBody") {
        refusals.extend([413, 415, 422]);
    }
    if method == "post" {
        refusals.extend([409, 422]);
    }
    refusals
}

/// What such a status means, wherever it is.
const fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The query, a header or the body cannot be read.",
        401 => "There is no token, or one that is not good: unknown, expired or revoked.",
        403 => "The token does not allow this, or not from here, or came over plain HTTP.",
        404 => "There is no such thing.",
        409 => {
            "There is one already, or the present state does not allow this, or a request with the same \
                idempotency key is under way."
        }
        413 => "The body is too large.",
        415 => "The body is no JSON by its Content-Type.",
        422 => "The content is not valid, or the idempotency key belongs to another request.",
        429 => "Too many requests of this token or address; `Retry-After` says when to come back.",
        503 => "db-proxy does not answer, or too many requests are worked on.",
        504 => "The request took too long.",
        _ => "",
    }
}

fn add_responses(method: &str, operation: &mut Map<String, Value>) {
    let common = refusals(method, operation);
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for status in common {
        let response = responses.entry(status.to_string());
        response.or_insert_with(|| json!({"description": meaning(status)}));
    }
    for (status, response) in responses {
        let is_refusal = status.starts_with(['4', '5']);
        if let Some(response) = response.as_object_mut().filter(|_| is_refusal) {
            let problem = json!({MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}});
            response.insert("content".to_owned(), problem);
            if response.get("description") == Some(&json!("")) {
                let text = meaning(status.parse().unwrap_or(0));
                response.insert("description".to_owned(), text.into());
            }
        }
    }
}

/// The header that makes a change count once.
fn add_key(operation: &mut Map<String, Value>) {
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "The same request under the same key counts once in 24 hours.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
        }));
    }
}

/// What a token must allow, by method and path, as the document says it.
#[derive(Debug)]
pub(crate) struct Scopes(HashMap<(String, String), Vec<Vec<String>>>);

impl Scopes {
    /// Reads the document.
    pub(crate) fn of(document: &Value) -> Self {
        let mut found = HashMap::new();
        each_operation(&mut document.clone(), |method, path, operation| {
            if let Some(scopes) = scopes(operation) {
                found.insert((method.to_uppercase(), path.to_owned()), scopes);
            }
        });
        Self(found)
    }

    /// What an operation needs: all of one of these lists. One that the document does not have needs what no token
    /// allows.
    pub(crate) fn of_operation(&self, method: &str, path: &str) -> &[Vec<String>] {
        let method = if method == "HEAD" { "GET" } else { method };
        let known = self.0.get(&(method.to_owned(), path.to_owned()));
        known.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const COMMAND: &str = "IM_UPDATE=1 cargo test -p im-http-api document";

    #[test]
    fn the_page_of_the_reference_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
        let document = document();
        if std::env::var_os("IM_UPDATE").is_some() {
            let text = serde_json::to_string_pretty(&document).unwrap();
            std::fs::write(&path, text + "\n").unwrap();
        }
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        let present: Value = serde_json::from_str(&present).unwrap_or_default();
        assert!(
            present == document,
            "{}: {COMMAND} writes it",
            path.display()
        );
    }

    #[test]
    fn every_operation_has_a_name_a_group_and_a_token_unless_it_is_open() {
        let mut document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let (mut names, mut open) = (Vec::new(), Vec::new());
        each_operation(&mut document, |method, path, operation| {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(!names.contains(&name), "{name} twice");
            names.push(name);
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            match scopes(operation) {
                None => open.push(path.to_owned()),
                Some(scopes) => {
                    let is_read = method == "get";
                    let end = if is_read { ":read" } else { ":write" };
                    let mut scopes = scopes.iter().flatten();
                    let is_fit = |scope: &String| scope.ends_with(end) || scope == "bot";
                    assert!(scopes.all(is_fit), "{path}");
                }
            }
        });
        assert!(names.len() > 25, "{names:?}");
        open.sort();
        assert_eq!(open, ["/api/v1/openapi.json", "/api/v1/version"]);
    }

    #[test]
    fn every_refusal_is_a_problem_and_says_what_it_means() {
        let mut document = document();
        each_operation(&mut document, |method, path, operation| {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let text = response["description"].as_str().unwrap();
                assert!(!text.is_empty(), "{method} {path} {status}");
                let is_problem = response["content"][MEDIA_TYPE].is_object();
                assert_eq!(
                    is_problem,
                    status.starts_with(['4', '5']),
                    "{path} {status}"
                );
            }
        });
        assert!(document["components"]["schemas"]["Problem"].is_object());
        assert!(document["components"]["securitySchemes"]["token"].is_object());
    }

    #[test]
    fn what_an_operation_needs_is_read_from_the_document() {
        let scopes = Scopes::of(&document());
        let of = |method, path| scopes.of_operation(method, path);
        assert_eq!(of("GET", "/api/v1/users"), [["users:read"]]);
        assert_eq!(of("HEAD", "/api/v1/users"), [["users:read"]]);
        assert_eq!(of("POST", "/api/v1/users"), [["users:write"]]);
        let ways = [["messages:write"], ["bot"]];
        assert_eq!(of("POST", "/api/v1/messages"), ways);
        let nothing: [Vec<String>; 1] = [Vec::new()];
        assert_eq!(of("GET", "/api/v1/me"), nothing);
        assert!(of("GET", "/api/v1/nothing").is_empty(), "no way");
    }
}
