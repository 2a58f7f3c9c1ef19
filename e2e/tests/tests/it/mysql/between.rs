//! Between our own stores: what people had on the embedded one they find on MariaDB, and on the way back (S-67).

use im_e2e::process::imd_binary;
use serde_json::Value;

use super::moving::clear_text;
use super::*;
use crate::api::calls::get;
use crate::history::list;

/// `imd COMMAND` on a store, and what it said, as JSON; its exit code has to be this one.
fn tool(dir: &Path, command: &[&str], store: &[String], code: i32) -> (Value, String) {
    let sets = store.iter().flat_map(|set| ["--set", set.as_str()]);
    let mut program = std::process::Command::new(imd_binary().unwrap());
    let ended = program
        .args(command)
        .args(sets)
        .arg("--json")
        .current_dir(dir)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(code), "{command:?}: {said}");
    (
        serde_json::from_slice(&ended.stdout).unwrap_or(Value::Null),
        said,
    )
}

fn rows(report: &Value, section: &str) -> u64 {
    let sections = report["sections"].as_array().unwrap();
    let found = sections.iter().find(|found| found["name"] == section);
    found.unwrap()["rows"].as_u64().unwrap()
}

/// Moves everything, and says how many messages that was.
fn moved(dir: &Path, name: &str, from: &[String], to: &[String]) -> u64 {
    let (exported, said) = tool(dir, &["export", "--to", name], from, 0);
    assert!(said.contains("reading"), "{said}");
    let (imported, _) = tool(dir, &["import", "--from", name], to, 0);
    assert_eq!(imported["sections"], exported["sections"]);
    let compared = &imported["comparison"];
    assert_eq!(compared["sections"], serde_json::json!([]), "{compared}");
    assert_eq!(compared["conversations"], 0);
    rows(&imported, "message")
}

/// What person 2 finds of what 1 and 2 said, and with the token that a back office has.
async fn finds(settings: &[String], token: &str, group: u32, texts: &[&str]) -> Platform {
    let mut platform = Platform::all_in_one(options(0, settings)).await.unwrap();
    let msg = platform.msg_address("all");
    // The old password.
    let mut two = Terminal::login(msg, 2, Windows).await;
    let history = list(&mut two, with_user(1), 0, 20).await.msg_list;
    let found = history.iter().rev();
    let found: Vec<String> = found.map(|message| clear_text(&message.msg_data)).collect();
    assert_eq!(found, texts);
    let newest = u32::try_from(texts.len()).unwrap();
    assert_eq!(
        ids(&mut two, with_user(1), 0, 20).await,
        (1..=newest).rev().collect::<Vec<_>>()
    );
    expect_unread(&mut two, with_user(1), newest - 1).await;
    expect_unread(&mut two, in_group(group), 3).await;
    assert_eq!(
        infos(&mut two, &[(group, 0)]).await[0].group_name,
        "group 组"
    );
    let api = platform.http_api_address("all");
    get("/api/v1/users/u1").token(token).expect(api, 200).await;
    // It goes on behind what was there.
    let mut one = Terminal::login(msg, 1, Windows).await;
    assert_eq!(one.say(with_user(2), "and now").await.msg_id, newest + 1);
    assert_eq!(text_of(&two.message().await), "and now");
    platform
}

async fn ended(platform: &mut Platform) {
    let process = platform.process("all").unwrap();
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn everything_moves_to_mariadb_and_back() {
    let mariadb = MariaDb::start().await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let sqlite = |name: &str| {
        vec![format!(
            "store.url=\"sqlite://{}\"",
            dir.join(name).display()
        )]
    };
    let (first, server, last) = (sqlite("first"), mariadb.settings(), sqlite("last"));

    // There is nothing yet: every step is missing, and nothing is made by looking.
    for store in [&first, &server] {
        let (state, _) = tool(dir, &["migrate", "status"], store, 3);
        assert_eq!(state["found"], Value::Null);
        let (plan, _) = tool(dir, &["migrate", "plan"], store, 0);
        assert_eq!(
            plan["missing"].as_array().unwrap().len(),
            usize::try_from(plan["needed"].as_u64().unwrap()).unwrap()
        );
        let (_, said) = tool(dir, &["export", "--to", "none"], store, 1);
        assert!(said.contains("there is no store at"), "{said}");
    }
    let (up, said) = tool(dir, &["migrate", "up"], &server, 0);
    assert_eq!(up["found"], up["needed"]);
    assert!(said.contains("make the table message"), "{said}");
    tool(dir, &["migrate", "up"], &first, 0);

    let mut platform = Platform::all_in_one(options(4, &first)).await.unwrap();
    let token = platform.token(&["users:read"], &[]).unwrap();
    let msg = platform.msg_address("all");
    let mut one = Terminal::login(msg, 1, Windows).await;
    let mut two = Terminal::login(msg, 2, Windows).await;
    for text in ["one 你好", "two"] {
        one.say(with_user(2), text).await;
    }
    read(&mut two, with_user(1), 1).await;
    let group = make_group(&mut one, "group 组", &[1, 2, 3]).await;
    for n in 0..3 {
        one.say(in_group(group), &format!("to all {n}")).await;
    }
    expect_unread(&mut two, in_group(group), 3).await;
    expect_unread(&mut two, with_user(1), 1).await;
    // Whoever uses the store is named.
    let (_, said) = tool(dir, &["export", "--to", "early"], &first, 1);
    assert!(said.contains("another process (pid "), "{said}");
    let (_, said) = tool(dir, &["migrate", "up"], &first, 1);
    assert!(said.contains("another process (pid "), "{said}");
    tool(dir, &["migrate", "status"], &first, 0);
    ended(&mut platform).await;
    drop(platform);

    assert_eq!(moved(dir, "there", &first, &server), 5);
    let (_, said) = tool(dir, &["import", "--from", "there"], &server, 1);
    assert!(said.contains("has rows already"), "{said}");
    let mut platform = finds(&server, &token, group, &["one 你好", "two"]).await;
    // It takes some seconds to know that somebody beats.
    let server = server.as_slice();
    std::thread::scope(|threads| {
        for command in [&["export", "--to", "early"][..], &["migrate", "up"]] {
            threads.spawn(move || {
                let (_, said) = tool(dir, command, server, 1);
                assert!(said.contains("have the store alone: "), "{said}");
            });
        }
    });
    ended(&mut platform).await;
    drop(platform);
    // The archive is not what the store holds any more.
    let (report, _) = tool(
        dir,
        &["import", "--from", "there", "--verify-only"],
        server,
        1,
    );
    assert_eq!(
        report["comparison"]["examples"][0],
        serde_json::json!(["people 1 and 2", 2, 3])
    );

    // A cut one leaves nothing.
    assert_eq!(moved(dir, "back", server, &last), 6);
    let whole = std::fs::read(dir.join("back")).unwrap();
    std::fs::write(dir.join("cut"), &whole[..whole.len() - 1]).unwrap();
    let other = sqlite("other");
    let (_, said) = tool(dir, &["import", "--from", "cut"], &other, 1);
    assert!(said.contains("it is cut off"), "{said}");
    let (report, _) = tool(dir, &["import", "--from", "back"], &other, 0);
    assert_eq!(rows(&report, "message"), 6);
    drop(finds(&last, &token, group, &["one 你好", "two", "and now"]).await);
}
