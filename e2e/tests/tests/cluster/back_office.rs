//! The HTTP API as a role of an ImCluster (S-68): over HTTPS, with a token that was made beside db-proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use im_client::{Client, ClientConfig, Password};
use im_e2e_kube::wait::{LATER, until};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::installation::{Installation, NAME, small};
use crate::optional::{address, http, http_over, others, switch_off};

/// Name in the certificate.
const HOST: &str = "api.example.com";

/// Two servers with this Secret.
fn role(secret: &str) -> Value {
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    json!({"roles": {"httpApi": {
        "replicas": 2, "resources": requests, "tls": {"secretName": secret},
    }}})
}

/// A Secret with a certificate, and what trusts it alone.
pub(crate) fn certificate(secret: &str) -> anyhow::Result<(Value, TlsConnector)> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": secret},
        "stringData": {"tls.crt": cert.pem(), "tls.key": signing_key.serialize_pem()},
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((object, TlsConnector::from(Arc::new(config))))
}

/// Sends one request over HTTPS to the Service.
async fn https(
    installation: &Installation,
    tls: &TlsConnector,
    head: &str,
    body: &str,
) -> anyhow::Result<(u16, Value)> {
    let at = address(installation, "http-api").await?;
    https_to(at, tls, head, body).await
}

/// The same to any address.
pub(crate) async fn https_to(
    at: SocketAddr,
    tls: &TlsConnector,
    head: &str,
    body: &str,
) -> anyhow::Result<(u16, Value)> {
    let stream = TcpStream::connect(at).await?;
    let stream = tls.connect(ServerName::try_from(HOST)?, stream).await?;
    let (status, body) = http_over(stream, head, body.as_bytes()).await?;
    let body = serde_json::from_slice(&body);
    Ok((status, body.context("read the answer")?))
}

/// Makes a token beside db-proxy.
pub(crate) fn token(installation: &Installation, scopes: &[&str]) -> anyhow::Result<String> {
    let pod = format!("{NAME}-db-proxy-0");
    let mut make = vec!["/imd", "token", "create", "tests"];
    make.extend(scopes.iter().flat_map(|scope| ["--scope", *scope]));
    let told = installation.namespace.exec(&pod, &make)?;
    let token = told.split_whitespace().find(|it| it.starts_with("imt_"));
    Ok(token.context("a token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_made_over_https_logs_in_and_no_other_pod_notices() {
    let installation = Installation::new("backoffice", small(), 1).await.unwrap();
    let before = others(&installation).await;
    installation.patch(&role("api-tls")).unwrap();
    let message = installation.reason("Degraded", "SecretMissing").await;
    let message = message.unwrap();
    let said = "Secret api-tls, which spec.roles.httpApi.tls.secretName names, does not exist";
    assert!(message.starts_with(said), "{message}");
    let (secret, tls) = certificate("api-tls").unwrap();
    installation.namespace.apply(&secret.to_string()).unwrap();
    installation.ready().await.unwrap();
    let (reason, _) = installation.wait("Degraded", "False", LATER).await.unwrap();
    assert_eq!(reason, "AsExpected");
    assert_eq!(installation.pods("http-api").await.unwrap().len(), 2);
    assert_eq!(others(&installation).await, before);

    let token = token(&installation, &["users:read", "users:write"]).unwrap();
    let head = |line: &str| {
        format!(
            "{line} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
        )
    };
    let post = head("POST /api/v1/users");
    let ann = json!({"name": "ann", "password": "a good one"}).to_string();
    let (status, made) = https(&installation, &tls, &post, &ann).await.unwrap();
    assert_eq!(status, 201, "{made}");
    let password = Password::clear("a good one");
    let config = ClientConfig::new(
        installation.url().await.unwrap(),
        "ann".to_owned(),
        password,
    );
    let (client, _events) = Client::connect(config).await.unwrap();
    assert_eq!(json!(client.user_id()), made["id"]);
    client.close().await;
    // Either of the two servers knows what the other has done.
    let get = head("GET /api/v1/users/ann");
    for _ in 0..8 {
        let (status, shown) = https(&installation, &tls, &get, "").await.unwrap();
        assert_eq!((status, &shown["name"]), (200, &json!("ann")), "{shown}");
    }
    // Plain HTTP is answered, and takes no token.
    let at = address(&installation, "http-api").await.unwrap();
    let plain = format!("GET /api/v1/users HTTP/1.1\r\nAuthorization: Bearer {token}");
    let stream = TcpStream::connect(at).await.unwrap();
    let (status, _) = http_over(stream, &plain, b"").await.unwrap();
    assert_eq!(status, 403);
    let (status, _) = http(at, "GET /api/v1/openapi.json", b"").await.unwrap();
    assert_eq!(status, 200);

    // Another certificate counts without a restart.
    let pods = installation.pods("http-api").await.unwrap();
    let (secret, other) = certificate("api-tls").unwrap();
    installation.namespace.apply(&secret.to_string()).unwrap();
    until(
        "both servers to show the other certificate",
        LATER,
        async || {
            for _ in 0..8 {
                https(&installation, &other, &get, "").await.ok()?;
            }
            Some(())
        },
    )
    .await
    .unwrap();
    let ids = |pods: &[k8s_openapi::api::core::v1::Pod]| -> Vec<Option<String>> {
        pods.iter().map(|pod| pod.metadata.uid.clone()).collect()
    };
    let now = installation.pods("http-api").await.unwrap();
    assert_eq!(ids(&now), ids(&pods));

    switch_off(&installation, &[("httpApi", "http-api")]).await;
    assert_eq!(others(&installation).await, before);
}
