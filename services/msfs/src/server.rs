//! The role as a process runs it: a port and the store behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_blob::{BlobError, BlobPlace, DirectoryOptions};
use im_config::{MsfsConfig, Probe};
use im_core::{Chain, places};
use im_http::{Quota, Stops, Tls, TlsError, TlsFiles, accept};
use im_runtime::listen::{self, ListenError};
use im_runtime::{Context, Throttle};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::metrics::Metrics;
use crate::probe::{self, ProbeError, Token};
use crate::scale::Bounds;
use crate::scaler::{self, Scaler};
use crate::service::{Limits, Shared};

/// Clients that may wait in the kernel's queue of the port.
const BACKLOG: i32 = 1_024;

/// Clients evicted but not gone yet, at least: as many as are accepted before other tasks have a turn.
const MIN_LEAVING: usize = 128;

/// Told beside readiness: the files of the certificate can be used.
const CERTIFICATE: &str = "msfs_certificate";

/// How often gauges follow.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// What an msfs server needs from its process.
#[derive(Debug)]
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Where the pictures are kept; a folder is made if it is not there.
    pub pictures: BlobPlace,
}

/// Why an msfs server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The port cannot be bound.
    #[error("open the port of the msfs server")]
    Listen(#[from] ListenError),
    /// The files of the certificate cannot be used.
    #[error("use the certificate of msfs.certificate_file and msfs.key_file")]
    Tls(#[from] TlsError),
    /// The folder or bucket cannot be used.
    #[error("use {place} for pictures")]
    Store {
        /// The folder, or the bucket as a URL.
        place: String,
        /// Why not.
        #[source]
        source: BlobError,
    },
    /// The public URL does not lead to this server, and `msfs.probe` requires it.
    #[error("reach this server through its public URL {url} (msfs.public_url)")]
    PublicUrl {
        /// The URL.
        url: String,
        /// What happened instead.
        #[source]
        source: ProbeError,
    },
}

/// An msfs server that is bound but does not run yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    shared: Arc<Shared>,
    tls: Option<Tls>,
    context: Context,
    connections: im_http::Limits,
    /// Scaling goes on beside connections.
    jobs: TaskTracker,
    probe: Probe,
    probe_timeout: Duration,
    stop_grace: Duration,
}

impl Server {
    /// Binds the port, reads the certificate if there is one, and opens the folder.
    ///
    /// # Errors
    /// The port cannot be bound, the certificate or the folder cannot be used.
    pub async fn bind(config: MsfsConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps { context, pictures } = deps;
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
        let listener = listen::tcp(&config.listen, BACKLOG).await?;
        let local = listener.local_addr().map_err(|source| ListenError {
            address: config.listen.clone(),
            source,
        })?;
        let options =
            DirectoryOptions::default().free_space_floor(config.free_space_floor.as_u64());
        let place = pictures.to_string();
        let store = match pictures.open(options).await {
            Ok(store) => store,
            Err(source) => return Err(ServerError::Store { place, source }),
        };
        let metrics = context.metrics.register(Metrics::register);
        let jobs = TaskTracker::new();
        let limits = limits(&config);
        let scaling = scaler::Limits {
            picture: limits.picture,
            workers: config.scale_workers,
            jobs: config.max_scaling,
            jobs_per_address: config.max_scaling_per_address,
        };
        let shared = Arc::new(Shared {
            scaler: Scaler::new(Arc::clone(&store), scaling, metrics.clone(), jobs.clone()),
            store,
            quota: Quota::new(
                config.upload_burst.as_u64(),
                config.upload_per_minute.as_u64(),
                config.counted_addresses,
            ),
            limits,
            metrics,
            public_url: Some(config.public_url.clone()).filter(|url| !url.is_empty()),
            probe: Token::random(),
            log: Throttle::default(),
        });
        let shown = Arc::clone(&shared);
        context.dumps.register("msfs", move || {
            serde_json::json!({
                "pictures": place,
                "public_url": shown.public_url,
                "connections": shown.metrics.meter.connections.get(),
                "scaling": shown.scaler.jobs(),
                "counted_addresses": shown.quota.keys(),
            })
        });
        Ok(Self {
            listener,
            local,
            shared,
            tls,
            context,
            connections: connections(&config),
            jobs,
            probe: config.probe,
            probe_timeout: config.probe_timeout.duration(),
            stop_grace: config.stop_grace.duration(),
        })
    }

