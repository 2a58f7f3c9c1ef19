//! Pictures over HTTP: from the msfs server, and from a static file server for comparison.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use im_e2e::platform::Platform;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Setting;
use crate::conditions::{Bounds, Runs, Watch};
use crate::measure::{cpu_seconds, memory_bytes, number};
use crate::report::{Figures, Row, Target};
use crate::web::Web;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("gets_s", "msfs", "GET/s"),
    Row::plain("get_us", "CPU of msfs", "µs/GET"),
    Row::plain("nginx_us", "CPU of nginx (Debian's)", "µs/GET"),
    Row::plain("ratio", "CPU, msfs to nginx", "×").with(Target::AtMost(1.5)),
    Row::plain("variants_s", "variants", "/s"),
    Row::plain("variants_mib", "peak memory beside variants", "MiB"),
];

/// Connections that ask.
const CONNECTIONS: usize = 16;
/// Width and height of a picture of about 100 KB.
const SMALL: u32 = 183;
/// Of one whose variants are asked for.
const LARGE: (u32, u32) = (800, 600);
/// How many of those.
const PICTURES: u32 = 32;
/// Longest wait for a start.
const WAIT: Duration = Duration::from_secs(20);

/// Runs it.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Runs> {
    setting
        .repeat(Bounds::BUSY, async || once(setting).await)
        .await
}

async fn once(setting: &Setting) -> anyhow::Result<Figures> {
    let mut platform = Platform::none()?;
    let set = [
        "msfs.upload_burst=\"1GiB\"",
        "msfs.max_scaling_per_address=64",
        "log.filter=\"warn\"",
    ];
    platform.start_msfs("pictures", &set.map(str::to_owned))?;
    platform.ready("pictures").await?;
    let at = platform.msfs_address("pictures");
    let msfs = platform.process("pictures")?.pid();
    let time = Duration::from_secs(setting.seconds);
    let watch = Watch::begin(vec![msfs], &[], platform.dir())?;

    let picture = bitmap(SMALL, SMALL, 0);
    let path = store(at, &picture).await?;
    let (gets, cpu) = measured(at, &path, picture.len(), time, &[msfs]).await?;
    let mut figures = Figures::from([
        ("gets_s", gets / time.as_secs_f64()),
        ("get_us", cpu / gets * 1e6),
    ]);
    let file = platform.dir().join("picture.bmp");
    std::fs::write(&file, &picture)?;
    if let Some(nginx) = Nginx::start(platform.dir()).await? {
        let pids = nginx.pids()?;
        let (gets, cpu) = measured(nginx.at, "/picture.bmp", picture.len(), time, &pids).await?;
        let each = cpu / gets * 1e6;
        let ratio = figures.get("get_us").map_or(0.0, |msfs| msfs / each);
        figures.extend([("nginx_us", each), ("ratio", ratio)]);
    } else {
        eprintln!(
            "  nginx is not installed (apt-get install nginx-light): nothing to compare with"
        );
    }
    let conditions = watch.end()?;

    figures.extend(variants(at, msfs, setting.size(PICTURES)).await?);
    conditions.add_to(&mut figures, gets);
    Ok(figures)
}

/// Asks for a small variant of so many pictures, all at the same time.
async fn variants(at: SocketAddr, msfs: u32, count: u32) -> anyhow::Result<Figures> {
    let mut paths = Vec::new();
    for n in 0..count {
        paths.push(store(at, &bitmap(LARGE.0, LARGE.1, n)).await?);
    }
    im_e2e::usage::forget_peak(msfs)?;
    let begin = Instant::now();
    try_join_all(paths.iter().map(|path| async move {
        let mut web = Web::connect(at, None).await?;
        web.get(&format!("{path}_100x100.jpg")).await
    }))
    .await?;
    let took = begin.elapsed().as_secs_f64();
    Ok(Figures::from([
        ("variants_s", f64::from(count) / took),
        (
            "variants_mib",
            number(memory_bytes(&[msfs], "VmHWM")?) / f64::from(1 << 20),
        ),
    ]))
}

/// How often a path was fetched in so much time, and the CPU seconds of these processes.
async fn measured(
    at: SocketAddr,
    path: &str,
    length: usize,
    time: Duration,
    pids: &[u32],
) -> anyhow::Result<(f64, f64)> {
    let before = cpu_seconds(pids)?;
    let end = Instant::now() + time;
    let fetched = try_join_all((0..CONNECTIONS).map(|_| async {
        let mut web = Web::connect(at, None).await?;
        let mut count = 0_u64;
        while Instant::now() < end {
            let got = web.get(path).await?.len();
            ensure!(got == length, "{got} bytes of {length} came");
            count += 1;
        }
        Ok(count)
    }))
    .await?;
    let count = number(fetched.into_iter().sum());
    Ok((count, cpu_seconds(pids)? - before))
}

/// Stores a picture; gives its path.
async fn store(at: SocketAddr, picture: &[u8]) -> anyhow::Result<String> {
    let body = Web::connect(at, None).await?.put("/a.bmp", picture).await?;
    let json: serde_json::Value = serde_json::from_slice(&body)?;
    let path = json.get("path").and_then(serde_json::Value::as_str);
    let path = path.context("the path of a picture")?;
    Ok(format!("/{path}"))
}

/// A picture of 24 bits per pixel without compression; those of different numbers differ.
fn bitmap(width: u32, height: u32, number: u32) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let size = row * height;
    let mut bytes = b"BM".to_vec();
    for field in [54 + size, 0, 54, 40, width, height, 0x18_0001, 0, size] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.resize(54, 0);
    let shade = |at: u32| {
        at.wrapping_mul(2_654_435_761)
            .wrapping_add(number)
            .to_le_bytes()
    };
    bytes.extend((0..size).map(|at| {
        let [_, _, third, _] = shade(at);
        third
    }));
    bytes
}

/// A static file server of Debian over a folder; it ends when this is dropped.
struct Nginx {
    child: Child,
    at: SocketAddr,
}

impl Nginx {
    /// Starts it as Debian configures it where that matters here: one process per core, sendfile. `None`
    /// where it is not installed.
    async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let at = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.join("nginx.conf");
        let dir = folder.display();
        let text = format!(
            "daemon off; user root; worker_processes auto; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
             events {{ worker_connections 768; }}\n\
             http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000000;\n\
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
             uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
             server {{ listen {at}; root {dir}; }} }}\n"
        );
        std::fs::write(&config, text)?;
        let started = Command::new("nginx")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("start nginx"),
        };
        let mut nginx = Self { child, at };
        let end = Instant::now() + WAIT;
        while TcpStream::connect(at).await.is_err() {
            if nginx.child.try_wait()?.is_some() || Instant::now() > end {
                bail!("nginx does not start: {}", log(folder));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(Some(nginx))
    }

    /// Its processes.
    fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let main = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        let children = children.split_whitespace().map(str::parse);
        let mut pids = children.collect::<Result<Vec<u32>, _>>()?;
        pids.push(main);
        Ok(pids)
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("nginx.log")).unwrap_or_default()
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its first process ends the others when it is asked to end, not when it is killed.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-QUIT", &pid]).status();
        drop(asked.and_then(|_| self.child.wait()));
    }
}
