//! What a running process uses and counts, read from outside.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process::{Addresses, Process};
use crate::usage;

/// Resident memory, KiB.
pub fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    usage::memory_kib(pid, "VmRSS")
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// A reading of a process's metrics.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Reads them at the admin port that the ready file names.
    pub async fn read(process: &Process) -> anyhow::Result<Self> {
        let address = admin_of(&process.addresses()?).context("the process has an admin port")?;
        Ok(Self(get(address, "/metrics").await?))
    }

    /// Sum over all children of this metric whose line holds `part`; 0 when there are none.
    pub fn sum(&self, name: &str, part: &str) -> f64 {
        self.0
            .lines()
            .filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| {
                    let rest = rest.strip_prefix("_total").unwrap_or(rest);
                    rest.starts_with([' ', '{'])
                })
            })
            .filter(|line| line.contains(part))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// What a process shows of itself to operators, by role.
pub async fn dump(process: &Process) -> anyhow::Result<serde_json::Value> {
    let address = admin_of(&process.addresses()?).context("the process has an admin port")?;
    serde_json::from_str(&get(address, "/debug/dump").await?).context("read the dump")
}

/// The admin port among the addresses of a process.
pub fn admin_of(addresses: &Addresses) -> Option<SocketAddr> {
    addresses.get("admin")?.get("http")?.as_str()?.parse().ok()
}

/// Body of an HTTP answer.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    Ok(body.to_owned())
}
