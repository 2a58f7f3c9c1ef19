//! What a killed process, a power failure and a failing disk leave behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod child;
mod disk;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use im_core::Conversation;
use im_order::{CommitSeq, Partition};
use im_store::{
    DataDir, Durability, LogEntry, MessageStore, ReadLimit, SqliteOptions, SqliteStore, TenureStore,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use child::{Job, body_of};
use disk::{Event, Recording};

/// Power failures tried per recording.
const POWER_FAILURES: usize = 200;
const KILLS: u32 = 5;

#[tokio::test]
async fn power_loss_loses_nothing_acknowledged() {
    let survived = fail_power(Durability::Full).await;
    assert_eq!(survived.losses, 0, "{survived:?}");
    assert!(survived.acknowledged > 500, "{survived:?}");
    assert!(
        survived.ran_ahead > 0,
        "no failure hit between commit and answer: {survived:?}"
    );
}

/// The power-loss test can fail: without syncs at commits it sees messages disappear.
#[tokio::test]
async fn power_loss_without_full_synchronous_is_noticed() {
    let survived = fail_power(Durability::Normal).await;
    assert!(survived.losses > POWER_FAILURES / 4, "{survived:?}");
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let mut before = 0;
    let mut random = StdRng::seed_from_u64(9);
    for _ in 0..KILLS {
        let mut child = Job::AppendForEver
            .command(temp.path(), Durability::Full)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = before;
        let wanted = random.random_range(1..60);
        for _ in 0..wanted {
            acknowledged = next_ack(&mut lines).expect("the child ended by itself");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(ack) = next_ack(&mut lines) {
            acknowledged = ack;
        }
        let end = check_store(temp.path()).await.0;
        assert!(
            end >= acknowledged,
            "{acknowledged} were acknowledged, {end} are there"
        );
        assert!(acknowledged > before);
        before = end;
    }
}

#[test]
fn a_full_disk_stops_writes_until_there_is_space() {
    // ENOSPC, EIO and EROFS.
    for failure in ["w28", "w5", "w30"] {
        survive_failure(failure);
    }
}

#[test]
fn a_failing_sync_acknowledges_nothing() {
    survive_failure("s5");
}

fn survive_failure(failure: &str) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    let done = Job::SurviveFailure
        .command(&dir.join("store"), Durability::Full)
        .env("SHIM_DIR", &dir)
        .env("SHIM_FAIL", dir.join("fail"))
        .env("FAILURE", failure)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && text.contains("survived"),
        "{failure}: {text}{errors}"
    );
}

fn next_ack(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<u64> {
    lines
        .map_while(Result::ok)
        .find_map(|line| line.split("ack ").nth(1)?.parse().ok())
}

#[derive(Debug, Default)]
struct Survived {
    acknowledged: u64,
    /// Failures after which an acknowledged message was missing.
    losses: usize,
    /// Failures after which a message was there that was not acknowledged yet.
    ran_ahead: usize,
}

/// Records a child at work, and reopens what its disk would hold after power failures at random
/// moments.
async fn fail_power(durability: Durability) -> Survived {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let (dir, log) = (root.join("store"), root.join("log"));
    let done = Job::AppendSome
        .command(&dir, durability)
        .env("SHIM_DIR", &dir)
        .env("SHIM_LOG", &log)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let recording = Recording::read(&log, &dir);
    let first_ack = recording
        .events
        .iter()
        .position(|event| matches!(event, Event::Acknowledged(_)))
        .expect("something was acknowledged");

    let mut random = StdRng::seed_from_u64(5);
    let mut cuts: Vec<usize> = (0..POWER_FAILURES)
        .map(|_| random.random_range(first_ack + 1..=recording.events.len()))
        .collect();
    cuts.sort_unstable();
    let mut disk = disk::Disk::default();
    let mut survived = Survived::default();
    let (mut at, mut boundaries) = (0, vec![0]);
    for (n, cut) in cuts.into_iter().enumerate() {
        for event in &recording.events[at..cut] {
            match event {
                Event::Intended(seq) => boundaries.push(*seq),
                Event::Acknowledged(seq) => survived.acknowledged = *seq,
                Event::Change(change) => disk.apply(change),
            }
        }
        at = cut;
        let crashed = root.join(format!("crashed{n}"));
        disk.after_power_failure(&mut random, &crashed);
        let (end, _) = check_store(&crashed).await;
        assert!(boundaries.contains(&end), "part of a batch is there: {end}");
        survived.losses += usize::from(end < survived.acknowledged);
        survived.ran_ahead += usize::from(end > survived.acknowledged);
        std::fs::remove_dir_all(&crashed).unwrap();
    }
    survived
}

/// Opens a store that a crash left behind and checks all of it; returns the newest log position.
async fn check_store(dir: &Path) -> (u64, HashMap<Conversation, u32>) {
    let store = SqliteStore::open(DataDir::open(dir).unwrap(), SqliteOptions::default())
        .await
        .expect("open after the crash");
    let end = store.log_end().await.unwrap().0.to_wire();
    let owned = store.take(Partition::ONLY).await.unwrap();
    assert_eq!(owned.end.to_wire(), end, "the partition ends elsewhere");
    let entries: Vec<LogEntry> = store
        .read_log(CommitSeq::START, ReadLimit::rows(u32::MAX))
        .await
        .unwrap();
    assert_eq!(
        u64::try_from(entries.len()).unwrap(),
        end,
        "the log has gaps"
    );
    let mut newest: HashMap<Conversation, u32> = HashMap::new();
    for (seq, entry) in (1..).zip(&entries) {
        assert_eq!(entry.message.seq, CommitSeq::from_wire(seq));
        assert_eq!(entry.message.body, body_of(seq));
        let last = newest.entry(entry.conversation).or_default();
        *last += 1;
        assert_eq!(entry.message.msg_id.get(), *last, "ids have gaps");
    }
    let conversations: Vec<Conversation> = newest.keys().copied().collect();
    let states = store.conversation_states(&conversations).await.unwrap();
    for (conversation, state) in conversations.iter().zip(states) {
        assert_eq!(state.unwrap().last_id, newest[conversation]);
    }
    (end, newest)
}
