use super::*;

mod bounds;
mod stored;

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

/// Who waited for the end of an upload.
fn waiting_after(
    uploaded: Result<(TaskId, Option<(ConnId, Pull)>), Violation>,
) -> Result<Option<(ConnId, Pull)>, Violation> {
    uploaded.map(|(_, waiting)| waiting)
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
    assert_eq!(waiting_after(tasks.uploaded(SENDER, at(100))), Ok(None));
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
