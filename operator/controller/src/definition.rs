//! Whether the API server knows the resource as this program does.
//!
//! Helm never upgrades definitions in `crds/`, and fields that the API server does not know vanish
//! silently. So the operator works only when every field of its own schema is in the one that the
//! API server publishes. That is read from OpenAPI, which every account may read; the definition
//! itself is cluster-scoped.

use std::time::Duration;

use im_core::Chain;
use im_operator_api::crd;
use im_runtime::Readiness;
use kube::Client;
use serde_json::Value;
use tokio::time::sleep;
use tracing::{info, warn};

/// Condition of readiness.
pub(crate) const CONDITION: &str = "definition";
/// Time between looks while the definition does not fit.
const PERIOD: Duration = Duration::from_secs(5);
/// Where the API server publishes the schema of our group and version.
const PATH: &str = "/openapi/v3/apis/imcluster.io/v1alpha1";

/// Why the definition cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DefinitionError {
    /// There is none.
    #[error("the definition imclusters.imcluster.io is not installed; install the chart im-crds")]
    Missing,
    /// It is older than this program.
    #[error(
        "the definition imclusters.imcluster.io is too old: it lacks {}; upgrade the chart im-crds",
        .0.join(", ")
    )]
    TooOld(Vec<String>),
    /// The API server did not answer.
    #[error("read the schema of imcluster.io/v1alpha1 from the API server")]
    Unreadable(#[source] Box<kube::Error>),
}

/// Waits until the definition fits, and says why not meanwhile.
pub(crate) async fn wait(client: &Client, readiness: &Readiness) {
    readiness.set(CONDITION, false);
    let mut said = String::new();
    loop {
        match check(client).await {
            Ok(()) => {
                readiness.set(CONDITION, true);
                info!("the definition of ImCluster fits");
                return;
            }
            Err(error) => {
                let line = Chain(&error).to_string();
                if line != said {
                    warn!(error = line, "not ready");
                    said = line;
                }
            }
        }
        sleep(PERIOD).await;
    }
}

async fn check(client: &Client) -> Result<(), DefinitionError> {
    let request = http::Request::get(PATH)
        .body(Vec::new())
        .map_err(|error| DefinitionError::Unreadable(Box::new(kube::Error::HttpError(error))))?;
    let document: Value = match client.request(request).await {
        Ok(document) => document,
        Err(kube::Error::Api(status)) if status.code == 404 => {
            return Err(DefinitionError::Missing);
        }
        Err(error) => return Err(DefinitionError::Unreadable(Box::new(error))),
    };
    let theirs = published(&document).ok_or(DefinitionError::Missing)?;
    let definition = serde_json::to_value(crd()).unwrap_or_default();
    let ours = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema")
        .unwrap_or(&Value::Null);
    let mut missing = Vec::new();
    for part in ["spec", "status"] {
        let pointer = format!("/properties/{part}");
        if let Some(ours) = ours.pointer(&pointer) {
            lacking(ours, theirs.pointer(&pointer), part, &mut missing);
        }
    }
    missing.truncate(5);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DefinitionError::TooOld(missing))
    }
}

/// The schema of ImCluster in an OpenAPI document.
fn published(document: &Value) -> Option<&Value> {
    document
        .pointer("/components/schemas")?
        .as_object()?
        .values()
        .find(|schema| {
            schema
                .pointer("/x-kubernetes-group-version-kind/0/kind")
                .and_then(Value::as_str)
                == Some("ImCluster")
        })
}

/// Collects the paths of fields that `ours` has and `theirs` has not.
fn lacking(ours: &Value, theirs: Option<&Value>, path: &str, missing: &mut Vec<String>) {
    let Some(theirs) = theirs else {
        missing.push(path.to_owned());
        return;
    };
    if let Some(fields) = ours.get("properties").and_then(Value::as_object) {
        for (name, field) in fields {
            let known = theirs.get("properties").and_then(|it| it.get(name));
            lacking(field, known, &format!("{path}.{name}"), missing);
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(ours) = ours.get(below).filter(|it| it.is_object()) {
            lacking(ours, theirs.get(below), &format!("{path}[]"), missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, not_found};
    use serde_json::json;

    fn document(schema: Value) -> Value {
        let mut schema = schema;
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": "imcluster.io", "kind": "ImCluster", "version": "v1alpha1"}]);
        json!({"components": {"schemas": {"io.imcluster.v1alpha1.ImCluster": schema}}})
    }

    fn ours() -> Value {
        let definition = serde_json::to_value(crd()).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    async fn checked(answer: (u16, Value)) -> Result<(), DefinitionError> {
        let (client, _) = testing::server(move |asked| {
            assert_eq!(asked.path, PATH);
            answer.clone()
        });
        check(&client).await
    }

    #[tokio::test]
    async fn a_definition_fits_when_it_knows_every_field() {
        checked((200, document(ours()))).await.unwrap();
        let mut newer = ours();
        newer["properties"]["spec"]["properties"]["news"] = json!({"type": "string"});
        checked((200, document(newer))).await.unwrap();
    }

    #[tokio::test]
    async fn never_13_what_a_definition_lacks_is_named_and_it_is_not_used() {
        let mut older = ours();
        let spec = older["properties"]["spec"]["properties"]
            .as_object_mut()
            .unwrap();
        spec.remove("load");
        let error = checked((200, document(older))).await.unwrap_err();
        assert!(error.to_string().contains("lacks spec.load;"), "{error}");
        let error = checked(not_found()).await.unwrap_err();
        assert!(error.to_string().contains("not installed"), "{error}");
    }
}
