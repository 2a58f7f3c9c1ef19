//! HTTPS from files, over the role as it is configured.

use super::apart;
use super::calls::get;

/// What is between the server and its files is shown by im-http; here the keys of the configuration.
#[tokio::test]
async fn a_certificate_in_files_makes_the_port_take_https_beside_http() {
    let dir = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let set = [
        format!("http_api.certificate_file=\"{}\"", certificate.display()),
        format!("http_api.key_file=\"{}\"", key.display()),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (_platform, api, token) = apart(1, &set).await;
    get("/api/v1/users").token(&token).expect(api, 200).await;
    // A handshake that is none is not taken for a request of HTTP, which would be answered.
    let hello = [0x16, 3, 1, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff];
    let mut connection = crate::pictures::web::Connection::open(api).await;
    connection.write(&hello).await;
    let answer = connection.read_to_end().await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let (_other, plain, _) = apart(0, &[]).await;
    let mut connection = crate::pictures::web::Connection::open(plain).await;
    connection.write(&hello).await;
    let answer = connection.read_to_end().await;
    assert!(answer.starts_with(b"HTTP"), "{answer:?}");
}
