//! The running operator: telemetry, admin port, definition check, lease, watches, reconciliation.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use im_config::{LogConfig, LogFormat as LogWords, TraceConfig};
use im_operator_plan::Settings;
use im_runtime::admin::Admin;
use im_runtime::signals::{Signals, Stop};
use im_runtime::telemetry;
use kube::runtime::controller::{self, applier};
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::backoff::Backoff;
use crate::cache::Cache;
use crate::cli::{LogFormat, RunArgs};
use crate::clusters;
use crate::context::{Context, Memories};
use crate::lease::Seat;
use crate::load::Loads;
use crate::metrics::{CONTROLLER_LABELS, Metrics, QUEUE_LABELS};
use crate::nodes::Nodes;
use crate::notices::Notices;
use crate::reconcile;
use crate::triggers::Triggers;
use crate::watch::{SYNC_LIMIT, Watches};

/// A process without a heartbeat for this long is restarted.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Time for running reconciliations at the end.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Condition of readiness: every kind has been listed once.
const CACHES: &str = "caches";

/// Runs until a signal, or until the lease is lost, which is an error.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let log = LogConfig {
        filter: args.log.clone(),
        format: match args.log_format {
            LogFormat::Human => LogWords::Human,
            LogFormat::Json => LogWords::Json,
        },
    };
    let telemetry = telemetry::init(&log, &TraceConfig::default(), "im-operator")?;
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
    let client = crate::client::connect(config, metrics.clone(), args.stop_after_writes)
        .context("make a client of the API server")?;
    let runtimes = vec![Handle::current()];
    let admin = Admin::bind(&args.admin_listen, process.clone(), HEARTBEAT, runtimes).await?;
    info!(address = %admin.local_addr(), "admin port");
    let tasks = TaskTracker::new();
    let admin_stop = CancellationToken::new();
    tasks.spawn({
        let stop = admin_stop.clone();
        async move {
            if let Err(error) = admin.run(stop).await {
                error!(%error, "admin port failed");
            }
        }
    });
    let identity = identity(&args);
    let operator = Operator {
        args: &args,
        client,
        metrics,
        own_namespace,
        identity,
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
    metrics: Metrics,
    own_namespace: String,
    identity: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Operator<'_> {
    async fn run(&self, process: &im_runtime::Context) -> anyhow::Result<()> {
        let checked = crate::definition::wait(&self.client, &process.readiness);
        if self.stop.run_until_cancelled(checked).await.is_none() {
            return Ok(());
        }
        if self.args.no_lease {
            self.metrics
                .leader
                .get_or_create_owned(&QUEUE_LABELS)
                .set(1);
            self.reconcile(process).await;
            return Ok(());
        }
        // A replica without the lease is ready: it has nothing to wait for but its turn.
        process.readiness.set(CACHES, true);
        self.metrics
            .leader
            .get_or_create_owned(&QUEUE_LABELS)
            .set(0);
        let seat = Seat::new(
            self.client.clone(),
            &self.own_namespace,
            &self.args.lease_name,
            &self.identity,
        );
        let Some(mut lease) = self.stop.run_until_cancelled(seat.acquire()).await else {
            return Ok(());
        };
        self.metrics
            .leader
            .get_or_create_owned(&QUEUE_LABELS)
            .set(1);
        process.readiness.set(CACHES, false);
        let stopped = tokio::select! {
            () = seat.keep(&mut lease) => false,
            () = self.reconcile(process) => true,
        };
        self.metrics
            .leader
            .get_or_create_owned(&QUEUE_LABELS)
            .set(0);
        if !stopped {
            // Another replica may be working already: no write may follow.
            bail!("the lease is lost");
        }
        seat.release(&lease).await;
        Ok(())
    }

    /// Reconciles until told to stop, and ends what is running in order.
    async fn reconcile(&self, process: &im_runtime::Context) {
        let args = self.args;
        let (triggers, queue) = Triggers::new(self.metrics.clone());
        let cache = Cache::default();
        let ctx = Arc::new(Context {
            client: self.client.clone(),
            settings: Settings {
                image_repository: args.image_repository.clone(),
                node_access: args.node_access,
                operator_namespace: self.own_namespace.clone(),
                ..Settings::default()
            },
            cache: cache.clone(),
            triggers: triggers.clone(),
            loads: Loads::new(
                cache.clone(),
                triggers.clone(),
                self.tasks.clone(),
                self.stop.clone(),
            ),
            notices: Notices::new(self.client.clone(), &self.identity),
            metrics: self.metrics.clone(),
            nodes: Nodes::default(),
            backoff: Backoff::default(),
            resync: Duration::from_secs(args.resync_seconds),
            memories: Memories::default(),
        });
        let scopes = self.scopes();
        let mut synced = Vec::new();
        let mut stores = Vec::new();
        for namespace in &scopes {
            let watches = Watches {
                client: self.client.clone(),
                namespace: namespace.clone(),
                cache: cache.clone(),
                triggers: triggers.clone(),
                metrics: self.metrics.clone(),
                stop: self.stop.clone(),
                tasks: self.tasks.clone(),
            };
            synced.push(watches.start());
        }
        let listed = async {
            for synced in synced {
                synced.wait().await;
            }
        };
        info!(?scopes, "listing");
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
        let concurrency = i64::from(args.concurrency);
        self.metrics
            .max_concurrent
            .get_or_create_owned(&CONTROLLER_LABELS)
            .set(concurrency);
        for namespace in &scopes {
            stores.push(clusters::follow(
                &self.client,
                namespace.as_deref(),
                triggers.clone(),
                self.metrics.clone(),
                self.stop.clone(),
                &self.tasks,
            ));
        }
        self.apply(ctx, queue, stores).await;
    }

    /// One queue per scope, all of them bounded together by `concurrency` permits.
    async fn apply(
        &self,
        ctx: Arc<Context>,
        queue: impl futures::Stream<Item = crate::cache::ClusterKey> + Send + 'static,
        stores: Vec<kube::runtime::reflector::Store<clusters::Guarded>>,
    ) {
        let config = controller::Config::default()
            .concurrency(self.args.concurrency)
            .debounce(Duration::from_millis(self.args.debounce_millis));
        let scopes = self.scopes();
        let mut senders = Vec::new();
        let mut runs = Vec::new();
        let permits = Arc::new(tokio::sync::Semaphore::new(usize::from(
            self.args.concurrency,
        )));
        for (namespace, store) in scopes.iter().zip(stores) {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            senders.push((namespace.clone(), sender));
            let requests = futures::stream::unfold(receiver, |mut receiver| async {
                let key: crate::cache::ClusterKey = receiver.recv().await?;
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
                Arc::clone(&ctx),
                store,
                requests.boxed(),
                config.clone(),
            );
            let ctx = Arc::clone(&ctx);
            runs.push(async move {
                outcomes
                    .for_each(|outcome| {
                        if let Err(controller::Error::ObjectNotFound(reference)) = &outcome {
                            let key = crate::cache::ClusterKey {
                                namespace: reference.namespace.clone().unwrap_or_default(),
                                name: reference.name.clone(),
                            };
                            ctx.triggers.begin(&key);
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
            let mut queue = std::pin::pin!(queue);
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

    /// The watched namespaces; `None` is all of them.
    fn scopes(&self) -> Vec<Option<String>> {
        if self.args.all_namespaces {
            return vec![None];
        }
        let mut namespaces: Vec<String> = self
            .args
            .namespaces
            .iter()
            .filter(|it| !it.is_empty())
            .cloned()
            .collect();
        namespaces.sort();
        namespaces.dedup();
        if namespaces.is_empty() {
            namespaces.push(self.own_namespace.clone());
        }
        namespaces.into_iter().map(Some).collect()
    }
}

/// The name of this replica, unlike that of any other.
fn identity(args: &RunArgs) -> String {
    args.identity.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{:08x}", host.trim(), rand::random::<u32>())
    })
}
