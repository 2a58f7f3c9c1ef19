//! Starts that must not succeed, and what they say.

use std::net::TcpListener;

use crate::platform::PORTS;
use crate::world::{finish, imd};

/// EX_USAGE.
const BAD_CONFIGURATION: i32 = 64;

#[test]
fn an_unknown_key_ends_the_start_and_is_named_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("imd.toml");
    std::fs::write(&file, "[msg]\nrate_limt = 1\n").unwrap();

    let (code, _, said) = finish(imd(&["msg", "--config", file.to_str().unwrap()]));
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(
        said.contains("rate_limt") && said.contains("line 2"),
        "{said}"
    );

    let (code, _, said) = finish(imd(&["msg", "--set", "msg.rate_limt=1"]));
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(said.contains("msg.rate_limt"), "{said}");

    let mut command = imd(&["all-in-one", "--data-dir", dir.path().to_str().unwrap()]);
    command.env("IMD_MSG__RATE_LIMT", "1");
    let (code, _, said) = finish(command);
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(said.contains("IMD_MSG__RATE_LIMT"), "{said}");
}

#[test]
fn a_value_out_of_bounds_is_named_with_its_bounds() {
    let (code, _, said) = finish(imd(&["config", "check", "--set", "msg.sweep_interval=0s"]));
    assert_eq!(code, BAD_CONFIGURATION);
    assert_eq!(
        said,
        "imd: invalid configuration: msg.sweep_interval: must be 1ms to 1m, is 0s\n"
    );
    let (code, out, _) = finish(imd(&["config", "check"]));
    assert_eq!((code, out.as_str()), (0, "ok\n"));
}

#[test]
fn an_old_key_counts_with_one_line_and_not_beside_its_new_name() {
    let old = ["config", "show", "--set", "msg.idle_pc_ms=60000"];
    let (code, out, said) = finish(imd(&old));
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("idle_pc = \"1m\"\n"), "{out}");
    assert_eq!(
        said,
        "warning: flag --set msg.idle_pc_ms=60000: msg.idle_pc_ms is the old name of msg.idle_pc, which \
         the next version reads no more: write msg.idle_pc = \"1m\"\n"
    );
    let (code, _, said) = finish(imd(&[&old[..], &["--set", "msg.idle_pc=1m"]].concat()));
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(
        said.contains("both are set: leave msg.idle_pc_ms out"),
        "{said}"
    );
}

#[test]
fn what_a_command_needs_and_does_not_have_is_named() {
    let (code, _, said) = finish(imd(&["route"]));
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(
        said.contains("secret_file") && said.contains("--secret-file"),
        "{said}"
    );
    let (code, _, said) = finish(imd(&["all-in-one"]));
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(
        said.contains("data_dir") && said.contains("--data-dir"),
        "{said}"
    );
    let (code, _, said) = finish(imd(&["admin", "user", "list"]));
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(said.contains("--secret-file"), "{said}");
}

#[test]
fn two_keys_with_one_port_are_both_named_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data_dir = ["--data-dir", data.to_str().unwrap()];
    let clash = ["--set", "db_proxy.listen=127.0.0.1:10601"];
    for role in [&["all-in-one"][..], &["db-proxy", "--secret-file", "none"]] {
        let (code, _, said) = finish(imd(&[role, &data_dir, &clash].concat()));
        assert_eq!(code, BAD_CONFIGURATION, "{said}");
        assert_eq!(
            said,
            "imd: invalid configuration: db_proxy.admin_listen: must not be \"127.0.0.1:10601\": \
             db_proxy.listen is \"127.0.0.1:10601\"\n"
        );
        assert!(!data.exists());
    }
    let manifest = dir.path().join("demo.yaml");
    let text = "apiVersion: imcluster.io/v1alpha1\nkind: ImCluster\nmetadata: {name: demo}\n\
                spec: {version: 0.1.0, roles: {dbProxy: {ports: {grpc: 10601}}}}\n";
    std::fs::write(&manifest, text).unwrap();
    let from = ["all-in-one", "-f", manifest.to_str().unwrap()];
    let (code, _, said) = finish(imd(&[&from[..], &data_dir].concat()));
    assert_eq!(code, BAD_CONFIGURATION, "{said}");
    assert!(
        said.contains("db_proxy.admin_listen: must not be") && said.contains("db_proxy.listen is"),
        "{said}"
    );
}

#[test]
fn an_occupied_port_ends_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = occupied.local_addr().unwrap().port();
    for key in [
        "login.http_listen",
        "msg.listen",
        "file.client_listen",
        "http_api.listen",
        "db_proxy.listen",
        "db_proxy.admin_listen",
        "admin.listen",
    ] {
        let data = dir.path().join(key);
        let others = [
            "admin.listen",
            "login.http_listen",
            "login.client_listen",
            "msg.listen",
            "file.client_listen",
            "http_api.listen",
            "db_proxy.listen",
            "db_proxy.admin_listen",
        ];
        let mut command = imd(&["all-in-one", "--data-dir", data.to_str().unwrap()]);
        for other in others {
            command.arg("--set").arg(format!("{other}=127.0.0.1:0"));
        }
        command.arg("--set").arg(format!("{key}=127.0.0.1:{port}"));
        let (code, _, said) = finish(command);
        assert!(code != 0 && code != BAD_CONFIGURATION, "{key}: {code}");
        assert!(
            said.contains(&format!("listen on 127.0.0.1:{port}")),
            "{key}: {said}"
        );
    }
}

