//! What the crash tests run in a process of its own: this test program again, told by its
//! environment to do a job.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use im_core::Conversation;
use im_order::CommitSeq;
use im_store::{DataDir, Durability, MessageStore, SqliteOptions, SqliteStore, StoreError};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use im_store::contract::log::{Known, Log, pair};

const JOB: &str = "IM_STORE_TEST_JOB";
const DIR: &str = "IM_STORE_TEST_DIR";
const DURABILITY: &str = "IM_STORE_TEST_DURABILITY";
const TEST: &str = "child::does_its_job_when_started_as_a_child";

/// Batches that are stored under recording.
const BATCHES: u32 = 300;
const USERS: u32 = 12;

#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Stores batches until killed; prints what was acknowledged.
    AppendForEver,
    /// Stores some batches; leaves what it intends and what was acknowledged in files.
    AppendSome,
    /// Meets a disk that fails for a while.
    SurviveFailure,
}

impl Job {
    pub(super) fn command(self, dir: &Path, durability: Durability) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(JOB, format!("{self:?}"))
            .env(DIR, dir)
            .env(DURABILITY, format!("{durability:?}"));
        command
    }
}

#[test]
fn does_its_job_when_started_as_a_child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let durability = match std::env::var(DURABILITY).as_deref() {
        Ok("Full") => Durability::Full,
        Ok("Normal") => Durability::Normal,
        other => panic!("{other:?}"),
    };
    // Small steps, so that checkpoints and restarts of the log are among what is interrupted.
    let options = SqliteOptions {
        durability,
        checkpoint_bytes: 128 << 10,
        restart_bytes: 512 << 10,
        maintenance_interval: Duration::from_millis(5),
        ..SqliteOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = std::env::var(DIR).unwrap();
        let store = SqliteStore::open(DataDir::open(&dir).unwrap(), options)
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let maintenance = {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move { store.run_maintenance(stop).await })
        };
        match job.as_str() {
            "AppendForEver" => append_for_ever(&store).await,
            "AppendSome" => append_some(&store, Path::new(&dir)).await,
            "SurviveFailure" => survive_failure(&store).await,
            other => panic!("{other}"),
        }
        stop.cancel();
        maintenance.await.unwrap();
        store.close().await.unwrap();
    });
}

/// The body of the message at a log position: any damage shows.
pub(super) fn body_of(seq: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seq);
    let mut body = vec![0; random.random_range(1..300)];
    random.fill(body.as_mut_slice());
    body
}

fn fill(log: &mut Log, random: &mut StdRng) {
    for _ in 0..random.random_range(1..12) {
        let low = random.random_range(1..USERS);
        let high = random.random_range(low + 1..=USERS);
        let sender = if random.random_bool(0.5) { low } else { high };
        let row = log.send(sender, pair(low, high), 100, "");
        row.body = body_of(row.seq.to_wire()).into();
    }
}

async fn append_for_ever(store: &SqliteStore) {
    let mut log = remembered(store).await;
    let mut random = StdRng::seed_from_u64(log.seq);
    loop {
        fill(&mut log, &mut random);
        log.commit(store).await.unwrap();
        println!("ack {}", log.seq);
    }
}

/// What a writer must know to go on.
async fn remembered(store: &SqliteStore) -> Log {
    let (end, rows) = store.log_end().await.unwrap();
    let mut log = Log {
        seq: end.to_wire(),
        rows: rows.0,
        ..Log::default()
    };
    let pairs: Vec<Conversation> = (1..USERS)
        .flat_map(|low| (low + 1..=USERS).map(move |high| pair(low, high)))
        .collect();
    let states = store.conversation_states(&pairs).await.unwrap();
    for (conversation, state) in pairs.into_iter().zip(states) {
        if let Some(state) = state {
            let known = Known {
                row: state.row,
                last_id: state.last_id,
                low_sent: state.low_sent,
            };
            log.known.insert(conversation, known);
        }
    }
    log
}

async fn append_some(store: &SqliteStore, dir: &Path) {
    let mut intended = File::create(dir.join(super::disk::INTENDED)).unwrap();
    let mut acknowledged = File::create(dir.join(super::disk::ACKNOWLEDGED)).unwrap();
    let (mut log, mut random) = (Log::default(), StdRng::seed_from_u64(1));
    for _ in 0..BATCHES {
        fill(&mut log, &mut random);
        intended.write_all(&log.seq.to_ne_bytes()).unwrap();
        log.commit(store).await.unwrap();
        acknowledged.write_all(&log.seq.to_ne_bytes()).unwrap();
    }
}

async fn survive_failure(store: &SqliteStore) {
    let fail = std::env::var("SHIM_FAIL").unwrap();
    let failure = std::env::var("FAILURE").unwrap();
    let (mut log, mut random) = (Log::default(), StdRng::seed_from_u64(1));
    for _ in 0..5 {
        for _ in 0..3 {
            fill(&mut log, &mut random);
            log.commit(store).await.unwrap();
        }
        std::fs::write(&fail, &failure).unwrap();
        let before = log.clone();
        for _ in 0..3 {
            let mut refused = before.clone();
            fill(&mut refused, &mut random);
            let result = refused.commit(store).await;
            assert!(
                matches!(result, Err(StoreError::Unavailable(_))),
                "{result:?}"
            );
            assert_eq!(
                store.log_end().await.unwrap().0,
                CommitSeq::from_wire(before.seq),
                "still readable"
            );
        }
        std::fs::remove_file(&fail).unwrap();
        // Nothing was reopened, and the same positions are free for other messages.
        fill(&mut log, &mut random);
        log.commit(store).await.unwrap();
        assert_eq!(
            store.log_end().await.unwrap().0,
            CommitSeq::from_wire(log.seq)
        );
    }
    println!("survived");
}
