//! Large messages: what they do to the disk, to a backup and to whoever receives them.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_codec::encode;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::siege::{Siege, attacker, ground, source};
use im_e2e::wait;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use nix::sys::signal::Signal;
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

/// A backup that lasts, here one whose process is stopped while it holds its snapshot, stops no
/// acknowledgement, however much others store meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_lasts() {
    const WRITERS: u32 = 16;
    const TIME: Duration = Duration::from_secs(4);
    let ground = ground(WRITERS)
        .set("sqlite.checkpoint_bytes=4194304")
        .set("sqlite.wal_limit_bytes=67108864");
    let mut siege = Siege::all_in_one(ground).await;
    let msg = siege.msg();
    let write = |time| {
        join_all((1..=WRITERS).map(move |n| {
            let to = attacker(1 + n % WRITERS);
            store_on_and_on(msg, attacker(n), to, time)
        }))
    };
    // Something to back up.
    siege.during(write(Duration::from_secs(1))).await;
    siege.calm().await;
    let platform = siege.platform();
    let target = platform.dir().join("backup.db");
    let data = platform.data_dir().display().to_string();
    let to = target.display().to_string();
    let args = ["backup", "--data-dir", &data, "--to", &to];
    let mut backup = std::process::Command::new(im_e2e::process::imd_binary().unwrap())
        .args(args)
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let dir = platform.dir().to_path_buf();
    let pid = nix::unistd::Pid::from_raw(backup.id().cast_signed());
    // It writes under another name first.
    wait::until("a backup that is under way", wait::SOON, || async {
        let names = std::fs::read_dir(&dir).ok()?;
        let mut files = names.filter_map(Result::ok).filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().contains("backup")
        });
        files
            .any(|entry| entry.metadata().is_ok_and(|data| data.len() > 1 << 20))
            .then_some(())
    })
    .await
    .unwrap();
    nix::sys::signal::kill(pid, Signal::SIGSTOP).unwrap();
    let still = backup.try_wait().unwrap().is_none();
    siege.round(write(TIME)).await;
    nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
    let status = wait::until("the end of the backup", wait::SOON, || {
        let status = backup.try_wait().ok().flatten();
        async move { status }
    })
    .await
    .unwrap();
    siege.note(format!(
        "the backup was stopped under way: {still}; it ended with {status}"
    ));
    siege.round(write(Duration::from_secs(1))).await;
    siege.holds().await;
}

/// Others send to somebody who reads three megabytes per second without a pause, more than that for a
/// moment: the connection stays, and everything stored arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_ends_the_connection_of_who_reads() {
    const MESSAGES: usize = 24;
    const SIGNALS: usize = 24;
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
                for seq in 0..*count {
                    let frame = im_codec::stamp_seq(frame.clone(), seq as u16);
                    if conn.send(&frame).await.is_err() {
                        break;
                    }
                }
                conn.listen(Duration::from_secs(6)).await;
            });
        let reads = reader.hear(Duration::from_secs(10), READS);
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
