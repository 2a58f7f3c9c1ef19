//! Transfers between two people who are there.

use im_proto_teamtalk::file::{ImFileLoginReq, ImFilePullDataReq, ImFilePullDataRsp, ImFileState};

use super::client::*;
use crate::support::*;

/// Two people, a task of one for the other, and where it is.
async fn pair(size: u32) -> (Terminal, [u32; 2], String, std::net::SocketAddr) {
    let shared = platform().await;
    let [from, to] = users();
    let mut receiver = shared.pc(to).await;
    let mut sender = shared.pc(from).await;
    let answer = task(&mut sender, to, size, Online).await;
    let told = notice(&mut receiver).await;
    assert_eq!((told.from_user_id, told.to_user_id), (from, to));
    assert_eq!((told.file_name.as_str(), told.file_size), (NAME, size));
    assert_eq!(
        (told.task_id.clone(), told.offline_ready),
        (answer.task_id.clone(), 0)
    );
    assert_eq!(told.trans_mode(), Online);
    let at = address(&told.ip_addr_list);
    assert_eq!(at, address(&answer.ip_addr_list));
    (receiver, [from, to], answer.task_id, at)
}

/// S-76: 100 MB, block by block, with the numbers of the requests, until the receiver says that it has all.
#[tokio::test]
async fn a_file_goes_from_one_pc_to_another_byte_for_byte() {
    let size = 100_000_000;
    let file = content(size);
    let (_terminal, [from, to], task, at) = pair(size).await;
    let mut sender = Peer::enter(at, &task, from, Sender).await;
    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    receiver.told(PeerReady, from).await;
    let (mut got, mut wanted, mut seq) = (0, 34_816, 0_u16);
    while got < file.len() {
        seq = seq.wrapping_add(1);
        let request = receiver.request(Online, got as u32, wanted);
        receiver.send(Command::FilePullDataReq, seq, &request).await;
        let (passed, asked): (u16, ImFilePullDataReq) =
            sender.frame(Command::FilePullDataReq).await;
        assert_eq!((passed, &asked), (seq, &request), "unchanged");
        let end = file.len().min(got + asked.data_size as usize);
        let block = sender.block(asked.offset, file.slice(got..end));
        // A sender counts its answers as it likes.
        sender.send(Command::FilePullDataRsp, 9, &block).await;
        let (answered, came): (u16, ImFilePullDataRsp) =
            receiver.frame(Command::FilePullDataRsp).await;
        assert_eq!(answered, seq);
        assert!(came == block, "unchanged but for its number");
        wanted = came.file_data.len() as u32;
        got = end;
    }
    receiver.say(Done).await;
    assert!(receiver.closed().await.is_empty());
    sender.told(Done, to).await;
    assert!(sender.closed().await.is_empty());
    Peer::refused(at, &task, to, Recver).await;
}

#[tokio::test]
async fn the_receiver_may_come_first_and_heartbeats_are_echoed() {
    let (_terminal, [from, to], task, at) = pair(10).await;
    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    assert!(receiver.conn.settle(3, WAIT).await.unwrap().is_empty());
    let _sender = Peer::enter(at, &task, from, Sender).await;
    receiver.told(PeerReady, from).await;
}

#[tokio::test]
async fn whoever_cancels_or_refuses_is_closed_and_the_other_is_told() {
    for (state, is_sender) in [(Cancel, true), (Cancel, false), (Refuse, false)] {
        let (_terminal, [from, to], task, at) = pair(10).await;
        let mut sender = Peer::enter(at, &task, from, Sender).await;
        let mut receiver = Peer::enter(at, &task, to, Recver).await;
        receiver.told(PeerReady, from).await;
        let (by, other) = if is_sender {
            (&mut sender, &mut receiver)
        } else {
            (&mut receiver, &mut sender)
        };
        by.say(state).await;
        assert!(by.closed().await.is_empty());
        other.told(state, by.user).await;
        assert!(other.closed().await.is_empty());
        Peer::refused(at, &task, from, Sender).await;
    }
}

/// Where it goes on is the offset that the receiver asks for.
#[tokio::test]
async fn a_transfer_that_lost_a_connection_goes_on_at_the_offset_of_the_receiver() {
    let file = content(70_000);
    let (_terminal, [from, to], task, at) = pair(70_000).await;
    let mut sender = Peer::enter(at, &task, from, Sender).await;
    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    receiver.told(PeerReady, from).await;
    let request = receiver.request(Online, 0, BLOCK);
    receiver.send(Command::FilePullDataReq, 1, &request).await;
    assert_eq!(sender.serve(&file).await, 0);
    let (_, first): (u16, ImFilePullDataRsp) = receiver.frame(Command::FilePullDataRsp).await;
    drop(receiver);
    assert!(sender.closed().await.is_empty(), "it goes with the other");

    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    let mut sender = Peer::enter(at, &task, from, Sender).await;
    receiver.told(PeerReady, from).await;
    let request = receiver.request(Online, BLOCK, 40_000);
    receiver.send(Command::FilePullDataReq, 2, &request).await;
    assert_eq!(sender.serve(&file).await, BLOCK);
    let (_, rest): (u16, ImFilePullDataRsp) = receiver.frame(Command::FilePullDataRsp).await;
    assert_eq!([first.file_data, rest.file_data].concat(), file);
}

