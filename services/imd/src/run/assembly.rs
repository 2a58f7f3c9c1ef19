//! Roles that are put together: bound one after the other, each with a way to those it dials, by gRPC when
//! it runs alone, directly when all share a process.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use futures::future::{BoxFuture, LocalBoxFuture};
use im_config::{LinkConfig, MonitorConfig, PeerSource};
use im_discovery::{Discover, Kubernetes, KubernetesError, StaticList};
use im_msg::Control;
use im_role::Role;
use im_rpc::local::Local;
use im_rpc::{Guard, LinkKind, MonitorReport, Peers};
use im_runtime::ready_file::Addresses;
use tokio_util::sync::CancellationToken;

use super::owner::{self, Opened, Standby};
use super::reports::{self, Reporting, Source};
use super::supervise::Running;
use super::{Shared, store};
use crate::config::BadConfig;

/// Binds a role: what it serves and runs is left with the assembly.
pub(super) type Bind = for<'a> fn(&'a mut Assembly) -> LocalBoxFuture<'a, anyhow::Result<()>>;

/// The roles of a process that are bound so far.
pub(super) struct Assembly {
    pub(super) shared: Shared,
    /// The ways in of the roles that are bound, where all share the process.
    pub(super) local: Local,
    together: bool,
    addresses: Addresses,
    /// The store, once it is open and until db-proxy is bound.
    pub(super) store: Option<Opened>,
    parts: Vec<Part>,
    beneath: Vec<Part>,
    /// The msg server, by name, if it is one of them.
    pub(super) msg: Option<(String, Control)>,
    /// Of the file server, if it is one of them.
    pub(super) files: Option<im_file::Control>,
    reports: Vec<Reporting>,
    /// Made when a list of peers names a Service; one connection serves all lists.
    kubernetes: Option<Kubernetes>,
}

/// Something that runs until it is told to stop.
struct Part {
    name: &'static str,
    run: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send>,
}

impl Part {
    fn new<F, E>(
        name: &'static str,
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        Self {
            name,
            run: Box::new(move |stop| {
                let running = run(stop);
                Box::pin(async move { running.await.with_context(|| format!("run {name}")) })
            }),
        }
    }
}

impl Assembly {
    /// Nothing yet; `together` says whether all roles share the process.
    pub(super) fn new(shared: Shared, together: bool) -> Self {
        Self {
            shared,
            local: Local::default(),
            together,
            addresses: Addresses::new(),
            store: None,
            parts: Vec::new(),
            beneath: Vec::new(),
            msg: None,
            files: None,
            reports: Vec::new(),
            kubernetes: None,
        }
    }

    /// Opens the store, and waits for its log where others share it.
    pub(super) async fn open_store(&mut self) -> anyhow::Result<()> {
        let shared = &self.shared;
        let store = store::open(shared.data_dir()?, &shared.config).await?;
        let name = match shared.config.store.name.as_str() {
            "" => host_name(),
            name => name.to_owned(),
        };
        // Who stands by follows a password that changes, as who serves does.
        let maintaining = store.run_maintenance(CancellationToken::new());
        let standby = Standby {
            name,
            // Nothing else of this process serves meanwhile where roles share it.
            is_ready: !self.together,
        };
        let opened = tokio::select! {
            opened = owner::wait(&store, standby, &shared.context) => opened?,
            () = maintaining => anyhow::bail!("the store is not maintained any more"),
        };
        self.store = Some(opened);
        Ok(())
    }

    /// Binds a role by what is listed for it.
    pub(super) async fn bind(&mut self, role: Role, binds: &[(Role, Bind)]) -> anyhow::Result<()> {
        let bind = binds.iter().find(|(of, _)| *of == role);
        let (_, bind) = bind.with_context(|| format!("this program has no {role}"))?;
        bind(self).await
    }

    /// Notes where a listener of a role is.
    pub(super) fn note(&mut self, section: &str, listener: &str, address: SocketAddr) {
        let listeners = self.addresses.entry(section.to_owned()).or_default();
        listeners.insert(listener.to_owned(), address);
    }

    /// Where a listener of a role that is bound is.
    pub(super) fn noted(&self, section: &str, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(section)?.get(listener).copied()
    }

    /// What runs a role, once all are bound.
    pub(super) fn part<F, E>(
        &mut self,
        role: Role,
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.parts.push(Part::new(role.name(), run));
    }

    /// Something that roles stand on: it stops after all of them.
    pub(super) fn beneath<F, E>(
        &mut self,
        name: &'static str,
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.beneath.push(Part::new(name, run));
    }

    /// A role that is bound reports to every http-api server, once everything runs.
    pub(super) fn report(&mut self, role: Role) -> anyhow::Result<()> {
        let peers = self.peers::<MonitorReport>(&MonitorConfig::default().link())?;
        let (name, control) = match self.msg.clone().filter(|_| role == Role::MSG) {
            Some((name, control)) => (name, Some(control)),
            None => (self.name_of(role), None),
        };
        let shared = &self.shared;
        let (context, links) = (shared.context.clone(), shared.links.clone());
        let files = self.files.clone().filter(|_| role == Role::FILE);
        let source = Source::new(role, name, context, links).controls(control, files);
        let source = Arc::new(source);
        self.reports.push((source, peers));
        Ok(())
    }

