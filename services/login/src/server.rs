//! The role as a process runs it: three ports and the table behind them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_config::{LinkConfig, LoginConfig};
use im_core::places;
use im_rpc::serve::{BoundGrpc, GrpcServer, ServeError};
use im_rpc::{Guard, LoginReport};
use im_runtime::Context;
use im_runtime::listen::{self, ListenError};
use im_runtime::requests::Refused;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::answer::Answers;
use crate::http::Limits;
use crate::listener::{Clients, accept};
use crate::metrics::{Metrics, Port};
use crate::reports::{MSG_SERVER, Reports};
use crate::table::{LoadTable, Rules};
use crate::{pictures, replicas};

/// Clients that may wait in the kernel's queue of a port.
const BACKLOG: i32 = 1_024;

/// Clients evicted but not gone yet, at least: as many as are accepted before other tasks have a turn.
const MIN_LEAVING: usize = 128;

/// How often gauges follow the table and lost servers are forgotten.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Time for streams of msg servers to end at a stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What a login server needs from its process.
#[derive(Debug, Default)]
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Admits msg servers to the control port. `None` opens none: they are in the same process.
    pub guard: Option<Guard>,
}

/// Addresses of a bound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// HTTP port of clients.
    pub http: SocketAddr,
    /// Binary port of clients.
    pub client: SocketAddr,
    /// Control port of msg servers; `None` without one.
    pub control: Option<SocketAddr>,
}

