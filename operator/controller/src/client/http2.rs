//! Over real connections: how many the watches of many namespaces take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use kube::client::Body;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::cache::Cache;
use crate::watch::Watches;
use crate::work_queue::WorkQueue;

/// A certificate for 127.0.0.1 that signs itself, and its key: of these tests, and of nothing else.
const CERTIFICATE: &str = "MIIBkDCCATagAwIBAgIUdzt844onopKM0i4woXUhgyCMh8cwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3\
    N0MCAXDTI2MTEyOTAxNTIyNFoYDzIxMjYxMTA1MDE1MjI0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjO\
    PQIBBggqhkjOPQMBBwNCAASJDxcbn16Ix+4GgNZ8F+sSZHqgFzTREHS5WBLq3709vGwaNYI+8gtZeGkzmK9B+PWpgR\
    U+68SfGhAIW6ScsxVwo2QwYjAdBgNVHQ4EFgQU3tg8KR4fOMTWJuMacaEZ97nfWEQwHwYDVR0jBBgwFoAU3tg8KR4f\
    OMTWJuMacaEZ97nfWEQwDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIQ\
    C7RWoQ+kYNAbY8XKqrwtmGqh5gVxp/bDrQ+qk3TJRlbQIgDLA6StsaF4J8vvMtfLh8WPhHY1edFxQ4F8wCUCgARzg=";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/3GQctZqlSLcUKHCsTVFiuv4OIhqgnnI9egdxF2lNW\
    GhRANCAASJDxcbn16Ix+4GgNZ8F+sSZHqgFzTREHS5WBLq3709vGwaNYI+8gtZeGkzmK9B+PWpgRU+68SfGhAIW6Sc\
    sxVw";

fn bytes(text: &str) -> Vec<u8> {
    let ByteString(bytes) = serde_json::from_value(json!(text)).unwrap();
    bytes
}

/// An API server without objects, over TLS, HTTP/2 where the client offers it.
struct Server {
    config: Config,
    /// Connections that were ever accepted.
    accepted: Arc<AtomicUsize>,
    /// Watches that wait for changes.
    watching: watch::Receiver<usize>,
}

async fn server() -> Server {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(bytes(KEY));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![bytes(CERTIFICATE).into()], key.into())
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut config = Config::new(url.parse().unwrap());
    config.accept_invalid_certs = true;
    let (sender, watching) = watch::channel(0);
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = tower::service_fn(move |request| answer(request, sender.clone()));
                let mut http = auto::Builder::new(TokioExecutor::new());
                // As an API server of Kubernetes.
                http.http2().max_concurrent_streams(1_000);
                let service = TowerToHyperService::new(service);
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Server {
        config,
        accepted,
        watching,
    }
}

async fn answer<B>(
    request: Request<B>,
    watching: watch::Sender<usize>,
) -> Result<Response<Body>, BoxError> {
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") {
        watching.send_modify(|count| *count += 1);
        std::future::pending::<()>().await;
    }
    let list = json!({"metadata": {"resourceVersion": "1"}, "items": [],
        "major": "1", "minor": "33", "gitVersion": "", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    Ok(Response::new(Body::from(list.to_string().into_bytes())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_namespaces_take_four_connections() {
    let mut server = server().await;
    let metrics = Metrics::unregistered();
    let client = || {
        let turn = Turn::default();
        connect(server.config.clone(), metrics.clone(), turn, None).unwrap()
    };
    let watchers: Vec<Client> = (0..connections(100, 490)).map(|_| client()).collect();
    warm(&watchers).await;
    let (work_queue, _queue) = WorkQueue::new(metrics.clone());
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let namespaces = (0..100).map(|number| format!("chat-{number}"));
    let synced = namespaces
        .zip(watchers.iter().cycle())
        .map(|(namespace, client)| {
            let watches = Watches {
                client: client.clone(),
                namespace: Some(namespace),
                cache: Cache::default(),
                work_queue: work_queue.clone(),
                metrics: metrics.clone(),
                stop: stop.clone(),
                tasks: tasks.clone(),
            };
            watches.start()
        });
    let synced: Vec<_> = synced.collect();
    let limit = Duration::from_secs(100);
    let all = server.watching.wait_for(|watching| *watching >= 1_300);
    drop(tokio::time::timeout(limit, all).await.unwrap().unwrap());
    for scope in &synced {
        scope.wait().await;
    }
    // Beside them everything else has a connection of its own.
    let maps: Api<ConfigMap> = Api::namespaced(client(), "chat-0");
    for _ in 0..10 {
        maps.list(&ListParams::default()).await.unwrap();
    }
    assert_eq!(server.accepted.load(Ordering::Relaxed), 4);
    stop.cancel();
}
