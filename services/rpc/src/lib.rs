//! Links between roles: typed pairs of bounded channels over gRPC streams or inside one process.

pub mod link;

pub use link::{Accept, Dial, DialError, Link};
