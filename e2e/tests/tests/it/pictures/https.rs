//! HTTPS from files, beside the plain HTTP of original clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use image::ImageFormat;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::picture;
use super::web::{Answer, get, put};
use crate::support::*;

/// Writes a certificate of its own and its key; gives the certificate.
fn write_pair(dir: &Path) -> CertificateDer<'static> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("c.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("k.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// Sends a request over TLS to a server that must show this certificate.
async fn send(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    request: &[u8],
) -> std::io::Result<Answer> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        // A server may end without TLS's last word.
        drop(stream.read_to_end(&mut answer).await);
        Ok(Answer::parse(&answer))
    };
    let answer = tokio::time::timeout(WAIT, exchange).await;
    answer.expect("an answer in time")
}

fn fetch(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn pictures_come_and_go_by_https_and_a_changed_certificate_counts_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_pair(dir.path());
    let key = |key: &str, file: &str| {
        let file = dir.path().join(file);
        format!("msfs.{key}=\"{}\"", file.display())
    };
    let set = [key("certificate_file", "c.pem"), key("key_file", "k.pem")];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (mut platform, address) = super::alone(&set).await;
    let content = picture(40, 20, ImageFormat::Png);
    let stored = send(address, &first, &put("/a.png", &content)).await;
    let stored = stored.unwrap();
    assert_eq!(stored.status, 201, "{stored:?}");
    let url = stored.header("location").unwrap();
    let path = url.strip_prefix(&format!("https://{address}")).unwrap();
    let fetched = send(address, &first, &fetch(path)).await.unwrap();
    assert_eq!((fetched.status, fetched.body), (200, content.clone()));
    // Original clients, who know nothing of it, go on at the same port.
    assert_eq!(get(address, path, &[]).await.body, content);

    let second = write_pair(dir.path());
    let renewed = im_e2e::wait::until("the new certificate", WAIT, || async {
        send(address, &second, &fetch(path)).await.ok()
    });
    assert_eq!(renewed.await.unwrap().body, content);
    assert!(send(address, &first, &fetch(path)).await.is_err());

    std::fs::write(dir.path().join("c.pem"), "no certificate").unwrap();
    let process = platform.process("pictures").unwrap();
    let is_told = async {
        loop {
            let metrics = im_e2e::gauges::Metrics::read(process).await.unwrap();
            if metrics.sum("im_msfs_certificate_failing", "") > 0.5 {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT, is_told)
        .await
        .expect("it is told");
    let answer = send(address, &second, &fetch(path)).await.unwrap();
    assert_eq!(answer.body, content, "the former one stays");
}
