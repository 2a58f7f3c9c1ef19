//! A real S3 server: the Versity gateway over a folder, the program that `VERSITYGW` names.

use std::ffi::OsString;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const ACCESS: &str = "tests";
const SECRET: &str = "of-these-tests";

/// Name of the one bucket.
pub const BUCKET: &str = "chat";

/// Time for a start.
const START: Duration = Duration::from_secs(20);

/// Starts until one gets the port that the kernel had chosen.
const STARTS: usize = 10;

/// An S3 server with one bucket. It ends, with all that it has, when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    dir: tempfile::TempDir,
    address: SocketAddr,
}

impl S3Server {
    /// Starts one.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts one at an address of this machine that others reach.
    pub async fn start_at(ip: IpAddr) -> anyhow::Result<Self> {
        Self::start_with(ip, |dir| vec!["--sidecar".into(), dir.join("meta").into()]).await
    }

    /// Starts one that remembers nothing of its objects but their bytes, and so replaces one whose writer
    /// asked it not to.
    pub async fn start_forgetful() -> anyhow::Result<Self> {
        Self::start_with(Ipv4Addr::LOCALHOST.into(), |_| vec!["--nometa".into()]).await
    }

    async fn start_with(
        ip: IpAddr,
        options: impl Fn(&Path) -> Vec<OsString>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path();
        std::fs::create_dir_all(root.join("buckets").join(BUCKET))?;
        std::fs::create_dir(root.join("meta"))?;
        std::fs::write(root.join("access"), format!("{ACCESS}\n"))?;
        std::fs::write(root.join("secret"), format!("{SECRET}\n"))?;
        let options = options(root);
        let mut last = None;
        for _ in 0..STARTS {
            // The program cannot tell which port it got, so it is told one that was free just now.
            let address = TcpListener::bind((ip, 0))?.local_addr()?;
            match spawn(root, address, &options).await {
                Ok(child) => {
                    return Ok(Self {
                        child,
                        dir,
                        address,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no start was tried")?)
    }

    /// Its base URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// File with the access key.
    pub fn access_key_file(&self) -> PathBuf {
        self.dir.path().join("access")
    }

    /// File with the secret of the access key.
    pub fn secret_key_file(&self) -> PathBuf {
        self.dir.path().join("secret")
    }

    /// A folder that goes away with the server.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Every object of the bucket, as a file.
    pub fn objects(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("buckets").join(BUCKET))
    }

    /// Settings with which a server of ours keeps its blobs below this prefix.
    pub fn settings(&self, prefix: &str) -> Vec<String> {
        let (access, secret) = (self.access_key_file(), self.secret_key_file());
        vec![
            format!("blobs.url=\"s3://{BUCKET}/{prefix}\""),
            format!("blobs.endpoint=\"{}\"", self.endpoint()),
            format!("blobs.access_key_file=\"{}\"", access.display()),
            format!("blobs.secret_key_file=\"{}\"", secret.display()),
            "blobs.timeout=\"2s\"".to_owned(),
        ]
    }

    /// Kills it; its bucket stays.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again where it was.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let root = self.dir.path();
        let options = ["--sidecar".into(), root.join("meta").into()];
        self.child = spawn(root, self.address, &options).await?;
        Ok(())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _gone = self.kill();
    }
}

/// Starts the program and waits until it accepts connections.
async fn spawn(root: &Path, address: SocketAddr, options: &[OsString]) -> anyhow::Result<Child> {
    let program = std::env::var_os("VERSITYGW").context("VERSITYGW names the S3 server")?;
    let log = root.join("log");
    let mut child = Command::new(program)
        .args(["--access", ACCESS, "--secret", SECRET])
        .args(["--port", &address.to_string()])
        .arg("posix")
        .args(options)
        .arg(root.join("buckets"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Not a pipe: nobody would read it.
        .stderr(File::create(&log)?)
        .spawn()?;
    let end = Instant::now() + START;
    while child.try_wait()?.is_none() && Instant::now() < end {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(child);
        }
        sleep(Duration::from_millis(5)).await;
    }
    child.kill()?;
    child.wait()?;
    let said = std::fs::read_to_string(&log)?;
    bail!("the S3 server does not start: {said}")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => vec![path],
        })
        .collect()
}
