use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LEASE: u64 = 1_000_000;

fn at(seq: u64) -> CommitSeq {
    CommitSeq::from_wire(seq)
}

fn key(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n])
}

fn body(n: u32) -> Bytes {
    Bytes::from(n.to_string())
}

fn only(progress: &mut Progress) -> FollowStep {
    let mut steps = progress.steps(LEASE, 100);
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0)
}

#[test]
fn what_is_done_at_once_is_never_in_the_store() {
    let mut progress = Progress::new(at(5), 0);
    assert_eq!(progress.steps(LEASE, 100), []);
    let attempt = progress.begin(key(1), 0, body(1));
    progress.reach(at(6));
    progress.done(&attempt);
    let step = only(&mut progress);
    assert_eq!((step.position, step.put, step.remove), (6, vec![], vec![]));
    assert_eq!(progress.steps(LEASE, 100), [], "once is enough");
}

#[test]
fn what_runs_when_the_position_moves_has_a_line_until_it_is_done() {
    let mut progress = Progress::new(at(0), 0);
    let attempt = progress.begin(key(1), 0, body(1));
    progress.reach(at(1));
    let step = only(&mut progress);
    let line = FollowRetry {
        key: key(1),
        due: LEASE,
        tries: 0,
        body: body(1),
        lane: 0,
    };
    assert_eq!(step.put, std::slice::from_ref(&line));
    assert!(progress.resume(line).is_none(), "it runs");
    progress.done(&attempt);
    assert_eq!(only(&mut progress).remove, [key(1)]);
    assert_eq!(progress.len(), 0);
}

#[test]
fn what_failed_waits_in_the_store_and_counts_its_tries() {
    let mut progress = Progress::new(at(0), 0);
    let first = progress.begin(key(1), 0, body(1));
    progress.again(&first, 70);
    progress.done(&first);
    let step = only(&mut progress);
    assert_eq!((step.put[0].due, step.put[0].tries), (70, 1));
    assert_eq!(progress.len(), 0, "what waits is not kept here");
    progress.has_lines(1);
    let (second, again, tries) = progress.resume(step.put[0].clone()).unwrap();
    assert_eq!((again, tries), (body(1), 1));
    progress.again(&second, 90);
    assert_eq!(only(&mut progress).put[0].tries, 2);
}

#[test]
fn a_newer_job_of_a_key_takes_the_place_of_the_older_one() {
    let mut progress = Progress::new(at(0), 0);
    let older = progress.begin(key(1), 0, body(1));
    let newer = progress.begin(key(1), 0, body(2));
    progress.done(&older);
    assert_eq!(progress.len(), 1, "the newer one is not done");
    progress.again(&newer, 7);
    assert_eq!(only(&mut progress).put[0].body, body(2));
    // The older line is only in the store now: whatever is done of the key makes an end of it.
    progress.has_lines(1);
    let third = progress.begin(key(1), 0, body(3));
    progress.done(&third);
    assert_eq!(only(&mut progress).remove, [key(1)]);
}

#[test]
fn a_long_step_goes_in_parts_and_the_position_with_the_last() {
    let mut progress = Progress::new(at(3), 0);
    for n in 0..5 {
        progress.put_off(key(n), 0, body(n.into()), 1);
    }
    progress.reach(at(9));
    let steps = progress.steps(LEASE, 2);
    let shape: Vec<_> = steps.iter().map(|it| (it.position, it.put.len())).collect();
    assert_eq!(shape, [(3, 2), (3, 2), (9, 1)]);
}

/// What a store does with steps.
#[derive(Clone, Debug, Default)]
struct Store {
    lines: BTreeMap<Bytes, FollowRetry>,
    position: u64,
}

impl Store {
    fn take(&mut self, steps: Vec<FollowStep>) {
        for step in steps {
            self.position = step.position;
            for key in step.remove {
                self.lines.remove(&key);
            }
            for line in step.put {
                self.lines.insert(line.key.clone(), line);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Message(u8),
    PutOff(u8),
    Done(u8),
    Again(u8),
    Resume(u8),
    Step(usize),
    /// Killed before so many of the parts of a step are stored.
    Crash(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..4_u8;
    prop_oneof![
        key.clone().prop_map(Op::Message),
        key.clone().prop_map(Op::PutOff),
        key.clone().prop_map(Op::Done),
        key.clone().prop_map(Op::Again),
        key.prop_map(Op::Resume),
        (1..4_usize).prop_map(Op::Step),
        (0..4_usize).prop_map(Op::Crash),
    ]
}

proptest! {
    /// Message n makes job n. After every step and crash: the newest job of a key whose message lies up to
    /// the position has been done, or has a line, or a newer one that took its place has been done; and
    /// whoever goes on from there does all others again.
    #[test]
    fn nothing_is_lost_whenever_it_is_killed(ops in prop::collection::vec(op(), 1..80)) {
        let mut store = Store::default();
        let mut progress = Progress::new(at(0), 0);
        let mut running: BTreeMap<u8, Vec<(Attempt, u64)>> = BTreeMap::new();
        // Newest message of each key, and whether its job was ever done.
        let mut log: Vec<u8> = Vec::new();
        let mut ever_done: Vec<bool> = Vec::new();
        for op in ops {
            match op {
                Op::Message(n) | Op::PutOff(n) => {
                    // What was lost in a crash is read again first.
                    let from = usize::try_from(progress.reached().to_wire()).unwrap();
                    if from == log.len() {
                        log.push(n);
                        ever_done.push(false);
                    }
                    let n = log[from];
                    let seq = from as u64 + 1;
                    let job = Bytes::from(seq.to_string());
                    if matches!(op, Op::PutOff(_)) {
                        progress.put_off(key(n), 0, job, 5);
                    } else {
                        let attempt = progress.begin(key(n), 0, job);
                        running.entry(n).or_default().push((attempt, seq));
                    }
                    progress.reach(at(seq));
                }
                Op::Done(n) => {
                    if let Some((attempt, seq)) = running.get_mut(&n).and_then(Vec::pop) {
                        ever_done[usize::try_from(seq).unwrap() - 1] = true;
                        progress.done(&attempt);
                    }
                }
                Op::Again(n) => {
                    if let Some((attempt, _)) = running.get_mut(&n).and_then(Vec::pop) {
                        progress.again(&attempt, 5);
                    }
                }
                Op::Resume(n) => {
                    let line = store.lines.get(&key(n)).cloned();
                    if let Some((attempt, job, _)) = line.and_then(|it| progress.resume(it)) {
                        let seq = std::str::from_utf8(&job).unwrap().parse().unwrap();
                        running.entry(n).or_default().push((attempt, seq));
                    }
                }
                Op::Step(lines) => {
                    store.take(progress.steps(LEASE, lines));
                    progress.has_lines(store.lines.len() as u64);
                    prop_assert_eq!(progress.changes(), 0);
                }
                Op::Crash(parts) => {
                    let mut steps = progress.steps(LEASE, 1);
                    steps.truncate(parts);
                    store.take(steps);
                    progress = Progress::new(at(store.position), store.lines.len() as u64);
                    running.clear();
                }
            }
            let known = usize::try_from(store.position).unwrap();
            for n in 0..4_u8 {
                let newest = log[..known].iter().rposition(|it| *it == n);
                let Some(newest) = newest else { continue };
                let has_line = store.lines.contains_key(&key(n));
                let newer = (newest..log.len()).any(|at| log[at] == n && ever_done[at]);
                prop_assert!(newer || has_line, "message {} of key {n}", newest + 1);
            }
        }
    }
}
