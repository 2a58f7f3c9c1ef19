//! The program itself: what it prints, and its exit codes.

#![allow(
    clippy::unwrap_used,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

use std::process::{Command, Output};

use serde_json::Value;

/// Runs it without any cluster.
fn run(args: &[&str]) -> Output {
    // The shell through which crates are compiled drops variables of such names as cargo has for it.
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test.ancestors().nth(2).unwrap().join("kubectl-im"));
    command.args(args).env_clear();
    command.env("KUBECONFIG", "/nowhere/kubeconfig");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_manifest_is_judged_without_a_cluster_by_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.yaml");
    let path = file.to_str().unwrap();
    for (spec, code, part) in [
        ("{version: 1.2.3}", 0, ""),
        (
            "{version: 1.2.3, roles: {msg: {replicaz: 3}}}",
            3,
            "demo: spec.roles.msg.replicaz: unknown",
        ),
    ] {
        let head = "apiVersion: imcluster.io/v1alpha1\nkind: ImCluster\nmetadata: {name: demo}\n";
        std::fs::write(&file, format!("{head}spec: {spec}\n")).unwrap();
        let output = run(&["validate", "-f", path]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "{said}");
        let output = run(&["validate", "-f", path, "-o", "json"]);
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdict["valid"], code == 0);
    }
    std::fs::write(&file, "kind: ConfigMap\n").unwrap();
    assert_eq!(run(&["validate", "-f", path]).status.code(), Some(1));
}

#[test]
fn a_backup_that_is_none_has_no_plan_and_one_that_is_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.backup");
    let path = file.to_str().unwrap();
    let args = ["restore", "--plan", path, "-n", "chat", "--image", "i:1"];
    let mut head = vec![0_u8; 512];
    head[..16].copy_from_slice(b"SQLite format 3\0");
    head[16] = 2;
    head[31] = 1;
    for (bytes, code) in [(&head[..], 0), (&head[..511], 3), (b"text", 3)] {
        std::fs::write(&file, bytes).unwrap();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let plan = text(&output.stdout);
        assert_eq!(plan.contains("attach --stdin restored-restore"), code == 0);
    }
}

#[test]
fn what_cannot_be_understood_and_what_cannot_be_reached_have_codes_of_their_own() {
    assert_eq!(run(&["drain"]).status.code(), Some(2));
    assert_eq!(
        run(&["restart", "msg", "--timeout", "0"]).status.code(),
        Some(2)
    );
    assert_eq!(run(&["status"]).status.code(), Some(1));
    let help = text(&run(&["status", "--help"]).stdout);
    assert!(help.contains("kubectl im status demo -n chat"), "{help}");
}
