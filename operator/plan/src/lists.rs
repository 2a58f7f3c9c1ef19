//! Lists of Kubernetes objects that the API server merges entry by entry, and what makes two entries
//! the same: the `x-kubernetes-list-map-keys` of its schema.
//!
//! Every other list is replaced as a whole.

use serde_json::Value;

/// A field that is part of an entry's identity.
#[derive(Clone, Copy, Debug)]
struct Key {
    name: &'static str,
    /// What the API server takes for a field that is not there.
    default: Option<&'static str>,
}

/// What makes two entries of one list the same.
#[derive(Clone, Copy, Debug)]
pub struct Keys(&'static [Key]);

const fn key(name: &'static str) -> Key {
    Key {
        name,
        default: None,
    }
}

const PROTOCOL: Key = Key {
    name: "protocol",
    default: Some("TCP"),
};

/// By the name of the field; the first row whose first key all entries have is the one.
const TABLE: &[(&str, &[Key])] = &[
    ("containers", &[key("name")]),
    ("env", &[key("name")]),
    ("ephemeralContainers", &[key("name")]),
    ("hostAliases", &[key("ip")]),
    ("imagePullSecrets", &[key("name")]),
    ("initContainers", &[key("name")]),
    ("ownerReferences", &[key("uid")]),
    // Of a container, and of a Service.
    ("ports", &[key("containerPort"), PROTOCOL]),
    ("ports", &[key("port"), PROTOCOL]),
    ("resourceClaims", &[key("name")]),
    ("schedulingGates", &[key("name")]),
    (
        "topologySpreadConstraints",
        &[key("topologyKey"), key("whenUnsatisfiable")],
    ),
    ("volumeDevices", &[key("devicePath")]),
    ("volumeMounts", &[key("mountPath")]),
    ("volumes", &[key("name")]),
];

/// How the entries of the list `field` are told apart; `None` for a list that is replaced as a whole,
/// and for one with an entry that lacks its identity.
pub fn keys(field: &str, entries: &[Value]) -> Option<Keys> {
    let (_, keys) = TABLE.iter().find(|(name, keys)| {
        let first = keys.first().map_or("", |key| key.name);
        *name == field && entries.iter().all(|entry| !entry[first].is_null())
    })?;
    Some(Keys(keys))
}

impl Keys {
    /// Whether both are the same entry, perhaps with other contents.
    pub fn same(self, left: &Value, right: &Value) -> bool {
        let Self(keys) = self;
        keys.iter().all(|key| key.same(left, right))
    }
}

impl Key {
    fn same(self, left: &Value, right: &Value) -> bool {
        match (&left[self.name], &right[self.name]) {
            (Value::Null, Value::Null) => true,
            (Value::Null, other) | (other, Value::Null) => {
                self.default.is_some() && other.as_str() == self.default
            }
            (left, right) => left == right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_without_a_protocol_is_one_of_tcp() {
        let ports = [json!({"port": 80}), json!({"port": 80, "protocol": "TCP"})];
        let keys = keys("ports", &ports).unwrap();
        assert!(keys.same(&ports[0], &ports[1]));
        assert!(!keys.same(&ports[0], &json!({"port": 80, "protocol": "UDP"})));
        assert!(!keys.same(&ports[0], &json!({"port": 81})));
    }

    #[test]
    fn a_list_without_identity_is_replaced_as_a_whole() {
        assert!(keys("args", &[json!("a")]).is_none());
        assert!(keys("env", &[json!({"value": "a"})]).is_none());
    }
}
