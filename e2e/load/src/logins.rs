//! Login servers by themselves: all that they need of other roles is the reports of msg servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use im_config::LinkConfig;
use im_config::units::Span;
use im_discovery::Endpoint;
use im_e2e::gauges::Metrics;
use im_e2e::platform::{own_address, ports};
use im_e2e::process::{Process, Spec};
use im_e2e::wait;
use im_rpc::grpc::GrpcDialer;
use im_rpc::{LoginReport, Secret};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::measure;

/// Longest start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Running `imd login` processes that know one secret.
#[derive(Debug)]
pub(crate) struct Logins {
    // Before the folder: processes end first.
    servers: Vec<Login>,
    secret: Secret,
    _dir: TempDir,
}

/// One of them.
#[derive(Debug)]
struct Login {
    process: Process,
    address: Ipv4Addr,
}

impl Login {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }
}

impl Logins {
    /// Starts so many, side by side.
    pub(crate) async fn start(count: usize) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("im-load-").tempdir()?;
        let secret = Secret::generate();
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, secret.expose()).context("write secret")?;
        let mut servers = Vec::new();
        for n in 1..=count {
            let address = own_address();
            let settings = [
                format!("login.http_listen=\"{address}:{}\"", ports::LOGIN_HTTP),
                format!("login.client_listen=\"{address}:{}\"", ports::LOGIN_BINARY),
                format!(
                    "login.control_listen=\"{address}:{}\"",
                    ports::LOGIN_CONTROL
                ),
                format!("login.replicas={count}"),
                format!("secret_file=\"{}\"", secret_file.display()),
                "admin.listen=127.0.0.1:0".to_owned(),
                "log.filter=\"warn\"".to_owned(),
            ];
            let mut args = vec!["login".to_owned()];
            for setting in settings {
                args.extend(["--set".to_owned(), setting]);
            }
            let process = Process::start(Spec {
                name: format!("login{n}"),
                args,
                dir: dir.path().to_path_buf(),
                env: Vec::new(),
            })?;
            servers.push(Login { process, address });
        }
        // They are ready with their first msg server; their ports are open before.
        for login in &servers {
            let port = login.at(ports::LOGIN_CONTROL);
            let open = || async move { TcpStream::connect(port).await.ok() };
            wait::until("the port for reports", PATIENCE, open)
                .await
                .with_context(|| login.process.log_tail())?;
        }
        Ok(Self {
            servers,
            secret,
            _dir: dir,
        })
    }

    /// What msg servers open their report streams with, one for each login server.
    pub(crate) fn dialers(&self) -> Vec<GrpcDialer<LoginReport>> {
        let dialer = |login: &Login| {
            let address = login.at(ports::LOGIN_CONTROL).to_string();
            let endpoint = Endpoint {
                name: address.clone(),
                address,
            };
            let link = LinkConfig {
                // As msg servers that report every two seconds.
                keepalive: Span::seconds(6),
                ..LinkConfig::default()
            };
            GrpcDialer::new(endpoint, self.secret.clone(), link)
        };
        self.servers.iter().map(dialer).collect()
    }

    /// Reports that they have taken, all together.
    pub(crate) async fn reports(&self) -> anyhow::Result<f64> {
        let mut reports = 0.0;
        for login in &self.servers {
            let metrics = Metrics::read(&login.process).await?;
            reports += metrics.sum("im_login_reports", "");
        }
        Ok(reports)
    }

    /// Waits until all of them hand out addresses.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        for login in &mut self.servers {
            login.process.ready(PATIENCE).await?;
        }
        Ok(())
    }

    /// The HTTP port of the first one.
    pub(crate) fn http(&self) -> anyhow::Result<SocketAddr> {
        let first = self.servers.first().context("there is a login server")?;
        Ok(first.at(ports::LOGIN_HTTP))
    }

    /// Seconds of CPU that each of them has used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Vec<f64>> {
        self.servers
            .iter()
            .map(|login| measure::cpu_seconds(&[login.process.pid()]))
            .collect()
    }

    /// Bytes of memory that the largest of them had at most so far.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        let mut peak = 0;
        for login in &self.servers {
            peak = peak.max(measure::memory_bytes(&[login.process.pid()], "VmHWM")?);
        }
        Ok(peak)
    }
}
