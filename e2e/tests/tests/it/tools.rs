//! The command-line tools against a running platform: backup, administration, the terminal client
//! (S-107).

use std::io::Write as _;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use im_e2e::process::{imd_binary, run_imd};
use im_proto_teamtalk::base::GroupVersionInfo;
use im_proto_teamtalk::group::{ImNormalGroupListReq, ImNormalGroupListRsp};
use im_proto_teamtalk::login::ImKickUser;

use crate::restored::Restored;
use crate::support::*;

/// A backup taken while people chat holds everything that was acknowledged before it began, and a
/// platform that starts from it shows it.
#[tokio::test]
async fn a_backup_while_people_chat_is_complete_when_restored() {
    let mut platform = own_platform(2, &["msg.rate_limit=0"]).await;
    let address = platform.msg_address("all");
    let mut a = Terminal::login(address, 1, Windows).await;
    let _b = Terminal::login(address, 2, Windows).await;
    for n in 1..=100 {
        assert_eq!(a.say(with_user(2), &format!("text {n}")).await.msg_id, n);
    }
    let copy = platform.dir().join("copy.db").display().to_string();
    let data = platform.data_dir().display().to_string();
    let (dir, to) = (platform.dir().to_path_buf(), copy.clone());
    let backup = tokio::task::spawn_blocking(move || {
        run_imd(&dir, &["backup", "--data-dir", &data, "--to", &to])
    });
    let mut n = 100;
    while !backup.is_finished() {
        n += 1;
        assert_eq!(a.say(with_user(2), &format!("text {n}")).await.msg_id, n);
    }
    backup.await.unwrap().unwrap();
    let again = run_imd(
        platform.dir(),
        &[
            "backup",
            "--data-dir",
            &platform.data_dir().display().to_string(),
            "--to",
            &copy,
        ],
    );
    assert!(again.is_err(), "a backup overwrites nothing");

    let restored = Restored::start(platform.dir(), "restored", &copy, &[]).await;
    let place = platform.dir().join("restored").display().to_string();
    let twice = run_imd(
        platform.dir(),
        &["restore", "--data-dir", &place, "--from", &copy],
    );
    assert!(twice.is_err(), "a restore overwrites nothing");
    let mut reader = Terminal::login(restored.address, 2, Windows).await;
    let ids = crate::history::ids(&mut reader, with_user(1), 100, 100).await;
    assert_eq!(ids, (1..=100).rev().collect::<Vec<_>>());
    assert_eq!(
        crate::history::unread(&mut reader, with_user(1))
            .await
            .map(|info| info.unread_cnt >= 100),
        Some(true)
    );
}

/// S-10: who is disabled is out within two seconds and stays out; a new password counts at
/// once; sessions can be listed and ended.
#[tokio::test]
async fn administrators_end_sessions_and_change_accounts() {
    let shared = platform().await;
    let [a, b] = users();
    let (a_name, b_name) = (format!("u{a}"), format!("u{b}"));
    let mut pc = shared.pc(a).await;
    let mut other = shared.pc(b).await;
    let listed: serde_json::Value = serde_json::from_str(
        &shared
            .imd(&["admin", "session", "list", "--json", "--user", &b_name])
            .unwrap(),
    )
    .unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");

    shared.imd(&["admin", "user", "disable", &a_name]).unwrap();
    let begin = tokio::time::Instant::now();
    pc.closed().await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let mut refused = Terminal::connect(shared.address).await;
    assert_eq!(
        refused
            .try_login(&login_request(a, Windows))
            .await
            .result_code,
        6
    );
    shared.imd(&["admin", "user", "enable", &a_name]).unwrap();
    shared.pc(a).await;

    shared.imd(&["admin", "session", "kick", &b_name]).unwrap();
    let kick: ImKickUser = other.push(Command::KickUser).await;
    assert_eq!(kick.user_id, b);
    other.closed().await;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "a new one\n").unwrap();
    let file = file.display().to_string();
    shared
        .imd(&[
            "admin",
            "user",
            "set-password",
            &b_name,
            "--password-file",
            &file,
        ])
        .unwrap();
    let mut refused = Terminal::connect(shared.address).await;
    assert_eq!(
        refused
            .try_login(&login_request(b, Windows))
            .await
            .result_code,
        6
    );
    let request = im_proto_teamtalk::login::ImLoginReq {
        password: Password::clear("a new one").as_wire().to_owned(),
        ..login_request(b, Windows)
    };
    let mut accepted = Terminal::connect(shared.address).await;
    assert_eq!(accepted.try_login(&request).await.result_code, 0);
}

/// 0x0401: fixed groups are made by administrators and listed with their version.
#[tokio::test]
async fn administrators_make_fixed_groups() {
    let shared = platform().await;
    let [a, b, c] = users();
    let name = |user: u32| format!("u{user}");
    let mut pc = shared.pc(b).await;
    let made = shared
        .imd(&[
            "admin",
            "group",
            "create",
            "fixed",
            "--owner",
            &name(a),
            "--member",
            &name(b),
            "--json",
        ])
        .unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let group = u32::try_from(made["id"].as_u64().unwrap()).unwrap();
    let list = async |pc: &mut Terminal| {
        let request = ImNormalGroupListReq {
            user_id: 0,
            attach_data: None,
        };
        let answer: ImNormalGroupListRsp = pc.ask(Command::NormalGroupListReq, &request).await;
        answer.group_version_list
    };
    assert_eq!(
        list(&mut pc).await,
        [GroupVersionInfo {
            group_id: group,
            version: 1
        }]
    );
    shared
        .imd(&["admin", "group", "add", &group.to_string(), &name(c)])
        .unwrap();
    assert_eq!(
        list(&mut pc).await,
        [GroupVersionInfo {
            group_id: group,
            version: 2
        }]
    );
    // Only its creator and administrators change it.
    let answer = change_members(&mut pc, group, GroupModifyType::Del, &[b]).await;
    assert_eq!(
        answer.result_code, 1,
        "members of a fixed group cannot leave"
    );
    pc.say(in_group(group), "to the fixed group").await;
}

