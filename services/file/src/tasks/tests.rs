use super::*;

mod bounds;

const BLOCK: u32 = FileConfig::STORED_BLOCK;
const OTHER: Violation = Violation;

fn bounds() -> Bounds {
    Bounds {
        block: 40_000,
        block_timeout: 100,
        wait: 1_000,
        lifetime: 10_000,
        ..Bounds::of(&FileConfig::default())
    }
}

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

fn task(n: u8) -> TaskId {
    format!("{n:02x}000000-0000-0000-0000-000000000000")
        .parse()
        .unwrap()
}

fn pull(seq: u16, offset: u32, size: u32) -> Pull {
    Pull { seq, offset, size }
}

/// A file of 1 for 2.
fn offer(size: u32, offline: bool) -> Offer {
    Offer {
        from: user(1),
        to: user(2),
        name: "C:/a.txt".to_owned(),
        size,
        offline,
    }
}

const SENDER: ConnId = ConnId(10);
const RECEIVER: ConnId = ConnId(20);
const STRANGER: ConnId = ConnId(30);
const T: u64 = 50;

use ClientFileRole::{
    ClientOfflineDownload as Download, ClientOfflineUpload as Upload,
    ClientRealtimeRecver as Recver, ClientRealtimeSender as Sender,
};
use ClientFileState::{
    ClientFileCancel as Cancel, ClientFileDone as Done, ClientFilePeerReady as PeerReady,
    ClientFileRefuse as Refuse,
};

/// An open task `task(1)`.
fn with(size: u32, offline: bool) -> Tasks {
    let mut tasks = Tasks::new(bounds());
    tasks.create(task(1), offer(size, offline), T).unwrap();
    tasks
}

/// An online task with both people.
fn joined(size: u32) -> Tasks {
    let mut tasks = with(size, false);
    assert_eq!(
        tasks.enter(SENDER, task(1), user(1), Sender, T),
        Some(Entered::Waiting)
    );
    assert_eq!(
        tasks.enter(RECEIVER, task(1), user(2), Recver, T),
        Some(READY)
    );
    tasks
}

const fn id(raw: u32) -> UserId {
    match UserId::from_wire(raw) {
        Some(id) => id,
        None => panic!(),
    }
}

const READY: Entered = Entered::PeerReady {
    receiver: RECEIVER,
    sender: id(1),
};

/// A stored file `task(1)`.
fn stored(size: u32) -> Tasks {
    let mut tasks = with(size, true);
    upload(&mut tasks, size);
    tasks
}

fn upload(tasks: &mut Tasks, size: u32) {
    let entered = tasks.enter(SENDER, task(1), user(1), Upload, T);
    let Some(Entered::Upload { mut next }) = entered else {
        panic!("{entered:?}");
    };
    loop {
        assert_eq!(next.size, BLOCK.min(size - next.offset));
        let (length, by) = (next.size as usize, (task(1), user(1)));
        let came = tasks.block(SENDER, by, 0, next.offset, length, T);
        assert_eq!(came, Ok(Came::Write));
        match tasks.written(SENDER, next.size, T).unwrap() {
            Written::Next(pull) => next = pull,
            Written::Whole => break,
        }
    }
    assert_eq!(tasks.uploaded(SENDER, at(100)), Ok(None));
}

fn at(seconds: u32) -> UnixSeconds {
    UnixSeconds::from_wire(seconds)
}

/// Nothing is held for anybody any more.
fn assert_empty(tasks: &Tasks) {
    assert_eq!((tasks.open(), tasks.taking_part()), (0, 0));
    assert_eq!(tasks.stored(), (0, 0));
    assert!(tasks.ledger.is_empty(), "{:?}", tasks.ledger);
}

