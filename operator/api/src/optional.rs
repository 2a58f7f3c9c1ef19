//! Roles that an installation can do without: each is there where its field is named, and `{}` is enough.
//!
//! All of them are spoken of in the same words. Which there are, and which of the words each has, stands in the
//! table of roles, so that another one needs nothing here.

use std::collections::BTreeMap;

use im_role::{Reach, Role, Service, TABLE, Told};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::{ClientService, Common, Endpoint, Pdb, Push, RoleStatus, push, schema};

/// A role that an installation can do without.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OptionalRole {
    /// Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: Option<i32>,
    /// Ports.
    #[schemars(schema_with = "schema::ports")]
    pub ports: BTreeMap<String, i32>,
    /// How clients reach it.
    pub service: ClientService,
    /// Where clients are told that it is. With a Service of another type than `ClusterIP` it must be said.
    pub external: ToldAddress,
    /// Base URL under which clients reach it, with a slash at its end. Empty: that of its Service inside the
    /// cluster; with a Service of another type than `ClusterIP` it must be said. The server fetches a probe
    /// through it when it starts, if it begins with `http://`, and says in its log when that fails.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(https?://[A-Za-z0-9._~:%/\[\]-]+/)?$")
    )]
    pub public_url: String,
    /// HTTPS at its port for clients.
    pub tls: Tls,
    /// How a pod that goes lets its clients go.
    pub drain: OptionalDrain,
    /// How many pods may be evicted at a time.
    pub pdb: Pdb,
    /// What is said of push.
    #[serde(flatten)]
    pub push: Push,
    /// What every role has.
    #[serde(flatten)]
    pub common: Common,
}

/// Where clients are told that a role is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ToldAddress {
    /// Host name or address; empty: the name of its Service inside the cluster.
    #[schemars(length(max = 253), regex(pattern = r"^[A-Za-z0-9.:-]*$"))]
    pub host: String,
    /// Port; 0: that of the Service, with type NodePort that of the nodes.
    #[schemars(range(min = 0, max = 65535))]
    pub advertised_port: i32,
}

/// HTTPS at a port for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// Secret of type `kubernetes.io/tls`, with the certificate chain under `tls.crt` and its key under
    /// `tls.key`. A change of it counts within two minutes, without a restart. Empty: HTTP only.
    #[schemars(length(max = 253))]
    pub secret_name: String,
}

/// How a pod that goes lets its clients go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OptionalDrain {
    /// What is under way may go on for this time. A pod has a minute more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3540))]
    pub max_seconds: Option<i32>,
}

impl OptionalRole {
    /// What an API server makes of `{}` for a role: everything as usual.
    pub fn usual(role: Role) -> Self {
        let ports = role.ports();
        let ports = ports.map(|port| (port.field.to_owned(), port.port.into()));
        let drain = role.kubernetes.drain;
        Self {
            replicas: Some(role.kubernetes.replicas.into()),
            ports: ports.collect(),
            drain: OptionalDrain {
                max_seconds: drain.map(|drain| drain.seconds),
            },
            ..Self::default()
        }
    }

    /// Seconds for which its pods let their clients go; 0 for a role that does so at once.
    pub fn drain_seconds(&self, role: Role) -> i32 {
        let usual = role.kubernetes.drain.map_or(0, |drain| drain.seconds);
        self.drain.max_seconds.unwrap_or(usual)
    }
}

/// The roles of the table that an installation can do without.
fn roles() -> impl Iterator<Item = Role> {
    TABLE.roles.iter().copied().filter(|role| role.optional)
}

/// Those of a map that are fields of optional roles. Another version may know more: they are not ours.
fn known<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let mut all = BTreeMap::<String, Value>::deserialize(deserializer)?;
    all.retain(|field, value| !value.is_null() && roles().any(|role| role.field == field));
    let read = |(field, value)| match T::deserialize(value) {
        Ok(read) => Ok((field, read)),
        Err(error) => Err(D::Error::custom(format!("{field}: {error}"))),
    };
    all.into_iter().map(read).collect()
}

/// Reads the optional roles that a specification names, by their fields.
pub(crate) fn specified<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, OptionalRole>, D::Error> {
    known(deserializer)
}

/// Reads the status of the optional roles, by their fields.
pub(crate) fn reported<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, RoleStatus>, D::Error> {
    known(deserializer)
}

/// Reads where clients go to optional roles, by their fields.
pub(crate) fn endpoints<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<Endpoint>>, D::Error> {
    known(deserializer)
}

/// The fields of `spec.roles` for optional roles: no one has a default.
pub(crate) fn spec_schema(generator: &mut SchemaGenerator) -> Schema {
    fields(|role| {
        let whole = generator.subschema_for::<OptionalRole>().to_value();
        of_role(role, whole)
    })
}

/// The fields of `status.roles` for optional roles.
pub(crate) fn status_schema(generator: &mut SchemaGenerator) -> Schema {
    fields(|role| {
        let mut status = generator.subschema_for::<RoleStatus>().to_value();
        put(
            &mut status,
            "description",
            json!(format!("{}.", role.field)),
        );
        status
    })
}

