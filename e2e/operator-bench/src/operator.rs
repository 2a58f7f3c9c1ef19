//! The operator: its metrics, and running it as a process of the node with the rights that its chart
//! grants.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use im_e2e::gauges;
use im_e2e_kube::testing::{TestNamespace, kubectl};
use im_e2e_kube::wait::{SOON, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::charts::{self, ACCOUNT};

/// Where the process shows its metrics; the node has a network of its own.
const ADMIN: &str = "127.0.0.1:19090";

/// What an operator has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// Looks at ImClusters.
    pub(crate) reconciles: f64,
    /// Those that failed.
    pub(crate) errors: f64,
    /// Writes other than renewals of its Lease.
    pub(crate) writes: f64,
    /// ImClusters that wait for a look.
    pub(crate) waiting: f64,
}

impl Counters {
    /// Reads them at an admin port.
    pub(crate) async fn read(admin: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self::of(&gauges::get(admin, "/metrics").await?))
    }

    fn of(text: &str) -> Self {
        let sum = |name: &str, part: &str| -> f64 {
            text.lines()
                .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(part))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .fold(0.0, |sum, value| sum + value)
        };
        let requests = |method: &str| {
            let label = format!("method=\"{method}\"");
            sum("rest_client_requests_total", &label)
        };
        Self {
            reconciles: sum("controller_runtime_reconcile_total", ""),
            errors: sum("controller_runtime_reconcile_errors_total", ""),
            // Only the Lease is written by PUT.
            writes: requests("POST") + requests("PATCH") + requests("DELETE"),
            waiting: sum("workqueue_depth", ""),
        }
    }
}

/// Waits until an operator has written nothing for a while and no ImCluster waits.
pub(crate) async fn settled(
    admin: SocketAddr,
    quiet: Duration,
    limit: Duration,
) -> anyhow::Result<Counters> {
    steady(admin, |counters| counters.writes, quiet, limit).await
}

/// Waits until an operator has looked at nothing for a while and no ImCluster waits.
pub(crate) async fn at_rest(
    admin: SocketAddr,
    quiet: Duration,
    limit: Duration,
) -> anyhow::Result<Counters> {
    steady(admin, |counters| counters.reconciles, quiet, limit).await
}

async fn steady(
    admin: SocketAddr,
    of: impl Fn(&Counters) -> f64,
    quiet: Duration,
    limit: Duration,
) -> anyhow::Result<Counters> {
    let mut last = (Instant::now(), f64::NAN);
    until("the operator has nothing to do", limit, async || {
        let now = Counters::read(admin).await.ok()?;
        if of(&now).to_bits() != last.1.to_bits() {
            last = (Instant::now(), of(&now));
        }
        (last.0.elapsed() >= quiet && now.waiting < 0.5).then_some(now)
    })
    .await
}

/// A process of the operator. Dropping it ends it at once.
#[derive(Debug)]
pub(crate) struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// Starts it for the ImClusters of a namespace.
    pub(crate) fn start(
        program: &Path,
        namespace: &TestNamespace,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let log = dir.join("operator.log");
        let out = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(["run", "--log-format", "human", "--admin-listen", ADMIN])
            .args(["--namespace", namespace.name()])
            .args(["--lease-namespace", namespace.name()])
            .args(["--lease-name", ACCOUNT])
            .args(["--image-repository", &charts::servers()?.0])
            .env("KUBECONFIG", dir.join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its admin port.
    pub(crate) fn admin() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 19_090))
    }

    /// Ends it in order: it gives its Lease back.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM)?;
        let child = &mut self.child;
        until("the operator's end", 2 * SOON, async || {
            child.try_wait().ok().flatten()
        })
        .await
        .map(drop)
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let skip = lines.len().saturating_sub(20);
        lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

/// Writes a kubeconfig with the rights of the chart's ServiceAccount, for [`Operator::start`].
pub(crate) fn write_kubeconfig(namespace: &str, dir: &Path) -> anyhow::Result<()> {
    let create = ["create", "token", ACCOUNT, "--duration=24h"];
    let token = kubectl(&[&["--namespace", namespace], &create[..]].concat())?;
    let ours = kubectl(&[
        "config",
        "view",
        "--raw",
        "--flatten",
        "--minify",
        "-o",
        "json",
    ])?;
    let config = as_account(&serde_json::from_str(&ours)?, token.trim(), namespace)?;
    std::fs::write(dir.join("kubeconfig"), config.to_string())?;
    Ok(())
}

/// The same cluster, with another user.
fn as_account(admin: &Value, token: &str, namespace: &str) -> anyhow::Result<Value> {
    let cluster = admin.pointer("/clusters/0");
    let cluster = cluster.context("the kubeconfig names no cluster")?;
    let name = cluster.get("name").context("a cluster with a name")?;
    let context = json!({"cluster": name, "user": ACCOUNT, "namespace": namespace});
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": ACCOUNT, "context": context}],
        "current-context": ACCOUNT,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_names() {
        let text = "# TYPE controller_runtime_reconcile counter\n\
            controller_runtime_reconcile_total{controller=\"imcluster\",result=\"success\"} 3\n\
            controller_runtime_reconcile_total{controller=\"imcluster\",result=\"error\"} 1\n\
            controller_runtime_reconcile_errors_total{controller=\"imcluster\"} 1\n\
            rest_client_requests_total{code=\"200\",method=\"GET\"} 50\n\
            rest_client_requests_total{code=\"200\",method=\"PUT\"} 9\n\
            rest_client_requests_total{code=\"201\",method=\"PATCH\"} 7\n\
            rest_client_requests_total{code=\"201\",method=\"POST\"} 2\n\
            workqueue_depth{name=\"imcluster\"} 5\n";
        let expected = Counters {
            reconciles: 4.0,
            errors: 1.0,
            writes: 9.0,
            waiting: 5.0,
        };
        assert_eq!(Counters::of(text), expected);
    }

    #[test]
    fn only_the_user_of_a_kubeconfig_changes() {
        let admin = json!({
            "clusters": [{"name": "test", "cluster": {"server": "https://198.18.0.1:6443"}}],
            "users": [{"name": "admin", "user": {"client-key-data": "a2V5"}}],
        });
        let config = as_account(&admin, "t0ken", "bench").unwrap();
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://198.18.0.1:6443"
        );
        assert_eq!(config["contexts"][0]["context"]["namespace"], "bench");
        assert!(!config.to_string().contains("a2V5"));
        assert!(as_account(&json!({}), "t0ken", "bench").is_err());
    }
}
