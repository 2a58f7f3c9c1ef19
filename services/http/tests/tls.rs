//! One port with HTTP and HTTPS, and a certificate that changes under it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use im_core::places;
use im_http::{Closed, InTurn, Limits, Meter, Peer, Serve, Stops, Tls, TlsError, TlsFiles, accept};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd, generate_simple_self_signed};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LIMIT: Duration = Duration::from_secs(20);

/// Says whether the request came by TLS.
struct Tell;

impl Serve for Tell {
    type Body = Full<Bytes>;

    async fn serve(
        self: Arc<Self>,
        peer: Peer,
        _: Request<InTurn<Incoming>>,
    ) -> Response<Full<Bytes>> {
        Response::new(Full::from(if peer.secure { "secret" } else { "plain" }))
    }
}

/// A new certificate of `localhost` and its key, as PEM.
fn pair() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// The same until the first of March 2040.
fn pair_until_2040() -> (String, String) {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.not_after = date_time_ymd(2040, 3, 1);
    let key = KeyPair::generate().unwrap();
    (
        parameters.self_signed(&key).unwrap().pem(),
        key.serialize_pem(),
    )
}

struct Rig {
    dir: tempfile::TempDir,
    address: SocketAddr,
    meter: Meter,
    told: Arc<AtomicUsize>,
    used: Tls,
    stop: CancellationToken,
}

impl Rig {
    async fn new(pair: &(String, String)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), pair);
        let tls = Tls::load(files(dir.path())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (meter, stop) = (Meter::default(), CancellationToken::new());
        let limits = Limits {
            places: places::Limits {
                total: 100,
                per_address: 100,
                reserved: 0,
                few: 0,
                leaving: 100,
            },
            max_head: 8_192,
            head_timeout: Duration::from_secs(1),
            body_grace: Duration::from_secs(1),
            least_rate: 1_000,
            linger: Duration::from_secs(1),
            max_after_answer: 0,
        };
        let stops = Stops {
            drain: stop.clone(),
            end: stop.clone(),
        };
        let tasks = TaskTracker::new();
        tokio::spawn(accept(
            listener,
            Arc::new(Tell),
            Some(tls.clone()),
            meter.clone(),
            limits,
            tasks,
            stops,
        ));
        let told = Arc::new(AtomicUsize::new(0));
        let (tell, used) = (Arc::clone(&told), tls.clone());
        tokio::spawn(tls.follow(stop.clone(), move |is_usable| {
            tell.store(1 + usize::from(is_usable), Ordering::Relaxed);
        }));
        Self {
            dir,
            address,
            meter,
            told,
            used,
            stop,
        }
    }

    /// Asks by HTTPS, trusting this certificate alone.
    async fn ask(&self, certificate: &str) -> Result<String, std::io::Error> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
        request(stream.await?).await
    }

    /// Waits until the files were looked at with this result.
    async fn told(&self, is_usable: bool) {
        let begin = Instant::now();
        while self.told.load(Ordering::Relaxed) != 1 + usize::from(is_usable) {
            assert!(begin.elapsed() < LIMIT, "the files were not looked at");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        certificate: dir.join("certificate.pem"),
        key: dir.join("key.pem"),
    }
}

fn write(dir: &Path, (certificate, key): &(String, String)) {
    let files = files(dir);
    std::fs::write(files.certificate, certificate).unwrap();
    std::fs::write(files.key, key).unwrap();
}

/// The last line of the answer to a request.
async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
) -> Result<String, std::io::Error> {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes)).await??;
    let text = String::from_utf8(bytes).unwrap();
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn one_port_takes_https_and_http_and_closes_what_is_neither() {
    let pair = pair();
    let rig = Rig::new(&pair).await;
    assert_eq!(rig.ask(&pair.0).await.unwrap(), "secret");
    let plain = TcpStream::connect(rig.address).await.unwrap();
    assert_eq!(request(plain).await.unwrap(), "plain");
    // The first byte of TLS and nothing behind it; no byte at all.
    for (bytes, reason) in [
        (&[0x16, 0x99][..], Closed::Handshake),
        (&[], Closed::SlowHead),
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(LIMIT, stream.read_to_end(&mut rest)).await;
        drop(closed.expect("it is closed"));
        let begin = Instant::now();
        while rig.meter.closed(reason) == 0 {
            assert!(begin.elapsed() < LIMIT, "{reason:?} is not counted");
            sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(rig.ask(&pair.0).await.unwrap(), "secret");
}

#[tokio::test]
async fn a_new_pair_is_used_for_the_next_connection_and_a_bad_one_never() {
    let old = pair();
    let rig = Rig::new(&old).await;
    let new = pair_until_2040();
    let end = rig.used.certificate_end();
    // A certificate without its key, as between two writes of a renewal.
    let half = (new.0.clone(), old.1.clone());
    for bad in [half, ("no certificate".to_owned(), new.1.clone())] {
        write(rig.dir.path(), &bad);
        rig.told(false).await;
        assert_eq!(
            rig.ask(&old.0).await.unwrap(),
            "secret",
            "the former one stays"
        );
        assert_eq!(rig.used.certificate_end(), end);
        write(rig.dir.path(), &old);
        rig.told(true).await;
    }
    std::fs::remove_file(files(rig.dir.path()).key).unwrap();
    rig.told(false).await;
    assert_eq!(rig.ask(&old.0).await.unwrap(), "secret");
    write(rig.dir.path(), &new);
    rig.told(true).await;
    assert_eq!(rig.ask(&new.0).await.unwrap(), "secret");
    assert_eq!(rig.used.certificate_end(), 2_214_172_800);
    assert!(
        rig.ask(&old.0).await.is_err(),
        "the former one is not used any more"
    );
}

#[test]
fn what_cannot_be_used_at_the_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let load = || Tls::load(files(dir.path())).unwrap_err();
    assert!(matches!(load(), TlsError::Read { path, .. } if path.ends_with("certificate.pem")));
    let (one, other) = (pair(), pair());
    write(dir.path(), &(one.0.clone(), "no key".to_owned()));
    assert!(matches!(load(), TlsError::Pem { path, .. } if path.ends_with("key.pem")));
    write(dir.path(), &(one.0, other.1));
    assert!(matches!(load(), TlsError::Pair { .. }));
    let long = "x".repeat((1 << 20) + 1);
    write(dir.path(), &(long, String::new()));
    assert!(matches!(load(), TlsError::Read { .. }));
}
