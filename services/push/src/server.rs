//! The role as a process runs it: follows the log where a provider is configured, waits otherwise.

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

use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::provider::{ProviderError, Providers};
use crate::work::Push;

/// Name of the follower.
const NAME: &str = "push";

/// Condition of readiness: there is a link to db-proxy.
const DB_PROXY_LINK: &str = "push_db_proxy_link";

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
    /// Metrics and readiness of the process.
    pub context: Context,
}

/// Why push cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A provider cannot be used as configured.
    #[error("prepare a push provider")]
    Provider(#[from] ProviderError),
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
        if !config.has_provider() {
            return Ok(Self {
                config,
                deps,
                following: None,
            });
        }
        let providers = Providers::new(&config, trust)?;
        let zone = match config.time_zone.as_str() {
            "" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|source| ServerError::TimeZone {
                name: name.to_owned(),
                source,
            })?,
        };
        let presence = Presence::new(config.presence_timeout.duration(), metrics.clone());
        let work = Push::new(config.clone(), zone, providers, presence.clone(), metrics);
        let limits = limits(&config);
        let follower = Follower::new(NAME, Arc::new(work), limits, counted);
        deps.context.readiness.set(DB_PROXY_LINK, false);
        Ok(Self {
            config,
            deps,
            following: Some((follower, presence)),
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
        } = self;
        let Some((follower, presence)) = following else {
            info!("no push provider is configured, nobody is told");
            stop.cancelled().await;
            return Ok(());
        };
        let tasks = TaskTracker::new();
        let rest = CancellationToken::new();
        let watch = |link, stop| Watch {
            link,
            config: &config.link,
            metrics: &deps.links,
            tasks: &tasks,
            stop,
        };
        let routes = deps.route.watch(watch(RoutePresence::LINK, rest.clone()));
        tasks.spawn(presence.follow(routes, tasks.clone(), rest.clone()));
        let logs = deps
            .db_proxy
            .watch(watch(FollowerAttach::LINK, rest.clone()));
        let readiness = deps.context.readiness.clone();
        info!("push follows the log");
        let linked = |is_linked| readiness.dependency(DB_PROXY_LINK, is_linked);
        follower.run(logs, linked, stop).await;
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
        retries: config.max_retries,
        stop_grace: STOP_GRACE,
    }
}
