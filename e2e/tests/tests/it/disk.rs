//! A full disk (I1): no acknowledgements while it is full, clear errors, and recovery without a
//! restart.
//!
//! The limit of file size (RLIMIT_FSIZE) makes writes fail as a full disk does, for one process and
//! without privileges; SIGXFSZ is ignored by the shell that starts it, and so by the program.

use std::time::Duration;

use im_e2e::gauges::Metrics;
use im_e2e::platform::own_address;
use im_e2e::process::{Process, Spec, imd_binary, run_imd};
use im_e2e::wait;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};

use crate::support::*;

/// Sets the limit of file size of a running process; `None` lifts it.
fn limit_files(pid: u32, bytes: Option<u64>) {
    let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let status = std::process::Command::new("prlimit")
        .args([
            "--pid",
            &pid.to_string(),
            &format!("--fsize={limit}:unlimited"),
        ])
        .status()
        .expect("prlimit is part of util-linux: install that package");
    assert!(status.success(), "prlimit: {status}");
}

/// I1: whatever was acknowledged before, during or after is stored; what the full disk refused gets no
/// acknowledgement, the connection stays, the metric and the log say why; with space again the same
/// process stores again.
#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_recovers_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let address = own_address();
    let data = dir.path().join("data").display().to_string();
    // The shell stands in between only until `exec`; ignored signals stay ignored.
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n",
        imd_binary().unwrap().display()
    );
    let wrapper = dir.path().join("imd-without-sigxfsz");
    std::fs::write(&wrapper, script).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut args = vec![
        "all-in-one".to_owned(),
        "--data-dir".to_owned(),
        data.clone(),
    ];
    args.extend(["--bind".to_owned(), address.to_string()]);
    for set in [
        "db_proxy.writer.store_retry=2s",
        "msg.rate_limit=0",
        "msg.idle_pc=10m",
    ] {
        args.extend(["--set".to_owned(), set.to_owned()]);
    }
    let spec = Spec {
        name: "imd".to_owned(),
        args,
        dir: dir.path().to_path_buf(),
        env: Vec::new(),
    };
    let mut process = Process::start_program(&wrapper, spec).unwrap();
    process.ready(Duration::from_secs(30)).await.unwrap();
    let csv = im_e2e::people::write_csv(dir.path(), 2).unwrap();
    let server = format!("{address}:{}", im_e2e::platform::ports::DB_PROXY_ADMIN);
    run_imd(
        dir.path(),
        &[
            "directory",
            "import",
            &csv.display().to_string(),
            "--server",
            &server,
            "--data-dir",
            &data,
        ],
    )
    .unwrap();
    let client = (address, im_e2e::platform::ports::MSG).into();
    let mut sender = Terminal::login(client, 1, Windows).await;
    let mut receiver = Terminal::login(client, 2, Windows).await;
    for n in 1..=10 {
        assert_eq!(sender.say(with_user(2), "before").await.msg_id, n);
    }
    let largest = std::fs::read_dir(dir.path().join("data"))
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .max()
        .unwrap();
    // The log of the store can grow no further than by this.
    limit_files(process.pid(), Some(largest + (64 << 10)));
    let big = |n: u32| ImMsgData {
        msg_type: MsgType::SingleAudio.into(),
        msg_data: n.to_be_bytes().repeat(4_096).into(),
        ..text_message(1, with_user(2), "x")
    };
    let mut waiting = Vec::new();
    for n in 0..40 {
        waiting.push(sender.send(Command::MsgData, &big(n)).await);
    }
    let failed = async |process: &Process| {
        Metrics::read(process)
            .await
            .unwrap()
            .sum("im_db_proxy_failed_messages", "")
    };
    wait::until(
        "messages that are given up",
        Duration::from_secs(30),
        || async { (failed(&process).await >= 10.0).then_some(()) },
    )
    .await
    .unwrap();
    let acks = sender
        .settle()
        .await
        .iter()
        .filter(|frame| frame.command() == Some(Command::MsgDataAck))
        .map(|frame| body::<ImMsgDataAck>(frame).msg_id)
        .collect::<Vec<_>>();
    assert!(
        acks.len() + 10 <= waiting.len(),
        "{} of 40 were acknowledged",
        acks.len()
    );
    let metrics = Metrics::read(&process).await.unwrap();
    assert!(metrics.sum("im_db_proxy_store_errors", "") > 0.0);
    let log = process.log().to_lowercase();
    assert!(
        log.contains("full") || log.contains("too large") || log.contains("disk"),
        "{log}"
    );
    // Reading still works.
    let newest = crate::history::ids(&mut receiver, with_user(1), 0, 1).await[0];
    assert!(newest as usize >= 10 + acks.len());

    limit_files(process.pid(), None);
    let ack = sender.say(with_user(2), "after").await;
    let stored = crate::history::ids(&mut receiver, with_user(1), 0, 200).await;
    assert_eq!(stored[0], ack.msg_id);
    assert_eq!(
        stored,
        (1..=ack.msg_id).rev().collect::<Vec<_>>(),
        "dense from 1"
    );
    assert!(
        acks.iter().all(|id| stored.contains(id)),
        "acknowledged and gone"
    );
    assert!(process.terminate().await.unwrap().success());
}
