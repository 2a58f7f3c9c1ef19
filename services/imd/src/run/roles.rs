//! How each role is bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use im_config::{HttpApiConfig, LoginConfig, WHERE_ASKED};
use im_db_proxy::RememberKeys;
use im_role::Role;
use im_rpc::{
    DbProxyAttach, FileAttach, FollowerAttach, LoginReport, MonitorReport, RouteAttach,
    RoutePresence, RoutePublish, Secret,
};
use im_store::Store;

use super::assembly::{Assembly, Bind};
use super::owner::Opened;
use super::{Shared, blobs, msg_control, store};
use crate::config::BadConfig;
use crate::connect::ADMIN_ADDRESS;

/// Version that msg servers report.
const REVISION: &str = env!("CARGO_PKG_VERSION");

/// Path of the list of links.
const DISCOVERY: &str = "/api/discovery";

/// What binds each role.
pub(super) const BINDS: &[(Role, Bind)] = &[
    (Role::ROUTE, |assembly| Box::pin(route(assembly))),
    (Role::DB_PROXY, |assembly| Box::pin(db_proxy(assembly))),
    (Role::MSFS, |assembly| Box::pin(msfs(assembly))),
    (Role::LOGIN, |assembly| Box::pin(login(assembly))),
    (Role::MSG, |assembly| Box::pin(msg(assembly))),
    (Role::FILE, |assembly| Box::pin(file(assembly))),
    (Role::HTTP_API, |assembly| Box::pin(http_api(assembly))),
    (Role::PUSH, |assembly| Box::pin(async { push(assembly) })),
];

async fn route(assembly: &mut Assembly) -> anyhow::Result<()> {
    let deps = im_route::Deps {
        context: assembly.shared.context.clone(),
        guard: assembly.guard(),
    };
    let route = im_route::Server::bind(assembly.shared.config.route.clone(), deps).await?;
    if let Some(address) = route.bound().listen {
        assembly.note(Role::ROUTE.section, "grpc", address);
    }
    assembly.local.serve::<RouteAttach>(route.attach());
    assembly.local.serve::<RoutePublish>(route.attach());
    assembly.local.serve::<RoutePresence>(route.attach());
    assembly.part(Role::ROUTE, |stop| route.run(stop));
    Ok(())
}

async fn db_proxy(assembly: &mut Assembly) -> anyhow::Result<()> {
    let config = assembly.shared.config.db_proxy.clone();
    let route = assembly.peers::<RoutePublish>(&config.link)?;
    let Opened { store, owner, gate } = assembly.store.take().context("open the store")?;
    let shared = &assembly.shared;
    let deps = im_db_proxy::Deps {
        store: Arc::clone(&store) as Arc<dyn Store>,
        route,
        secret: shared.secret.clone(),
        admin_secret: shared.admin_secret()?,
        remember_keys: shared.remember_keys(),
        links: shared.links.clone(),
        gate,
        trust: shared.config.trust.clone(),
        process: shared.context.clone(),
    };
    let db_proxy = im_db_proxy::Server::bind(config, deps).await?;
    note_db_proxy(assembly, &db_proxy.bound())?;
    assembly.local.serve::<DbProxyAttach>(db_proxy.attach());
    assembly.local.serve::<FollowerAttach>(db_proxy.follow());
    assembly.part(Role::DB_PROXY, |stop| db_proxy.run(stop));
    let log = assembly
        .shared
        .context
        .metrics
        .register(store::StoreLog::register);
    if let Some(owner) = owner {
        assembly.beneath("owner", |stop| owner.keep(stop));
    }
    assembly.beneath("store", |stop| store::keep(store, log, stop));
    Ok(())
}

/// Notes the ports of db-proxy, and the administrators' one for tools that are given the data directory.
fn note_db_proxy(assembly: &mut Assembly, bound: &im_db_proxy::Bound) -> anyhow::Result<()> {
    let section = Role::DB_PROXY.section;
    assembly.note(section, "grpc", bound.grpc);
    let Some(admin) = bound.admin else {
        return Ok(());
    };
    assembly.note(section, "admin", admin);
    let admin = from_here(admin);
    let path = assembly.shared.data_dir()?.join(ADMIN_ADDRESS);
    std::fs::write(&path, format!("{admin}\n")).with_context(|| format!("write {}", path.display()))
}

