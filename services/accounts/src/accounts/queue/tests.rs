//! The order of the queue, and its bounds.

use proptest::prelude::*;

use super::*;

const HASH: Duration = Duration::from_millis(50);

fn limits() -> Limits {
    Limits {
        parallel: 1,
        waiting: 100,
        per_address: 20,
        per_name: 10,
        patience: Duration::from_secs(100),
        settle: Duration::ZERO,
    }
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

/// A login of a name with some digest; four addresses are a network.
fn request(name: u64, digest: u64, address: u64) -> Request {
    Request {
        name: key(name),
        question: key(name * 1_000 + digest),
        address: key(address),
        network: key(address / 4),
        arrived: Instant::now(),
    }
}

struct Sim {
    queue: Queue,
    now: Instant,
}

impl Sim {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            queue: Queue::new(limits, now),
            now,
        }
    }

    /// Adds a login; who was sent away for it.
    fn join(&mut self, id: Id, name: u64, address: u64) -> Vec<(Id, Bound)> {
        self.ask(id, name, id, address)
    }

    fn ask(&mut self, id: Id, name: u64, digest: u64, address: u64) -> Vec<(Id, Bound)> {
        self.now += Duration::from_millis(1);
        let request = Request {
            arrived: self.now,
            ..request(name, digest, address)
        };
        let shed = self.queue.join(id, &request, self.now);
        shed.iter().map(|shed| (shed.id, shed.bound)).collect()
    }

    /// Whom the places are given to, one after the other.
    fn order(&mut self) -> Vec<Id> {
        let mut order = Vec::new();
        while let Some(id) = self.queue.next(self.now) {
            order.push(id);
            self.queue.finish(id);
        }
        order
    }
}

#[tokio::test]
async fn of_one_address_the_newest_is_first() {
    let mut sim = Sim::new(limits());
    for id in 1..=4 {
        assert_eq!(sim.join(id, id, 0), []);
    }
    assert_eq!(sim.order(), [4, 3, 2, 1]);
}

#[tokio::test]
async fn addresses_and_networks_take_turns() {
    let mut sim = Sim::new(limits());
    // Addresses 0 and 1 are of one network, 4 of another.
    for (id, address) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 4), (6, 4)] {
        sim.join(id, id, address);
    }
    assert_eq!(sim.order(), [3, 6, 4, 5, 2, 1]);
}

#[tokio::test]
async fn of_one_name_and_address_one_is_checked_at_a_time() {
    let mut sim = Sim::new(Limits {
        parallel: 3,
        ..limits()
    });
    sim.join(1, 7, 0);
    sim.join(2, 7, 0);
    sim.join(3, 8, 0);
    assert_eq!(sim.queue.next(sim.now), Some(3));
    assert_eq!(sim.queue.next(sim.now), Some(2));
    assert_eq!(sim.queue.next(sim.now), None, "its name is being checked");
    sim.join(4, 7, 1);
    assert_eq!(sim.queue.next(sim.now), Some(4), "not from there");
    sim.queue.finish(2);
    assert_eq!(sim.queue.next(sim.now), Some(1));
}

#[tokio::test]
async fn equal_questions_are_asked_once_by_the_newest() {
    let mut sim = Sim::new(limits());
    sim.ask(1, 7, 5, 0);
    sim.ask(2, 7, 5, 0);
    sim.ask(3, 7, 6, 0);
    sim.ask(4, 7, 5, 1);
    assert_eq!(sim.queue.waiting(), 4);
    assert_eq!(sim.queue.next(sim.now), Some(3));
    assert!(sim.queue.finish(3).is_empty());
    assert_eq!(sim.queue.next(sim.now), Some(4));
    sim.ask(5, 7, 5, 9);
    assert_eq!(sim.queue.next(sim.now), None, "it is asked already");
    assert_eq!(sim.queue.waiting(), 3);
    assert_eq!(sim.queue.finish(4), [1, 2, 5]);
    assert_eq!(sim.queue.waiting(), 0);
}

