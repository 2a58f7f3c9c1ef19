//! Whole platforms: all-in-one, or one process per role instance.
//!
//! Every process gets a loopback address of its own (127.a.b.n, a and b from the test's pid), so it
//! keeps its ports over restarts and no two tests meet.

mod files;
mod http_api;
mod options;
mod pictures;
mod push;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::people;
use crate::process::{Process, Spec, run_imd};
use crate::proxy::Proxy;

pub use options::{Options, Shape, ports};

/// Time in which a platform must be ready on a busy machine.
const READY: Duration = Duration::from_mins(1);

/// Settings under which thousands of test people can log in for the first time within seconds.
pub const CHEAP_HASHES: [&str; 2] = [
    "db_proxy.accounts.argon2_memory=64KiB",
    "db_proxy.accounts.argon2_iterations=1",
];

/// A db-proxy that stands by.
const STANDBY: &str = "db2";

/// Tables of the configuration that belong to one role.
const ROLE_TABLES: [&str; 8] = [
    "login", "msfs", "msg", "route", "db_proxy", "file", "http_api", "push",
];

/// A loopback address that no other process of any test has.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [high, low] = [(std::process::id() >> 8), std::process::id()].map(|part| part & 0xff);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    // 127.0.0.x stays free for clients; 126 × 256 × 254 addresses are enough for a while.
    let second = 1 + (high + (n / 254) * 16) % 254;
    let octet = |value: u32| u8::try_from(value & 0xff).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, octet(second), octet(low), octet(1 + n % 254))
}

/// A running platform with its temporary folder.
#[derive(Debug)]
pub struct Platform {
    // Before the folder: processes end first.
    processes: BTreeMap<String, Process>,
    addresses: BTreeMap<String, Ipv4Addr>,
    dir: TempDir,
    db_proxy: String,
    /// Whether peers are told of a second db-proxy.
    standby: bool,
    cables: BTreeMap<String, Proxy>,
}