async fn msfs(assembly: &mut Assembly) -> anyhow::Result<()> {
    let deps = im_msfs::Deps {
        context: assembly.shared.context.clone(),
        pictures: blobs::place(
            &assembly.shared.config,
            "pictures",
            assembly.shared.pictures()?,
        ),
    };
    let msfs = im_msfs::Server::bind(assembly.shared.config.msfs.clone(), deps).await?;
    assembly.note(Role::MSFS.section, "http", msfs.bound());
    assembly.part(Role::MSFS, |stop| msfs.run(stop));
    Ok(())
}

/// What clients are told of pictures where nobody has said it: the msfs server of this process, or, without
/// one, what a login server alone tells.
fn pictures_url(assembly: &Assembly) -> String {
    let public = &assembly.shared.config.msfs.public_url;
    match assembly.noted(Role::MSFS.section, "http") {
        None => LoginConfig::default().msfs,
        Some(_) if !public.is_empty() => public.clone(),
        Some(at) if at.ip().is_unspecified() => format!("http://{WHERE_ASKED}:{}/", at.port()),
        Some(at) => format!("http://{at}/"),
    }
}

/// What clients are told of links where nobody has said it: the http-api server of this process, which is bound
/// later, or, without one, what a login server alone tells.
fn discovery_url(config: &HttpApiConfig) -> String {
    let listen: Option<SocketAddr> = config.listen.parse().ok();
    match listen.filter(|at| config.enabled && at.port() != 0) {
        None => LoginConfig::default().discovery,
        Some(at) if at.ip().is_unspecified() => {
            format!("http://{WHERE_ASKED}:{}{DISCOVERY}", at.port())
        }
        Some(at) => format!("http://{at}{DISCOVERY}"),
    }
}

async fn login(assembly: &mut Assembly) -> anyhow::Result<()> {
    let deps = im_login::Deps {
        context: assembly.shared.context.clone(),
        guard: assembly.guard(),
    };
    let mut config = assembly.shared.config.login.clone();
    if config.msfs.is_empty() && deps.guard.is_none() {
        config.msfs = pictures_url(assembly);
    }
    if config.discovery.is_empty() && deps.guard.is_none() {
        config.discovery = discovery_url(&assembly.shared.config.http_api);
    }
    let login = im_login::Server::bind(config, deps).await?;
    let section = Role::LOGIN.section;
    let bound = login.bound();
    assembly.note(section, "http", bound.http);
    assembly.note(section, "client", bound.client);
    if let Some(control) = bound.control {
        assembly.note(section, "control", control);
    }
    assembly.local.serve::<LoginReport>(login.attach());
    assembly.part(Role::LOGIN, |stop| login.run(stop));
    Ok(())
}

async fn msg(assembly: &mut Assembly) -> anyhow::Result<()> {
    let config = assembly.shared.config.msg.clone();
    let deps = im_msg::Deps {
        login: assembly.peers::<LoginReport>(&config.link)?,
        route: assembly.peers::<RouteAttach>(&config.link)?,
        db_proxy: assembly.peers::<DbProxyAttach>(&config.link)?,
        file: assembly.peers::<FileAttach>(&config.link)?,
        context: assembly.shared.context.clone(),
        link_metrics: assembly.shared.links.clone(),
        revision: REVISION.to_owned(),
        clients: assembly.shared.aside.clients.clone(),
        door: assembly.shared.aside.door.clone(),
    };
    let (admin, link) = (config.admin_listen.clone(), config.link.clone());
    let msg = im_msg::Server::bind(config, deps).await?;
    assembly.note(Role::MSG.section, "client", msg.bound().listen);
    if let Some(guard) = assembly.guard().filter(|_| !admin.is_empty()) {
        let port = msg_control::bind(&admin, &link, guard, msg.control()).await?;
        assembly.note(Role::MSG.section, "admin", port.local_addr());
        // A server that drains still tells how far it is.
        assembly.beneath("msg administration", |stop| {
            port.run(stop, msg_control::STOP_GRACE)
        });
    }
    assembly.msg = Some((msg.name().to_owned(), msg.control()));
    assembly.part(Role::MSG, |stop| msg.run(stop));
    Ok(())
}

