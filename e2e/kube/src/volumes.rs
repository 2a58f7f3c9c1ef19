//! The provisioner of the StorageClasses `standard`, a folder of one node for each claim, and `network`, a
//! folder that all nodes have, as a disk that is attached where the pod is.
//!
//! A claim gets its volume when the scheduler has placed the first pod that uses it; when the claim
//! is deleted, the reclaim policy `Delete` removes the volume and its folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::layout::Layout;
use crate::netpol::client;

/// Name of the provisioner in the StorageClass.
pub const PROVISIONER: &str = "imcluster.io/test-local";

/// The class of volumes that are wherever the pod is.
const NETWORK: &str = "network";

const CHOSEN_BY_CLAIM: &str = "volume.kubernetes.io/storage-provisioner";
const CHOSEN_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Provisions and removes volumes until it is ended.
///
/// # Errors
/// The API server cannot be used at all; what it refuses is printed and tried again.
#[allow(clippy::print_stderr, reason = "the log of a part of the node")]
pub async fn run(layout: &Layout) -> anyhow::Result<()> {
    let client = client(layout).await?;
    let claims = watcher(
        Api::<PersistentVolumeClaim>::all(client.clone()),
        watcher::Config::default(),
    );
    let volumes = watcher(
        Api::<PersistentVolume>::all(client.clone()),
        watcher::Config::default(),
    );
    let claims = claims.default_backoff().applied_objects();
    let volumes = volumes.default_backoff().applied_objects();
    let mut changes = futures::stream::select(
        claims
            .map_ok(|claim| Change::Claim(Box::new(claim)))
            .boxed(),
        volumes
            .map_ok(|volume| Change::Volume(Box::new(volume)))
            .boxed(),
    );
    while let Some(change) = changes.next().await {
        let change = match change {
            Ok(change) => change,
            Err(error) => {
                eprintln!("watch: {error}");
                continue;
            }
        };
        while let Err(error) = change.handle(&client, layout).await {
            eprintln!("{error:#}");
            if refused(&error) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

/// Whether trying again is of no use.
fn refused(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code < 500)
}

/// Where a volume lies.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// On this node.
    Node(&'a str),
    /// Wherever the pod is.
    Network,
}

impl Place<'_> {
    /// The node whose folder holds it.
    fn home(self, layout: &Layout) -> Layout {
        let mut workers = layout.workers();
        let worker = match self {
            Self::Node(name) => workers.find(|worker| worker.member().name() == name),
            Self::Network => None,
        };
        worker.unwrap_or_else(|| layout.clone())
    }

    /// As a freshly made file system: only root may write, unless the pod has an `fsGroup`. No kubelet
    /// gives a folder of the network to a group, so there everybody may.
    fn mode(self) -> u32 {
        match self {
            Self::Node(_) => 0o755,
            Self::Network => 0o777,
        }
    }

    /// What a volume's specification says of it.
    fn source(self, folder: &Path) -> Value {
        let Self::Node(name) = self else {
            return json!({"hostPath": {"path": folder}});
        };
        json!({
            "local": {"path": folder},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]},
            ]}]}},
        })
    }
}

enum Change {
    Claim(Box<PersistentVolumeClaim>),
    Volume(Box<PersistentVolume>),
}

impl Change {
    async fn handle(&self, client: &Client, layout: &Layout) -> anyhow::Result<()> {
        match self {
            Self::Claim(claim) => provision(client, layout, claim).await,
            Self::Volume(volume) => remove(client, layout, volume).await,
        }
    }
}

async fn provision(
    client: &Client,
    layout: &Layout,
    claim: &PersistentVolumeClaim,
) -> anyhow::Result<()> {
    let annotations = claim.annotations();
    let ours = annotations.get(CHOSEN_BY_CLAIM).map(String::as_str) == Some(PROVISIONER);
    let spec = claim.spec.clone().unwrap_or_default();
    let chosen = annotations.get(CHOSEN_NODE).filter(|_| ours);
    let (Some(node), None) = (chosen, &spec.volume_name) else {
        return Ok(());
    };
    let (Some(uid), Some(namespace)) = (claim.uid(), claim.namespace()) else {
        return Ok(());
    };
    let name = format!("pvc-{uid}");
    let place = if spec.storage_class_name.as_deref() == Some(NETWORK) {
        Place::Network
    } else {
        Place::Node(node)
    };
    let folder = place.home(layout).volumes().join(&name);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(place.mode()))?;
    let capacity = spec.resources.unwrap_or_default().requests;
    let mut volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": capacity,
            "accessModes": spec.access_modes,
            "storageClassName": spec.storage_class_name,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim.name_any(),
                "uid": uid,
            },
        },
    }))?;
    volume.merge_from(serde_json::from_value(json!({
        "metadata": {},
        "spec": place.source(&folder),
    }))?);
    let api = Api::<PersistentVolume>::all(client.clone());
    match api.create(&PostParams::default(), &volume).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        done => done.map(drop).with_context(|| format!("make {name}")),
    }
}

async fn remove(client: &Client, layout: &Layout, volume: &PersistentVolume) -> anyhow::Result<()> {
    let ours = volume.annotations().get(PROVISIONED_BY).map(String::as_str) == Some(PROVISIONER);
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if !ours || phase != Some("Released") || policy != Some("Delete") {
        return Ok(());
    }
    let name = volume.name_any();
    let homes = layout.workers().chain([layout.clone()]);
    for home in homes {
        match fs::remove_dir_all(home.volumes().join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let api = Api::<PersistentVolume>::all(client.clone());
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        done => done.map(drop).with_context(|| format!("delete {name}")),
    }
}
