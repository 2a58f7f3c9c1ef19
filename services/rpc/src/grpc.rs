//! Links over gRPC: one bidirectional stream each, on a connection of its own.
//!
//! A kind of link is a row of the table of roles and the types of its batches; service and dialer are the
//! same for all of them.

mod couple;
mod dial;
mod service;

pub use dial::{GrpcConnect, GrpcDialer, channel, lazy_channel};
pub(crate) use service::LinkService;

use im_proto_rpc::v1::{
    DbCalls, DbResults, FileCalls, FileItems, FollowCalls, FollowItems, LoadReport, LoadSeen,
    MonitorAsks, MonitorCalls, PresenceAnswers, PresenceAsks, PublishBatch, PublishReplies,
    RouteCalls, RouteItems,
};
use im_role::{Link, links};

use crate::batch::Batch;

/// A kind of link: who opens it to whom, and what they say on it.
pub trait LinkKind: Send + Sync + 'static {
    /// What the caller sends.
    type Call: Batch + Default + Send + Sync + Unpin + 'static;
    /// What the server sends.
    type Item: Batch + Default + Send + Sync + Unpin + 'static;
    /// Its row in the table of roles.
    const LINK: Link;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $link:ident: $call:ty => $item:ty;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl LinkKind for $name {
            type Call = $call;
            type Item = $item;
            const LINK: Link = links::$link;
        }
    )+};
}

kinds! {
    /// msg to db-proxy.
    DbProxyAttach = DB_PROXY_ATTACH: DbCalls => DbResults;
    /// msg to route.
    RouteAttach = ROUTE_ATTACH: RouteCalls => RouteItems;
    /// db-proxy to route.
    RoutePublish = ROUTE_PUBLISH: PublishBatch => PublishReplies;
    /// msg to login.
    LoginReport = LOGIN_REPORT: LoadReport => LoadSeen;
    /// msg to file.
    FileAttach = FILE_ATTACH: FileCalls => FileItems;
    /// push to db-proxy.
    FollowerAttach = FOLLOWER_ATTACH: FollowCalls => FollowItems;
    /// push to route.
    RoutePresence = ROUTE_PRESENCE: PresenceAsks => PresenceAnswers;
    /// Every role to http-api.
    MonitorReport = MONITOR_REPORT: MonitorCalls => MonitorAsks;
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
