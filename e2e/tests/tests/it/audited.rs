//! The audit log and idempotency keys over real processes, their kills, and a file that somebody edits.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::*;

/// Keys, and how often the change is asked for under each.
const KEYS: usize = 10;
const WAVES: usize = 10;
const WAVE: usize = 10;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Asks for a group, and does not wait for the answer.
fn ask(platform: &Platform, name: &str) -> Child {
    Command::new(im_e2e::process::imd_binary().unwrap())
        .args(["admin", "--json", "group", "create", name, "--owner", "u1"])
        .args(["--idempotency-key", name, "--server"])
        .arg(platform.admin_address().unwrap().to_string())
        .arg("--secret-file")
        .arg(platform.admin_secret_file())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The ids that those who were answered were told.
fn told(asked: Vec<Child>) -> Vec<u64> {
    let outputs = asked
        .into_iter()
        .map(|child| child.wait_with_output().unwrap());
    let done = outputs.filter(|output| output.status.success());
    done.map(|output| {
        json(std::str::from_utf8(&output.stdout).unwrap())["id"]
            .as_u64()
            .unwrap()
    })
    .collect()
}

/// C15: a change that is asked for 1,000 times while db-proxy is killed.
#[tokio::test]
async fn a_change_repeated_a_thousand_times_over_kills_of_db_proxy_is_one_change_and_one_row() {
    let mut platform = own_platform(1, &[]).await;
    let mut ids = Vec::new();
    for key in 0..KEYS {
        let name = format!("group-{key}");
        let mut first: Vec<Child> = (0..WAVE).map(|_| ask(&platform, &name)).collect();
        if key % 2 == 0 {
            // Some are answered before the end, others are on their way.
            first[0].wait().unwrap();
        }
        platform.process("all").unwrap().kill9().unwrap();
        platform.kill_and_restart("all").await.unwrap();
        let mut answers = told(first);
        for _ in 1..WAVES {
            answers.extend(told((0..WAVE).map(|_| ask(&platform, &name)).collect()));
        }
        let id = *answers.last().expect("somebody is answered");
        assert!(answers.iter().all(|one| *one == id), "{name}: {answers:?}");
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), KEYS);
    let groups = json(&platform.imd(&["admin", "--json", "group", "list"]).unwrap());
    assert_eq!(groups.as_array().unwrap().len(), KEYS);
    let list = ["audit", "--json", "list", "--action", "CreateGroup"];
    let rows = json(&platform.imd(&list).unwrap());
    assert_eq!(rows.as_array().unwrap().len(), KEYS);
    platform.imd(&["audit", "verify"]).unwrap();

    let other = ["admin", "group", "create", "other", "--owner", "u1"];
    let refused = platform.imd(&[&other[..], &["--idempotency-key", "group-1"]].concat());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("take a new key for each"), "{refused}");
}

/// C16: somebody edits a row in the file.
#[tokio::test]
async fn a_row_that_was_edited_in_the_file_is_named() {
    let mut platform = own_platform(3, &[]).await;
    for (name, actor) in [("a", "ann"), ("b", "mallory-was-here"), ("c", "ann")] {
        let create = [
            "admin", "group", "create", name, "--owner", "u1", "--actor", actor,
        ];
        platform.imd(&create).unwrap();
    }
    let good = json(&platform.imd(&["audit", "--json", "verify"]).unwrap());
    let last = good["last"].as_u64().unwrap();
    assert_eq!(
        (&good["good"], last),
        (&Value::Bool(true), 4),
        "an import and three groups"
    );
    let noted = format!("{last}:{}", good["hash"].as_str().unwrap());
    platform
        .imd(&["audit", "verify", "--from", &noted])
        .unwrap();

    platform.process("all").unwrap().terminate().await.unwrap();
    let file = platform.data_dir().join("im.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let row = b"mallory-was-here";
    let mut edited = 0;
    for at in 0..bytes.len() - row.len() {
        if bytes[at..].starts_with(row) {
            bytes[at..at + row.len()].copy_from_slice(b"somebody-else-  ");
            edited += 1;
        }
    }
    assert!(edited > 0, "the row is in the file");
    std::fs::write(&file, bytes).unwrap();
    platform.kill_and_restart("all").await.unwrap();

    let mut program = Command::new(im_e2e::process::imd_binary().unwrap());
    program.args(["audit", "--json", "verify", "--data-dir"]);
    let told = program.arg(platform.data_dir()).output().unwrap();
    assert!(!told.status.success());
    let told = json(std::str::from_utf8(&told.stdout).unwrap());
    assert_eq!(
        (&told["good"], told["bad"].as_u64(), told["reason"].as_str()),
        (&Value::Bool(false), Some(3), Some("it was edited"))
    );
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_by_hand() {
    let platform = own_platform(1, &[]).await;
    let create = [
        "token",
        "create",
        "wiki",
        "--scope",
        "users:read",
        "--days",
        "7",
    ];
    let token = platform.imd(&create).unwrap();
    let parts: Vec<&str> = token.trim().split('_').collect();
    assert_eq!(
        (parts[0], parts[1], parts[2].len()),
        ("imt", "1", 43),
        "{token}"
    );
    let wrong = ["token", "create", "wiki", "--scope", "users:eat"];
    let wrong = platform.imd(&wrong).unwrap_err().to_string();
    assert!(wrong.contains("users:read, users:write"), "{wrong}");

    let list = || json(&platform.imd(&["token", "--json", "list"]).unwrap());
    let listed = list();
    assert_eq!(listed[0]["owner"], "wiki");
    assert_eq!(
        listed[0]["expires"].as_u64().unwrap() - listed[0]["created"].as_u64().unwrap(),
        7 * 86_400
    );
    assert!(
        !listed.to_string().contains(parts[2]),
        "the secret is told once"
    );
    platform.imd(&["token", "revoke", "1"]).unwrap();
    assert_ne!(list()[0]["revoked"], 0);
    let trail = platform
        .imd(&["audit", "--json", "list", "--target", "token 1"])
        .unwrap();
    assert!(!trail.contains(parts[2]));
    let actions: Vec<Value> = json(&trail)
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].clone())
        .collect();
    assert_eq!(actions, ["RevokeToken", "CreateToken"]);
}
