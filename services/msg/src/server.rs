//! Binding, running and stopping a msg server.

mod drain;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_config::{Check, MsgConfig, Violations};
use im_proto_rpc::v1::{DbCalls, DbResults, LoadReport, LoadSeen, RouteCalls, RouteItems};
use im_rpc::peers::Watch;
use im_rpc::{LinkKind, LinkMetrics, Peers};
use im_runtime::Context;
use im_runtime::listen::{self, ListenError};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::conn::Conn;
use crate::metrics::MsgMetrics;
use crate::pace::Pace;
use crate::public::Public;
use crate::shared::Shared;
use crate::{db, delivery, load, public, read, sweep};

/// Inputs that may wait for the delivery task; beyond it links are read later.
const INPUTS: usize = 256;

/// Longest wait after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// Time for all tasks to end after a stop.
const END: Duration = Duration::from_secs(3);

/// What a msg server needs from its process.
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Counters of links, shared by all roles of the process.
    pub link_metrics: LinkMetrics,
    /// How to reach db-proxy.
    pub db_proxy: Peers<DbCalls, DbResults>,
    /// How to reach the route servers.
    pub route: Peers<RouteCalls, RouteItems>,
    /// How to reach the login servers.
    pub login: Peers<LoadReport, LoadSeen>,
    /// Version of the program, for operators.
    pub revision: String,
}

/// Addresses of a bound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Port of clients.
    pub listen: SocketAddr,
}

/// Why a msg server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration breaks its bounds.
    #[error("check the configuration of msg")]
    Config(#[from] Violations),
    /// The client port cannot be bound.
    #[error("open the client port")]
    Listen(#[from] ListenError),
    /// The client port has no address.
    #[error("read the address of the client port")]
    Address(#[source] io::Error),
}

/// A msg server that is bound but does not run yet.
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    listener: TcpListener,
    bound: Bound,
    revision: String,
    link_metrics: LinkMetrics,
    db_proxy: Peers<DbCalls, DbResults>,
    route: Peers<RouteCalls, RouteItems>,
    login: Peers<LoadReport, LoadSeen>,
}

impl Server {
    /// Binds the client port. Clients that come before [`Self::run`] wait in the kernel.
    pub async fn bind(config: MsgConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps {
            context,
            link_metrics,
            db_proxy,
            route,
            login,
            revision,
        } = deps;
        config.validate()?;
        let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
        let listener = listen::tcp(&config.listen, backlog).await?;
        let address = listener.local_addr().map_err(ServerError::Address)?;
        let public = Public::of(&config, address);
        let name = match config.name.as_str() {
            "" => format!("msg-{}-{}", public.ip1, public.port),
            name => name.to_owned(),
        };
        let metrics = context.metrics.register(MsgMetrics::register);
        for condition in [crate::DB_PROXY_LINK, crate::ROUTE_LINK] {
            context.readiness.set(condition, false);
        }
        // A file that may say otherwise is asked first.
        let has_file = !config.public_endpoint_file.as_os_str().is_empty();
        let public = Some(public).filter(|_| !has_file);
        let shared = Shared::new(config, name, public, metrics, context.readiness);
        let shared = Arc::new(shared);
        let shown = Arc::downgrade(&shared);
        context.dumps.register("msg", move || {
            shown.upgrade().map(|shared| dump(&shared)).into()
        });
        let bound = Bound { listen: address };
        Ok(Self {
            shared,
            listener,
            bound,
            revision,
            link_metrics,
            db_proxy,
            route,
            login,
        })
    }

    /// The bound addresses.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Name of this server among all msg servers.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Serves until `stop` fires; then drains: tells the login servers, closes all connections at a
    /// bounded rate after their messages are acknowledged, and ends.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            shared,
            listener,
            bound,
            revision,
            link_metrics,
            db_proxy,
            route,
            login,
        } = self;
        info!(listen = %bound.listen, server = %shared.name, "serving clients");
        let report_link = load::report_link(&shared.config);
        let watch = |kind| Watch {
            kind,
            config: match kind {
                LinkKind::LoginReport => &report_link,
                _ => &shared.config.link,
            },
            metrics: &link_metrics,
            tasks: &shared.tasks,
            stop: shared.stop.clone(),
        };
        let (inputs, rx) = mpsc::channel(INPUTS);
        let routes = route.watch(watch(LinkKind::RouteAttach));
        let dbs = db_proxy.watch(watch(LinkKind::DbProxyAttach));
        let logins = login.watch(watch(LinkKind::LoginReport));
        let delivering = delivery::run(Arc::clone(&shared), routes, inputs.clone(), rx);
        shared.tasks.spawn(delivering);
        shared
            .tasks
            .spawn(db::run(Arc::clone(&shared), dbs, inputs));
        shared
            .tasks
            .spawn(load::run(Arc::clone(&shared), revision, logins));
        shared.tasks.spawn(sweep::run(Arc::clone(&shared)));
        if !shared.config.public_endpoint_file.as_os_str().is_empty() {
            shared.tasks.spawn(public::follow(Arc::clone(&shared)));
        }
        {
            let mut accepting = std::pin::pin!(accept(&shared, &listener));
            tokio::select! {
                () = stop.cancelled() => {}
                () = &mut accepting => {}
            }
            // Clients that were sent here before the login servers knew are still let in.
            tokio::select! {
                () = drain::announce(&shared) => {}
                () = &mut accepting => {}
            }
        }
        drop(listener);
        drain::close_all(&shared).await;
        shared.stop.cancel();
        shared.tasks.close();
        if tokio::time::timeout(END, shared.tasks.wait())
            .await
            .is_err()
        {
            warn!(tasks = shared.tasks.len(), "tasks did not end in time");
        }
        info!(server = %shared.name, "stopped");
        Ok(())
    }
}