/// Runs a script of these lines; whether it succeeded, and what it printed.
fn chat(url: &str, user: &str, password_file: &str, lines: &[&str]) -> (bool, String) {
    let mut child = Program::new(imd_binary().unwrap())
        .args([
            "script",
            user,
            "--server",
            url,
            "--password-file",
            password_file,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        // It may have ended because of a line before.
        drop(writeln!(input, "{line}"));
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// S-107: the terminal client can be scripted: it sends, receives, expects and shows history, and ends
/// with an error when an expectation fails or a password is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_client_can_be_scripted() {
    let shared = platform().await;
    let [a, b] = users();
    let dir = tempfile::tempdir().unwrap();
    let right = dir.path().join("right");
    let wrong = dir.path().join("wrong");
    std::fs::write(&right, im_e2e::people::PASSWORD).unwrap();
    std::fs::write(&wrong, "something else").unwrap();
    let (right, wrong) = (right.display().to_string(), wrong.display().to_string());
    let (a_name, b_name) = (format!("u{a}"), format!("u{b}"));

    let run = |user: &str, password: &str, lines: Vec<String>| {
        let (user, password) = (user.to_owned(), password.to_owned());
        let url = shared.url.clone();
        tokio::task::spawn_blocking(move || {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            chat(&url, &user, &password, &lines)
        })
    };
    let mut friend = shared.pc(b).await;
    let script = run(
        &a_name,
        &right,
        vec![
            format!("/with {b_name}"),
            "你好 from the script".to_owned(),
            "/expect the answer 20".to_owned(),
            format!("/create team {b_name}"),
            "to the team".to_owned(),
            "/quit".to_owned(),
        ],
    );
    let first = friend.message().await;
    assert_eq!(text_of(&first), "你好 from the script");
    friend.say(with_user(a), "here is the answer").await;
    let second = friend.message().await;
    assert_eq!(text_of(&second), "to the team");
    assert_eq!(second.msg_type, i32::from(MsgType::GroupText));
    let (success, text) = script.await.unwrap();
    assert!(success, "{text}");
    assert!(text.contains("here is the answer"), "{text}");

    let lines = vec![format!("/with {b_name}"), "/history 5".to_owned()];
    let (success, text) = run(&a_name, &right, lines).await.unwrap();
    assert!(success, "{text}");
    assert!(
        text.contains("你好 from the script") && text.contains("here is the answer"),
        "{text}"
    );

    let lines = vec![
        format!("/with {b_name}"),
        "/expect what never comes 1".to_owned(),
    ];
    let (success, text) = run(&a_name, &right, lines).await.unwrap();
    assert!(!success, "{text}");
    let (success, text) = run(&a_name, &wrong, Vec::new()).await.unwrap();
    assert!(!success, "{text}");
    assert!(
        !text.contains("something else"),
        "no password on the screen: {text}"
    );
    let (success, text) = run(
        &a_name,
        &right,
        vec!["/with nobody-of-that-name".to_owned()],
    )
    .await
    .unwrap();
    assert!(!success, "{text}");
}

/// An import is idempotent by name, all or nothing, and names each bad line.
#[tokio::test]
async fn an_import_with_bad_lines_changes_nothing_and_names_them() {
    let mut platform = own_platform(0, &[]).await;
    let file = platform.dir().join("people.csv");
    std::fs::write(
        &file,
        "name,password,status\ngood,123456,active\nbad,123456,nonsense\nlast,123456,active\n",
    )
    .unwrap();
    let report = platform.import_file(&file).unwrap_err().to_string();
    assert!(
        report.contains('3') && report.contains("nonsense"),
        "{report}"
    );
    let users = platform.imd(&["admin", "user", "list", "--json"]).unwrap();
    let users: serde_json::Value = serde_json::from_str(&users).unwrap();
    assert_eq!(users.as_array().map(Vec::len), Some(0), "{users}");
    std::fs::write(
        &file,
        "name,password,nick\n李雷,123456,Li\nhan,123456,Han\n",
    )
    .unwrap();
    for _ in 0..2 {
        platform.import_file(&file).unwrap();
        let users = platform.imd(&["admin", "user", "list", "--json"]).unwrap();
        let users: serde_json::Value = serde_json::from_str(&users).unwrap();
        assert_eq!(users.as_array().map(Vec::len), Some(2), "{users}");
    }
    let address = platform.msg_address("all");
    let request = im_proto_teamtalk::login::ImLoginReq {
        user_name: "李雷".to_owned(),
        ..login_request(1, Windows)
    };
    let mut terminal = Terminal::connect(address).await;
    assert_eq!(terminal.try_login(&request).await.result_code, 0);
}
