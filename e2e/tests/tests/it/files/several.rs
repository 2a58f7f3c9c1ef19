//! Several file servers, and several msg servers.

use std::collections::BTreeSet;

use im_proto_teamtalk::file::ImFileAddOfflineReq;

use super::client::*;
use super::faults::{linked, with_files};
use crate::support::*;

/// Tasks go to the server that has fewer, files are where they are said to be, and when one server is gone
/// the other takes what comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_spread_by_load_and_every_file_is_where_its_receiver_is_told() {
    // What a server has is known from what was asked of it; its own word comes later.
    let mut platform = with_files(2, 2, &["file.report_interval=60s"]).await;
    let [one, two] = ["file1", "file2"].map(|name| platform.file_address(name));
    let [m1, m2] = ["msg1", "msg2"].map(|name| platform.msg_address(name));
    let mut sender = Terminal::login(m1, 1, Windows).await;
    let mut stored_at = Vec::new();
    for n in 0..4_u32 {
        let file = content(100 + n);
        let (task, at) = stored(&mut sender, 1, 2, &file).await;
        stored_at.push((task, at, file));
    }
    let at = |server| stored_at.iter().filter(|(_, at, _)| *at == server).count();
    assert_eq!((at(one), at(two)), (2, 2), "{one} {two}");

    let mut receiver = Terminal::login(m2, 2, Windows).await;
    let listed = waiting(&mut receiver).await;
    assert_eq!(listed.offline_file_list.len(), 2, "of one server");
    let here = address(&listed.ip_addr_list);
    let listed = listed.offline_file_list.iter();
    let mut found: BTreeSet<_> = listed.map(|file| (file.task_id.clone(), here)).collect();
    for _ in 0..2 {
        // Each of the others is told with where it is.
        let told = notice(&mut receiver).await;
        assert_eq!((told.offline_ready, told.to_user_id), (1, 2));
        found.insert((told.task_id.clone(), address(&told.ip_addr_list)));
    }
    let expected: BTreeSet<_> = stored_at
        .iter()
        .map(|(task, at, _)| (task.clone(), *at))
        .collect();
    assert_eq!(found, expected);
    for (task, at, file) in &stored_at {
        let mut peer = Peer::enter(*at, task, 2, Download).await;
        assert_eq!(peer.download(1, 0, file.len() as u32).await, *file);
    }
    // Whoever has the file says that it is ready.
    for (task, at, file) in &stored_at {
        let add = ImFileAddOfflineReq {
            from_user_id: 0,
            to_user_id: 2,
            task_id: task.clone(),
            file_name: NAME.to_owned(),
            file_size: file.len() as u32,
        };
        sender.send(Command::FileAddOfflineReq, &add).await;
        let told = notice(&mut receiver).await;
        assert_eq!((&told.task_id, address(&told.ip_addr_list)), (task, *at));
    }

    platform.process("file1").unwrap().kill9().unwrap();
    linked(&mut platform, "msg1", 1).await;
    for _ in 0..4 {
        let answer = task(&mut sender, 2, 10, Offline).await;
        assert_eq!(address(&answer.ip_addr_list), two);
    }
}

/// Sender and receiver are on different msg servers: whether the receiver has a PC online is asked, and
/// both are told of one task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_between_people_of_two_msg_servers_is_an_online_one() {
    let mut platform = with_files(2, 1, &[]).await;
    let [m1, m2] = ["msg1", "msg2"].map(|name| platform.msg_address(name));
    let mut receiver = Terminal::login(m2, 2, Windows).await;
    let mut sender = Terminal::login(m1, 1, Windows).await;
    let answer = task(&mut sender, 2, 10, Online).await;
    let told = notice(&mut receiver).await;
    assert_eq!(told.task_id, answer.task_id);
    assert_eq!(told.ip_addr_list, answer.ip_addr_list);
    drop(receiver);
    let mut phone = Terminal::login(m2, 3, Android).await;
    let answer = offer(&mut sender, 3, 10, Online).await;
    assert_eq!((answer.result_code, answer.trans_mode()), (0, Offline));
    assert_eq!(
        commands(&phone.settle().await),
        [],
        "phones have no file client"
    );
}
