//! The reference of the resource, for people: every field with its type, default, bounds and meaning.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The reference as Markdown.
pub fn reference() -> String {
    let crd = serde_json::to_value(crate::crd()).expect("a definition is JSON");
    let schema = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties")
        .expect("the derive writes a schema");
    let mut text = String::from(HEAD);
    for part in ["spec", "status"] {
        if let Some(node) = schema.get(part) {
            section(&mut text, part, node);
        }
    }
    text
}

const HEAD: &str = "# ImCluster, `imcluster.io/v1alpha1`

Generated from the schema of the resource; do not edit. A field without a default is absent unless it
is set. The smallest manifest:

```yaml skip, because the tests of the rules apply it
apiVersion: imcluster.io/v1alpha1
kind: ImCluster
metadata:
  name: demo
spec:
  version: 0.1.0
```
";

/// Objects of Kubernetes itself, whose fields its own documentation explains.
const FOREIGN: [&str; 6] = [
    "tolerations",
    "topologySpreadConstraints",
    "extraEgress",
    "monitoringNamespaceSelector",
    "conditions",
    "affinity",
];

fn section(text: &mut String, path: &str, node: &Value) {
    let Some(fields) = fields(node) else { return };
    write!(text, "\n## {path}\n\n").expect("a string takes text");
    if let Some(meaning) = meaning(node) {
        write!(text, "{meaning}\n\n").expect("a string takes text");
    }
    text.push_str("| Field | Type | Default | Meaning |\n|---|---|---|---|\n");
    let required = node.get("required").and_then(Value::as_array);
    for (name, field) in fields {
        let is_required = required.is_some_and(|names| names.iter().any(|other| other == name));
        let default = match field.get("default") {
            _ if is_required => "required".to_owned(),
            Some(Value::Object(_)) | None => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let kind = kind(name, field);
        let meaning = meaning(field).unwrap_or_default();
        writeln!(text, "| `{name}` | {kind} | {default} | {meaning} |")
            .expect("a string takes text");
    }
    for rule in rules(node) {
        write!(text, "\nRule: {rule}.\n").expect("a string takes text");
    }
    for (name, field) in fields {
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        match field.get("items") {
            Some(items) => section(text, &format!("{path}.{name}[]"), items),
            None => section(text, &format!("{path}.{name}"), field),
        }
    }
}

fn fields(node: &Value) -> Option<&Map<String, Value>> {
    node.get("properties")?.as_object()
}

fn rules(node: &Value) -> Vec<&str> {
    let rules = node
        .get("x-kubernetes-validations")
        .and_then(Value::as_array);
    let messages = rules.into_iter().flatten();
    messages
        .filter_map(|rule| rule.get("message")?.as_str())
        .collect()
}

/// Type and bounds in one phrase.
fn kind(name: &str, field: &Value) -> String {
    let number = |key: &str| field.get(key).and_then(Value::as_f64);
    let count = |key: &str| field.get(key).and_then(Value::as_u64);
    let mut phrase = if let Some(words) = field.get("enum").and_then(Value::as_array) {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
        words.join(" \\| ")
    } else if FOREIGN.contains(&name) {
        "as in Kubernetes".to_owned()
    } else {
        let kind = field.get("type").and_then(Value::as_str);
        kind.unwrap_or("integer or string").to_owned()
    };
    if let (Some(least), Some(most)) = (number("minimum"), number("maximum")) {
        write!(phrase, ", {least} to {most}").expect("a string takes text");
    }
    if let Some(most) = count("maxLength") {
        write!(phrase, ", at most {most} characters").expect("a string takes text");
    }
    if let Some(most) = count("maxItems").or_else(|| count("maxProperties")) {
        write!(phrase, ", at most {most}").expect("a string takes text");
    }
    phrase
}

/// The description on one line.
fn meaning(node: &Value) -> Option<String> {
    let text = node.get("description")?.as_str()?;
    let words: Vec<_> = text.split_whitespace().collect();
    Some(words.join(" ").replace('|', "\\|"))
}
