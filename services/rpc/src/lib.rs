//! Links between roles: typed pairs of bounded channels over gRPC streams or inside one process.
//!
//! A role sees [`Link`]s and [`Peers`] only. [`grpc`] couples links to tonic streams, [`local`]
//! joins roles in one process, [`batch`] keeps batches within what a link carries, [`serve`] opens the listeners, [`secret`] guards them, and [`ring`]
//! spreads users over the live route servers.
//!
//! *Invariant*: everything between two ends is bounded, and a slow reader slows its writer.
#![forbid(unsafe_code)]

pub mod batch;
pub mod grpc;
pub mod link;
pub mod local;
pub mod metrics;
pub mod peers;
pub mod ring;
pub mod secret;
pub mod serve;

pub use grpc::{
    DbProxyAttach, FileAttach, FollowerAttach, LinkKind, LoginReport, MonitorReport, RouteAttach,
    RoutePresence, RoutePublish,
};
pub use link::{Accept, Dial, DialError, Link};
pub use metrics::LinkMetrics;
pub use peers::{Connect, PeerEvent, Peers};
pub use ring::Ring;
pub use secret::{Credential, Guard, Secret};
