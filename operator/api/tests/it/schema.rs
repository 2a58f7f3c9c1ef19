//! Judges a manifest by a structural schema as the API server does, in its words.
//!
//! Bounds, types and defaults are looked at here; rules and patterns by kube's evaluator.

use kube::core::cel::Validator;
use serde_json::{Value, json};

/// All that is wrong with `object`, and with its change from `old`.
pub(crate) fn judge(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<(By, String)> {
    let mut found = Vec::new();
    bounds(schema, object, "", &mut found);
    // As in the API server, rules are not looked at in an object that is not well-formed.
    if found.is_empty() {
        let object = with_defaults(schema, object);
        let old = old.map(|old| with_defaults(schema, old));
        if let Err(errors) = Validator::new().validate(schema, &object, old.as_ref()) {
            found.extend(errors.iter().map(|error| (By::Cel, error.to_string())));
        }
    }
    found
}

/// The object with what it leaves open: first the default of a field, then those inside it.
pub(crate) fn with_defaults(schema: &Value, object: &Value) -> Value {
    let mut object = object.clone();
    fill(schema, &mut object);
    object
}

fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                if !field["default"].is_null() && fields.get(name).is_none_or(Value::is_null) {
                    fields.insert(name.clone(), field["default"].clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    fill(field, value);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// What refused a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Schema,
    Cel,
}

fn bounds(schema: &Value, value: &Value, path: &str, found: &mut Vec<(By, String)>) {
    let mut wrong = |text: String| found.push((By::Schema, text));
    let number = |key: &str| schema[key].as_f64();
    let count = |key: &str| {
        schema[key]
            .as_u64()
            .map(|count| usize::try_from(count).unwrap())
    };
    if !has_type(schema, value) {
        let kind = schema["type"].as_str().unwrap_or("integer or string");
        wrong(format!(
            "{path}: Invalid value: {path} in body must be of type {kind}"
        ));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        wrong(format!(
            "{path}: Unsupported value: {value}: supported values: {words:?}"
        ));
    }
    if let Some(amount) = value.as_f64() {
        if number("minimum").is_some_and(|least| amount < least) {
            wrong(format!(
                "{path}: Invalid value: {path} in body should be greater than or equal to {}",
                schema["minimum"]
            ));
        }
        if number("maximum").is_some_and(|most| amount > most) {
            wrong(format!(
                "{path}: Invalid value: {path} in body should be less than or equal to {}",
                schema["maximum"]
            ));
        }
    }
    if let Some(text) = value.as_str() {
        if count("maxLength").is_some_and(|most| text.chars().count() > most) {
            wrong(format!("{path}: Too long"));
        }
        if count("minLength").is_some_and(|least| text.chars().count() < least) {
            wrong(format!(
                "{path}: Invalid value: {path} in body should be at least {} chars long",
                schema["minLength"]
            ));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !matches(pattern, text)
        {
            wrong(format!(
                "{path}: Invalid value: {path} in body should match '{pattern}'"
            ));
        }
    }
    if let Some(items) = value.as_array() {
        if count("maxItems").is_some_and(|most| items.len() > most) {
            wrong(format!(
                "{path}: Too many: {}: must have at most {} items",
                items.len(),
                schema["maxItems"]
            ));
        }
        for (n, item) in items.iter().enumerate() {
            bounds(&schema["items"], item, &format!("{path}[{n}]"), found);
        }
    } else if let Some(fields) = value.as_object() {
        if count("maxProperties").is_some_and(|most| fields.len() > most) {
            wrong(format!(
                "{path}: Too many: {}: must have at most {} items",
                fields.len(),
                schema["maxProperties"]
            ));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            if fields.get(name).is_none_or(Value::is_null) {
                wrong(format!("{}: Required value", join(path, name)));
            }
        }
        for (name, field) in fields {
            let inner = match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null)
                    if schema["x-kubernetes-preserve-unknown-fields"] == true =>
                {
                    continue;
                }
                (Value::Null, Value::Null) if path.is_empty() || path == "metadata" => continue,
                (Value::Null, Value::Null) => {
                    found.push((
                        By::Schema,
                        format!("unknown field \"{}\"", join(path, name)),
                    ));
                    continue;
                }
                (Value::Null, other) | (other, _) => other,
            };
            bounds(inner, field, &join(path, name), found);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => schema["x-kubernetes-int-or-string"] != true || value.is_i64() || value.is_string(),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let rule = json!([{"rule": format!("self.matches(r'{pattern}')"), "message": "no"}]);
    let schema = json!({"type": "string", "x-kubernetes-validations": rule});
    Validator::new()
        .validate(&schema, &json!(text), None)
        .is_ok()
}

#[test]
fn the_judge_sees_each_kind_of_error() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "integer", "minimum": 1, "maximum": 2},
        "b": {"type": "string", "pattern": "^x+$", "maxLength": 3},
        "c": {"type": "array", "maxItems": 1, "items": {"type": "string", "enum": ["u"]}},
    }, "x-kubernetes-validations": [{"rule": "self.a != 2", "message": "not two"}]});
    let schema = json!({"type": "object", "properties": {"spec": schema}});
    let text = |spec: Value| {
        let found = judge(&schema, &json!({"spec": spec}), None).into_iter();
        let texts: Vec<_> = found.map(|(_, text)| text).collect();
        texts.join("; ")
    };
    assert_eq!(text(json!({"a": 1, "b": "xx", "c": ["u"]})), "");
    assert!(text(json!({})).contains("spec.a: Required value"));
    assert!(text(json!({"a": 0})).contains("greater than or equal to 1"));
    assert!(text(json!({"a": 3})).contains("less than or equal to 2"));
    assert!(text(json!({"a": "1"})).contains("must be of type integer"));
    assert!(text(json!({"a": 1, "b": "y"})).contains("should match"));
    assert!(text(json!({"a": 1, "b": "xxxx"})).contains("Too long"));
    assert!(text(json!({"a": 1, "c": ["u", "u"]})).contains("at most 1 items"));
    assert!(text(json!({"a": 1, "c": ["v"]})).contains("Unsupported value"));
    assert!(text(json!({"a": 1, "d": 1})).contains("unknown field \"spec.d\""));
    assert!(text(json!({"a": 2})).contains("not two"));
}

/// Tools that wait for a resource compare this with its generation, which begins at 1.
#[test]
fn a_new_object_is_never_taken_for_one_that_the_operator_has_looked_at() {
    let crd = serde_json::to_value(im_operator_api::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let default = &schema["properties"]["status"]["default"];
    assert_eq!(*default, serde_json::json!({"observedGeneration": -1}));
    let status: im_operator_api::ImClusterStatus = serde_json::from_value(default.clone()).unwrap();
    assert!(status.conditions.is_empty());
}