#[test]
fn an_online_transfer_runs_block_by_block_with_the_numbers_of_the_requests() {
    let mut tasks = joined(50_000);
    let (by, of) = ((task(1), user(2)), (task(1), user(1)));
    for (seq, offset, length) in [(7, 0, 34_816), (8, 34_816, 15_184)] {
        let asked = tasks.pull(RECEIVER, by, pull(seq, offset, 34_816), T);
        let forward = Asked::Forward {
            to: SENDER,
            shortened: None,
        };
        assert_eq!(asked, Ok(forward));
        let came = tasks.block(SENDER, of, 0, offset, length, T);
        assert_eq!(came, Ok(Came::Forward { to: RECEIVER, seq }));
    }
    let stated = tasks.state(RECEIVER, by, Done).unwrap();
    assert_eq!((stated.tell, stated.ended), (Some(SENDER), Some(task(1))));
    assert_empty(&tasks);
}

#[test]
fn the_receiver_may_come_first_and_is_told_when_the_sender_is_there() {
    let mut tasks = with(10, false);
    let receiver = tasks.enter(RECEIVER, task(1), user(2), Recver, T);
    assert_eq!(receiver, Some(Entered::Waiting));
    let asked = tasks.pull(RECEIVER, (task(1), user(2)), pull(1, 0, 10), T);
    assert_eq!(asked, Err(OTHER), "nobody is there who could be asked");
    let sender = tasks.enter(SENDER, task(1), user(1), Sender, T);
    assert_eq!(sender, Some(READY));
}

#[test]
fn a_task_lets_its_two_people_in_each_once_and_only_as_what_they_are() {
    for (offline, roles) in [(false, [Sender, Recver]), (true, [Upload, Download])] {
        let right = [(user(1), roles[0]), (user(2), roles[1])];
        for person in [1, 2, 3] {
            for role in [Sender, Recver, Upload, Download] {
                let mut tasks = with(10, offline);
                let entered = tasks.enter(SENDER, task(1), user(person), role, T);
                let may = right.contains(&(user(person), role));
                assert_eq!(entered.is_some(), may, "{person} {role:?} {offline}");
                if may {
                    let again = tasks.enter(STRANGER, task(1), user(person), role, T);
                    assert_eq!(again, None, "twice");
                    assert_eq!(tasks.taking_part(), 1);
                }
                let unknown = tasks.enter(STRANGER, task(2), user(person), role, T);
                assert_eq!(unknown, None, "another task");
            }
        }
    }
}

#[test]
fn every_frame_must_name_the_task_and_the_person_of_its_connection() {
    let mut tasks = joined(50_000);
    tasks.create(task(2), offer(10, false), T).unwrap();
    let size = pull(1, 0, 10);
    for said in [
        (task(2), user(2)),
        (task(1), user(1)),
        (task(1), user(3)),
        (task(3), user(2)),
    ] {
        assert_eq!(tasks.pull(RECEIVER, said, size, T), Err(OTHER), "{said:?}");
        assert_eq!(tasks.state(RECEIVER, said, Done), Err(OTHER), "{said:?}");
    }
    let by = (task(1), user(2));
    assert_eq!(tasks.pull(SENDER, by, size, T), Err(OTHER), "the sender");
    assert_eq!(tasks.pull(STRANGER, by, size, T), Err(OTHER), "no login");
    tasks.pull(RECEIVER, by, size, T).unwrap();
    for said in [(task(2), user(1)), (task(1), user(2)), (task(1), user(3))] {
        let came = tasks.block(SENDER, said, 0, 0, 10, T);
        assert_eq!(came, Err(OTHER), "{said:?}");
    }
    let of = (task(1), user(1));
    assert_eq!(tasks.block(RECEIVER, of, 0, 0, 10, T), Err(OTHER));
    assert!(tasks.block(SENDER, of, 0, 0, 10, T).is_ok());
}

