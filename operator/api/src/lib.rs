//! Types of the `ImCluster` resource.
#![forbid(unsafe_code)]
