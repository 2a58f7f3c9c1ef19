//! People who chat on while something else goes on, and those who come to it.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use im_core::{ClientType, Peer};
use tokio::time::{Instant, sleep_until, timeout};

use super::flow::{self, Body, Flow, Readers};
use super::pairs;
use crate::lean::Lean;
use crate::measure::Latency;
use crate::servers::Servers;

/// What is waited for at most at the end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time from one newcomer to the next.
const NEWCOMER_GAP: Duration = Duration::from_millis(500);
/// Where bystanders and newcomers come from.
const BYSTANDERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));
const NEWCOMERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 1));

/// Pairs that write at a fixed rate.
pub(super) struct Bystanders {
    flow: Rc<Flow>,
    readers: Readers,
    targets: Vec<(usize, Peer)>,
}

/// How they fared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fared {
    /// Milliseconds until the acknowledgement; those who waited in vain count up to when they gave up.
    pub(super) p50: f64,
    /// 99th percentile.
    pub(super) p99: f64,
    /// The longest.
    pub(super) max: f64,
    /// Messages without acknowledgement.
    pub(super) lost: u64,
}

impl Bystanders {
    /// Logs the people from `first` on in, an even number: each odd one of them writes to the next.
    pub(super) async fn log_in(servers: &Servers, first: u32, count: u32) -> anyhow::Result<Self> {
        let connections: Vec<_> = stream::iter(first..first + count)
            .map(|id| async move {
                let address = servers.address_for(id)?;
                Lean::login(address, Some(BYSTANDERS), id, ClientType::Windows).await
            })
            .buffered(flow::LOGINS_AT_ONCE)
            .try_collect()
            .await?;
        let mut members = Vec::new();
        let mut targets = Vec::new();
        for (at, connection) in connections.into_iter().enumerate() {
            let partner = pairs::user(connection.user + 1)?;
            let writes = at % 2 == 0;
            if writes {
                targets.push((at, partner));
            }
            members.push((connection, writes.then_some(partner).into_iter().collect()));
        }
        let flow = Flow::new(members, Body::Text);
        let readers = flow.read();
        Ok(Self {
            flow,
            readers,
            targets,
        })
    }

    /// They write, so many messages per second together, as long as the other takes.
    pub(super) async fn beside<T>(
        self,
        per_second: u32,
        other: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, Fared)> {
        self.flow.begin();
        let writing = async {
            // A lost connection shows as messages that nobody acknowledges.
            drop(pairs::send_at_rate(&self.flow, per_second, &self.targets).await);
            std::future::pending::<()>().await;
        };
        let found = tokio::select! {
            found = other => found?,
            () = writing => anyhow::bail!("writing never ends"),
        };
        self.flow.settle(PATIENCE).await;
        let lost = self.flow.abandon();
        let fared = Fared {
            p50: self.flow.latency_ms(50.0),
            p99: self.flow.latency_ms(99.0),
            max: self.flow.latency_ms(100.0),
            lost,
        };
        self.readers.end().await?;
        Ok((found, fared))
    }
}

/// People who log in for the first time, one after the other, until the deadline; who is not let in
/// within the time of their patience counts with all of it. `next` is the id of the first.
pub(super) async fn newcomers(
    servers: &Servers,
    next: &mut u32,
    until: Instant,
) -> anyhow::Result<Latency> {
    let mut latency = Latency::new();
    while Instant::now() < until {
        let id = *next;
        *next += 1;
        let start = Instant::now();
        let address = servers.address_for(id)?;
        let login = Lean::login(address, Some(NEWCOMERS), id, ClientType::Android);
        match timeout(PATIENCE, login).await {
            Ok(Ok(_)) => latency.record(start.elapsed()),
            Ok(Err(_)) | Err(_) => latency.record(PATIENCE),
        }
        sleep_until(start + NEWCOMER_GAP).await;
    }
    Ok(latency)
}
