//! What is shown, made from objects. No input or output, no clock.

use std::collections::BTreeMap;

use im_operator_api::{DrainStatus, ImClusterStatus, SlotStatus, condition, labels};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::{Seen, ZONE, advice};
use crate::access::{annotation, at, is_paused, is_seen, label, name};

/// An ImCluster as people and programs are shown it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) ready: bool,
    /// The operator has seen the latest specification.
    pub(crate) seen: bool,
    pub(crate) phase: String,
    pub(crate) version: String,
    pub(crate) operator_version: String,
    pub(crate) connections: Option<i64>,
    pub(crate) connection_capacity: Option<i64>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) roles: Vec<Role>,
    pub(crate) msg_pods: Vec<Pod>,
    pub(crate) places: Vec<Place>,
    pub(crate) slots: Vec<SlotStatus>,
    pub(crate) drains: Vec<DrainStatus>,
    pub(crate) advice: Vec<String>,
}

/// A condition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Seconds since it became so.
    pub(crate) seconds: Option<i64>,
}

/// A role.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) wanted: i64,
    pub(crate) ready: i64,
    pub(crate) updated: i64,
    pub(crate) revision: String,
    /// Tags of its pods' images.
    pub(crate) versions: Vec<String>,
    /// Seconds until its roll ends, at the pace so far; nothing while it cannot be told.
    pub(crate) seconds_left: Option<i64>,
}

/// A pod.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) ready: bool,
    /// Why it is not ready, as its containers say.
    pub(crate) waits_for: String,
    pub(crate) node: String,
    pub(crate) zone: String,
    pub(crate) revision: String,
    pub(crate) version: String,
    /// `host:port` that clients are told.
    pub(crate) address: String,
    /// Load in percent of what it can take: at least, and less than.
    pub(crate) load: Option<[i64; 2]>,
    /// Why its clients go.
    pub(crate) drain: String,
    pub(crate) created: Option<Timestamp>,
    #[serde(skip)]
    uid: String,
}

/// A node, with how many pods of which role are ready on it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    pub(crate) zone: String,
    pub(crate) node: String,
    pub(crate) pods: usize,
    pub(crate) msg: usize,
    pub(crate) unschedulable: bool,
}

impl View {
    /// What objects amount to.
    pub(crate) fn of(seen: &Seen, now: Timestamp) -> Self {
        let cluster = &seen.cluster;
        // What a later operator writes otherwise is left out, and the rest is shown.
        let status = cluster.get("status").cloned().unwrap_or_default();
        let status: ImClusterStatus = serde_json::from_value(status).unwrap_or_default();
        let loads = loads(seen);
        let mut pods: Vec<Pod> = seen.pods.iter().map(Pod::of).collect();
        for pod in &mut pods {
            pod.load = loads.get(&pod.uid).copied();
            let zone = seen.zones.as_ref().and_then(|zones| zones.get(&pod.node));
            if let (true, Some(zone)) = (pod.zone.is_empty(), zone) {
                pod.zone.clone_from(zone);
            }
        }
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let conditions: Vec<_> = status.conditions.iter().map(|it| of(it, now)).collect();
        let msg = status.roles.as_ref().and_then(|roles| roles.msg.as_ref());
        let mut view = Self {
            name: name(cluster).to_owned(),
            namespace: at(cluster, "/metadata/namespace").to_owned(),
            ready: conditions.iter().any(|it| it.is(condition::READY)),
            seen: is_seen(cluster),
            phase: at(cluster, "/status/phase").to_owned(),
            version: status.version.clone().unwrap_or_default(),
            operator_version: status.operator_version.clone().unwrap_or_default(),
            connections: msg.and_then(|msg| msg.connections),
            connection_capacity: msg.and_then(|msg| msg.connection_capacity),
            roles: roles(cluster, &pods, now),
            places: places(&pods, seen),
            msg_pods: pods.iter().filter(|it| it.role == "msg").cloned().collect(),
            conditions,
            slots: status.slots,
            drains: status.drains,
            advice: Vec::new(),
        };
        view.advice = advice::of(&view, &pods, is_paused(cluster));
        view
    }
}

impl Condition {
    /// Whether it is this one, and true.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind && self.status == "True"
    }
}

fn of(
    condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
    now: Timestamp,
) -> Condition {
    let since = now.duration_since(condition.last_transition_time.0);
    Condition {
        kind: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        seconds: Some(since.as_secs().max(0)),
    }
}

