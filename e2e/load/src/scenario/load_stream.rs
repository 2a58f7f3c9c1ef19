//! What the reports of a thousand msg servers cost each of three login servers.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::Setting;
use crate::logins::Logins;
use crate::measure::number;
use crate::report::{Figures, Row, Target};
use crate::reporters::Reporters;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("most_pct", "CPU of the busiest login", "% of a core").with(Target::AtMost(5.0)),
    Row::plain("mean_pct", "CPU of a login, mean of three", "% of a core"),
    Row::plain("cpu_us", "login CPU per report", "µs"),
    Row::plain("reports", "reports to each login", "/s"),
    Row::plain("peak_mib", "peak RSS of a login", "MiB"),
];

const LOGINS: usize = 3;
const MSG_SERVERS: u32 = 1_000;
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// CPU time is told in hundredths of a second: over this time one is a twentieth of a percent.
const LEAST_SECONDS: u64 = 20;
/// Time for the work of opening the streams to end.
const SETTLE: Duration = Duration::from_secs(4);

/// Runs it, each run with fresh login servers.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Figures>> {
    let mut runs = Vec::new();
    for _ in 0..setting.runs {
        runs.push(once(setting).await?);
    }
    Ok(runs)
}

async fn once(setting: &Setting) -> anyhow::Result<Figures> {
    let count = setting.size(MSG_SERVERS);
    let mut logins = Logins::start(LOGINS).await?;
    let reporters = Reporters::start(&logins, count, REPORT_EVERY).await?;
    logins.ready().await?;
    sleep(SETTLE).await;

    let before = logins.cpu()?;
    let seen = logins.reports().await?;
    let start = Instant::now();
    sleep(Duration::from_secs(setting.seconds.max(LEAST_SECONDS))).await;
    let seconds = start.elapsed().as_secs_f64();
    let seen = logins.reports().await? - seen;
    let after = logins.cpu()?;
    let peak = logins.peak_bytes()?;
    reporters.check()?;
    reporters.end().await?;

    let due = f64::from(count) * seconds / REPORT_EVERY.as_secs_f64();
    let each = seen / number(LOGINS as u64);
    ensure!(
        each >= due * 0.95,
        "each login has seen {each:.0} reports instead of {due:.0}"
    );
    let used = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before);
    let most = used.clone().fold(0.0, f64::max);
    let total: f64 = used.sum();
    Ok(Figures::from([
        ("most_pct", most / seconds * 100.0),
        ("mean_pct", total / number(LOGINS as u64) / seconds * 100.0),
        ("cpu_us", total * 1e6 / seen.max(1.0)),
        ("reports", each / seconds),
        ("peak_mib", number(peak) / f64::from(1 << 20)),
    ]))
}
