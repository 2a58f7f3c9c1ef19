//! The public URL, and whether it leads here.

use std::time::Duration;

use im_e2e::platform::own_address;
use im_e2e::process::{Process, Spec};

use super::web::{form, get, send};
use crate::support::*;

struct Started {
    process: Process,
    address: std::net::SocketAddr,
    _dir: tempfile::TempDir,
}

/// Starts a server at an address of its own with this public URL, in which `SELF` is that address.
fn start(url: &str, set: &[&str]) -> Started {
    let dir = tempfile::tempdir().unwrap();
    let address = (own_address(), 8700).into();
    let mut all = vec![
        format!("msfs.listen={address}"),
        format!("msfs.dir={}", dir.path().join("pictures").display()),
        format!(
            "msfs.public_url={}",
            url.replace("SELF", &format!("{address}"))
        ),
        "admin.listen=127.0.0.1:0".to_owned(),
    ];
    all.extend(set.iter().map(|set| (*set).to_owned()));
    let mut args = vec!["msfs".to_owned()];
    args.extend(all.into_iter().flat_map(|set| ["--set".to_owned(), set]));
    let spec = Spec {
        name: "msfs".to_owned(),
        args,
        dir: dir.path().to_owned(),
        env: Vec::new(),
    };
    Started {
        process: Process::start(spec).unwrap(),
        address,
        _dir: dir,
    }
}

impl Started {
    async fn says(&self, line: &str) {
        let process = &self.process;
        im_e2e::wait::until(line, WAIT, || async {
            process.log().contains(line).then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", process.log()));
    }
}

/// Uploads are told under the public URL; a server needs no secret, since it has no links.
#[tokio::test]
async fn a_public_url_is_proved_and_told() {
    let mut started = start("http://SELF/a/path/", &[]);
    started
        .process
        .ready(Duration::from_secs(30))
        .await
        .unwrap();
    started.says("the public URL leads here").await;
    let answer = send(started.address, &form("a.bin", b"content")).await;
    let json = answer.json();
    let (url, path) = (
        json["url"].as_str().unwrap(),
        json["path"].as_str().unwrap(),
    );
    assert_eq!(url, format!("http://{}/a/path/{path}", started.address));
    let fetched = get(started.address, &format!("/a/path/{path}"), &[]).await;
    assert_eq!(fetched.body, b"content");
    assert!(started.process.terminate().await.unwrap().success());
}

/// A URL that leads elsewhere is an error in the log, and the server serves; if it is to be proved, the
/// server ends and says why.
#[tokio::test]
async fn a_public_url_that_leads_elsewhere_is_said_and_ends_the_server_if_it_must_be_proved() {
    // Another server of the kind, which does not know the probe.
    let mut other = start("", &[]);
    other.process.ready(Duration::from_secs(30)).await.unwrap();
    let elsewhere = format!("http://{}/", other.address);
    let short = "msfs.probe_timeout=1s";
    let mut warned = start(&elsewhere, &[short]);
    warned.process.ready(Duration::from_secs(30)).await.unwrap();
    warned.says("does not lead here").await;
    assert!(
        warned.process.log().contains("status 404"),
        "{}",
        warned.process.log()
    );
    assert_eq!(get(warned.address, "/", &[]).await.status, 404, "it serves");

    let mut required = start(&elsewhere, &[short, "msfs.probe=require"]);
    let status = required.process.ended(WAIT).await.unwrap();
    assert!(!status.success());
    let log = required.process.log();
    assert!(
        log.contains("msfs.public_url") && log.contains(&elsewhere),
        "{log}"
    );

    let mut nowhere = start("http://127.0.0.1:1/", &[short, "msfs.probe=require"]);
    assert!(!nowhere.process.ended(WAIT).await.unwrap().success());
    let mut off = start("http://127.0.0.1:1/", &[short, "msfs.probe=off"]);
    off.process.ready(Duration::from_secs(30)).await.unwrap();
    assert!(off.process.terminate().await.unwrap().success());
    assert!(!off.process.log().contains("lead here"));
}
