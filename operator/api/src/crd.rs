//! The definition of the resource.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::{ImCluster, labels};

/// The definition that a cluster is given.
///
/// No field accepts null: what a client leaves open as null is dropped by the API server, so rules
/// with `has()` hold. Defaults of objects are filled from the defaults of their fields.
pub fn crd() -> CustomResourceDefinition {
    let mut value = serde_json::to_value(ImCluster::crd()).expect("a definition is JSON");
    let schema = value
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("the derive writes a schema");
    tidy(schema);
    // Until the operator has written one, nobody may take a new object for one that is as it is to be.
    if let Some(status) = schema.pointer_mut("/properties/status")
        && let Some(status) = status.as_object_mut()
    {
        status.insert("default".to_owned(), json!({"observedGeneration": -1}));
    }
    let mut crd: CustomResourceDefinition =
        serde_json::from_value(value).expect("it was a definition before");
    let text = serde_json::to_string(&crd.spec).expect("a definition is JSON");
    let hash = fnv1a(text.as_bytes());
    crd.metadata
        .annotations
        .get_or_insert_default()
        .insert(labels::SCHEMA_HASH.to_owned(), format!("{hash:016x}"));
    crd
}

/// Adapts a schema and all below it to what the API server reads.
fn tidy(schema: &mut Value) {
    let Value::Object(node) = schema else { return };
    node.remove("nullable");
    empty_default(node);
    // The API server knows the signed ones only.
    let unknown = |format: &Value| format.as_str().is_some_and(|name| name.starts_with("uint"));
    if node.get("format").is_some_and(unknown) {
        node.remove("format");
    }
    if let Some(Value::Object(children)) = node.get_mut("properties") {
        children.values_mut().for_each(tidy);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key) {
            tidy(child);
        }
    }
}

/// The fields of an object have defaults of their own. Where rules look at the object, the API server
/// wants its default whole, since it judges that as it stands.
fn empty_default(node: &mut Map<String, Value>) {
    let has_rules = node.contains_key("x-kubernetes-validations");
    match node.get_mut("default") {
        Some(Value::Null) => drop(node.remove("default")),
        Some(Value::Object(default)) if !has_rules => default.clear(),
        _ => {}
    }
}

/// FNV-1a: a short name of a text, not a defence against forgers.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
