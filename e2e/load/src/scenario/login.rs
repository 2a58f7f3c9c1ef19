//! How many clients one login server tells where to go.
//!
//! Each client comes with a connection of its own, asks once and reads to the end: the port closes
//! after an answer, as the original's does, so there is no keep-alive to use. What is counted is the
//! CPU of the login process, its share of connecting and closing included; how fast the clients of
//! one thread ask does not matter.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Setting;
use crate::logins::Logins;
use crate::measure::number;
use crate::report::{Figures, Row, Target};
use crate::reporters::Reporters;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("per_core", "assignments per core of login", "/s").with(Target::AtLeast(20_000.0)),
    Row::plain(
        "per_core_many",
        "assignments per core, 1,000 msg servers",
        "/s",
    ),
    Row::plain("rate", "assignments", "/s"),
    Row::plain("uneven_pct", "fullest msg server above the mean", "%"),
    Row::plain("peak_mib", "peak RSS of login", "MiB"),
];

const FEW: u32 = 10;
const MANY: u32 = 1_000;
/// Clients that ask at the same time.
const AT_ONCE: u32 = 64;
/// As msg servers do by default.
const REPORT_EVERY: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET /msg_server HTTP/1.1\r\nHost: login.example.com\r\n\
    Accept: */*\r\nUser-Agent: im-load\r\n\r\n";

/// Runs it, with a few msg servers and with many, each time with a fresh login server.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Figures>> {
    let mut runs = Vec::new();
    for _ in 0..setting.runs {
        let many = once(setting, setting.size(MANY)).await?;
        let mut figures = once(setting, FEW).await?;
        if let Some(per_core) = many.get("per_core") {
            figures.insert("per_core_many", *per_core);
        }
        runs.push(figures);
    }
    Ok(runs)
}

async fn once(setting: &Setting, msg_servers: u32) -> anyhow::Result<Figures> {
    let mut logins = Logins::start(1).await?;
    let reporters = Rc::new(Reporters::start(&logins, msg_servers, REPORT_EVERY).await?);
    logins.ready().await?;
    let crowd = Crowd::start(logins.http()?, &reporters);
    sleep(WARM_UP).await;

    let cpu: f64 = logins.cpu()?.iter().sum();
    let asked = crowd.answered.get();
    let start = Instant::now();
    sleep(Duration::from_secs(setting.seconds)).await;
    let seconds = start.elapsed().as_secs_f64();
    let answers = number(crowd.answered.get() - asked);
    let cpu = logins.cpu()?.iter().sum::<f64>() - cpu;
    crowd.end().await?;
    reporters.check()?;

    let sessions = reporters.sessions();
    let fullest = f64::from(sessions.iter().copied().max().unwrap_or_default());
    let mean = sessions.iter().map(|n| f64::from(*n)).sum::<f64>() / f64::from(msg_servers);
    let peak = logins.peak_bytes()?;
    if let Ok(reporters) = Rc::try_unwrap(reporters) {
        reporters.end().await?;
    }
    Ok(Figures::from([
        ("per_core", answers / cpu.max(0.01)),
        ("rate", answers / seconds),
        ("uneven_pct", (fullest / mean.max(1.0) - 1.0) * 100.0),
        ("peak_mib", number(peak) / f64::from(1 << 20)),
    ]))
}

/// Clients that ask one after another.
struct Crowd {
    answered: Rc<Cell<u64>>,
    fault: Rc<RefCell<Option<String>>>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    fn start(http: SocketAddr, reporters: &Rc<Reporters>) -> Self {
        let answered = Rc::new(Cell::new(0));
        let fault: Rc<RefCell<Option<String>>> = Rc::default();
        let stop = CancellationToken::new();
        let tasks = (0..AT_ONCE)
            .map(|_| {
                let (answered, reporters) = (Rc::clone(&answered), Rc::clone(reporters));
                let (fault, stop) = (Rc::clone(&fault), stop.clone());
                tokio::task::spawn_local(async move {
                    let mut answer = Vec::with_capacity(1024);
                    while !stop.is_cancelled() {
                        let asked = ask(http, &mut answer).await;
                        if let Err(error) = asked.and_then(|port| reporters.arrived(port)) {
                            fault
                                .borrow_mut()
                                .get_or_insert_with(|| format!("{error:#}"));
                            return;
                        }
                        answered.set(answered.get() + 1);
                    }
                })
            })
            .collect();
        Self {
            answered,
            fault,
            stop,
            tasks,
        }
    }

    /// Ends when everybody has the answer; fails when one of them got none.
    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await.context("client task")?;
        }
        match self.fault.take() {
            None => Ok(()),
            Some(fault) => bail!("{fault}"),
        }
    }
}

/// Asks once and returns the port that the client is told.
async fn ask(http: SocketAddr, answer: &mut Vec<u8>) -> anyhow::Result<u32> {
    let mut stream = TcpStream::connect(http).await.context("reach login")?;
    stream.write_all(REQUEST).await.context("ask login")?;
    answer.clear();
    stream
        .read_to_end(answer)
        .await
        .context("hear from login")?;
    port_of(answer).with_context(|| format!("login says {}", String::from_utf8_lossy(answer)))
}

/// The port in an answer.
fn port_of(answer: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(answer).ok()?;
    let (_, rest) = text.split_once("\"port\" : \"")?;
    let (port, _) = rest.split_once('"')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_as_clients_read_it() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\n   \"msg\" : \"\",\n   \"port\" : \"20007\",\n";
        assert_eq!(port_of(answer), Some(20_007));
        assert_eq!(port_of(b"{\n   \"code\" : 1,\n"), None);
    }

    #[test]
    fn a_request_ends_with_an_empty_line() {
        let text = std::str::from_utf8(REQUEST).unwrap();
        assert!(text.starts_with("GET /msg_server HTTP/1.1\r\n"));
        assert!(text.ends_with("\r\n\r\n") && !text.contains("  "));
    }
}
