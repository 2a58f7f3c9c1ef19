//! An operator, installed from its chart with its own Role, and an ImCluster, in a namespace of one
//! test.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use im_client::{Client, ClientConfig, Events, Password};
use im_e2e::people;
use im_e2e::traffic::{Plan, Traffic};
use im_e2e_kube::testing::{self, Cluster, TestNamespace, helm};
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The version under test; [`NEXT`] is the same program under another name.
pub(crate) const VERSION: &str = "0.1.0";

/// See [`VERSION`].
pub(crate) const NEXT: &str = "0.1.1";

/// Name of the ImCluster in tests that need one.
pub(crate) const NAME: &str = "demo";

/// Time for an installation on a busy machine.
pub(crate) const INSTALL: Duration = Duration::from_mins(5);

/// The folder of the charts.
pub(crate) const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts");

/// Connects, and installs the definition of the resource once.
pub(crate) async fn cluster() -> anyhow::Result<Cluster> {
    let cluster = Cluster::connect().await?;
    define().await?;
    Ok(cluster)
}

/// The same, but keeps other tests out, as [`Cluster::alone`].
pub(crate) async fn cluster_alone() -> anyhow::Result<Cluster> {
    let cluster = Cluster::alone().await?;
    define().await?;
    Ok(cluster)
}

async fn define() -> anyhow::Result<()> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    DEFINED
        .get_or_try_init(|| async { install_definition(CHARTS) })
        .await
        .copied()
}

/// Installs or upgrades the definition of the resource from the charts in a folder.
pub(crate) fn install_definition(charts: &str) -> anyhow::Result<()> {
    let chart = format!("{charts}/im-crds");
    let args = ["upgrade", "--install", "im-crds", &chart, "--wait"];
    helm(&[&args[..], &["--namespace", "default"]].concat()).map(drop)
}

/// Part of an image's name before its tag.
pub(crate) fn repository(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(name, _)| name)
}

/// A namespace with an operator.
pub(crate) async fn with_operator(
    cluster: &Cluster,
    purpose: &str,
    set: &[&str],
) -> anyhow::Result<TestNamespace> {
    let namespace = cluster.namespace(purpose).await?;
    install_operator(&namespace, set)?;
    Ok(namespace)
}

/// Installs or upgrades the operator of a namespace.
pub(crate) fn install_operator(namespace: &TestNamespace, set: &[&str]) -> anyhow::Result<()> {
    install_operator_from(CHARTS, &testing::operator_image(), namespace, set)
}

/// The same from the charts in a folder, with this image.
pub(crate) fn install_operator_from(
    charts: &str,
    image: &str,
    namespace: &TestNamespace,
    set: &[&str],
) -> anyhow::Result<()> {
    let chart = format!("{charts}/im-operator");
    let (repository_of_operator, tag) = image.rsplit_once(':').context("an image with a tag")?;
    let servers = testing::image();
    let values = [
        format!("image.repository={repository_of_operator}"),
        format!("image.tag={tag}"),
        format!("servers.image.repository={}", repository(&servers)),
        "replicas=1".to_owned(),
    ];
    let mut args = vec!["upgrade", "--install", "im-operator", &chart, "--wait"];
    args.extend(["--timeout", "3m"]);
    for value in values.iter().map(String::as_str).chain(set.iter().copied()) {
        args.extend(["--set", value]);
    }
    namespace.helm(&args).map(drop)
}

/// An ImCluster under test.
pub(crate) struct Installation {
    pub(crate) namespace: TestNamespace,
    pub(crate) name: String,
}

impl Installation {
    /// A namespace, its operator, and an ImCluster that is ready, with `people` who can log in.
    pub(crate) async fn new(purpose: &str, spec: Value, people: u32) -> anyhow::Result<Self> {
        Self::on(&cluster().await?, purpose, spec, people).await
    }

    /// The same on a cluster that the test is connected to already.
    pub(crate) async fn on(
        cluster: &Cluster,
        purpose: &str,
        spec: Value,
        people: u32,
    ) -> anyhow::Result<Self> {
        let namespace = with_operator(cluster, purpose, &[]).await?;
        let installation = Self::apply_to(namespace, NAME, &spec)?;
        installation.ready().await?;
        installation.import(people)?;
        Ok(installation)
    }

