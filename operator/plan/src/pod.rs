//! Pod templates: what the restricted Pod Security level asks for, probes, files, overrides.

use std::collections::BTreeMap;

use im_operator_api::server_config::STOP_SLACK;
use im_operator_api::{FreeObject, ImClusterSpec, ORDERS_ANNOTATION, RunAs, Section, labels};
use k8s_openapi::api::core::v1::{Affinity, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::{DATA_DIR, has_data, has_links, has_peers};
use crate::object::{put, read};
use crate::references::{self, Reference};
use crate::{Resolved, Role, SpecError, database, merge, names};

/// Numeric user and group of the image; it has no user names.
const UID: i64 = 65532;
/// Annotation that autoscalers of nodes read: emptyDir volumes that hold no node back.
const SAFE_VOLUMES: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// Mode of the files of a Secret: readable by the group of the pod only.
pub(crate) const MODE: i32 = 0o440;
/// Volumes before that of `/tmp` at most: those of all operators have the same order.
const PLACE_OF_TMP: usize = 2;
/// Seconds that pods without a drain have to stop.
const GRACE: i32 = 30;

/// Template of a role's pods, without the label of its revision.
pub(crate) fn template(
    cluster: &Resolved,
    role: Role,
    section: &Section<'_>,
) -> Result<PodTemplateSpec, Vec<SpecError>> {
    let field = |name: &str| format!("spec.roles.{}.{name}", role.field);
    let common = section.common;
    let mut errors = Vec::new();
    let affinity = Value::Object(common.scheduling.affinity.clone());
    if let Err(error) = read::<Affinity>(&affinity) {
        errors.push(SpecError::new(&field("scheduling.affinity"), error));
    }
    errors.extend(protected(&common.pod_overrides, &field("podOverrides")));
    let overrides = Value::Object(with_container_names(&common.pod_overrides));
    if let Err(error) = read::<PodTemplateSpec>(&overrides) {
        errors.push(SpecError::new(&field("podOverrides"), error));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut template = base(cluster, role, section);
    merge::merge(&mut template, &common.pod_overrides);
    read(&Value::Object(template))
        .map_err(|error| vec![SpecError::new(&field("podOverrides"), error)])
}

/// The operator's part of a template.
fn base(cluster: &Resolved, role: Role, section: &Section<'_>) -> Map<String, Value> {
    let (spec, labels) = (&cluster.spec, cluster.role_labels(role));
    let metrics = &spec.observability.metrics;
    // Nothing in them outlives the pod: nodes may go while they are there.
    let safe = if shares(cluster, role) {
        "tmp,data"
    } else {
        "tmp"
    };
    let mut annotations = json!({SAFE_VOLUMES: safe});
    if metrics.enabled {
        put(&mut annotations, "prometheus.io/scrape", json!("true"));
        let port = metrics.port.to_string();
        put(&mut annotations, "prometheus.io/port", json!(port));
        put(&mut annotations, "prometheus.io/path", json!("/metrics"));
    }
    let metadata = json!({"labels": labels, "annotations": annotations});
    let scheduling = &section.common.scheduling;
    let mut pod = json!({
        "serviceAccountName": names::component(&cluster.name, role),
        "automountServiceAccountToken": has_peers(cluster, role),
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace(spec, role),
        "securityContext": security_context(spec),
        "containers": [container(cluster, role, section)],
        "volumes": volumes(cluster, role),
        "topologySpreadConstraints": spread(section, &labels),
    });
    let optional = [
        ("imagePullSecrets", json!(spec.image.pull_secrets)),
        ("nodeSelector", json!(scheduling.node_selector)),
        ("tolerations", json!(scheduling.tolerations)),
        ("affinity", json!(scheduling.affinity)),
        ("priorityClassName", json!(scheduling.priority_class_name)),
    ];
    for (key, value) in optional {
        if !matches!(&value, Value::Object(fields) if fields.is_empty())
            && value != json!([])
            && value != json!("")
        {
            put(&mut pod, key, value);
        }
    }
    Map::from_iter([("metadata".to_owned(), metadata), ("spec".to_owned(), pod)])
}

fn security_context(spec: &ImClusterSpec) -> Value {
    let mut context = json!({
        "runAsNonRoot": true,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if spec.security.run_as == RunAs::Image {
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            put(&mut context, field, json!(UID));
        }
    }
    context
}

/// Seconds from the end's beginning to its enforcement.
pub(crate) fn grace(spec: &ImClusterSpec, role: Role) -> i32 {
    let drain = match spec.roles.optional(role) {
        _ if role == Role::MSG => spec.roles.msg.drain.max_seconds,
        Some(said) => said.drain_seconds(role),
        None => 0,
    };
    if drain > 0 {
        return drain + STOP_SLACK + 10;
    }
    GRACE + i32::from(role.kubernetes.pre_stop_seconds)
}

fn container(cluster: &Resolved, role: Role, section: &Section<'_>) -> Value {
    let spec = &cluster.spec;
    let mut container = json!({
        "name": role.name(),
        "image": cluster.image,
        "imagePullPolicy": spec.image.pull_policy.as_str(),
        "args": [role.name(), "--config", "/etc/imcluster/imd.toml"],
        "ports": ports(spec, role, section),
        "resources": resources(role, section),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        // The log of a role that is to stop is the shortest way to its reason.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": probe("/livez", 1, role.kubernetes.startup_seconds.into()),
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/livez", 10, 3),
        "volumeMounts": mounts(cluster, role),
    });
    if role == Role::MSG {
        let env = json!([{
            "name": "IMD_MSG__NAME",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        }]);
        put(&mut container, "env", env);
    }
    if database::of(cluster, role).is_some() {
        put(&mut container, "env", database::env(cluster));
    }
    let pre_stop = role.kubernetes.pre_stop_seconds;
    if pre_stop > 0 {
        let lifecycle = json!({"preStop": {"sleep": {"seconds": pre_stop}}});
        put(&mut container, "lifecycle", lifecycle);
    }
    container
}

fn probe(path: &str, period: i32, failures: i32) -> Value {
    json!({
        "httpGet": {"path": path, "port": "metrics"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}

/// Named ports of a role's container.
fn ports(spec: &ImClusterSpec, role: Role, section: &Section<'_>) -> Value {
    let own = role.ports().map(|it| (it.name, section.port(it)));
    let all = own.chain([("metrics", spec.observability.metrics.port)]);
    all.map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}))
        .collect()
}

/// Requests and limits of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resources {
    pub(crate) requests: BTreeMap<String, String>,
    pub(crate) limits: BTreeMap<String, String>,
}

/// Requests and limits: the role's defaults, and what the specification says over them.
pub(crate) fn resources(role: Role, section: &Section<'_>) -> Resources {
    let usual = role.kubernetes.resources;
    let given = &section.common.resources;
    Resources {
        requests: amounts(
            &[("cpu", usual.cpu), ("memory", usual.memory)],
            &given.requests,
        ),
        limits: amounts(&[("memory", usual.memory_limit)], &given.limits),
    }
}

fn amounts(
    defaults: &[(&str, &str)],
    given: &BTreeMap<String, IntOrString>,
) -> BTreeMap<String, String> {
    let mut amounts: BTreeMap<_, _> = defaults
        .iter()
        .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
        .collect();
    for (name, amount) in given {
        let amount = match amount {
            IntOrString::Int(amount) => amount.to_string(),
            IntOrString::String(amount) => amount.clone(),
        };
        if amount == "0" {
            amounts.remove(name);
        } else {
            amounts.insert(name.clone(), amount);
        }
    }
    amounts
}

/// Whether the pods of a role share what they keep, and so have no more than what is on its way.
fn shares(cluster: &Resolved, role: Role) -> bool {
    let shares_blobs = role.kubernetes.blobs && cluster.volume(role).is_none();
    shares_blobs || database::of(cluster, role).is_some()
}

/// A Secret of the installation itself, and the volume in which a pod has it.
struct OwnSecret {
    volume: &'static str,
    name: String,
}

/// The Secrets of the installation that a role needs.
fn own_secrets(cluster: &Resolved, role: Role) -> Vec<OwnSecret> {
    let name = cluster.name.as_str();
    let is_db_proxy = role == Role::DB_PROXY;
    let all = [
        (
            has_links(cluster, role),
            "secret",
            names::internal_secret(name),
        ),
        (
            is_db_proxy || role.administers.is_some(),
            "admin",
            names::admin_secret(name),
        ),
        (is_db_proxy, "remember", names::remember_secret(name)),
    ];
    let needed = all.into_iter().filter(|(needs, ..)| *needs);
    needed
        .map(|(_, volume, name)| OwnSecret { volume, name })
        .collect()
}

fn mounts(cluster: &Resolved, role: Role) -> Value {
    let mut mounts =
        vec![json!({"name": "config", "mountPath": "/etc/imcluster", "readOnly": true})];
    for secret in own_secrets(cluster, role) {
        let path = format!("/run/imcluster/{}", secret.volume);
        mounts.push(json!({"name": secret.volume, "mountPath": path, "readOnly": true}));
    }
    let tmp = json!({"name": "tmp", "mountPath": "/tmp"});
    mounts.insert(PLACE_OF_TMP.min(mounts.len()), tmp);
    if has_data(role) {
        mounts.push(json!({"name": "data", "mountPath": DATA_DIR}));
    }
    if role == Role::MSG {
        mounts.push(json!({"name": "podinfo", "mountPath": "/etc/podinfo", "readOnly": true}));
    }
    let references = references::of(cluster, role);
    mounts.extend(references.iter().map(Reference::mount));
    Value::Array(mounts)
}

fn volumes(cluster: &Resolved, role: Role) -> Value {
    let name = cluster.name.as_str();
    let mut volumes =
        vec![json!({"name": "config", "configMap": {"name": names::component(name, role)}})];
    for secret in own_secrets(cluster, role) {
        volumes.push(json!({
            "name": secret.volume,
            "secret": {"secretName": secret.name, "defaultMode": MODE},
        }));
    }
    let tmp = json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}});
    volumes.insert(PLACE_OF_TMP.min(volumes.len()), tmp);
    if has_data(role) && cluster.volume(role).is_none() {
        volumes.push(json!({"name": "data", "emptyDir": {}}));
    }
    if role == Role::MSG {
        let item = |path: &str, annotation: &str| {
            let field = format!("metadata.annotations['{annotation}']");
            json!({"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": field}})
        };
        let items = [
            item("external-endpoint", labels::EXTERNAL_ENDPOINT),
            item("orders", ORDERS_ANNOTATION),
        ];
        volumes.push(json!({"name": "podinfo", "downwardAPI": {"items": items}}));
    }
    let references = references::of(cluster, role);
    volumes.extend(references.iter().map(Reference::volume));
    Value::Array(volumes)
}

