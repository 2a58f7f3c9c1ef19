//! The rules one by one, and then a simulated system: a writer, route servers, links that lose and
//! break, rings that change, and sessions that must see every message once and in order.

use proptest::prelude::*;

use super::*;

mod world;

const OWN: u64 = 7;
const ONE: LinkId = LinkId(1);
const TWO: LinkId = LinkId(2);

fn at(position: u64) -> CommitSeq {
    CommitSeq::from_wire(position)
}

fn span(after: u64, through: u64) -> Span {
    Span::from_wire(after, through)
}

/// A machine that is live on links 1 and 2 at this position.
fn live_at(through: u64) -> Position<&'static str> {
    let through = at(through);
    let mut position = Position::new(1_000);
    position.set_ring(OWN, &[ONE, TWO]);
    position.cursor(ONE, through);
    for link in [ONE, TWO] {
        position.batch(link, Span::at(through), OWN);
        position.snapshot_done(link, through);
        position.batch_done(link, through);
    }
    assert_eq!(position.mode(), Mode::Live);
    position
}

#[test]
fn live_messages_are_delivered_while_batches_follow_each_other() {
    let mut position = live_at(10);
    assert_eq!(position.batch(ONE, span(10, 12), OWN), Verdict::Deliver);
    assert_eq!(position.batch_done(ONE, at(12)), None);
    assert_eq!(position.batch(ONE, span(12, 15), OWN), Verdict::Deliver);
    assert_eq!(position.next_read(), Read::Nothing);
}

#[test]
fn a_gap_makes_the_log_be_read_from_the_lowest_position() {
    let mut position = live_at(10);
    position.batch(ONE, span(10, 20), OWN);
    position.batch_done(ONE, at(20));
    assert_eq!(position.batch(TWO, span(13, 20), OWN), Verdict::Drop);
    assert_eq!(position.batch_done(TWO, at(20)), None);
    assert_eq!(position.gaps(), 1);
    assert_eq!(position.next_read(), Read::Now(at(10)));
    assert_eq!(position.reached(), at(10));
    assert_eq!(position.page(at(20), false), Some(vec![]));
    assert_eq!(position.mode(), Mode::Live);
}

#[test]
fn a_gap_at_the_end_of_the_log_is_found_by_an_announcement() {
    let mut position = live_at(10);
    assert_eq!(position.batch(ONE, span(11, 11), OWN), Verdict::Drop);
    position.batch_done(ONE, at(11));
    assert_eq!(position.next_read(), Read::Now(at(10)));
}

#[test]
fn another_ring_than_ours_means_the_log() {
    let mut position = live_at(10);
    assert_eq!(position.batch(ONE, span(10, 11), OWN + 1), Verdict::Drop);
    assert_eq!(position.gaps(), 0, "nothing was missed");
    position.batch_done(ONE, at(11));
    assert_eq!(position.page(at(11), false), None);
    assert_eq!(position.mode(), Mode::Pull);
    assert_eq!(
        position.next_read(),
        Read::Later(at(11)),
        "polled, since nothing new is known"
    );
    position.stored(at(11));
    assert_eq!(position.next_read(), Read::Later(at(11)), "it was read");
    position.stored(at(12));
    assert_eq!(
        position.next_read(),
        Read::Now(at(11)),
        "a message of this server is there"
    );
    position.page(at(12), false);
    position.batch_done(ONE, at(14));
    assert_eq!(position.next_read(), Read::Now(at(12)), "14 was announced");
    position.page(at(14), false);
    position.batch(ONE, span(11, 14), OWN);
    assert_eq!(position.batch_done(ONE, at(14)), Some(vec![]));
    assert_eq!(position.mode(), Mode::Live);
}

#[test]
fn distrust_means_the_log_from_where_all_was_delivered_and_then_live_again() {
    let mut position = live_at(10);
    position.batch(ONE, span(10, 12), OWN);
    position.batch_done(ONE, at(12));
    position.distrust();
    assert_eq!(position.mode(), Mode::Pull);
    assert_eq!(position.next_read(), Read::Now(at(10)));
    assert_eq!(position.page(at(12), false), Some(vec![]));
    assert_eq!(position.mode(), Mode::Live);
    assert_eq!(position.gaps(), 0, "nothing was missed");
}

