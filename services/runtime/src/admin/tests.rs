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
    let context = Context::default();
    let limit = Duration::from_secs(10);
    let runtimes = vec![Handle::current()];
    let admin = Admin::bind("127.0.0.1:0", context.clone(), limit, runtimes)
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
    let limit = Duration::from_millis(200);
    let (free, held) = std::sync::mpsc::channel::<()>();
    main.block_on(async {
        let runtimes = vec![Handle::current(), other.handle().clone()];
        let admin = Admin::bind("127.0.0.1:0", Context::default(), limit, runtimes)
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
