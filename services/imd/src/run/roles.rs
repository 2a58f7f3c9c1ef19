//! Binds roles and joins them: by gRPC when one runs alone, directly when all share a process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use im_config::{LinkConfig, PeerSource, SqliteConfig};
use im_db_proxy::RememberKeys;
use im_discovery::{Discover, Kubernetes, KubernetesError, StaticList};
use im_rpc::{DbProxyAttach, Guard, LoginReport, Method, Peers, RouteAttach, RoutePublish, Secret};
use im_runtime::ready_file::Addresses;
use im_store::{ChangeCounts, DataDir, SqliteOptions, SqliteStore};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::supervise::Running;
use super::{Role, Shared};
use crate::config::BadConfig;
use crate::connect::ADMIN_ADDRESS;

/// Notes where a listener of a role is.
pub(super) fn note(addresses: &mut Addresses, role: &str, listener: &str, address: SocketAddr) {
    let listeners = addresses.entry(role.to_owned()).or_default();
    listeners.insert(listener.to_owned(), address);
}

/// Binds every role of one process and starts them. They stop in the order msg, login, db-proxy,
/// route, store.
pub(super) async fn all(shared: &Shared, addresses: &mut Addresses) -> anyhow::Result<Running> {
    let Shared {
        config,
        secret,
        context,
        links,
        ..
    } = shared;
    let route = im_route::Server::bind(
        config.route.clone(),
        im_route::Deps {
            context: context.clone(),
            guard: None,
        },
    )
    .await?;
    let store = open_store(shared).await?;
    let db_proxy = im_db_proxy::Server::bind(
        config.db_proxy.clone(),
        im_db_proxy::Deps {
            store: Arc::new(store.clone()),
            route: Peers::local(ROUTE, route.attach(), &config.db_proxy.link),
            secret: secret.clone(),
            admin_secret: shared.admin_secret()?,
            remember_keys: shared.remember_keys(),
            links: links.clone(),
            process: context.clone(),
        },
    )
    .await?;
    note_db_proxy(shared, addresses, &db_proxy.bound())?;
    let login = im_login::Server::bind(
        config.login.clone(),
        im_login::Deps {
            context: context.clone(),
            guard: None,
        },
    )
    .await?;
    note_login(addresses, &login.bound());
    let msg = im_msg::Server::bind(
        config.msg.clone(),
        im_msg::Deps {
            context: context.clone(),
            link_metrics: links.clone(),
            revision: REVISION.to_owned(),
            clients: shared.clients.clone(),
            login: Peers::local("login", login.attach(), &config.msg.link),
            route: Peers::local(ROUTE, route.attach(), &config.msg.link),
            db_proxy: Peers::local("db-proxy", db_proxy.attach(), &config.msg.link),
        },
    )
    .await?;
    note(addresses, "msg", "client", msg.bound().listen);

    let mut running = Running::default();
    running.start("msg", |stop| msg.run(stop));
    running.start("login", |stop| login.run(stop));
    running.start("db-proxy", |stop| db_proxy.run(stop));
    running.start("route", |stop| route.run(stop));
    let log = context.metrics.register(StoreLog::register);
    running.start("store", |stop| keep_store(store, log, stop));
    Ok(running)
}

/// Version that msg servers report.
const REVISION: &str = env!("CARGO_PKG_VERSION");

/// Name of the only route server of one process: key of its ring.
const ROUTE: &str = "route";