/// Nobody but the two people of a task gets in, each as what they are and once, and nobody learns which
/// tasks there are.
#[tokio::test]
async fn a_forged_task_or_a_wrong_person_is_refused_and_disturbs_nobody() {
    let (_terminal, [from, to], task, at) = pair(10).await;
    let [stranger] = users();
    let forged = format!(
        "{}{}",
        if task.starts_with('0') { '1' } else { '0' },
        &task[1..]
    );
    for (task, user, role) in [
        (forged.as_str(), from, Sender),
        (&task, stranger, Recver),
        (&task, to, Sender),
        (&task, from, Recver),
        (&task, from, Upload),
        (&task, to, Download),
        (&task, 0, Recver),
        ("", to, Recver),
        ("../../../../etc/passwd", to, Download),
        (&task.to_uppercase(), to, Download),
    ] {
        Peer::refused(at, task, user, role).await;
    }
    let mut sender = Peer::enter(at, &task, from, Sender).await;
    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    receiver.told(PeerReady, from).await;
    Peer::refused(at, &task, to, Recver).await;
    Peer::refused(at, &task, from, Sender).await;
    let request = receiver.request(Online, 0, 10);
    receiver.send(Command::FilePullDataReq, 1, &request).await;
    sender.serve(&content(10)).await;
    let _: (u16, ImFilePullDataRsp) = receiver.frame(Command::FilePullDataRsp).await;
}

/// Every frame is held against the task, the person, the file and what was asked for.
#[tokio::test]
async fn a_frame_that_breaks_a_rule_ends_both_connections_and_passes_nothing_on() {
    let file = content(100);
    // What a receiver may not ask.
    let requests: [fn(&mut ImFilePullDataReq); 6] = [
        |it| it.offset = 100,
        |it| it.offset = u32::MAX,
        |it| it.data_size = 0,
        |it| it.user_id += 1,
        |it| it.task_id.replace_range(..8, "00000000"),
        |it| it.task_id.clear(),
    ];
    for (n, wrong) in requests.into_iter().enumerate() {
        let (_terminal, [from, to], task, at) = pair(100).await;
        let mut sender = Peer::enter(at, &task, from, Sender).await;
        let mut receiver = Peer::enter(at, &task, to, Recver).await;
        receiver.told(PeerReady, from).await;
        let mut request = receiver.request(Online, 0, 100);
        wrong(&mut request);
        receiver.send(Command::FilePullDataReq, 1, &request).await;
        assert!(receiver.closed().await.is_empty(), "request {n}");
        assert!(sender.closed().await.is_empty(), "request {n}");
    }
    // What a sender may not answer to a request for 100 bytes.
    let blocks: [fn(&mut ImFilePullDataRsp); 5] = [
        |it| it.file_data = vec![7; 101].into(),
        |it| it.file_data = bytes::Bytes::new(),
        |it| it.offset = 1,
        |it| it.user_id += 1,
        |it| it.task_id.clear(),
    ];
    for (n, wrong) in blocks.into_iter().enumerate() {
        let (_terminal, [from, to], task, at) = pair(100).await;
        let mut sender = Peer::enter(at, &task, from, Sender).await;
        let mut receiver = Peer::enter(at, &task, to, Recver).await;
        receiver.told(PeerReady, from).await;
        let request = receiver.request(Online, 0, 100);
        receiver.send(Command::FilePullDataReq, 1, &request).await;
        let _: (u16, ImFilePullDataReq) = sender.frame(Command::FilePullDataReq).await;
        let mut block = sender.block(0, file.clone());
        wrong(&mut block);
        sender.send(Command::FilePullDataRsp, 1, &block).await;
        assert!(sender.closed().await.is_empty(), "block {n}");
        assert!(receiver.closed().await.is_empty(), "block {n}");
    }
    // What nobody may say.
    let (_terminal, [from, to], task, at) = pair(100).await;
    let mut sender = Peer::enter(at, &task, from, Sender).await;
    sender.say(PeerReady).await;
    assert!(sender.closed().await.is_empty());
    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    let state = ImFileState {
        state: Done.into(),
        task_id: task.clone(),
        user_id: from,
    };
    receiver.send(Command::FileState, 0, &state).await;
    assert!(receiver.closed().await.is_empty());
    let mut receiver = Peer::enter(at, &task, to, Recver).await;
    let again = ImFileLoginReq {
        user_id: to,
        task_id: task.clone(),
        file_role: Recver.into(),
    };
    receiver.send(Command::FileLoginReq, 1, &again).await;
    assert!(receiver.closed().await.is_empty(), "one task a connection");
}

/// Whoever is online with a phone only has no file client: the transfer becomes an offline one, as the
/// answer says.
#[tokio::test]
async fn a_transfer_to_somebody_without_a_pc_online_becomes_an_offline_one() {
    let shared = platform().await;
    let [from, to] = users();
    let _phone = shared.phone(to).await;
    let mut sender = shared.pc(from).await;
    let answer = offer(&mut sender, to, 10, Online).await;
    assert_eq!(answer.result_code, 0);
    assert_eq!(answer.trans_mode(), Offline);
}

#[tokio::test]
async fn what_cannot_be_transferred_gets_result_1() {
    let shared = platform().await;
    let [from, to] = users();
    let mut sender = shared.pc(from).await;
    for (to, size) in [(to, 0), (from, 10), (0, 10)] {
        let answer = offer(&mut sender, to, size, Online).await;
        assert_eq!((answer.result_code, answer.task_id.as_str()), (1, ""));
        assert!(answer.ip_addr_list.is_empty());
        assert_eq!(answer.file_name, NAME);
    }
}
