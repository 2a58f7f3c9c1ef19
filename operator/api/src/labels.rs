//! Labels, annotations and names of fields that the operator, the charts and the tests share.

/// API group of our resources.
pub const GROUP: &str = "imcluster.io";

/// Label: name of the application; the value is [`APP`].
pub const NAME: &str = "app.kubernetes.io/name";
/// Label: name of the ImCluster.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: name of the ImCluster, on what may outlive it. Tools that apply manifests take the label
/// `app.kubernetes.io/instance` for a sign of their own, and delete what has it and no owner.
pub const CLUSTER: &str = "imcluster.io/cluster";
/// Label: role of the object, such as `msg`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label: who writes the object; the value is [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`NAME`].
pub const APP: &str = "im";
/// Value of [`MANAGED_BY`], and the field manager of server-side apply.
pub const MANAGER: &str = "imcluster-operator";
/// Field manager of status writes.
pub const STATUS_MANAGER: &str = "imcluster-operator-status";

/// Label: hash of the inputs of a pod template.
pub const REVISION: &str = "imcluster.io/revision";
/// Label: number of the slot whose address leads to a pod, or which a Service is.
pub const SLOT: &str = "imcluster.io/slot";

/// Annotation of a pod: `host:port` that its clients are told.
pub const EXTERNAL_ENDPOINT: &str = "imcluster.io/external-endpoint";
/// Annotation of a slot's Service: when the slot was last used, RFC 3339; absent while it is.
pub const UNUSED_SINCE: &str = "imcluster.io/unused-since";
/// Annotation of a pod: when it was decided that it goes, RFC 3339.
pub const DRAINING: &str = "imcluster.io/draining";
/// Annotation of a pod: why it goes.
pub const DRAIN_REASON: &str = "imcluster.io/drain-reason";
/// Annotation of a pod that Kubernetes reads: the pod with the lowest cost is deleted first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Annotation of a Secret: how far the way to another value is, `Accept` or `Present`.
pub const ROTATION_STEP: &str = "imcluster.io/rotation-step";
/// Annotation of a Secret: since when it is there, RFC 3339.
pub const ROTATION_SINCE: &str = "imcluster.io/rotation-since";
/// Annotation of an ImCluster: `"true"` pauses it as `operation.paused` does.
pub const PAUSED: &str = "imcluster.io/paused";
/// Annotation of a workload: hash of what its pod template was made from.
pub const INPUTS_HASH: &str = "imcluster.io/inputs-hash";
/// Annotation of the definition: hash of its schema.
pub const SCHEMA_HASH: &str = "imcluster.io/schema-hash";
/// Annotation of a mirror EndpointSlice: public addresses and load by pod.
pub const LOAD: &str = "imcluster.io/load";