/// Binds one role and starts it.
pub(super) async fn one(
    role: Role,
    shared: &Shared,
    addresses: &mut Addresses,
) -> anyhow::Result<Running> {
    let Shared {
        config,
        secret,
        context,
        links,
        ..
    } = shared;
    let guard = Guard::new(secret, links.clone());
    let mut running = Running::default();
    match role {
        Role::Login => {
            let deps = im_login::Deps {
                context: context.clone(),
                guard: Some(guard),
            };
            let login = im_login::Server::bind(config.login.clone(), deps).await?;
            note_login(addresses, &login.bound());
            running.start("login", |stop| login.run(stop));
        }
        Role::Route => {
            let deps = im_route::Deps {
                context: context.clone(),
                guard: Some(guard),
            };
            let route = im_route::Server::bind(config.route.clone(), deps).await?;
            if let Some(address) = route.bound().listen {
                note(addresses, "route", "grpc", address);
            }
            running.start("route", |stop| route.run(stop));
        }
        Role::DbProxy => {
            let route = shared.peers::<RoutePublish>(
                "peers.route",
                &config.peers.route,
                &config.db_proxy.link,
            )?;
            let store = open_store(shared).await?;
            let deps = im_db_proxy::Deps {
                store: Arc::new(store.clone()),
                route,
                secret: secret.clone(),
                admin_secret: shared.admin_secret()?,
                remember_keys: shared.remember_keys(),
                links: links.clone(),
                process: context.clone(),
            };
            let db_proxy = im_db_proxy::Server::bind(config.db_proxy.clone(), deps).await?;
            note_db_proxy(shared, addresses, &db_proxy.bound())?;
            running.start("db-proxy", |stop| db_proxy.run(stop));
            let log = context.metrics.register(StoreLog::register);
            running.start("store", |stop| keep_store(store, log, stop));
        }
        Role::Msg => {
            let link = &config.msg.link;
            let deps = im_msg::Deps {
                context: context.clone(),
                link_metrics: links.clone(),
                revision: REVISION.to_owned(),
                clients: shared.clients.clone(),
                login: shared.peers::<LoginReport>("peers.login", &config.peers.login, link)?,
                route: shared.peers::<RouteAttach>("peers.route", &config.peers.route, link)?,
                db_proxy: shared.peers::<DbProxyAttach>(
                    "peers.db_proxy",
                    &config.peers.db_proxy,
                    link,
                )?,
            };
            let msg = im_msg::Server::bind(config.msg.clone(), deps).await?;
            note(addresses, "msg", "client", msg.bound().listen);
            running.start("msg", |stop| msg.run(stop));
        }
    }
    Ok(running)
}

fn note_login(addresses: &mut Addresses, bound: &im_login::Bound) {
    note(addresses, "login", "http", bound.http);
    note(addresses, "login", "client", bound.client);
    if let Some(control) = bound.control {
        note(addresses, "login", "control", control);
    }
}

/// Notes the ports of db-proxy, and the administrators' one for tools that are given the data directory.
fn note_db_proxy(
    shared: &Shared,
    addresses: &mut Addresses,
    bound: &im_db_proxy::Bound,
) -> anyhow::Result<()> {
    note(addresses, "db_proxy", "grpc", bound.grpc);
    let Some(mut admin) = bound.admin else {
        return Ok(());
    };
    note(addresses, "db_proxy", "admin", admin);
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let path = shared.data_dir()?.join(ADMIN_ADDRESS);
    std::fs::write(&path, format!("{admin}\n")).with_context(|| format!("write {}", path.display()))
}

impl Shared {
    fn admin_secret(&self) -> Result<Secret, BadConfig> {
        self.admin_secret.clone().ok_or(BadConfig::Missing {
            key: "db_proxy.admin_secret_file",
            why: "db-proxy asks its administrators for a secret of their own",
        })
    }

    fn remember_keys(&self) -> RememberKeys {
        let keys = self.remember_keys.clone();
        keys.unwrap_or_else(RememberKeys::none)
    }

