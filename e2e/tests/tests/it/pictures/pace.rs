//! Clients that are slow on purpose: each ends in the stated time, and nobody else notices.

use im_e2e::gauges::Metrics;
use image::ImageFormat;
use tokio::time::Instant;

use super::web::{Connection, form, get};
use super::{CUT, alone, picture, stored};
use crate::support::*;

const FAST: [&str; 3] = [
    "msfs.head_timeout=1s",
    "msfs.body_grace=1s",
    "msfs.least_rate=4KiB",
];

/// Sends a byte now and then, until the server closes; tells how many it took.
async fn drip(connection: &mut Connection, bytes: &[u8]) -> usize {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
    for (sent, byte) in bytes.iter().enumerate() {
        ticks.tick().await;
        if connection.try_write(&[*byte]).await.is_err() {
            return sent;
        }
        assert!(begin.elapsed() < CUT, "it was not cut");
    }
    bytes.len()
}

#[tokio::test]
async fn slow_heads_bodies_and_readers_are_cut_and_others_notice_nothing() {
    let (mut platform, address) = alone(&FAST).await;
    let content = picture(2_000, 1_000, ImageFormat::Bmp);
    let path = stored(address, "a.bmp", &content).await;

    let process = &*platform.process("pictures").unwrap();
    let slow_head = async {
        let mut connection = Connection::open(address).await;
        let head = format!("GET {path} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1_000));
        let sent = drip(&mut connection, head.as_bytes()).await;
        assert!(sent < head.len());
    };
    let silent = async {
        let mut connection = Connection::open(address).await;
        assert!(connection.read_to_end().await.is_empty());
    };
    let idle = async {
        let mut connection = Connection::open(address).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n");
        assert_eq!(connection.ask(request.as_bytes()).await.status, 206);
        assert!(
            connection.read_to_end().await.is_empty(),
            "closed after a while"
        );
    };
    let slow_body = async {
        let mut connection = Connection::open(address).await;
        let upload = form("a.bin", &[b'x'; 10_000]);
        let (at_once, slowly) = upload.split_at(400);
        connection.write(at_once).await;
        let sent = drip(&mut connection, slowly).await;
        assert!(sent < slowly.len());
    };
    let slow_reader = async {
        let mut connection = Connection::open_small(address).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        connection.write(request.as_bytes()).await;
        let begin = Instant::now();
        // What the kernel holds is read once the server has given up.
        im_e2e::wait::until("the reader is given up", CUT, || async {
            let metrics = Metrics::read(process).await.ok()?;
            (metrics.sum("im_msfs_closed_clients", "slow_reader") > 0.5).then_some(())
        })
        .await
        .unwrap();
        assert!(begin.elapsed() < CUT);
        let read = connection.read_to_end().await;
        assert!(read.len() < content.len(), "{} bytes", read.len());
    };
    let bystander = async {
        for _ in 0..20 {
            let begin = Instant::now();
            assert_eq!(
                get(address, &path, &[("Range", "bytes=0-9")]).await.status,
                206
            );
            assert!(begin.elapsed() < std::time::Duration::from_secs(2));
        }
    };
    tokio::join!(slow_head, silent, idle, slow_body, slow_reader, bystander);

    let metrics = Metrics::read(process).await.unwrap();
    for (reason, count) in [("slow_head", 3.0), ("slow_body", 1.0), ("slow_reader", 1.0)] {
        let cut = metrics.sum("im_msfs_closed_clients", &format!("\"{reason}\""));
        assert!((cut - count).abs() < 0.5, "{reason}: {cut}");
    }
    let drafts = platform.dir().join("pictures/draft");
    im_e2e::wait::until("nothing is left on the disk", WAIT, || async {
        (std::fs::read_dir(&drafts).ok()?.count() == 0).then_some(())
    })
    .await
    .unwrap();
}

/// A client that is slow, but not too slow, gets all of it.
#[tokio::test]
async fn who_keeps_the_pace_is_served_to_the_end() {
    let set = ["msfs.body_grace=1s", "msfs.least_rate=1KiB"];
    let (_platform, address) = alone(&set).await;
    let content = vec![b'x'; 6_000];
    let upload = form("a.bin", &content);
    let mut connection = Connection::open(address).await;
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(250));
    for part in upload.chunks(600) {
        ticks.tick().await;
        connection.write(part).await;
    }
    assert!(
        begin.elapsed() > std::time::Duration::from_secs(2),
        "beyond the grace"
    );
    let answer = super::web::Answer::parse(&connection.read_to_end().await);
    let path = super::path_of(&answer);
    assert_eq!(get(address, &path, &[]).await.body, content);
}
