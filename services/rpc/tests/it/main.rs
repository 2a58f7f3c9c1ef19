//! Links over gRPC and inside one process, as roles see them.

mod contract;
mod peers;
mod serve;
mod world;
