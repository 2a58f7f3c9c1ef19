//! Wrong ports and addresses: told by what answers there.

use crate::platform::{PORTS, start};
use crate::world::{Server, finish, imd};

fn doctor(server: &str) -> (i32, String) {
    let (code, said, complaint) = finish(imd(&["doctor", "--server", server]));
    assert_eq!(complaint, "");
    (code, said)
}

#[test]
fn doctor_does_what_a_client_does_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("data"));
    let http = server.address("login", "http");
    let msg = server.address("msg", "client");
    let (code, said) = doctor(&format!("http://{http}"));
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(
        said.contains(&format!("sends clients to {msg}"))
            && said.contains(&format!("login port: {msg} takes logins"))
            && said.contains("s ahead of this machine's"),
        "{said}"
    );

    // Each wrong port is known by what answers there.
    let grpc = server.address("db_proxy", "grpc");
    let metrics = server.address("admin", "http");
    let binary = server.address("login", "client");
    for (given, part) in [
        (http.clone(), format!("write http://{http}")),
        (
            format!("http://{msg}"),
            format!("a msg server answers at {msg}"),
        ),
        (
            format!("http://{binary}"),
            "binary dispatch port".to_owned(),
        ),
        (format!("http://{grpc}"), "internal port (gRPC)".to_owned()),
        (format!("http://{metrics}"), "probes and metrics".to_owned()),
    ] {
        let (code, said) = doctor(&given);
        assert!(code == 1 && said.contains(&part), "{given}: {said}");
    }
    assert_eq!(server.terminate(), 0);
    let (code, said) = doctor(&format!("http://{http}"));
    assert!(code == 1 && said.contains("nobody answers at"), "{said}");
}

#[test]
fn doctor_finds_a_public_address_where_nobody_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut args = vec!["all-in-one", "--data-dir", data.to_str().unwrap()];
    args.extend(PORTS);
    args.extend(["--set", "msg.public_port=9"]);
    let server = Server::start(&args, &dir.path().join("ready"));
    let (code, said) = doctor(&format!("http://{}", server.address("login", "http")));
    assert!(
        code == 1 && said.contains("WRONG  login port: nobody answers at 127.0.0.1:9"),
        "{said}"
    );
}

#[test]
fn chat_and_check_at_a_wrong_port_are_told_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("data"));
    let password = dir.path().join("password");
    std::fs::write(&password, "x").unwrap();
    for (given, part) in [
        (
            server.address("login", "http"),
            "for clients that is http://",
        ),
        (
            format!("http://{}", server.address("msg", "client")),
            "without http://",
        ),
        (
            format!("http://{}", server.address("db_proxy", "grpc")),
            "internal port (gRPC)",
        ),
    ] {
        for tool in [
            &["chat", "ann", "--wait", "0"][..],
            &["check", "ann", "ben"],
        ] {
            let mut tool = imd(&[tool, &["--server", &given]].concat());
            tool.arg("--password-file").arg(&password);
            let (code, _, complaint) = finish(tool);
            assert!(
                code == 1 && complaint.contains(part),
                "{given}: {complaint}"
            );
        }
    }
}
