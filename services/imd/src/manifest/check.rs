//! Reads an ImCluster so that every field that cannot be used is named.

use im_operator_api::ImCluster;
use serde_json::{Map, Value, json};

use super::BadField;

/// A value that is no object, or an empty one, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf<'a> {
    pub(super) path: Vec<String>,
    value: &'a Value,
}

impl Leaf<'_> {
    /// The path as people write it.
    pub(super) fn name(&self) -> String {
        let part = |part: &String| {
            if part.contains('.') {
                format!("{part:?}")
            } else {
                part.clone()
            }
        };
        self.path.iter().map(part).collect::<Vec<_>>().join(".")
    }

    /// The same, but nothing below what an object has that came from an API server.
    pub(super) fn brief(&self) -> String {
        let depth = match self.path.first().map(String::as_str) {
            Some("status") => 1,
            Some("metadata") => 2,
            _ => return self.name(),
        };
        self.path
            .iter()
            .take(depth)
            .cloned()
            .collect::<Vec<_>>()
            .join(".")
    }

    fn bad(&self, message: String) -> BadField {
        BadField {
            field: self.name(),
            message,
        }
    }

    /// An object that has this leaf and what every ImCluster needs.
    fn alone(&self) -> Value {
        let mut cluster = json!({
            "apiVersion": "imcluster.io/v1alpha1",
            "kind": "ImCluster",
            "metadata": {},
            "spec": {"version": "0.0.0"},
        });
        let mut place = &mut cluster;
        for part in &self.path {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[part.as_str()];
        }
        *place = self.value.clone();
        cluster
    }
}

/// All leaves, in the order of their names. What is null was not said.
pub(super) fn leaves(value: &Value) -> Vec<Leaf<'_>> {
    fn gather<'a>(value: &'a Value, path: &mut Vec<String>, leaves: &mut Vec<Leaf<'a>>) {
        match value {
            Value::Null => {}
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    path.push(name.clone());
                    gather(value, path, leaves);
                    path.pop();
                }
            }
            _ => leaves.push(Leaf {
                path: path.clone(),
                value,
            }),
        }
    }
    let mut found = Vec::new();
    gather(value, &mut Vec::new(), &mut found);
    found
}

/// The resource, or all fields that are wrong.
pub(super) fn typed(value: &Value) -> Result<ImCluster, Vec<BadField>> {
    let whole = |field: &str, message: &str| {
        vec![BadField {
            field: field.to_owned(),
            message: message.to_owned(),
        }]
    };
    for (field, wanted) in [
        ("apiVersion", "imcluster.io/v1alpha1"),
        ("kind", "ImCluster"),
    ] {
        if value[field] != wanted {
            return Err(whole(field, &format!("must be {wanted}")));
        }
    }
    if !value
        .pointer("/spec/version")
        .is_some_and(serde_json::Value::is_string)
    {
        return Err(whole("spec.version", "must be a text such as \"1.2.3\""));
    }
    let schema = schema();
    let mut bad = Vec::new();
    for leaf in leaves(value) {
        // What the API server adds is none of ours.
        if ["status", "metadata"].contains(&leaf.path.first().map_or("", String::as_str)) {
            continue;
        }
        match serde_json::from_value::<ImCluster>(leaf.alone()) {
            Err(error) => bad.push(leaf.bad(error.to_string())),
            Ok(cluster) => {
                let known = serde_json::to_value(&cluster).unwrap_or_default();
                if !has(&known, &leaf.path) {
                    bad.push(leaf.bad("there is no such field".to_owned()));
                } else if let Some(rule) = schema.as_ref().and_then(|s| out_of_bounds(s, &leaf)) {
                    bad.push(leaf.bad(rule));
                }
            }
        }
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    serde_json::from_value(value).map_err(|error| whole("spec", &error.to_string()))
}

/// Whether the field is still there after the resource was read and written again.
fn has(value: &Value, path: &[String]) -> bool {
    let mut place = value;
    for part in path {
        match place.get(part) {
            Some(next) => place = next,
            None => return false,
        }
    }
    true
}

/// The schema of the resource as JSON.
fn schema() -> Option<Value> {
    let definition = serde_json::to_value(im_operator_api::crd()).ok()?;
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema")?;
    Some(schema.clone())
}

/// The bound that a number breaks.
fn out_of_bounds(schema: &Value, leaf: &Leaf<'_>) -> Option<String> {
    let number = leaf.value.as_f64()?;
    let mut place = schema;
    for part in &leaf.path {
        place = place.get("properties")?.get(part)?;
    }
    let bound = |word: &str| place.get(word).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        return Some(format!("must be at least {least}, is {number}"));
    }
    let most = bound("maximum").filter(|most| number > *most)?;
    Some(format!("must be at most {most}, is {number}"))
}
