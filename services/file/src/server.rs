//! The role as a process runs it: the two ports, and the hub behind them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use im_blob::{BlobError, BlobPlace, DirectoryOptions};
use im_config::FileConfig;
use im_core::places::{self, Admission};
use im_core::{AcceptBackoff, Chain};
use im_proto_rpc::v1::FileAddress;
use im_rpc::serve::{BoundGrpc, GrpcServer, ServeError};
use im_rpc::{FileAttach, Guard};
use im_runtime::Context;
use im_runtime::listen::{self, ListenError};
use im_runtime::requests::Refused;
use im_transport::Transport;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::conn::Conn;
use crate::control::Control;
use crate::hub::Hub;
use crate::link::Attach;
use crate::metrics::{Metrics, Refusal};
use crate::serve::{self, AROUND_BLOCK};

/// Clients evicted but not gone yet, at least: as many as are accepted before other tasks have a turn.
const MIN_LEAVING: usize = 128;

/// Time for links and connections to end after they were told to.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How often a server that stops looks whether transfers are over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What may wait on a connection beside blocks, bytes: echoes of one read.
const BESIDE_BLOCKS: usize = 128 << 10;

/// What a file server needs from its process.
#[derive(Debug)]
pub struct Deps {
    /// Metrics, readiness, dumps.
    pub context: Context,
    /// Admits msg servers to the port for them. `None` opens none: they are in the same process.
    pub guard: Option<Guard>,
    /// Where files are kept; a folder is made if it does not exist.
    pub files: BlobPlace,
}

/// Addresses of a bound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Port of clients.
    pub client: SocketAddr,
    /// Port of msg servers; `None` without one.
    pub grpc: Option<SocketAddr>,
}

