//! Revisions: pod templates stored under the hash of what they were made from.
//!
//! A newer operator may make a better template from the same specification. It does not: it applies
//! the stored one, so that its own start replaces no pod. Only other inputs, or
//! `operation.templatePolicy: Always`, lead to a new template.
//!
//! Inputs are the parts of the specification that matter to the pods of a role, without those that
//! have their default value, so that fields which later versions add do not change the hash.

use std::collections::BTreeMap;

use im_operator_api::{
    Filter, ImClusterSpec, MySql, OptionalRole, S3, TemplatePolicy, ToldAddress, labels,
};
use im_role::Told;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::object::{Owner, metadata, put};
use crate::{Resolved, Role, config, database, filter, names};

/// Letters and digits that form no words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters of a revision: 27^10 is about 2^47.
const LENGTH: usize = 10;

/// What a ControllerRevision holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// Hash of the inputs; it names the revision.
    pub inputs_hash: String,
    /// The pod template, with the label of its revision.
    pub template: PodTemplateSpec,
    /// The configuration file that goes with it.
    pub config: String,
}

/// The stored revisions of one ImCluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Templates(Vec<(Role, i64, Stored)>);

impl Templates {
    /// Reads those of the objects that are revisions of ours; others are left out.
    pub fn from_revisions<'a>(revisions: impl IntoIterator<Item = &'a ControllerRevision>) -> Self {
        Self::of_table(&im_role::TABLE, revisions)
    }

    /// The same, of the roles of this table.
    pub fn of_table<'a>(
        table: &im_role::Table,
        revisions: impl IntoIterator<Item = &'a ControllerRevision>,
    ) -> Self {
        let read = |revision: &ControllerRevision| {
            let labels = revision.metadata.labels.as_ref()?;
            let role = table.role(labels.get(labels::COMPONENT)?)?;
            let stored = serde_json::from_value(revision.data.as_ref()?.0.clone()).ok()?;
            Some((role, revision.revision, stored))
        };
        Self(revisions.into_iter().filter_map(read).collect())
    }

    /// The stored revision of a role with this hash.
    pub fn get(&self, role: Role, inputs_hash: &str) -> Option<&Stored> {
        self.of(role)
            .find(|(_, _, stored)| stored.inputs_hash == inputs_hash)
            .map(|(_, _, stored)| stored)
    }

    /// The number that the next revision of a role has.
    fn next(&self, role: Role) -> i64 {
        self.of(role)
            .map(|(_, number, _)| *number)
            .max()
            .unwrap_or(0)
            + 1
    }

    /// The number under which a revision is stored.
    fn number(&self, role: Role, inputs_hash: &str) -> Option<i64> {
        self.of(role)
            .find(|(_, _, stored)| stored.inputs_hash == inputs_hash)
            .map(|(_, number, _)| *number)
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &(Role, i64, Stored)> {
        self.0.iter().filter(move |(of, _, _)| *of == role)
    }
}

/// Revisions that are made of the same inputs at most, each because the configuration of the one before lacks
/// a key that an optional role needs.
const TURNS: u32 = 8;

/// Hash of the inputs of a role's pod template: ten characters, fit for names and labels.
pub fn inputs_hash(cluster: &Resolved, role: Role) -> String {
    short_hash(inputs_text(cluster, role, WITHOUT_PODS).as_bytes())
}

/// The hash in which earlier operators counted the number of pods, of a role whose servers are told it.
fn earlier_hash(cluster: &Resolved, role: Role) -> Option<String> {
    let fields: Vec<&str> = WITHOUT_PODS
        .iter()
        .copied()
        .filter(|field| *field != "replicas")
        .collect();
    let counted = || short_hash(inputs_text(cluster, role, &fields).as_bytes());
    role.kubernetes.knows_replicas.then(counted)
}

fn inputs_text(cluster: &Resolved, role: Role, without: &[&str]) -> String {
    let mut inputs = inputs(cluster, role, without);
    if cluster.spec.operation.template_policy == TemplatePolicy::Always
        && let Some(rendered) = cluster.rendered.get(&role)
    {
        let rendered = json!({
            "template": rendered.template,
            "config": rendered.config,
        });
        put(&mut inputs, "rendered", rendered);
    }
    sorted(inputs).to_string()
}