/// What stands in the log of a start that fails: the only line that says why, in each of these cases.
#[test]
fn a_start_that_fails_leaves_one_line_with_all_causes() {
    let dir = tempfile::tempdir().unwrap();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let start = |data: &str, more: &[&str]| {
        let mut command = imd(&["all-in-one", "--data-dir"]);
        command.arg(dir.path().join(data)).args(PORTS).args(more);
        let (code, _, said) = finish(command);
        assert_ne!(code, 0, "{said}");
        (code, said)
    };
    let taken = format!("msg.listen={address}");

    // In the log, as it is configured.
    let json = ["--set", "log.format=json", "--set", &taken];
    let (code, said) = start("json", &json);
    assert_eq!(code, 1, "{said}");
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|_| panic!("a line of the log: {line}"))
        })
        .collect();
    let errors: Vec<_> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert_eq!(errors[0]["message"], "not started");
    let causes = errors[0]["error"].as_str().unwrap();
    assert!(
        causes.contains(&format!("listen on {address}: ")),
        "{causes}"
    );
    assert!(causes.contains("Address already in use"), "{causes}");
    assert!(!causes.contains('\n'), "{causes}");

    let (_, said) = start("text", &["--set", "log.format=human", "--set", &taken]);
    assert_eq!(said.matches("Address already in use").count(), 1, "{said}");
    assert!(said.contains("not started"), "{said}");

    // On standard error where the log shows no such line, or is not there yet.
    let (_, said) = start("off", &["--set", "log.filter=off", "--set", &taken]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("imd: ") && said.contains("Address already in use"),
        "{said}"
    );
    let file = dir.path().join("imd.toml");
    std::fs::write(&file, "[msg]\nno_such_key = 1\n").unwrap();
    let (code, said) = start("file", &["--config", file.to_str().unwrap()]);
    assert_eq!(
        (code, said.lines().count()),
        (BAD_CONFIGURATION, 1),
        "{said}"
    );
    assert!(
        said.contains("line 2") && said.contains("no_such_key"),
        "{said}"
    );
}

#[test]
fn the_configuration_shown_can_be_used_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("imd.toml");
    let (code, shown, _) = finish(imd(&["config", "show", "--set", "msg.rate_limit=7"]));
    assert_eq!(code, 0);
    std::fs::write(&file, &shown).unwrap();
    let (code, again, said) = finish(imd(&["config", "show", "--config", file.to_str().unwrap()]));
    assert_eq!((code, again), (0, shown), "{said}");
}

#[test]
fn a_service_of_kubernetes_outside_of_a_cluster_is_refused_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef").unwrap();
    let mut command = imd(&["db-proxy", "--data-dir", dir.path().to_str().unwrap()]);
    command.arg("--secret-file").arg(&secret);
    command.args(["--set", "admin.listen="]);
    command.args(["--set", "peers.route=kubernetes:demo-route:grpc"]);
    command.env_remove("KUBERNETES_SERVICE_HOST");
    let (code, _, said) = finish(command);
    assert_eq!(code, BAD_CONFIGURATION, "{said}");
    assert!(
        said.contains("peers.route") && said.contains("ServiceAccount"),
        "{said}"
    );
    let (_, _, said) = finish(imd(&[
        "config",
        "check",
        "--set",
        "peers.route=kubernetes:demo-route:grpc,route1:8200",
    ]));
    assert_eq!(
        said,
        "imd: invalid configuration: peers.route: must have nothing beside \
         \"kubernetes:demo-route:grpc\"\n"
    );
}

#[test]
fn a_manifest_with_a_bad_field_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("imcluster.yaml");
    let text = "apiVersion: imcluster.io/v1alpha1\nkind: ImCluster\nmetadata: {name: demo}\n\
                spec: {version: \"1.0.0\", roles: {msg: {capacity: {maxConnection: 500}}}}\n";
    std::fs::write(&manifest, text).unwrap();
    let mut command = imd(&["all-in-one", "--data-dir", dir.path().to_str().unwrap()]);
    command.arg("-f").arg(&manifest);
    let (code, _, said) = finish(command);
    assert_eq!(code, BAD_CONFIGURATION);
    assert!(
        said.contains("spec.roles.msg.capacity.maxConnection: unknown field"),
        "{said}"
    );
}

#[test]
fn what_is_no_data_directory_or_no_backup_is_named_as_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes");
    std::fs::write(&file, "some text").unwrap();
    let file = file.to_str().unwrap();
    let (code, _, said) = finish(imd(&["all-in-one", "--data-dir", file]));
    assert!(code != 0, "{said}");
    assert_eq!(
        said,
        format!("imd: {file} is no folder: name another one for the data\n")
    );
    let new = dir.path().join("new");
    let restore = ["restore", "--data-dir", new.to_str().unwrap(), "--from"];
    let (code, _, said) = finish(imd(&[&restore[..], &[file]].concat()));
    assert_eq!(code, 1);
    assert!(
        said.starts_with(&format!("imd: {file} is no whole backup of a store: ")),
        "{said}"
    );
    let nothing = dir.path().join("nothing");
    let nothing = nothing.to_str().unwrap();
    let (_, _, said) = finish(imd(&[&restore[..], &[nothing]].concat()));
    assert_eq!(said, format!("imd: {nothing} is no backup of a store\n"));
    let (_, _, said) = finish(imd(&["backup", "--data-dir", nothing, "--to", "x"]));
    assert_eq!(said, format!("imd: there is no store in {nothing}\n"));
}
