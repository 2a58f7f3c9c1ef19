//! A stand-in for the kubelet: it says of every pod that its containers run and are ready, and runs none.
//! With it an operator finds very many ImClusters as if they ran.

use std::pin::pin;

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use im_e2e_kube::testing::{TestNamespace, is_ready};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Requests at a time.
const AT_ONCE: usize = 8;

/// Says it of the pods of a namespace until this is dropped.
pub(crate) struct Pods {
    _saying: JoinSet<()>,
}

impl Pods {
    pub(crate) fn run(namespace: &TestNamespace) -> Self {
        let mut saying = JoinSet::new();
        saying.spawn(run_all(namespace.api()));
        Self { _saying: saying }
    }
}

async fn run_all(api: Api<Pod>) {
    let events = watcher(api.clone(), watcher::Config::default());
    let events = events.default_backoff().applied_objects();
    // A broken watch is taken up again.
    let pods = events.filter_map(|event| async { event.ok() });
    let waiting = pods.filter(|pod| {
        let waits = !is_ready(pod) && pod.metadata.deletion_timestamp.is_none();
        async move { waits }
    });
    let numbered = waiting.zip(stream::iter(1_u32..));
    let said = numbered.map(|(pod, number)| say(&api, pod, number));
    let mut said = pin!(said.buffer_unordered(AT_ONCE));
    while let Some(said) = said.next().await {
        // Of one that has gone nothing is to be said.
        if let Err(error) = said {
            eprintln!("  {error:#}");
        }
    }
}

async fn say(api: &Api<Pod>, pod: Pod, number: u32) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"status": running(&pod, number)}));
    let name = pod.name_any();
    match api
        .patch_status(&name, &PatchParams::default(), &patch)
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        patched => patched
            .map(drop)
            .with_context(|| format!("say that {name} runs")),
    }
}

/// The status of a pod that runs. Its address is nobody's.
fn running(pod: &Pod, number: u32) -> Value {
    let now = Timestamp::now().to_string();
    let spec = pod.spec.as_ref();
    let gates = spec.and_then(|spec| spec.readiness_gates.as_ref());
    let gates = gates
        .into_iter()
        .flatten()
        .map(|gate| &*gate.condition_type);
    let usual = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
    let conditions = usual.into_iter().chain(gates);
    let conditions =
        conditions.map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let containers = containers.map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "containerID": "",
            "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
        })
    });
    let [_, second, third, fourth] = number.to_be_bytes();
    let address = format!("10.{second}.{third}.{fourth}");
    json!({
        "phase": "Running", "startTime": now, "podIP": address, "podIPs": [{"ip": address}],
        "conditions": conditions.collect::<Vec<_>>(),
        "containerStatuses": containers.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_pod_makes_it_ready() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "imd", "image": "imd:1"}],
                "readinessGates": [{"conditionType": "imcluster.io/registered"}],
            },
        });
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        assert!(!is_ready(&pod));
        let status = running(&pod, 258);
        assert_eq!(status["podIP"], "10.0.1.2");
        assert_eq!(status["conditions"].as_array().unwrap().len(), 5);
        pod.status = Some(serde_json::from_value(status).unwrap());
        assert!(is_ready(&pod));
    }
}
