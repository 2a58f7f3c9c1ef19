//! Start to ready, and the memory of a platform that nobody uses yet.

use std::time::Duration;

use im_e2e::process::{Process, Spec};
use tokio::time::{Instant, sleep};

use super::Setting;
use crate::measure::{self, number};
use crate::report::{Figures, Row, Target};

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("rss_mib", "idle RSS", "MB").with(Target::AtMost(40.0)),
    Row::plain("ready_ms", "start to ready", "ms").with(Target::AtMost(500.0)),
    Row::plain("again_ms", "start to ready, existing data", "ms").with(Target::AtMost(500.0)),
];

/// Time after which a platform counts as idle.
const IDLE: Duration = Duration::from_secs(3);
/// Longest start.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs it, each time on a fresh data directory.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Figures>> {
    let mut runs = Vec::new();
    for _ in 0..setting.runs {
        let dir = tempfile::Builder::new().prefix("im-load-").tempdir()?;
        let (mut process, first) = start(dir.path()).await?;
        sleep(IDLE).await;
        let rss = measure::memory_bytes(&[process.pid()], "VmRSS")?;
        process.terminate().await?;
        let (mut process, again) = start(dir.path()).await?;
        process.terminate().await?;
        runs.push(Figures::from([
            ("rss_mib", number(rss) / 1e6),
            ("ready_ms", first.as_secs_f64() * 1e3),
            ("again_ms", again.as_secs_f64() * 1e3),
        ]));
    }
    Ok(runs)
}

async fn start(dir: &std::path::Path) -> anyhow::Result<(Process, Duration)> {
    let mut args = vec!["all-in-one".to_owned(), "--data-dir".to_owned()];
    args.push(dir.join("data").display().to_string());
    for listen in [
        "admin.listen",
        "login.http_listen",
        "login.client_listen",
        "login.control_listen",
        "msfs.listen",
        "msg.listen",
        "file.client_listen",
        "http_api.listen",
        "db_proxy.admin_listen",
        "route.listen",
        "db_proxy.listen",
    ] {
        args.extend(["--set".to_owned(), format!("{listen}=\"127.0.0.1:0\"")]);
    }
    let ready_file = dir.join("startup.ready.json");
    let spec = Spec {
        name: "startup".to_owned(),
        args,
        dir: dir.to_path_buf(),
        env: Vec::new(),
    };
    let begin = Instant::now();
    let mut process = Process::start(spec)?;
    // Finer than the harness looks.
    while !ready_file.is_file() && begin.elapsed() < PATIENCE {
        sleep(Duration::from_millis(1)).await;
    }
    let elapsed = begin.elapsed();
    process.ready(PATIENCE).await?;
    Ok((process, elapsed))
}
