//! A whole platform in one process, and the tools against it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::{Server, finish, imd};

pub(crate) const PORTS: [&str; 18] = [
    "--set",
    "admin.listen=127.0.0.1:0",
    "--set",
    "login.http_listen=127.0.0.1:0",
    "--set",
    "login.client_listen=127.0.0.1:0",
    "--set",
    "msfs.listen=127.0.0.1:0",
    "--set",
    "msg.listen=127.0.0.1:0",
    "--set",
    "file.client_listen=127.0.0.1:0",
    "--set",
    "http_api.listen=127.0.0.1:0",
    "--set",
    "db_proxy.listen=127.0.0.1:0",
    "--set",
    "db_proxy.admin_listen=127.0.0.1:0",
];

pub(crate) fn start(data: &Path) -> Server {
    start_with(data, &[])
}

/// The same with more arguments.
pub(crate) fn start_with(data: &Path, more: &[&str]) -> Server {
    let mut args = vec!["all-in-one", "--data-dir", data.to_str().unwrap()];
    args.extend(PORTS);
    args.extend(more);
    Server::start(&args, &data.with_extension("ready"))
}

pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Runs a tool, which finds port and secret by the data directory.
pub(crate) fn tool(_running: &Server, data: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = imd(args);
    command.arg("--data-dir").arg(data);
    finish(command)
}

#[test]
fn one_process_serves_every_role_and_stops_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let handed_out = get(&server.address("login", "http"), "/msg_server");
    let msg = server.address("msg", "client");
    let (_, port) = msg.rsplit_once(':').unwrap();
    assert!(
        handed_out.contains(&format!("\"port\" : \"{port}\"")),
        "{handed_out}"
    );
    let pictures = server.address("msfs", "http");
    assert!(
        handed_out.contains(&format!("\"msfsPrior\" : \"http://{pictures}/\"")),
        "{handed_out}"
    );
    assert!(get(&pictures, "/g0/").starts_with("HTTP/1.1 404"));
    let admin = server.address("admin", "http");
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get(&admin, "/metrics");
    for name in [
        "im_login_",
        "im_msfs_",
        "im_msg_",
        "im_route_",
        "im_db_proxy_",
        "im_http_api_",
        "im_push_",
        "im_link_dialed",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert_eq!(server.terminate(), 0);
}

#[test]
fn the_tools_work_against_a_running_platform() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let people = dir.path().join("people.csv");
    std::fs::write(
        &people,
        "name,password,department\nann,a,Company/Research\nben,b,\n",
    )
    .unwrap();

    let import = ["directory", "import", people.to_str().unwrap()];
    let (code, said, _) = tool(&server, &data, &import);
    assert_eq!(
        (code, said.as_str()),
        (0, "2 added, 0 updated, 0 unchanged, 2 departments added\n")
    );
    let (_, said, _) = tool(&server, &data, &import);
    assert_eq!(
        said,
        "0 added, 0 updated, 2 unchanged, 0 departments added\n"
    );
    std::fs::write(&people, "name,sex\ncleo,1\ndan,x\n").unwrap();
    let (code, _, complaint) = tool(&server, &data, &import);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("line 3: sex must be 0 (unknown)"),
        "{complaint}"
    );

    let (_, said, _) = tool(&server, &data, &["admin", "--json", "user", "list"]);
    let users: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(users.as_array().unwrap().len(), 2, "{said}");
    assert_eq!(users[0]["department"], "Company/Research");
    let group = [
        "admin", "group", "create", "Team", "--owner", "ann", "--member", "ben",
    ];
    let (code, said, _) = tool(&server, &data, &group);
    assert!(code == 0 && said.contains("ann ben"), "{said}");
    let (code, said, _) = tool(&server, &data, &["admin", "user", "disable", "ben"]);
    assert!(code == 0 && said.contains("left"), "{said}");
    let (code, _, complaint) = tool(&server, &data, &["admin", "user", "disable", "nobody"]);
    assert!(code == 1 && complaint.contains("nobody"), "{complaint}");

    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "another secret altogether").unwrap();
    let args = [
        "admin",
        "user",
        "list",
        "--secret-file",
        wrong.to_str().unwrap(),
    ];
    let (code, _, complaint) = tool(&server, &data, &args);
    assert_eq!(
        (code, complaint.as_str()),
        (1, "imd: the server refuses the secret\n")
    );

    let backup = dir.path().join("backup.db");
    let args = [
        "backup",
        "--data-dir",
        data.to_str().unwrap(),
        "--to",
        backup.to_str().unwrap(),
    ];
    let (code, _, complaint) = finish(imd(&args));
    assert_eq!(code, 0, "{complaint}");
    let restored = dir.path().join("restored");
    let args = [
        "restore",
        "--data-dir",
        restored.to_str().unwrap(),
        "--from",
        backup.to_str().unwrap(),
    ];
    assert_eq!(finish(imd(&args)).0, 0);
    drop(server);
    let again = start(&restored);
    let (_, said, _) = tool(&again, &restored, &["admin", "user", "list"]);
    assert!(said.contains("ann"), "{said}");
}

