//! The running operator: telemetry, admin port, definition check, lease, watches, reconciliation.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use futures::stream::BoxStream;
use im_config::units::Span;
use im_config::{AdminConfig, Check as _, LogConfig, LogFormat as LogWords, TraceConfig};
use im_core::Chain;
use im_operator_plan::Settings;
use im_runtime::Readiness;
use im_runtime::admin::Admin;
use im_runtime::signals::{Signals, Stop};
use im_runtime::telemetry;
use kube::runtime::controller::{self, applier};
use kube::runtime::reflector::Store;
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::cache::{Cache, ClusterKey};
use crate::claims::{self, Claims};
use crate::cli::{LogFormat, RunArgs};
use crate::clusters;
use crate::context::{Context, Memories};
use crate::lease::{LeaderElection, Timing, Turn};
use crate::load::Loads;
use crate::metrics::{CONTROLLER_LABELS, Metrics, QUEUE_LABELS};
use crate::nodes::Nodes;
use crate::reconcile;
use crate::recorder::EventRecorder;
use crate::watch::{SYNC_LIMIT, Synced, Watches};
use crate::work_queue::WorkQueue;

/// A process without a heartbeat for this long is restarted.
const HEARTBEAT: Span = Span::seconds(30);
/// A status in which no condition turned is written this often at most, so that a roll or a start is told
/// in few writes.
const STATUS_REST: Duration = Duration::from_secs(1);
/// Time for running reconciliations at the end.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Condition of readiness: every kind has been listed once.
const CACHES: &str = "caches";

/// Runs until a signal.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let log = LogConfig {
        filter: args.log.clone(),
        format: match args.log_format {
            LogFormat::Human => LogWords::Human,
            LogFormat::Json => LogWords::Json,
        },
    };
    let trace = TraceConfig {
        endpoint: args.trace_endpoint.clone(),
        ratio: args.trace_ratio,
        ..TraceConfig::default()
    };
    trace
        .validate()
        .context("check --trace-endpoint and --trace-ratio")?;
    let telemetry = telemetry::init(&log, &trace, "im-operator")?;
    let signals = Signals::install().context("install signal handlers")?;
    let stop = CancellationToken::new();
    let work = Box::pin(work(args, stop.clone()));
    let (ended, result) = signals
        .supervise(work, &stop, STOP_LIMIT + Duration::from_secs(5))
        .await;
    telemetry.finish().await;
    match (ended, result) {
        (_, Some(result)) => result,
        (Stop::AtOnce, None) => bail!("stopped at once by a second signal"),
        (_, None) => bail!("did not stop in time"),
    }
}