/// Peers of each kind as `--set` takes them.
fn settings(peers: &[(&'static str, String, SocketAddr)]) -> Vec<String> {
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (kind, name, address) in peers {
        let list = lists.entry(kind).or_default();
        list.push(format!("\"{name}={address}\""));
    }
    lists
        .into_iter()
        .map(|(kind, list)| format!("peers.{kind}=[{}]", list.join(",")))
        .collect()
}

impl Platform {
    /// One process with everything.
    pub async fn all_in_one(options: Options) -> anyhow::Result<Self> {
        let mut platform = Self::empty("all")?;
        let address = platform.address_of("all");
        let mut args = vec!["all-in-one".to_owned(), "--data-dir".to_owned()];
        args.push(platform.data_dir().display().to_string());
        args.extend(["--bind".to_owned(), address.to_string()]);
        platform.spawn("all", args, &options.set)?;
        platform.ready("all").await?;
        platform.import(options.people)?;
        Ok(platform)
    }

    /// One process per role instance: `login1`…, `msg1`…, `route1`…, `db`.
    pub async fn separate(shape: Shape, mut options: Options) -> anyhow::Result<Self> {
        let mut platform = Self::empty("db")?;
        platform.standby = options.standby;
        if options.reports {
            let api = SocketAddr::from((platform.address_of("api"), ports::MONITOR));
            options.set.push(format!("peers.http_api=[\"api={api}\"]"));
        }
        platform.write_secret()?;
        let names = |role: &str, count: usize| -> Vec<String> {
            (1..=count).map(|n| format!("{role}{n}")).collect()
        };
        let logins = names("login", shape.login);
        let routes = names("route", shape.route);
        let msgs = names("msg", shape.msg);
        let (mut db_peers, mut msg_peers) = (platform.peer_settings(&logins, &routes), None);
        if options.cables {
            db_peers = platform.cable_settings("db", &logins, &routes).await?;
            msg_peers = Some(platform.cable_settings("msg", &logins, &routes).await?);
        }
        for name in &routes {
            platform.start_route(name, &options.set)?;
        }
        platform.start_db_proxy(&db_peers, &options.set)?;
        for name in &logins {
            platform.start_login(name, &options.set)?;
        }
        let files = names("file", options.files);
        for name in &files {
            platform.start_file(name, &options.set)?;
        }
        let mut peers = msg_peers.unwrap_or(db_peers);
        peers.extend(platform.file_peers(&files));
        for name in &msgs {
            platform.start_msg(name, &peers, &options.set)?;
        }
        for (name, process) in &mut platform.processes {
            // Without a msg server, login servers serve but are not ready.
            if shape.msg > 0 || !logins.contains(name) {
                process.ready(READY).await?;
            }
        }
        platform.import(options.people)?;
        Ok(platform)
    }

    fn empty(db_proxy: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("imcluster-").tempdir()?;
        Ok(Self {
            processes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            dir,
            db_proxy: db_proxy.to_owned(),
            standby: false,
            cables: BTreeMap::new(),
        })
    }

    fn write_secret(&self) -> anyhow::Result<()> {
        std::fs::write(
            self.dir.path().join("secret"),
            "a-secret-of-this-test-only\n",
        )?;
        Ok(())
    }

    /// The address that a process has or will have.
    pub fn address_of(&mut self, name: &str) -> Ipv4Addr {
        *self
            .addresses
            .entry(name.to_owned())
            .or_insert_with(own_address)
    }

    /// Settings that tell a process its peers; usable for `start_msg` later.
    pub fn peer_settings(&mut self, logins: &[String], routes: &[String]) -> Vec<String> {
        let peers = self.peers_of(logins, routes);
        settings(&peers)
    }

    /// The same through a cable of its own to each peer.
    async fn cable_settings(
        &mut self,
        from: &str,
        logins: &[String],
        routes: &[String],
    ) -> anyhow::Result<Vec<String>> {
        let mut peers = self.peers_of(logins, routes);
        for (_, name, address) in &mut peers {
            let cable = Proxy::start(*address).await?;
            *address = cable.address();
            self.cables.insert(format!("{from}-{name}"), cable);
        }
        Ok(settings(&peers))
    }

    fn peers_of(
        &mut self,
        logins: &[String],
        routes: &[String],
    ) -> Vec<(&'static str, String, SocketAddr)> {
        let mut db = vec!["db".to_owned()];
        db.extend(self.standby.then(|| STANDBY.to_owned()));
        let kinds = [
            ("login", logins, ports::LOGIN_CONTROL),
            ("route", routes, ports::ROUTE),
            ("db_proxy", &db, ports::DB_PROXY),
        ];
        let mut peers = Vec::new();
        for (kind, names, port) in kinds {
            for name in names {
                let address = SocketAddr::from((self.address_of(name), port));
                peers.push((kind, name.clone(), address));
            }
        }
        peers
    }

    /// Names of the cables, `from-to`: `msg-route1` is that of all msg servers to route1.
    pub fn cables(&self) -> Vec<String> {
        self.cables.keys().cloned().collect()
    }

    /// A cable between processes.
    pub fn cable(&self, name: &str) -> anyhow::Result<&Proxy> {
        self.cables
            .get(name)
            .with_context(|| format!("no cable {name}"))
    }

    /// Starts a route server.
    pub fn start_route(&mut self, name: &str, set: &[String]) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let own = [format!("route.listen=\"{address}:{}\"", ports::ROUTE)];
        self.start_role(name, "route", &own, set)
    }

    /// Starts the db-proxy.
    pub fn start_db_proxy(&mut self, peers: &[String], set: &[String]) -> anyhow::Result<()> {
        self.start_db_proxy_as("db", peers, set)
    }

    /// Starts the db-proxy that peers of [`Options::standby`] know of beside the first one.
    pub fn start_standby(&mut self, peers: &[String], set: &[String]) -> anyhow::Result<()> {
        self.start_db_proxy_as(STANDBY, peers, set)
    }

    fn start_db_proxy_as(
        &mut self,
        name: &str,
        peers: &[String],
        set: &[String],
    ) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let mut own = vec![
            format!("store.name=\"{name}\""),
            format!("db_proxy.listen=\"{address}:{}\"", ports::DB_PROXY),
            format!(
                "db_proxy.admin_listen=\"{address}:{}\"",
                ports::DB_PROXY_ADMIN
            ),
            format!("data_dir=\"{}\"", self.data_dir().display()),
        ];
        own.extend(peers.iter().cloned());
        self.start_role(name, "db-proxy", &own, set)
    }

    /// Starts a login server.
    pub fn start_login(&mut self, name: &str, set: &[String]) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let own = [
            format!("login.http_listen=\"{address}:{}\"", ports::LOGIN_HTTP),
            format!("login.client_listen=\"{address}:{}\"", ports::LOGIN_BINARY),
            format!(
                "login.control_listen=\"{address}:{}\"",
                ports::LOGIN_CONTROL
            ),
        ];
        self.start_role(name, "login", &own, set)
    }

    /// Starts a msg server.
    pub fn start_msg(
        &mut self,
        name: &str,
        peers: &[String],
        set: &[String],
    ) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let mut own = vec![
            format!("msg.listen=\"{address}:{}\"", ports::MSG),
            format!("msg.admin_listen=\"{address}:{}\"", ports::MSG_ADMIN),
            format!("msg.name=\"{name}\""),
            format!("msg.orders_file=\"{}\"", self.orders_file(name).display()),
        ];
        own.extend(peers.iter().cloned());
        self.start_role(name, "msg", &own, set)
    }

    /// The file in which a msg server is asked to let clients go.
    pub fn orders_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}-orders"))
    }

    fn start_role(
        &mut self,
        name: &str,
        role: &str,
        own: &[String],
        set: &[String],
    ) -> anyhow::Result<()> {
        let table = role.replace('-', "_");
        // Settings of other roles do not concern this process; all others go to all.
        let mine = set.iter().filter(|setting| {
            let of = setting.split_once('.').map_or("", |(of, _)| of);
            of == table || !ROLE_TABLES.contains(&of)
        });
        let mut settings: Vec<String> = own.iter().chain(mine).cloned().collect();
        settings.push(format!(
            "secret_file=\"{}\"",
            self.dir.path().join("secret").display()
        ));
        self.spawn(name, vec![role.to_owned()], &settings)
    }

    fn spawn(&mut self, name: &str, mut args: Vec<String>, set: &[String]) -> anyhow::Result<()> {
        // Many servers of one role run on this machine.
        args.extend(["--set".to_owned(), "admin.listen=127.0.0.1:0".to_owned()]);
        for key_value in set {
            args.extend(["--set".to_owned(), key_value.clone()]);
        }
        let spec = Spec {
            name: name.to_owned(),
            args,
            dir: self.dir.path().to_path_buf(),
            env: Vec::new(),
        };
        self.processes
            .insert(name.to_owned(), Process::start(spec)?);
        Ok(())
    }

    fn import(&self, people: u32) -> anyhow::Result<()> {
        if people > 0 {
            let csv = people::write_csv(self.dir.path(), people)?;
            self.import_file(&csv)?;
        }
        Ok(())
    }

    /// Imports a directory file by the command-line tool.
    pub fn import_file(&self, csv: &Path) -> anyhow::Result<String> {
        self.imd(&["directory", "import", &csv.display().to_string()])
    }

    /// Runs an administration command (`imd … --server ADDR --secret-file FILE`).
    pub fn imd(&self, args: &[&str]) -> anyhow::Result<String> {
        let server = self.admin_address()?.to_string();
        let secret = self.admin_secret_file().display().to_string();
        let mut all = args.to_vec();
        all.extend(["--server", &server, "--secret-file", &secret]);
        run_imd(self.dir.path(), &all)
    }

    /// Where the secret lies.
    pub fn secret_file(&self) -> std::path::PathBuf {
        if self.db_proxy == "all" {
            self.data_dir().join("secret")
        } else {
            self.dir.path().join("secret")
        }
    }

    /// Where the administrators' secret lies.
    pub fn admin_secret_file(&self) -> std::path::PathBuf {
        self.data_dir().join("admin-secret")
    }

    /// Where administrators' tools reach db-proxy.
    pub fn admin_address(&self) -> anyhow::Result<SocketAddr> {
        let mut address = self.db_proxy_address()?;
        address.set_port(ports::DB_PROXY_ADMIN);
        Ok(address)
    }

    /// Where db-proxy listens.
    pub fn db_proxy_address(&self) -> anyhow::Result<SocketAddr> {
        let address = self
            .addresses
            .get(&self.db_proxy)
            .context("start db-proxy first")?;
        Ok(SocketAddr::from((*address, ports::DB_PROXY)))
    }

    /// The folder with the store.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// The temporary folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until one process is ready.
    pub async fn ready(&mut self, name: &str) -> anyhow::Result<()> {
        self.process(name)?.ready(READY).await.map(|_| ())
    }

    /// Waits until every process is ready.
    pub async fn all_ready(&mut self) -> anyhow::Result<()> {
        for process in self.processes.values_mut() {
            process.ready(READY).await?;
        }
        Ok(())
    }

    /// A process by name.
    pub fn process(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.processes
            .get_mut(name)
            .with_context(|| format!("no process {name}"))
    }

    /// A process by name, to look at.
    pub fn running(&self, name: &str) -> Option<&Process> {
        self.processes.get(name)
    }

    /// Names of all processes.
    pub fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    /// Ends a process hard and starts it again on the same addresses.
    pub async fn kill_and_restart(&mut self, name: &str) -> anyhow::Result<()> {
        self.process(name)?.restart()?;
        self.ready(name).await
    }

    /// Takes a process out of the platform, still running.
    pub fn remove(&mut self, name: &str) -> anyhow::Result<Process> {
        self.processes
            .remove(name)
            .with_context(|| format!("no process {name}"))
    }

    /// URL of a login server's HTTP port.
    pub fn login_url(&mut self, name: &str) -> String {
        format!(
            "http://{}:{}/msg_server",
            self.address_of(name),
            ports::LOGIN_HTTP
        )
    }

    /// URL of the (first) login server.
    pub fn url(&mut self) -> String {
        let name = if self.db_proxy == "all" {
            "all"
        } else {
            "login1"
        };
        self.login_url(name)
    }

    /// Client port of a msg server (`all` in an all-in-one platform).
    pub fn msg_address(&mut self, name: &str) -> SocketAddr {
        SocketAddr::from((self.address_of(name), ports::MSG))
    }

    /// Administrators' port of a msg server that runs alone.
    pub fn msg_admin_address(&mut self, name: &str) -> SocketAddr {
        SocketAddr::from((self.address_of(name), ports::MSG_ADMIN))
    }
}
