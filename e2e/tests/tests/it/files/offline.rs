//! Files for people who are not there.

use im_proto_teamtalk::base::OfflineFileInfo;
use im_proto_teamtalk::file::{
    ImFileAddOfflineReq, ImFileDelOfflineReq, ImFilePullDataReq, ImFilePullDataRsp,
};

use super::client::*;
use crate::support::*;

fn info(from: u32, task: &str, size: u32) -> OfflineFileInfo {
    OfflineFileInfo {
        from_user_id: from,
        task_id: task.to_owned(),
        file_name: NAME.to_owned(),
        file_size: size,
    }
}

fn added(to: u32, task: &str, size: u32) -> ImFileAddOfflineReq {
    ImFileAddOfflineReq {
        from_user_id: 0,
        to_user_id: to,
        task_id: task.to_owned(),
        file_name: NAME.to_owned(),
        file_size: size,
    }
}

fn deleted(from: u32, to: u32, task: &str) -> ImFileDelOfflineReq {
    ImFileDelOfflineReq {
        from_user_id: from,
        to_user_id: to,
        task_id: task.to_owned(),
    }
}

/// S-77: uploaded block by block, listed, fetched byte for byte, and gone when its receiver says so.
#[tokio::test]
async fn a_file_waits_for_its_receiver_and_is_fetched_byte_for_byte() {
    let shared = platform().await;
    let [from, to] = users();
    let file = content(100_000);
    let mut sender = shared.pc(from).await;
    let (task, at) = stored(&mut sender, from, to, &file).await;
    Peer::refused(at, &task, from, Upload).await;

    let mut receiver = shared.pc(to).await;
    let listed = waiting(&mut receiver).await;
    assert_eq!(listed.user_id, to);
    assert_eq!(listed.offline_file_list, [info(from, &task, 100_000)]);
    assert_eq!(address(&listed.ip_addr_list), at);
    for _ in 0..2 {
        let mut peer = Peer::enter(at, &task, to, Download).await;
        assert_eq!(
            peer.download(from, 0, 100_000).await,
            file,
            "as often as wanted"
        );
    }
    let mut peer = Peer::enter(at, &task, to, Download).await;
    let rest = peer.download(from, 65_000, 100_000).await;
    assert_eq!(rest, file[65_000..], "from where a download broke off");

    let request = deleted(from, to, &task);
    receiver.send(Command::FileDelOfflineReq, &request).await;
    // On the same connection: the question does not overtake what was said before it.
    assert_eq!(waiting(&mut receiver).await.offline_file_list, []);
    Peer::refused(at, &task, to, Download).await;
}

/// The receiver is told that a file can be fetched when the server has it, and of nothing that it has not.
#[tokio::test]
async fn the_receiver_is_told_of_a_file_that_is_stored_and_of_no_other() {
    let shared = platform().await;
    let [from, to, stranger] = users();
    let mut receiver = shared.pc(to).await;
    let mut sender = shared.pc(from).await;
    let answer = task(&mut sender, to, 10, Offline).await;
    let at = address(&answer.ip_addr_list);
    let task = answer.task_id;
    assert_eq!(notice(&mut receiver).await.offline_ready, 0, "to come");
    let add = added(to, &task, 10);
    sender.send(Command::FileAddOfflineReq, &add).await;
    // Answered when the server has worked on what went before.
    waiting(&mut sender).await;
    assert_eq!(commands(&receiver.fence(&mut sender).await), []);

    Peer::enter(at, &task, from, Upload)
        .await
        .upload(&content(10))
        .await;
    let mut other = shared.pc(stranger).await;
    other.send(Command::FileAddOfflineReq, &add).await;
    waiting(&mut other).await;
    assert_eq!(
        commands(&receiver.fence(&mut other).await),
        [],
        "not theirs"
    );

    sender.send(Command::FileAddOfflineReq, &add).await;
    let told = notice(&mut receiver).await;
    assert_eq!((told.from_user_id, told.to_user_id), (from, to));
    assert_eq!(
        (told.task_id.as_str(), told.file_name.as_str()),
        (&*task, NAME)
    );
    assert_eq!((told.file_size, told.offline_ready), (10, 1));
    assert_eq!(told.trans_mode(), Offline);
    assert_eq!(address(&told.ip_addr_list), at);
}

/// Only its receiver takes a file away, whatever a client says of who sent it.
#[tokio::test]
async fn nobody_but_its_receiver_deletes_fetches_or_sees_a_file() {
    let shared = platform().await;
    let [from, to, stranger] = users();
    let file = content(10);
    let mut sender = shared.pc(from).await;
    let (task, at) = stored(&mut sender, from, to, &file).await;
    let mut other = shared.pc(stranger).await;
    for terminal in [&mut sender, &mut other] {
        let request = deleted(from, to, &task);
        terminal.send(Command::FileDelOfflineReq, &request).await;
        assert_eq!(waiting(terminal).await.offline_file_list, []);
    }
    Peer::refused(at, &task, stranger, Download).await;
    Peer::refused(at, &task, from, Download).await;
    let mut receiver = shared.pc(to).await;
    let listed = waiting(&mut receiver).await.offline_file_list;
    assert_eq!(listed, [info(from, &task, 10)]);
    // Whoever the client says has sent it.
    let request = deleted(stranger, to, &task);
    receiver.send(Command::FileDelOfflineReq, &request).await;
    assert_eq!(waiting(&mut receiver).await.offline_file_list, []);
}

