//! Bounds of uploads, heads and connections, at the bound.

use std::net::Ipv4Addr;

use im_e2e::gauges::Metrics;
use im_e2e::siege::source;
use image::ImageFormat;

use super::web::{Answer, Connection, form, form_with, get, put, send, send_from};
use super::{alone, code_of, path_of, picture, stored};
use crate::support::*;

/// A request with a body of so many bytes, as a form.
fn form_of(size: usize) -> Vec<u8> {
    let empty = form("a.bin", b"");
    let head = empty.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    form("a.bin", &vec![b'x'; size - (empty.len() - head)])
}

/// S-78: a body of the bound is stored, one byte more is refused: by what is announced, and by what comes
/// when nothing is. The answer arrives although the client is still sending.
#[tokio::test]
async fn an_upload_at_the_bound_is_stored_and_one_byte_more_is_not() {
    const BOUND: usize = 1 << 20;
    let (mut platform, address) = alone(&["msfs.max_upload=1MiB"]).await;
    let exact = send(address, &form_of(BOUND)).await;
    let path = path_of(&exact);
    let fetched = get(address, &path, &[]).await;
    assert!(fetched.body.len() > BOUND - 300, "{}", fetched.body.len());
    let beyond = send(address, &form_of(BOUND + 1)).await;
    assert_eq!(code_of(&beyond), (413, 1));
    assert_eq!(beyond.json().get("path"), None, "as the original has it");
    // Far beyond, so that much is on its way when the answer comes.
    assert_eq!(
        code_of(&send(address, &form_of(9 * BOUND / 8)).await),
        (413, 1)
    );

    assert_eq!(
        send(address, &put("/a.bin", &vec![1; BOUND])).await.status,
        201
    );
    assert_eq!(
        send(address, &put("/a.bin", &vec![1; BOUND + 1]))
            .await
            .status,
        413
    );
    let chunked = |size: usize| {
        let head = "PUT /a.bin HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let size_line = format!("{size:x}\r\n");
        [
            head.as_bytes(),
            size_line.as_bytes(),
            &vec![1; size],
            b"\r\n0\r\n\r\n",
        ]
        .concat()
    };
    assert_eq!(send(address, &chunked(BOUND)).await.status, 201);
    assert_eq!(send(address, &chunked(BOUND + 1)).await.status, 413);
    let metrics = Metrics::read(platform.process("pictures").unwrap())
        .await
        .unwrap();
    let refused = metrics.sum("im_msfs_answers", "too_large");
    assert!((refused - 4.0).abs() < 0.5, "{refused}");
}

/// Heads of requests and of the parts of a form are bounded, and so are parts that are no file.
#[tokio::test]
async fn huge_heads_are_refused() {
    let (mut platform, address) = alone(&["msfs.max_head=8KiB", "msfs.max_form=4KiB"]).await;
    let with_head = |length: usize| {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ";
        format!("{request}{}\r\n\r\n", "x".repeat(length))
    };
    assert_eq!(send(address, with_head(7_000).as_bytes()).await.status, 404);
    assert_eq!(
        send(address, with_head(100_000).as_bytes()).await.status,
        431
    );
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    assert!([414, 431].contains(&send(address, endless.as_bytes()).await.status));

    assert_eq!(
        code_of(&send(address, &form_with("a.png", b"x", 3_000)).await),
        (200, 0)
    );
    assert_eq!(
        code_of(&send(address, &form_with("a.png", b"x", 5_000)).await),
        (413, 1)
    );
    let name = format!("a.png\"\r\nX: {}\r\nY: \"", "x".repeat(100_000));
    assert_eq!(code_of(&send(address, &form(&name, b"x")).await), (413, 1));
    let metrics = Metrics::read(platform.process("pictures").unwrap())
        .await
        .unwrap();
    assert!(metrics.sum("im_msfs_closed_clients", "long_head") > 0.5);
}

/// What an address has sent too much waits; others send on.
#[tokio::test]
async fn an_address_that_uploads_too_much_waits_and_no_other_does() {
    let set = [
        "msfs.max_upload=64KiB",
        "msfs.upload_burst=64KiB",
        "msfs.upload_per_minute=1KiB",
    ];
    let (_platform, address) = alone(&set).await;
    let greedy = source(20, 1).into();
    let upload = form_of(40_000);
    for _ in 0..2 {
        let answer = send_from(address, greedy, &upload).await;
        assert_eq!(code_of(&answer), (200, 0));
    }
    let refused = send_from(address, greedy, &upload).await;
    assert_eq!(code_of(&refused), (429, 14));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    // 80,000 bytes of 65,536, at 1,024 a minute.
    assert!((800..=1_000).contains(&wait), "{wait} s");
    let other = send_from(address, source(21, 1).into(), &upload).await;
    assert_eq!(code_of(&other), (200, 0));
    assert_eq!(
        get_from(address, greedy, &path_of(&other)).await.status,
        200
    );
}

async fn get_from(address: std::net::SocketAddr, from: std::net::IpAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    send_from(address, from, request.as_bytes()).await
}

/// Connections are bounded in all and by address: who holds many silent ones loses them to newcomers.
#[tokio::test]
async fn nobody_holds_all_connections() {
    let set = [
        "msfs.max_connections=8",
        "msfs.max_connections_per_address=6",
        "msfs.reserved_connections=0",
    ];
    let (mut platform, address) = alone(&set).await;
    let content = picture(40, 20, ImageFormat::Png);
    let path = stored(address, "a.png", &content).await;
    let mut held = Vec::new();
    for n in 0..20 {
        let from = if n < 10 { source(20, 1) } else { source(21, 1) };
        held.push(Connection::open_from(address, from.into()).await);
    }
    for host in 1..=5 {
        let from: Ipv4Addr = source(22, host);
        assert_eq!(get_from(address, from.into(), &path).await.body, content);
    }
    let metrics = Metrics::read(platform.process("pictures").unwrap())
        .await
        .unwrap();
    assert!(metrics.sum("im_msfs_closed_clients", "evicted") >= 12.0);
    let open = metrics.sum("im_msfs_client_connections", "");
    assert!(open < 8.5, "{open} are open");
    drop(held);
    let process = &*platform.process("pictures").unwrap();
    im_e2e::wait::until("all places are free", WAIT, || async {
        let metrics = Metrics::read(process).await.ok()?;
        (metrics.sum("im_msfs_client_connections", "") < 0.5).then_some(())
    })
    .await
    .unwrap();
}
