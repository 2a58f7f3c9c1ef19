//! Internal gRPC services: what the roles say to each other.
//!
//! Every hop between roles is one long-lived bidirectional stream whose items are *batches*
//! (`DbCalls`, `RouteCalls`, …); a batch is what gathered while the last one was in flight. Client
//! bodies travel as opaque TeamTalk protobuf bytes, so a role that only relays never decodes them.

/// Messages and services of package `im.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("im.v1");
}