#[test]
fn what_a_link_has_announced_counts_when_our_ring_is_settled_anew() {
    let mut position = live_at(10);
    position.set_ring(OWN, &[ONE, TWO]);
    assert_eq!(position.mode(), Mode::Pull);
    position.snapshot_done(ONE, at(10));
    assert_eq!(position.batch_done(ONE, at(10)), None, "the other one owes");
    position.snapshot_done(TWO, at(10));
    assert_eq!(position.batch_done(TWO, at(10)), Some(vec![]));
    // Another ring of ours is announced by nobody yet.
    position.set_ring(OWN + 1, &[ONE, TWO]);
    for link in [ONE, TWO] {
        position.snapshot_done(link, at(10));
        assert_eq!(position.batch_done(link, at(10)), None);
    }
}

#[test]
fn without_a_ring_of_our_own_nothing_is_live() {
    let mut position: Position<()> = Position::new(1_000);
    position.cursor(ONE, at(5));
    position.set_ring(0, &[ONE]);
    position.batch(ONE, span(5, 5), 0);
    position.snapshot_done(ONE, at(5));
    assert_eq!(position.batch_done(ONE, at(5)), None);
    assert_eq!(position.page(at(5), false), None);
    assert_eq!(position.mode(), Mode::Pull);
}

#[test]
fn nothing_is_live_before_every_link_has_confirmed_our_sessions() {
    let mut position: Position<()> = Position::new(1_000);
    position.cursor(ONE, at(5));
    position.set_ring(OWN, &[ONE, TWO]);
    position.batch(ONE, span(5, 5), OWN);
    position.snapshot_done(ONE, at(5));
    assert_eq!(position.batch_done(ONE, at(5)), None);
    assert_eq!(position.batch(TWO, span(5, 9), OWN), Verdict::Drop);
    assert_eq!(position.batch_done(TWO, at(9)), None);
    position.batch(TWO, span(9, 9), OWN);
    position.snapshot_done(TWO, at(9));
    assert_eq!(
        position.batch_done(TWO, at(9)),
        None,
        "9 was announced and 5 is read"
    );
    assert_eq!(position.page(at(9), false), Some(vec![]));
}

#[test]
fn live_messages_are_held_while_the_end_of_the_log_is_read() {
    let mut position = live_at(10);
    position.batch(ONE, span(11, 20), OWN);
    position.batch_done(ONE, at(20));
    // The page was made before 20 was committed.
    assert_eq!(position.page(at(18), false), None);
    assert_eq!(position.mode(), Mode::Join);
    assert_eq!(position.batch(ONE, span(20, 22), OWN), Verdict::Hold);
    position.hold(ONE, 10, "21 and 22");
    assert_eq!(position.batch_done(ONE, at(22)), None);
    assert_eq!(position.page(at(21), true), Some(vec![(ONE, "21 and 22")]));
    assert_eq!(position.mode(), Mode::Live);
    assert_eq!(position.batch(ONE, span(22, 23), OWN), Verdict::Deliver);
}

#[test]
fn held_messages_beyond_the_bound_are_left_to_the_log() {
    let mut position = joining();
    assert_eq!(position.batch(ONE, span(20, 22), OWN), Verdict::Hold);
    position.hold(ONE, 1_001, "too much");
    position.batch_done(ONE, at(22));
    assert_eq!(position.mode(), Mode::Pull);
    assert_eq!(position.next_read(), Read::Now(at(18)));
    assert_eq!(position.page(at(22), false), Some(vec![]));
}

/// A machine that holds what comes: the log is read up to 18, and 20 was announced.
fn joining() -> Position<&'static str> {
    let mut position = live_at(10);
    position.batch(ONE, span(11, 20), OWN);
    position.batch_done(ONE, at(20));
    position.page(at(18), false);
    assert_eq!(position.mode(), Mode::Join);
    position
}

#[test]
fn all_that_is_held_together_has_one_bound() {
    let mut position = joining();
    for (link, messages) in [(ONE, "a"), (TWO, "b")] {
        position.hold(link, 500, messages);
        assert_eq!(position.mode(), Mode::Join, "as much as may be held");
    }
    position.hold(ONE, 1, "c");
    assert_eq!(position.mode(), Mode::Pull);
    // What was held is forgotten, and counts no more when it goes on.
    position.hold(ONE, 1_000, "not asked for");
    position.page(at(18), false);
    position.hold(ONE, 1_000, "d");
    assert_eq!(position.page(at(20), false), Some(vec![(ONE, "d")]));
}

#[test]
fn another_ring_ends_the_way_back() {
    let mut position = joining();
    assert_eq!(position.batch(ONE, span(20, 21), OWN + 1), Verdict::Drop);
    assert_eq!(position.mode(), Mode::Pull);
}

