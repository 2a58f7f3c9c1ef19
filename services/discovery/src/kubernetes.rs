//! The pods of a Service, as the EndpointSlices in the namespace of this process list them.
//!
//! A pod is listed from the moment it has an address, ready or not: a route or login server becomes
//! ready only when those that dial it have done so, and a link tells better than a probe whether its
//! other end works. A pod that is going away is not dialed anew, but one that was listed stays until
//! it is gone, so that it ends its links itself and loses nothing.
//!
//! While the API server does not answer the last list stays. So it does when the Service has no slice
//! at all: then somebody has deleted the Service, not its pods. A Service without pods has a slice
//! that is empty, and that empties the list.

mod merge;
mod slices;

use std::time::Duration;

use futures::StreamExt;
use im_core::{Backoff, Chain};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use crate::{Discover, Endpoint};
use slices::Slices;

/// Label by which slices name their Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A watch ends after this many seconds and begins anew where it was: a connection that died without
/// a word is noticed then.
const WATCH_SECONDS: u32 = 60;

/// Longest wait for a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence of the API server; longer than an idle watch.
const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Access to the API server by the ServiceAccount of this pod.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
}

/// Why the API server cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// There is no ServiceAccount, or only a part of one.
    #[error("find the ServiceAccount of this pod; a process outside of Kubernetes lists addresses")]
    Account(#[source] kube::config::InClusterError),
    /// The certificate or the token cannot be used.
    #[error("prepare the connection to the API server")]
    Client(#[source] kube::Error),
}

impl Kubernetes {
    /// Reads the ServiceAccount mount. Must be called within a runtime; nothing is connected yet.
    ///
    /// # Errors
    /// The mount is missing, or what is in it cannot be used.
    pub fn in_cluster() -> Result<Self, KubernetesError> {
        let mut config = Config::incluster().map_err(KubernetesError::Account)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        Self::of(config)
    }

    fn of(config: Config) -> Result<Self, KubernetesError> {
        // Another part of the process may have chosen one before; then that one serves.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = Client::try_from(config).map_err(KubernetesError::Client)?;
        Ok(Self { client })
    }

    /// The pods behind a named port of a Service in the pod's own namespace; none before the API
    /// server has answered.
    pub fn service(&self, service: &str, port: &str) -> ServiceEndpoints {
        let (sender, endpoints) = watch::channel(Vec::new());
        let follower = Follower {
            api: Api::default_namespaced(self.client.clone()),
            service: service.to_owned(),
            port: port.to_owned(),
            sender,
        };
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(follower.run()));
        ServiceEndpoints {
            endpoints,
            _following: stop.drop_guard(),
        }
    }
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").finish_non_exhaustive()
    }
}

/// The list of one Service; it is followed as long as this lives.
#[derive(Debug)]
pub struct ServiceEndpoints {
    endpoints: watch::Receiver<Vec<Endpoint>>,
    _following: DropGuard,
}

impl Discover for ServiceEndpoints {
    fn watch(&self) -> watch::Receiver<Vec<Endpoint>> {
        self.endpoints.clone()
    }
}

struct Follower {
    api: Api<EndpointSlice>,
    service: String,
    port: String,
    sender: watch::Sender<Vec<Endpoint>>,
}

impl Follower {
    async fn run(self) {
        let config = watcher::Config::default()
            .labels(&format!("{SERVICE_LABEL}={}", self.service))
            .timeout(WATCH_SECONDS);
        let mut events = std::pin::pin!(watcher(self.api.clone(), config));
        let mut slices = Slices::new(&self.port);
        let mut trouble = Trouble::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // `Init` only says that the server is about to be asked.
                    if !matches!(event, watcher::Event::Init) {
                        trouble.is_over(&self.service);
                    }
                    if let Some(endpoints) = slices.take(event) {
                        self.publish(endpoints);
                    }
                }
                Err(error) => trouble.wait(&error, &self.service).await,
            }
        }
    }

    fn publish(&self, endpoints: Vec<Endpoint>) {
        self.sender.send_if_modified(|known| {
            if *known == endpoints {
                return false;
            }
            info!(service = self.service, ?endpoints, "endpoints have changed");
            *known = endpoints;
            true
        });
    }
}

/// Waits between attempts to reach the API server.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(8));

/// Failures in a row.
struct Trouble {
    backoff: Backoff,
    is_told: bool,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            backoff: BACKOFF,
            is_told: false,
        }
    }
}

impl Trouble {
    async fn wait(&mut self, error: &watcher::Error, service: &str) {
        if is_routine(error) {
            debug!(service, error = %Chain(&error), "list the endpoints anew");
        } else if !std::mem::replace(&mut self.is_told, true) {
            warn!(service, error = %Chain(&error), "the API server does not answer, the last endpoints stay");
        } else {
            debug!(service, error = %Chain(&error), "the API server still does not answer");
        }
        // The servers of a large cluster do not come back in step.
        let part = rand::random_range(0.5..=1.0);
        tokio::time::sleep(self.backoff.step().mul_f64(part)).await;
    }

    fn is_over(&mut self, service: &str) {
        self.backoff = BACKOFF;
        if std::mem::take(&mut self.is_told) {
            info!(service, "the API server answers again");
        }
    }
}

/// The place where the watch stood is too old to go on from.
fn is_routine(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

#[cfg(test)]
mod tests;