#[tokio::test]
async fn equal_questions_are_bounded_by_the_name_and_the_newest_stays() {
    let mut sim = Sim::new(Limits {
        per_name: 3,
        ..limits()
    });
    for id in 1..=3 {
        assert_eq!(sim.ask(id, 7, 5, 0), []);
    }
    assert_eq!(sim.ask(4, 7, 5, 0), [(1, Bound::Name)]);
    assert_eq!(sim.queue.next(sim.now), Some(4));
    assert_eq!(sim.ask(5, 7, 5, 0), []);
    assert_eq!(sim.ask(6, 7, 5, 0), [(2, Bound::Name)]);
    assert_eq!(sim.queue.finish(4), [3, 5, 6]);
}

#[tokio::test]
async fn whoever_asked_first_goes_on_when_the_newer_one_leaves() {
    let mut sim = Sim::new(limits());
    sim.ask(1, 7, 5, 0);
    sim.ask(2, 7, 5, 0);
    sim.queue.leave(2);
    assert_eq!(sim.order(), [1]);
    sim.ask(3, 7, 5, 0);
    sim.ask(4, 7, 5, 0);
    sim.queue.leave(3);
    assert_eq!(sim.queue.waiting(), 1);
    assert_eq!(sim.order(), [4]);
}

#[tokio::test]
async fn over_the_bound_of_an_address_its_oldest_goes() {
    let mut sim = Sim::new(Limits {
        per_address: 2,
        ..limits()
    });
    sim.join(1, 1, 0);
    sim.join(2, 2, 0);
    sim.join(3, 3, 1);
    assert_eq!(sim.join(4, 4, 0), [(1, Bound::Address)]);
    assert_eq!(sim.queue.waiting(), 3);
}

#[tokio::test]
async fn over_the_bound_of_a_network_the_oldest_of_its_largest_address_goes() {
    let mut sim = Sim::new(Limits {
        per_address: 2,
        ..limits()
    });
    // Eight may wait of a network; addresses 0 to 3 have two each.
    for id in 0..8 {
        assert_eq!(sim.join(id, id, id / 2), []);
    }
    let mut fifth = request(100, 100, 50);
    fifth.network = key(0);
    let shed = sim.queue.join(100, &fifth, sim.now);
    assert_eq!(shed.len(), 1);
    assert_eq!(shed[0].bound, Bound::Network);
    assert!(shed[0].id.is_multiple_of(2), "the older of two: {shed:?}");
}

#[tokio::test]
async fn over_the_bound_of_a_name_the_oldest_of_whoever_tries_most_goes() {
    let mut sim = Sim::new(Limits {
        per_name: 3,
        ..limits()
    });
    sim.join(1, 7, 4);
    sim.join(2, 7, 0);
    sim.join(3, 7, 0);
    assert_eq!(sim.join(4, 8, 0), []);
    assert_eq!(sim.join(5, 7, 0), [(2, Bound::Name)]);
    assert_eq!(sim.join(6, 7, 8), [(3, Bound::Name)]);
}

#[tokio::test]
async fn over_the_bound_of_all_the_oldest_of_the_largest_network_goes() {
    let mut sim = Sim::new(Limits {
        waiting: 4,
        ..limits()
    });
    sim.join(1, 1, 8);
    sim.join(2, 2, 0);
    sim.join(3, 3, 1);
    sim.join(4, 4, 1);
    assert_eq!(sim.join(5, 5, 12), [(3, Bound::All)]);
    assert_eq!(sim.queue.waiting(), 4);
}

#[tokio::test]
async fn no_more_wait_than_can_be_served_before_clients_lose_patience() {
    let mut sim = Sim::new(Limits {
        patience: HASH * 10,
        per_name: 1_000,
        per_address: 1_000,
        ..limits()
    });
    for id in 0..50 {
        sim.join(id, id, id);
        assert!(sim.queue.waiting() <= 10);
    }
}

#[tokio::test]
async fn whoever_cannot_be_answered_in_time_is_sent_away_before() {
    let mut sim = Sim::new(Limits {
        patience: HASH * 10,
        ..limits()
    });
    for id in 1..=6 {
        sim.join(id, id, 0);
    }
    assert_eq!(sim.queue.shed_late(sim.now), [], "six can be answered");
    sim.now += HASH * 6;
    let late: Vec<Id> = sim
        .queue
        .shed_late(sim.now)
        .iter()
        .map(|shed| {
            assert_eq!(shed.bound, Bound::Patience);
            shed.id
        })
        .collect();
    assert_eq!(
        late,
        [1, 2, 3, 4],
        "after the one that is being computed, two more can"
    );
    assert_eq!(sim.order(), [6, 5]);
}

