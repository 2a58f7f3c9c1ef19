//! Enforces NetworkPolicies on the node, so that a policy that is too tight or too loose fails a
//! test.
//!
//! [`ruleset`] is the translation, a pure function; this module watches what goes into it and hands
//! the result to `nft`, as one transaction. Connections that exist are never cut.

pub mod ruleset;
mod select;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Config};
use serde_json::json;

use crate::layout::{DNS_IP, Layout};

/// Changes that follow each other this closely are applied together.
const GATHER: Duration = Duration::from_millis(20);

/// A client that may do everything, on the node with these folders.
///
/// # Errors
/// The kubeconfig cannot be read.
pub(crate) async fn client(layout: &Layout) -> anyhow::Result<Client> {
    let file = layout.kubeconfig("admin");
    let kubeconfig =
        Kubeconfig::read_from(&file).with_context(|| format!("read {}", file.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Enforces policies until it is ended.
///
/// # Errors
/// The API server cannot be used at all, or `nft` refuses the rules.
pub async fn run(layout: &Layout) -> anyhow::Result<()> {
    let client = client(layout).await?;
    let (policies, policy_changes) = watch::<NetworkPolicy>(Api::all(client.clone()));
    let (pods, pod_changes) = watch::<Pod>(Api::all(client.clone()));
    let (namespaces, namespace_changes) = watch::<Namespace>(Api::all(client));
    let changes = [policy_changes, pod_changes, namespace_changes];
    let mut changes = futures::stream::select_all(changes).ready_chunks(1024);
    let dns = dns_pod()?;
    let mut applied = String::new();
    while changes.next().await.is_some() {
        tokio::time::sleep(GATHER).await;
        // Half a list would open what is closed.
        let listed = [
            policies.wait_until_ready().now_or_never().is_some(),
            pods.wait_until_ready().now_or_never().is_some(),
            namespaces.wait_until_ready().now_or_never().is_some(),
        ];
        if listed.contains(&false) {
            continue;
        }
        let mut all_pods = objects(&pods);
        all_pods.push(dns.clone());
        let rules = ruleset::ruleset(&objects(&policies), &all_pods, &objects(&namespaces));
        if rules != applied {
            apply(&rules)?;
            applied = rules;
        }
    }
    Ok(())
}

type Changes = futures::stream::BoxStream<'static, ()>;

fn watch<K>(api: Api<K>) -> (Store<K>, Changes)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(api, watcher::Config::default()).default_backoff();
    (store, report(reflector::reflector(writer, events)))
}

#[allow(clippy::print_stderr, reason = "the log of a part of the node")]
fn report<T: 'static>(
    events: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static,
) -> Changes {
    events
        .map(|event| {
            if let Err(error) = event {
                eprintln!("watch: {error}");
            }
        })
        .boxed()
}

fn objects<K>(store: &Store<K>) -> Vec<K>
where
    K: kube::runtime::reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    store
        .state()
        .iter()
        .map(|object| (**object).clone())
        .collect()
}

/// The DNS server runs beside the cluster, on an address of the node; for policies it is the pod that
/// it would be elsewhere.
fn dns_pod() -> anyhow::Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": "coredns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns"},
        },
        "spec": {"containers": [{"name": "coredns", "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ]}]},
        "status": {"phase": "Running", "podIP": DNS_IP},
    }))?)
}

fn apply(rules: &str) -> anyhow::Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("start nft")?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let status = nft.wait()?;
    if !status.success() {
        bail!("nft refused the rules ({status}):\n{rules}");
    }
    Ok(())
}