fn spread(section: &Section<'_>, labels: &BTreeMap<String, String>) -> Value {
    let mut selector = labels.clone();
    selector.remove(labels::MANAGED_BY);
    let selector = json!({"matchLabels": selector});
    let given = &section.common.scheduling.topology_spread_constraints;
    if given.is_empty() {
        return ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
            .iter()
            .map(|key| {
                json!({
                    "maxSkew": 1,
                    "topologyKey": key,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": selector,
                    // Pods of the revision before go: they are not to be spread against.
                    "matchLabelKeys": [labels::REVISION],
                })
            })
            .collect();
    }
    let mut constraints = json!(given);
    for constraint in constraints.as_array_mut().into_iter().flatten() {
        if constraint.get("labelSelector").is_none() {
            put(constraint, "labelSelector", selector.clone());
        }
    }
    constraints
}

/// What overrides must leave alone.
fn protected(overrides: &FreeObject, field: &str) -> Vec<SpecError> {
    const SELECTING: [&str; 4] = [
        labels::NAME,
        labels::INSTANCE,
        labels::COMPONENT,
        labels::MANAGED_BY,
    ];
    let mut errors = Vec::new();
    for map in ["labels", "annotations"] {
        let keys = overrides
            .get("metadata")
            .and_then(|metadata| metadata.get(map))
            .and_then(Value::as_object);
        for key in keys.into_iter().flat_map(Map::keys) {
            if SELECTING.contains(&key.as_str()) || key.starts_with("imcluster.io/") {
                let field = format!("{field}.metadata.{map}[{key}]");
                errors.push(SpecError::new(&field, "is set by the operator"));
            }
        }
    }
    for part in ["metadata", "spec"] {
        if overrides.get(part).is_some_and(Value::is_null) {
            errors.push(SpecError::new(
                &format!("{field}.{part}"),
                "cannot be taken away",
            ));
        }
    }
    let spec = overrides.get("spec").and_then(Value::as_object);
    if spec.is_some_and(|spec| spec.get("containers").is_some_and(Value::is_null)) {
        let field = format!("{field}.spec.containers");
        errors.push(SpecError::new(&field, "cannot be taken away"));
    }
    let metadata = overrides.get("metadata").and_then(Value::as_object);
    for key in metadata.into_iter().flat_map(Map::keys) {
        if key != "labels" && key != "annotations" {
            let field = format!("{field}.metadata.{key}");
            errors.push(SpecError::new(&field, "cannot be set for pods"));
        }
    }
    if metadata.is_some_and(|metadata| metadata.get("labels").is_some_and(Value::is_null)) {
        let field = format!("{field}.metadata.labels");
        errors.push(SpecError::new(&field, "cannot be taken away"));
    }
    errors
}

/// The overrides as a whole template, for a look at their fields: what is merged by name needs no
/// container list in them.
fn with_container_names(overrides: &FreeObject) -> FreeObject {
    let mut whole = overrides.clone();
    strip_nulls(&mut whole);
    if let Some(Value::Object(spec)) = whole.get_mut("spec") {
        spec.entry("containers").or_insert_with(|| json!([]));
    }
    whole
}

fn strip_nulls(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    for value in fields.values_mut() {
        match value {
            Value::Object(inner) => strip_nulls(inner),
            Value::Array(items) => items
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(strip_nulls),
            _ => {}
        }
    }
}
