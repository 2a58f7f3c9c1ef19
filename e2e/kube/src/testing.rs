//! What tests on a cluster use: the node of this crate, or any cluster.
//!
//! * `KUBECONFIG` says which cluster. `xtask test-cluster` runs the tests inside its own node; on
//!   another cluster they run wherever pods and Services can be dialled.
//! * `IM_IMAGE`, `IM_OPERATOR_IMAGE`, `IM_GUEST_IMAGE` name the images if they are not the ones that
//!   `xtask test-cluster` makes.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::timeout;

use crate::control::Control;
use crate::layout::{GUEST_IMAGE, Layout};
use crate::run::check_output;
use crate::wait::{LATER, until};

/// Name of the server image that `xtask test-cluster` makes.
pub const IMAGE: &str = "imcluster.test/imd:0.1.0";
/// Name of the operator image that `xtask test-cluster` makes.
pub const OPERATOR_IMAGE: &str = "imcluster.test/im-operator:0.1.0";

/// Longest wait for an answer of the API server.
const ANSWER: Duration = Duration::from_secs(10);

/// The cluster that the tests run on.
///
/// Tests of one program share it, but for those that stop parts of the node: they have it alone, for as
/// long as a value or a namespace made with it lives. A test connects once and clones what it got;
/// connecting twice may wait for itself.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    node: Option<Control>,
    _access: Arc<Access>,
}

#[expect(dead_code, reason = "held, not looked at")]
enum Access {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

static ACCESS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

impl Cluster {
    /// Connects to the cluster that `KUBECONFIG` names.
    ///
    /// # Errors
    /// It is not set, or the API server does not answer.
    pub async fn connect() -> anyhow::Result<Self> {
        let access = Arc::clone(&ACCESS).read_owned().await;
        Self::with(Access::Shared(access)).await
    }

    /// The same, but waits until no other test of this program uses the cluster, and keeps others
    /// out until the value is dropped: for tests that stop parts of the node.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn alone() -> anyhow::Result<Self> {
        let access = Arc::clone(&ACCESS).write_owned().await;
        Self::with(Access::Alone(access)).await
    }

    async fn with(access: Access) -> anyhow::Result<Self> {
        if std::env::var_os("KUBECONFIG").is_none() {
            bail!(
                "KUBECONFIG is not set: run `make test-cluster`, or set it to a cluster for tests \
                 together with IM_IMAGE and IM_OPERATOR_IMAGE"
            );
        }
        let client = Client::try_default().await.context("read KUBECONFIG")?;
        client
            .apiserver_version()
            .await
            .context("reach the API server")?;
        let node = std::env::var_os("IM_NODE_DIR").map(|dir| Control::new(Layout::new(dir.into())));
        Ok(Self {
            client,
            node,
            _access: Arc::new(access),
        })
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The parts of our own node; none on another cluster, where it says what is left out.
    #[allow(clippy::print_stderr, reason = "a note in the output of tests")]
    pub fn node(&self, what: &str) -> Option<&Control> {
        if self.node.is_none() {
            eprintln!("left out, since this is not the tests' own node: {what}");
        }
        self.node.as_ref()
    }

    /// A new namespace that enforces the restricted profile of Pod Security.
    ///
    /// # Errors
    /// It cannot be made, or its ServiceAccount does not appear.
    pub async fn namespace(&self, purpose: &str) -> anyhow::Result<TestNamespace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{purpose}-{}-{number}", std::process::id());
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }))?;
        let all = Api::<Namespace>::all(self.client());
        // An API server that has just come back refuses everything for some seconds.
        let is_early = |error: &kube::Error| {
            matches!(error, kube::Error::Api(status)
                if status.code == 403 && status.message.contains("not yet ready"))
        };
        let made = until("the API server admits a namespace", LATER, async || {
            let made = all.create(&PostParams::default(), &namespace).await;
            (!made.as_ref().is_err_and(is_early)).then_some(made)
        });
        made.await?
            .with_context(|| format!("make the namespace {name}"))?;
        let namespace = TestNamespace {
            name,
            cluster: self.clone(),
        };
        // Without it the API server refuses pods.
        let accounts = namespace.api::<ServiceAccount>();
        until("the ServiceAccount default appears", LATER, async || {
            accounts.get("default").await.ok()
        })
        .await?;
        Ok(namespace)
    }
}

/// The server image under test.
pub fn image() -> String {
    std::env::var("IM_IMAGE").unwrap_or_else(|_| IMAGE.to_owned())
}

/// The operator image under test.
pub fn operator_image() -> String {
    std::env::var("IM_OPERATOR_IMAGE").unwrap_or_else(|_| OPERATOR_IMAGE.to_owned())
}

/// The image with the tests' helper program.
pub fn guest_image() -> String {
    std::env::var("IM_GUEST_IMAGE").unwrap_or_else(|_| GUEST_IMAGE.to_owned())
}