    /// Peers that the configuration lists, or the pods of the Service that it names, reached with the
    /// installation's secret.
    fn peers<M: Method>(
        &self,
        key: &'static str,
        list: &[String],
        link: &LinkConfig,
    ) -> Result<Peers<M::Call, M::Item>, BadConfig> {
        // The configuration was checked, so that whatever names no Service is a list.
        let discover: Arc<dyn Discover> = match PeerSource::of(list) {
            Ok(PeerSource::Kubernetes(peer)) => {
                let cluster = self
                    .kubernetes()
                    .map_err(|source| BadConfig::Kubernetes { key, source })?;
                Arc::new(cluster.service(&peer.service, &peer.port))
            }
            _ => Arc::new(
                StaticList::parse(list).map_err(|source| BadConfig::Peers { key, source })?,
            ),
        };
        Ok(Peers::grpc::<M>(discover, &self.secret, link))
    }

    /// The cluster that this process runs in; one connection serves all lists.
    fn kubernetes(&self) -> Result<Kubernetes, KubernetesError> {
        if let Some(known) = self.kubernetes.get() {
            return Ok(known.clone());
        }
        let cluster = Kubernetes::in_cluster()?;
        Ok(self.kubernetes.get_or_init(|| cluster).clone())
    }

    fn data_dir(&self) -> Result<&PathBuf, BadConfig> {
        self.config.data_dir.as_ref().ok_or(BadConfig::Missing {
            key: "data_dir",
            why: "db-proxy needs a directory for its data; give --data-dir or the key",
        })
    }
}

async fn open_store(shared: &Shared) -> anyhow::Result<SqliteStore> {
    let dir = DataDir::open(shared.data_dir()?)?;
    Ok(SqliteStore::open(dir, options(&shared.config.sqlite)).await?)
}

fn options(config: &SqliteConfig) -> SqliteOptions {
    SqliteOptions {
        readers: config.readers,
        busy_timeout: config.busy_timeout.duration(),
        acquire_timeout: config.acquire_timeout.duration(),
        gathered_changes: config.gathered_changes,
        writer_cache_kib: config.writer_cache.as_kib(),
        reader_cache_kib: config.reader_cache.as_kib(),
        checkpoint_bytes: config.checkpoint_at.as_u64(),
        restart_bytes: config.restart_at.as_u64(),
        wal_limit_bytes: config.wal_limit.as_u64(),
        maintenance_interval: config.maintenance_interval.duration(),
        ..SqliteOptions::default()
    }
}

/// Maintains the store while the others run, and closes it after them.
async fn keep_store(
    store: SqliteStore,
    log: StoreLog,
    stop: CancellationToken,
) -> Result<(), im_store::StoreError> {
    tokio::join!(store.run_maintenance(stop.clone()), log.show(&store, stop));
    store.close().await
}

/// What is shown of the store's write-ahead log.
#[derive(Clone, Debug, Default)]
struct StoreLog {
    bytes: Gauge,
    limit: Gauge,
    held: Gauge,
    changes: Counter,
    change_commits: Counter,
}

impl StoreLog {
    fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let counters = [
            (
                "im_store_changes",
                "Changes of accounts and settings",
                &this.changes,
            ),
            (
                "im_store_change_commits",
                "Transactions that stored changes of accounts and settings, gathered",
                &this.change_commits,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges = [
            (
                "im_store_log_bytes",
                "Bytes of the write-ahead log in use",
                &this.bytes,
            ),
            (
                "im_store_log_limit_bytes",
                "Bytes of the write-ahead log above which nothing is stored",
                &this.limit,
            ),
            (
                "im_store_log_held",
                "1 while a reader keeps the write-ahead log from starting again, beyond half of its limit",
                &this.held,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        this
    }

    async fn show(&self, store: &SqliteStore, stop: CancellationToken) {
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut shown = ChangeCounts::default();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let log = store.log_use();
            self.bytes.set(bytes(log.bytes));
            self.limit.set(bytes(log.limit));
            self.held.set(i64::from(log.held));
            let counts = store.change_counts();
            self.changes.inc_by(counts.changes - shown.changes);
            self.change_commits.inc_by(counts.commits - shown.commits);
            shown = counts;
        }
    }
}
