//! The HTTP API beside 100,000 people: one of them, and pages of a hundred.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::Setting;
use crate::conditions::{Bounds, Runs};
use crate::measure::{Latency, cpu_seconds, number};
use crate::people::{self, Hashing};
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;
use crate::web::Web;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("one_s", "one person", "GET/s"),
    Row::plain(
        "one_us",
        "CPU of http-api and db-proxy, one person",
        "µs/GET",
    )
    .with(Target::AtMost(200.0)),
    Row::plain("pages_s", "first page of 100", "GET/s"),
    Row::plain("first_p95_ms", "first page at half of that, p95", "ms").with(Target::AtMost(20.0)),
    Row::plain("last_p95_ms", "last page at the same rate, p95", "ms").with(Target::AtMost(20.0)),
    Row::plain(
        "prefix_p95_ms",
        "page of a prefix at the same rate, p95",
        "ms",
    )
    .with(Target::AtMost(20.0)),
    Row::plain("ratio", "p50, last page to first", "×").with(Target::AtMost(1.5)),
];

/// People in the directory.
const PEOPLE: u32 = 100_000;
/// Connections that ask, each with an address and a token of its own, as both have a rate.
const CONNECTIONS: u8 = 8;
/// Rows of a page.
const ROWS_OF_A_PAGE: usize = 100;
/// Settings that let each connection ask as much as may be configured.
const UNHURRIED: [&str; 3] = [
    "http_api.token_rate={burst=10000,per_minute=60000}",
    "http_api.address_rate={burst=10000,per_minute=60000}",
    "log.filter=\"warn\"",
];

/// Runs it over one directory.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Runs> {
    let people = setting.size(PEOPLE);
    let mut servers = Servers::with_http_api(people, Hashing::Cheap, &UNHURRIED).await?;
    let at = servers.http_api();
    let mut asking = Asking::open(&servers, at).await?;
    let last = asking.last_page(people).await?;
    setting
        .repeat(Bounds::BUSY, async || {
            once(setting, &servers, &mut asking, people, &last).await
        })
        .await
}

async fn once(
    setting: &Setting,
    servers: &Servers,
    asking: &mut Asking,
    people: u32,
    last: &str,
) -> anyhow::Result<Figures> {
    let time = Duration::from_secs(setting.seconds);
    let pids = [servers.pids_of("api"), servers.pids_of("db")].concat();
    let watch = servers.watch()?;
    let before = cpu_seconds(&pids)?;
    let one = format!("/api/v1/users/{}", people::name(people / 2));
    let ones = asking.all(&one, 0, time).await?;
    let one_cpu = cpu_seconds(&pids)? - before;
    let first = "/api/v1/users?limit=100".to_owned();
    let pages = asking.all(&first, ROWS_OF_A_PAGE, time).await?;
    let half = pages / time.as_secs_f64() / 2.0;
    // All names that begin with the first half of one: 111 or 11 of them.
    let digits = (people / 2).to_string();
    let part = digits.get(..digits.len() / 2).unwrap_or_default();
    let prefix = format!("/api/v1/users?limit=100&prefix=u{part}");
    let first = asking.paced(&first, half, time).await?;
    let last = asking.paced(last, half, time).await?;
    let prefix = asking.paced(&prefix, half, time).await?;
    let conditions = watch.end()?;
    let mut figures = Figures::from([
        ("one_s", ones / time.as_secs_f64()),
        ("one_us", one_cpu / ones * 1e6),
        ("pages_s", pages / time.as_secs_f64()),
        ("first_p95_ms", first.ms(95.0)),
        ("last_p95_ms", last.ms(95.0)),
        ("prefix_p95_ms", prefix.ms(95.0)),
        ("ratio", last.ms(50.0) / first.ms(50.0).max(1e-3)),
    ]);
    conditions.add_to(&mut figures, ones);
    Ok(figures)
}

/// Those who ask.
struct Asking(Vec<Web>);

impl Asking {
    async fn open(servers: &Servers, at: SocketAddr) -> anyhow::Result<Self> {
        let mut open = Vec::new();
        for n in 1..=CONNECTIONS {
            let token = servers.token(&["users:read"])?;
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 3, n));
            let web = Web::connect(at, Some(from)).await?;
            open.push(web.with_token(&token));
        }
        Ok(Self(open))
    }

    /// Walks through all pages; gives the path of the last full one.
    async fn last_page(&mut self, people: u32) -> anyhow::Result<String> {
        let web = self.0.first_mut().context("a connection")?;
        let begin = "/api/v1/users?limit=100".to_owned();
        let (mut path, mut full, mut seen) = (begin.clone(), begin.clone(), 0);
        loop {
            let page: Value = serde_json::from_slice(&web.get(&path).await?)?;
            let rows = rows(&page);
            seen += rows;
            if rows == ROWS_OF_A_PAGE {
                full = path;
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => path = format!("{begin}&cursor={next}"),
                _ => break,
            }
        }
        ensure!(seen == people as usize, "{seen} people of {people} listed");
        Ok(full)
    }

    /// All ask for this as fast as they are answered; gives how often. Each answer must have so many rows.
    async fn all(&mut self, path: &str, rows_wanted: usize, time: Duration) -> anyhow::Result<f64> {
        let end = Instant::now() + time;
        let asked = self.0.iter_mut().map(|web| async move {
            let mut count = 0_u64;
            let mut length = None;
            while Instant::now() < end {
                let body = web.get(path).await?;
                // Judged once; the same answer has the same length.
                if *length.get_or_insert(body.len()) != body.len() || count == 0 {
                    let found = rows(&serde_json::from_slice(&body)?);
                    ensure!(found == rows_wanted, "{found} rows of {rows_wanted}");
                }
                count += 1;
            }
            anyhow::Ok(count)
        });
        let asked = try_join_all(asked).await?;
        Ok(number(asked.into_iter().sum::<u64>()))
    }

    /// All ask for this, so often per second together; gives how long the answers took from when they were
    /// due.
    async fn paced(
        &mut self,
        path: &str,
        per_second: f64,
        time: Duration,
    ) -> anyhow::Result<Latency> {
        let begin = Instant::now();
        let gap = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second.max(1.0));
        let asked = self.0.iter_mut().zip(0_u32..).map(|(web, at)| async move {
            let mut due = begin + gap * at / u32::from(CONNECTIONS);
            let mut took = Vec::new();
            while due < begin + time {
                sleep_until(due).await;
                web.get(path).await?;
                took.push(due.elapsed());
                due += gap;
            }
            anyhow::Ok(took)
        });
        let mut latency = Latency::new();
        for took in try_join_all(asked).await?.into_iter().flatten() {
            latency.record(took);
        }
        Ok(latency)
    }
}

/// Rows of a page; none of what is no page.
fn rows(page: &Value) -> usize {
    let rows = page.get("items").and_then(Value::as_array);
    rows.map_or(0, Vec::len)
}