/// Runs `kubectl` and returns what it printed.
///
/// # Errors
/// It fails; the error holds all that it printed.
pub fn kubectl(args: &[&str]) -> anyhow::Result<String> {
    check_output(Command::new("kubectl").args(args))
}

/// Runs `helm` and returns what it printed.
///
/// # Errors
/// It fails; the error holds all that it printed.
pub fn helm(args: &[&str]) -> anyhow::Result<String> {
    check_output(Command::new("helm").args(args))
}

/// A namespace of one test. It is removed when the test ends; when the test fails, its pods and
/// events are printed first.
pub struct TestNamespace {
    name: String,
    cluster: Cluster,
}

impl TestNamespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The objects of one kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    /// An `ImCluster` in it as JSON, over this connection: tests ask again and again, and a call of `kubectl`
    /// costs a tenth of a second of a processor.
    ///
    /// # Errors
    /// There is none of this name, or the API server does not answer within ten seconds.
    pub async fn imcluster(&self, name: &str) -> anyhow::Result<Value> {
        let kind = GroupVersionKind::gvk("imcluster.io", "v1alpha1", "ImCluster");
        let resource = ApiResource::from_gvk_with_plural(&kind, "imclusters");
        let all: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client(), &self.name, &resource);
        let asked = timeout(ANSWER, all.get(name)).await;
        let object = asked.with_context(|| format!("no answer within {ANSWER:?}"))?;
        let object = object.with_context(|| format!("get the ImCluster {name}"))?;
        Ok(serde_json::to_value(object)?)
    }

    /// Runs `kubectl` in it.
    ///
    /// # Errors
    /// It fails; the error holds all that it printed.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        check_output(self.command("kubectl").args(args))
    }

    /// Runs `kubectl` in it with this on its standard input.
    ///
    /// # Errors
    /// It fails; the error holds all that it printed.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = self
            .command("kubectl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that has failed already has closed its end; its message says why.
            drop(pipe.write_all(input.as_bytes()));
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", args.join(" "), text.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `kubectl` in it between two files, and returns what it said on standard error.
    ///
    /// # Errors
    /// It fails; the error holds all that it said.
    pub fn kubectl_between(
        &self,
        args: &[&str],
        input: impl Into<Stdio>,
        output: impl Into<Stdio>,
    ) -> anyhow::Result<String> {
        let mut command = self.command("kubectl");
        command.args(args).stdin(input).stdout(output);
        let child = command.stderr(Stdio::piped()).spawn()?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), text.trim());
        }
        Ok(text)
    }

    /// Runs `helm` in it.
    ///
    /// # Errors
    /// It fails; the error holds all that it printed.
    pub fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        check_output(self.command("helm").args(args))
    }

    /// Applies manifests (YAML or JSON).
    ///
    /// # Errors
    /// One of them is refused; the error holds the reason.
    pub fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifests)
            .map(drop)
    }

    /// Runs a program in a pod and returns what it printed.
    ///
    /// # Errors
    /// The program fails or cannot be run.
    pub fn exec(&self, pod: &str, program: &[&str]) -> anyhow::Result<String> {
        self.kubectl(&[&["exec", pod, "--"], program].concat())
    }

    /// Waits until a pod of this name is ready.
    ///
    /// # Errors
    /// It is not within [`LATER`].
    pub async fn ready(&self, pod: &str) -> anyhow::Result<Pod> {
        let pods = self.api::<Pod>();
        until(&format!("the pod {pod} is ready"), LATER, async || {
            pods.get(pod).await.ok().filter(is_ready)
        })
        .await
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["--namespace", &self.name]);
        command
    }
}

impl Drop for TestNamespace {
    #[allow(clippy::print_stderr, reason = "what a failed test leaves to look at")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in ["all,endpointslices,networkpolicies", "events"] {
                let text = self.kubectl(&["get", what, "-o", "wide", "--ignore-not-found"]);
                eprintln!("{}", text.unwrap_or_else(|error| format!("{error:#}")));
            }
        }
        let delete = [
            "delete",
            "namespace",
            &self.name,
            "--wait=false",
            "--ignore-not-found",
        ];
        if let Err(error) = kubectl(&delete) {
            eprintln!("{error:#}");
        }
    }
}

/// Whether a pod has the condition Ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    conditions
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Address of a pod, once it has one.
///
/// # Errors
/// It has none yet.
pub fn address(pod: &Pod) -> anyhow::Result<&str> {
    let ip = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref());
    ip.with_context(|| format!("the pod {} has no address", pod.name_any()))
}

/// A pod of the helper program that passes the restricted profile.
pub fn guest_pod(name: &str, labels: &Value, args: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "guest",
                "image": guest_image(),
                "imagePullPolicy": "IfNotPresent",
                "args": args,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
