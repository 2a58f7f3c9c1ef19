//! Emptying msg pods before they go, and spreading clients anew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Annotation of a msg pod: it is to be emptied, and goes then. The value says why, for people.
pub const DRAIN_ANNOTATION: &str = "imcluster.io/drain";
/// Annotation of an ImCluster: clients are to be spread anew now, which is a time, RFC 3339. It counts for
/// ten minutes from then.
pub const REBALANCE_ANNOTATION: &str = "imcluster.io/rebalance";
/// Annotation of a msg pod: what the operator asks its server for, in the words of `msg.orders_file`.
pub const ORDERS_ANNOTATION: &str = "imcluster.io/orders";

/// How a msg pod that goes lets its clients go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// All connections are closed within this time, at a bounded rate. A pod has a minute more.
    #[schemars(range(min = 10, max = 3540))]
    pub max_seconds: i32,
    /// Sessions per second that pods which are emptied let go, all together.
    #[schemars(range(min = 1, max = 100_000))]
    pub cluster_rate_per_second: i32,
    /// Nodes whose pods are emptied, where the operator may read nodes.
    pub on_nodes: OnNodes,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            max_seconds: 540,
            cluster_rate_per_second: 500,
            on_nodes: OnNodes::default(),
        }
    }
}

/// Nodes whose msg pods are emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OnNodes {
    /// Those that take no new pods (`kubectl cordon`).
    pub unschedulable: bool,
    /// Those with a taint of one of these keys.
    #[schemars(schema_with = "schema::taints")]
    pub taints: Vec<String>,
}

impl Default for OnNodes {
    fn default() -> Self {
        Self {
            unschedulable: true,
            taints: ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"]
                .map(str::to_owned)
                .into(),
        }
    }
}

/// When clients are spread anew over msg pods, as after growth. Pods with more clients than both thresholds
/// let go what is beyond the mean, the idlest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rebalance {
    /// Connections beyond which a pod has too many, percent of the mean.
    #[schemars(range(min = 105, max = 1000))]
    pub rel_threshold_percent: i32,
    /// Connections beyond the mean below which a pod has not too many. One round that was asked for by
    /// annotation does not look at it.
    #[schemars(range(min = 0, max = 2_000_000))]
    pub abs_threshold: i32,
    /// Sessions per second that pods let go, all together.
    #[schemars(range(min = 1, max = 100_000))]
    pub rate_per_second: i32,
    /// When: `Never` by itself, `Always`, or every day between two times, UTC, such as `02:00-05:00`.
    #[schemars(
        length(max = 11),
        regex(
            pattern = r"^(Never|Always|([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])$"
        )
    )]
    pub window: String,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            rel_threshold_percent: 110,
            abs_threshold: 1_000,
            rate_per_second: 100,
            window: "Never".to_owned(),
        }
    }
}
