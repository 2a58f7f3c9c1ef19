//! Reads an ImCluster without an API server, so that every field that cannot be used is named: what the
//! server would drop as unknown, values of a wrong type, numbers out of bounds.

use serde_json::{Map, Value, json};

use crate::{ImCluster, SpecError, crd};

/// What every manifest says first.
const HEAD: [(&str, &str); 2] = [
    ("apiVersion", "imcluster.io/v1alpha1"),
    ("kind", "ImCluster"),
];

/// Fields of every object, beside what its kind defines.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// A value that is no object, or an empty one, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Names of the fields that lead to it.
    pub path: Vec<String>,
    value: &'a Value,
}

impl Leaf<'_> {
    /// The path as people write it.
    pub fn name(&self) -> String {
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
    pub fn brief(&self) -> String {
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

    fn wrong(&self, message: &str) -> SpecError {
        SpecError::new(&self.name(), message)
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
pub fn leaves(value: &Value) -> Vec<Leaf<'_>> {
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

/// The resource.
///
/// # Errors
/// Everything that is [`wrong`] with it.
pub fn read(value: &Value) -> Result<ImCluster, Vec<SpecError>> {
    let wrong = wrong(value);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    serde_json::from_value(value).map_err(|error| vec![SpecError::new("spec", error.to_string())])
}

/// Every field that cannot be used. What the API server adds is not looked at.
pub fn wrong(value: &Value) -> Vec<SpecError> {
    for (field, wanted) in HEAD {
        if value.get(field).and_then(Value::as_str) != Some(wanted) {
            return vec![SpecError::new(field, format!("must be {wanted}"))];
        }
    }
    let version = value.pointer("/spec/version");
    if !version.is_some_and(Value::is_string) {
        let rule = "must be a text such as \"1.2.3\"";
        return vec![SpecError::new("spec.version", rule)];
    }
    let schema = schema();
    let mut wrong = unknown(value, &schema);
    for leaf in leaves(value) {
        if leaf.path.first().is_none_or(|first| first != "spec") {
            continue;
        }
        if let Err(error) = serde_json::from_value::<ImCluster>(leaf.alone()) {
            wrong.push(leaf.wrong(&error.to_string()));
        } else if let Some(rule) = out_of_bounds(&schema, &leaf) {
            wrong.push(leaf.wrong(&rule));
        }
    }
    wrong
}

/// The schema of the resource as JSON.
fn schema() -> Value {
    let definition = serde_json::to_value(crd()).unwrap_or_default();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
    schema.cloned().unwrap_or_default()
}

/// Fields that the definition does not know; the API server drops them or refuses.
fn unknown(value: &Value, schema: &Value) -> Vec<SpecError> {
    let names = value.as_object().into_iter().flat_map(Map::keys);
    let mut found: Vec<String> = names
        .filter(|name| !TOP.contains(&name.as_str()))
        .cloned()
        .collect();
    if let (Some(schema), Some(spec)) = (schema.pointer("/properties/spec"), value.get("spec")) {
        gather_unknown(spec, schema, "spec", &mut found);
    }
    let found = found.iter();
    found
        .map(|field| SpecError::new(field, "unknown field"))
        .collect()
}

fn gather_unknown(value: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let free =
                schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            let known = schema.get("properties");
            let others = schema
                .get("additionalProperties")
                .filter(|it| it.is_object());
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                match known.and_then(|known| known.get(key)).or(others) {
                    Some(schema) => gather_unknown(value, schema, &path, found),
                    None if free || known.is_none() => {}
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    gather_unknown(item, schema, &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(spec: Value) -> Vec<String> {
        let mut value = json!({
            "apiVersion": "imcluster.io/v1alpha1",
            "kind": "ImCluster",
            "metadata": {"name": "demo", "uid": "u"},
            "status": {"what": "ever"},
            "spec": {"version": "1.0.0"},
        });
        for (name, field) in spec.as_object().unwrap() {
            value["spec"][name] = field.clone();
        }
        wrong(&value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_field_that_cannot_be_used_is_named_at_any_depth() {
        assert_eq!(lines(json!({})), Vec::<String>::new());
        let lines = lines(json!({
            "image": {"tag": "x"},
            "roles": {"msg": {
                "replicas": "many",
                "capacity": {"maxConnections": 1},
                "scheduling": {"tolerations": [{"kind": "x"}]},
                "podOverrides": {"what": {"ever": 1}},
                "config": {"msg.backlog": "5"},
            }},
        }));
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (line, part) in lines.iter().zip([
            "spec.image.tag: unknown field",
            "spec.roles.msg.scheduling.tolerations[0].kind: unknown field",
            "spec.roles.msg.capacity.maxConnections: must be at least 100, is 1",
            "spec.roles.msg.replicas: invalid type",
        ]) {
            assert!(line.starts_with(part), "{line}");
        }
    }
}