/// The Windows client comes as soon as it hears of a file, before it is there.
#[tokio::test]
async fn a_receiver_who_comes_before_the_upload_gets_the_file_when_it_is_there() {
    let shared = platform().await;
    let [from, to] = users();
    let file = content(40_000);
    let mut sender = shared.pc(from).await;
    let answer = task(&mut sender, to, 40_000, Offline).await;
    let at = address(&answer.ip_addr_list);
    let mut early = Peer::enter(at, &answer.task_id, to, Download).await;
    let request = early.request(Offline, 0, 34_816);
    early.send(Command::FilePullDataReq, 3, &request).await;
    assert!(early.conn.settle(4, WAIT).await.unwrap().is_empty());
    Peer::enter(at, &answer.task_id, from, Upload)
        .await
        .upload(&file)
        .await;
    let (seq, first): (u16, ImFilePullDataRsp) = early.frame(Command::FilePullDataRsp).await;
    assert_eq!((seq, &first.file_data[..]), (3, &file[..32_768]));
    assert_eq!(early.download(from, BLOCK, 40_000).await, file[32_768..]);
}

/// An upload goes on where it broke off.
#[tokio::test]
async fn an_upload_that_lost_its_connection_is_asked_for_the_rest_only() {
    let shared = platform().await;
    let [from, to] = users();
    let file = content(3 * BLOCK + 1);
    let mut sender = shared.pc(from).await;
    let answer = task(&mut sender, to, 3 * BLOCK + 1, Offline).await;
    let at = address(&answer.ip_addr_list);
    let mut first = Peer::enter(at, &answer.task_id, from, Upload).await;
    assert_eq!(first.serve(&file).await, 0);
    assert_eq!(first.serve(&file).await, BLOCK);
    // The next request shows that the block before it is stored.
    let (_, asked): (u16, ImFilePullDataReq) = first.frame(Command::FilePullDataReq).await;
    assert_eq!((asked.offset, asked.data_size), (2 * BLOCK, BLOCK));
    Peer::refused(at, &answer.task_id, from, Upload).await;
    let half = first.block(0, file.slice(..0));
    first.send(Command::FilePullDataRsp, 0, &half).await;
    assert!(
        first.closed().await.is_empty(),
        "not the block that was asked for"
    );

    let mut second = Peer::enter(at, &answer.task_id, from, Upload).await;
    assert_eq!(second.serve(&file).await, 2 * BLOCK);
    let (_, asked): (u16, ImFilePullDataReq) = second.frame(Command::FilePullDataReq).await;
    assert_eq!((asked.offset, asked.data_size), (3 * BLOCK, 1));
    let last = second.block(3 * BLOCK, file.slice(3 * BLOCK as usize..));
    second.send(Command::FilePullDataRsp, 0, &last).await;
    second.told(Done, from).await;
    let mut peer = Peer::enter(at, &answer.task_id, to, Download).await;
    assert_eq!(peer.download(from, 0, 3 * BLOCK + 1).await, file);
}

/// Blocks that are longer or shorter than what was asked for are not stored, nor anything beside them.
#[tokio::test]
async fn an_upload_of_a_wrong_length_or_offset_ends_and_leaves_the_task_as_it_was() {
    let shared = platform().await;
    let [from, to] = users();
    let file = content(100);
    let mut sender = shared.pc(from).await;
    let answer = task(&mut sender, to, 100, Offline).await;
    let at = address(&answer.ip_addr_list);
    let wrong: [fn(&mut ImFilePullDataRsp); 5] = [
        |it| it.file_data = vec![7; 99].into(),
        |it| it.file_data = vec![7; 101].into(),
        |it| it.offset = 1,
        |it| it.result_code = 1,
        |it| it.user_id += 1,
    ];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let mut peer = Peer::enter(at, &answer.task_id, from, Upload).await;
        let (_, asked): (u16, ImFilePullDataReq) = peer.frame(Command::FilePullDataReq).await;
        assert_eq!((asked.offset, asked.data_size), (0, 100), "{n}");
        let mut block = peer.block(0, file.clone());
        wrong(&mut block);
        peer.send(Command::FilePullDataRsp, 0, &block).await;
        assert!(peer.closed().await.is_empty(), "{n}");
    }
    Peer::enter(at, &answer.task_id, from, Upload)
        .await
        .upload(&file)
        .await;
    let mut peer = Peer::enter(at, &answer.task_id, to, Download).await;
    assert_eq!(peer.download(from, 0, 100).await, file);
}

#[tokio::test]
async fn a_download_beyond_the_end_or_of_two_blocks_at_once_is_closed() {
    let shared = platform().await;
    let [from, to] = users();
    let mut sender = shared.pc(from).await;
    let (task, at) = stored(&mut sender, from, to, &content(100)).await;
    for offset in [100, 101, u32::MAX] {
        let mut peer = Peer::enter(at, &task, to, Download).await;
        let request = peer.request(Offline, offset, BLOCK);
        peer.send(Command::FilePullDataReq, 1, &request).await;
        assert!(peer.closed().await.is_empty(), "{offset}");
    }
    let first = Peer::enter(at, &task, to, Download).await;
    Peer::refused(at, &task, to, Download).await;
    drop(first);
}