    /// Applies an ImCluster in a namespace; does not wait.
    pub(crate) fn apply_to(
        namespace: TestNamespace,
        name: &str,
        spec: &Value,
    ) -> anyhow::Result<Self> {
        let installation = Self {
            namespace,
            name: name.to_owned(),
        };
        installation.apply(spec)?;
        Ok(installation)
    }

    /// Applies another specification; does not wait.
    pub(crate) fn apply(&self, spec: &Value) -> anyhow::Result<()> {
        self.namespace
            .apply(&manifest(&self.name, spec).to_string())
    }

    /// Changes parts of the specification (a JSON merge patch); does not wait.
    pub(crate) fn patch(&self, spec: &Value) -> anyhow::Result<()> {
        let patch = json!({"spec": spec}).to_string();
        let args = [
            "patch",
            "imclusters",
            &self.name,
            "--type=merge",
            "-p",
            &patch,
        ];
        self.namespace.kubectl(&args).map(drop)
    }

    /// The object as it is.
    pub(crate) async fn object(&self) -> anyhow::Result<Value> {
        self.namespace.imcluster(&self.name).await
    }

    /// Status and reason of a condition of this generation.
    pub(crate) async fn condition(
        &self,
        kind: &str,
    ) -> anyhow::Result<Option<(String, String, String)>> {
        let object = self.object().await?;
        let generation = &object["metadata"]["generation"];
        let conditions = object["status"]["conditions"].as_array();
        let found = conditions.into_iter().flatten().find(|condition| {
            condition["type"] == kind && condition["observedGeneration"] == *generation
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(found.map(|condition| {
            (
                text(&condition["status"]),
                text(&condition["reason"]),
                text(&condition["message"]),
            )
        }))
    }

    /// What was waited for, or what the ImCluster says instead.
    async fn with_status<T>(&self, waited: anyhow::Result<T>) -> anyhow::Result<T> {
        let error = match waited {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        Err(match self.object().await {
            Ok(object) => error.context(format!("status: {:#}", object["status"])),
            Err(unread) => error.context(format!("{unread:#}")),
        })
    }

    /// Waits for a condition with this status.
    pub(crate) async fn wait(
        &self,
        kind: &str,
        status: &str,
        limit: Duration,
    ) -> anyhow::Result<(String, String)> {
        let what = format!("{kind}={status} of {}", self.name);
        let waited = until(&what, limit, async || {
            let (found, reason, message) = self.condition(kind).await.ok()??;
            (found == status).then_some((reason, message))
        })
        .await;
        self.with_status(waited).await
    }

    /// Waits until a condition has this reason, and returns its message. A reason may have others
    /// before it: a pod that cannot be scheduled is one that is starting, at first.
    pub(crate) async fn reason(&self, kind: &str, wanted: &str) -> anyhow::Result<String> {
        let what = format!("{kind} of {} for the reason {wanted}", self.name);
        let waited = until(&what, LATER, async || {
            let (_, reason, message) = self.condition(kind).await.ok()??;
            (reason == wanted).then_some(message)
        })
        .await;
        self.with_status(waited).await
    }

    /// Waits until all is as the specification says.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        self.wait("Ready", "True", INSTALL).await?;
        let what = format!("nothing left to do for {}", self.name);
        until(&what, INSTALL, async || {
            let reconciling = self.condition("Reconciling").await.ok()?;
            reconciling
                .is_none_or(|(status, ..)| status == "False")
                .then_some(())
        })
        .await
    }

    /// Imports people `u1`, `u2`, … through the db-proxy pod, as the README shows.
    pub(crate) fn import(&self, people: u32) -> anyhow::Result<()> {
        let pod = format!("{}-db-proxy-0", self.name);
        let args = ["exec", "-i", &pod, "--", "/imd", "directory", "import", "-"];
        self.namespace
            .kubectl_with_input(&args, &people::csv(people))
            .map(drop)
    }

    /// Where clients ask login by HTTP: the address of its Service.
    pub(crate) async fn url(&self) -> anyhow::Result<String> {
        login_url(&self.namespace, &self.name).await
    }

    /// Logs a person in with the project's own client; while the servers are busy, when they say.
    pub(crate) async fn client(&self, id: u32) -> anyhow::Result<(Client, Events)> {
        self.client_with(id, |_| ()).await
    }

    /// The same with changes to the client's configuration.
    pub(crate) async fn client_with(
        &self,
        id: u32,
        tune: fn(&mut ClientConfig),
    ) -> anyhow::Result<(Client, Events)> {
        let password = Password::clear(people::PASSWORD);
        let mut config = ClientConfig::new(self.url().await?, people::name(id), password);
        tune(&mut config);
        let mut tries = 0;
        loop {
            tries += 1;
            match Client::connect(config.clone()).await {
                Err(im_client::Error::Busy { retry_after }) if tries < 20 => {
                    tokio::time::sleep(retry_after).await;
                }
                result => return result.with_context(|| format!("log u{id} in")),
            }
        }
    }

    /// The same after db-proxy was away: `Ready` says that its pod is, and msg servers, which take nobody
    /// without it, dial it anew when their wait is over.
    pub(crate) async fn client_again(&self, id: u32) -> anyhow::Result<(Client, Events)> {
        until("somebody logs in again", LATER, async || {
            self.client(id).await.ok()
        })
        .await
    }

    /// Starts people who chat: `users` of them and a group of all, `1000 / pause` messages per second
    /// each.
    pub(crate) async fn traffic(&self, users: u32, pause: Duration) -> anyhow::Result<Traffic> {
        Traffic::start(Plan {
            users,
            pause,
            ..Plan::small(&self.url().await?)
        })
        .await
    }

    /// The pods of a role.
    pub(crate) async fn pods(&self, component: &str) -> anyhow::Result<Vec<Pod>> {
        let selector = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
            self.name
        );
        let pods: Api<Pod> = self.namespace.api();
        let list = pods.list(&ListParams::default().labels(&selector)).await?;
        Ok(list.items)
    }

    /// Names and UIDs of all pods of the ImCluster that are not about to go.
    pub(crate) async fn pod_ids(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let selector = format!("app.kubernetes.io/instance={}", self.name);
        let pods: Api<Pod> = self.namespace.api();
        let list = pods.list(&ListParams::default().labels(&selector)).await?;
        Ok(list
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()))
            .collect())
    }

    /// Waits until so many msg pods are ready and no other is left.
    pub(crate) async fn msg_pods(&self, count: usize) -> anyhow::Result<Vec<Pod>> {
        let what = format!("{count} ready msg pods of {}", self.name);
        until(&what, LATER, async || {
            let pods = self.pods("msg").await.ok()?;
            (pods.len() == count && pods.iter().all(testing::is_ready)).then_some(pods)
        })
        .await
    }
}

