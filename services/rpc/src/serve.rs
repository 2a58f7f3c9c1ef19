//! The internal port of a role: binds, admits holders of the secret, serves, and stops in time.

mod gate;
mod socket;
mod standing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_config::LinkConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use crate::grpc::{self, LinkKind, LinkService};
use crate::link::Accept;
use crate::metrics::LinkMetrics;
use crate::secret::Guard;
use socket::Incoming;

pub use gate::Gate;
pub(crate) use standing::Caller;

/// Time for connections to end after they were cut.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener has no address.
    #[error("read the address of a listener")]
    Address {
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
    routes: Routes,
}

impl GrpcServer {
    /// A port whose every service asks `guard` first.
    pub fn new(config: &LinkConfig, guard: Guard) -> Self {
        Self {
            config: config.clone(),
            guard,
            routes: Routes::default(),
        }
    }

    /// Serves one kind of links.
    #[must_use]
    pub fn link<K: LinkKind>(mut self, accept: Arc<dyn Accept<K::Item, K::Call>>) -> Self {
        let metrics = self.guard.metrics().clone();
        let service = LinkService::<K>::new(accept, &self.config, metrics);
        let service = InterceptedService::new(service, self.guard.clone());
        let router = self.routes.into_axum_router();
        self.routes = router.route_service(K::LINK.path, service).into();
        self
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
        let service = InterceptedService::new(service, self.guard.clone());
        self.routes = self.routes.add_service(service);
        self
    }

    /// Takes the connections of a listener.
    ///
    /// # Errors
    /// The kernel does not say the listener's address.
    pub fn on(self, listener: TcpListener) -> Result<BoundGrpc, ServeError> {
        let local = listener
            .local_addr()
            .map_err(|source| ServeError::Address { source })?;
        Ok(BoundGrpc {
            config: self.config,
            metrics: self.guard.metrics().clone(),
            routes: self.routes,
            listener,
            local,
            gate: Gate::default(),
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
    gate: Gate,
}

impl BoundGrpc {
    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Takes connections only while this gate is open.
    #[must_use]
    pub fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Serves until `shutdown` fires and all calls have ended, at most `grace` later: then what is
    /// left is cut.
    ///
    /// Links end when their owners drop them; the owner that wants to stop does so after its last
    /// results.
    ///
    /// # Errors
    /// The port fails.
    pub async fn run(self, shutdown: CancellationToken, grace: Duration) -> Result<(), ServeError> {
        let cut = CancellationToken::new();
        let incoming = Incoming::new(
            self.listener,
            &self.config,
            self.metrics,
            cut.clone(),
            self.gate,
        );
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
