//! Binds and runs the role.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_accounts::{AccountMetrics, Accounts, RememberKeys};
use im_answers::{AnswerMetrics, Answers};
use im_config::{DbProxyConfig, TrustConfig};
use im_order::FenceLost;
use im_proto_rpc::v1;
use im_proto_rpc::v1::admin_server::AdminServer;
use im_proto_rpc::v1::announcements_server::AnnouncementsServer;
use im_proto_rpc::v1::bots_server::BotsServer;
use im_proto_rpc::v1::devices_server::DevicesServer;
use im_proto_rpc::v1::discovery_items_server::DiscoveryItemsServer;
use im_proto_rpc::v1::hooks_server::HooksServer;
use im_proto_rpc::v1::incoming_hooks_server::IncomingHooksServer;
use im_rpc::peers::Watch;
use im_rpc::serve::{BoundGrpc, Gate, GrpcServer, ServeError};
use im_rpc::{
    Accept, DbProxyAttach, FollowerAttach, Guard, LinkKind, LinkMetrics, Peers, RoutePublish,
    Secret,
};
use im_runtime::listen::{self, ListenError};
use im_store::Store;
use im_writer::{Context, Core, Filter, Metrics, WriterEnd};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{AdminMetrics, AdminService};
use crate::announce::{AnnounceMetrics, Announcer};
use crate::attach::Attach;
use crate::calls::CheckLogins;
use crate::comings::Comings;
use crate::dump::Dump;
use crate::filter::{FilterError, FilterMetrics, HttpFilter};
use crate::follow::{Follow, FollowMetrics};
use crate::metrics::AttachMetrics;
use crate::retention::{Retention, RetentionMetrics};
use crate::test_push::{TestMetrics, TestNotices};

/// Condition of readiness: the store answers.
const STORE_READY: &str = "store";

/// How long links may take to be answered when the role stops, and to be read by their peers.
const LINKS_GRACE: Duration = Duration::from_secs(10);

/// How long the writer may take then, and after it everything else.
const TASKS_GRACE: Duration = Duration::from_secs(8);

/// What the role works with.
pub struct Deps {
    /// Every durable fact. Its maintenance and closing are the caller's.
    pub store: Arc<dyn Store>,
    /// Route servers to publish to.
    pub route: Peers<v1::PublishBatch, v1::PublishReplies>,
    /// The installation's secret, which callers of the port must present.
    pub secret: Secret,
    /// The administrators' secret, which callers of their port must present.
    pub admin_secret: Secret,
    /// Counters of links.
    pub links: LinkMetrics,
    /// Whether the role's ports take connections.
    pub gate: Gate,
    /// Keys of remembered logins; used when `accounts.remember_for` is not zero.
    pub remember_keys: RememberKeys,
    /// Whose certificates are trusted outside.
    pub trust: TrustConfig,
    /// Metrics and readiness of the process.
    pub process: im_runtime::Context,
}

/// Addresses of a bound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The port of msg servers.
    pub grpc: SocketAddr,
    /// The administrators' port; `None` without one.
    pub admin: Option<SocketAddr>,
}