/// Exit code and standard error of a tool whose standard output goes elsewhere.
fn complaint_of(mut command: Command) -> (i32, String) {
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// As `kubectl exec POD -- imd backup --to - > FILE` runs it, and a pod that restores.
#[test]
fn a_backup_leaves_by_standard_output_and_comes_back_by_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let people = dir.path().join("people.csv");
    std::fs::write(&people, "name,password\nann,secret\n").unwrap();
    let import = ["directory", "import", people.to_str().unwrap()];
    let (code, _, complaint) = tool(&server, &data, &import);
    assert_eq!(code, 0, "{complaint}");
    let file = dir.path().join("stream");
    let mut backup = imd(&["backup", "--to", "-", "--data-dir"]);
    backup.arg(&data).stdout(File::create(&file).unwrap());
    let (code, said) = complaint_of(backup);
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert_eq!(
        (code, said),
        (
            0,
            format!("copied and checked: {bytes} bytes follow\nwrote {bytes} bytes\n")
        )
    );
    drop(server);

    let restored = dir.path().join("restored");
    std::fs::create_dir_all(restored.join("lost+found")).unwrap();
    let restore = |length: u64| {
        let input = File::options().read(true).write(true).open(&file).unwrap();
        input.set_len(length).unwrap();
        let mut restore = imd(&["restore", "--from", "-", "--data-dir"]);
        restore.arg(&restored).stdin(input);
        finish(restore)
    };
    let whole = std::fs::read(&file).unwrap();
    let (code, _, complaint) = restore(bytes - 1);
    assert_eq!(code, 1);
    let wanted = format!(
        "standard input: it ends after {} of {bytes} bytes",
        bytes - 1
    );
    assert!(complaint.contains(&wanted), "{complaint}");
    std::fs::write(&file, whole).unwrap();
    let (code, said, complaint) = restore(bytes);
    assert_eq!(code, 0, "{complaint}");
    let line = format!("restored {}\n", restored.display());
    assert!(said.starts_with(&line), "{said}");
    let again = start(&restored);
    let (_, said, _) = tool(&again, &restored, &["admin", "user", "list"]);
    assert!(said.contains("ann"), "{said}");
}

/// A backup at a terminal would only be noise, and waiting for one from a keyboard is an oversight.
#[test]
fn a_backup_neither_goes_to_a_terminal_nor_comes_from_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    drop(start(&data));
    // The near end of a new terminal, which is one itself.
    let terminal = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/ptmx")
            .unwrap()
    };
    let mut backup = imd(&["backup", "--to", "-", "--data-dir"]);
    backup.arg(&data).stdout(terminal());
    let (code, complaint) = complaint_of(backup);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("standard output is a terminal"),
        "{complaint}"
    );

    let mut restore = imd(&["restore", "--from", "-", "--data-dir"]);
    restore.arg(dir.path().join("new")).stdin(terminal());
    let (code, _, complaint) = finish(restore);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("standard input is a terminal"),
        "{complaint}"
    );
}

