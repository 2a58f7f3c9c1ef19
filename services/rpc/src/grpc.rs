//! Links over gRPC: one bidirectional stream each, on a connection of its own.
//!
//! The generated services and clients stay in here. `couple` holds what is the same for all of
//! them; a service or a dialer adds its path and its message types.

mod couple;
mod dial;
mod service;

pub use dial::{GrpcConnect, GrpcDialer, channel};
pub use service::{Bounds, DbProxyService, LoginService, RouteService};

use im_proto_rpc::v1::{
    DbCalls, DbResults, LoadReport, LoadSeen, PublishBatch, PublishReplies, RouteCalls, RouteItems,
};

use crate::batch::Batch;
use crate::metrics::LinkKind;

/// A bidirectional streaming method that carries links.
pub trait Method: Send + Sync + 'static {
    /// What the client sends.
    type Call: Batch + Default + Send + Sync + Unpin + 'static;
    /// What the server sends.
    type Item: Batch + Default + Send + Sync + Unpin + 'static;
    /// Path of the method.
    const PATH: &'static str;
    /// Kind of its links.
    const KIND: LinkKind;
}

macro_rules! method {
    ($(#[$doc:meta])* $name:ident, $call:ty => $item:ty, $path:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Method for $name {
            type Call = $call;
            type Item = $item;
            const PATH: &'static str = $path;
            const KIND: LinkKind = LinkKind::$name;
        }
    };
}

method! {
    /// msg to db-proxy.
    DbProxyAttach, DbCalls => DbResults, "/im.v1.DbProxy/Attach"
}
method! {
    /// msg to route.
    RouteAttach, RouteCalls => RouteItems, "/im.v1.Route/Attach"
}
method! {
    /// db-proxy to route.
    RoutePublish, PublishBatch => PublishReplies, "/im.v1.Route/Publish"
}
method! {
    /// msg to login.
    LoginReport, LoadReport => LoadSeen, "/im.v1.Login/Report"
}

/// HTTP/2 window of one stream: several large batches, so that a fast link never stalls on it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// HTTP/2 window of a connection: four streams at full speed.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Windows and keep-alive of a server connection.
pub(crate) fn server(config: &im_config::LinkConfig) -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(config.keepalive.duration()))
        .http2_keepalive_timeout(Some(config.keepalive_timeout.duration()))
}
