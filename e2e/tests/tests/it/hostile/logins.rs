//! Logins that cost a hash each.

use std::time::Duration;

use im_codec::encode;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::siege::{Siege, attacker, ground_with_real_hashes, source};
use tokio::time::{Instant, interval};

use super::returning::{Patience, come_back};
use crate::support::*;

/// A login of somebody whom nobody knows.
fn login_of(name: &str) -> Vec<u8> {
    let request = im_proto_teamtalk::login::ImLoginReq {
        user_name: name.to_owned(),
        ..login_request(1, Windows)
    };
    encode(Command::LoginReq, 1, &request).to_vec()
}

/// Sends a thousand logins of ever new names per second, and hangs up after each.
async fn hang_up_after_each(msg: std::net::SocketAddr, round: u8, time: Duration) {
    let end = Instant::now() + time;
    let senders = (0..10).map(|sender| async move {
        let mut tick = interval(Duration::from_millis(10));
        let mut n = 0;
        while Instant::now() < end {
            tick.tick().await;
            n += 1;
            let login = login_of(&format!("ghost-{round}-{sender}-{n}"));
            // Who is turned away tries again with the next name.
            if let Ok(mut conn) = Attacker::connect(msg, source(10, 1), Ears::Open).await {
                drop(conn.send(&login).await);
            }
        }
    });
    futures::future::join_all(senders).await;
}

/// A login whose connection is gone costs nothing and holds up nobody: people who are known and people
/// who come for the first time log in meanwhile, and nobody waits for a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_nobody_waits_for() {
    let mut siege = Siege::separate(ground_with_real_hashes(1)).await;
    let msg = siege.msg();
    for round in 0..2 {
        siege
            .round(hang_up_after_each(msg, round, Duration::from_secs(4)))
            .await;
    }
    siege.holds().await;
}

/// Honest people who come back together after their patience is over again and again: hashes are spent
/// on those who still wait. Scaled: a hash takes a quarter of its time, and patience a fifth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_people_than_can_be_hashed_within_their_patience() {
    const PEOPLE: u32 = 1_000;
    // What hangs takes longer; hashes set the pace, and a slow machine makes fewer.
    const LIMIT: Duration = Duration::from_secs(60);
    let ground = ground_with_real_hashes(PEOPLE)
        .set("db_proxy.accounts.argon2_memory=4864KiB")
        .set("db_proxy.accounts.login_patience=\"1600ms\"");
    let mut siege = Siege::separate(ground).await;
    let msg = siege.msg();
    let patience = Patience {
        answer: Duration::from_secs(3),
        pause: Duration::from_millis(600),
        longest_pause: Duration::from_secs(3),
    };
    let hashed = |metrics: &im_e2e::gauges::Metrics| metrics.sum("im_db_proxy_password_hashes", "");
    let before = super::metrics(&mut siege, "db").await;
    let crowd = (1..=PEOPLE).map(attacker);
    let back = siege.during(come_back(msg, crowd, patience, LIMIT)).await;
    let after = super::metrics(&mut siege, "db").await;
    let hashes = hashed(&after) - hashed(&before);
    siege.note(format!("{back}, {hashes} hashes"));
    siege.expect(back.slowest.len() == PEOPLE as usize, || {
        format!("only {back}")
    });
    drop(back);
    siege.round(async {}).await;
    siege.expect(hashes < f64::from(PEOPLE) * 1.2, || {
        format!("{hashes} hashes for {PEOPLE} people")
    });
    siege.holds().await;
}
