//! What all reconciliations share, and what is remembered of each cluster between two of them.
//!
//! Nothing that is remembered is needed: a new process finds out again, at the price of some
//! reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_operator_api::{DeletionPolicy, ImClusterStatus, condition};
use im_operator_plan::mirror::Steps;
use im_operator_plan::{Reference, Role, Settings};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use tokio::time::Instant;

use crate::apply::{Verified, Wanted};
use crate::backoff::Backoff;
use crate::cache::{Cache, ClusterKey};
use crate::claims::{Claim, Claims};
use crate::expectations::Expectations;
use crate::load::Loads;
use crate::metrics::{ClusterLabels, Metrics};
use crate::nodes::Nodes;
use crate::recorder::EventRecorder;
use crate::secret::Text;
use crate::status::{Missing, Volume};
use crate::work_queue::WorkQueue;

/// What all reconciliations share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) cache: Cache,
    pub(crate) work_queue: WorkQueue,
    pub(crate) loads: Loads,
    pub(crate) recorder: EventRecorder,
    pub(crate) metrics: Metrics,
    pub(crate) nodes: Nodes,
    pub(crate) backoff: Backoff,
    /// Every cluster is looked at this often at least.
    pub(crate) resync: Duration,
    /// Least time between two writes of a status between which no condition turned.
    pub(crate) status_rest: Duration,
    pub(crate) memories: Memories,
    pub(crate) claims: Claims,
}

/// What is remembered of each cluster.
#[derive(Debug, Default)]
pub(crate) struct Memories(Mutex<HashMap<ClusterKey, Arc<tokio::sync::Mutex<Memory>>>>);

/// What is remembered of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// UID of the ImCluster: another one of the same name starts anew.
    pub(crate) uid: String,
    /// Whose the namespace was when the last look was refused, if it was.
    pub(crate) idle: Option<Claim>,
    pub(crate) verified: Verified,
    /// Stored revisions as JSON, by UID of their ControllerRevision.
    pub(crate) revisions: HashMap<String, Vec<u8>>,
    /// The installation's secret and the administrators'.
    pub(crate) secrets: [Option<Text>; 3],
    /// When they were made as they should be, and under which policy.
    pub(crate) secrets_checked: Option<(Instant, DeletionPolicy)>,
    pub(crate) expectations: Expectations,
    /// The last written status, and the resourceVersion of what was read before it.
    pub(crate) status: Option<ImClusterStatus>,
    /// When it was written.
    pub(crate) status_written: Option<Instant>,
    pub(crate) mirror: Option<Shown>,
    /// What was last seen of the claim of each role that has a volume.
    pub(crate) volumes: BTreeMap<Role, ClaimMemory>,
    /// What was last seen of the objects of others that pods mount.
    pub(crate) references: ReferencesMemory,
    /// Since when every look met something that could not be written.
    pub(crate) unwritten_since: Option<Instant>,
    pub(crate) told: LastReported,
}

/// What was last seen of the claim of a role's volume.
#[derive(Debug, Default)]
pub(crate) struct ClaimMemory {
    pub(crate) volume: Volume,
    /// The claim, if it had no volume.
    pub(crate) unbound: Option<Box<PersistentVolumeClaim>>,
    /// The size that was wanted then.
    pub(crate) wanted: String,
    pub(crate) looked: Option<Instant>,
}

/// What was last seen of the objects of others that pods mount.
#[derive(Debug, Default)]
pub(crate) struct ReferencesMemory {
    pub(crate) of: Vec<Reference>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) looked: Option<Instant>,
}

/// The mirror as it is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// When it last changed.
    pub(crate) changed: Instant,
    pub(crate) objects: Vec<Wanted>,
    pub(crate) steps: Steps,
}

/// What was told in events and counters, so that it is told once.
#[derive(Debug, Default)]
pub(crate) struct LastReported {
    pub(crate) invalid: String,
    pub(crate) stalled: String,
    /// Why volumes are too small, by the name of the claim.
    pub(crate) volumes: BTreeMap<String, String>,
    pub(crate) old_keys: String,
    pub(crate) paused: bool,
    pub(crate) failing: BTreeSet<String>,
    pub(crate) drains: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<i32>,
    /// Role, revision and start of rolls that are running.
    pub(crate) rolls: HashMap<&'static str, (String, Instant)>,
    pub(crate) late: BTreeSet<&'static str>,
    /// When it was last said that an autoscaler sets what the planner sets.
    pub(crate) scaled: Option<Instant>,
}

impl LastReported {
    /// What the process that wrote a status has told, as far as the status shows.
    pub(crate) fn of_status(status: &ImClusterStatus) -> Self {
        let find = |kind: &str| status.conditions.iter().find(|it| it.type_ == kind);
        let message = |kind: &str, reason: &str| {
            find(kind)
                .filter(|it| reason.is_empty() || it.reason == reason)
                .map(|it| it.message.clone())
                .unwrap_or_default()
        };
        Self {
            invalid: message(condition::SPEC_VALID, "InvalidSpec"),
            stalled: message(condition::STALLED, ""),
            volumes: volumes_told(&message(condition::VOLUME_TOO_SMALL, "")),
            old_keys: message(condition::SPEC_VALID, "OldKeys"),
            paused: find(condition::PAUSED).is_some_and(|it| it.status == "True"),
            ..Self::default()
        }
    }
}

/// Why volumes are too small, by the name of the claim with which each reason begins.
fn volumes_told(message: &str) -> BTreeMap<String, String> {
    let told = message.split("; ").filter_map(|told| {
        let claim = told.split_whitespace().nth(1)?;
        Some((claim.to_owned(), told.to_owned()))
    });
    told.collect()
}

impl Memories {
    /// The memory of a cluster. Held for a whole reconciliation.
    pub(crate) fn of(&self, cluster: &ClusterKey) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(cluster.clone()).or_default())
    }

    /// Forgets all of them: another process may have written since.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn forget(&self, cluster: &ClusterKey) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(cluster);
    }
}

impl Context {
    /// Forgets a cluster that is gone: its series, its reader of load, its memory.
    pub(crate) fn forget(&self, cluster: &ClusterKey) {
        self.memories.forget(cluster);
        self.loads.forget(cluster);
        self.nodes.forget(cluster);
        self.claims.forget(cluster);
        self.backoff.reset(cluster);
        self.metrics.forget(&labels(cluster));
    }
}

/// The labels of a cluster's series.
pub(crate) fn labels(cluster: &ClusterKey) -> ClusterLabels {
    ClusterLabels {
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
    }
}
