//! Servers, their links and their clients without any address of IPv4.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use im_client::{Client, ClientConfig, Event, Password};
use im_e2e::people;
use im_e2e::process::{Process, Spec, run_imd};

use crate::support::*;

const READY: Duration = Duration::from_mins(1);

/// A port of the loopback address that is free. Each role wants to know those of others before they listen.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A role's process with listeners at the loopback address.
fn start(dir: &Path, role: &str, listeners: &[(&str, u16)], set: &[String]) -> Process {
    let secret = dir.join("secret").display().to_string();
    let mut args = vec![role.to_owned(), "--secret-file".to_owned(), secret];
    let listeners = listeners.iter().chain(&[("admin.listen", 0)]);
    let listeners = listeners.map(|(key, port)| format!("{key}=\"[::1]:{port}\""));
    for setting in listeners.chain(set.iter().cloned()) {
        args.extend(["--set".to_owned(), setting]);
    }
    let spec = Spec {
        name: role.to_owned(),
        args,
        dir: dir.to_path_buf(),
        env: Vec::new(),
    };
    Process::start(spec).unwrap()
}

fn peer(kind: &str, port: u16) -> String {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    format!("peers.{kind}=[\"{kind}={address}\"]")
}

/// Roles find each other, and clients are sent to an address and come to it, over IPv6 alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_serve_clients_over_ipv6_alone() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("secret"), "a-secret-of-this-test-only\n").unwrap();
    let data = format!("data_dir=\"{}\"", dir.join("data").display());

    let [route, http, client, control, grpc, admin, msg] = [(); 7].map(|()| free_port());
    let mut processes = [
        start(dir, "route", &[("route.listen", route)], &[]),
        start(
            dir,
            "login",
            &[
                ("login.http_listen", http),
                ("login.client_listen", client),
                ("login.control_listen", control),
            ],
            &[],
        ),
        start(
            dir,
            "db-proxy",
            &[("db_proxy.listen", grpc), ("db_proxy.admin_listen", admin)],
            &[data, peer("route", route)],
        ),
        start(
            dir,
            "msg",
            &[("msg.listen", msg)],
            &[
                peer("route", route),
                peer("login", control),
                peer("db_proxy", grpc),
                "msg.name=\"msg\"".to_owned(),
                "msg.public_ip1=\"::1\"".to_owned(),
            ],
        ),
    ];
    for process in &mut processes {
        process.ready(READY).await.unwrap();
    }

    let csv = people::write_csv(dir, 2).unwrap().display().to_string();
    let server = SocketAddr::from((Ipv6Addr::LOCALHOST, admin)).to_string();
    let secret = dir.join("data/admin-secret").display().to_string();
    let import = [
        "directory",
        "import",
        &csv,
        "--server",
        &server,
        "--secret-file",
        &secret,
    ];
    run_imd(dir, &import).unwrap();

    let enter = async |host: SocketAddr, id: u32| {
        let password = Password::clear(people::PASSWORD);
        let config = ClientConfig::new(format!("http://{host}"), people::name(id), password);
        Client::connect(config).await.unwrap()
    };
    let (first, _) = enter((Ipv6Addr::LOCALHOST, http).into(), 1).await;
    let (second, mut events) = enter((Ipv6Addr::LOCALHOST, http).into(), 2).await;
    for client in [&first, &second] {
        let told = client.server_address();
        assert!(told.starts_with("[::1]:"), "{told}");
    }
    let ack = first.send_text(with_user(2), "over IPv6").await.unwrap();
    let delivered = tokio::time::timeout(READY, async {
        loop {
            if let Event::Message(message) = events.recv().await.unwrap() {
                return message.data.msg_id;
            }
        }
    });
    assert_eq!(delivered.await.unwrap(), ack.msg_id);
}
