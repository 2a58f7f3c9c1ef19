//! How processes start and stop (S-18, S-88, S-90, S-92, S-93, S-99).

use std::net::TcpListener;
use std::process::ExitStatus;
use std::time::Duration;

use im_e2e::gauges::Metrics;
use im_e2e::platform::{own_address, ports};
use im_e2e::process::{Process, Spec, imd_binary, run_imd};
use im_e2e::wait;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::support::*;

/// Starts `imd all-in-one` in a folder, which is not expected to work, and returns how it ended and
/// what it said.
async fn failed_start(args: &[&str], files: &[(&str, &str)]) -> (ExitStatus, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let place = dir.path().display().to_string();
    let args = args.iter().map(|arg| arg.replace("DIR", &place)).collect();
    let spec = Spec {
        name: "broken".to_owned(),
        args,
        dir: dir.path().to_path_buf(),
        env: Vec::new(),
    };
    let mut process = Process::start(spec).unwrap();
    let status = process.ended(Duration::from_secs(30)).await.unwrap();
    (status, process.log())
}

/// S-88: an occupied port ends the start at once with a message that names it, whichever it is.
#[tokio::test]
async fn an_occupied_port_ends_the_start_and_is_named() {
    let ports = [
        ports::LOGIN_HTTP,
        ports::LOGIN_BINARY,
        ports::MSFS,
        ports::MSG,
        ports::DB_PROXY,
        ports::DB_PROXY_ADMIN,
    ];
    for port in ports {
        let address = own_address().to_string();
        let _taken = TcpListener::bind((address.as_str(), port)).unwrap();
        let (status, log) = failed_start(
            &["all-in-one", "--data-dir", "DIR/data", "--bind", &address],
            &[],
        )
        .await;
        assert!(!status.success(), "port {port}");
        assert!(
            log.contains(&format!("{address}:{port}")),
            "port {port} in {log}"
        );
    }
}

/// S-90: an unknown or missing key, a bad value or a file that is none: a message that names the key,
/// exit code other than 0, nothing started.
#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_named() {
    let start = [
        "all-in-one",
        "--data-dir",
        "DIR/data",
        "--bind",
        "127.0.0.1",
    ];
    let with = |more: &[&'static str]| -> Vec<&'static str> { [&start[..], more].concat() };
    let config = with(&["--config", "DIR/imd.toml"]);
    let cases: [(Vec<&str>, &str, &str); 6] = [
        (with(&["--set", "msg.no_such_key=1"]), "", "no_such_key"),
        (config.clone(), "[msg]\nno_such_key = 1\n", "no_such_key"),
        (config.clone(), "[no_such_table]\n", "no_such_table"),
        (config.clone(), "[msg]\nidle_pc = \"1ms\"\n", "idle_pc"),
        (config, "[msg]\nidle_pc = \"long\"\n", "idle_pc"),
        (with(&["--config", "DIR/missing.toml"]), "", "missing.toml"),
    ];
    for (args, file, named) in cases {
        let (status, log) = failed_start(&args, &[("imd.toml", file)]).await;
        assert!(!status.success(), "{args:?}");
        assert!(log.contains(named), "{named} is named in {log}");
    }
    let (status, log) = failed_start(&["msg"], &[]).await;
    assert!(!status.success());
    assert!(
        log.contains("secret_file"),
        "a role needs the secret: {log}"
    );
    // Environment variables of the same keys.
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec {
        name: "env".to_owned(),
        args: vec!["config".to_owned(), "check".to_owned()],
        dir: dir.path().to_path_buf(),
        env: vec![("IMD_MSG__NO_SUCH_KEY".to_owned(), "1".to_owned())],
    };
    let output = std::process::Command::new(imd_binary().unwrap())
        .args(&spec.args)
        .envs(spec.env)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .to_lowercase()
            .contains("no_such_key")
    );
    run_imd(dir.path(), &["config", "check"]).unwrap();
    run_imd(dir.path(), &["config", "schema"]).unwrap();
}

