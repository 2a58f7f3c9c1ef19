//! The schema of `spec` in the values of im-cluster is that of the resource definition, so that Helm
//! refuses a wrong field before anything is sent. CEL rules stay with the API server.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::helm::objects;
use crate::{compare, read, repository};

/// Words of a structural schema that JSON Schema has too.
const KEPT: [&str; 13] = [
    "description",
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
];

/// A structural schema as JSON Schema: unknown fields are refused unless the definition keeps them.
fn json_schema(structural: &Value) -> Value {
    if structural["x-kubernetes-int-or-string"] == true {
        return json!({"type": ["integer", "string"]});
    }
    let mut schema: Map<String, Value> = KEPT
        .iter()
        .filter_map(|word| Some(((*word).to_owned(), structural.get(word)?.clone())))
        .collect();
    if let Some(properties) = structural["properties"].as_object() {
        let properties: Map<String, Value> = properties
            .iter()
            .map(|(name, property)| (name.clone(), json_schema(property)))
            .collect();
        schema.insert("properties".to_owned(), properties.into());
        if structural["x-kubernetes-preserve-unknown-fields"] != true {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    } else if structural["additionalProperties"].is_object() {
        let values = json_schema(&structural["additionalProperties"]);
        schema.insert("additionalProperties".to_owned(), values);
    }
    if structural["items"].is_object() {
        schema.insert("items".to_owned(), json_schema(&structural["items"]));
    }
    schema.into()
}

/// The same with the keys of every object in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> = map
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(list) => list.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[test]
fn the_values_of_a_cluster_have_the_fields_of_the_definition() {
    let definition = read(&repository("crds/imclusters.imcluster.io.yaml"));
    let definition = objects(&definition).remove(0);
    let version = &definition["spec"]["versions"][0];
    let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert!(
        spec["properties"]["roles"].is_object(),
        "the definition has no roles"
    );
    let mut spec = json_schema(spec);
    // The chart's appVersion stands in for a version that is not given.
    if let Some(required) = spec["required"].as_array_mut() {
        required.retain(|name| name != "version");
    }
    if spec["required"].as_array().is_some_and(Vec::is_empty) {
        spec.as_object_mut().expect("an object").remove("required");
    }

    let path = repository("charts/im-cluster/values.schema.json");
    let mut schema: Value = serde_json::from_str(&read(&path)).expect("read JSON");
    schema["properties"]["spec"] = spec;
    let text = serde_json::to_string_pretty(&sorted(schema)).expect("write JSON");
    compare(&path, &format!("{text}\n"));
}

#[test]
fn unknown_fields_are_refused_unless_kept() {
    let structural = json!({
        "type": "object",
        "required": ["a"],
        "x-kubernetes-validations": [{"rule": "true"}],
        "properties": {
            "a": {"type": "integer", "format": "int32", "minimum": 1, "default": 2},
            "b": {"x-kubernetes-int-or-string": true},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "d": {"type": "object", "additionalProperties": {"type": "string"}},
            "e": {"type": "array", "items": {"type": "object", "properties": {}}},
        },
    });
    let wanted = json!({
        "type": "object",
        "required": ["a"],
        "additionalProperties": false,
        "properties": {
            "a": {"type": "integer", "minimum": 1},
            "b": {"type": ["integer", "string"]},
            "c": {"type": "object"},
            "d": {"type": "object", "additionalProperties": {"type": "string"}},
            "e": {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": false},
            },
        },
    });
    assert_eq!(json_schema(&structural), wanted);
}
