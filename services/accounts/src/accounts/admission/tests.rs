//! Many logins over simulated time.

use std::cell::Cell;
use std::time::Duration;

use super::*;

const HASH: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(8);

fn admission(parallel: usize) -> Admission {
    let limits = Limits {
        parallel,
        waiting: 1_000,
        per_address: 256,
        per_name: 8,
        patience: PATIENCE,
        settle: Duration::from_millis(20),
    };
    Admission::new(limits, &AccountMetrics::default())
}

fn key(kind: u8, number: usize) -> [u8; 16] {
    let mut key = [kind; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

fn request(name: usize, address: usize) -> Request {
    Request {
        name: key(1, name),
        question: key(2, name),
        address: key(3, address),
        network: key(4, address / 4),
        arrived: Instant::now(),
    }
}

/// Whether a login was checked: the hash is time that passes.
async fn log_in(admission: &Admission, request: &Request) -> Option<Duration> {
    match admission.turn(request).await {
        Turn::Run(mut permit) => {
            tokio::time::sleep(HASH).await;
            permit.computed(HASH, false);
            None
        }
        Turn::Again | Turn::Wrong => None,
        Turn::Busy(retry_after) => Some(retry_after),
    }
}

/// Tries as original clients do: 3 to 15 s between attempts, up to 15 s of patience. Our own clients
/// come back when they are told to.
async fn person(admission: &Admission, n: usize, addresses: usize, ours: bool) {
    let mut wait = Duration::from_secs(3);
    tokio::time::sleep(Duration::from_millis((n as u64 * 7_919) % 2_000)).await;
    loop {
        let request = request(n, n % addresses);
        let attempt = tokio::time::timeout(Duration::from_secs(15), log_in(admission, &request));
        match attempt.await {
            Ok(None) => return,
            Ok(Some(told)) if ours => tokio::time::sleep(told).await,
            _ => {
                tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * rand::random::<f64>())).await;
                wait = (wait * 2).min(Duration::from_secs(15));
            }
        }
    }
}

async fn everybody_returns(people: usize, addresses: usize, ours: bool) -> (Duration, Duration) {
    let admission = admission(2);
    let begun = Instant::now();
    let ends = (0..people).map(|n| {
        let admission = &admission;
        async move {
            person(admission, n, addresses, ours).await;
            begun.elapsed()
        }
    });
    let mut ends = futures::future::join_all(ends).await;
    ends.sort_unstable();
    let state = admission.shared.lock();
    assert_eq!(state.queue.waiting(), 0);
    assert!(state.waiting.is_empty());
    (ends[people / 2], ends[people - 1])
}

#[tokio::test(start_paused = true)]
async fn six_thousand_people_return_for_the_first_time_as_fast_as_hashes_are_computed() {
    // Two at a time, 40 ms each.
    let least = Duration::from_secs(120);
    for (addresses, ours) in [(1, false), (6_000, false), (40, true)] {
        let (half, last) = everybody_returns(6_000, addresses, ours).await;
        assert!(
            last >= least && last <= least.mul_f64(1.2),
            "{addresses} addresses, ours {ours}: half after {half:?}, last after {last:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_thousand_people_behind_one_address_return_without_a_storm() {
    let (_, last) = everybody_returns(2_000, 1, false).await;
    assert!(last <= Duration::from_secs(60), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_one_address_does_not_delay_others() {
    let admission = admission(2);
    let slowest = Cell::new(Duration::ZERO);
    let flood = async {
        let mut sent = futures::stream::FuturesUnordered::new();
        for n in 0..6_000 {
            // 600 a second, which wait for their answers.
            tokio::time::sleep(Duration::from_micros(1_667)).await;
            let request = request(100_000 + n, 1);
            let admission = &admission;
            sent.push(async move { log_in(admission, &request).await });
            while futures::FutureExt::now_or_never(futures::StreamExt::next(&mut sent))
                .flatten()
                .is_some()
            {}
        }
    };
    let honest = async {
        for n in 0..50 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let begun = Instant::now();
            assert_eq!(log_in(&admission, &request(n, 1_000 + n)).await, None);
            slowest.set(slowest.get().max(begun.elapsed()));
        }
    };
    tokio::join!(flood, honest);
    assert!(
        slowest.get() < Duration::from_millis(250),
        "{:?}",
        slowest.get()
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_up_at_once_delays_nobody_behind_the_same_address() {
    let admission = admission(2);
    let slowest = Cell::new(Duration::ZERO);
    let flood = async {
        for n in 0..6_000 {
            let request = request(100_000 + n, 1);
            let hang_up =
                tokio::time::timeout(Duration::from_micros(1_600), log_in(&admission, &request));
            assert!(hang_up.await.is_err());
        }
    };
    let honest = async {
        for n in 0..20 {
            let begun = Instant::now();
            assert_eq!(log_in(&admission, &request(n, 1)).await, None);
            slowest.set(slowest.get().max(begun.elapsed()));
        }
    };
    tokio::join!(flood, honest);
    assert!(
        slowest.get() < Duration::from_millis(200),
        "{:?}",
        slowest.get()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_login_leaves_the_queue_and_a_running_hash_keeps_its_place() {
    let admission = admission(1);
    let Turn::Run(permit) = admission.turn(&request(1, 1)).await else {
        panic!("nobody else waits");
    };
    for n in 2..50 {
        let request = request(n, 1);
        let gone = tokio::time::timeout(Duration::from_millis(50), admission.turn(&request));
        assert!(gone.await.is_err());
        assert_eq!(admission.shared.lock().queue.waiting(), 0);
    }
    drop(permit);
    let turn = admission.turn(&request(50, 1)).await;
    assert!(matches!(turn, Turn::Run(_)), "{turn:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_takes_goes_to_the_next() {
    let admission = admission(1);
    let Turn::Run(permit) = admission.turn(&request(1, 1)).await else {
        panic!("nobody else waits");
    };
    let second = request(2, 1);
    let mut second = Box::pin(admission.turn(&second));
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(waits.is_err());
    // Its turn comes, but it is dropped before it hears of it.
    drop(permit);
    assert_eq!(admission.shared.lock().queue.waiting(), 0);
    drop(second);
    let third = request(3, 1);
    let third = tokio::time::timeout(Duration::from_secs(1), admission.turn(&third)).await;
    assert!(matches!(third, Ok(Turn::Run(_))), "{third:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_the_same_shares_the_answer() {
    let admission = admission(1);
    let ask = || async { admission.turn(&request(7, 1)).await };
    let first = async {
        let Turn::Run(mut permit) = ask().await else {
            panic!("the newest one asks");
        };
        tokio::time::sleep(HASH).await;
        permit.computed(HASH, true);
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        futures::future::join_all((0..3).map(|_| ask())).await
    };
    let ((), turns) = tokio::join!(first, others);
    assert!(
        turns.iter().all(|turn| matches!(turn, Turn::Wrong)),
        "{turns:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_their_client() {
    let admission = admission(1);
    let _held = admission.job().await.unwrap();
    let begun = Instant::now();
    let turn = admission.turn(&request(1, 1)).await;
    assert!(matches!(turn, Turn::Busy(_)), "{turn:?}");
    assert_eq!(begun.elapsed(), PATIENCE);
    assert_eq!(admission.shared.lock().queue.waiting(), 0);
}
