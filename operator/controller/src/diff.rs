//! Whether a live object is as we want it.
//!
//! Every field that we want must be there with our value. Fields that we do not set belong to
//! others: the API server's defaults, other controllers. Lists that Kubernetes merges by a key are
//! compared by that key; all other lists and the maps that Kubernetes replaces as a whole must be
//! exactly ours.

use im_operator_plan::lists::{self, Keys};
use im_operator_plan::quantity::Quantity;
use serde_json::{Map, Value};

/// Maps that are replaced as a whole, by the name of their field.
const ATOMIC_MAPS: &[&str] = &["matchLabels", "nodeSelector", "selector"];

/// Fields under which strings are quantities.
const QUANTITIES: &[&str] = &["limits", "requests", "sizeLimit", "capacity"];

/// Where `live` first differs from `desired`, as a path, or `None`.
pub(crate) fn difference(desired: &Value, live: &Value) -> Option<String> {
    let mut path = Vec::new();
    let mode = Mode {
        atomic: false,
        quantity: false,
    };
    (!covered(desired, live, mode, &mut path)).then(|| path.join("."))
}

#[derive(Clone, Copy)]
struct Mode {
    /// Inside a list that is replaced as a whole.
    atomic: bool,
    quantity: bool,
}

fn covered(desired: &Value, live: &Value, mode: Mode, path: &mut Vec<String>) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => covered_map(desired, live, mode, path),
        (Value::Array(desired), Value::Array(live)) => {
            let field = path.last().map(String::as_str).unwrap_or_default();
            let keys = lists::keys(field, desired).filter(|_| !mode.atomic);
            match keys {
                Some(keys) => merged_list(desired, live, keys, mode, path),
                None => {
                    let mode = Mode {
                        atomic: true,
                        ..mode
                    };
                    desired.len() == live.len()
                        && desired
                            .iter()
                            .zip(live)
                            .all(|(desired, live)| covered(desired, live, mode, path))
                }
            }
        }
        (Value::String(desired), Value::String(live)) if mode.quantity => {
            desired == live
                || Quantity::parse(desired).is_some_and(|it| Quantity::parse(live) == Some(it))
        }
        (desired, live) => desired == live,
    }
}

fn covered_map(
    desired: &Map<String, Value>,
    live: &Map<String, Value>,
    mode: Mode,
    path: &mut Vec<String>,
) -> bool {
    let field = path.last().map(String::as_str).unwrap_or_default();
    // `selector` is a map of labels in a Service, and an object with its own fields elsewhere.
    let plain = desired.values().all(Value::is_string) && !desired.is_empty();
    if ATOMIC_MAPS.contains(&field) && plain && live.len() != desired.len() {
        return false;
    }
    desired.iter().all(|(key, value)| {
        path.push(key.clone());
        let mode = Mode {
            quantity: mode.quantity || QUANTITIES.contains(&key.as_str()),
            ..mode
        };
        let same = match live.get(key) {
            Some(live) => covered(value, live, mode, path),
            None => is_nothing(value),
        };
        if same {
            path.pop();
        }
        same
    })
}

fn merged_list(
    desired: &[Value],
    live: &[Value],
    keys: Keys,
    mode: Mode,
    path: &mut Vec<String>,
) -> bool {
    desired.iter().all(|wanted| {
        let found = live.iter().find(|other| keys.same(wanted, other));
        found.is_some_and(|found| covered(wanted, found, mode, path))
    })
}

/// What the API server does not keep.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(desired: Value, live: Value, expected: Option<&str>) {
        assert_eq!(difference(&desired, &live).as_deref(), expected);
    }

    #[test]
    fn defaults_and_fields_of_others_are_no_difference() {
        check(
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": "msg", "image": "imd:1", "resources": {"limits": {"cpu": "1000m"}}, "env": []}]}}}}),
            json!({"spec": {"replicas": 3, "template": {"spec": {"restartPolicy": "Always", "containers": [
                {"name": "mesh", "image": "proxy"},
                {"name": "msg", "image": "imd:1", "imagePullPolicy": "IfNotPresent",
                 "resources": {"limits": {"cpu": "1"}}}]}}}}),
            None,
        );
        check(
            json!({"spec": {"ports": [{"name": "client", "port": 8000}]}}),
            json!({"spec": {"ports": [{"name": "client", "port": 8000, "protocol": "TCP", "nodePort": 30001}]}}),
            None,
        );
    }

    #[test]
    fn edited_values_are_found() {
        check(
            json!({"data": {"imd.toml": "a"}}),
            json!({"data": {"imd.toml": "b"}}),
            Some("data.imd.toml"),
        );
        check(json!({"data": {"imd.toml": "a"}}), json!({}), Some("data"));
        check(
            json!({"spec": {"containers": [{"name": "msg", "image": "imd:1"}]}}),
            json!({"spec": {"containers": [{"name": "msg", "image": "imd:2"}]}}),
            Some("spec.containers.image"),
        );
        check(
            json!({"spec": {"replicas": 0}}),
            json!({"spec": {"replicas": 1}}),
            Some("spec.replicas"),
        );
    }

    #[test]
    fn additions_to_lists_and_maps_that_are_replaced_as_a_whole_are_found() {
        check(
            json!({"args": ["msg"]}),
            json!({"args": ["msg", "--debug"]}),
            Some("args"),
        );
        check(
            json!({"spec": {"ingress": [{"ports": [{"port": 8000}]}]}}),
            json!({"spec": {"ingress": [{"ports": [{"port": 8000, "protocol": "TCP"}, {"port": 22}]}]}}),
            Some("spec.ingress.ports"),
        );
        check(
            json!({"spec": {"selector": {"app": "im"}}}),
            json!({"spec": {"selector": {"app": "im", "slot": "1"}}}),
            Some("spec.selector"),
        );
    }
}
