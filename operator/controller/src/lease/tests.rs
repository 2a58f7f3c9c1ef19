use std::future::pending;

use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::testing;

fn held_by(holder: &str) -> Lease {
    Lease {
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    }
}

fn seat(client: Client) -> LeaderElection {
    let timing = Timing::new(15, 12, 1).unwrap();
    LeaderElection::new(client, "chat", "im-operator", "a", timing, Turn::default())
}

/// An API server that is away from one second to another.
fn away(from: f64, until: f64) -> Client {
    let start = Instant::now();
    let (client, _) = testing::server(move |asked| {
        let now = start.elapsed().as_secs_f64();
        if (from..until).contains(&now) {
            testing::refusal(503, "ServiceUnavailable")
        } else if asked.method == "GET" {
            testing::not_found()
        } else {
            (200, asked.body.clone())
        }
    });
    client
}

#[tokio::test]
async fn a_lease_is_taken_when_free_own_or_seen_unchanged_for_its_duration() {
    let seat = seat(away(0.0, 0.0));
    let step = |lease: Option<&Lease>, unchanged| seat.step(lease, unchanged);
    let short = Duration::from_secs(15);
    let long = Duration::from_millis(15_001);
    assert_eq!(step(None, Duration::ZERO), Step::Create);
    assert_eq!(step(Some(&Lease::default()), Duration::ZERO), Step::Take);
    assert_eq!(step(Some(&held_by("")), Duration::ZERO), Step::Take);
    assert_eq!(step(Some(&held_by("a")), Duration::ZERO), Step::Take);
    assert_eq!(step(Some(&held_by("b")), short), Step::Wait);
    assert_eq!(step(Some(&held_by("b")), long), Step::Take);
}

#[tokio::test(start_paused = true)]
async fn a_holder_outlives_an_api_server_that_is_away_for_eight_seconds() {
    // Whenever it begins between two renewals.
    for tenths in 0..50_u32 {
        let from = f64::from(tenths) / 10.0;
        let seat = seat(away(from + 0.05, from + 8.05));
        let mut held = seat.acquire().await;
        let minute = Duration::from_secs(60);
        let lost = timeout(minute, seat.keep(&mut held)).await.is_ok();
        assert!(!lost, "away from {from} s");
        assert!(seat.turn.may_write());
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_another_may_begin_and_stands_again() {
    let start = Instant::now();
    let seat = seat(away(4.5, 60.0));
    let mut held = seat.acquire().await;
    seat.keep(&mut held).await;
    // Renewed last at 2.4 s: others may begin at 17.4 s.
    assert_eq!(start.elapsed().as_secs(), 14);
    assert!(!seat.turn.may_write());
    seat.acquire().await;
    assert!((60..65).contains(&start.elapsed().as_secs()));
    assert!(seat.turn.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_holds_nothing_up() {
    let silent = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, _>>());
    let silent = tower::ServiceBuilder::new()
        .map_err(|error: std::io::Error| error)
        .service(silent);
    let seat = seat(Client::new(silent, "chat"));
    let start = Instant::now();
    let mut held = seat.held(held_by("a"), start);
    seat.keep(&mut held).await;
    assert_eq!(start.elapsed().as_secs(), 12);
    assert!(!seat.turn.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_slept_through_its_deadline_may_not_write() {
    let seat = seat(away(0.0, 0.0));
    seat.acquire().await;
    assert!(seat.turn.may_write());
    // Nothing of it ran meanwhile: it was stopped.
    tokio::time::advance(Duration::from_secs(12)).await;
    assert!(!seat.turn.may_write());
}

#[tokio::test]
async fn a_lease_names_its_holder_and_duration() {
    let seat = seat(away(0.0, 0.0));
    let lease = serde_json::to_value(seat.next(None)).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "a");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], json!(15));
    let taken = seat.next(Some(&held_by("b")));
    let renewed = seat.next(Some(&taken));
    for lease in [taken, renewed] {
        let held = seat.held(lease, Instant::now());
        assert_eq!(held.transitions(), 1, "a renewal is no change of holder");
    }
}

#[test]
fn times_that_would_let_two_replicas_work_are_refused() {
    let line = |duration, deadline, retry| {
        let refused = Timing::new(duration, deadline, retry).unwrap_err();
        refused.to_string()
    };
    assert!(line(10, 10, 1).contains("--lease-renew-deadline-seconds is 10"));
    assert!(line(15, 10, 10).contains("--lease-retry-seconds is 10"));
    Timing::new(3, 2, 1).unwrap();
}