#[tokio::test]
async fn a_login_settles_before_it_costs_a_hash() {
    let settle = Duration::from_millis(20);
    let mut sim = Sim::new(Limits { settle, ..limits() });
    sim.join(1, 1, 0);
    assert_eq!(sim.queue.next(sim.now + settle / 2), None);
    assert_eq!(sim.queue.next(sim.now + settle), Some(1));
}

#[tokio::test]
async fn jobs_and_logins_take_turns_and_neither_waits_for_nobody() {
    let mut sim = Sim::new(limits());
    for job in 100..103 {
        sim.queue.join_job(job);
    }
    for id in 1..=2 {
        sim.join(id, id, 0);
    }
    assert_eq!(sim.order(), [2, 100, 1, 101, 102]);
    sim.queue.join_job(104);
    sim.queue.leave(104);
    assert!(sim.order().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Join {
        name: u64,
        digest: u64,
        address: u64,
    },
    Leave(usize),
    Next,
    Finish(usize),
    Late(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u64, 0..3_u64, 0..12_u64)
            .prop_map(|(name, digest, address)| Step::Join { name, digest, address }),
        2 => any::<usize>().prop_map(Step::Leave),
        3 => Just(Step::Next),
        2 => any::<usize>().prop_map(Step::Finish),
        1 => (0..200_u64).prop_map(Step::Late),
    ]
}

proptest! {
    /// Whoever joined waits, runs, has left, was sent away or has been answered: exactly one of these,
    /// and no bound is ever broken.
    #[test]
    fn nobody_is_lost_and_no_bound_is_broken(steps in prop::collection::vec(step(), 1..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let limits = Limits {
            parallel: 2,
            waiting: 12,
            per_address: 3,
            per_name: 5,
            patience: HASH * 20,
            settle: Duration::from_millis(2),
        };
        let mut sim = Sim::new(limits.clone());
        let mut waiting: Vec<(Id, u64)> = Vec::new();
        let mut running: Vec<Id> = Vec::new();
        let mut last = 0;
        for step in steps {
            match step {
                Step::Join { name, digest, address } => {
                    last += 1;
                    waiting.push((last, name));
                    for (id, _) in sim.ask(last, name, digest, address) {
                        prop_assert!(waiting.iter().any(|(other, _)| *other == id));
                        waiting.retain(|(other, _)| *other != id);
                    }
                }
                Step::Leave(place) if !waiting.is_empty() => {
                    let (id, _) = waiting.remove(place % waiting.len());
                    sim.queue.leave(id);
                }
                Step::Next => {
                    if let Some(id) = sim.queue.next(sim.now) {
                        prop_assert!(waiting.iter().any(|(other, _)| *other == id));
                        waiting.retain(|(other, _)| *other != id);
                        running.push(id);
                    }
                }
                Step::Finish(place) if !running.is_empty() => {
                    let id = running.remove(place % running.len());
                    for joined in sim.queue.finish(id) {
                        prop_assert!(waiting.iter().any(|(other, _)| *other == joined));
                        waiting.retain(|(other, _)| *other != joined);
                    }
                }
                Step::Late(millis) => {
                    sim.now += Duration::from_millis(millis);
                    for shed in sim.queue.shed_late(sim.now) {
                        waiting.retain(|(other, _)| *other != shed.id);
                    }
                }
                Step::Leave(_) | Step::Finish(_) => {}
            }
            prop_assert_eq!(sim.queue.waiting(), waiting.len());
            prop_assert!(running.len() <= limits.parallel);
            // Those who wait for a running answer are bounded with the others when somebody joins.
            let queued = sim.queue.waiting.weight();
            prop_assert!(queued <= limits.waiting);
            for network in &sim.queue.waiting.networks {
                prop_assert!(!network.addresses.is_empty());
                prop_assert!(network.weight() <= 4 * limits.per_address);
                for address in &network.addresses {
                    prop_assert!(!address.entries.is_empty());
                    prop_assert!(address.weight() <= limits.per_address);
                }
            }
        }
        for id in running {
            sim.queue.finish(id);
        }
        sim.now += limits.settle;
        while let Some(id) = sim.queue.next(sim.now) {
            sim.queue.finish(id);
        }
        prop_assert!(sim.queue.waiting.networks.is_empty());
    }
}