#[test]
fn offsets_and_lengths_stay_inside_the_file_and_the_request() {
    let (by, of) = ((task(1), user(2)), (task(1), user(1)));
    for (offset, is_inside) in [(0, true), (99, true), (100, false), (u32::MAX, false)] {
        let asked = joined(100).pull(RECEIVER, by, pull(1, offset, 10), T);
        assert_eq!(asked.is_ok(), is_inside, "{offset}");
        let asked = {
            let mut tasks = stored(100);
            tasks
                .enter(RECEIVER, task(1), user(2), Download, T)
                .unwrap();
            tasks.pull(RECEIVER, by, pull(1, offset, 10), T)
        };
        assert_eq!(asked.is_ok(), is_inside, "stored {offset}");
    }
    assert_eq!(joined(100).pull(RECEIVER, by, pull(1, 0, 0), T), Err(OTHER));
    // A request for 10 at 95 of 100: five are left.
    for (result, offset, length, is_right) in [
        (0, 95, 5, true),
        (0, 95, 1, true),
        (0, 95, 0, false),
        (0, 95, 6, false),
        (0, 94, 5, false),
        (0, 0, 5, false),
        (1, 95, 0, true),
        (1, 95, 11, false),
    ] {
        let mut tasks = joined(100);
        tasks.pull(RECEIVER, by, pull(1, 95, 10), T).unwrap();
        let came = tasks.block(SENDER, of, result, offset, length, T);
        assert_eq!(came.is_ok(), is_right, "{result} {offset} {length}");
    }
    // An upload is asked for exactly what it must send.
    for (result, offset, length, is_right) in [
        (0, 0, 100, true),
        (0, 0, 99, false),
        (0, 0, 101, false),
        (0, 1, 100, false),
        (1, 0, 100, false),
    ] {
        let mut tasks = with(100, true);
        tasks.enter(SENDER, task(1), user(1), Upload, T).unwrap();
        let came = tasks.block(SENDER, of, result, offset, length, T);
        assert_eq!(came.is_ok(), is_right, "upload {result} {offset} {length}");
    }
}

#[test]
fn one_block_is_on_its_way_at_a_time() {
    let mut tasks = joined(50_000);
    let (by, of) = ((task(1), user(2)), (task(1), user(1)));
    assert_eq!(tasks.block(SENDER, of, 0, 0, 10, T), Err(OTHER), "unasked");
    tasks.pull(RECEIVER, by, pull(1, 0, 10), T).unwrap();
    let second = tasks.pull(RECEIVER, by, pull(2, 10, 10), T);
    assert_eq!(second, Err(OTHER));
    tasks.block(SENDER, of, 0, 0, 10, T).unwrap();
    assert_eq!(tasks.block(SENDER, of, 0, 0, 10, T), Err(OTHER), "again");
}

#[test]
fn whoever_asks_for_more_than_the_longest_block_is_given_that() {
    let (by, of) = ((task(1), user(2)), (task(1), user(1)));
    for (size, shortened) in [(40_000, None), (40_001, Some(40_000))] {
        let mut tasks = joined(100_000);
        let asked = tasks.pull(RECEIVER, by, pull(1, 0, size), T);
        let forward = Asked::Forward {
            to: SENDER,
            shortened,
        };
        assert_eq!(asked, Ok(forward));
        assert_eq!(tasks.block(SENDER, of, 0, 0, 40_001, T), Err(OTHER));
        assert!(tasks.block(SENDER, of, 0, 0, 40_000, T).is_ok());
    }
}

#[test]
fn either_side_ends_an_online_task_and_the_other_is_told() {
    for state in [Cancel, Refuse, Done] {
        for (conn, person, other) in [(SENDER, 1, RECEIVER), (RECEIVER, 2, SENDER)] {
            let mut tasks = joined(10);
            let stated = tasks.state(conn, (task(1), user(person)), state).unwrap();
            assert_eq!((stated.tell, stated.ended), (Some(other), Some(task(1))));
            assert_empty(&tasks);
            assert_eq!(tasks.closed(conn, T), (None, None));
        }
    }
    let ready = joined(10).state(SENDER, (task(1), user(1)), PeerReady);
    assert_eq!(ready, Err(OTHER), "only the server says so");
    let mut alone = with(10, false);
    alone.enter(SENDER, task(1), user(1), Sender, T).unwrap();
    let stated = alone.state(SENDER, (task(1), user(1)), Cancel).unwrap();
    assert_eq!(stated.tell, None);
    assert_empty(&alone);
}

