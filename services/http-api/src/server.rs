//! The role as a process runs it: a port, and db-proxy behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_config::{HookReach, HttpApiConfig, Networks, NotANetwork};
use im_core::places;
use im_http::{Quota, Stops, Tls, TlsError, TlsFiles, accept};
use im_proto_rpc::v1::LookUpTokenRequest;
use im_rpc::serve::{BoundGrpc, GrpcServer, ServeError};
use im_rpc::{Guard, MonitorReport, Secret};
use im_runtime::listen::{self, ListenError};
use im_runtime::{Context, Throttle};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::cursor::Cursors;
use crate::db_proxy::{self, Admin};
use crate::discovery::Discovery;
use crate::document::Scopes;
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::original::Original;
use crate::refusals::{self, Note, Notes};
use crate::service::{Api, Service};
use crate::slots::Slots;
use crate::token::Tokens;
use crate::v1;

/// Clients that may wait in the kernel's queue of the port.
const BACKLOG: i32 = 1_024;

/// Clients evicted but not gone yet, at least: as many as are accepted before other tasks have a turn.
const MIN_LEAVING: usize = 128;

/// How often db-proxy is asked whether it answers, and gauges follow.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Time for that answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon the first question is repeated: a process that runs all roles has just begun to serve. Then each
/// time after twice the time.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Condition of readiness: db-proxy has answered.
const DB_PROXY: &str = "http_api_db_proxy";

/// Told beside it: the files of the certificate can be used.
const CERTIFICATE: &str = "http_api_certificate";

/// What an http-api server needs from its process.
#[derive(Debug)]
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Administrators' port of db-proxy, `host:port`.
    pub db_proxy: String,
    /// The administrators' secret.
    pub secret: Secret,
    /// Where subscriptions may send.
    pub reach: HookReach,
    /// Admits servers that report to a port of their own. `None` opens none: they are in the same process, or
    /// nobody could show the installation's secret.
    pub guard: Option<Guard>,
}

/// Addresses of a bound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Port of callers.
    pub http: SocketAddr,
    /// Port of servers that report; `None` without one.
    pub monitor: Option<SocketAddr>,
}

/// Time for links of servers that report to end at a stop.
const STOP_LINKS: Duration = Duration::from_secs(1);

