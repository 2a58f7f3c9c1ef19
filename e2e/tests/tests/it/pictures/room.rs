//! A file system with little room, which the store of messages and the pictures share.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use im_e2e::platform::{own_address, ports};
use im_e2e::process::{Process, Spec, imd_binary, run_imd};
use image::ImageFormat;

use super::web::{form, get, send};
use super::{code_of, path_of, picture};
use crate::support::*;

/// S-78: when the room ends, uploads are refused with a clear answer, pictures are served on, and people
/// chat as before; with room again uploads are stored without a restart.
#[tokio::test]
async fn without_room_uploads_are_refused_and_chat_is_unhurt() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let address = own_address();
    // A small file system that only this process sees.
    let script = format!(
        "#!/bin/sh\nexec unshare --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=96m,mode=0700 none {} && exec {} \"$@\"' imd \"$@\"\n",
        data.display(),
        imd_binary().unwrap().display()
    );
    let wrapper = dir.path().join("imd-with-little-room");
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut args = vec![
        "all-in-one".to_owned(),
        "--data-dir".to_owned(),
        data.display().to_string(),
        "--bind".to_owned(),
        address.to_string(),
    ];
    let free = ["msg.rate_limit=0", "msfs.upload_burst=100GiB"];
    for set in CHEAP_HASHES.iter().chain(&free) {
        args.extend(["--set".to_owned(), (*set).to_owned()]);
    }
    let spec = Spec {
        name: "imd".to_owned(),
        args,
        dir: dir.path().to_path_buf(),
        env: Vec::new(),
    };
    let mut process = Process::start_program(&wrapper, spec).unwrap();
    process.ready(Duration::from_secs(30)).await.unwrap();
    // What the process sees as its data directory.
    let seen = format!("/proc/{}/root{}", process.pid(), data.display());
    let csv = im_e2e::people::write_csv(dir.path(), 2).unwrap();
    let server = format!("{address}:{}", ports::DB_PROXY_ADMIN);
    let import = [
        "directory",
        "import",
        &csv.display().to_string(),
        "--server",
        &server,
    ];
    let secret = ["--secret-file", &format!("{seen}/admin-secret")];
    run_imd(dir.path(), &[&import[..], &secret].concat()).unwrap();
    let mut a = Terminal::login((address, ports::MSG).into(), 1, Windows).await;
    let mut b = Terminal::login((address, ports::MSG).into(), 2, Windows).await;
    let pictures = (address, ports::MSFS).into();

    let small = picture(40, 20, ImageFormat::Png);
    let first = path_of(&send(pictures, &form("a.png", &small)).await);
    let large = form("a.bin", &vec![7; 9 << 20]);
    let mut refused = None;
    for _ in 0..12 {
        let answer = send(pictures, &large).await;
        if code_of(&answer) != (200, 0) {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("there is no end to 96 MiB");
    assert_eq!(code_of(&refused), (507, 13));
    assert_eq!(
        refused.header("content-type"),
        Some("text/html;charset=utf-8")
    );
    for n in 1..=50 {
        let ack = a.say(with_user(2), &format!("still here {n}")).await;
        assert_eq!(b.message().await.msg_id, ack.msg_id);
        assert_eq!(code_of(&send(pictures, &large).await), (507, 13));
    }
    assert_eq!(get(pictures, &first, &[]).await.body, small);
    // Large messages go on as well: what is left is theirs.
    let long = "x".repeat(8_000);
    let ack = a.say(with_user(2), &long).await;
    assert_eq!(b.message().await.msg_id, ack.msg_id);

    // Room again: an operator removes something.
    let mut removed = 0;
    for folder in std::fs::read_dir(format!("{seen}/pictures")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap();
            if removed < 3 && file.metadata().unwrap().len() > 1 << 20 {
                std::fs::remove_file(file.path()).unwrap();
                removed += 1;
            }
        }
    }
    assert_eq!(code_of(&send(pictures, &large).await), (200, 0));
    assert!(process.terminate().await.unwrap().success());
}
