//! Binding, running and stopping a msg server.

mod accept;
mod asked;
mod control;
mod drain;
mod listing;
mod shed;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use im_config::{Check, MsgConfig, Violations};
use im_proto_rpc::v1::{
    DbCalls, DbResults, FileCalls, FileItems, LoadReport, LoadSeen, RouteCalls, RouteItems,
};
use im_rpc::peers::Watch;
use im_rpc::{DbProxyAttach, FileAttach, LinkKind, LinkMetrics, LoginReport, Peers, RouteAttach};
use im_runtime::Context;
use im_runtime::listen::{self, ListenError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::connection::sweep;
use crate::env::Env;
use crate::gateway::inbox::{self, Receiver};
use crate::gateway::public::Public;
use crate::gateway::{Gateway, db, delivery, endpoint, file_link, load};
use crate::metrics::MsgMetrics;

pub use control::{Control, ControlError};

/// Time for all tasks to end after a stop.
const END: Duration = Duration::from_secs(3);

/// What a msg server needs from its process.
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Counters of links, gateway by all roles of the process.
    pub link_metrics: LinkMetrics,
    /// How to reach db-proxy.
    pub db_proxy: Peers<DbCalls, DbResults>,
    /// How to reach the route servers.
    pub route: Peers<RouteCalls, RouteItems>,
    /// How to reach the login servers.
    pub login: Peers<LoadReport, LoadSeen>,
    /// How to reach the file servers; none where files are not transferred.
    pub file: Peers<FileCalls, FileItems>,
    /// Version of the program, for operators.
    pub revision: String,
    /// Where connections of clients are worked on. If it is not the runtime of [`Server::run`], nothing that
    /// clients send holds up links, which stay there.
    pub clients: Handle,
    /// Where connections are taken in.
    pub door: Handle,
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
    /// Opening the client port, or taking connections in, was broken off: a panic, or the runtime has ended.
    #[error("take connections in")]
    Door(#[source] JoinError),
    /// The client port has no address.
    #[error("read the address of the client port")]
    Address(#[source] io::Error),
}

/// A msg server that is bound but does not run yet.
pub struct Server {
    pub(crate) gateway: Arc<Gateway>,
    receiver: Receiver,
    listener: TcpListener,
    door: Handle,
    bound: Bound,
    revision: String,
    link_metrics: LinkMetrics,
    db_proxy: Peers<DbCalls, DbResults>,
    route: Peers<RouteCalls, RouteItems>,
    login: Peers<LoadReport, LoadSeen>,
    file: Peers<FileCalls, FileItems>,
}

impl Server {
    /// Binds the client port. Clients that come before [`Self::run`] wait in the kernel.
    ///
    /// # Errors
    /// The client port cannot be bound, or the configuration cannot be used.
    pub async fn bind(config: MsgConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps {
            context,
            link_metrics,
            db_proxy,
            route,
            login,
            file,
            revision,
            clients,
            door,
        } = deps;
        config.validate()?;
        let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
        let open = config.listen.clone();
        let open = async move { listen::tcp(&open, backlog).await };
        // A listener wakes the threads on which it was made.
        let listener = door.spawn(open).await.map_err(ServerError::Door)??;
        let address = listener.local_addr().map_err(ServerError::Address)?;
        let public = Public::of(&config, address);
        let name = match config.name.as_str() {
            "" => format!("msg-{}-{}", public.ip1, public.port),
            name => name.to_owned(),
        };
        let metrics = context.metrics.register(MsgMetrics::register);
        for condition in [crate::env::DB_PROXY_LINK, crate::env::ROUTE_LINK] {
            context.readiness.set(condition, false);
        }
        // A file that may say otherwise is asked first.
        let has_file = !config.public_endpoint_file.as_os_str().is_empty();
        let public = Some(public).filter(|_| !has_file);
        let env = Env::new(config, name, metrics, context.readiness, clients);
        let (inbox, receiver) = inbox::inbox();
        let gateway = Arc::new(Gateway::new(env, public, inbox));
        let shown = Arc::downgrade(&gateway);
        context.dumps.register("msg", move || {
            shown.upgrade().map(|gateway| dump(&gateway)).into()
        });
        let bound = Bound { listen: address };
        Ok(Self {
            gateway,
            receiver,
            listener,
            door,
            bound,
            revision,
            link_metrics,
            db_proxy,
            route,
            login,
            file,
        })
    }

    /// The bound addresses.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Name of this server among all msg servers.
    pub fn name(&self) -> &str {
        &self.gateway.env.name
    }

    /// The way in for those who administer it, in the same process.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.gateway))
    }

    /// Serves until `stop` fires; then drains: tells the login servers, closes all connections at a
    /// bounded rate after their messages are acknowledged, and ends.
    ///
    /// # Errors
    /// What takes connections in has ended by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            gateway,
            receiver,
            listener,
            door,
            bound,
            revision,
            link_metrics,
            db_proxy,
            route,
            login,
            file,
        } = self;
        let env = &gateway.env;
        info!(listen = %bound.listen, server = %env.name, "serving clients");
        let report_link = load::report_link(&env.config);
        let watch = |link| Watch {
            link,
            config: if link == LoginReport::LINK {
                &report_link
            } else {
                &env.config.link
            },
            metrics: &link_metrics,
            tasks: &env.tasks,
            stop: env.stop.clone(),
        };
        let routes = route.watch(watch(RouteAttach::LINK));
        let dbs = db_proxy.watch(watch(DbProxyAttach::LINK));
        let logins = login.watch(watch(LoginReport::LINK));
        let files = file.watch(watch(FileAttach::LINK));
        let delivering = delivery::run(Arc::clone(&gateway), routes, receiver);
        env.tasks.spawn(delivering);
        gateway.env.tasks.spawn(db::run(Arc::clone(&gateway), dbs));
        gateway
            .env
            .tasks
            .spawn(load::run(Arc::clone(&gateway), revision, logins));
        env.tasks.spawn(file_link::run(Arc::clone(&gateway), files));
        let connections = Arc::clone(&gateway.connections);
        env.tasks
            .spawn(sweep::run(Arc::clone(&gateway), connections));
        if !env.config.public_endpoint_file.as_os_str().is_empty() {
            env.tasks.spawn(endpoint::follow(Arc::clone(&gateway)));
        }
        if !env.config.orders_file.as_os_str().is_empty() {
            env.tasks.spawn(asked::follow(Arc::clone(&gateway)));
        }
        let accepting = accept::run(Arc::clone(&gateway), listener);
        let mut accepting = AbortOnDropHandle::new(door.spawn(accepting));
        // A server that takes nobody in any more leaves, and says why.
        let broken = tokio::select! {
            () = stop.cancelled() => None,
            ended = &mut accepting => Some(ended),
        };
        // Clients that were sent here before the login servers knew are still let in.
        drain::announce(&gateway).await;
        if broken.is_none() {
            accepting.abort();
            // The port is closed when its task is gone, which an abort makes of it.
            accepting.await.ok();
        }
        drain::close_all(&gateway).await;
        env.stop.cancel();
        env.tasks.close();
        if tokio::time::timeout(END, env.tasks.wait()).await.is_err() {
            warn!(tasks = env.tasks.len(), "tasks did not end in time");
        }
        info!(server = %env.name, "stopped");
        broken.unwrap_or(Ok(())).map_err(ServerError::Door)
    }
}

