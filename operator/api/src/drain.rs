//! Annotations by which people ask for moves of clients.

/// Annotation of a msg pod: why its clients are to be moved to other pods. Taken away, the drain is taken back.
pub const DRAIN_ANNOTATION: &str = "imcluster.io/drain";

/// Annotation of an ImCluster: since when one round of rebalancing is asked for, RFC 3339.
pub const REBALANCE_ANNOTATION: &str = "imcluster.io/rebalance";
