//! Files that are kept for somebody, and what time ends.

use super::*;
use crate::id::FileId;

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
    assert_eq!(waiting_after(tasks.uploaded(ConnId(11), at(5))), Ok(None));
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
    let waiting = waiting_after(tasks.uploaded(SENDER, at(1)));
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
    assert_eq!(waiting_after(tasks.uploaded(SENDER, at(1))), Err(OTHER));
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

/// A search without conditions.
fn search(after: Option<FileId>, limit: usize) -> Search {
    Search {
        after,
        from: None,
        to: None,
        limit,
    }
}

#[test]
fn files_are_found_by_id_by_whose_they_are_and_page_by_page() {
    let mut tasks = Tasks::new(bounds());
    for n in 0..30_u8 {
        let file = File {
            from: user(1 + u32::from(n % 3)),
            to: user(10 + u32::from(n % 2)),
            name: "a".to_owned(),
            size: n.into(),
            stored: at(1),
            reader: None,
        };
        tasks.restore(task(n), file);
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = tasks.search(&search(after, 7));
        assert!(page.files.len() <= 7);
        seen.extend(page.files.iter().map(|(id, _)| *id));
        after = page.through;
        if after.is_none() {
            break;
        }
        assert_eq!(after, seen.last().copied());
    }
    let mut expected: Vec<_> = (0..30).map(|n| FileId::of(task(n))).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);

    let of = Search {
        from: Some(user(1)),
        to: Some(user(10)),
        ..search(None, 100)
    };
    let found = tasks.search(&of);
    let mut sizes: Vec<_> = found.files.iter().map(|(_, file)| file.size).collect();
    sizes.sort_unstable();
    assert_eq!((sizes, found.through), (vec![0, 6, 12, 18, 24], None));

    let id = FileId::of(task(5));
    assert_eq!(tasks.by_id(id).map(|(task, _)| task), Some(task(5)));
    assert!(tasks.forget(task(5)));
    assert_eq!(tasks.by_id(id), None);
    assert!(
        !tasks
            .search(&search(None, 100))
            .files
            .iter()
            .any(|(it, _)| *it == id)
    );
}

/// Nobody's file is in the last page, and the lock is held for a bounded time all the same.
#[test]
fn a_search_looks_at_ten_thousand_files_at_once_and_says_where_it_goes_on() {
    let mut tasks = Tasks::new(bounds());
    for n in 0..10_001_u32 {
        let file = File {
            from: user(1),
            to: user(2),
            name: String::new(),
            size: 1,
            stored: at(1),
            reader: None,
        };
        let task = format!("{n:08x}-0000-0000-0000-000000000000");
        tasks.restore(task.parse().unwrap(), file);
    }
    let of = |after| Search {
        to: Some(user(9)),
        ..search(after, 1)
    };
    let first = tasks.search(&of(None));
    assert!(first.files.is_empty());
    let after = first.through;
    assert!(after.is_some());
    assert_eq!(tasks.search(&of(after)).through, None);
}
