//! Push providers of the tests: HTTP servers that note what they hear and answer as they are told.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::WAIT;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) version: hyper::Version,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Of the connections that were opened, from 1.
    pub(crate) connection: usize,
}

impl Heard {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16, &'static str),
    /// Slow down: a status, and after how many seconds.
    Slower(u16, &'static str),
    /// Nothing, ever.
    Hang,
}

pub(crate) const OK: Reply = Reply::Status(200, "");

/// What answers requests to a path.
type Answers = Box<dyn FnMut(&Heard) -> Option<Reply> + Send>;

struct Shared {
    heard: watch::Sender<Vec<Heard>>,
    /// Answers to the next requests; afterwards `always`.
    next: Mutex<VecDeque<Reply>>,
    always: Mutex<Reply>,
    special: Mutex<Option<Answers>>,
    connections: AtomicUsize,
    /// Ends the connections that are open, in order.
    go_away: Mutex<CancellationToken>,
}

/// A running provider; it ends with this.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// How a provider is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// TCP.
    Tcp,
    /// TLS with the certificate of the tests.
    Tls,
    /// TLS, and callers show a certificate.
    Mutual,
}

pub(crate) fn pki(name: &str) -> String {
    format!("{}/tests/it/push/pki/{name}", env!("CARGO_MANIFEST_DIR"))
}

impl Provider {
    pub(crate) async fn start(by: By) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, by)
    }

    pub(crate) fn on(listener: TcpListener, by: By) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            heard: watch::Sender::new(Vec::new()),
            next: Mutex::default(),
            always: Mutex::new(OK),
            special: Mutex::default(),
            connections: AtomicUsize::new(0),
            go_away: Mutex::default(),
        });
        let tls = (by != By::Tcp).then(|| acceptor(by));
        let stop = CancellationToken::new();
        let (serving, stopping) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopping.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (shared, tls, stopping) = (Arc::clone(&serving), tls.clone(), stopping.clone());
                let sock = accepted.unwrap().0;
                tokio::spawn(async move {
                    match tls {
                        None => serve(shared, sock, stopping).await,
                        Some(tls) => {
                            if let Ok(sock) = tls.accept(sock).await {
                                serve(shared, sock, stopping).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// Answers the next requests so.
    pub(crate) fn next(&self, replies: &[Reply]) {
        self.shared.next.lock().unwrap().extend(replies);
    }

    /// Answers requests so from now on.
    pub(crate) fn always(&self, reply: Reply) {
        *self.shared.always.lock().unwrap() = reply;
    }

    /// Asks this first.
    pub(crate) fn answers(&self, answers: impl FnMut(&Heard) -> Option<Reply> + Send + 'static) {
        *self.shared.special.lock().unwrap() = Some(Box::new(answers));
    }

    /// Ends the connections that are open: HTTP/2 is told to go away.
    pub(crate) fn go_away(&self) {
        let mut go_away = self.shared.go_away.lock().unwrap();
        std::mem::take(&mut *go_away).cancel();
    }

    /// What has come so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.borrow().clone()
    }

    /// Waits until what has come is so.
    pub(crate) async fn wait(&self, holds: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let mut heard = self.shared.heard.subscribe();
        let waiting = heard.wait_for(|heard| holds(heard));
        let Ok(heard) = tokio::time::timeout(WAIT, waiting).await else {
            panic!("waited in vain, heard {:#?}", self.heard());
        };
        heard.unwrap().clone()
    }

    /// Waits for so many requests.
    pub(crate) async fn requests(&self, count: usize) -> Vec<Heard> {
        self.wait(|heard| heard.len() >= count).await
    }
}

fn acceptor(by: By) -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let certificate = |name: &str| CertificateDer::from_pem_file(pki(name)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if by == By::Mutual {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(pki("server.key.pem")).unwrap();
    let mut config = builder
        .with_single_cert(vec![certificate("server.pem")], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<S>(shared: Arc<Shared>, sock: S, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
    let go_away = shared.go_away.lock().unwrap().clone();
    let answering = Arc::clone(&shared);
    let service = service_fn(move |request| answer(Arc::clone(&answering), request, connection));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1_000);
    let serving = builder.serve_connection(TokioIo::new(sock), service);
    tokio::pin!(serving);
    tokio::select! {
        () = stop.cancelled() => return,
        _ = serving.as_mut() => return,
        () = go_away.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        () = stop.cancelled() => {}
        _ = serving => {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    connection: usize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let headers = headers.collect();
    let Ok(body) = body.collect().await else {
        // The caller has gone.
        return Ok(Response::default());
    };
    let heard = Heard {
        version: head.version,
        path: head.uri.path().to_owned(),
        headers,
        body: body.to_bytes().to_vec(),
        connection,
    };
    let special = shared
        .special
        .lock()
        .unwrap()
        .as_mut()
        .and_then(|it| it(&heard));
    let reply = special
        .or_else(|| shared.next.lock().unwrap().pop_front())
        .unwrap_or_else(|| *shared.always.lock().unwrap());
    shared.heard.send_modify(|all| all.push(heard));
    let (status, text) = match reply {
        Reply::Status(status, text) => (status, text),
        Reply::Slower(status, _) => (status, ""),
        Reply::Hang => std::future::pending().await,
    };
    let mut response = Response::builder().status(status);
    if let Reply::Slower(_, seconds) = reply {
        response = response.header("retry-after", seconds);
    }
    Ok(response
        .body(Full::new(Bytes::from_static(text.as_bytes())))
        .unwrap())
}
