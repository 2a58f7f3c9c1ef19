//! An API server for unit tests: it answers from a function and records what it was asked.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request as the API server saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

impl Asked {
    /// Path of the object: one that is created has its name in the body.
    pub(crate) fn object(&self) -> String {
        match self.body.pointer("/metadata/name").and_then(Value::as_str) {
            Some(name) if self.method == "POST" => format!("{}/{name}", self.path),
            _ => self.path.clone(),
        }
    }

    /// `GET /path`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.object())
    }
}

/// What the API server was asked so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    /// Takes out what was asked since the last look.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// As `take`, as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.take().iter().map(Asked::line).collect()
    }
}

/// A client of an API server that answers each request with a code and a body.
pub(crate) fn server(
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
) -> (Client, Log) {
    let log = Log::default();
    let answer = Arc::new(answer);
    let service = tower::service_fn({
        let log = log.clone();
        move |request: Request<Body>| {
            let log = log.clone();
            let answer = Arc::clone(&answer);
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await.unwrap_or_default();
                let asked = Asked {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                };
                let (code, body) = answer(&asked);
                log.0.lock().unwrap().push(asked);
                let body = Body::from(body.to_string().into_bytes());
                Response::builder()
                    .status(code)
                    .body(body)
                    .map_err(|error| std::io::Error::other(error.to_string()))
            }
        }
    });
    (Client::new(service, "chat"), log)
}

/// The answer to a request for what is not there.
pub(crate) fn not_found() -> (u16, Value) {
    refusal(404, "NotFound")
}

/// A refusal with a reason of the API machinery.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code});
    (code, status)
}
