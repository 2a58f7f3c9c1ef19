//! Laying one object over another.

use serde_json::{Map, Value};

/// Lists whose entries have an identity, and the field that is it.
const KEYED: [(&str, &str); 8] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
];

/// Lays `over` over `base`: objects field by field, lists of [`KEYED`] entry by entry, anything else
/// as a whole. A null takes a field away.
pub(crate) fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => drop(base.remove(key)),
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (Some(Value::Array(base)), Value::Array(over)) => match identity(key) {
                Some(id) => merge_list(base, over, id),
                None => base.clone_from(over),
            },
            _ => drop(base.insert(key.clone(), without_nulls(value))),
        }
    }
}

fn identity(list: &str) -> Option<&'static str> {
    let found = KEYED.iter().find(|(name, _)| *name == list);
    found.map(|(_, id)| *id)
}

fn merge_list(base: &mut Vec<Value>, over: &[Value], id: &str) {
    for entry in over {
        let name = entry.get(id).filter(|name| !name.is_null());
        let same = base
            .iter_mut()
            .find(|old| name.is_some() && old.get(id) == name);
        match (same, entry) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(old), new) => *old = without_nulls(new),
            (None, new) => base.push(without_nulls(new)),
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(base: Value, over: Value, expected: Value) {
        let (Value::Object(mut base), Value::Object(over)) = (base, over) else {
            panic!("objects");
        };
        merge(&mut base, &over);
        assert_eq!(Value::Object(base), expected);
    }

    #[test]
    fn objects_are_merged_field_by_field_and_null_takes_away() {
        check(
            json!({"a": {"b": 1, "c": 2}, "d": 3}),
            json!({"a": {"c": null, "e": {"f": null, "g": 4}}, "d": [5]}),
            json!({"a": {"b": 1, "e": {"g": 4}}, "d": [5]}),
        );
    }

    #[test]
    fn named_things_are_merged_by_name_and_other_lists_replaced() {
        check(
            json!({"containers": [{"name": "msg", "args": ["a", "b"], "tty": false}]}),
            json!({"containers": [{"name": "side"}, {"name": "msg", "args": ["c"]}]}),
            json!({"containers": [{"name": "msg", "args": ["c"], "tty": false}, {"name": "side"}]}),
        );
    }
}