/// Why a login server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A port cannot be bound.
    #[error("open a port of the login server")]
    Listen(#[from] ListenError),
    /// The control port cannot be served.
    #[error("serve the control port of the login server")]
    Serve(#[from] ServeError),
}

/// A login server that is bound but does not run yet.
#[derive(Debug)]
pub struct Server {
    http: TcpListener,
    client: TcpListener,
    control: Option<BoundGrpc>,
    bound: Bound,
    clients: Arc<Clients>,
    reports: Arc<Reports>,
    tasks: TaskTracker,
    labelled_servers: usize,
    /// Says how many login servers there are; empty: none does.
    replicas_file: PathBuf,
    /// Says where pictures are; empty: none does.
    msfs_file: PathBuf,
}

/// The link of reports. They show by themselves that a msg server is there: a ping is due only when they
/// have been missing for so long that the end of the stream would be lost contact.
fn report_link(config: &LoginConfig) -> LinkConfig {
    let keepalive = config.link.keepalive.max(config.silence);
    LinkConfig {
        keepalive,
        ..config.link.clone()
    }
}

impl Server {
    /// Binds the ports. Msg servers of the same process may report from now on.
    ///
    /// # Errors
    /// A port cannot be bound.
    pub async fn bind(config: LoginConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps { context, guard } = deps;
        let metrics = context.metrics.register(Metrics::register);
        context.readiness.set(MSG_SERVER, false);
        let table = Arc::new(Mutex::new(LoadTable::new(Rules::from(&config))));
        let shown = Arc::clone(&table);
        context.dumps.register("login", move || {
            let dump = shown
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .dump(Instant::now());
            serde_json::to_value(dump).unwrap_or_default()
        });
        let tasks = TaskTracker::new();
        let reports = Arc::new(Reports::new(
            Arc::clone(&table),
            metrics.clone(),
            context.readiness,
            tasks.clone(),
        ));
        let http = listen::tcp(&config.http_listen, BACKLOG).await?;
        let client = listen::tcp(&config.client_listen, BACKLOG).await?;
        let control = match guard {
            Some(guard) => {
                let listener = listen::tcp(&config.control_listen, listen::LINKS).await?;
                let grpc = GrpcServer::new(&report_link(&config), guard)
                    .link::<LoginReport>(reports.clone());
                Some(grpc.on(listener)?)
            }
            None => None,
        };
        let bound = Bound {
            http: local(&http, &config.http_listen)?,
            client: local(&client, &config.client_listen)?,
            control: control.as_ref().map(BoundGrpc::local_addr),
        };
        let clients = Arc::new(Clients {
            table,
            answers: Answers::new(
                &config.msfs,
                &config.discovery,
                config.retry_after.as_seconds_u32(),
            ),
            limits: Limits {
                request_bytes: config.max_request.as_usize(),
                first_bytes: config.first_bytes.into(),
                http_idle: config.http_idle.duration(),
                http_request: config.http_request.duration(),
                binary_request: config.client_timeout.duration(),
                linger: config.linger.duration(),
            },
            metrics,
            refused: Refused::default(),
            places: places::Limits {
                total: config.max_connections,
                per_address: config.max_connections_per_address,
                reserved: config.reserved_connections.min(config.max_connections / 2),
                few: config.reserved_per_network,
                leaving: (config.max_connections / 8).max(MIN_LEAVING),
            },
        });
        let labelled_servers = config.labelled_servers;
        let replicas_file = config.replicas_file.clone();
        let msfs_file = config.msfs_file.clone();
        Ok(Self {
            http,
            client,
            control,
            bound,
            clients,
            reports,
            tasks,
            labelled_servers,
            replicas_file,
            msfs_file,
        })
    }

    /// The bound addresses.
    pub const fn bound(&self) -> Bound {
        self.bound
    }

    /// The way in for msg servers of the same process.
    pub fn attach(&self) -> Arc<Reports> {
        Arc::clone(&self.reports)
    }

    /// What this server counts.
    pub fn metrics(&self) -> Metrics {
        self.clients.metrics.clone()
    }

    /// The load table.
    pub fn table(&self) -> Arc<Mutex<LoadTable>> {
        Arc::clone(&self.clients.table)
    }

    /// Serves until `stop` fires and everything has ended.
    ///
    /// # Errors
    /// The control port cannot be served.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            http,
            client,
            control,
            bound,
            clients,
            reports,
            tasks,
            labelled_servers,
            replicas_file,
            msfs_file,
        } = self;
        info!(http = %bound.http, client = %bound.client, control = ?bound.control, "login serves");
        for (listener, port) in [(http, Port::Http), (client, Port::Binary)] {
            let (clients, tasks, stop) = (Arc::clone(&clients), tasks.clone(), stop.clone());
            tasks
                .clone()
                .spawn(accept(listener, port, clients, tasks, stop));
        }
        if !replicas_file.as_os_str().is_empty() {
            let table = Arc::clone(&clients.table);
            tasks.spawn(replicas::follow(replicas_file, table, stop.clone()));
        }
        if !msfs_file.as_os_str().is_empty() {
            let answers = clients.answers.clone();
            tasks.spawn(pictures::follow(msfs_file, answers, stop.clone()));
        }
        tasks.spawn(show(clients, labelled_servers, stop.clone()));
        let ending = (stop.clone(), reports.stop().clone());
        tasks.spawn(async move {
            ending.0.cancelled().await;
            ending.1.cancel();
        });
        let served = match control {
            Some(control) => {
                let served = control.run(stop.clone(), STOP_GRACE).await;
                // Also when the port failed by itself.
                stop.cancel();
                served
            }
            None => {
                stop.cancelled().await;
                Ok(())
            }
        };
        tasks.close();
        tasks.wait().await;
        Ok(served?)
    }
}

/// Keeps gauges in step with the table.
async fn show(clients: Arc<Clients>, labelled: usize, stop: CancellationToken) {
    let mut ticks = interval(SHOW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = Instant::now();
        let mut table = clients.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.forget_lost(now);
        clients.metrics.show(&table, now, labelled);
    }
}

fn local(listener: &TcpListener, address: &str) -> Result<SocketAddr, ListenError> {
    let failed = |source| ListenError {
        address: address.to_owned(),
        source,
    };
    listener.local_addr().map_err(failed)
}
