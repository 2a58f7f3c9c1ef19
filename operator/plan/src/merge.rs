//! Laying one object over another.

use serde_json::{Map, Value};

use crate::lists::{self, Keys};

/// Lays `over` over `base`: objects field by field, lists of [`crate::lists`] entry by entry, anything else
/// as a whole. A null takes a field away.
pub(crate) fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => drop(base.remove(key)),
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (Some(Value::Array(base)), Value::Array(over)) => match lists::keys(key, over) {
                Some(keys) => merge_list(base, over, keys),
                None => base.clone_from(over),
            },
            _ => drop(base.insert(key.clone(), without_nulls(value))),
        }
    }
}

fn merge_list(base: &mut Vec<Value>, over: &[Value], keys: Keys) {
    for entry in over {
        let same = base.iter_mut().find(|old| keys.same(entry, old));
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
    use k8s_openapi::DeepMerge as _;
    use k8s_openapi::api::core::v1::PodTemplateSpec;
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

    #[test]
    fn a_port_of_another_protocol_is_another_port() {
        check(
            json!({"ports": [{"name": "client", "containerPort": 8000}]}),
            json!({"ports": [
                {"name": "voice", "containerPort": 8000, "protocol": "UDP"},
                {"containerPort": 8000, "protocol": "TCP", "hostPort": 80}]}),
            json!({"ports": [
                {"name": "client", "containerPort": 8000, "protocol": "TCP", "hostPort": 80},
                {"name": "voice", "containerPort": 8000, "protocol": "UDP"}]}),
        );
    }

    /// Where an entry has one key, the table says what the types say. Where it has two, the types know
    /// only the first, as strategic merge patches do: a port in UDP would replace the one in TCP.
    #[test]
    fn lists_of_one_key_are_merged_as_the_types_of_kubernetes_merge_them() {
        let base = json!({"spec": {
            "containers": [{"name": "msg", "image": "a",
                "env": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"mountPath": "/a", "name": "a"}],
                "volumeDevices": [{"devicePath": "/d", "name": "a"}],
                "args": ["1"]}],
            "initContainers": [{"name": "init", "image": "a"}],
            "volumes": [{"name": "a", "emptyDir": {}}],
            "imagePullSecrets": [{"name": "a"}],
            "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}],
            "tolerations": [{"key": "a"}],
            "schedulingGates": [{"name": "a"}],
            "resourceClaims": [{"name": "a", "resourceClaimName": "x"}],
        }});
        let over = json!({"spec": {
            "containers": [{"name": "side", "image": "b"}, {"name": "msg",
                "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}],
                "volumeMounts": [{"mountPath": "/b", "name": "b"}, {"mountPath": "/a", "name": "c"}],
                "volumeDevices": [{"devicePath": "/d", "name": "b"}],
                "args": ["2"]}],
            "initContainers": [{"name": "init", "image": "b"}],
            "volumes": [{"name": "b", "emptyDir": {}}, {"name": "a", "emptyDir": {"medium": "Memory"}}],
            "imagePullSecrets": [{"name": "b"}, {"name": "a"}],
            "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}, {"ip": "2.2.2.2"}],
            "tolerations": [{"key": "b"}],
            "schedulingGates": [{"name": "b"}],
            "resourceClaims": [{"name": "a", "resourceClaimName": "y"}],
        }});
        let mut theirs: PodTemplateSpec = serde_json::from_value(base.clone()).unwrap();
        theirs.merge_from(serde_json::from_value(over.clone()).unwrap());
        check(base, over, serde_json::to_value(theirs).unwrap());
    }
}
