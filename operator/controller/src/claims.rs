//! Which operator looks after a namespace: a Lease in it, held by an installation of the operator.
//!
//! The replicas of one installation choose their leader by a Lease of their own; to this one they are
//! one holder, so that another leader goes on at once. Two installations that watch the same namespace
//! would undo each other's work for ever where their builds differ: the second one stays idle there,
//! says so, and takes over when the first one has not renewed for the Lease's duration.
//!
//! A namespace is claimed when its first ImCluster is seen, and renewed while it has one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_core::Chain;
use im_runtime::Readiness;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::cache::ClusterKey;
use crate::lease::{LeaderElection, Observed, Timing, Tried, Turn};
use crate::work_queue::WorkQueue;

/// Name of the Lease in every namespace that has ImClusters.
pub(crate) const LEASE: &str = "imcluster-operator";

/// Whose a namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This installation looks after it.
    Ours,
    /// The API server has not answered yet. A look is asked for when it has.
    Asking,
    /// Another installation does, of this name.
    Others(String),
}

/// How namespaces are claimed.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) client: Client,
    /// Namespace and name of the installation.
    pub(crate) installation: String,
    pub(crate) timing: Timing,
    pub(crate) work_queue: WorkQueue,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: TaskTracker,
    /// Ends with the process.
    pub(crate) stop: CancellationToken,
}

/// The claims of this process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Claims(Option<Arc<Shared>>);

struct Shared {
    settings: Settings,
    spaces: Mutex<HashMap<String, Space>>,
    /// What readiness says.
    shown: Mutex<BTreeSet<String>>,
}

struct Space {
    claim: Claim,
    clusters: HashSet<ClusterKey>,
    stop: CancellationToken,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims")
    }
}

impl Claims {
    /// Claims namespaces as they are asked for. [`Claims::default`] takes every namespace for its own.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Some(Arc::new(Shared {
            settings,
            spaces: Mutex::default(),
            shown: Mutex::default(),
        })))
    }

    /// What this installation is called in Leases.
    pub(crate) fn installation(&self) -> &str {
        self.0
            .as_ref()
            .map_or("", |shared| &shared.settings.installation)
    }

    /// Whose the namespace of a cluster is. Another answer asks for a look at the cluster.
    pub(crate) fn of(&self, cluster: &ClusterKey) -> Claim {
        let Some(shared) = &self.0 else {
            return Claim::Ours;
        };
        let mut spaces = shared.spaces();
        let space = spaces.entry(cluster.namespace.clone()).or_insert_with(|| {
            let stop = shared.settings.stop.child_token();
            let namespace = cluster.namespace.clone();
            let hold = hold(Arc::clone(shared), namespace);
            let hold = stop.clone().run_until_cancelled_owned(hold);
            shared.settings.tasks.spawn(hold);
            Space {
                claim: Claim::Asking,
                clusters: HashSet::new(),
                stop,
            }
        });
        space.clusters.insert(cluster.clone());
        space.claim.clone()
    }

    /// Forgets a cluster that is gone; a namespace without any is not renewed any more.
    pub(crate) fn forget(&self, cluster: &ClusterKey) {
        let Some(shared) = &self.0 else { return };
        let mut spaces = shared.spaces();
        let Some(space) = spaces.get_mut(&cluster.namespace) else {
            return;
        };
        space.clusters.remove(cluster);
        if space.clusters.is_empty()
            && let Some(space) = spaces.remove(&cluster.namespace)
        {
            space.stop.cancel();
            shared.show(&spaces);
        }
    }

    /// Stops renewing: another replica of this installation goes on, as the same holder.
    pub(crate) fn end(&self) {
        let Some(shared) = &self.0 else { return };
        let mut spaces = shared.spaces();
        spaces.drain().for_each(|(_, space)| space.stop.cancel());
        shared.show(&spaces);
    }
}

impl Shared {
    fn spaces(&self) -> MutexGuard<'_, HashMap<String, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whose a namespace is, and asks for a look at its clusters when that is news.
    fn note(&self, namespace: &str, claim: Claim) {
        let mut spaces = self.spaces();
        let Some(space) = spaces.get_mut(namespace) else {
            return;
        };
        if space.claim == claim {
            return;
        }
        match &claim {
            Claim::Ours => info!(namespace, "looking after this namespace"),
            Claim::Asking => warn!(namespace, "this namespace may be another operator's now"),
            Claim::Others(operator) => warn!(
                namespace,
                operator, "idle here: another operator looks after this namespace"
            ),
        }
        space.claim = claim;
        let clusters = space.clusters.iter().cloned();
        clusters.for_each(|cluster| self.settings.work_queue.add(cluster));
        self.show(&spaces);
    }

    /// An operator that has nothing but namespaces of others is not ready, and says whose they are.
    fn show(&self, spaces: &HashMap<String, Space>) {
        let texts = spaces.iter().map(|(namespace, space)| match &space.claim {
            Claim::Others(operator) => Some(format!(
                "namespace {namespace}: operator {operator} looks after it"
            )),
            Claim::Ours | Claim::Asking => None,
        });
        let texts: BTreeSet<String> = texts.collect::<Option<_>>().unwrap_or_default();
        let readiness = &self.settings.readiness;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown
            .difference(&texts)
            .for_each(|text| readiness.remove(text));
        for text in &texts {
            readiness.set(text, false);
        }
        *shown = texts;
    }
}

/// Claims a namespace and keeps it, for ever.
async fn hold(shared: Arc<Shared>, namespace: String) {
    let settings = &shared.settings;
    let seat = LeaderElection::new(
        settings.client.clone(),
        &namespace,
        LEASE,
        &settings.installation,
        settings.timing,
        Turn::default(),
    );
    let mut observed = Observed::now();
    let mut told = false;
    loop {
        match seat.try_acquire(&mut observed).await {
            Ok(Tried::Held(mut held)) => {
                shared.note(&namespace, Claim::Ours);
                seat.keep(&mut held).await;
                shared.note(&namespace, Claim::Asking);
                observed = Observed::now();
            }
            Ok(Tried::Waits(Some(operator))) => {
                shared.note(&namespace, Claim::Others(operator));
            }
            Ok(Tried::Waits(None)) => {}
            Err(error) if is_refused(&error) => {
                if !told {
                    warn!(namespace, error = %Chain(&error), "this operator may not claim the namespace, and works \
                        without: give it the rules that `im-operator rules` prints");
                }
                told = true;
                shared.note(&namespace, Claim::Ours);
            }
            Err(error) => {
                warn!(namespace, error = %Chain(&error), "the namespace cannot be claimed");
            }
        }
        seat.pause().await;
    }
}

/// Whether the right to claim is missing, as where roles were made for an earlier operator.
fn is_refused(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            status.is_forbidden() && !status.message.contains("being terminated")
        }
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
