use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Running {
    address: SocketAddr,
    context: Context,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn start() -> Running {
    start_with(AdminConfig::default()).await
}

async fn start_with(config: AdminConfig) -> Running {
    let context = Context::default();
    let runtimes = vec![Handle::current()];
    let admin = Admin::bind(config, context.clone(), runtimes)
        .await
        .unwrap();
    let (address, stop) = (admin.local_addr(), CancellationToken::new());
    let task = tokio::spawn(admin.run(stop.clone()));
    Running {
        address,
        context,
        stop,
        task,
    }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

#[tokio::test]
async fn readyz_names_what_is_missing_and_then_says_ready() {
    let running = start().await;
    running.context.readiness.set("db_proxy_link", false);
    running.context.readiness.set("route_link", true);
    let (status, body) = get(running.address, "/readyz").await;
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"ready": false, "missing": ["db_proxy_link"]})
    );
    running.context.readiness.set("db_proxy_link", true);
    assert_eq!(get(running.address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn livez_fails_when_a_heartbeat_is_too_old() {
    let shared = Arc::new(Shared {
        context: Context::default(),
        started: Instant::now() - Duration::from_secs(2),
        beats: vec![AtomicU64::new(1_900), AtomicU64::new(0)],
        limit: Duration::from_secs(1),
    });
    assert_eq!(livez(State(Arc::clone(&shared))).await.status(), 503);
    shared.beats[1].store(1_900, Ordering::Relaxed);
    assert_eq!(livez(State(shared)).await.status(), 200);
}

#[tokio::test]
async fn the_heartbeat_of_a_served_port_beats() {
    let running = start().await;
    assert_eq!(
        get(running.address, "/livez").await,
        (200, "ok\n".to_owned())
    );
}

#[test]
fn every_runtime_has_a_heartbeat() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (free, held) = std::sync::mpsc::channel::<()>();
    main.block_on(async {
        let runtimes = vec![Handle::current(), other.handle().clone()];
        let config = AdminConfig {
            heartbeat: im_config::units::Span::millis(200),
            ..AdminConfig::default()
        };
        let admin = Admin::bind(config, Context::default(), runtimes)
            .await
            .unwrap();
        let (address, stop) = (admin.local_addr(), CancellationToken::new());
        let serving = tokio::spawn(admin.run(stop.clone()));
        assert_eq!(get(address, "/livez").await.0, 200);
        // Its only thread is held: the port answers and says so.
        other.spawn(async move { assert!(held.recv().is_err()) });
        let until = async |status| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while get(address, "/livez").await.0 != status {
                assert!(Instant::now() < deadline, "{status} did not come");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        until(503).await;
        drop(free);
        until(200).await;
        stop.cancel();
        serving.await.unwrap().unwrap();
    });
}

#[tokio::test]
async fn metrics_and_dumps_show_what_was_registered() {
    let running = start().await;
    let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
    running.context.metrics.register(|registry| {
        registry.register("im_test_things", "Things", counter.clone());
    });
    counter.inc();
    running
        .context
        .dumps
        .register("msg", || serde_json::json!({"connections": 3}));
    let (_, text) = get(running.address, "/metrics").await;
    assert!(text.contains("im_test_things_total 1\n"), "{text}");
    running.context.readiness.dependency("msg_link", true);
    running.context.readiness.dependency("msg_link", false);
    let (_, dump) = get(running.address, "/debug/dump").await;
    let dump: Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(dump["readiness"], serde_json::json!({"msg_link": false}));
    assert_eq!(dump["msg"]["connections"], 3);
}

#[tokio::test]
async fn an_open_connection_does_not_hold_up_the_stop() {
    let running = start().await;
    let _idle = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(get(running.address, "/livez").await.0, 200);
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
}

/// Connections that say nothing take every place: probes are answered all the same, and the places come back.
#[tokio::test]
async fn silent_connections_and_slow_heads_keep_no_probe_out() {
    let running = start_with(AdminConfig {
        max_connections: 16,
        max_connections_per_address: 16,
        head_timeout: im_config::units::Span::millis(300),
        ..AdminConfig::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut silent = TcpStream::connect(running.address).await.unwrap();
        // Half of a head; one that was closed already takes it no more.
        silent.write_all(b"GET /livez HTTP/1.1\r\nX: ").await.ok();
        held.push(silent);
    }
    assert_eq!(get(running.address, "/livez").await.0, 200);
    let (_, text) = get(running.address, "/metrics").await;
    let crowded = text
        .lines()
        .find_map(|line| line.strip_prefix("im_admin_crowded_connections_total "))
        .unwrap();
    assert!(crowded.parse::<u32>().unwrap() >= 48, "{crowded}");
    for mut silent in held {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut rest));
        // Closed or cut off: it is over.
        drop(closed.await.expect("it is closed"));
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    stream.write_all(head.as_bytes()).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(get(running.address, "/livez").await.0, 200);
}
