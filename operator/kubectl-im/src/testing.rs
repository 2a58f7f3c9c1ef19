//! An API server for unit tests: it answers from a function and records what it was asked.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::access::Access;

/// A request as the API server saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// What the API server was asked so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    /// Takes out what was asked since the last look.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// The namespace `chat` of an API server that answers each request with a code and a body.
pub(crate) fn server(
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
) -> (Access, Log) {
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
                // What is no JSON travels as a string of it.
                let text = body
                    .as_str()
                    .map_or_else(|| body.to_string(), str::to_owned);
                Response::builder()
                    .status(code)
                    .body(Body::from(text.into_bytes()))
                    .map_err(|error| std::io::Error::other(error.to_string()))
            }
        }
    });
    let access = Access::new(Client::new(service, "chat"), "chat").unwrap();
    (access, log)
}

/// The answer to a request that is not granted.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code});
    (code, status)
}