async fn file(assembly: &mut Assembly) -> anyhow::Result<()> {
    let deps = im_file::Deps {
        context: assembly.shared.context.clone(),
        guard: assembly.guard(),
        files: blobs::place(
            &assembly.shared.config,
            "files",
            assembly.shared.file_directory()?,
        ),
    };
    let file = im_file::Server::bind(assembly.shared.config.file.clone(), deps).await?;
    let section = Role::FILE.section;
    let bound = file.bound();
    assembly.note(section, "client", bound.client);
    if let Some(grpc) = bound.grpc {
        assembly.note(section, "grpc", grpc);
    }
    assembly.files = Some(file.control());
    assembly.local.serve::<FileAttach>(file.attach());
    assembly.part(Role::FILE, |stop| file.run(stop));
    Ok(())
}

async fn http_api(assembly: &mut Assembly) -> anyhow::Result<()> {
    let config = assembly.shared.config.http_api.clone();
    let db_proxy = match assembly.guard() {
        Some(_) => config.db_proxy.clone(),
        None => administrators_port(assembly)?,
    };
    let deps = im_http_api::Deps {
        context: assembly.shared.context.clone(),
        db_proxy,
        secret: assembly.shared.admin_secret()?,
        reach: assembly.shared.config.trust.hook_reach(),
        // Without the installation's secret nobody could show it.
        guard: assembly
            .guard()
            .filter(|_| assembly.shared.config.secret_file.is_some()),
    };
    let http_api = im_http_api::Server::bind(config, deps).await?;
    let section = Role::HTTP_API.section;
    let bound = http_api.bound();
    assembly.note(section, "http", bound.http);
    if let Some(monitor) = bound.monitor {
        assembly.note(section, "monitor", monitor);
    }
    assembly.local.serve::<MonitorReport>(http_api.monitor());
    assembly.part(Role::HTTP_API, |stop| http_api.run(stop));
    Ok(())
}

/// The administrators' port of the db-proxy in this process.
fn administrators_port(assembly: &Assembly) -> Result<String, BadConfig> {
    let noted = assembly.noted(Role::DB_PROXY.section, "admin");
    let admin = noted.ok_or(BadConfig::Missing {
        key: "db_proxy.admin_listen",
        why: "http-api asks db-proxy for everything at its administrators' port; give the key, or switch \
              the role off with http_api.enabled = false",
    })?;
    Ok(from_here(admin).to_string())
}

/// Where a listener is reached from this machine: one of all addresses has this one, in either family.
fn from_here(listener: SocketAddr) -> SocketAddr {
    let mut reached = listener;
    if listener.ip().is_unspecified() {
        reached.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    reached
}

fn push(assembly: &mut Assembly) -> anyhow::Result<()> {
    let config = assembly.shared.config.push.clone();
    let deps = im_push::Deps {
        db_proxy: assembly.peers::<FollowerAttach>(&config.link)?,
        route: assembly.peers::<RoutePresence>(&config.link)?,
        links: assembly.shared.links.clone(),
        context: assembly.shared.context.clone(),
    };
    let push = im_push::Server::new(config, &assembly.shared.config.trust, deps)?;
    assembly.part(Role::PUSH, |stop| push.run(stop));
    Ok(())
}

impl Shared {
    fn file_directory(&self) -> Result<PathBuf, BadConfig> {
        let own = &self.config.file.directory;
        if !own.as_os_str().is_empty() {
            return Ok(own.clone());
        }
        let data = self.config.data_dir.as_ref().ok_or(BadConfig::Missing {
            key: "file.directory",
            why: "file needs a directory for files that wait for people; give the key or --data-dir",
        })?;
        Ok(data.join("files"))
    }

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

    fn pictures(&self) -> Result<PathBuf, BadConfig> {
        let config = &self.config;
        let beside = || config.data_dir.as_ref().map(|dir| dir.join("pictures"));
        config
            .msfs
            .dir
            .clone()
            .or_else(beside)
            .ok_or(BadConfig::Missing {
                key: "msfs.dir",
                why: "msfs needs a folder for its pictures; give the key, or --data-dir",
            })
    }

    pub(super) fn data_dir(&self) -> Result<&PathBuf, BadConfig> {
        self.config.data_dir.as_ref().ok_or(BadConfig::Missing {
            key: "data_dir",
            why: "db-proxy needs a directory for its data; give --data-dir or the key",
        })
    }
}
