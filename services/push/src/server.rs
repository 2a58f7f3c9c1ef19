//! The role as a process runs it: tells phones where a provider is configured, and delivers to subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use im_config::{PreviewKind, PushConfig, TrustConfig};
use im_follower::{Follower, FollowerMetrics, Limits};
use im_proto_rpc::v1::{FollowCalls, FollowItems, PresenceAnswers, PresenceAsks};
use im_rpc::peers::Watch;
use im_rpc::{FollowerAttach, LinkKind as _, LinkMetrics, Peers, RoutePresence};
use im_runtime::Context;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::hooks::{Deliveries, HookMetrics};
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::provider::{ProviderError, Providers};
use crate::work::Push;
use im_outbound::TrustError;

/// Name of the follower.
const NAME: &str = "push";

/// Condition of readiness: there is a link to db-proxy.
const DB_PROXY_LINK: &str = "push_db_proxy_link";

/// The same for deliveries to subscriptions, which are another follower.
const SUBSCRIPTIONS_LINK: &str = "push_subscriptions_link";

/// Longest body of a message that is looked at for its text, bytes.
const TEXT_BYTES: u32 = 8 << 10;

/// Time beyond the provider's in which an attempt ends by itself.
const MARGIN: Duration = Duration::from_secs(5);

/// Time for notices that are under way to end at a stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What push needs from its process.
pub struct Deps {
    /// db-proxy, whose log is followed.
    pub db_proxy: Peers<FollowCalls, FollowItems>,
    /// The route servers, which know who is online.
    pub route: Peers<PresenceAsks, PresenceAnswers>,
    /// Counters of links.
    pub links: LinkMetrics,
    /// Metrics, readiness and dumps of the process.
    pub context: Context,
}

/// Why push cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A provider cannot be used as configured.
    #[error("prepare a push provider")]
    Provider(#[from] ProviderError),
    /// Certificates for deliveries to subscriptions cannot be used.
    #[error("set up TLS for subscriptions")]
    Trust(#[from] TrustError),
    /// There is no such time zone.
    #[error("use the time zone {name:?}")]
    TimeZone {
        /// As configured.
        name: String,
        /// Why.
        #[source]
        source: jiff::Error,
    },
}

/// Push, prepared but not running yet.
pub struct Server {
    config: PushConfig,
    deps: Deps,
    /// `None` where no provider is configured.
    following: Option<(Follower, Presence)>,
    /// `None` where they are switched off.
    deliveries: Option<Deliveries>,
}

impl Server {
    /// Reads keys and certificates.
    ///
    /// # Errors
    /// A file cannot be used, or there is no such time zone.
    pub fn new(config: PushConfig, trust: &TrustConfig, deps: Deps) -> Result<Self, ServerError> {
        let registered = &deps.context.metrics;
        let metrics = registered.register(Metrics::register);
        let counted = registered.register(|registry| FollowerMetrics::register(registry, NAME));
        let hooks = registered.register(HookMetrics::register);
        let (follows, delivers) = (counted.clone(), hooks.clone());
        let has_provider = config.has_provider();
        deps.context.dumps.register(NAME, move || {
            let notices = has_provider.then(|| BTreeMap::from(follows.show()));
            let subscriptions = BTreeMap::from(delivers.show());
            serde_json::json!({ "notices": notices, "subscriptions": subscriptions })
        });
        let deliveries = if config.subscriptions.enabled {
            deps.context.readiness.set(SUBSCRIPTIONS_LINK, false);
            Some(Deliveries::new(&config, trust, hooks)?)
        } else {
            None
        };
        let following = if config.has_provider() {
            deps.context.readiness.set(DB_PROXY_LINK, false);
            Some(follower(&config, trust, metrics, counted)?)
        } else {
            None
        };
        Ok(Self {
            config,
            deps,
            following,
            deliveries,
        })
    }

    /// Follows the log until `stop`; then notices that are under way get a while to end.
    ///
    /// # Errors
    /// None yet: links are made anew for ever.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            config,
            deps,
            following,
            deliveries,
        } = self;
        let tasks = TaskTracker::new();
        let rest = CancellationToken::new();
        let watch = |link, stop| Watch {
            link,
            config: &config.link,
            metrics: &deps.links,
            tasks: &tasks,
            stop,
        };
        let log = || {
            deps.db_proxy
                .watch(watch(FollowerAttach::LINK, rest.clone()))
        };
        let linked = |condition| {
            let readiness = deps.context.readiness.clone();
            move |is_linked| readiness.dependency(condition, is_linked)
        };
        let delivering = async {
            if let Some(deliveries) = deliveries {
                let linked = linked(SUBSCRIPTIONS_LINK);
                deliveries.run(log(), linked, stop.clone()).await;
            }
        };
        let telling = async {
            let Some((follower, presence)) = following else {
                info!("no push provider is configured, no phone is told");
                return;
            };
            let routes = deps.route.watch(watch(RoutePresence::LINK, rest.clone()));
            tasks.spawn(presence.follow(routes, tasks.clone(), rest.clone()));
            info!("push follows the log");
            let linked = linked(DB_PROXY_LINK);
            follower.run(log(), linked, stop.clone()).await;
        };
        tokio::join!(delivering, telling);
        stop.cancelled().await;
        rest.cancel();
        tasks.close();
        if tokio::time::timeout(STOP_GRACE, tasks.wait())
            .await
            .is_err()
        {
            warn!("tasks of push did not end in time");
        }
        Ok(())
    }
}

/// The follower that tells phones, with its keys and certificates.
fn follower(
    config: &PushConfig,
    trust: &TrustConfig,
    metrics: Metrics,
    counted: FollowerMetrics,
) -> Result<(Follower, Presence), ServerError> {
    let providers = Providers::new(config, trust)?;
    let zone = match config.time_zone.as_str() {
        "" => TimeZone::system(),
        name => TimeZone::get(name).map_err(|source| ServerError::TimeZone {
            name: name.to_owned(),
            source,
        })?,
    };
    let presence = Presence::new(config.presence_timeout.duration(), metrics.clone());
    let work = Push::new(config.clone(), zone, providers, presence.clone(), metrics);
    let limits = limits(config);
    let follower = Follower::new(NAME, Arc::new(work), limits, counted);
    Ok((follower, presence))
}

fn limits(config: &PushConfig) -> Limits {
    Limits {
        flush: config.flush_interval.duration(),
        gather: config.gather.duration(),
        body_bytes: match config.preview {
            PreviewKind::Text => TEXT_BYTES,
            PreviewKind::Generic => 0,
        },
        lane: config.in_flight,
        patience: config.patience.duration(),
        attempt: config.attempt_timeout.duration() + MARGIN,
        longest: longest(config),
        retries: config.max_retries,
        stop_grace: STOP_GRACE,
    }
}

/// No job waits longer than this: a back-off, a lane that is full, or the lease of two attempts.
fn longest(config: &PushConfig) -> Duration {
    let lease = (config.attempt_timeout.duration() + MARGIN) * 2;
    let waits = [config.retry_max.duration(), config.patience.duration()];
    waits.into_iter().fold(lease, Duration::max)
}