#[test]
fn when_one_side_goes_the_other_goes_with_it_and_both_may_come_again_and_go_on() {
    let (by, of) = ((task(1), user(2)), (task(1), user(1)));
    for (gone, other) in [(SENDER, RECEIVER), (RECEIVER, SENDER)] {
        let mut tasks = joined(50_000);
        tasks.pull(RECEIVER, by, pull(1, 0, 10), T).unwrap();
        assert_eq!(tasks.closed(gone, T), (Some(other), Some(task(1))));
        assert_eq!(tasks.taking_part(), 0);
        assert_eq!(tasks.pull(RECEIVER, by, pull(2, 0, 10), T), Err(OTHER));
        let (s, r) = (ConnId(11), ConnId(21));
        tasks.enter(s, task(1), user(1), Sender, T).unwrap();
        tasks.enter(r, task(1), user(2), Recver, T).unwrap();
        tasks.pull(r, by, pull(3, 32_768, 10), T).unwrap();
        let came = tasks.block(s, of, 0, 32_768, 10, T);
        assert_eq!(came, Ok(Came::Forward { to: r, seq: 3 }));
        // What the old connections still do is nothing to the new ones.
        assert_eq!(tasks.closed(other, T), (None, None));
        assert_eq!(tasks.taking_part(), 2);
    }
}

#[test]
fn an_upload_is_asked_for_in_blocks_and_goes_on_where_it_was() {
    let size = 2 * BLOCK + 1;
    let mut tasks = with(size, true);
    let of = (task(1), user(1));
    let next = |offset, size| pull(0, offset, size);
    let first = tasks.enter(SENDER, task(1), user(1), Upload, T);
    let begin = Entered::Upload {
        next: next(0, BLOCK),
    };
    assert_eq!(first, Some(begin));
    let came = tasks.block(SENDER, of, 0, 0, BLOCK as usize, T);
    assert_eq!(came, Ok(Came::Write));
    let came = tasks.block(SENDER, of, 0, 0, BLOCK as usize, T);
    assert_eq!(came, Err(OTHER), "not before it was asked for the next one");
    let second = Written::Next(next(BLOCK, BLOCK));
    assert_eq!(tasks.written(SENDER, BLOCK, T), Some(second));
    assert_eq!(tasks.closed(SENDER, T), (None, Some(task(1))));
    let again = tasks.enter(ConnId(11), task(1), user(1), Upload, T);
    let go_on = Entered::Upload {
        next: next(BLOCK, BLOCK),
    };
    assert_eq!(again, Some(go_on));
    for (offset, length, written) in [
        (BLOCK, BLOCK, Written::Next(next(2 * BLOCK, 1))),
        (2 * BLOCK, 1, Written::Whole),
    ] {
        let came = tasks.block(ConnId(11), of, 0, offset, length as usize, T);
        assert_eq!(came, Ok(Came::Write));
        assert_eq!(tasks.written(ConnId(11), length, T), Some(written));
    }
    assert_eq!(tasks.uploaded(ConnId(11), at(5)), Ok(None));
    assert_eq!((tasks.open(), tasks.stored()), (0, (1, u64::from(size))));
}

