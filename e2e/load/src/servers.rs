//! The servers under measurement.

use std::net::SocketAddr;
use std::sync::OnceLock;

use anyhow::Context as _;
use im_e2e::gauges::Metrics;
use im_e2e::mariadb::{MariaDb, MariaDbOptions};
use im_e2e::platform::{Options, Platform, Shape};
use im_e2e::usage;

use crate::conditions::Watch;
use crate::measure::{self, number};
use crate::people::{self, Hashing};
use crate::web::Receiver;

/// Names of processes that are not always there.
const API: &str = "api";
const PUSH: &str = "push";

/// How the roles are spread over processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    /// One process with everything.
    AllInOne,
    /// One login, two msg, one route and one db-proxy process.
    Separate,
}

impl Topology {
    pub(crate) const ALL: [Self; 2] = [Self::AllInOne, Self::Separate];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AllInOne => "all-in-one",
            Self::Separate => "separate",
        }
    }
}

/// Which store they use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// The embedded one.
    #[default]
    Sqlite,
    /// One on a MariaDB of their own, which `MARIADB` names, with `innodb_flush_log_at_trx_commit = 1`.
    Mysql,
}

/// That of all servers of this process.
static STORE: OnceLock<Store> = OnceLock::new();

impl Store {
    /// Chooses it, before any server is started.
    pub(crate) fn choose(self) {
        STORE.get_or_init(|| self);
    }

    /// Tells servers of it that are to be started.
    async fn tell(options: Options) -> anyhow::Result<(Options, Option<MariaDb>)> {
        if STORE.get().copied().unwrap_or_default() == Self::Sqlite {
            return Ok((options, None));
        }
        let mariadb = MariaDb::start_with(MariaDbOptions {
            buffer_pool_mib: Some(1_024),
            ..MariaDbOptions::default()
        });
        let mariadb = mariadb.await?;
        let settings = mariadb.settings();
        let options = settings
            .iter()
            .fold(options, |options, set| options.set(set));
        Ok((options, Some(mariadb)))
    }
}

/// A running platform with its people.
pub(crate) struct Servers {
    platform: Platform,
    /// What they keep their store on, if it is a process of its own; it counts as one of them.
    mariadb: Option<MariaDb>,
    /// Client ports of the msg servers.
    addresses: Vec<SocketAddr>,
    pids: Vec<u32>,
    /// Names of the processes in the order of `pids`: the role and a number.
    names: Vec<String>,
}

impl Servers {
    /// Starts the servers without rate limit and imports people.
    pub(crate) async fn start(
        topology: Topology,
        people: u32,
        hashing: Hashing,
    ) -> anyhow::Result<Self> {
        Self::of(topology, people, hashing, unlimited(hashing)).await
    }

    /// Starts the servers as they are by default, with all their limits, and imports people.
    pub(crate) async fn guarded(topology: Topology, people: u32) -> anyhow::Result<Self> {
        Self::of(topology, people, Hashing::Default, options()).await
    }

    async fn of(
        topology: Topology,
        people: u32,
        hashing: Hashing,
        options: Options,
    ) -> anyhow::Result<Self> {
        let (options, mariadb) = Store::tell(options).await?;
        let platform = match topology {
            Topology::AllInOne => Platform::all_in_one(options).await,
            Topology::Separate => {
                let shape = Shape {
                    login: 1,
                    msg: 2,
                    route: 1,
                };
                Platform::separate(shape, options).await
            }
        };
        Self::with(platform.context("start servers")?, mariadb, people, hashing)
    }

    /// Starts one process per role instance, so many of each, without rate limit.
    pub(crate) async fn of_shape(
        shape: Shape,
        people: u32,
        hashing: Hashing,
    ) -> anyhow::Result<Self> {
        let (options, mariadb) = Store::tell(unlimited(hashing)).await?;
        let platform = Platform::separate(shape, options).await;
        Self::with(platform.context("start servers")?, mariadb, people, hashing)
    }

    /// Starts one process of each role, a file server among them, without limits of rate and connections.
    pub(crate) async fn with_file_server(people: u32, hashing: Hashing) -> anyhow::Result<Self> {
        let shape = Shape {
            login: 1,
            msg: 1,
            route: 1,
        };
        let options = unlimited(hashing)
            .files(1)
            .set("file.max_connections=20000")
            .set("file.max_connections_per_address=20000");
        let (options, mariadb) = Store::tell(options).await?;
        let platform = Platform::separate(shape, options).await;
        Self::with(platform.context("start servers")?, mariadb, people, hashing)
    }

    /// Starts one process of each role, an http-api server among them.
    pub(crate) async fn with_http_api(
        people: u32,
        hashing: Hashing,
        set: &[&str],
    ) -> anyhow::Result<Self> {
        let shape = Shape {
            login: 1,
            msg: 1,
            route: 1,
        };
        let (options, mariadb) = Store::tell(unlimited(hashing)).await?;
        let platform = Platform::separate(shape, options).await;
        let platform = platform.context("start servers")?;
        let mut servers = Self::with(platform, mariadb, people, hashing)?;
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        servers.platform.start_http_api(API, &set)?;
        servers.platform.ready(API).await?;
        servers.learn()?;
        Ok(servers)
    }

    /// Where the http-api server listens.
    pub(crate) fn http_api(&mut self) -> SocketAddr {
        self.platform.http_api_address(API)
    }

