//! Blocks of files between two people who are there: through the file server, and through a relay that knows
//! nothing of what it passes on.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use im_client::RawConn;
use im_client::codec::Command;
use im_client::proto::base::{ClientFileRole, TransferFileType};
use im_client::proto::file::{
    ImFileLoginReq, ImFileLoginRsp, ImFilePullDataReq, ImFilePullDataRsp, ImFileReq, ImFileRsp,
};
use im_core::ClientType;
use im_e2e::terminal::Terminal;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::Setting;
use crate::conditions::{Bounds, Runs};
use crate::helper::{self, Helper};
use crate::measure::{cpu_seconds, memory_bytes, number};
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("mib_s", "through the file server", "MiB/s"),
    Row::plain("file_us", "CPU of the file server", "µs/MiB"),
    Row::plain("plain_us", "CPU of a plain relay", "µs/MiB"),
    Row::plain("ratio", "CPU, file server to plain relay", "×").with(Target::AtMost(1.5)),
    Row::plain("kib", "memory per transfer of 1,000", "KiB").with(Target::AtMost(64.0)),
];

/// Transfers at a time where CPU is measured.
const TRANSFERS: u32 = 8;
/// Transfers at a time where memory is measured.
const MANY: u32 = 1_000;
/// Blocks of each of those.
const BLOCKS: u32 = 16;
/// Bytes that are asked for at a time.
const BLOCK: u32 = 32 << 10;
/// Longest wait for a frame.
const WAIT: Duration = Duration::from_secs(30);

/// A relay that passes bytes from the first connection to the second and back, for each two that come.
#[derive(Debug, clap::Args)]
pub(crate) struct RelayArgs {
    /// Where it listens.
    listen: SocketAddr,
}

/// Passes bytes on until the standard input ends.
pub(crate) async fn plain(args: &RelayArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    helper::say_ready();
    let passing = async {
        loop {
            let (mut first, _) = listener.accept().await?;
            let (mut second, _) = listener.accept().await?;
            first.set_nodelay(true)?;
            second.set_nodelay(true)?;
            tokio::spawn(async move { copy_bidirectional(&mut first, &mut second).await });
        }
    };
    tokio::select! {
        failed = passing => failed,
        () = helper::no_longer_wanted() => Ok(()),
    }
}

/// Runs it, both relays in each run.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Runs> {
    setting
        .repeat(Bounds::BUSY, async || once(setting).await)
        .await
}

async fn once(setting: &Setting) -> anyhow::Result<Figures> {
    let many = setting.size(MANY);
    let servers = Servers::with_file_server(2 * many, Hashing::Cheap).await?;
    let file = servers.pids_of("file");
    let time = Duration::from_secs(setting.seconds);
    let watch = servers.watch()?;

    let mut transfers = open(&servers, TRANSFERS.min(many)).await?;
    let (mib, file_cpu) = measured(&mut transfers, time, &file).await?;
    drop(transfers);
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut relay = Helper::start(&["plain-relay".to_owned(), free.to_string()], None)?;
    relay.ready(WAIT).await?;
    let mut transfers = open_plain(free, TRANSFERS.min(many)).await?;
    let (plain_mib, plain_cpu) = measured(&mut transfers, time, &[relay.pid()]).await?;
    drop((transfers, relay));
    let conditions = watch.end()?;

    let kib = memory(&servers, &file, many).await?;
    let mut figures = Figures::from([
        ("mib_s", mib / time.as_secs_f64()),
        ("file_us", file_cpu / mib * 1e6),
        ("plain_us", plain_cpu / plain_mib * 1e6),
        ("ratio", file_cpu / mib / (plain_cpu / plain_mib)),
        ("kib", kib),
    ]);
    conditions.add_to(&mut figures, mib);
    Ok(figures)
}

