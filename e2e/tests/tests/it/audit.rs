//! What administrators change is in the log: who, what, and what came of it (S-92).

use serde_json::Value;

use crate::support::*;

/// Lines about administration in the log of db-proxy, in order.
fn lines(platform: &mut Platform) -> Vec<Value> {
    let log = platform.process("all").unwrap().log();
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "administration")
        .collect()
}

#[tokio::test]
async fn every_change_of_an_administrator_leaves_one_line_with_actor_call_subject_and_outcome() {
    let mut platform = own_platform(3, &["log.format=\"json\""]).await;
    let before = lines(&mut platform);
    assert_eq!(before.len(), 1, "the people were imported: {before:?}");
    assert_eq!(before[0]["call"], "ImportDirectory");
    assert_eq!(
        before[0]["subject"],
        "directory of 3 lines: 3 added, 0 changed, 0 unchanged"
    );
    let by = ["--actor", "Eva of operations"];
    let change = |args: &[&str]| platform.imd(&[args, &by].concat());
    change(&["admin", "user", "rename", "u1", "ann"]).unwrap();
    assert!(change(&["admin", "user", "rename", "u2", "ANN"]).is_err());
    change(&["admin", "user", "remove", "u2", "--dry-run"]).unwrap();
    change(&["admin", "group", "create", "Team", "--owner", "ann"]).unwrap();
    // Who only looks leaves no line.
    change(&["admin", "user", "list"]).unwrap();
    let unseen = [
        "admin",
        "user",
        "rename",
        "ann",
        "eva",
        "--actor",
        "a\u{1b}[2J",
    ];
    let refused = platform.imd(&unseen).unwrap_err().to_string();
    assert!(refused.contains("visible characters"), "{refused}");

    let expected = [
        ("RenameUser", "user u1 to ann", false, "done"),
        ("RenameUser", "user u2 to ANN", false, "refused"),
        ("RemoveUser", "user u2", true, "done"),
        ("CreateGroup", "group \"Team\" of user ann", false, "done"),
    ];
    let found = lines(&mut platform).split_off(1);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (line, (call, subject, dry_run, outcome)) in found.iter().zip(expected) {
        assert_eq!(line["actor"], "Eva of operations");
        assert_eq!(line["secret"], 1, "the first value of the secret");
        assert!(line["address"].as_str().unwrap().contains(':'), "{line}");
        assert_eq!(
            (&line["call"], &line["subject"], &line["outcome"]),
            (&call.into(), &subject.into(), &outcome.into())
        );
        assert_eq!(line["dry_run"], dry_run);
    }
    assert!(found[1]["reason"].as_str().unwrap().contains("\"ann\""));
    assert_eq!(found[0]["reason"], "");
}
