//! Frames of every command with every kind of body.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::frames::Frames;
use im_e2e::siege::{Siege, attacker, ground, source};
use tokio::time::Instant;

use crate::support::*;

/// Connections at a time; every other one logs in first.
const SOURCES: u32 = 8;

/// Sends so many frames over one connection after the other, and reads what comes.
async fn send_frames(msg: SocketAddr, seed: u64, n: u32, count: usize, end: Instant) -> usize {
    // A logout or a login ends nothing but the sender's own turn.
    let mut frames = Frames::new(seed.wrapping_add(n.into()), &[]);
    let mut sent = 0;
    while sent < count && Instant::now() < end {
        let from = source(70, 1 + n as u8);
        let mut conn = if n.is_multiple_of(2) {
            let kind = [Windows, Mac, Ios, Android][sent % 4];
            Attacker::login(msg, from, attacker(1 + n), kind, Ears::Open).await
        } else {
            Attacker::connect(msg, from, Ears::Open).await.unwrap()
        };
        // Some at a time, as a busy socket has them.
        let mut batch = Vec::new();
        let mut ends = false;
        while !ends && sent < count && Instant::now() < end {
            batch.clear();
            for _ in 0..32 {
                let made = frames.next();
                batch.extend(made.bytes);
                sent += 1;
                ends = made.ends;
                if ends {
                    break;
                }
            }
            let sending = tokio::time::timeout_at(end, conn.send(&batch)).await;
            if !matches!(sending, Ok(Ok(()))) || conn.is_cut() {
                break;
            }
        }
        // The server has read everything when it closes after this.
        conn.finish(Duration::from_millis(500)).await;
    }
    sent
}

async fn torture(mut siege: Siege, count: usize, limit: Duration) {
    let seed: u64 = std::env::var("IM_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse().unwrap());
    siege.note(format!("IM_SEED={seed}"));
    let count = match std::env::var_os("IM_TORTURE") {
        Some(_) => count * 1_000,
        None => count,
    };
    let msg = siege.msg();
    for round in 0..2 {
        let begin = Instant::now();
        let each = count / 2 / SOURCES as usize;
        let end = begin + limit;
        let senders = (0..SOURCES).map(|n| send_frames(msg, seed + round, n, each, end));
        let sent: usize = siege.round(join_all(senders)).await.into_iter().sum();
        let took = begin.elapsed();
        siege.note(format!("{sent} frames in {took:.1?}"));
        siege.expect(sent >= each * SOURCES as usize, || {
            format!("only {sent} frames were sent in {limit:?}")
        });
    }
    for name in siege.platform().names() {
        let log = siege.platform().process(&name).unwrap().log();
        siege.expect(!log.contains("panicked"), || {
            let line = log.lines().find(|line| line.contains("panicked"));
            format!("{name}: {}", line.unwrap_or_default())
        });
        siege.expect(log.len() < 2 << 20, || {
            format!("{name}: {} bytes of log", log.len())
        });
    }
    siege.holds().await;
}

/// Without bounds of rate: frames from a generator that knows the command table disturb nobody, before
/// login and after it; a process survives and holds no more afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_frames_without_meters() {
    let ground = ground(SOURCES).set("msg.rate_limit=0");
    torture(
        Siege::separate(ground).await,
        100_000,
        Duration::from_secs(20),
    )
    .await;
}

/// The same with the bounds of rate as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_frames_with_meters() {
    torture(
        Siege::separate(ground(SOURCES)).await,
        10_000,
        Duration::from_secs(20),
    )
    .await;
}
