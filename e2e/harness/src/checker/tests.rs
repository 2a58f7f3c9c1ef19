//! The checker must object to each planted fault, and to nothing else.

use std::collections::BTreeMap;

use super::*;

const TALK: Talk = Talk::Pair(1, 2);

/// User 1 sends marks 101, 102, 103; user 2's session 9 gets all of them.
fn good() -> (Vec<Seen>, BTreeMap<Talk, Stored>) {
    let mut seen = vec![Seen::Online {
        session: 9,
        user: 2,
    }];
    let mut messages = Vec::new();
    for (index, mark) in [101, 102, 103].into_iter().enumerate() {
        let msg_id = u32::try_from(index).unwrap() + 1;
        seen.push(Seen::Sent {
            sender: 1,
            talk: TALK,
            mark,
        });
        seen.push(Seen::Acked { mark, msg_id });
        seen.push(Seen::Pushed {
            session: 9,
            talk: TALK,
            msg_id,
            sender: 1,
            mark,
        });
        messages.push((msg_id, 1, mark));
    }
    let gaps = Vec::new();
    (seen, BTreeMap::from([(TALK, Stored { messages, gaps })]))
}

/// As [`good`], on a platform that was restored after its first message.
fn restored() -> (Vec<Seen>, BTreeMap<Talk, Stored>) {
    let (mut seen, mut stored) = good();
    let moved = |id: &mut u32| *id += if *id > 1 { 1000 } else { 0 };
    for entry in &mut seen {
        if let Seen::Acked { msg_id, .. } | Seen::Pushed { msg_id, .. } = entry {
            moved(msg_id);
        }
    }
    let history = stored.get_mut(&TALK).unwrap();
    for (id, ..) in &mut history.messages {
        moved(id);
    }
    history.gaps.push(2..=1001);
    (seen, stored)
}

fn messages(stored: &mut BTreeMap<Talk, Stored>) -> &mut Vec<(u32, u32, Mark)> {
    &mut stored.get_mut(&TALK).unwrap().messages
}

#[test]
fn a_good_history_has_no_fault() {
    let (seen, stored) = good();
    assert_eq!(check(&seen, &stored), []);
}

#[test]
fn a_gap_that_a_restore_left_is_no_fault() {
    let (seen, stored) = restored();
    assert_eq!(check(&seen, &stored), []);
    let unread = |read, found| check_unread(2, TALK, &stored[&TALK], read, found);
    assert_eq!(
        (unread(1, 2), unread(500, 2), unread(1002, 1)),
        (None, None, None)
    );
    assert!(unread(1, 1002).is_some(), "skipped ids are not unread");
}

#[test]
fn objects_to_a_gap_that_no_restore_left() {
    let (seen, mut stored) = restored();
    stored.get_mut(&TALK).unwrap().gaps = vec![2..=1000];
    let not_dense = Fault::NotDense {
        talk: TALK,
        expected: 1001,
        found: 1002,
    };
    assert!(check(&seen, &stored).contains(&not_dense));
}

#[test]
fn objects_to_a_message_inside_a_gap_and_to_one_missed_behind_it() {
    let (seen, mut stored) = restored();
    stored.get_mut(&TALK).unwrap().gaps = vec![2..=1002];
    let inside = Fault::NotDense {
        talk: TALK,
        expected: 1003,
        found: 1002,
    };
    assert!(check(&seen, &stored).contains(&inside));
    let (mut seen, stored) = restored();
    seen.retain(|entry| !matches!(entry, Seen::Pushed { msg_id: 1002, .. }));
    let missed = Fault::Missed {
        session: 9,
        talk: TALK,
        msg_id: 1002,
    };
    assert_eq!(check(&seen, &stored), [missed]);
}

#[test]
fn objects_to_an_acknowledged_message_that_is_gone() {
    let (mut seen, mut stored) = good();
    messages(&mut stored).pop();
    seen.retain(|entry| !matches!(entry, Seen::Pushed { msg_id: 3, .. }));
    assert_eq!(
        check(&seen, &stored),
        [Fault::Lost {
            mark: 103,
            msg_id: 3
        }]
    );
}

#[test]
fn objects_to_an_ack_with_another_id() {
    let (mut seen, stored) = good();
    seen.push(Seen::Acked {
        mark: 102,
        msg_id: 3,
    });
    let faults = check(&seen, &stored);
    assert!(
        faults.contains(&Fault::AckedTwice { mark: 102 }),
        "{faults:?}"
    );
    assert!(
        faults.contains(&Fault::Lost {
            mark: 102,
            msg_id: 3
        }),
        "{faults:?}"
    );
}

