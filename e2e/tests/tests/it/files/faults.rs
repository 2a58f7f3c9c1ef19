//! File servers that are killed, and clients that stall or are slow.

use std::net::SocketAddr;

use im_client::RawConn;
use im_e2e::{gauges, wait};
use im_proto_teamtalk::file::{ImFilePullDataReq, ImFilePullDataRsp};

use super::client::*;
use crate::support::*;

/// A platform of processes with so many file servers, which its msg servers know.
pub(super) async fn with_files(msg: usize, files: usize, set: &[&str]) -> Platform {
    let shape = Shape {
        login: 1,
        msg,
        route: 1,
    };
    let set = CHEAP_HASHES.iter().chain(set);
    let options = Options::people(10).files(files);
    let options = set.fold(options, |options, set| options.set(set));
    let mut platform = Platform::separate(shape, options).await.unwrap();
    for n in 1..=msg {
        linked(&mut platform, &format!("msg{n}"), files).await;
    }
    platform
}

/// Waits until a msg server knows so many file servers that take tasks.
pub(super) async fn linked(platform: &mut Platform, msg: &str, files: usize) {
    let msg = &*platform.process(msg).unwrap();
    wait::until("file servers that take tasks", wait::SOON, || async {
        let dump = gauges::dump(msg).await.ok()?;
        let all = dump["msg"]["file_servers"].as_array()?.iter();
        let taking = all.filter(|server| server["takes_tasks"] == true);
        (taking.count() == files).then_some(())
    })
    .await
    .unwrap();
}

/// So many things were refused for this reason, or more.
async fn refused(platform: &mut Platform, reason: &str, count: f64) {
    let file = &*platform.process("file1").unwrap();
    let label = format!("reason=\"{reason}\"");
    wait::until(&label, wait::SOON, || async {
        let metrics = gauges::Metrics::read(file).await.ok()?;
        (metrics.sum("im_file_refused", &label) >= count).then_some(())
    })
    .await
    .unwrap();
}

/// Two people with an online task, both there.
async fn joined(platform: &mut Platform, size: u32) -> (Peer, Peer, String, SocketAddr) {
    let address = platform.msg_address("msg1");
    let _receiver = Terminal::login(address, 2, Windows).await;
    let mut sender = Terminal::login(address, 1, Windows).await;
    let answer = task(&mut sender, 2, size, Online).await;
    let at = address_of(&answer.ip_addr_list);
    let first = Peer::enter(at, &answer.task_id, 1, Sender).await;
    let mut second = Peer::enter(at, &answer.task_id, 2, Recver).await;
    second.told(PeerReady, 1).await;
    (first, second, answer.task_id, at)
}

use super::client::address as address_of;

