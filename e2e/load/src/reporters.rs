//! Msg servers that only report their load: over the link that real ones use, one connection and one
//! stream to each login server, with its keep-alive.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use im_proto_rpc::v1::load_report::State;
use im_proto_rpc::v1::{LoadReport, LoadSeen};
use im_rpc::{Dial as _, Link};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::logins::Logins;

/// Links that are opened at the same time.
const DIALS_AT_ONCE: usize = 32;
/// Port that clients are told for the first msg server; the others follow.
const FIRST_PORT: u32 = 20_000;

/// Reporting msg servers.
pub(crate) struct Reporters {
    shared: Rc<Shared>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    servers: Vec<Server>,
    fault: RefCell<Option<String>>,
}

#[derive(Default)]
struct Server {
    sessions: Cell<u32>,
    report: Cell<u64>,
}

impl Reporters {
    /// Starts so many msg servers, each of which reports to every login server so often.
    pub(crate) async fn start(
        logins: &Logins,
        count: u32,
        every: Duration,
    ) -> anyhow::Result<Self> {
        let shared = Rc::new(Shared {
            servers: (0..count).map(|_| Server::default()).collect(),
            fault: RefCell::default(),
        });
        let dialers = logins.dialers();
        let pairs = (0..count).flat_map(|n| dialers.iter().map(move |dialer| (n, dialer)));
        let links: Vec<_> = stream::iter(pairs)
            .map(|(n, dialer)| async move { anyhow::Ok((n, dialer.dial().await?)) })
            .buffered(DIALS_AT_ONCE)
            .try_collect()
            .await
            .context("open report streams")?;
        let stop = CancellationToken::new();
        let start = Instant::now();
        let tasks = links
            .into_iter()
            .map(|(n, link)| {
                // Spread evenly: real ones have started at any time.
                let first = start + every * n / count.max(1);
                let (shared, stop) = (Rc::clone(&shared), stop.clone());
                tokio::task::spawn_local(async move {
                    let reporting = report(&shared, n, link, first, every);
                    if let Some(Err(error)) = stop.run_until_cancelled(reporting).await {
                        shared.fail(&error);
                    }
                })
            })
            .collect();
        Ok(Self {
            shared,
            stop,
            tasks,
        })
    }

    /// A client has come to the msg server with this port.
    pub(crate) fn arrived(&self, port: u32) -> anyhow::Result<()> {
        let at = port.checked_sub(FIRST_PORT).map(|at| at as usize);
        let server = at.and_then(|at| self.shared.servers.get(at));
        let server = server.with_context(|| format!("port {port} is that of no msg server"))?;
        server.sessions.set(server.sessions.get() + 1);
        Ok(())
    }

    /// Sessions of each msg server.
    pub(crate) fn sessions(&self) -> Vec<u32> {
        let servers = self.shared.servers.iter();
        servers.map(|server| server.sessions.get()).collect()
    }

    /// Fails when a report stream has ended.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self.shared.fault.borrow().as_ref() {
            None => Ok(()),
            Some(fault) => bail!("{fault}"),
        }
    }

    /// Ends them and waits.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await.context("report task")?;
        }
        Ok(())
    }
}

impl Shared {
    fn fail(&self, error: &anyhow::Error) {
        self.fault
            .borrow_mut()
            .get_or_insert_with(|| format!("{error:#}"));
    }

    fn compose(&self, n: u32) -> anyhow::Result<LoadReport> {
        let server = self.servers.get(n as usize).context("server exists")?;
        let report = server.report.get() + 1;
        server.report.set(report);
        let sessions = server.sessions.get();
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + n).to_string();
        Ok(LoadReport {
            server: format!("im-msg-{n}"),
            instance: u64::from(n) + 1,
            ip1: address.clone(),
            ip2: address,
            port: FIRST_PORT + n,
            sessions,
            connections: sessions,
            max_sessions: 2_000_000,
            soft_max_sessions: 1_700_000,
            state: State::Accepting as i32,
            revision: "im-load".to_owned(),
            report,
            confirm: false,
        })
    }
}

/// Reports at once and then at these times, until the link ends.
async fn report(
    shared: &Shared,
    n: u32,
    mut link: Link<LoadReport, LoadSeen>,
    first: Instant,
    every: Duration,
) -> anyhow::Result<()> {
    let gone = || format!("{} has closed a report stream", link.peer);
    link.tx.send(shared.compose(n)?).await.with_context(gone)?;
    let mut ticks = interval_at(first, every);
    // Late ones are made up for: the rate is part of the figure.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            // Nothing is to be confirmed.
            answer = link.rx.recv() => {
                let answer = answer.with_context(gone)?;
                bail!("{} answers unasked: {answer:?}", link.peer);
            }
            _ = ticks.tick() => {
                link.tx.send(shared.compose(n)?).await.with_context(gone)?;
            }
        }
    }
}