#[test]
fn a_stored_file_is_given_from_any_offset_in_blocks_of_the_usual_length() {
    let mut tasks = stored(70_000);
    let by = (task(1), user(2));
    let entered = tasks.enter(RECEIVER, task(1), user(2), Download, T);
    assert_eq!(entered, Some(Entered::Download));
    for (offset, asked, size, is_last) in [
        (0, 34_816, BLOCK, false),
        (0, 0, BLOCK, false),
        (32_768, 100, 100, false),
        (65_536, 32_768, 4_464, true),
        (69_999, 1, 1, true),
        (5, 10, 10, false),
    ] {
        let read = Asked::Read {
            pull: pull(9, offset, size),
            is_last,
            sender: user(1),
        };
        let got = tasks.pull(RECEIVER, by, pull(9, offset, asked), T);
        assert_eq!(got, Ok(read), "{offset} {asked}");
    }
    let twice = tasks.enter(STRANGER, task(1), user(2), Download, T);
    assert_eq!(twice, None, "one download at a time");
    assert_eq!(tasks.closed(RECEIVER, T), (None, None));
    let again = tasks.enter(STRANGER, task(1), user(2), Download, T);
    assert_eq!(again, Some(Entered::Download), "as often as they like");
}

#[test]
fn a_receiver_who_comes_before_the_end_of_the_upload_is_answered_then() {
    let mut tasks = with(10, true);
    let by = (task(1), user(2));
    let early = tasks.enter(RECEIVER, task(1), user(2), Download, T);
    assert_eq!(early, Some(Entered::Waiting));
    let wanted = pull(4, 0, 34_816);
    assert_eq!(tasks.pull(RECEIVER, by, wanted, T), Ok(Asked::Parked));
    assert_eq!(tasks.pull(RECEIVER, by, wanted, T), Err(OTHER), "once");
    tasks.enter(SENDER, task(1), user(1), Upload, T).unwrap();
    tasks
        .block(SENDER, (task(1), user(1)), 0, 0, 10, T)
        .unwrap();
    assert_eq!(tasks.written(SENDER, 10, T), Some(Written::Whole));
    let waiting = tasks.uploaded(SENDER, at(1));
    assert_eq!(waiting, Ok(Some((RECEIVER, wanted))));
    let read = tasks.pull(RECEIVER, by, wanted, T);
    assert!(matches!(read, Ok(Asked::Read { is_last: true, .. })));
}

#[test]
fn files_are_listed_oldest_first_confirmed_by_their_sender_and_deleted_by_their_receiver() {
    let mut tasks = Tasks::new(bounds());
    for (n, seconds) in [(1, 30), (2, 10), (3, 20)] {
        let file = File {
            from: user(1),
            to: user(2),
            name: "a".repeat(10),
            size: 7,
            stored: at(seconds),
            reader: None,
        };
        tasks.restore(task(n), file);
    }
    let listed = |tasks: &Tasks| -> Vec<TaskId> {
        let waiting = tasks.waiting(user(2)).into_iter();
        waiting.map(|(task, _)| task).collect()
    };
    assert_eq!(listed(&tasks), [task(2), task(3), task(1)]);
    assert!(tasks.waiting(user(1)).is_empty());
    tasks.bounds.list = 2 * 74;
    assert_eq!(listed(&tasks), [task(2), task(3)], "as many as fit");
    assert!(tasks.confirm(user(1), task(2)).is_some());
    assert!(tasks.confirm(user(2), task(2)).is_none());
    assert!(!tasks.delete(user(1), task(2)), "the sender has no say");
    assert!(tasks.delete(user(2), task(2)));
    assert!(!tasks.delete(user(2), task(2)));
    assert_eq!(listed(&tasks), [task(3), task(1)]);
    assert_eq!(tasks.older_than(at(30)), [task(3)]);
    assert!(tasks.forget(task(3)) && tasks.forget(task(1)));
    assert_empty(&tasks);
}

#[test]
fn a_file_that_is_being_fetched_does_not_expire_and_one_that_was_deleted_is_fetched_no_more() {
    let mut tasks = stored(10);
    tasks
        .enter(RECEIVER, task(1), user(2), Download, T)
        .unwrap();
    assert!(tasks.older_than(at(1_000)).is_empty());
    assert!(tasks.delete(user(2), task(1)));
    let by = (task(1), user(2));
    assert_eq!(tasks.pull(RECEIVER, by, pull(1, 0, 1), T), Err(OTHER));
    assert_eq!(tasks.closed(RECEIVER, T), (None, None));
    assert_empty(&tasks);
}