/// What was stored is there after a `kill -9`, and a download goes on at its offset; what was on its way
/// ends as the protocol says, leaves nothing behind, and can be begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_downloads_go_on_and_other_transfers_end_and_can_be_begun_anew() {
    let mut platform = with_files(1, 1, &[]).await;
    let file = content(5 * BLOCK);
    let address = platform.msg_address("msg1");
    let mut sender = Terminal::login(address, 1, Windows).await;
    let (kept, at) = stored(&mut sender, 1, 2, &file).await;
    let mut download = Peer::enter(at, &kept, 2, Download).await;
    let request = download.request(Offline, 0, BLOCK);
    download.send(Command::FilePullDataReq, 1, &request).await;
    let (_, first): (u16, ImFilePullDataRsp) = download.frame(Command::FilePullDataRsp).await;

    let half = task(&mut sender, 3, 5 * BLOCK, Offline).await.task_id;
    let mut upload = Peer::enter(at, &half, 1, Upload).await;
    upload.serve(&file).await;
    let _: (u16, ImFilePullDataReq) = upload.frame(Command::FilePullDataReq).await;
    let (mut online, mut other, relayed, _) = joined(&mut platform, 10).await;
    let drafts = platform.file_dir("file1").join("draft");
    assert_eq!(std::fs::read_dir(&drafts).unwrap().count(), 1);

    platform.kill_and_restart("file1").await.unwrap();
    for peer in [&mut download, &mut upload, &mut online, &mut other] {
        peer.closed().await;
    }
    assert_eq!(std::fs::read_dir(&drafts).unwrap().count(), 0, "no orphan");
    Peer::refused(at, &half, 1, Upload).await;
    Peer::refused(at, &relayed, 1, Sender).await;
    let mut download = Peer::enter(at, &kept, 2, Download).await;
    let rest = download.download(1, BLOCK, 5 * BLOCK).await;
    assert_eq!([&first.file_data[..], &rest].concat(), file);

    linked(&mut platform, "msg1", 1).await;
    let mut receiver = Terminal::login(address, 2, Windows).await;
    let listed = waiting(&mut receiver).await.offline_file_list;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(
        (listed[0].task_id.as_str(), listed[0].file_name.as_str()),
        (&*kept, NAME)
    );
    let mut sender = Terminal::login(address, 1, Windows).await;
    stored(&mut sender, 1, 3, &file).await;
}

/// A sender that does not send loses its connection, the receiver with it, and both may come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_stalls_is_closed_and_the_transfer_can_go_on() {
    let set = ["file.block_timeout=300ms", "file.sweep_interval=20ms"];
    let mut platform = with_files(1, 1, &set).await;
    let (mut sender, mut receiver, task, at) = joined(&mut platform, 100).await;
    let request = receiver.request(Online, 0, 100);
    receiver.send(Command::FilePullDataReq, 1, &request).await;
    let asked = sender.closed().await;
    assert_eq!(commands(&asked), [Command::FilePullDataReq]);
    assert!(receiver.closed().await.is_empty());
    refused(&mut platform, "stalled", 1.0).await;
    let mut receiver = Peer::enter(at, &task, 2, Recver).await;
    let mut sender = Peer::enter(at, &task, 1, Sender).await;
    receiver.told(PeerReady, 1).await;
    receiver.send(Command::FilePullDataReq, 2, &request).await;
    sender.serve(&content(100)).await;
    let (_, block): (u16, ImFilePullDataRsp) = receiver.frame(Command::FilePullDataRsp).await;
    assert_eq!(block.file_data, content(100));
}

/// A client that takes nothing of what it is sent is closed with the other side; nobody else waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_closed_while_others_transfer() {
    let set = ["file.block_timeout=400ms", "file.sweep_interval=20ms"];
    let mut platform = with_files(1, 1, &set).await;
    let address = platform.msg_address("msg1");
    let mut from = Terminal::login(address, 3, Windows).await;
    let _to = Terminal::login(address, 4, Windows).await;
    let answer = task(&mut from, 4, 100, Online).await;
    let at = address_of(&answer.ip_addr_list);
    let mut sender = Peer::enter(at, &answer.task_id, 3, Sender).await;
    let mut slow = Peer::enter(at, &answer.task_id, 4, Recver).await;
    // It reads no more. The echoes fill what the kernel holds, then the server reads no more either.
    let beats = im_codec::heartbeat(1).repeat(4_096);
    let mut sent = 0;
    while slow.conn.send_bytes(&beats).await.is_ok() {
        sent += beats.len();
        assert!(sent < 64 << 20, "it is read on and on");
    }
    refused(&mut platform, "stalled", 1.0).await;
    assert!(sender.closed().await.is_empty());
    let (mut sender, mut receiver, ..) = joined(&mut platform, 100).await;
    let request = receiver.request(Online, 0, 100);
    receiver.send(Command::FilePullDataReq, 1, &request).await;
    sender.serve(&content(100)).await;
    let _: (u16, ImFilePullDataRsp) = receiver.frame(Command::FilePullDataRsp).await;
}

