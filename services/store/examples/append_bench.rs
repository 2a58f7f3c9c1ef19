//! Prints what storing messages costs: CPU time per message by batch size, for messages that stay in
//! few conversations and for messages that spread over many.
//!
//! `cargo run --release -p im-store --example append_bench [MESSAGES [CONVERSATIONS…]]`

#![allow(clippy::print_stdout, reason = "printing a table is what it is for")]

use bytes::Bytes;
use im_core::{Conversation, MsgId, RetryKey, UserId};
use im_order::{Ownership, Partition};
use im_store::{
    AppendBatch, ConversationRow, DataDir, MessageRow, MessageStore, NewConversation,
    SqliteOptions, SqliteStore, TenureStore,
};
use nix::sys::resource::{UsageWho, getrusage};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let messages: usize = numbers.next().unwrap_or(100_000);
    let mut conversations: Vec<u32> = numbers.filter_map(|n| u32::try_from(n).ok()).collect();
    if conversations.is_empty() {
        conversations = vec![2_000, 100_000];
    }
    println!("conversations  batch  cpu µs/msg  wall µs/msg  msg/s  p50 ms  p99 ms  B/msg");
    for conversations in conversations {
        for batch in [1, 8, 20, 64, 256] {
            let messages = messages.min(batch * 10_000);
            run(conversations, batch, messages).await?;
        }
    }
    println!("resident at the end: {} KiB", resident_kib()?);
    Ok(())
}

/// The writer's knowledge of one conversation.
struct Known {
    row: ConversationRow,
    pair: (UserId, UserId),
    last_id: u32,
    low_sent: u32,
}

struct Load {
    known: Vec<Known>,
    owned: Ownership,
    random: StdRng,
}

async fn run(conversations: u32, batch: usize, messages: usize) -> Result<(), Failure> {
    let temp = tempfile::tempdir()?;
    let database = DataDir::open(temp.path())?.database();
    let open = async || -> Result<SqliteStore, Failure> {
        Ok(SqliteStore::open(DataDir::open(temp.path())?, SqliteOptions::default()).await?)
    };
    let store = open().await?;
    let mut load = Load {
        known: Vec::new(),
        owned: store.take(Partition::ONLY).await?,
        random: StdRng::seed_from_u64(1),
    };
    load.start(&store, conversations).await?;
    store.close().await?;
    drop(store);
    let store = open().await?;
    let stop = CancellationToken::new();
    let maintenance = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move { store.run_maintenance(stop).await })
    };
    let size_before = std::fs::metadata(&database)?.len();

    let (cpu_before, began) = (cpu_micros()?, Instant::now());
    let mut times = Vec::with_capacity(messages / batch);
    for _ in 0..messages / batch {
        let rows = load.batch(batch)?;
        let started = Instant::now();
        store.append(&rows).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let count = f64::from(u32::try_from(messages / batch * batch)?);
    let wall = began.elapsed().as_secs_f64() * 1e6 / count;
    let cpu = (cpu_micros()? - cpu_before) / count;
    stop.cancel();
    maintenance.await?;
    store.close().await?;
    let grown = std::fs::metadata(&database)?
        .len()
        .saturating_sub(size_before);
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0.0);
    println!(
        "{conversations:13}  {batch:5}  {cpu:10.1}  {wall:11.1}  {:5.0}  {:6.2}  {:6.2}  {:5.0}",
        1e6 / wall,
        at(50),
        at(99),
        f64::from(u32::try_from(grown)?) / count,
    );
    Ok(())
}

impl Load {
    async fn start(&mut self, store: &SqliteStore, conversations: u32) -> Result<(), Failure> {
        for first in (0..conversations).step_by(256) {
            let mut batch = AppendBatch {
                fence: self.owned.standing(),
                ..AppendBatch::default()
            };
            for index in first..conversations.min(first + 256) {
                let pair = (user(2 * index + 1)?, user(2 * index + 2)?);
                let row = ConversationRow(i64::from(index) + 1);
                let conversation = Conversation::Pair(pair.0, pair.1);
                batch
                    .new_conversations
                    .push(NewConversation { row, conversation });
                self.known.push(Known {
                    row,
                    pair,
                    last_id: 0,
                    low_sent: 0,
                });
            }
            store.append(&batch).await?;
        }
        Ok(())
    }

    fn batch(&mut self, size: usize) -> Result<AppendBatch, Failure> {
        let end = self.owned.end.plus(u64::try_from(size)?);
        let mut batch = AppendBatch {
            fence: self.owned.adding(end),
            ..AppendBatch::default()
        };
        for _ in 0..size {
            let index = self.random.random_range(0..self.known.len());
            let known = self.known.get_mut(index).ok_or("no conversation")?;
            let by_low = self.random.random_bool(0.5);
            let mut body = vec![0; 100];
            self.random.fill(body.as_mut_slice());
            self.owned.end = self.owned.end.next();
            known.last_id += 1;
            known.low_sent += u32::from(by_low);
            batch.messages.push(MessageRow {
                seq: self.owned.end,
                row: known.row,
                msg_id: MsgId::from_wire(known.last_id).ok_or("id 0")?,
                sender: if by_low { known.pair.0 } else { known.pair.1 },
                msg_type: 1,
                time: im_core::time::UnixSeconds::now(),
                low_sent: known.low_sent,
                key: Some(RetryKey(self.random.random())),
                body: Bytes::from(body),
            });
        }
        Ok(batch)
    }
}

fn user(id: u32) -> Result<UserId, Failure> {
    Ok(UserId::from_wire(id).ok_or("id 0")?)
}

/// CPU time of this process so far.
fn cpu_micros() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| {
        f64::from(u32::try_from(time.tv_sec()).unwrap_or(0)) * 1e6
            + f64::from(u32::try_from(time.tv_usec()).unwrap_or(0))
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

fn resident_kib() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * 4)
}
