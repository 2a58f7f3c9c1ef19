//! Files and pictures of a platform that is restored: the store is backed up first, then their folders.

use std::io::ErrorKind;

use bytes::Bytes;
use im_client::pictures::{Piece, mark, pieces};
use im_codec::text::{DEFAULT_KEY, TextCipher};
use im_proto_teamtalk::base::MsgInfo;
use image::ImageFormat;

use super::*;
use crate::files::client::{Download, Peer, content, stored, waiting};
use crate::history::list;
use crate::pictures::picture;
use crate::pictures::web::{get, put, send};

/// Copies a folder as it is, while a server works in it: what is gone meanwhile is left out, as every tool for
/// copies does or can be told to.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            // What is on its way there is nobody's yet.
            if entry.file_name() != "draft" {
                copy_folder(&entry.path(), &target);
            }
            continue;
        }
        match std::fs::copy(entry.path(), target) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

/// The folders of a data directory that hold blobs.
fn copy_blobs(from: &Path, to: &Path) {
    for folder in ["pictures", "files"] {
        copy_folder(&from.join(folder), &to.join(folder));
    }
}

/// Stores a picture and shows it to person 2.
async fn show(platform: &mut Platform, ann: &mut Terminal, width: u32) -> Vec<u8> {
    let content = picture(width, 20, ImageFormat::Png);
    let address = platform.msfs_address("all");
    let answer = send(address, &put("/a.png", &content)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let url = answer.header("location").unwrap();
    ann.say(with_user(2), &mark(url)).await;
    content
}

/// Paths of the pictures that person 2 was shown, the newest first.
async fn shown(at: &Restored) -> Vec<String> {
    let mut ben = Terminal::login(at.address, 2, Windows).await;
    let listed = list(&mut ben, with_user(1), 0, 10).await.msg_list;
    let cipher = TextCipher::new(DEFAULT_KEY);
    let path = |message: &MsgInfo| {
        let text = cipher.decrypt(&message.msg_data).unwrap();
        match pieces(std::str::from_utf8(&text).unwrap()).as_slice() {
            [Piece::Picture(url)] => {
                let (_, path) = url.split_once("://").unwrap().1.split_once('/').unwrap();
                format!("/{path}")
            }
            other => panic!("{other:?}"),
        }
    };
    listed.iter().map(path).collect()
}

/// Every picture that the restored store names is there, and the file that waits is fetched; folders that were
/// copied before the store lack what came between. What is missing is told as missing, and holds up nothing else.
#[tokio::test]
async fn with_folders_copied_after_the_store_no_message_names_a_picture_that_is_missing() {
    let mut platform = own_platform(3, &[]).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    let file: Bytes = content(100_000);
    let (task, _) = stored(&mut ann, 1, 3, &file).await;
    let before = show(&mut platform, &mut ann, 40).await;
    let (data, dir) = (platform.data_dir(), platform.dir().to_path_buf());
    copy_blobs(&data, &dir.join("too-early"));
    let between = show(&mut platform, &mut ann, 50).await;
    let copy = back_up(&platform, "copy.db");
    show(&mut platform, &mut ann, 60).await;
    copy_blobs(&data, &dir.join("after"));
    platform.remove("all").unwrap().terminate().await.unwrap();

    let with = |folder: &str| {
        let folder = dir.join(folder);
        move |place: &Path| copy_blobs(&folder, place)
    };
    let again = Restored::start_beside(&dir, "again", &copy, &[], with("after")).await;
    let paths = shown(&again).await;
    assert_eq!(paths.len(), 2, "what came later is in no message");
    let pictures = (again.address.ip(), 8700).into();
    for (path, content) in paths.iter().zip([&between, &before]) {
        let answer = get(pictures, path, &[]).await;
        assert_eq!((answer.status, &answer.body), (200, content), "{path}");
    }
    let mut cleo = Terminal::login(again.address, 3, Windows).await;
    let listed = waiting(&mut cleo).await;
    assert_eq!(listed.offline_file_list.len(), 1, "{listed:?}");
    assert_eq!(listed.offline_file_list[0].task_id, task);
    let files = (again.address.ip(), 8600).into();
    let mut peer = Peer::enter(files, &task, 3, Download).await;
    assert_eq!(peer.download(1, 0, 100_000).await, file);
    drop(again);

    // The file that waited is lost, too.
    let lost = dir.join("too-early/files");
    std::fs::remove_dir_all(&lost).unwrap();
    std::fs::create_dir(&lost).unwrap();
    let early = Restored::start_beside(&dir, "early", &copy, &[], with("too-early")).await;
    let paths = shown(&early).await;
    let pictures = (early.address.ip(), 8700).into();
    let statuses = [
        get(pictures, &paths[0], &[]).await.status,
        get(pictures, &paths[1], &[]).await.status,
    ];
    assert_eq!(statuses, [404, 200], "the order is not the other one");
    let mut cleo = Terminal::login(early.address, 3, Windows).await;
    assert_eq!(waiting(&mut cleo).await.offline_file_list, []);
    let mut ann = Terminal::login(early.address, 1, Windows).await;
    stored(&mut ann, 1, 3, &file).await;
    assert_eq!(
        waiting(&mut cleo).await.offline_file_list.len(),
        1,
        "sent again"
    );
}
