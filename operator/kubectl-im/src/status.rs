//! `status`: one ImCluster, or all of a namespace in brief.
//!
//! Four requests however many pods there are: the ImCluster, its pods, the slices with the load of msg
//! pods and, where that may be read, the nodes with their zones.

mod advice;
mod view;
mod write;

use std::collections::BTreeMap;

use im_operator_plan::names;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::{self, Access, CORE, at, holds, is_seen, items, label, query};
use crate::cli::{Format, StatusArgs};
use crate::output::{Outcome, print, table};

pub(crate) use view::{Pod, View};

const ZONE: &str = "topology.kubernetes.io/zone";

/// What a status is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cluster: Value,
    pub(crate) pods: Vec<Value>,
    pub(crate) slices: Vec<Value>,
    /// Zones by node; `None` where nodes may not be read.
    pub(crate) zones: Option<BTreeMap<String, String>>,
    pub(crate) unschedulable: Vec<String>,
}

/// Shows it.
pub(crate) async fn run(access: &Access, args: &StatusArgs) -> anyhow::Result<Outcome> {
    let mut clusters = access.clusters(args.name.as_deref()).await?;
    let is_ready = |cluster: &Value| holds(cluster, "Ready") && is_seen(cluster);
    let outcome = if clusters.iter().all(is_ready) {
        Outcome::Done
    } else {
        Outcome::NotSo
    };
    let text = match (clusters.len(), args.output) {
        (1, format) => {
            let cluster = clusters.pop().unwrap_or_default();
            let view = View::of(&gather(access, cluster).await?, Timestamp::now());
            match format {
                Format::Table => write::text(&view),
                Format::Json => serde_json::to_string_pretty(&view)? + "\n",
            }
        }
        (_, Format::Table) => brief(&clusters),
        (_, Format::Json) => {
            let each = clusters.iter().map(
                |it| json!({"name": access::name(it), "ready": is_ready(it), "status": it["status"]}),
            );
            serde_json::to_string_pretty(&each.collect::<Vec<_>>())? + "\n"
        }
    };
    print(&text)?;
    Ok(outcome)
}

/// Asks for everything but the ImCluster, at the same time.
pub(crate) async fn gather(access: &Access, cluster: Value) -> anyhow::Result<Seen> {
    let name = access::name(&cluster).to_owned();
    let slices = access.path("/apis/discovery.k8s.io/v1", "endpointslices");
    let of = query(&format!(
        "kubernetes.io/service-name={}",
        names::mirror(&name)
    ));
    let slices = format!("{slices}?labelSelector={of}");
    let nodes = format!("{CORE}/nodes");
    let (pods, slices, nodes) = futures::join!(
        access.pods(&name, None),
        access.get(&slices),
        access.get(&nodes)
    );
    let mut seen = Seen {
        cluster,
        pods: pods?,
        slices: items(slices?),
        ..Seen::default()
    };
    // Nodes belong to nobody's namespace: most callers may not read them.
    if let Ok(nodes) = nodes {
        let nodes = items(nodes);
        let zone =
            |node: &Value| Some((access::name(node).to_owned(), label(node, ZONE)?.to_owned()));
        seen.zones = Some(nodes.iter().filter_map(zone).collect());
        let cordoned = nodes
            .iter()
            .filter(|node| node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)));
        seen.unschedulable = cordoned.map(|node| access::name(node).to_owned()).collect();
    }
    Ok(seen)
}

fn brief(clusters: &[Value]) -> String {
    let row = |cluster: &Value| {
        let ready = if holds(cluster, "Ready") { "yes" } else { "no" };
        let number = |pointer: &str| {
            let number = cluster.pointer(pointer).and_then(Value::as_i64);
            number.map_or_else(|| "-".to_owned(), |it| it.to_string())
        };
        vec![
            access::name(cluster).to_owned(),
            ready.to_owned(),
            at(cluster, "/status/phase").to_owned(),
            at(cluster, "/status/version").to_owned(),
            number("/status/roles/msg/readyReplicas"),
            number("/status/roles/msg/connections"),
        ]
    };
    let rows: Vec<_> = clusters.iter().map(row).collect();
    let head = ["NAME", "READY", "PHASE", "VERSION", "MSG", "CONNECTIONS"];
    table(&head, &rows)
}

#[cfg(test)]
mod tests;
