//! Links over gRPC and inside one process, as roles see them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "functions of tests; the exemption of clippy.toml covers only those marked as tests"
)]

mod batches;
mod contract;
mod partition;
mod peers;
mod rotation;
mod serve;
mod strangers;
mod world;
