//! Files and pictures in a bucket of a real S3 server, which `VERSITYGW` names; `make test` builds it and
//! runs these.

use bytes::Bytes;
use im_e2e::bucket::S3Server;
use image::ImageFormat;

use crate::files::client::{Download, Peer, address, content, stored, waiting};
use crate::pictures::web::{form, get, send};
use crate::pictures::{path_of, picture};
use crate::support::*;

fn all(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

/// Blobs in one folder of a data directory: whole ones, none of which is on its way.
fn kept(platform: &Platform, kind: &str) -> usize {
    let folder = platform.data_dir().join(kind);
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.filter(|entry| entry.file_name() != "draft").count()
}

/// S-78: a picture that one msfs server has taken is given by another one of the same bucket, in the sizes
/// that clients ask for, and after both were killed.
#[tokio::test]
#[ignore = "needs an S3 server: make test"]
async fn msfs_servers_share_the_pictures_of_a_bucket() {
    let bucket = S3Server::start().await.unwrap();
    let settings = bucket.settings("one");
    let mut platform = Platform::none().unwrap();
    for name in ["first", "second"] {
        platform.start_msfs(name, &settings).unwrap();
        platform.ready(name).await.unwrap();
    }
    let (first, second) = (
        platform.msfs_address("first"),
        platform.msfs_address("second"),
    );
    let picture = picture(400, 200, ImageFormat::Png);
    let path = path_of(&send(first, &form("a.png", &picture)).await);
    assert_eq!(get(second, &path, &[]).await.body, picture);
    let part = get(second, &path, &[("Range", "bytes=10-19")]).await;
    assert_eq!((part.status, &*part.body), (206, &picture[10..20]));
    let small = get(second, &format!("{path}_100x100.jpg"), &[]).await;
    assert_eq!(small.status, 200);
    assert_eq!(bucket.objects().len(), 2, "{:?}", bucket.objects());
    for name in ["first", "second"] {
        platform.kill_and_restart(name).await.unwrap();
    }
    assert_eq!(get(first, &path, &[]).await.body, picture);
    let again = get(first, &format!("{path}_100x100.jpg"), &[]).await;
    assert_eq!(again.body, small.body);
    assert_eq!(bucket.objects().len(), 2, "it was not scaled again");
}

/// S-77: a file for somebody away is in the bucket and in no folder, also one that needs several requests,
/// is there after a kill, and gone when its receiver has it.
#[tokio::test]
#[ignore = "needs an S3 server: make test"]
async fn a_file_for_somebody_away_waits_in_the_bucket() {
    let bucket = S3Server::start().await.unwrap();
    let mut platform = own_platform(3, &all(&bucket.settings("one"))).await;
    let msg = platform.msg_address("all");
    let file = content(9 << 20);
    let mut sender = Terminal::login(msg, 1, Windows).await;
    let (task, _) = stored(&mut sender, 1, 2, &file).await;
    assert_eq!(bucket.objects().len(), 1);
    assert_eq!(kept(&platform, "files"), 0);
    platform.kill_and_restart("all").await.unwrap();
    let mut receiver = Terminal::login(msg, 2, Windows).await;
    let listed = waiting(&mut receiver).await;
    let at = address(&listed.ip_addr_list);
    let size = u32::try_from(file.len()).unwrap();
    let mut peer = Peer::enter(at, &task, 2, Download).await;
    let fetched = Bytes::from(peer.download(1, 0, size).await);
    assert!(fetched == file, "other bytes than were sent");
    let request = im_proto_teamtalk::file::ImFileDelOfflineReq {
        from_user_id: 1,
        to_user_id: 2,
        task_id: task,
    };
    receiver.send(Command::FileDelOfflineReq, &request).await;
    assert_eq!(waiting(&mut receiver).await.offline_file_list, []);
    im_e2e::wait::until("the bucket is empty", WAIT, || async {
        bucket.objects().is_empty().then_some(())
    })
    .await
    .unwrap();
}

/// Without the bucket uploads are refused, chat is unhurt, and with it everything goes on.
#[tokio::test]
#[ignore = "needs an S3 server: make test"]
async fn a_bucket_that_is_away_is_told_to_who_sends_and_hurts_nobody_else() {
    let mut bucket = S3Server::start().await.unwrap();
    let mut platform = own_platform(3, &all(&bucket.settings("one"))).await;
    let pictures = platform.msfs_address("all");
    let picture = picture(40, 20, ImageFormat::Png);
    let path = path_of(&send(pictures, &form("a.png", &picture)).await);
    bucket.kill().unwrap();
    let msg = platform.msg_address("all");
    let mut a = Terminal::login(msg, 1, Windows).await;
    let mut b = Terminal::login(msg, 2, Windows).await;
    let refused = async {
        assert_eq!(send(pictures, &form("b.png", &picture)).await.status, 503);
        assert_eq!(get(pictures, &path, &[]).await.status, 503);
    };
    let chat = async {
        a.say(with_user(2), "without pictures").await;
        assert_eq!(text_of(&b.message().await), "without pictures");
    };
    tokio::join!(refused, chat);
    bucket.restart().await.unwrap();
    assert_eq!(get(pictures, &path, &[]).await.body, picture);
    path_of(&send(pictures, &form("b.png", &picture)).await);
}
