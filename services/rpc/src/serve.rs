//! The internal port of a role: binds, admits holders of the secret, serves, and stops in time.

mod socket;
mod standing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_config::LinkConfig;
use im_proto_rpc::v1::db_proxy_server::DbProxyServer;
use im_proto_rpc::v1::login_server::LoginServer;
use im_proto_rpc::v1::route_server::RouteServer;
use im_proto_rpc::v1::{
    DbCalls, DbResults, LoadReport, LoadSeen, PublishBatch, PublishReplies, RouteCalls, RouteItems,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Routes, RoutesBuilder};

use crate::grpc::{self, Bounds, DbProxyService, LoginService, RouteService};
use crate::link::Accept;
use crate::metrics::LinkMetrics;
use crate::secret::Guard;
use socket::Incoming;

pub(crate) use standing::Caller;

/// Time for connections to end after they were cut.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("listen on {address}")]
    Listen {
        /// The address as configured.
        address: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("serve {address}")]
    Serve {
        /// The address that was served.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Gathers the services of one internal port.
#[derive(Debug)]
pub struct GrpcServer {
    config: LinkConfig,
    guard: Guard,
    routes: RoutesBuilder,
}

impl GrpcServer {
    /// A port whose every service asks `guard` first.
    pub fn new(config: &LinkConfig, guard: Guard) -> Self {
        Self {
            config: config.clone(),
            guard,
            routes: Routes::builder(),
        }
    }

    /// Serves `im.v1.DbProxy`.
    #[must_use]
    pub fn db_proxy(self, attach: Arc<dyn Accept<DbResults, DbCalls>>) -> Self {
        let metrics = self.guard.metrics().clone();
        let service = DbProxyService::new(attach, Bounds::from(&self.config), metrics);
        let limit = self.config.max_batch.as_usize();
        self.service(
            DbProxyServer::new(service)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
    }

    /// Serves `im.v1.Route`.
    #[must_use]
    pub fn route(
        self,
        attach: Arc<dyn Accept<RouteItems, RouteCalls>>,
        publish: Arc<dyn Accept<PublishReplies, PublishBatch>>,
    ) -> Self {
        let metrics = self.guard.metrics().clone();
        let service = RouteService::new(attach, publish, Bounds::from(&self.config), metrics);
        let limit = self.config.max_batch.as_usize();
        self.service(
            RouteServer::new(service)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
    }

    /// Serves `im.v1.Login`.
    #[must_use]
    pub fn login(self, report: Arc<dyn Accept<LoadSeen, LoadReport>>) -> Self {
        let metrics = self.guard.metrics().clone();
        let service = LoginService::new(report, Bounds::from(&self.config), metrics);
        let limit = self.config.max_batch.as_usize();
        self.service(
            LoginServer::new(service)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
    }

    /// Serves another generated service.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<
                http::Request<Body>,
                Response = http::Response<Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes
            .add_service(InterceptedService::new(service, self.guard.clone()));
        self
    }

    /// Binds `host:port`; port 0 lets the kernel choose.
    pub async fn bind(self, address: &str) -> Result<BoundGrpc, ServeError> {
        let failed = |source| ServeError::Listen {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        Ok(BoundGrpc {
            config: self.config,
            metrics: self.guard.metrics().clone(),
            routes: self.routes.routes(),
            listener,
            local,
        })
    }
}

/// A port that is bound but not served yet; callers wait in its backlog.
#[derive(Debug)]
pub struct BoundGrpc {
    config: LinkConfig,
    metrics: LinkMetrics,
    routes: Routes,
    listener: TcpListener,
    local: SocketAddr,
}

impl BoundGrpc {
    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `shutdown` fires and all calls have ended, at most `grace` later: then what is
    /// left is cut.
    ///
    /// Links end when their owners drop them; the owner that wants to stop does so after its last
    /// results.
    pub async fn run(self, shutdown: CancellationToken, grace: Duration) -> Result<(), ServeError> {
        let cut = CancellationToken::new();
        let incoming = Incoming::new(self.listener, &self.config, self.metrics, cut.clone());
        let serving = grpc::server(&self.config)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming.stream(), shutdown.clone().cancelled_owned());
        let mut serving = std::pin::pin!(serving);
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        let served = tokio::select! {
            served = &mut serving => served,
            () = late => {
                cut.cancel();
                tokio::time::timeout(AFTER_CUT, serving).await.unwrap_or(Ok(()))
            }
        };
        served.map_err(|source| ServeError::Serve {
            address: self.local,
            source,
        })
    }
}
