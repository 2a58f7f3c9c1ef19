//! What is refused at the bounds, and what counts until when.

use super::*;

#[test]
fn what_is_no_offer_opens_no_task() {
    let longest = bounds().name;
    let cases: [(Offer, bool); 9] = [
        (offer(0, false), false),
        (offer(0, true), false),
        (offer(u32::MAX, false), true),
        (offer(1 << 30, true), true),
        (offer((1 << 30) + 1, true), false),
        (
            Offer {
                name: String::new(),
                ..offer(1, true)
            },
            false,
        ),
        (
            Offer {
                name: "a".repeat(longest),
                ..offer(1, true)
            },
            true,
        ),
        (
            Offer {
                name: "a".repeat(longest + 1),
                ..offer(1, true)
            },
            false,
        ),
        (
            Offer {
                to: user(1),
                ..offer(1, false)
            },
            false,
        ),
    ];
    for (offer, is_one) in cases {
        let mut tasks = Tasks::new(bounds());
        let created = tasks.create(task(1), offer.clone(), T);
        let expected = if is_one { Ok(()) } else { Err(Unopened::Offer) };
        assert_eq!(created, expected, "{offer:?}");
    }
}

/// Opens tasks of 10 bytes until one is refused; tells how many there were, and why no more.
fn open_all(bounds: Bounds, offers: impl Fn(u8) -> Offer) -> (u8, Unopened) {
    let mut tasks = Tasks::new(bounds);
    for n in 0..50 {
        if let Err(why) = tasks.create(task(n), offers(n), T) {
            return (n, why);
        }
    }
    panic!("no bound");
}

#[test]
fn tasks_files_and_bytes_are_bounded_at_the_bound_of_a_person_a_pair_and_in_all() {
    let stored = |n: u8| Offer {
        to: user(100 + u32::from(n)),
        ..offer(10, true)
    };
    let of_many = |n: u8| Offer {
        from: user(200 + u32::from(n)),
        ..offer(10, true)
    };
    type Case<'a> = (Bounds, &'a dyn Fn(u8) -> Offer, u8, Unopened);
    let cases: [Case<'_>; 8] = [
        (
            Bounds {
                tasks_per_user: 3,
                ..bounds()
            },
            &|_| offer(10, false),
            3,
            Unopened::Person,
        ),
        (
            Bounds {
                tasks: 4,
                ..bounds()
            },
            &of_many,
            4,
            Unopened::Full,
        ),
        (
            Bounds {
                files_per_user: 5,
                ..bounds()
            },
            &stored,
            5,
            Unopened::Person,
        ),
        (
            Bounds {
                files_per_pair: 2,
                ..bounds()
            },
            &|_| offer(10, true),
            2,
            Unopened::Person,
        ),
        (
            Bounds {
                files: 6,
                ..bounds()
            },
            &of_many,
            6,
            Unopened::Full,
        ),
        (
            Bounds {
                stored_per_user: 40,
                ..bounds()
            },
            &stored,
            4,
            Unopened::Person,
        ),
        (
            Bounds {
                stored_per_user: 39,
                ..bounds()
            },
            &stored,
            3,
            Unopened::Person,
        ),
        (
            Bounds {
                stored: 70,
                ..bounds()
            },
            &of_many,
            7,
            Unopened::Full,
        ),
    ];
    for (bounds, offers, most, why) in cases {
        assert_eq!(open_all(bounds, offers), (most, why), "{bounds:?}");
    }
}

#[test]
fn what_is_stored_counts_until_it_is_deleted_also_after_a_start() {
    let bounds = Bounds {
        files_per_user: 1,
        ..bounds()
    };
    let mut tasks = Tasks::new(bounds);
    let file = File {
        from: user(1),
        to: user(2),
        name: "a".to_owned(),
        size: 10,
        stored: at(1),
        reader: None,
    };
    tasks.restore(task(1), file);
    let full = tasks.create(task(2), offer(1, true), T);
    assert_eq!(full, Err(Unopened::Person));
    assert!(tasks.delete(user(2), task(1)));
    tasks.create(task(2), offer(1, true), T).unwrap();
    upload_of(&mut tasks, task(2));
    let full = tasks.create(task(3), offer(1, true), T);
    assert_eq!(full, Err(Unopened::Person));
}

/// Uploads a file of one byte.
fn upload_of(tasks: &mut Tasks, task: TaskId) {
    tasks.enter(SENDER, task, user(1), Upload, T).unwrap();
    tasks.block(SENDER, (task, user(1)), 0, 0, 1, T).unwrap();
    assert_eq!(tasks.written(SENDER, 1, T), Some(Written::Whole));
    assert_eq!(waiting_after(tasks.uploaded(SENDER, at(2))), Ok(None));
}