/// Takes connections in, for ever.
async fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut backoff = Backoff::default();
    let mut pace = Pace::new(shared.config.accept_rate);
    loop {
        pace.turn().await;
        match listener.accept().await {
            Ok((sock, remote)) => {
                backoff = Backoff::default();
                take_in(shared, sock, remote.ip());
            }
            Err(error) => {
                shared.metrics.accept_errors.inc();
                backoff.failed(&error).await;
            }
        }
    }
}

fn take_in(shared: &Arc<Shared>, sock: TcpStream, remote: IpAddr) {
    if let Err(reason) = shared.admit(remote) {
        shared.metrics.refused(reason);
        return;
    }
    // A socket that is gone already is noticed at the first read.
    listen::tune(&sock).ok();
    let conn = Arc::new(Conn::new(sock, remote, shared.now()));
    shared.opened(&conn);
    shared.tasks.spawn(read::run(Arc::clone(shared), conn));
}

/// Waits longer after each failure in a row, such as too many open files.
#[derive(Default)]
struct Backoff {
    failures: u32,
    warned: Option<Instant>,
}

impl Backoff {
    async fn failed(&mut self, error: &io::Error) {
        if self
            .warned
            .is_none_or(|at| at.elapsed() > Duration::from_secs(10))
        {
            self.warned = Some(Instant::now());
            warn!(%error, "accept failed");
        }
        let wait = Duration::from_millis(5 << self.failures.min(10)).min(ACCEPT_BACKOFF);
        self.failures += 1;
        tokio::time::sleep(wait).await;
    }
}

fn dump(shared: &Shared) -> serde_json::Value {
    let (pending, in_flight) = shared.db.sizes();
    let public = shared.public.borrow().clone();
    let table = shared.routes();
    let routes: Vec<_> = table
        .links()
        .iter()
        .map(|link| json!({ "name": link.name, "waiting_calls": link.waiting() }))
        .collect();
    json!({
        "server": shared.name,
        "instance": format!("{:016x}", shared.instance),
        "public": public.map(|public| json!([public.ip1, public.ip2, public.port])),
        "connections": shared.n_connections(),
        "sessions": shared.n_sessions(),
        "pending_logins": shared.pending().len(),
        "pending_messages": pending,
        "pending_bytes": shared.db.pending_bytes(),
        "in_flight_calls": in_flight,
        "db_proxy_link": shared.db.is_up(),
        "login_links": shared.logins_up.load(Ordering::Relaxed),
        "routes": routes,
        "routes_usable": table.is_usable(),
        "live": !shared.pulling.load(Ordering::Relaxed),
        "position": shared.reached.load(Ordering::Relaxed),
        "draining": shared.is_draining(),
    })
}
