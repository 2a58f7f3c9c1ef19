//! Logins that wait for leave to ask, over simulated time.

use super::*;

const LOOKUP: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(8);

fn lookups(parallel: usize, waiting: usize) -> Lookups {
    let limits = Limits {
        parallel,
        waiting,
        patience: PATIENCE,
    };
    Lookups::new(limits, &AccountMetrics::default())
}

fn request(network: usize, address: usize) -> Request {
    let key = |kind: u8, number: usize| {
        let mut key = [kind; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    };
    Request {
        name: key(1, 0),
        question: key(2, 0),
        address: key(3, network * 1_000 + address),
        network: key(4, network),
        arrived: Instant::now(),
    }
}

/// How long one took from its arrival, or when it should come again.
async fn ask(lookups: &Lookups, request: &Request) -> Result<Duration, Duration> {
    let place = lookups.place(request).await?;
    tokio::time::sleep(LOOKUP).await;
    drop(place);
    Ok(request.arrived.elapsed())
}

fn is_as_new(lookups: &Lookups) {
    let state = lookups.shared.lock();
    assert_eq!(state.free, lookups.shared.limits.parallel);
    assert_eq!(state.line.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_wait_behind_a_crowd() {
    let lookups = lookups(2, 10_000);
    let crowd = (0..500).map(|n| ask_later(&lookups, n % 10, n, Duration::ZERO));
    let newcomer = ask_later(&lookups, 99, 0, Duration::from_millis(100));
    let (crowd, newcomer) = tokio::join!(futures::future::join_all(crowd), newcomer);
    // One of each other network comes before, two at a time.
    assert!(newcomer.unwrap() <= LOOKUP * 7, "{newcomer:?}");
    let slowest = crowd.into_iter().map(Result::unwrap).max().unwrap();
    assert_eq!(slowest, LOOKUP * 251);
    is_as_new(&lookups);
}

async fn ask_later(
    lookups: &Lookups,
    network: usize,
    address: usize,
    after: Duration,
) -> Result<Duration, Duration> {
    tokio::time::sleep(after).await;
    ask(lookups, &request(network, address)).await
}

#[tokio::test(start_paused = true)]
async fn over_the_bound_somebody_of_the_crowd_is_told_when_to_come_again() {
    let lookups = lookups(1, 3);
    let crowd = (0..5).map(|n| ask_later(&lookups, 1, n, Duration::ZERO));
    let newcomer = ask_later(&lookups, 2, 0, Duration::from_millis(1));
    let (crowd, newcomer) = tokio::join!(futures::future::join_all(crowd), newcomer);
    assert!(newcomer.is_ok(), "{newcomer:?}");
    // One asks, three wait; the newcomer takes the place of one more of them.
    let sent_away: Vec<_> = crowd.iter().filter_map(|it| it.as_ref().err()).collect();
    assert_eq!(sent_away.len(), 2);
    assert!(sent_away.iter().all(|wait| !wait.is_zero()));
    is_as_new(&lookups);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_their_client_since_they_arrived() {
    let lookups = lookups(1, 10);
    let held = lookups.place(&request(1, 1)).await.unwrap();
    let request = request(2, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(lookups.place(&request).await.is_err());
    assert_eq!(request.arrived.elapsed(), PATIENCE);
    drop(held);
    is_as_new(&lookups);
}

#[tokio::test(start_paused = true)]
async fn more_than_can_ask_in_time_do_not_wait() {
    let lookups = lookups(1, 10_000);
    // From now on each is known to take a second: eight can be served before clients give up.
    for _ in 0..100 {
        let place = lookups.place(&request(1, 1)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(place);
    }
    let held = lookups.place(&request(1, 1)).await.unwrap();
    let requests: Vec<_> = (0..12).map(|n| request(2, n)).collect();
    let waiting = futures::future::join_all(requests.iter().map(|it| lookups.place(it)));
    let waiting = tokio::time::timeout(Duration::from_millis(1), waiting).await;
    assert!(waiting.is_err(), "nobody has had a turn");
    drop(held);
    is_as_new(&lookups);

    let held = lookups.place(&request(1, 1)).await.unwrap();
    let begun = Instant::now();
    let ends = requests.iter().map(|it| {
        let it = Request {
            arrived: begun,
            ..it.clone()
        };
        let lookups = &lookups;
        async move {
            drop(lookups.place(&it).await);
            begun.elapsed()
        }
    });
    let ends = futures::future::join_all(ends).await;
    let at_once = ends.iter().filter(|end| end.is_zero()).count();
    assert!((3..=5).contains(&at_once), "{ends:?}");
    drop(held);
    is_as_new(&lookups);
}