#[test]
fn objects_to_a_message_stored_twice() {
    let (mut seen, mut stored) = good();
    messages(&mut stored).push((4, 1, 103));
    seen.push(Seen::Pushed {
        session: 9,
        talk: TALK,
        msg_id: 4,
        sender: 1,
        mark: 103,
    });
    let faults = check(&seen, &stored);
    assert!(
        faults.contains(&Fault::StoredTwice {
            mark: 103,
            first: (TALK, 3),
            second: (TALK, 4),
        }),
        "{faults:?}"
    );
}

#[test]
fn objects_to_a_hole_in_the_ids() {
    let (seen, mut stored) = good();
    messages(&mut stored).remove(1);
    let faults = check(&seen, &stored);
    assert!(
        faults.contains(&Fault::NotDense {
            talk: TALK,
            expected: 2,
            found: 3
        }),
        "{faults:?}"
    );
}

#[test]
fn objects_to_a_senders_messages_in_another_order() {
    let (seen, mut stored) = good();
    for entry in messages(&mut stored) {
        entry.2 = match entry.2 {
            101 => 102,
            102 => 101,
            mark => mark,
        };
    }
    let faults = check(&seen, &stored);
    assert!(
        faults.contains(&Fault::Reordered {
            talk: TALK,
            mark: 102
        }),
        "{faults:?}"
    );
}

#[test]
fn objects_to_a_repeated_and_to_a_late_push() {
    let (mut seen, stored) = good();
    seen.push(Seen::Pushed {
        session: 9,
        talk: TALK,
        msg_id: 2,
        sender: 1,
        mark: 102,
    });
    let late = Fault::PushedOutOfOrder {
        session: 9,
        talk: TALK,
        msg_id: 2,
    };
    assert_eq!(check(&seen, &stored), [late]);
}

#[test]
fn objects_to_a_push_with_another_body_or_author() {
    let (mut seen, stored) = good();
    seen.push(Seen::Online {
        session: 10,
        user: 2,
    });
    seen.push(Seen::Offline { session: 10 });
    seen.push(Seen::Pushed {
        session: 10,
        talk: TALK,
        msg_id: 2,
        sender: 1,
        mark: 101,
    });
    let wrong = Fault::PushedWrong {
        session: 10,
        talk: TALK,
        msg_id: 2,
    };
    assert_eq!(check(&seen, &stored), [wrong]);
}

#[test]
fn objects_to_a_message_that_an_online_session_missed() {
    let (mut seen, stored) = good();
    seen.retain(|entry| !matches!(entry, Seen::Pushed { msg_id: 2, .. }));
    assert_eq!(
        check(&seen, &stored),
        [Fault::Missed {
            session: 9,
            talk: TALK,
            msg_id: 2
        }]
    );
}

#[test]
fn a_session_that_ended_may_lack_the_tail_only() {
    let (mut seen, stored) = good();
    seen.retain(|entry| !matches!(entry, Seen::Pushed { msg_id: 3, .. }));
    let missed = Fault::Missed {
        session: 9,
        talk: TALK,
        msg_id: 3,
    };
    assert_eq!(check(&seen, &stored), [missed]);
    seen.push(Seen::Offline { session: 9 });
    assert_eq!(check(&seen, &stored), []);
}

#[test]
fn objects_to_a_stored_message_that_nobody_sent() {
    let (seen, mut stored) = good();
    messages(&mut stored).push((4, 2, 999));
    let faults = check(&seen, &stored);
    assert!(
        faults.contains(&Fault::Invented {
            talk: TALK,
            msg_id: 4
        }),
        "{faults:?}"
    );
}

#[test]
fn objects_to_a_wrong_unread_count() {
    let (_, stored) = good();
    let history = stored.get(&TALK).unwrap();
    assert_eq!(check_unread(2, TALK, history, 1, 2), None);
    assert_eq!(check_unread(1, TALK, history, 0, 0), None);
    let wrong = Fault::Unread {
        user: 2,
        talk: TALK,
        expected: 2,
        found: 3,
    };
    assert_eq!(check_unread(2, TALK, history, 1, 3), Some(wrong));
}

#[test]
fn in_a_group_sending_reads_what_went_before() {
    let stored = Stored {
        messages: vec![(1, 5, 1), (2, 6, 2), (3, 5, 3)],
        gaps: Vec::new(),
    };
    assert_eq!(check_unread(6, Talk::Group(7), &stored, 0, 1), None);
    assert_eq!(check_unread(5, Talk::Group(7), &stored, 0, 0), None);
}