async fn work(args: RunArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let process = im_runtime::Context::default();
    let metrics = process.metrics.register(Metrics::register);
    process.metrics.register(|registry| {
        im_runtime::process::register(registry, vec![Handle::current()]);
    });
    process.readiness.set(crate::definition::CONDITION, false);
    process.readiness.set(CACHES, false);
    let config = Config::infer().await.context("find the API server")?;
    let own_namespace = args
        .lease_namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let turn = Turn::default();
    let timing = Timing::new(
        args.lease_duration_seconds,
        args.lease_renew_deadline_seconds,
        args.lease_retry_seconds,
    )?;
    let stop_after = args.stop_after_writes;
    let connect = |config| {
        crate::client::connect(config, metrics.clone(), turn.clone(), stop_after)
            .context("make a client of the API server")
    };
    let scopes = scopes(&args, &own_namespace);
    let per_connection = usize::from(args.watches_per_connection);
    // Apart from the rest: what watches fill holds up no write and no Lease.
    let watchers = (0..crate::client::connections(scopes.len(), per_connection))
        .map(|_| connect(config.clone()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let client = connect(config)?;
    let runtimes = vec![Handle::current()];
    let port = AdminConfig {
        listen: args.admin_listen.clone(),
        heartbeat: HEARTBEAT,
        ..AdminConfig::default()
    };
    let admin = Admin::bind(port, process.clone(), runtimes).await?;
    info!(address = %admin.local_addr(), "admin port");
    let tasks = TaskTracker::new();
    let admin_stop = CancellationToken::new();
    tasks.spawn({
        let stop = admin_stop.clone();
        async move {
            if let Err(error) = admin.run(stop).await {
                error!(error = %Chain(&error), "admin port failed");
            }
        }
    });
    let identity = identity(&args);
    let operator = Operator {
        args: &args,
        client,
        watchers,
        scopes,
        metrics,
        own_namespace,
        identity,
        turn,
        timing,
        stop,
        tasks: tasks.clone(),
    };
    let result = operator.run(&process).await;
    admin_stop.cancel();
    tasks.close();
    // Readers and watches stop by the token; what is late is left.
    drop(tokio::time::timeout(Duration::from_secs(2), tasks.wait()).await);
    result
}

struct Operator<'a> {
    args: &'a RunArgs,
    client: Client,
    /// For watches; each scope has one of them.
    watchers: Vec<Client>,
    /// The watched namespaces; `None` is all of them.
    scopes: Vec<Option<String>>,
    metrics: Metrics,
    own_namespace: String,
    identity: String,
    turn: Turn,
    timing: Timing,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What a turn works with; it outlives the turn.
struct Work {
    ctx: Arc<Context>,
    queue: BoxStream<'static, ClusterKey>,
    synced: Vec<Synced>,
    /// Empty until the children have been listed once.
    stores: Vec<Store<clusters::Guarded>>,
}

impl Operator<'_> {
    async fn run(&self, process: &im_runtime::Context) -> anyhow::Result<()> {
        let checked = crate::definition::wait(&self.client, &process.readiness);
        if self.stop.run_until_cancelled(checked).await.is_none() {
            return Ok(());
        }
        let mut work = None;
        if self.args.no_lease {
            self.turn.always();
            self.lead(true);
            self.reconcile(&mut work, process).await;
            return Ok(());
        }
        // A replica without the lease is ready: it has nothing to wait for but its turn.
        process.readiness.set(CACHES, true);
        self.lead(false);
        let seat = LeaderElection::new(
            self.client.clone(),
            &self.own_namespace,
            &self.args.lease_name,
            &self.identity,
            self.timing,
            self.turn.clone(),
        );
        loop {
            let Some(mut held) = self.stop.run_until_cancelled(seat.acquire()).await else {
                return Ok(());
            };
            self.lead(true);
            self.metrics.lease_transitions.set(held.transitions());
            let stopped = tokio::select! {
                // What is under way is dropped with the lease: another replica may begin.
                biased;
                () = seat.keep(&mut held) => false,
                () = self.reconcile(&mut work, process) => true,
            };
            self.lead(false);
            if let Some(work) = &work {
                work.ctx.claims.end();
            }
            if stopped {
                seat.release(held).await;
                return Ok(());
            }
            warn!("the lease is lost; standing again");
        }
    }

    fn lead(&self, leads: bool) {
        self.metrics
            .leader
            .get_or_create_owned(&QUEUE_LABELS)
            .set(i64::from(leads));
    }

    /// Reconciles until told to stop, and ends what is running in order. What is made for that in
    /// the first turn is kept in `work` for the next ones.
    async fn reconcile(&self, work: &mut Option<Work>, process: &im_runtime::Context) {
        let is_first = work.is_none();
        if is_first {
            crate::client::warm(&self.watchers).await;
        }
        let work = work.get_or_insert_with(|| self.watch(&process.readiness));
        if is_first {
            process.readiness.set(CACHES, false);
        }
        let listed = futures::future::join_all(work.synced.iter().map(Synced::wait));
        let waited = self.stop.run_until_cancelled(async {
            let mut listed = std::pin::pin!(listed);
            while tokio::time::timeout(SYNC_LIMIT, listed.as_mut())
                .await
                .is_err()
            {
                error!(
                    "the objects of the operator cannot be listed; see the warnings about watches"
                );
            }
        });
        if waited.await.is_none() {
            return;
        }
        process.readiness.set(CACHES, true);
        info!("listed");
        if work.stores.is_empty() {
            self.metrics
                .max_concurrent
                .get_or_create_owned(&CONTROLLER_LABELS)
                .set(i64::from(self.args.concurrency));
            work.stores = self.follow(&work.ctx);
        } else {
            // Another process may have written meanwhile, and looks that were under way are gone.
            work.ctx.memories.clear();
            self.metrics
                .active_workers
                .get_or_create_owned(&CONTROLLER_LABELS)
                .set(0);
            let objects = work.stores.iter().flat_map(Store::state);
            let keys = objects.map(|object| clusters::key(object.as_ref()));
            work.ctx.work_queue.restart(keys);
        }
        self.apply(work).await;
    }

    /// Namespaces are claimed for this installation, unless replicas are not told apart either.
    fn claims(&self, work_queue: WorkQueue, readiness: &Readiness) -> Claims {
        if self.args.no_lease {
            return Claims::default();
        }
        Claims::new(claims::Settings {
            client: self.client.clone(),
            installation: format!("{}/{}", self.own_namespace, self.args.lease_name),
            timing: Timing::of_claims(self.args.claim_duration_seconds),
            work_queue,
            readiness: readiness.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        })
    }

    /// Starts the watches on children.
    fn watch(&self, readiness: &Readiness) -> Work {
        let args = self.args;
        let (work_queue, queue) = WorkQueue::new(self.metrics.clone());
        let cache = Cache::default();
        let ctx = Arc::new(Context {
            client: self.client.clone(),
            settings: Settings {
                image_repository: args.image_repository.clone(),
                node_access: args.node_access,
                operator_namespace: self.own_namespace.clone(),
                api_server_ports: args.api_server_ports.clone(),
                api_server_cidrs: args.api_server_cidrs.clone(),
                ..Settings::default()
            },
            cache: cache.clone(),
            work_queue: work_queue.clone(),
            loads: Loads::new(
                cache.clone(),
                work_queue.clone(),
                self.tasks.clone(),
                self.stop.clone(),
            ),
            recorder: EventRecorder::new(self.client.clone(), &self.identity),
            metrics: self.metrics.clone(),
            nodes: Nodes::new(work_queue.clone(), self.tasks.clone(), self.stop.clone()),
            backoff: Backoff::default(),
            resync: Duration::from_secs(args.resync_seconds),
            status_rest: STATUS_REST,
            memories: Memories::default(),
            claims: self.claims(work_queue.clone(), readiness),
        });
        info!(scopes = ?self.scopes, "listing");
        let synced = self.scopes_and_watchers().map(|(namespace, client)| {
            let watches = Watches {
                client: client.clone(),
                namespace: namespace.clone(),
                cache: cache.clone(),
                work_queue: work_queue.clone(),
                metrics: self.metrics.clone(),
                stop: self.stop.clone(),
                tasks: self.tasks.clone(),
            };
            watches.start()
        });
        Work {
            ctx,
            queue: queue.boxed(),
            synced: synced.collect(),
            stores: Vec::new(),
        }
    }

    /// Starts the watches on ImClusters.
    fn follow(&self, ctx: &Context) -> Vec<Store<clusters::Guarded>> {
        let follow = |(namespace, client): (&Option<String>, &Client)| {
            clusters::follow(
                client,
                namespace.as_deref(),
                ctx.work_queue.clone(),
                self.metrics.clone(),
                self.stop.clone(),
                &self.tasks,
            )
        };
        self.scopes_and_watchers().map(follow).collect()
    }

    /// Each scope with the client of its watches.
    fn scopes_and_watchers(&self) -> impl Iterator<Item = (&Option<String>, &Client)> {
        self.scopes.iter().zip(self.watchers.iter().cycle())
    }

    /// One queue per scope, all of them bounded together by `concurrency` permits.
    async fn apply(&self, work: &mut Work) {
        let Work {
            ctx, queue, stores, ..
        } = work;
        let config = controller::Config::default()
            .concurrency(self.args.concurrency)
            .debounce(Duration::from_millis(self.args.debounce_millis));
        let scopes = &self.scopes;
        let mut senders = Vec::new();
        let mut runs = Vec::new();
        let permits = Arc::new(tokio::sync::Semaphore::new(usize::from(
            self.args.concurrency,
        )));
        for (namespace, store) in scopes.iter().zip(stores.iter()) {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            senders.push((namespace.clone(), sender));
            let requests = futures::stream::unfold(receiver, |mut receiver| async {
                let key: ClusterKey = receiver.recv().await?;
                Some((
                    Ok::<_, std::convert::Infallible>(clusters::reference(&key)),
                    receiver,
                ))
            });
            let permits = Arc::clone(&permits);
            let outcomes = applier(
                move |object, ctx| {
                    let permits = Arc::clone(&permits);
                    Box::pin(async move {
                        let _permit = permits.acquire().await;
                        reconcile::reconcile(object, ctx).await
                    })
                },
                |object, error, ctx: Arc<Context>| reconcile::retry(&object, error, &ctx),
                Arc::clone(ctx),
                store.clone(),
                requests.boxed(),
                config.clone(),
            );
            let ctx = Arc::clone(ctx);
            runs.push(async move {
                outcomes
                    .for_each(|outcome| {
                        if let Err(controller::Error::ObjectNotFound(reference)) = &outcome {
                            let key = ClusterKey {
                                namespace: reference.namespace.clone().unwrap_or_default(),
                                name: reference.name.clone(),
                            };
                            ctx.work_queue.begin(&key);
                            ctx.forget(&key);
                            debug!(%reference, "gone");
                        }
                        std::future::ready(())
                    })
                    .await;
            });
        }
        let stop = self.stop.clone();
        let route = async move {
            while let Some(Some(key)) = stop.run_until_cancelled(queue.next()).await {
                let scope = senders.iter().find(|(namespace, _)| {
                    namespace.as_ref().is_none_or(|it| *it == key.namespace)
                });
                if let Some((_, sender)) = scope {
                    // The receiver lives as long as this loop.
                    drop(sender.send(key));
                }
            }
            // The queues end here, and with them, after what is running, the appliers.
        };
        let finishing = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_LIMIT).await;
        };
        tokio::select! {
            _ = async { tokio::join!(route, futures::future::join_all(runs)) } => {}
            () = finishing => error!("reconciliations did not end in time"),
        }
    }
}

/// The watched namespaces; `None` is all of them.
fn scopes(args: &RunArgs, own_namespace: &str) -> Vec<Option<String>> {
    if args.all_namespaces {
        return vec![None];
    }
    let all = args.namespaces.iter().filter(|it| !it.is_empty());
    let mut namespaces: Vec<String> = all.cloned().collect();
    namespaces.sort();
    namespaces.dedup();
    if namespaces.is_empty() {
        namespaces.push(own_namespace.to_owned());
    }
    namespaces.into_iter().map(Some).collect()
}

/// The name of this replica, unlike that of any other.
fn identity(args: &RunArgs) -> String {
    args.identity.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{:08x}", host.trim(), rand::random::<u32>())
    })
}
