//! What one person may have on a file server, at the bound.

use super::client::*;
use crate::support::*;

/// A person at a bound is refused; everybody else is not, and what ends gives its place back.
#[tokio::test]
async fn tasks_files_and_bytes_of_one_person_are_bounded_and_nobody_else_feels_it() {
    let set = [
        "file.max_tasks_per_user=3",
        "file.max_files_per_pair=2",
        "file.max_file=100B",
        "file.max_stored_per_user=250B",
    ];
    let mut platform = own_platform(10, &set).await;
    let address = platform.msg_address("all");
    let _pc = Terminal::login(address, 2, Windows).await;
    let mut one = Terminal::login(address, 1, Windows).await;
    let mut first = None;
    for _ in 0..3 {
        first = Some(task(&mut one, 2, 1_000, Online).await);
    }
    assert_eq!(offer(&mut one, 2, 1_000, Online).await.result_code, 1);
    let mut other = Terminal::login(address, 3, Windows).await;
    task(&mut other, 2, 1_000, Online).await;
    // One task ends.
    let first = first.unwrap();
    let at = super::client::address(&first.ip_addr_list);
    let mut sender = Peer::enter(at, &first.task_id, 1, Sender).await;
    sender.say(Cancel).await;
    assert!(sender.closed().await.is_empty());
    task(&mut one, 2, 1_000, Online).await;

    let mut other = Terminal::login(address, 4, Windows).await;
    assert_eq!(offer(&mut other, 5, 101, Offline).await.result_code, 1);
    for _ in 0..2 {
        stored(&mut other, 4, 5, &content(100)).await;
    }
    assert_eq!(
        offer(&mut other, 5, 1, Offline).await.result_code,
        1,
        "a pair"
    );
    assert_eq!(
        offer(&mut other, 6, 51, Offline).await.result_code,
        1,
        "bytes"
    );
    let (last, _) = stored(&mut other, 4, 6, &content(50)).await;
    assert_eq!(
        offer(&mut other, 7, 1, Offline).await.result_code,
        1,
        "bytes"
    );
    let mut receiver = Terminal::login(address, 6, Windows).await;
    let request = im_proto_teamtalk::file::ImFileDelOfflineReq {
        from_user_id: 4,
        to_user_id: 6,
        task_id: last,
    };
    receiver.send(Command::FileDelOfflineReq, &request).await;
    assert!(waiting(&mut receiver).await.offline_file_list.is_empty());
    stored(&mut other, 4, 7, &content(50)).await;
}

/// The longest name, and one that is longer.
#[tokio::test]
async fn a_name_is_kept_up_to_its_bound_and_refused_beyond() {
    let shared = platform().await;
    let [from, to] = users();
    let mut sender = shared.pc(from).await;
    for (bytes, result) in [(780, 0), (781, 1)] {
        let request = im_proto_teamtalk::file::ImFileReq {
            from_user_id: 0,
            to_user_id: to,
            file_name: "n".repeat(bytes),
            file_size: 1,
            trans_mode: Offline.into(),
        };
        let answer: im_proto_teamtalk::file::ImFileRsp =
            sender.ask(Command::FileReq, &request).await;
        assert_eq!(answer.result_code, result, "{bytes}");
        assert_eq!(answer.file_name, request.file_name, "unchanged");
        if result == 0 {
            let at = address(&answer.ip_addr_list);
            let mut peer = Peer::enter(at, &answer.task_id, from, Upload).await;
            peer.upload(&content(1)).await;
        }
    }
    let mut receiver = shared.pc(to).await;
    let listed = waiting(&mut receiver).await.offline_file_list;
    assert_eq!(listed[0].file_name, "n".repeat(780));
}