/// Neither the port of msg servers nor their secret leads to the administration.
#[test]
fn administrators_have_a_port_and_a_secret_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let list = |port: &str, secret: &str| {
        let mut command = imd(&["admin", "user", "list", "--server"]);
        command.arg(server.address("db_proxy", port));
        command.arg("--secret-file").arg(data.join(secret));
        finish(command)
    };
    assert_eq!(list("admin", "admin-secret").0, 0);
    let (code, _, complaint) = list("admin", "secret");
    let refused = "imd: the server refuses the secret\n";
    assert_eq!((code, complaint.as_str()), (1, refused));
    let (code, _, complaint) = list("grpc", "secret");
    assert!(
        code == 1 && complaint.contains("Unimplemented") && complaint.contains("10601"),
        "{complaint}"
    );
    let (code, _, complaint) = list("grpc", "admin-secret");
    assert_eq!(code, 1, "{complaint}");
}

#[test]
fn check_passes_a_message_between_two_people_or_fails() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let people = dir.path().join("people.csv");
    std::fs::write(&people, "name,password\nann,same\nben,same\ncleo,other\n").unwrap();
    let import = ["directory", "import", people.to_str().unwrap()];
    assert_eq!(tool(&server, &data, &import).0, 0);
    let password = dir.path().join("password");
    std::fs::write(&password, "same\n").unwrap();
    let dispatcher = format!("http://{}", server.address("login", "http"));
    let check = |to: &str, server: &str| {
        let mut command = imd(&["check", "ann", to, "--within", "2", "--server", server]);
        command.arg("--password-file").arg(&password);
        finish(command)
    };

    let (code, said, complaint) = check("ben", &dispatcher);
    assert_eq!(code, 0, "{complaint}");
    assert!(
        said.starts_with("message 1 from ann (on 127.0.0.1:"),
        "{said}"
    );
    let (_, said, _) = check("ben", &dispatcher);
    assert!(said.starts_with("message 2 from ann"), "{said}");

    let (code, _, complaint) = check("cleo", &dispatcher);
    assert_eq!(
        (code, complaint.as_str()),
        (
            1,
            "imd: cleo is not let in: unknown user, wrong password, or not active (an administrator sees \
             which: imd admin user refusals cleo)\n"
        )
    );
    assert_eq!(server.terminate(), 0);
    let (code, _, complaint) = check("ben", &dispatcher);
    assert_eq!(code, 1);
    assert!(
        complaint.starts_with("imd: log in ann at http://"),
        "{complaint}"
    );
}

#[test]
fn a_data_directory_in_use_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _server = start(&data);
    let mut args = vec!["all-in-one", "--data-dir", data.to_str().unwrap()];
    args.extend(PORTS);
    let (code, _, said) = finish(imd(&args));
    assert_eq!(code, 1);
    assert!(said.contains("another process (pid "), "{said}");
}

/// As in a pod: the environment says where the secret is, the file comes on standard input.
#[test]
fn people_are_imported_from_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let mut command = imd(&["directory", "import", "-"]);
    command
        .env("IMD_ADMIN_SECRET_FILE", data.join("admin-secret"))
        .env("IMD_ADMIN_SERVER", server.address("db_proxy", "admin"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"name,password\nann,a\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 added, 0 updated, 0 unchanged, 0 departments added\n"
    );
}

#[test]
fn a_manifest_runs_in_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let (data, manifest) = (dir.path().join("data"), dir.path().join("imcluster.yaml"));
    let text = format!(
        "apiVersion: imcluster.io/v1alpha1\nkind: ImCluster\nmetadata: {{name: demo}}\n\
         spec:\n  version: {:?}\n  roles:\n    \
         msg: {{replicas: 2, capacity: {{maxConnections: 123}}}}\n",
        env!("CARGO_PKG_VERSION")
    );
    std::fs::write(&manifest, text).unwrap();
    let mut args = vec!["all-in-one", "-f", manifest.to_str().unwrap()];
    args.extend(["--data-dir", data.to_str().unwrap()]);
    args.extend(PORTS);
    args.extend(["--set", "admin.listen=127.0.0.1:0"]);
    let server = Server::start(&args, &dir.path().join("ready"));
    let dump = get(&server.address("admin", "http"), "/debug/dump");
    assert!(dump.contains("\"max_sessions\":123"), "{dump}");
    assert!(dump.contains("\"not_stopping\":true"), "{dump}");
    // db-proxy too shows itself: it reaches its store and the route server of the process.
    assert!(dump.contains("\"store_reachable\":true"), "{dump}");
    assert!(dump.contains("\"routes\":[{\"confirmed\":"), "{dump}");
    assert_eq!(server.terminate(), 0);
}
