//! The role as a process runs it: the port, the engine, and the way in for roles of the same process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_config::RouteConfig;
use im_proto_rpc::v1::{
    PresenceAnswers, PresenceAsks, PublishBatch, PublishReplies, RouteCalls, RouteItems,
};
use im_rpc::serve::{BoundGrpc, GrpcServer, ServeError};
use im_rpc::{Accept, Guard, Link, RouteAttach, RoutePresence, RoutePublish};
use im_runtime::Context;
use im_runtime::listen::{self, ListenError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::dump::RouteDump;
use crate::engine::{Engine, NewLink, WRITER_LINK};
use crate::metrics::{Metrics, Refusal};

/// Links that may wait for the engine to take them: all msg servers of a large installation that
/// reconnect at once.
const NEW_LINKS: usize = 1_024;

/// Time for links to end after the engine has dropped them.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What a route server needs from its process.
#[derive(Debug, Default)]
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Admits peers to the port. `None` opens no port: links come from the same process only.
    pub guard: Option<Guard>,
}

/// Addresses of a bound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Port of msg servers and the writer; `None` without one.
    pub listen: Option<SocketAddr>,
}

/// Why a route server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The port cannot be bound.
    #[error("open the route port")]
    Listen(#[from] ListenError),
    /// The port cannot be served.
    #[error("serve the route port")]
    Serve(#[from] ServeError),
}

/// The way in for links, from the port and from roles of the same process.
#[derive(Clone, Debug)]
pub struct Attach {
    links: mpsc::Sender<NewLink>,
    metrics: Metrics,
}

impl Attach {
    fn hand_over(&self, link: NewLink) {
        if self.links.try_send(link).is_err() {
            // Dropping the link closes it: the peer dials again.
            warn!("refused a link: the engine is busy or gone");
            self.metrics.refuse(Refusal::Link);
        }
    }
}

impl Accept<RouteItems, RouteCalls> for Attach {
    fn accept(&self, link: Link<RouteItems, RouteCalls>) {
        self.hand_over(NewLink::Msg(link));
    }
}

impl Accept<PublishReplies, PublishBatch> for Attach {
    fn accept(&self, link: Link<PublishReplies, PublishBatch>) {
        self.hand_over(NewLink::Writer(link));
    }
}

impl Accept<PresenceAnswers, PresenceAsks> for Attach {
    fn accept(&self, link: Link<PresenceAnswers, PresenceAsks>) {
        self.hand_over(NewLink::Asker(link));
    }
}

/// A route server that is bound but does not run yet.
pub struct Server {
    engine: Engine,
    attach: Arc<Attach>,
    port: Option<BoundGrpc>,
    metrics: Metrics,
    dump: Arc<Mutex<RouteDump>>,
}

impl Server {
    /// Binds the port. Links that come before [`Self::run`] wait.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn bind(config: RouteConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps { context, guard } = deps;
        let metrics = context.metrics.register(Metrics::register);
        context.readiness.set(WRITER_LINK, false);
        let (links, new_links) = mpsc::channel(NEW_LINKS);
        let attach = Arc::new(Attach {
            links,
            metrics: metrics.clone(),
        });
        let port = match guard {
            Some(guard) => {
                let listener = listen::tcp(&config.listen, listen::LINKS).await?;
                let grpc = GrpcServer::new(&config.link, guard);
                Some(
                    grpc.link::<RouteAttach>(attach.clone())
                        .link::<RoutePublish>(attach.clone())
                        .link::<RoutePresence>(attach.clone())
                        .on(listener)?,
                )
            }
            None => None,
        };
        let dump = Arc::new(Mutex::new(RouteDump::default()));
        let shown = Arc::clone(&dump);
        context.dumps.register("route", move || {
            let dump = shown.lock().unwrap_or_else(PoisonError::into_inner);
            serde_json::to_value(&*dump).unwrap_or_default()
        });
        let readiness = context.readiness;
        let engine = Engine::new(
            config,
            metrics.clone(),
            readiness,
            Arc::clone(&dump),
            new_links,
        );
        Ok(Self {
            engine,
            attach,
            port,
            metrics,
            dump,
        })
    }

    /// The bound addresses.
    pub fn bound(&self) -> Bound {
        Bound {
            listen: self.port.as_ref().map(BoundGrpc::local_addr),
        }
    }

    /// The way in for roles of the same process.
    pub fn attach(&self) -> Arc<Attach> {
        Arc::clone(&self.attach)
    }

    /// What this server counts.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The state as it was at the last announcement.
    pub fn dump(&self) -> Arc<Mutex<RouteDump>> {
        Arc::clone(&self.dump)
    }

    /// Serves until `stop` fires and every link has ended.
    ///
    /// # Errors
    /// The port fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            engine,
            attach,
            port,
            metrics: _,
            dump: _,
        } = self;
        drop(attach);
        let tasks = TaskTracker::new();
        tasks.spawn(engine.run(stop.clone()));
        tasks.close();
        let served = match port {
            Some(port) => {
                let served = port.run(stop.clone(), STOP_GRACE).await;
                // Also when the port failed by itself.
                stop.cancel();
                served
            }
            None => Ok(()),
        };
        tasks.wait().await;
        Ok(served?)
    }
}