/// The name of the revision that was made of the same inputs so often before.
fn hash_of(inputs: &str, turn: u32) -> String {
    match turn {
        0 => short_hash(inputs.as_bytes()),
        turn => short_hash(format!("{inputs} {turn}").as_bytes()),
    }
}

/// The revision of a role: the stored one for its inputs, or what this operator makes. A stored one whose
/// configuration knows nothing of an optional role that is there now gives way to another one of the same
/// inputs, which then stays: when the optional role goes, or comes again, nothing is replaced.
pub(crate) fn current(cluster: &Resolved, templates: &Templates, role: Role) -> Stored {
    let inputs = inputs_text(cluster, role, WITHOUT_PODS);
    let stored = |turn: u32| {
        let found = templates.get(role, &hash_of(&inputs, turn));
        let earlier = || templates.get(role, &earlier_hash(cluster, role)?);
        found.or_else(|| (turn == 0).then(earlier).flatten())
    };
    let mut turns = (0..TURNS).rev();
    let turn = match turns.find_map(|turn| Some((turn, stored(turn)?))) {
        None => 0,
        Some((turn, stored)) => {
            let needed = config::needed(cluster, role);
            if turn + 1 == TURNS || config::has_all(&stored.config, &needed) {
                return stored.clone();
            }
            turn + 1
        }
    };
    let inputs_hash = hash_of(&inputs, turn);
    let rendered = cluster.rendered.get(&role).cloned();
    let mut template = rendered
        .as_ref()
        .map(|rendered| rendered.template.clone())
        .unwrap_or_default();
    template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default()
        .insert(labels::REVISION.to_owned(), inputs_hash.clone());
    Stored {
        inputs_hash,
        template,
        config: rendered.map(|rendered| rendered.config).unwrap_or_default(),
    }
}

/// The object that keeps a revision.
pub(crate) fn object(
    cluster: &Resolved,
    owner: &Owner,
    templates: &Templates,
    role: Role,
    stored: &Stored,
) -> ControllerRevision {
    let name = names::revision(&cluster.name, role, &stored.inputs_hash);
    let number = templates.number(role, &stored.inputs_hash);
    let mut metadata = metadata(cluster, owner, name, Some(role));
    metadata
        .labels
        .get_or_insert_default()
        .insert(labels::REVISION.to_owned(), stored.inputs_hash.clone());
    ControllerRevision {
        metadata,
        revision: number.unwrap_or_else(|| templates.next(role)),
        data: serde_json::to_value(stored).ok().map(RawExtension),
    }
}

/// What the pods of a role are made from: everything of its section but these fields.
fn inputs(cluster: &Resolved, role: Role, without: &[&str]) -> Value {
    let spec = serde_json::to_value(&cluster.spec).unwrap_or_default();
    let mut default = ImClusterSpec::default();
    if role.optional {
        let usual = OptionalRole::usual(role);
        default.roles.optional.insert(role.field.to_owned(), usual);
    }
    let default = serde_json::to_value(default).unwrap_or_default();
    let changed = changes(&spec, &default).unwrap_or_default();
    let mut inputs = Map::new();
    inputs.insert("image".to_owned(), json!(cluster.image));
    for path in READ_BY_ALL.iter().chain(role.kubernetes.reads) {
        if let Some(value) = changed.pointer(path) {
            inputs.insert((*path).to_owned(), value.clone());
        }
    }
    // Of the database, the pod knows only whether its directory is a volume of its own.
    if role == Role::DB_PROXY && !cluster.data_is_durable() {
        inputs.insert("storage".to_owned(), json!("Ephemeral"));
    }
    // Of one on a server, where it is; the ranges are for its policy.
    if let Some(mysql) = database::of(cluster, role) {
        let mysql = MySql {
            cidrs: Vec::new(),
            ..mysql.clone()
        };
        let changed = changes(&json!(mysql), &json!(MySql::default()));
        inputs.insert("database".to_owned(), changed.unwrap_or_default());
    }
    // Of where blobs are, the pod knows of a bucket; a volume is no part of the template.
    if role.kubernetes.blobs
        && let Some(bucket) = cluster.spec.storage.blobs.bucket()
    {
        let bucket = S3 {
            cidrs: Vec::new(),
            ..bucket.clone()
        };
        let changed = changes(&json!(bucket), &json!(S3::default()));
        inputs.insert("blobs".to_owned(), changed.unwrap_or_default());
    }
    // Of where the filter is, the pod knows the URL; the ranges are for its policy.
    if let Some(filter) = filter::of(cluster, role) {
        let filter = Filter {
            cidrs: Vec::new(),
            ..filter.clone()
        };
        let changed = changes(&json!(filter), &json!(Filter::default()));
        inputs.insert("filter".to_owned(), changed.unwrap_or_default());
    }
    // A Service is no input, but for what clients are told of it.
    if let Some(said) = cluster.section(role).and_then(|section| section.optional)
        && role.kubernetes.told == Told::Address
        && (said.external != ToldAddress::default() || !said.service.node_ports.is_empty())
    {
        inputs.insert("told".to_owned(), json!(cluster.told_address(role)));
    }
    if let Some(Value::Object(of_role)) = changed.pointer(&format!("/roles/{}", role.field)) {
        let mut of_role = of_role.clone();
        for field in without {
            of_role.remove(*field);
        }
        // Of its drain, a pod knows how long it may last.
        if let Some(Value::Object(drain)) = of_role.get_mut("drain") {
            drain.retain(|field, _| field == "maxSeconds");
            if drain.is_empty() {
                of_role.remove("drain");
            }
        }
        if !of_role.is_empty() {
            inputs.insert("role".to_owned(), Value::Object(of_role));
        }
    }
    Value::Object(inputs)
}