/// The most memory that transfers have added to the file server, KiB for each.
async fn memory(servers: &Servers, file: &[u32], many: u32) -> anyhow::Result<f64> {
    servers.forget_peaks()?;
    let before = memory_bytes(file, "VmRSS")?;
    let mut transfers = open(servers, many).await?;
    try_join_all(transfers.iter_mut().map(|transfer| async {
        for _ in 0..BLOCKS {
            transfer.pull().await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    let peak = memory_bytes(file, "VmHWM")?;
    Ok((number(peak) - number(before)) / 1024.0 / f64::from(many))
}

/// MiB that came in so much time, and the CPU seconds of these processes.
async fn measured(
    transfers: &mut [Transfer],
    time: Duration,
    pids: &[u32],
) -> anyhow::Result<(f64, f64)> {
    let before = cpu_seconds(pids)?;
    let end = Instant::now() + time;
    let pulled = transfers.iter_mut().map(|transfer| async {
        let mut bytes = 0;
        while Instant::now() < end {
            bytes += transfer.pull().await?;
        }
        anyhow::Ok(bytes)
    });
    let bytes: u64 = try_join_all(pulled).await?.into_iter().sum();
    let mib = number(bytes) / f64::from(1 << 20);
    ensure!(mib > 0.0, "nothing came");
    Ok((mib, cpu_seconds(pids)? - before))
}

/// A file on its way from one person to another.
struct Transfer {
    task: String,
    /// Sender and receiver.
    people: [u32; 2],
    sender: RawConn,
    receiver: RawConn,
    seq: u16,
    offset: u32,
    block: Bytes,
}

impl Transfer {
    fn new(task: String, people: [u32; 2], sender: RawConn, receiver: RawConn) -> Self {
        Self {
            task,
            people,
            sender,
            receiver,
            seq: 0,
            offset: 0,
            block: Bytes::from(vec![7; BLOCK as usize]),
        }
    }

    /// Asks for a block, sends it, and waits until it has come; gives its length.
    async fn pull(&mut self) -> anyhow::Result<u64> {
        self.seq = self.seq.wrapping_add(1);
        let [from, to] = self.people;
        let request = ImFilePullDataReq {
            task_id: self.task.clone(),
            user_id: to,
            trans_mode: TransferFileType::FileTypeOnline.into(),
            offset: self.offset,
            data_size: BLOCK,
        };
        let command = Command::FilePullDataReq;
        self.receiver.send(command, self.seq, &request).await?;
        let asked = self.sender.wait_for(command, WAIT).await?;
        let block = ImFilePullDataRsp {
            result_code: 0,
            task_id: self.task.clone(),
            user_id: from,
            offset: self.offset,
            file_data: self.block.clone(),
        };
        let command = Command::FilePullDataRsp;
        self.sender.send(command, asked.header.seq, &block).await?;
        let came = self.receiver.wait_for(command, WAIT).await?;
        ensure!(came.body.len() > self.block.len(), "a short block came");
        self.offset = self.offset.wrapping_add(BLOCK);
        Ok(u64::from(BLOCK))
    }
}

async fn open_plain(relay: SocketAddr, count: u32) -> anyhow::Result<Vec<Transfer>> {
    let mut transfers = Vec::new();
    for n in 0..count {
        let sender = RawConn::connect(&relay.to_string()).await?;
        let receiver = RawConn::connect(&relay.to_string()).await?;
        // As long as one of the file server.
        let task = format!("00000000-0000-4000-8000-{n:012}");
        transfers.push(Transfer::new(task, [1, 2], sender, receiver));
    }
    Ok(transfers)
}

/// Opens transfers between people, each with two of their own.
async fn open(servers: &Servers, count: u32) -> anyhow::Result<Vec<Transfer>> {
    let mut transfers = Vec::new();
    for pair in 0..count {
        let (from, to) = (1 + 2 * pair, 2 + 2 * pair);
        let _there = Terminal::login(servers.address_for(to)?, to, ClientType::Windows).await;
        let mut asking =
            Terminal::login(servers.address_for(from)?, from, ClientType::Windows).await;
        let (task, at) = task(&mut asking, from, to).await?;
        let sender = enter(at, &task, from, ClientFileRole::ClientRealtimeSender).await?;
        let receiver = enter(at, &task, to, ClientFileRole::ClientRealtimeRecver).await?;
        transfers.push(Transfer::new(task, [from, to], sender, receiver));
    }
    Ok(transfers)
}

/// Asks for a task until there is a file server.
async fn task(asking: &mut Terminal, from: u32, to: u32) -> anyhow::Result<(String, SocketAddr)> {
    let request = ImFileReq {
        from_user_id: from,
        to_user_id: to,
        file_name: "figures.bin".to_owned(),
        file_size: u32::MAX,
        trans_mode: TransferFileType::FileTypeOnline.into(),
    };
    let end = Instant::now() + WAIT;
    while Instant::now() < end {
        let answer: ImFileRsp = asking.ask(Command::FileReq, &request).await;
        if answer.result_code == 0 {
            let at = answer.ip_addr_list.first().context("an address")?;
            let at = format!("{}:{}", at.ip, at.port).parse()?;
            return Ok((answer.task_id, at));
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("no file server takes a task")
}

async fn enter(
    at: SocketAddr,
    task: &str,
    user: u32,
    role: ClientFileRole,
) -> anyhow::Result<RawConn> {
    let mut conn = RawConn::connect(&at.to_string()).await?;
    let request = ImFileLoginReq {
        user_id: user,
        task_id: task.to_owned(),
        file_role: role.into(),
    };
    conn.send(Command::FileLoginReq, 1, &request).await?;
    let answer: ImFileLoginRsp = conn.expect(Command::FileLoginRsp, WAIT).await?;
    ensure!(answer.result_code == 0, "{user} is not let to the task");
    Ok(conn)
}