/// Why a file server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A port cannot be bound.
    #[error("open a port of the file server")]
    Listen(#[from] ListenError),
    /// The port of msg servers cannot be served.
    #[error("serve the port of msg servers")]
    Serve(#[from] ServeError),
    /// The directory cannot be used.
    #[error("use {path} for files")]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another file server uses the directory.
    #[error("use {path} for files, which another file server has open")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// The folder or bucket cannot be used.
    #[error("use {place} for files")]
    Open {
        /// The folder, or the bucket as a URL.
        place: String,
        /// Why not.
        #[source]
        source: BlobError,
    },
    /// What is stored cannot be read.
    #[error("read the stored files")]
    Store(#[from] BlobError),
}

/// A file server that is bound but does not run yet.
pub struct Server {
    hub: Arc<Hub>,
    attach: Arc<Attach>,
    client: TcpListener,
    grpc: Option<BoundGrpc>,
    bound: Bound,
    /// Held while it runs: nobody else uses the directory.
    lock: File,
}

impl Server {
    /// Binds the ports and takes up what is stored. Clients and msg servers that come before [`Self::run`]
    /// wait.
    ///
    /// # Errors
    /// A port cannot be bound, or the directory cannot be used.
    pub async fn bind(config: FileConfig, deps: Deps) -> Result<Self, ServerError> {
        let Deps {
            context,
            guard,
            files,
        } = deps;
        let metrics = context.metrics.register(Metrics::register);
        let lock = lock(files.folder())?;
        let options = DirectoryOptions::default()
            .free_space_floor(config.free_space_floor.as_u64())
            .workers(config.workers);
        let place = files.to_string();
        let blobs = match files.open(options).await {
            Ok(blobs) => blobs,
            Err(source) => return Err(ServerError::Open { place, source }),
        };
        let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
        let client = listen::tcp(&config.client_listen, backlog).await?;
        let address = client.local_addr().map_err(|source| ListenError {
            address: config.client_listen.clone(),
            source,
        })?;
        let addresses = addresses(&config, address);
        let link = config.link.clone();
        let listen = config.listen.clone();
        let hub = Arc::new(Hub::new(config, metrics, blobs, addresses));
        hub.restore().await?;
        let attach = Arc::new(Attach {
            hub: Arc::clone(&hub),
            stop: CancellationToken::new(),
        });
        let grpc = match guard {
            Some(guard) => {
                let listener = listen::tcp(&listen, listen::LINKS).await?;
                let port = GrpcServer::new(&link, guard).link::<FileAttach>(attach.clone());
                Some(port.on(listener)?)
            }
            None => None,
        };
        let shown = Arc::downgrade(&hub);
        context
            .dumps
            .register("file", move || shown.upgrade().map(|hub| hub.dump()).into());
        let bound = Bound {
            client: address,
            grpc: grpc.as_ref().map(BoundGrpc::local_addr),
        };
        Ok(Self {
            hub,
            attach,
            client,
            grpc,
            bound,
            lock,
        })
    }

    /// The bound addresses.
    pub const fn bound(&self) -> Bound {
        self.bound
    }

    /// The way in for msg servers of the same process.
    pub fn attach(&self) -> Arc<Attach> {
        Arc::clone(&self.attach)
    }

    /// What administrators see and may do.
    pub fn control(&self) -> Control {
        Control::new(&self.hub)
    }

    /// Serves until `stop` fires; then takes no new tasks, gives transfers a while to end, and ends what is
    /// left.
    ///
    /// # Errors
    /// The port of msg servers fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        let Self {
            hub,
            attach,
            client,
            grpc,
            bound,
            lock,
        } = self;
        info!(client = %bound.client, grpc = ?bound.grpc, "file serves");
        let over = CancellationToken::new();
        let closing = stop.child_token();
        hub.tasks.spawn(accept(
            Arc::clone(&hub),
            client,
            closing.clone(),
            over.clone(),
        ));
        hub.tasks.spawn(sweep(Arc::clone(&hub), over.clone()));
        hub.tasks.spawn(clean(Arc::clone(&hub), over.clone()));
        let draining = {
            let (hub, over, links) = (Arc::clone(&hub), over.clone(), attach.stop.clone());
            async move {
                closing.cancelled().await;
                drain(&hub).await;
                links.cancel();
                over.cancel();
            }
        };
        let served = match grpc {
            Some(port) => {
                let serving = port.run(over.clone(), STOP_GRACE);
                let serving = async {
                    let served = serving.await;
                    // Also when the port failed by itself.
                    stop.cancel();
                    served
                };
                tokio::join!(serving, draining).0
            }
            None => {
                draining.await;
                Ok(())
            }
        };
        hub.tasks.close();
        if tokio::time::timeout(STOP_GRACE, hub.tasks.wait())
            .await
            .is_err()
        {
            warn!(tasks = hub.tasks.len(), "tasks did not end in time");
        }
        drop(lock);
        Ok(served?)
    }
}

/// Gives transfers a while to end.
async fn drain(hub: &Hub) {
    hub.drain();
    let until = Instant::now() + hub.config.drain_time.duration();
    while hub.taking_part() > 0 && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
}