/// Why an http-api server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The port cannot be bound.
    #[error("open the port of the http-api server")]
    Listen(#[from] ListenError),
    /// The port of servers that report cannot be served.
    #[error("serve the monitor port of the http-api server")]
    Monitor(#[from] ServeError),
    /// The files of the certificate cannot be used.
    #[error("use the certificate of http_api.certificate_file and http_api.key_file")]
    Tls(#[from] TlsError),
    /// A list of the configuration holds what is no network.
    #[error("use the lists of http_api")]
    Networks(#[from] NotANetwork),
    /// The address of db-proxy is none.
    #[error("use {address} as the administrators' port of db-proxy")]
    DbProxy {
        /// The address.
        address: String,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An http-api server that is bound but does not run yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    service: Arc<Service>,
    monitor: Option<BoundGrpc>,
    tls: Option<Tls>,
    notes: mpsc::Receiver<Note>,
    context: Context,
}

impl Server {
    /// Binds the port and reads the certificate, if there is one.
    ///
    /// # Errors
    /// The port cannot be bound, the certificate or the address of db-proxy cannot be used.
    pub async fn bind(config: HttpApiConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps {
            context,
            db_proxy,
            secret,
            reach,
            guard,
        } = deps;
        let tls = match (&config.certificate_file, &config.key_file) {
            (Some(certificate), Some(key)) => {
                let files = TlsFiles {
                    certificate: certificate.clone(),
                    key: key.clone(),
                };
                // At a start nobody waits beside it.
                Some(Tls::load(files)?)
            }
            _ => None,
        };
        let clients =
            db_proxy::clients(&db_proxy, &secret).map_err(|source| ServerError::DbProxy {
                address: db_proxy,
                source: source.into(),
            })?;
        let listener = listen::tcp(&config.listen, BACKLOG).await?;
        let local = listener.local_addr().map_err(|source| ListenError {
            address: config.listen.clone(),
            source,
        })?;
        let metrics = context.metrics.register(Metrics::register);
        let monitor = Monitor::new(&config.monitor, metrics.clone());
        let reports = match guard.filter(|_| !config.monitor_listen.is_empty()) {
            Some(guard) => {
                let listener = listen::tcp(&config.monitor_listen, listen::LINKS).await?;
                let grpc = GrpcServer::new(&config.monitor.link(), guard)
                    .link::<MonitorReport>(Arc::new(monitor.clone()));
                Some(grpc.on(listener)?)
            }
            None => None,
        };
        let (left, notes) = Notes::new(metrics.clone());
        let (routes, document) = v1::router();
        let (of_token, of_address) = (config.token_rate, config.address_rate);
        let callers = config.counted_callers;
        let quota = |rate: im_config::Rate| (u64::from(rate.burst), u64::from(rate.per_minute));
        let (burst, per_minute) = quota(of_token);
        let token_rate = Quota::new(burst, per_minute, callers);
        let (burst, per_minute) = quota(config.hook_rate);
        let hook_rate = Quota::new(burst, per_minute, callers);
        let (burst, per_minute) = quota(of_address);
        let api = Arc::new(Api {
            admin: clients.admin,
            hooks: clients.hooks,
            announcements: clients.announcements,
            incoming: clients.incoming,
            devices: clients.devices,
            bots: clients.bots,
            items: clients.items,
            discovery: Discovery::default(),
            reach,
            tokens: Tokens::new(config.token_memory.duration(), config.remembered_tokens),
            token_rate,
            address_rate: Quota::new(burst, per_minute, callers),
            hook_rate,
            slots: Slots::new(config.max_requests),
            waiters: Slots::with(config.bot_waiters, config.waiters_per_bot),
            imports: Arc::new(Semaphore::new(1)),
            scopes: Scopes::of(&document),
            document: document.to_string().into(),
            original: Original::new(&config.original)?,
            proxies: Networks::parse(&config.trusted_proxies)?,
            notes: left,
            monitor,
            cursors: Cursors::new(&secret),
            metrics,
            refusals: Throttle::default(),
            config,
        });
        context.readiness.dependency(DB_PROXY, false);
        let shown = Arc::clone(&api);
        context.dumps.register("http_api", move || {
            serde_json::json!({
                "connections": shown.metrics.meter.connections.get(),
                "requests": shown.slots.in_use(),
                "waiting_bots": shown.waiters.in_use(),
                "remembered_tokens": shown.tokens.len(),
                "counted_tokens": shown.token_rate.keys(),
                "counted_addresses": shown.address_rate.keys(),
                "monitored_servers": shown.monitor.len(),
                "subscribers": shown.metrics.subscribers.get(),
                "counted_hooks": shown.hook_rate.keys(),
            })
        });
        let router = v1::with_api(routes, Arc::clone(&api));
        Ok(Self {
            listener,
            local,
            service: Arc::new(Service { api, router }),
            monitor: reports,
            tls,
            notes,
            context,
        })
    }

    /// The bound addresses.
    pub fn bound(&self) -> Bound {
        Bound {
            http: self.local,
            monitor: self.monitor.as_ref().map(BoundGrpc::local_addr),
        }
    }

    /// The way in for servers of the same process that report.
    pub fn monitor(&self) -> Arc<Monitor> {
        Arc::new(self.service.api.monitor.clone())
    }

    /// What this server counts.
    pub fn metrics(&self) -> Metrics {
        self.service.api.metrics.clone()
    }

    /// Serves until `stop` fires; requests that are open then have a while.
    ///
    /// # Errors
    /// The port of servers that report fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            listener,
            local,
            service,
            monitor,
            tls,
            notes,
            context,
        } = self;
        let api = Arc::clone(&service.api);
        let reports = monitor.as_ref().map(BoundGrpc::local_addr);
        info!(listen = %local, https = tls.is_some(), monitor = ?reports, "http-api serves");
        let tasks = TaskTracker::new();
        let stops = Stops {
            drain: stop.child_token(),
            end: CancellationToken::new(),
        };
        if let Some(tls) = tls.clone() {
            let (readiness, failing) = (
                context.readiness.clone(),
                api.metrics.certificate_failing.clone(),
            );
            let (used, end) = (tls.clone(), api.metrics.certificate_end.clone());
            readiness.dependency(CERTIFICATE, true);
            end.set(used.certificate_end());
            tasks.spawn(tls.follow(stops.drain.clone(), move |is_usable| {
                readiness.dependency(CERTIFICATE, is_usable);
                failing.set((!is_usable).into());
                end.set(used.certificate_end());
            }));
        }
        tasks.spawn(accept(
            listener,
            service,
            tls,
            api.metrics.meter.clone(),
            connections(&api.config),
            tasks.clone(),
            stops.clone(),
        ));
        tasks.spawn(look(Arc::clone(&api), context, stops.drain.clone()));
        let (admin, metrics) = (api.admin.clone(), api.metrics.clone());
        tasks.spawn(refusals::tell(notes, admin, metrics, stops.drain.clone()));
        let served = match monitor {
            Some(port) => {
                let served = port.run(stop.clone(), STOP_LINKS);
                let ended = async {
                    stop.cancelled().await;
                    api.monitor.stop().cancel();
                };
                let (served, ()) = tokio::join!(or_stop(served, &stop), ended);
                served
            }
            None => {
                stop.cancelled().await;
                api.monitor.stop().cancel();
                Ok(())
            }
        };
        tasks.close();
        let grace = api.config.stop_grace.duration();
        if timeout(grace, tasks.wait()).await.is_err() {
            stops.end.cancel();
            tasks.wait().await;
        }
        Ok(served?)
    }
}

/// Serves a port; when it fails, everything else stops too.
async fn or_stop(
    port: impl Future<Output = Result<(), ServeError>>,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let served = port.await;
    stop.cancel();
    served
}

/// Says whether db-proxy answers, and keeps gauges in step.
async fn look(api: Arc<Api>, context: Context, stop: CancellationToken) {
    let mut pause = FIRST_LOOK;
    let mut has_answered = false;
    loop {
        let Some(answers) = stop.run_until_cancelled(answers(&api.admin)).await else {
            return;
        };
        has_answered |= answers;
        context.readiness.dependency(DB_PROXY, answers);
        let show = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let metrics = &api.metrics;
        metrics.in_flight.set(show(api.slots.in_use()));
        metrics.waiting_bots.set(show(api.waiters.in_use()));
        metrics.remembered_tokens.set(show(api.tokens.len()));
        let callers = api.token_rate.keys() + api.address_rate.keys();
        metrics.counted_callers.set(show(callers));
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
        pause = if has_answered {
            LOOK_EVERY
        } else {
            (pause * 2).min(LOOK_EVERY)
        };
    }
}

/// Asks for a token that nobody has: the cheapest question.
async fn answers(admin: &Admin) -> bool {
    let mut admin = admin.clone();
    let question = admin.look_up_token(LookUpTokenRequest { id: 0 });
    let answer = timeout(LOOK_TIMEOUT, question).await;
    answer.is_ok_and(|answer| db_proxy::has_answered(&answer))
}

fn connections(config: &HttpApiConfig) -> im_http::Limits {
    im_http::Limits {
        places: places::Limits {
            total: config.max_connections,
            per_address: config.max_connections_per_address,
            reserved: config.reserved_connections.min(config.max_connections / 2),
            few: config.reserved_per_network,
            leaving: (config.max_connections / 8).max(MIN_LEAVING),
        },
        max_head: config.max_head.as_usize(),
        head_timeout: config.head_timeout.duration(),
        body_grace: config.body_grace.duration(),
        least_rate: config.least_rate.as_u64(),
        linger: config.linger.duration(),
        max_after_answer: config.max_body.as_u64(),
    }
}