    /// A name that no other server has, and the same after a restart.
    fn name_of(&self, role: Role) -> String {
        let listeners = role.listeners.iter();
        let mut noted = listeners.filter_map(|it| self.noted(role.section, it.name));
        let place = match noted.next().or_else(|| self.noted("admin", "http")) {
            Some(at) if !at.ip().is_unspecified() && !role.listeners.is_empty() => {
                format!("{}-{}", at.ip(), at.port())
            }
            Some(at) => format!("{}-{}", host_name(), at.port()),
            None => host_name(),
        };
        format!("{role}-{place}")
    }

    /// Starts everything. Roles stop in the opposite order of their binding.
    pub(super) fn start(mut self) -> (Running, Addresses) {
        let reports = std::mem::take(&mut self.reports);
        if !reports.is_empty() {
            self.beneath("reports", |stop| reports::run(reports, stop));
        }
        let mut running = Running::default();
        for part in self.parts.into_iter().rev().chain(self.beneath) {
            running.start(part.name, part.run);
        }
        (running, self.addresses)
    }

    /// Admits other roles to a port of their own; `None` where they share the process and need none.
    pub(super) fn guard(&self) -> Option<Guard> {
        let links = self.shared.links.clone();
        (!self.together).then(|| Guard::new(&self.shared.secret, links))
    }

    /// Who serves this kind of link: the role in this process, or the peers that the configuration lists,
    /// or the pods of the Service that it names; these are reached with the installation's secret.
    pub(super) fn peers<K: LinkKind>(
        &mut self,
        link: &LinkConfig,
    ) -> Result<Peers<K::Call, K::Item>, BadConfig> {
        if self.together
            && let Some(local) = self.local.peers::<K>(link)
        {
            return Ok(local);
        }
        let section = K::LINK.to.section;
        let key = format!("peers.{section}");
        let list = self.shared.config.peers.of(section).unwrap_or_default();
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
        Ok(Peers::grpc::<K>(discover, &self.shared.secret, link))
    }

    /// The cluster that this process runs in.
    fn kubernetes(&mut self) -> Result<Kubernetes, KubernetesError> {
        if let Some(known) = &self.kubernetes {
            return Ok(known.clone());
        }
        let cluster = Kubernetes::in_cluster()?;
        self.kubernetes = Some(cluster.clone());
        Ok(cluster)
    }
}

/// The name of this machine, or of this pod.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // As long as a label may be.
    let name: String = name.trim().chars().filter(is_part).take(63).collect();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use im_config::ImdConfig;
    use im_rpc::{DbProxyAttach, LinkMetrics, RouteAttach, Secret};
    use im_runtime::Context;
    use tokio::runtime::Handle;

    use super::*;
    use crate::run::threads::Aside;
    use crate::table::{ECHO, WITH_ECHO};

    fn assembly(together: bool) -> Assembly {
        let shared = Shared {
            config: ImdConfig::default(),
            secret: Secret::generate(),
            admin_secret: None,
            remember_keys: None,
            context: Context::default(),
            links: LinkMetrics::default(),
            aside: Aside {
                clients: Handle::current(),
                door: Handle::current(),
            },
        };
        Assembly::new(shared, together)
    }

    static STOPPED: Mutex<Vec<Role>> = Mutex::new(Vec::new());

    /// Runs until it is told to stop, and says so.
    fn part(assembly: &mut Assembly, role: Role) {
        let address = ([127, 0, 0, 1], 1).into();
        assembly.note(role.section, "client", address);
        assembly.part(role, move |stop| async move {
            stop.cancelled().await;
            STOPPED.lock().unwrap().push(role);
            Ok::<(), io::Error>(())
        });
    }

    const BINDS: &[(Role, Bind)] = &[
        (Role::DB_PROXY, |assembly| {
            Box::pin(async {
                assembly.local.serve::<DbProxyAttach>(Arc::new(|_| {}));
                assembly.beneath("store", |stop| async move {
                    stop.cancelled().await;
                    assert_eq!(STOPPED.lock().unwrap().len(), 2, "the roles first");
                    Ok::<(), io::Error>(())
                });
                part(assembly, Role::DB_PROXY);
                Ok(())
            })
        }),
        (ECHO, |assembly| {
            Box::pin(async {
                assembly.peers::<DbProxyAttach>(&LinkConfig::default())?;
                part(assembly, ECHO);
                Ok(())
            })
        }),
    ];

    #[tokio::test]
    async fn a_role_of_the_table_is_bound_behind_those_it_dials_and_stops_before_them() {
        let mut assembly = assembly(true);
        for role in WITH_ECHO.in_order_of_start() {
            if BINDS.iter().any(|(of, _)| *of == role) {
                assembly.bind(role, BINDS).await.unwrap();
            }
        }
        assert!(assembly.bind(Role::MSG, BINDS).await.is_err());
        let (running, addresses) = assembly.start();
        assert!(addresses["echo"].contains_key("client"));
        let drain = CancellationToken::new();
        drain.cancel();
        running.run(drain).await.unwrap();
        assert_eq!(*STOPPED.lock().unwrap(), [ECHO, Role::DB_PROXY]);
    }

    #[tokio::test]
    async fn a_role_that_runs_alone_finds_its_peers_by_the_configuration() {
        let mut alone = assembly(false);
        alone.local.serve::<RouteAttach>(Arc::new(|_| {}));
        assert!(alone.guard().is_some() && assembly(true).guard().is_none());
        alone.shared.config.peers.route = vec!["a:b:c".to_owned()];
        let link = LinkConfig::default();
        let error = alone.peers::<RouteAttach>(&link).unwrap_err().to_string();
        assert_eq!(error, "use key peers.route");
    }
}
