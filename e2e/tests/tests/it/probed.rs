//! `imd probe`: figures of messages that pass through every msg server that clients are told (S-101).

use std::time::Duration;

use im_e2e::gauges::{self, Metrics};
use im_e2e::people;
use im_e2e::process::{Process, Spec};
use im_e2e::wait::{self, SOON};

use crate::support::*;

const TWO: Shape = Shape {
    login: 1,
    msg: 2,
    route: 1,
};

/// A prober of the first two people, by the table of the login server.
async fn prober(platform: &mut Platform) -> Process {
    let login = platform.process("login1").unwrap().addresses().unwrap();
    let table = gauges::admin_of(&login).unwrap().to_string();
    let password = platform.dir().join("password");
    std::fs::write(&password, format!("{}\n", people::PASSWORD)).unwrap();
    let args = [
        "probe",
        &people::name(1),
        &people::name(2),
        "--server",
        &platform.url(),
        "--table",
        &table,
        "--password-file",
        password.to_str().unwrap(),
        "--every",
        "1s",
        "--within",
        "2s",
        "--set",
        "admin.listen=127.0.0.1:0",
    ];
    let spec = Spec {
        name: "probe".to_owned(),
        args: args.map(str::to_owned).into(),
        dir: platform.dir().to_path_buf(),
        env: Vec::new(),
    };
    let mut probe = Process::start(spec).unwrap();
    probe.ready(SOON).await.unwrap();
    probe
}

/// Waits until the figures of a prober are so.
async fn shows(probe: &Process, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    let look = || async {
        let metrics = Metrics::read(probe).await.ok()?;
        holds(&metrics).then_some(metrics)
    };
    match wait::until(what, SOON, look).await {
        Ok(metrics) => metrics,
        Err(error) => panic!("{error}\n{}", probe.log_tail()),
    }
}

fn delivered(metrics: &Metrics) -> f64 {
    metrics.sum("im_probe_seconds_count", "deliver")
}

fn failures(metrics: &Metrics) -> f64 {
    metrics.sum("im_probe_failures", "")
}

/// Messages pass through both msg servers. One that is killed is told to nobody any more, and not tried; without any, each
/// round fails and one line says why; when one is back, messages pass by themselves.
#[tokio::test]
async fn a_prober_shows_what_clients_meet_and_recovers_by_itself() {
    let set = CHEAP_HASHES.iter();
    let options = set.fold(Options::people(2), |options, set| options.set(set));
    let mut platform = Platform::separate(TWO, options).await.unwrap();
    let mut probe = prober(&mut platform).await;
    let both = shows(&probe, "messages pass through both", |metrics| {
        delivered(metrics) >= 4.0 && metrics.sum("im_probe_addresses", "") == 2.0
    })
    .await;
    assert_eq!(failures(&both), 0.0, "{}", probe.log());
    for step in ["login", "send"] {
        let count = both.sum("im_probe_seconds_count", step);
        assert_eq!(count, delivered(&both), "{step}");
    }
    assert_eq!(both.sum("im_build_info", ""), 1.0, "as every process");

    platform.process("msg2").unwrap().kill9().unwrap();
    let one = shows(&probe, "one is left", |metrics| {
        metrics.sum("im_probe_addresses", "") == 1.0 && delivered(metrics) > delivered(&both)
    })
    .await;

    platform.process("msg1").unwrap().kill9().unwrap();
    let none = shows(&probe, "rounds fail", |metrics| {
        failures(metrics) > failures(&one) && metrics.sum("im_probe_addresses", "") == 0.0
    })
    .await;
    assert!(none.sum("im_probe_failures", "login") >= 1.0);
    let log = probe.log();
    let line = log
        .lines()
        .find(|line| line.contains("a message has not passed"))
        .expect("a line says that a message has not passed");
    assert!(line.contains("no msg server"), "{line}");

    platform.kill_and_restart("msg1").await.unwrap();
    shows(&probe, "messages pass again", |metrics| {
        delivered(metrics) > delivered(&none) + 1.0
    })
    .await;
    let end = tokio::time::timeout(Duration::from_secs(5), probe.terminate()).await;
    assert!(end.expect("it stops at once").unwrap().success());
}