#[test]
fn time_ends_what_waits_lives_or_stalls_for_too_long() {
    let waits = |tasks: &mut Tasks, until: u64| {
        assert_eq!(tasks.tick(until - 1), Expired::default());
        let expired = tasks.tick(until);
        assert_eq!(expired.tasks, [task(1)]);
        assert_empty(tasks);
        expired.conns
    };
    assert_eq!(waits(&mut with(10, false), T + 1_000), []);
    assert_eq!(waits(&mut with(10, true), T + 1_000), []);
    let conns = waits(&mut joined(10), T + 1_000);
    assert_eq!(conns, [SENDER, RECEIVER]);
    // Whatever happens, it ends.
    let mut tasks = joined(1 << 30);
    let (by, of) = ((task(1), user(2)), (task(1), user(1)));
    for now in (T..T + 10_000).step_by(50) {
        assert_eq!(tasks.tick(now), Expired::default(), "{now}");
        tasks.pull(RECEIVER, by, pull(1, 0, 1), now).unwrap();
        tasks.block(SENDER, of, 0, 0, 1, now).unwrap();
    }
    assert_eq!(tasks.tick(T + 10_000).tasks, [task(1)]);
    // A sender that does not send.
    let mut tasks = joined(10);
    tasks.pull(RECEIVER, by, pull(1, 0, 1), T).unwrap();
    assert_eq!(tasks.tick(T + 99), Expired::default());
    let stalled = tasks.tick(T + 100);
    assert_eq!((stalled.stalled, stalled.tasks.len()), (vec![SENDER], 0));
    let mut tasks = with(10, true);
    tasks.enter(SENDER, task(1), user(1), Upload, T).unwrap();
    assert_eq!(tasks.tick(T + 100).stalled, [SENDER]);
    tasks.closed(SENDER, T + 100);
    assert_eq!(tasks.tick(T + 1_099), Expired::default());
    assert_eq!(tasks.tick(T + 1_100).tasks, [task(1)]);
    assert_empty(&tasks);
}

#[test]
fn an_upload_that_fails_or_is_cancelled_gives_back_all_it_held() {
    let mut tasks = with(10, true);
    tasks
        .enter(RECEIVER, task(1), user(2), Download, T)
        .unwrap();
    tasks.enter(SENDER, task(1), user(1), Upload, T).unwrap();
    let expired = tasks.fail(SENDER);
    assert_eq!(expired.conns, [SENDER, RECEIVER]);
    assert_empty(&tasks);
    assert_eq!(tasks.uploaded(SENDER, at(1)), Err(OTHER));
    assert_eq!(tasks.written(SENDER, 10, T), None);
    for (conn, person, role) in [(SENDER, 1, Upload), (RECEIVER, 2, Download)] {
        let mut tasks = with(10, true);
        tasks.enter(conn, task(1), user(person), role, T).unwrap();
        let done = tasks.state(conn, (task(1), user(person)), Done);
        assert_eq!(done, Err(OTHER), "only the server says so");
        let stated = tasks.state(conn, (task(1), user(person)), Refuse).unwrap();
        assert_eq!(stated.ended, Some(task(1)));
        assert_empty(&tasks);
    }
}

#[test]
fn a_state_of_a_download_changes_nothing_stored() {
    let mut tasks = stored(10);
    tasks
        .enter(RECEIVER, task(1), user(2), Download, T)
        .unwrap();
    let stated = tasks.state(RECEIVER, (task(1), user(2)), Cancel).unwrap();
    assert_eq!((stated.tell, stated.ended), (None, None));
    let posing = tasks.state(RECEIVER, (task(1), user(1)), Cancel);
    assert_eq!(posing, Err(OTHER));
    assert_eq!(tasks.waiting(user(2)).len(), 1);
}