impl Pod {
    /// What a pod says of itself.
    pub(crate) fn of(pod: &Value) -> Self {
        let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).cloned();
        let conditions = list("/status/conditions").unwrap_or_default();
        let ready = conditions
            .iter()
            .any(|it| at(it, "/type") == "Ready" && at(it, "/status") == "True");
        let leaving = pod.pointer("/metadata/deletionTimestamp").is_some();
        let waits_for = list("/status/containerStatuses")
            .unwrap_or_default()
            .iter()
            .map(|it| at(it, "/state/waiting/reason").to_owned())
            .chain(conditions.iter().map(|it| match at(it, "/status") {
                "False" if at(it, "/type") == "PodScheduled" => at(it, "/reason").to_owned(),
                _ => String::new(),
            }))
            .find(|reason| !reason.is_empty());
        let image = at(pod, "/spec/containers/0/image");
        let asked = annotation(pod, labels::DRAIN_REASON)
            .or_else(|| annotation(pod, im_operator_api::DRAIN_ANNOTATION));
        Self {
            name: name(pod).to_owned(),
            role: label(pod, labels::COMPONENT).unwrap_or_default().to_owned(),
            ready: ready && !leaving,
            waits_for: match waits_for {
                _ if leaving => "it ends".to_owned(),
                _ if ready => String::new(),
                Some(reason) => reason,
                None => at(pod, "/status/phase").to_owned(),
            },
            node: at(pod, "/spec/nodeName").to_owned(),
            zone: label(pod, ZONE).unwrap_or_default().to_owned(),
            revision: label(pod, labels::REVISION).unwrap_or_default().to_owned(),
            version: tag(image).to_owned(),
            address: annotation(pod, labels::EXTERNAL_ENDPOINT)
                .unwrap_or_default()
                .to_owned(),
            load: None,
            drain: asked.unwrap_or_default().to_owned(),
            created: at(pod, "/metadata/creationTimestamp").parse().ok(),
            uid: at(pod, "/metadata/uid").to_owned(),
        }
    }
}

/// The tag of an image, or its digest.
fn tag(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(['@', ':']).map_or("", |(_, tag)| tag)
}

/// Load by UID of the pod, as the mirror shows it.
fn loads(seen: &Seen) -> BTreeMap<String, [i64; 2]> {
    let step = seen.cluster.pointer("/spec/load/mirrorBucketPercent");
    let step = step.and_then(Value::as_i64).unwrap_or(10).max(1);
    let texts = seen
        .slices
        .iter()
        .filter_map(|it| annotation(it, labels::LOAD));
    let mut loads = BTreeMap::new();
    for text in texts {
        let entries: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
        for (uid, entry) in entries {
            if let Some(bucket) = entry.get("b").and_then(Value::as_i64) {
                loads.insert(uid, [bucket * step, (bucket + 1) * step]);
            }
        }
    }
    loads
}

/// The roles in the order in which they are rolled out.
fn roles(cluster: &Value, pods: &[Pod], now: Timestamp) -> Vec<Role> {
    let mut shown = Vec::new();
    for role in im_role::TABLE.in_order_of_rollout() {
        let status = cluster.pointer(&format!("/status/roles/{}", role.field));
        let spec = cluster.pointer(&format!("/spec/roles/{}", role.field));
        let number = |key: &str| status?.get(key)?.as_i64();
        if status.is_none() && (role.optional && spec.is_none()) {
            continue;
        }
        let wanted = number("desiredReplicas")
            .or_else(|| spec?.get("replicas")?.as_i64())
            .or_else(|| number("replicas"))
            .unwrap_or(1);
        let own: Vec<&Pod> = pods.iter().filter(|it| it.role == role.name).collect();
        let mut versions: Vec<String> = own.iter().map(|it| it.version.clone()).collect();
        versions.sort();
        versions.dedup();
        let revision = status.map_or("", |it| at(it, "/updateRevision"));
        let newest: Vec<_> = own.iter().filter(|it| it.revision == revision).collect();
        let done = newest.iter().filter(|it| it.ready).count();
        let updated = number("updatedReplicas").unwrap_or(0);
        let begun = newest.iter().filter_map(|it| it.created).min();
        shown.push(Role {
            name: role.field.to_owned(),
            wanted,
            ready: number("readyReplicas").unwrap_or(0),
            updated,
            revision: revision.to_owned(),
            versions,
            // Without a roll a pod that is not ready is none that is left.
            seconds_left: rest(begun, done, wanted, now)
                .map(|it| it.as_secs())
                .filter(|_| updated < wanted),
        });
    }
    shown
}

/// How long the rest of a roll takes, if each pod takes as long as those that are done took.
pub(super) fn rest(
    begun: Option<Timestamp>,
    done: usize,
    wanted: i64,
    now: Timestamp,
) -> Option<SignedDuration> {
    let done = i32::try_from(done).ok().filter(|done| *done > 0)?;
    let left = i32::try_from(wanted).ok()?.checked_sub(done)?;
    if left <= 0 {
        return None;
    }
    (now.duration_since(begun?) / done).checked_mul(left)
}

/// Nodes by zone, with what runs there.
fn places(pods: &[Pod], seen: &Seen) -> Vec<Place> {
    let mut places: BTreeMap<(&str, &str), Place> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.node.is_empty()) {
        let place = places.entry((&pod.zone, &pod.node)).or_default();
        place.zone.clone_from(&pod.zone);
        place.node.clone_from(&pod.node);
        place.pods += 1;
        place.msg += usize::from(pod.role == "msg");
        place.unschedulable = seen.unschedulable.contains(&pod.node);
    }
    places.into_values().collect()
}
