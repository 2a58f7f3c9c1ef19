//! Frames of every command with every kind of body.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::frames::Frames;
use im_e2e::siege::{Siege, attacker, ground, source};
use tokio::time::Instant;

use crate::support::*;

/// Sends so many frames over one connection after the other, and reads what comes.
async fn send_frames(msg: SocketAddr, seed: u64, n: u32, count: usize, end: Instant) -> usize {
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

/// What the servers must have looked at, lest the frames missed their aim.
struct Aim {
    /// Frames in all.
    count: usize,
    /// The share of them that msg servers read at least, percent.
    read_percent: usize,
    /// Time for half of them.
    limit: Duration,
    /// Connections at a time; every other one logs in first.
    sources: u32,
}

/// What hangs takes longer than a million frames on a slow machine.
const LIMIT: Duration = Duration::from_secs(100);

async fn torture(mut siege: Siege, aim: Aim) {
    let seed: u64 = std::env::var("IM_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse().unwrap());
    siege.note(format!("IM_SEED={seed}"));
    let times = match std::env::var_os("IM_TORTURE") {
        Some(_) => 100,
        None => 1,
    };
    let each = aim.count * times / 2 / aim.sources as usize;
    let limit = aim.limit * u32::try_from(times).unwrap();
    let msg = siege.msg();
    let read = async |siege: &mut Siege| {
        let metrics = super::metrics(siege, "msg1").await;
        metrics.sum("im_msg_received_frames", "")
    };
    for round in 0..2 {
        let before = read(&mut siege).await;
        let begin = Instant::now();
        let end = begin + limit;
        let senders = (0..aim.sources).map(|n| send_frames(msg, seed ^ round << 32, n, each, end));
        let sent: usize = siege.round(join_all(senders)).await.into_iter().sum();
        let took = begin.elapsed();
        let read = read(&mut siege).await - before;
        siege.note(format!("{sent} frames in {took:.1?}, {read} of them read"));
        siege.expect(sent >= each * aim.sources as usize, || {
            format!("only {sent} frames were sent in {limit:?}")
        });
        siege.expect(read as usize * 100 >= sent * aim.read_percent, || {
            format!("only {read} of {sent} frames were read")
        });
    }
    let metrics = super::metrics(&mut siege, "msg1").await;
    for reason in ["frame_length", "malformed", "command"] {
        let count = metrics.sum("im_msg_refused", reason);
        siege.expect(count > 100.0, || format!("{count} refused for {reason}"));
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
/// login and after it; a process survives and holds no more afterwards. `IM_TORTURE` sends a hundred
/// times as many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_frames_without_meters() {
    let aim = Aim {
        count: 1_000_000,
        read_percent: 40,
        limit: LIMIT,
        sources: 8,
    };
    let ground = ground(aim.sources).set("msg.rate_limit=0");
    torture(Siege::separate(ground).await, aim).await;
}

/// The same with the bounds of rate as they are: whoever is beyond them is read later or cut, so that
/// not all of it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_frames_with_meters() {
    let aim = Aim {
        count: 100_000,
        read_percent: 20,
        limit: LIMIT,
        sources: 32,
    };
    torture(Siege::separate(ground(aim.sources)).await, aim).await;
}