/// The fields of `status.endpoints` for optional roles that have a Service for clients.
pub(crate) fn endpoints_schema(generator: &mut SchemaGenerator) -> Schema {
    let with_front = roles().filter(|role| has_front(*role));
    fields_of(with_front, |role| {
        let endpoint = generator.subschema_for::<Endpoint>().to_value();
        let about = format!("Servers of {role}.");
        json!({"type": "array", "maxItems": 16, "description": about, "items": endpoint})
    })
}

fn has_front(role: Role) -> bool {
    role.ports().any(|port| port.service == Service::Front)
}

fn fields(schema: impl FnMut(Role) -> Value) -> Schema {
    fields_of(roles(), schema)
}

fn fields_of(roles: impl Iterator<Item = Role>, mut schema: impl FnMut(Role) -> Value) -> Schema {
    let fields = roles.map(|role| (role.field.to_owned(), schema(role)));
    let fields: Map<String, Value> = fields.collect();
    schemars::json_schema!({"type": "object", "properties": fields})
}

/// The words that a role has, with its usual numbers.
fn of_role(role: Role, mut schema: Value) -> Value {
    let about = format!(
        "The role {role}: {}. An installation has it where this is named; `{{}}` is enough.",
        role.about
    );
    put(&mut schema, "description", json!(about));
    let Some(Value::Object(fields)) = schema.get_mut("properties") else {
        return schema;
    };
    if let Some(replicas) = fields.get_mut("replicas") {
        put(replicas, "default", json!(role.kubernetes.replicas));
    }
    if role.ports().next().is_some() {
        fields.insert("ports".to_owned(), ports(role));
    } else {
        fields.remove("ports");
    }
    if role != Role::PUSH {
        for field in push::FIELDS {
            fields.remove(field);
        }
    }
    match (role.kubernetes.drain, fields.get_mut("drain")) {
        (Some(drain), Some(field)) => {
            if let Some(seconds) = field.pointer_mut("/properties/maxSeconds") {
                put(seconds, "default", json!(drain.seconds));
                put(seconds, "maximum", json!(drain.most_seconds));
            }
        }
        _ => drop(fields.remove("drain")),
    }
    let kubernetes = role.kubernetes;
    for (name, has) in [
        ("external", kubernetes.told == Told::Address),
        ("publicUrl", kubernetes.told == Told::Url),
        ("tls", kubernetes.tls),
        ("service", has_front(role)),
    ] {
        if !has {
            fields.remove(name);
        }
    }
    schema
}

fn ports(role: Role) -> Value {
    let field = |port: &im_role::Listener| {
        let who = match port.reach {
            Reach::Clients => "Clients".to_owned(),
            Reach::Roles if TABLE.takes_reports(role, port.name) => {
                "Servers of every role, which report there".to_owned()
            }
            Reach::Roles | Reach::Administrators => {
                let callers = TABLE.callers_of(role, port.name);
                let callers: Vec<_> = callers.iter().map(|role| role.name()).collect();
                format!("Servers of {}", callers.join(", "))
            }
        };
        let schema = json!({
            "type": "integer",
            "format": "int32",
            "minimum": 1024,
            "maximum": 65535,
            "default": port.port,
            "description": format!("{who}."),
        });
        (port.field.to_owned(), schema)
    };
    let fields: Map<String, Value> = role.ports().map(field).collect();
    json!({"type": "object", "description": "Ports.", "default": {}, "properties": fields})
}

fn put(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = schema {
        fields.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImClusterSpec, Roles};

    fn spec(roles: &Value) -> ImClusterSpec {
        serde_json::from_value(json!({"version": "1.0.0", "roles": roles})).unwrap()
    }

    /// What an API server fills in and what a file leaves open mean the same.
    #[test]
    fn a_role_that_is_named_and_no_more_is_the_usual_one() {
        for role in roles() {
            let named = spec(&json!({role.field: {}}));
            let filled = spec(&json!({role.field: OptionalRole::usual(role)}));
            let (named, filled) = (named.section(role).unwrap(), filled.section(role).unwrap());
            assert_eq!(named.replicas, filled.replicas, "{role}");
            for listener in role.ports() {
                assert_eq!(named.port(listener), filled.port(listener), "{role}");
            }
            let seconds = |of: Option<&OptionalRole>| of.unwrap().drain_seconds(role);
            assert_eq!(seconds(named.optional), seconds(filled.optional), "{role}");
        }
    }

    #[test]
    fn no_optional_role_is_there_unless_it_is_named() {
        assert!(Roles::default().optional.is_empty());
        for role in roles() {
            let none = json!({role.field: null});
            for roles in [json!({}), none] {
                assert!(spec(&roles).section(role).is_none(), "{role}");
            }
        }
    }

    /// An operator that is older than the definition leaves what it does not know to the newer one.
    #[test]
    fn roles_of_another_version_are_left_alone() {
        let spec = spec(&json!({"file": {}, "yetToCome": {"replicas": "many"}}));
        let fields: Vec<_> = spec.roles.optional.keys().collect();
        assert_eq!(fields, ["file"]);
    }

    #[test]
    fn what_is_wrong_with_an_optional_role_names_it() {
        let roles = json!({"msfs": {"replicas": "many"}});
        let error = serde_json::from_value::<Roles>(roles).unwrap_err();
        assert!(
            error.to_string().starts_with("msfs: invalid type"),
            "{error}"
        );
    }
}