    /// A new token of the API with these scopes.
    pub(crate) fn token(&self, scopes: &[&str]) -> anyhow::Result<String> {
        self.platform.token(scopes, &[])
    }

    /// Starts a push server beside servers of their own processes, which tells this receiver, and waits until
    /// it follows the log.
    pub(crate) async fn start_push(&mut self, receiver: &Receiver) -> anyhow::Result<()> {
        let secret = self.platform.dir().join("webhook-secret");
        std::fs::write(&secret, "a secret of these figures")?;
        let set = [
            format!("push.webhook.url=\"http://{}/im\"", receiver.address()),
            format!("push.webhook.secret_file=\"{}\"", secret.display()),
            "log.filter=\"warn\"".to_owned(),
        ];
        let routes = self.names.iter().filter(|name| name.starts_with("route"));
        let routes: Vec<String> = routes.cloned().collect();
        self.platform.start_push(PUSH, &routes, &set)?;
        self.platform.ready(PUSH).await?;
        self.learn()
    }

    /// Age of the newest message that the push server has looked at while there are newer ones, seconds; 0
    /// without a push server.
    pub(crate) async fn push_lag(&self) -> anyhow::Result<f64> {
        match self.platform.running(PUSH) {
            None => Ok(0.0),
            Some(process) => {
                let metrics = Metrics::read(process).await?;
                Ok(metrics.sum("im_push_follower_lag_seconds", ""))
            }
        }
    }

    fn with(
        platform: Platform,
        mariadb: Option<MariaDb>,
        people: u32,
        hashing: Hashing,
    ) -> anyhow::Result<Self> {
        let mut servers = Self {
            platform,
            mariadb,
            addresses: Vec::new(),
            pids: Vec::new(),
            names: Vec::new(),
        };
        servers.learn()?;
        let csv = people::write_csv(servers.platform.dir(), people, hashing)?;
        servers
            .platform
            .import_file(&csv)
            .context("import people")?;
        Ok(servers)
    }

    fn learn(&mut self) -> anyhow::Result<()> {
        self.pids.clear();
        self.addresses.clear();
        self.names = self.platform.names();
        for name in self.names.clone() {
            self.pids.push(self.platform.process(&name)?.pid());
            if name == "all" || name.starts_with("msg") {
                self.addresses.push(self.platform.msg_address(&name));
            }
        }
        if let Some(mariadb) = &self.mariadb {
            self.pids.push(mariadb.pid()?);
            self.names.push("mariadb".to_owned());
        }
        Ok(())
    }

    /// The client port that the person with this id uses: neighbours use different msg servers.
    pub(crate) fn address_for(&self, id: u32) -> anyhow::Result<SocketAddr> {
        let at = id as usize % self.addresses.len().max(1);
        self.addresses
            .get(at)
            .copied()
            .context("there is no msg server")
    }

    /// Client ports of the msg servers.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Lets the highest memory of all servers count from now on.
    pub(crate) fn forget_peaks(&self) -> anyhow::Result<()> {
        self.pids
            .iter()
            .try_for_each(|pid| usage::forget_peak(*pid))
    }

    /// The most memory that a process of this role had, MiB; nothing where the role has none of its own.
    pub(crate) fn peak_mib(&self, role: &str) -> anyhow::Result<Option<f64>> {
        let mut peak = None;
        for pid in self.pids_of(role) {
            let mib = number(measure::memory_bytes(&[pid], "VmHWM")?) / f64::from(1 << 20);
            peak = Some(mib.max(peak.unwrap_or_default()));
        }
        Ok(peak)
    }

    /// Ids of the processes of a role: `login`, `msg`, `route`, `db`, `api` or `push`, and `all` of all
    /// in one.
    pub(crate) fn pids_of(&self, role: &str) -> Vec<u32> {
        let named = self.names.iter().zip(&self.pids);
        named
            .filter(|(name, _)| name.starts_with(role))
            .map(|(_, pid)| *pid)
            .collect()
    }

    /// Seconds of CPU that all servers have used.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        measure::cpu_seconds(&self.pids)
    }

    /// Bytes of memory of all servers, by a key of `/proc/PID/status`.
    pub(crate) fn memory(&self, key: &str) -> anyhow::Result<u64> {
        measure::memory_bytes(&self.pids, key)
    }

    /// Watches them, their disk and the machine from now on.
    pub(crate) fn watch(&self) -> anyhow::Result<Watch> {
        self.watch_with(&[])
    }

    /// The same where further processes are part of the load.
    pub(crate) fn watch_with(&self, helpers: &[u32]) -> anyhow::Result<Watch> {
        Watch::begin(self.pids.clone(), helpers, self.platform.dir())
    }

    /// Stops every server in order, so that the store is one file, and says how large it is.
    pub(crate) async fn store_bytes_after_stop(&mut self) -> anyhow::Result<u64> {
        anyhow::ensure!(self.mariadb.is_none(), "this measures the embedded store");
        for name in self.platform.names() {
            self.platform.process(&name)?.terminate().await?;
        }
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.platform.data_dir())? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Starts every server again.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<()> {
        for name in self.platform.names() {
            self.platform.process(&name)?.restart()?;
        }
        self.platform.all_ready().await?;
        self.learn()
    }
}

fn options() -> Options {
    Options::people(0).set("log.filter=\"warn\"")
}

fn unlimited(hashing: Hashing) -> Options {
    hashing
        .settings()
        .iter()
        .fold(options().set("msg.rate_limit=0"), |options, setting| {
            options.set(setting)
        })
}