/// Fields of a role that leave its pods as they are, or count apart.
const WITHOUT_PODS: &[&str] = &[
    "replicas",
    "pdb",
    "service",
    "autoscaling",
    "rebalance",
    "update",
    "external",
    "providerCidrs",
    "filter",
];

/// Parts of the specification that the pods of all roles are made from.
const READ_BY_ALL: &[&str] = &[
    "/image/pullPolicy",
    "/image/pullSecrets",
    "/operation/restartTrigger",
    "/security",
    "/observability/metrics",
];

/// The part of a value that differs from a default; `None` when there is none.
fn changes(value: &Value, default: &Value) -> Option<Value> {
    match (value, default) {
        (Value::Object(value), Value::Object(default)) => {
            let changed: Map<_, _> = value
                .iter()
                .filter_map(|(key, value)| {
                    let default = default.get(key).unwrap_or(&Value::Null);
                    Some((key.clone(), changes(value, default)?))
                })
                .collect();
            (!changed.is_empty()).then_some(Value::Object(changed))
        }
        (Value::Object(fields), Value::Null) if fields.is_empty() => None,
        (value, default) => (value != default).then(|| value.clone()),
    }
}

/// With keys in order, whichever map the JSON library was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.into_iter().collect();
            let fields = fields.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn short_hash(bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes);
    let (head, _) = hash.as_bytes().split_at(16);
    let mut number = head
        .iter()
        .fold(0_u128, |all, byte| (all << 8) | u128::from(*byte));
    let mut text = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let digit = usize::try_from(number % 27).unwrap_or(0);
        text.push(ALPHABET.get(digit).copied().map_or('b', char::from));
        number /= 27;
    }
    text
}

#[cfg(test)]
mod tests {
    use im_operator_api::ImCluster;

    use super::*;
    use crate::Settings;
    use crate::validate::validate;

    fn cluster(replicas: i32) -> Resolved {
        let mut spec = ImClusterSpec {
            version: "0.1.0".to_owned(),
            ..ImClusterSpec::default()
        };
        spec.roles.login.replicas = replicas;
        let mut cluster = ImCluster::new("demo", spec);
        cluster.metadata.namespace = Some("chat".to_owned());
        validate(&cluster, &Settings::default()).unwrap()
    }

    #[test]
    fn login_pods_that_an_earlier_operator_counted_stay_until_something_else_changes() {
        let stored = Stored {
            inputs_hash: earlier_hash(&cluster(3), Role::LOGIN).unwrap(),
            template: PodTemplateSpec::default(),
            config: "of then".to_owned(),
        };
        let templates = Templates(vec![(Role::LOGIN, 1, stored.clone())]);
        assert_eq!(current(&cluster(3), &templates, Role::LOGIN), stored);
        let new = current(&cluster(5), &templates, Role::LOGIN);
        assert_ne!(new, stored, "they cannot learn another number");
        let templates = Templates(vec![(Role::LOGIN, 2, new.clone())]);
        assert_eq!(current(&cluster(7), &templates, Role::LOGIN), new);
        assert_eq!(earlier_hash(&cluster(3), Role::ROUTE), None);
    }
}