#[test]
fn a_hole_among_held_messages_is_filled_by_the_log() {
    let mut position = joining();
    assert_eq!(position.batch(ONE, span(25, 26), OWN), Verdict::Hold);
    position.hold(ONE, 1, "26");
    position.batch_done(ONE, at(26));
    assert_eq!(
        position.page(at(22), false),
        None,
        "23 to 25 are nowhere yet"
    );
    assert_eq!(position.page(at(25), false), Some(vec![(ONE, "26")]));
    assert_eq!(position.gaps(), 2, "the one of before, and the hole");
}

#[test]
fn a_session_starts_where_it_was_confirmed_or_where_the_log_was_read() {
    let mut live = live_at(10);
    assert_eq!(live.cursor(ONE, at(12)), at(12));
    assert_eq!(
        live.cursor(ONE, at(8)),
        at(10),
        "what the log brought before the session is not live again"
    );
    let mut pull: Position<()> = Position::new(1_000);
    assert_eq!(pull.cursor(ONE, at(5)), at(5));
    pull.page(at(9), false);
    assert_eq!(pull.cursor(ONE, at(5)), at(9));
    assert_eq!(pull.cursor(ONE, at(11)), at(11));
}

#[test]
fn without_sessions_the_position_follows_without_reading() {
    let mut position: Position<()> = Position::new(1_000);
    assert!(!position.nobody_here());
    assert_eq!(position.next_read(), Read::Nothing);
    position.set_ring(OWN, &[ONE]);
    position.batch(ONE, span(900, 1_000), OWN);
    position.snapshot_done(ONE, at(1_000));
    position.batch_done(ONE, at(1_000));
    assert!(position.nobody_here());
    assert_eq!(position.mode(), Mode::Live);
    assert_eq!(position.reached(), at(1_000));
}

#[derive(Clone, Debug)]
enum Move {
    Commit(Vec<u8>),
    Arrive(usize),
    Lose(usize),
    Merge(usize),
    Writer(usize, bool),
    Link(usize, bool),
    Settle,
    Positions,
    Login(u32),
    Read(u64),
    WriterRestarted,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 1..4).prop_map(Move::Commit),
        12 => (0..3usize).prop_map(Move::Arrive),
        1 => (0..3usize).prop_map(Move::Lose),
        2 => (0..3usize).prop_map(Move::Merge),
        1 => (0..3usize, prop::bool::weighted(0.7)).prop_map(|(n, up)| Move::Writer(n, up)),
        1 => (0..3usize, prop::bool::weighted(0.7)).prop_map(|(n, up)| Move::Link(n, up)),
        2 => Just(Move::Settle),
        1 => Just(Move::Positions),
        2 => (1..=world::USERS).prop_map(Move::Login),
        6 => (1..6u64).prop_map(Move::Read),
        1 => Just(Move::WriterRestarted),
    ];
    prop::collection::vec(one, 1..120)
}

fn play(moves: &[Move], max_held: usize) -> world::World {
    let mut world = world::World::new(max_held);
    for n in 0..2 {
        world.writer_link(n, true);
        world.msg_link(n, true);
    }
    for n in 0..2 {
        world.arrive(n);
    }
    world.settle();
    for step in moves {
        match step {
            Move::Commit(masks) => world.commit(masks),
            Move::Arrive(n) => drop(world.arrive(*n)),
            Move::Lose(n) => world.lose(*n),
            Move::Merge(n) => world.merge(*n),
            Move::Writer(n, up) => world.writer_link(*n, *up),
            Move::Link(n, up) => world.msg_link(*n, *up),
            Move::Settle => world.settle(),
            Move::Positions => world.announce_positions(),
            Move::Login(user) => world.login(*user),
            Move::Read(limit) => world.read(*limit),
            Move::WriterRestarted => world.writer_restarted(),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn every_session_sees_every_message_after_its_cursor_once_and_in_order(
        moves in moves(),
        max_held in prop_oneof![Just(2usize), Just(1_000)],
    ) {
        let mut world = play(&moves, max_held);
        // Things calm down: live mode comes back by itself, and works.
        for n in 0..3 {
            world.writer_link(n, true);
            world.msg_link(n, true);
        }
        world.quiesce();
        prop_assert_eq!(world.mode(), Mode::Live);
        world.check();
        world.commit(&[0xff, 0x7f, 0x3f]);
        for n in 0..3 {
            while world.arrive(n) {}
        }
        prop_assert_eq!(world.mode(), Mode::Live);
        world.check();
    }

    #[test]
    fn without_any_route_server_the_log_alone_brings_everything(moves in moves()) {
        let mut world = play(&moves, 1_000);
        for n in 0..3 {
            world.msg_link(n, false);
        }
        world.commit(&[0xff, 0x7f]);
        world.quiesce();
        prop_assert_ne!(world.mode(), Mode::Live);
        world.check();
    }
}