/// Where clients ask the login of this ImCluster by HTTP: the address of its Service.
pub(crate) async fn login_url(namespace: &TestNamespace, name: &str) -> anyhow::Result<String> {
    let services = namespace.api::<Service>();
    let service = services.get(&format!("{name}-login")).await?;
    let address = service.spec.and_then(|spec| spec.cluster_ip);
    Ok(format!("http://{}:8080", address.context("an address")?))
}

/// An ImCluster as a manifest.
pub(crate) fn manifest(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "imcluster.io/v1alpha1",
        "kind": "ImCluster",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// What clients are told of each pod: host and port, by the pod's name.
pub(crate) async fn told(namespace: &TestNamespace, cluster: &str) -> BTreeMap<String, String> {
    let object = namespace.imcluster(cluster).await.unwrap();
    let slots = object["status"]["slots"].as_array();
    slots
        .into_iter()
        .flatten()
        .filter_map(|slot| {
            let address = format!("{}:{}", slot["host"].as_str()?, slot["port"]);
            Some((slot["pod"].as_str()?.to_owned(), address))
        })
        .collect()
}

/// A specification for a small machine: little is requested, drains are short.
pub(crate) fn small() -> Value {
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    json!({
        "version": VERSION,
        "roles": {
            "login": {"replicas": 1, "resources": requests},
            "msg": {
                "replicas": 2,
                "resources": requests,
                "update": {"minReadySeconds": 1},
                "drain": {"maxSeconds": 10},
            },
            "route": {"replicas": 1, "resources": requests},
            "dbProxy": {"resources": requests},
        },
    })
}

/// Merges a patch into a specification.
pub(crate) fn with(mut base: Value, patch: &Value) -> Value {
    fn merge(base: &mut Value, patch: &Value) {
        match (base, patch) {
            (Value::Object(base), Value::Object(patch)) => {
                for (key, value) in patch {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (base, patch) => *base = patch.clone(),
        }
    }
    merge(&mut base, patch);
    base
}