/// Why the role cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A port cannot be bound.
    #[error("open a port of db-proxy")]
    Listen(#[from] ListenError),
    /// A port cannot be served.
    #[error("serve db-proxy")]
    Serve(#[from] ServeError),
    /// The before-send filter cannot be used as configured.
    #[error("prepare the before-send filter")]
    Filter(#[from] FilterError),
    /// The log has another owner: another process has taken it.
    #[error("add to the log as its owner")]
    Fenced(#[source] FenceLost),
    /// The writer panicked.
    #[error("keep the writer running")]
    Writer(#[source] tokio::task::JoinError),
}

/// The role, bound but not running yet.
pub struct Server {
    config: DbProxyConfig,
    deps: Deps,
    grpc: BoundGrpc,
    admin: Option<BoundGrpc>,
    announcer: Announcer,
    core: Core,
    accounts: Arc<Accounts>,
    attach: Attach,
    follow: Follow,
    retention: Retention,
    /// Tasks of links of msg servers.
    link_tasks: TaskTracker,
    stop_links: CancellationToken,
}

impl Server {
    /// Binds the port. Nothing is served before [`Server::run`].
    ///
    /// # Errors
    /// A port cannot be bound, or the before-send filter cannot be used as configured.
    pub async fn bind(config: DbProxyConfig, deps: Deps) -> Result<Self, ServerError> {
        let registered = &deps.process.metrics;
        let metrics = registered.register(Metrics::register);
        let filter = HttpFilter::of(
            &config.filter,
            config.writer.max_body.as_usize(),
            &deps.trust,
            registered.register(FilterMetrics::register),
        )?;
        let core = Core::start_with(
            Arc::new(config.clone()),
            Arc::clone(&deps.store),
            metrics,
            filter.clone().map(|filter| filter as Arc<dyn Filter>),
        );
        let context = &core.context;
        let accounts = Arc::new(Accounts::new(
            Arc::clone(&context.store),
            config.accounts.clone(),
            deps.remember_keys.clone(),
            registered.register(AccountMetrics::register),
        ));
        let answers = Answers::new(
            context,
            Arc::clone(&accounts),
            registered.register(AnswerMetrics::register),
        );
        let link_tasks = TaskTracker::new();
        let stop_links = CancellationToken::new();
        let comings = Comings::new(config.follow.session_events.as_usize());
        registered.register(|registry| comings.register(registry));
        let attach = Attach::new(
            context.clone(),
            comings.clone(),
            answers,
            Arc::clone(&accounts) as Arc<dyn CheckLogins>,
            registered.register(AttachMetrics::register),
            link_tasks.clone(),
            stop_links.clone(),
        );
        let tests = TestNotices::new(&config.follow, registered.register(TestMetrics::register));
        let follow = Follow::new(
            context.clone(),
            tests.clone(),
            comings,
            registered.register(FollowMetrics::register),
            link_tasks.clone(),
            stop_links.clone(),
        );
        let retention = Retention::new(
            context.clone(),
            registered.register(RetentionMetrics::register),
        );
        let guard = |secret| Guard::new(secret, deps.links.clone());
        let listener = listen::tcp(&config.listen, listen::LINKS).await?;
        let grpc = GrpcServer::new(&config.link, guard(&deps.secret))
            .link::<DbProxyAttach>(Arc::new(attach.clone()))
            .link::<FollowerAttach>(Arc::new(follow.clone()))
            .on(listener)?
            .behind(deps.gate.clone());
        let announcer = Announcer::new(context, registered.register(AnnounceMetrics::register));
        // Who takes over a msg server finds neither this port nor its secret there.
        let admin = if config.admin_listen.is_empty() {
            None
        } else {
            let service = AdminService::new(
                context,
                Arc::clone(&accounts),
                announcer.clone(),
                &deps.admin_secret,
                tests,
                registered.register(AdminMetrics::register),
                stop_links.clone(),
            );
            let listener = listen::tcp(&config.admin_listen, listen::LINKS).await?;
            let server = GrpcServer::new(&config.link, guard(&deps.admin_secret));
            let server = server
                .service(HooksServer::new(service.clone()))
                .service(AnnouncementsServer::new(service.clone()))
                .service(IncomingHooksServer::new(service.clone()))
                .service(DevicesServer::new(service.clone()))
                .service(BotsServer::new(service.clone()))
                .service(DiscoveryItemsServer::new(service.clone()))
                .service(AdminServer::new(service));
            Some(server.on(listener)?.behind(deps.gate.clone()))
        };
        deps.process.readiness.set(STORE_READY, false);
        let dump = Dump::new(&core, filter);
        deps.process.dumps.register("db_proxy", move || dump.show());
        Ok(Self {
            config,
            deps,
            grpc,
            admin,
            announcer,
            core,
            accounts,
            attach,
            follow,
            retention,
            link_tasks,
            stop_links,
        })
    }

    /// Where it listens.
    pub fn bound(&self) -> Bound {
        Bound {
            grpc: self.grpc.local_addr(),
            admin: self.admin.as_ref().map(BoundGrpc::local_addr),
        }
    }

    /// Takes links of msg servers in the same process.
    pub fn attach(&self) -> Arc<dyn Accept<v1::DbResults, v1::DbCalls>> {
        Arc::new(self.attach.clone())
    }

    /// Takes links of followers in the same process.
    pub fn follow(&self) -> Arc<dyn Accept<v1::FollowItems, v1::FollowCalls>> {
        Arc::new(self.follow.clone())
    }

    /// Serves until `stop`; then answers what was taken, stores the read positions, and ends.
    ///
    /// # Errors
    /// A port fails, or the writer ends by itself: everything else stops in order then. What the writer was
    /// to store stays unanswered if the log has another owner, so that msg servers ask that one.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let stop = stop.child_token();
        let tasks = TaskTracker::new();
        let stop_rest = CancellationToken::new();
        let positions = self.core.context.positions.clone();
        let stop_positions = stop_rest.clone();
        tasks.spawn(async move { positions.run(stop_positions).await });
        let (stored, stop_stored) = (self.core.context.stored.clone(), stop_rest.clone());
        tasks.spawn(async move { stored.run(stop_stored).await });
        let (accounts, stop_accounts) = (self.accounts, stop_rest.clone());
        let publisher = self.core.context.publisher.clone();
        let online = move || {
            let publisher = publisher.clone();
            async move { publisher.list_sessions(None).await.ok() }
        };
        tasks.spawn(async move { accounts.run(online, stop_accounts).await });
        let Context {
            space,
            store,
            config,
            metrics,
            ..
        } = self.core.context.clone();
        tasks.spawn(space.watch(store, config.writer.clone(), metrics, stop_rest.clone()));
        tasks.spawn(self.follow.trim(stop_rest.clone()));
        tasks.spawn(self.retention.run(stop_rest.clone()));
        // It ends before the writer, which would refuse it.
        tasks.spawn(self.announcer.run(stop.clone()));
        let events = self.deps.route.watch(Watch {
            link: RoutePublish::LINK,
            config: &self.config.link,
            metrics: &self.deps.links,
            tasks: &tasks,
            stop: stop_rest.clone(),
        });
        let (publisher, stop_publisher) = (self.core.context.publisher.clone(), stop_rest.clone());
        let link_tasks = tasks.clone();
        tasks.spawn(async move { publisher.follow(events, &link_tasks, stop_publisher).await });
        let readiness = self.deps.process.readiness;
        tasks.spawn(tell_readiness(
            self.core.reachable.clone(),
            readiness.clone(),
            stop_rest.clone(),
        ));
        let admin_address = self.admin.as_ref().map(BoundGrpc::local_addr);
        info!(address = %self.grpc.local_addr(), admin = ?admin_address, "db-proxy serves");

        let grpc = self.grpc.run(stop.clone(), LINKS_GRACE);
        let writer_ended = self.core.ended();
        let links = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = writer_ended.cancelled() => stop.cancel(),
            }
            info!("db-proxy stops");
            self.stop_links.cancel();
            self.link_tasks.close();
            if tokio::time::timeout(LINKS_GRACE, self.link_tasks.wait())
                .await
                .is_err()
            {
                warn!("links of msg servers ended unanswered");
            }
        };
        let admin = async {
            let Some(admin) = self.admin else {
                return Ok(());
            };
            admin.run(stop.clone(), LINKS_GRACE).await
        };
        // A port that fails ends everything.
        let (served, administered, ()) =
            tokio::join!(or_stop(grpc, &stop), or_stop(admin, &stop), links);

        // Nobody asks the writer any more; it ends when its queue is empty, the others follow it.
        let written = match self.core.stop(TASKS_GRACE).await {
            Ok(()) => Ok(()),
            Err(WriterEnd::Late) => {
                warn!("the writer did not end in time");
                Ok(())
            }
            Err(WriterEnd::Fenced(lost)) => Err(ServerError::Fenced(lost)),
            Err(WriterEnd::Broken(broken)) => Err(ServerError::Writer(broken)),
        };
        stop_rest.cancel();
        tasks.close();
        if tokio::time::timeout(TASKS_GRACE, tasks.wait())
            .await
            .is_err()
        {
            warn!("tasks of db-proxy did not end in time");
        }
        readiness.remove(STORE_READY);
        written?;
        Ok(served.and(administered)?)
    }
}

/// Serves a port; when it fails, everything else stops too.
async fn or_stop(
    port: impl Future<Output = Result<(), ServeError>>,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let served = port.await;
    if served.is_err() {
        stop.cancel();
    }
    served
}

/// Tells the process whether the store answers.
async fn tell_readiness(
    mut reachable: watch::Receiver<bool>,
    readiness: im_runtime::Readiness,
    stop: CancellationToken,
) {
    loop {
        readiness.set(STORE_READY, *reachable.borrow_and_update());
        match stop.run_until_cancelled(reachable.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}