/// Makes the directory if need be, for its owner only, and takes it for this process.
fn lock(path: &Path) -> Result<File, ServerError> {
    let failed = |source| ServerError::Directory {
        path: path.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(failed)?;
    let lock = File::open(path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ServerError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What clients are told.
fn addresses(config: &FileConfig, bound: SocketAddr) -> Vec<FileAddress> {
    let first = match config.public_ip1.as_str() {
        "" if bound.ip().is_unspecified() => IpAddr::from([127, 0, 0, 1]).to_string(),
        "" => bound.ip().to_string(),
        ip => ip.to_owned(),
    };
    let port = match config.public_port {
        0 => bound.port(),
        port => port,
    };
    let second = Some(config.public_ip2.clone()).filter(|ip| !ip.is_empty() && *ip != first);
    let hosts = [Some(first), second].into_iter().flatten();
    hosts
        .map(|host| FileAddress {
            host,
            port: port.into(),
        })
        .collect()
}

/// Takes clients in until `stop` fires; their connections end when `over` does.
async fn accept(
    hub: Arc<Hub>,
    listener: TcpListener,
    stop: CancellationToken,
    over: CancellationToken,
) {
    let config = &hub.config;
    let places = Admission::new(places::Limits {
        total: config.max_connections,
        per_address: config.max_connections_per_address,
        reserved: config.reserved_connections.min(config.max_connections / 2),
        few: config.reserved_per_network,
        leaving: (config.max_connections / 8).max(MIN_LEAVING),
    });
    let block = config.max_block.as_usize() + AROUND_BLOCK as usize;
    let refused = Refused::default();
    let (mut backoff, opened) = (AcceptBackoff::default(), Instant::now());
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
            return;
        };
        let (sock, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let (wait, log) = backoff.failed(opened.elapsed());
                if log {
                    warn!(error = %Chain(&error), "accept failed");
                }
                hub.metrics.accept_errors.inc();
                sleep(wait).await;
                continue;
            }
        };
        backoff.succeeded();
        // Those of IPv4 are told apart from IPv6 also where one socket takes both.
        let remote = remote.ip().to_canonical();
        let cut = over.child_token();
        let place = match places.enter(remote, cut.clone()) {
            Ok((place, evicted)) => {
                if let Some(evicted) = evicted {
                    hub.metrics.refused(Refusal::Evicted);
                    evicted.cancel();
                }
                place
            }
            Err(reason) => {
                if let Some(left_out) = refused.admit() {
                    debug!(%remote, ?reason, left_out, "refused a client");
                }
                hub.metrics.refused(Refusal::Place);
                continue;
            }
        };
        // A socket that is gone already is noticed at the first read.
        listen::tune(&sock).ok();
        let most = 2 * block + BESIDE_BLOCKS;
        let conn = Arc::new(Conn::new(hub.next_conn(), Transport::new(sock), cut, most));
        let client = Arc::clone(&hub);
        hub.tasks.spawn(async move {
            let connections = client.metrics.connections.clone();
            connections.inc();
            serve::run(client, conn, place).await;
            connections.dec();
        });
    }
}

async fn sweep(hub: Arc<Hub>, over: CancellationToken) {
    let mut ticks = interval(hub.config.sweep_interval.duration());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while over.run_until_cancelled(ticks.tick()).await.is_some() {
        hub.sweep();
    }
}

async fn clean(hub: Arc<Hub>, over: CancellationToken) {
    let mut ticks = interval(hub.config.clean_interval.duration());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while over.run_until_cancelled(ticks.tick()).await.is_some() {
        hub.clean().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_what_is_configured_or_the_port_that_is_open() {
        let told = |ip1: &str, ip2: &str, port, bound: &str| {
            let config = FileConfig {
                public_ip1: ip1.to_owned(),
                public_ip2: ip2.to_owned(),
                public_port: port,
                ..FileConfig::default()
            };
            let all = addresses(&config, bound.parse().unwrap());
            let all = all.iter().map(|it| format!("{}:{}", it.host, it.port));
            all.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told("", "", 0, "10.0.0.1:8600"), "10.0.0.1:8600");
        assert_eq!(told("", "", 0, "0.0.0.0:8600"), "127.0.0.1:8600");
        assert_eq!(told("a.example", "", 80, "0.0.0.0:8600"), "a.example:80");
        assert_eq!(told("a", "b", 0, "0.0.0.0:1"), "a:1 b:1");
        assert_eq!(told("a", "a", 0, "0.0.0.0:1"), "a:1");
        assert_eq!(told("*", "", 0, "0.0.0.0:1"), "*:1");
    }

    #[test]
    fn a_directory_has_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files");
        let held = lock(&path).unwrap();
        let second = lock(&path).unwrap_err();
        assert!(matches!(second, ServerError::InUse { .. }), "{second}");
        drop(held);
        lock(&path).unwrap();
    }
}