/// Whoever says nothing is closed: without a task soon, with one after the silence that is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_and_tasks_that_nobody_uses_end() {
    let set = [
        "file.login_timeout=200ms",
        "file.idle=300ms",
        "file.task_wait=1s",
        "file.sweep_interval=20ms",
    ];
    let mut platform = with_files(1, 1, &set).await;
    let at = platform.file_address("file1");
    let mut silent = RawConn::connect(&at.to_string()).await.unwrap();
    silent.wait_closed(WAIT).await.unwrap();
    refused(&mut platform, "login_timeout", 1.0).await;
    let (mut sender, mut receiver, task, at) = joined(&mut platform, 10).await;
    assert!(sender.closed().await.is_empty());
    assert!(receiver.closed().await.is_empty());
    refused(&mut platform, "idle", 1.0).await;
    refused(&mut platform, "expired", 1.0).await;
    Peer::refused(at, &task, 1, Sender).await;
}

/// A file that nobody fetches is deleted when its time is over, from the list and from the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_nobody_fetches_expires_and_a_cancelled_upload_leaves_nothing() {
    let set = ["file.keep=1s", "file.clean_interval=50ms"];
    let mut platform = with_files(1, 1, &set).await;
    let address = platform.msg_address("msg1");
    let mut sender = Terminal::login(address, 1, Windows).await;
    let (task, at) = stored(&mut sender, 1, 2, &content(10)).await;
    let folder = platform.file_dir("file1");
    let path = folder.join(&task[..2]).join(task.replace('-', ""));
    let file = &*platform.process("file1").unwrap();
    wait::until("the file to expire", wait::SOON, || async {
        let metrics = gauges::Metrics::read(file).await.ok()?;
        (metrics.sum("im_file_expired_files", "") == 1.0).then_some(())
    })
    .await
    .unwrap();
    wait::until("its bytes to go", wait::SOON, || async {
        (!path.try_exists().unwrap()).then_some(())
    })
    .await
    .unwrap();
    Peer::refused(at, &task, 2, Download).await;

    let half = super::client::task(&mut sender, 2, 2 * BLOCK, Offline)
        .await
        .task_id;
    let mut upload = Peer::enter(at, &half, 1, Upload).await;
    upload.serve(&content(2 * BLOCK)).await;
    let _: (u16, ImFilePullDataReq) = upload.frame(Command::FilePullDataReq).await;
    upload.say(Cancel).await;
    assert!(upload.closed().await.is_empty());
    Peer::refused(at, &half, 1, Upload).await;
    wait::until("no draft", wait::SOON, || async {
        let drafts = std::fs::read_dir(folder.join("draft")).unwrap();
        (drafts.count() == 0).then_some(())
    })
    .await
    .unwrap();
}

/// A server that is asked to stop takes no new tasks, and lets transfers end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_transfers_and_takes_no_new_tasks() {
    let mut platform = with_files(1, 1, &["file.drain_time=20s"]).await;
    let (mut sender, mut receiver, ..) = joined(&mut platform, 100).await;
    let request = receiver.request(Online, 0, 100);
    receiver.send(Command::FilePullDataReq, 1, &request).await;
    let mut file = platform.remove("file1").unwrap();
    file.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    linked(&mut platform, "msg1", 0).await;
    let address = platform.msg_address("msg1");
    let mut other = Terminal::login(address, 5, Windows).await;
    assert_eq!(offer(&mut other, 6, 10, Offline).await.result_code, 1);
    sender.serve(&content(100)).await;
    let (_, block): (u16, ImFilePullDataRsp) = receiver.frame(Command::FilePullDataRsp).await;
    assert_eq!(block.file_data, content(100));
    receiver.say(Done).await;
    sender.told(Done, 2).await;
    drop((sender, receiver));
    let status = file.ended(WAIT).await.unwrap();
    assert!(status.success(), "{status}");
}