    /// The bound address.
    pub const fn bound(&self) -> SocketAddr {
        self.local
    }

    /// What this server counts.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.clone()
    }

    /// Serves until `stop` fires; requests that are open then have a while.
    ///
    /// # Errors
    /// [`ServerError::PublicUrl`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            listener,
            local,
            shared,
            tls,
            context,
            connections,
            jobs,
            probe,
            probe_timeout,
            stop_grace,
        } = self;
        let (public_url, https) = (&shared.public_url, tls.is_some());
        info!(listen = %local, public_url, https, "msfs serves");
        let tasks = TaskTracker::new();
        let stops = Stops {
            drain: stop.child_token(),
            end: CancellationToken::new(),
        };
        if let Some(tls) = tls.clone() {
            let readiness = context.readiness.clone();
            let failing = shared.metrics.certificate_failing.clone();
            let (used, end) = (tls.clone(), shared.metrics.certificate_end.clone());
            readiness.dependency(CERTIFICATE, true);
            end.set(used.certificate_end());
            tasks.spawn(tls.follow(stops.drain.clone(), move |is_usable| {
                readiness.dependency(CERTIFICATE, is_usable);
                failing.set((!is_usable).into());
                end.set(used.certificate_end());
            }));
        }
        let accepting = accept(
            listener,
            Arc::clone(&shared),
            tls,
            shared.metrics.meter.clone(),
            connections,
            tasks.clone(),
            stops.clone(),
        );
        tasks.spawn(accepting);
        tasks.spawn(show(Arc::clone(&shared), stops.drain.clone()));
        let proved = stop
            .run_until_cancelled(prove(&shared, probe, probe_timeout))
            .await
            .unwrap_or(Ok(()));
        if proved.is_ok() {
            stop.cancelled().await;
        }
        stops.drain.cancel();
        tasks.close();
        if timeout(stop_grace, tasks.wait()).await.is_err() {
            stops.end.cancel();
            tasks.wait().await;
        }
        // A picture at work ends within its bounds.
        jobs.close();
        jobs.wait().await;
        proved
    }
}

/// Proves the public URL, as far as that is wanted.
async fn prove(shared: &Shared, probe: Probe, limit: Duration) -> Result<(), ServerError> {
    let Some(url) = shared.public_url.as_deref().filter(|_| probe != Probe::Off) else {
        return Ok(());
    };
    match probe::prove(url, &shared.probe, limit).await {
        Ok(()) => info!(url, "the public URL leads here"),
        Err(source) if probe == Probe::Require => {
            let url = url.to_owned();
            return Err(ServerError::PublicUrl { url, source });
        }
        Err(ProbeError::Scheme) => {
            warn!(
                url,
                "the public URL is not proved: only plain http is fetched"
            );
        }
        Err(source) => error!(
            url,
            error = %Chain(&source),
            "the public URL (msfs.public_url) does not lead here: clients will not find pictures"
        ),
    }
    Ok(())
}

/// Keeps gauges in step.
async fn show(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = interval(SHOW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let addresses = i64::try_from(shared.quota.keys()).unwrap_or(i64::MAX);
        shared.metrics.counted_addresses.set(addresses);
    }
}

fn limits(config: &MsfsConfig) -> Limits {
    Limits {
        max_upload: config.max_upload.as_usize(),
        max_form: config.max_form.as_usize(),
        picture: Bounds {
            max_side: config.max_side,
            max_pixels: config.max_pixels,
            memory: config.decode_memory.as_u64(),
        },
    }
}

fn connections(config: &MsfsConfig) -> im_http::Limits {
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
        max_after_answer: config.max_upload.as_u64(),
    }
}
