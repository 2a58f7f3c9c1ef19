//! Large messages: what they do to the disk, to a backup and to whoever receives them.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_codec::encode;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::siege::{Siege, attacker, ground, source};
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use tokio::time::{Instant, timeout};

use crate::support::*;

/// The largest message that is stored.
const BODY: usize = 255 << 10;

fn voice(to: u32) -> ImMsgData {
    ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        msg_data: vec![7; BODY].into(),
        ..text_message(0, with_user(to), "x")
    }
}

/// Sends large messages one after the other until the time is over; how many were acknowledged, and when.
async fn store_on_and_on(msg: SocketAddr, user: u32, to: u32, time: Duration) -> Vec<Duration> {
    let mut writer = Terminal::connect_from(msg, source(60, 1).into()).await;
    let answer = writer.try_login(&login_request(user, Windows)).await;
    assert_eq!(answer.result_code, 0);
    let begin = Instant::now();
    let mut acks = Vec::new();
    let writes = async {
        loop {
            let _: ImMsgDataAck = writer.ask(Command::MsgData, &voice(to)).await;
            acks.push(begin.elapsed());
        }
    };
    drop(timeout(time, writes).await);
    acks
}

/// What one account stores has a rate in bytes, whatever it is in messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_does_not_fill_the_disk() {
    const TIME: Duration = Duration::from_secs(10);
    const LAST: Duration = Duration::from_secs(4);
    const MOST: usize = 1 << 20;
    let mut siege = Siege::separate(ground(2)).await;
    let msg = siege.msg();
    let acks = siege
        .round(store_on_and_on(msg, attacker(1), attacker(2), TIME))
        .await;
    // A burst goes before.
    let late = acks.iter().filter(|at| **at + LAST > TIME).count();
    let rate = late * BODY / LAST.as_secs() as usize;
    siege.note(format!(
        "{} messages, at last {rate} bytes per second",
        acks.len()
    ));
    siege.expect(!acks.is_empty(), || "nothing was stored".to_owned());
    siege.expect(rate < MOST, || format!("{rate} bytes per second"));
    siege.holds().await;
}

/// Backups one after the other stop no acknowledgement, however much others store meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_without_a_pause() {
    const WRITERS: u32 = 16;
    const TIME: Duration = Duration::from_secs(4);
    // So that seconds suffice to fill the log.
    let ground = ground(WRITERS)
        .set("sqlite.checkpoint_at=4MiB")
        .set("sqlite.wal_limit=64MiB");
    let mut siege = Siege::all_in_one(ground).await;
    let msg = siege.msg();
    let write = |time| {
        join_all((1..=WRITERS).map(move |n| {
            let to = attacker(1 + n % WRITERS);
            store_on_and_on(msg, attacker(n), to, time)
        }))
    };
    // Something to back up.
    siege.during(write(Duration::from_secs(2))).await;
    siege.calm().await;
    let data = siege.platform().data_dir().display().to_string();
    let dir = siege.platform().dir().to_path_buf();
    let mut number = 0;
    for _ in 0..2 {
        let end = Instant::now() + TIME;
        let backups = async {
            while Instant::now() < end {
                number += 1;
                let to = dir
                    .join(format!("backup-{number}.db"))
                    .display()
                    .to_string();
                let (dir, data) = (dir.clone(), data.clone());
                let made = tokio::task::spawn_blocking(move || {
                    let args = ["backup", "--data-dir", &data, "--to", &to];
                    im_e2e::process::run_imd(&dir, &args)
                });
                made.await.unwrap().unwrap();
            }
        };
        let attack = async { futures::join!(backups, write(TIME)) };
        siege.round(attack).await;
    }
    siege.note(format!("{number} backups"));
    siege.holds().await;
}

/// Others send more for a moment than somebody takes who reads slowly and without a pause: the
/// connection stays, and everything stored arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_ends_the_connection_of_who_reads() {
    /// Together less than the rate of stored bytes lets pass at once.
    const MESSAGES: usize = 12;
    const SIGNALS: usize = 12;
    const TIME: Duration = Duration::from_secs(12);
    /// Bytes per second; the small window of the connection lets a tenth of it come.
    const READS: u32 = 3_000_000;
    let mut siege = Siege::separate(ground(3)).await;
    let msg = siege.msg();
    let victim = attacker(3);
    let signal = Imp2pCmdMsg {
        from_user_id: 1,
        to_user_id: victim,
        cmd_msg_data: "x".repeat((1 << 20) - 200),
    };
    let bursts = [
        (encode(Command::MsgData, 1, &voice(victim)), MESSAGES),
        (encode(Command::P2pCmdMsg, 1, &signal), SIGNALS),
    ];
    let mut reader = Attacker::login(msg, source(61, 1), victim, Android, Ears::Closed).await;
    siege.calm().await;
    let attack = async {
        let senders = bursts
            .iter()
            .zip(1..)
            .map(|((frame, count), n)| async move {
                let from = source(61, 2);
                let mut conn = Attacker::login(msg, from, attacker(n), Windows, Ears::Open).await;
                let sends = async {
                    for seq in 0..*count {
                        let frame = im_codec::stamp_seq(frame.clone(), seq as u16);
                        if conn.send(&frame).await.is_err() {
                            break;
                        }
                    }
                    conn.listen(TIME).await;
                };
                // Who sends too much is read later.
                drop(timeout(TIME, sends).await);
            });
        let reads = reader.hear(TIME, READS);
        futures::join!(join_all(senders), reads).1
    };
    let heard = siege.round(attack).await;
    siege.expect(!reader.is_cut(), || {
        format!("the reader was cut after {heard} bytes")
    });
    siege.expect(heard > (MESSAGES * BODY) as u64, || {
        format!("the reader got {heard} bytes of {}", MESSAGES * BODY)
    });
    siege.holds().await;
}
