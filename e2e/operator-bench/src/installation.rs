//! A platform as the README's first page makes it: charts, six lines of manifest, people.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use im_client::{Client, ClientConfig, Event, Events, Password};
use im_core::{Peer, UserId};
use im_e2e::people;
use im_e2e_kube::testing::{self, Cluster, TestNamespace};
use im_e2e_kube::wait::{SOON, until};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::time::Instant;

use crate::charts::{self, ACCOUNT};
use crate::measure;

/// Name of the ImCluster.
const NAME: &str = "demo";

/// Longest wait for each step.
const STEP: Duration = Duration::from_mins(5);

/// Port of the operator's metrics, as its chart has it.
const METRICS: u16 = 8081;

/// When each step was done, counted from the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) charts: Duration,
    pub(crate) people: Duration,
    pub(crate) message: Duration,
    pub(crate) ready: Duration,
}

/// A process of the operator in a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    pub(crate) pid: u32,
    pub(crate) admin: SocketAddr,
    /// It holds the Lease, and does the work.
    pub(crate) leads: bool,
}

/// A platform in a namespace of its own.
pub(crate) struct Installation {
    pub(crate) namespace: TestNamespace,
}

impl Installation {
    /// Installs it, and measures how long everything takes.
    pub(crate) async fn measured(cluster: &Cluster) -> anyhow::Result<(Self, Times)> {
        let namespace = cluster.namespace("platform").await?;
        let this = Self { namespace };
        let start = Instant::now();
        charts::define()?;
        charts::install_operator(&this.namespace, &[])?;
        let charts = start.elapsed();
        this.namespace.apply(&manifest()?)?;
        this.import().await?;
        let people = start.elapsed();
        this.talk().await?;
        let message = start.elapsed();
        this.ready()?;
        let times = Times {
            charts,
            people,
            message,
            ready: start.elapsed(),
        };
        Ok((this, times))
    }

    /// Removes it and waits until its pods are gone.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        gone(self.namespace).await
    }

    /// Imports two people through the db-proxy pod, as soon as that runs.
    async fn import(&self) -> anyhow::Result<()> {
        let pod = format!("{NAME}-db-proxy-0");
        let pods: Api<Pod> = self.namespace.api();
        until(&format!("the pod {pod} is ready"), STEP, async || {
            pods.get(&pod).await.ok().filter(testing::is_ready)
        })
        .await?;
        let import = ["exec", "-i", &pod, "--", "/imd", "directory", "import", "-"];
        self.namespace
            .kubectl_with_input(&import, &people::csv(2))
            .map(drop)
    }

    /// Passes a message from one client to another, as soon as both are let in.
    async fn talk(&self) -> anyhow::Result<()> {
        let (a, _events) = self.log_in(1).await?;
        let (b, mut events) = self.log_in(2).await?;
        let to = UserId::from_wire(b.user_id()).context("an id of a person")?;
        a.send_text(Peer::User(to), "hello").await?;
        let arrived = tokio::time::timeout(SOON, async {
            while let Some(event) = events.recv().await {
                if let Event::Message(message) = event {
                    return b.cipher().decrypt(&message.data.msg_data).ok();
                }
            }
            None
        });
        let text = arrived.await.context("the message does not arrive")?;
        anyhow::ensure!(text.as_deref() == Some(b"hello"), "another message arrived");
        a.close().await;
        b.close().await;
        Ok(())
    }

    async fn log_in(&self, id: u32) -> anyhow::Result<(Client, Events)> {
        let services: Api<Service> = self.namespace.api();
        let name = format!("{NAME}-login");
        until(&format!("u{id} is let in"), STEP, async || {
            let address = services.get(&name).await.ok()?.spec?.cluster_ip?;
            let password = Password::clear(people::PASSWORD);
            let url = format!("http://{address}:8080");
            let config = ClientConfig::new(url, people::name(id), password);
            Client::connect(config).await.ok()
        })
        .await
    }

    /// Waits until the ImCluster says so.
    fn ready(&self) -> anyhow::Result<()> {
        let wait = ["wait", "imclusters", NAME, "--for=condition=Ready"];
        let limit = format!("--timeout={}s", STEP.as_secs());
        self.namespace
            .kubectl(&[&wait[..], &[&limit]].concat())
            .map(drop)
    }

    /// The operator's processes.
    pub(crate) async fn operator(&self) -> anyhow::Result<Vec<Replica>> {
        let lease = self.namespace.api::<Lease>().get(ACCOUNT).await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        let of_operator = ListParams::default().labels("app.kubernetes.io/name=im-operator");
        let mut replicas = Vec::new();
        for pod in self.namespace.api::<Pod>().list(&of_operator).await? {
            let uid = pod.uid().context("a pod with a UID")?;
            replicas.push(Replica {
                pid: measure::process_of_pod(&uid, "im-operator")?,
                admin: SocketAddr::new(testing::address(&pod)?.parse()?, METRICS),
                leads: holder.as_deref() == Some(&pod.name_any()),
            });
        }
        Ok(replicas)
    }

    /// The process of the operator that does the work.
    pub(crate) async fn leader(&self) -> anyhow::Result<Replica> {
        let replicas = self.operator().await?;
        let mut leaders = replicas.into_iter().filter(|replica| replica.leads);
        leaders.next().context("no operator holds the Lease")
    }

    /// Writes an annotation on the ImCluster, which makes the operator look at it.
    pub(crate) fn touch(&self, text: &str) -> anyhow::Result<()> {
        let annotation = format!("bench.example/touched={text}");
        let annotate = ["annotate", "--overwrite", "imclusters", NAME, &annotation];
        self.namespace.kubectl(&annotate).map(drop)
    }
}

/// The smallest manifest.
fn manifest() -> anyhow::Result<String> {
    let (_, version) = charts::servers()?;
    Ok(format!(
        "apiVersion: imcluster.io/v1alpha1\nkind: ImCluster\nmetadata:\n  name: {NAME}\nspec:\n  \
         version: {version}\n"
    ))
}

/// Deletes a namespace and waits until nothing of it is left.
pub(crate) async fn gone(namespace: TestNamespace) -> anyhow::Result<()> {
    let all: Api<Namespace> = Api::all(namespace.cluster().client());
    let name = namespace.name().to_owned();
    drop(namespace);
    until(
        &format!("the namespace {name} is gone"),
        2 * STEP,
        async || all.get_opt(&name).await.ok()?.is_none().then_some(()),
    )
    .await
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_smallest_manifest_has_six_lines() {
        assert_eq!(super::manifest().unwrap().lines().count(), 6);
    }
}