fn dump(gateway: &Gateway) -> serde_json::Value {
    let env = &gateway.env;
    let drain = gateway.drain.state();
    let progress = gateway.inbox.progress();
    let (pending, in_flight) = gateway.db.sizes();
    let public = gateway.public.borrow().clone();
    let table = gateway.routes.table();
    let routes: Vec<_> = table
        .links()
        .iter()
        .map(|link| json!({ "name": link.name, "waiting_calls": link.waiting() }))
        .collect();
    let files = gateway.files.all();
    let files: Vec<_> = files
        .iter()
        .map(|link| json!({ "name": link.name, "takes_tasks": link.takes_tasks() }))
        .collect();
    let shed = gateway.sheds.last().map(|shed| {
        json!({
            "key": shed.order.key,
            "sessions": shed.order.sessions,
            "per_second": shed.order.per_second,
            "chosen": shed.chosen,
            "gone": shed.gone,
            "ended": shed.ended,
            "stopped": shed.is_stopped,
            "over": shed.is_over,
        })
    });
    json!({
        "server": env.name,
        "instance": format!("{:016x}", env.instance),
        "public": public.map(|public| json!([public.ip1, public.ip2, public.port])),
        "connections": gateway.connections.len(),
        "sessions": gateway.sessions.len(),
        "pending_logins": gateway.sessions.pending().len(),
        "pending_messages": pending,
        "pending_bytes": gateway.db.messages().used(),
        "in_flight_calls": in_flight,
        "db_proxy_link": gateway.db.is_up(),
        "login_links": drain.links,
        "routes": routes,
        "file_servers": files,
        "file_requests": gateway.jobs.len(),
        "routes_usable": table.is_usable(),
        "live": progress.is_live,
        "position": progress.reached.to_wire(),
        "draining": drain.is_draining,
        "cordoned": drain.is_cordoned,
        "closed_to_newcomers": drain.is_closed,
        "shed": shed,
    })
}