/// S-18: who presents no or a wrong secret is refused with a message that says so, counted and logged
/// once; what the right one may do is not done.
#[tokio::test]
async fn a_wrong_secret_is_refused_counted_and_told() {
    let mut platform = own_platform(2, &[]).await;
    let wrong = platform.dir().join("wrong");
    std::fs::write(&wrong, "not the secret of this installation\n").unwrap();
    let server = platform.admin_address().unwrap().to_string();
    let wrong = wrong.display().to_string();
    let data = platform.dir().display().to_string();
    for _ in 0..5 {
        let refused = run_imd(
            platform.dir(),
            &[
                "admin",
                "user",
                "disable",
                "u1",
                "--server",
                &server,
                "--secret-file",
                &wrong,
            ],
        );
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("secret"), "{message}");
    }
    let refused = run_imd(
        platform.dir(),
        &[
            "admin",
            "user",
            "list",
            "--server",
            &server,
            "--data-dir",
            &data,
        ],
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("secret"),
        "there is no secret there: {message}"
    );

    let address = platform.msg_address("all");
    Terminal::login(address, 1, Windows).await;
    let process = &*platform.process("all").unwrap();
    let metrics = Metrics::read(process).await.unwrap();
    assert!(metrics.sum("im_link_refused_secrets", "") >= 5.0);
    let lines = process
        .log()
        .lines()
        .filter(|line| line.contains("without the secret"))
        .count();
    assert_eq!(lines, 1, "one line for one reason: {}", process.log());
    // The file that all-in-one made is for its owner only.
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(platform.secret_file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// S-93: at SIGTERM a busy server stops within 30 s with exit code 0, and everything it acknowledged
/// is there when it comes again.
#[tokio::test]
async fn a_stop_loses_nothing_that_was_acknowledged() {
    let mut platform = own_platform(2, &["msg.rate_limit=0"]).await;
    let address = platform.msg_address("all");
    let mut sender = Terminal::login(address, 1, Windows).await;
    let text = text_message(1, with_user(2), "x");
    let mut seqs = std::collections::VecDeque::new();
    let mut acked = 0;
    let begin = Instant::now();
    loop {
        // Sixteen in flight at any time until the server closes.
        let seq = sender.next_seq();
        let frame = im_codec::encode(Command::MsgData, seq, &text);
        if sender.raw().send_bytes(&frame).await.is_err() {
            break;
        }
        seqs.push_back(seq);
        if acked == 200 {
            platform
                .process("all")
                .unwrap()
                .signal(Signal::SIGTERM)
                .unwrap();
        }
        if seqs.len() > 16 {
            match sender.raw().recv(WAIT).await {
                Ok(frame) if frame.command() == Some(Command::MsgDataAck) => acked += 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "the server goes on and on"
        );
    }
    while let Ok(frame) = sender.raw().recv(WAIT).await {
        acked += u32::from(frame.command() == Some(Command::MsgDataAck));
    }
    let status = platform
        .process("all")
        .unwrap()
        .ended(Duration::from_secs(30))
        .await
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(acked > 200);
    platform.kill_and_restart("all").await.unwrap();
    let mut again = Terminal::login(address, 1, Windows).await;
    let newest = crate::history::ids(&mut again, with_user(2), 0, 1).await;
    assert!(
        newest[0] >= acked,
        "{acked} acknowledged, {newest:?} stored"
    );
}

/// S-93: a second signal ends a stop that takes its time.
#[tokio::test]
async fn a_second_signal_stops_at_once() {
    // Two thousand connections that are closed one per second.
    let settings = [
        "msg.drain_rate=1",
        "msg.drain_time=5m",
        "process.stop_timeout=10m",
    ];
    let mut platform = own_platform(1, &settings).await;
    let address = platform.msg_address("all");
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut terminal = Terminal::connect(address).await;
        terminal.settle().await;
        held.push(terminal);
    }
    let process = platform.process("all").unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    wait::until("the stop to begin", wait::SOON, || async {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await
    .unwrap();
    assert!(
        process.ended(Duration::from_millis(300)).await.is_err(),
        "it takes its time"
    );
    let begin = Instant::now();
    process.signal(Signal::SIGTERM).unwrap();
    process.ended(Duration::from_secs(3)).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(3));
}

/// S-92: neither passwords, nor their digests, nor tokens, nor secrets, nor texts are in any log line,
/// at the most talkative level; each failed login leaves a line with the reason.
#[tokio::test]
async fn logs_hold_no_passwords_tokens_or_texts() {
    let mut platform = own_platform(2, &["log.filter=\"trace\"", "log.format=\"json\""]).await;
    let address = platform.msg_address("all");
    let token = "feedfacecafebeef".repeat(4);
    let wrong = Password::clear("hunter2 wrong");
    let mut phone = Terminal::login(address, 1, Ios).await;
    let request = im_proto_teamtalk::login::ImDeviceTokenReq {
        user_id: 0,
        device_token: token.clone(),
        client_type: None,
        attach_data: None,
    };
    let _: im_proto_teamtalk::login::ImDeviceTokenRsp =
        phone.ask(Command::DeviceTokenReq, &request).await;
    phone.say(with_user(2), "a very private text").await;
    let mut refused = Terminal::connect(address).await;
    let login = im_proto_teamtalk::login::ImLoginReq {
        password: wrong.as_wire().to_owned(),
        ..login_request(2, Windows)
    };
    assert_eq!(refused.try_login(&login).await.result_code, 6);
    let secret = std::fs::read_to_string(platform.secret_file()).unwrap();
    let cipher = String::from_utf8(
        text_message(1, with_user(2), "a very private text")
            .msg_data
            .to_vec(),
    )
    .unwrap();
    platform.process("all").unwrap().terminate().await.unwrap();
    let log = platform.process("all").unwrap().log();
    assert!(log.len() > 1_000, "trace is on");
    for line in log.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        assert!(json.is_object(), "a line of JSON: {line}");
    }
    let digest = Password::clear(im_e2e::people::PASSWORD);
    for (what, secret) in [
        ("password", im_e2e::people::PASSWORD),
        ("password digest", digest.as_wire()),
        ("wrong password digest", wrong.as_wire()),
        ("token", &token),
        ("secret", secret.trim()),
        ("text", "a very private text"),
        ("cipher text", &cipher),
    ] {
        assert!(
            !log.contains(&format!("\"{secret}")) && !log.contains(&format!("={secret}")),
            "{what}"
        );
        if secret.len() > 8 {
            assert!(!log.contains(secret), "the log holds a {what}");
        }
    }
    let refused = log.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "a login was refused").then_some(line)
    });
    let refused = refused.expect("the failed login left a line");
    assert_eq!(
        (&refused["user"], &refused["reason"]),
        (&"u2".into(), &"wrong password".into())
    );
    assert!(refused["address"].as_str().unwrap().starts_with("127."));
}
