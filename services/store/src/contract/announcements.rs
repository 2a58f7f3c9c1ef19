use crate::{
    AnnouncementBounds, AnnouncementState, AnnouncementStep, Audience, ImportedUser,
    NewAnnouncement, Store, StoreError,
};
use bytes::Bytes;
use im_order::CommitSeq;

use super::accounts::{import, person};
use crate::contract::log::{Log, at, key, pair, user};

const BOUNDS: AnnouncementBounds = AnnouncementBounds { open: 2, ended: 2 };

fn new(audience: Audience) -> NewAnnouncement {
    NewAnnouncement {
        sender: user(2),
        body: Bytes::from_static(b"lunch"),
        audience,
        created: at(50),
        made_by: "ann".into(),
    }
}

/// Six people, of whom 4 has left; 5 and 6 are in a department.
async fn people(store: &dyn Store) -> u32 {
    let in_lab = |name: &str| ImportedUser {
        department: Some(vec!["Lab".into()]),
        ..person(name)
    };
    let left = ImportedUser {
        status: Some(3),
        ..person("dan")
    };
    let all = vec![
        person("ann"),
        person("ben"),
        person("cat"),
        left,
        in_lab("eve"),
        in_lab("fay"),
    ];
    import(store, all, 10).await;
    store.departments_since(at(0)).await.unwrap()[0].id
}

async fn make(store: &dyn Store, audience: Audience) -> u32 {
    let made = store.create_announcement(&new(audience), BOUNDS).await;
    made.unwrap()
}

async fn turns(store: &dyn Store, id: u32, after: u32, limit: u32) -> Vec<u32> {
    let people = store.announcement_people(id, after, limit).await.unwrap();
    people.into_iter().map(im_core::UserId::get).collect()
}

fn step(id: u32, after: u32, reached: u32, ended: bool) -> AnnouncementStep {
    AnnouncementStep {
        id,
        after,
        reached,
        position: CommitSeq::from_wire(9),
        sent: 2,
        refused: 1,
        ended: ended.then(|| at(70)),
    }
}

pub async fn an_announcement_is_for_those_who_may_log_in_but_its_sender(store: &dyn Store) {
    let lab = people(store).await;
    let named = Audience::People([1, 2, 4, 6, 99].map(user).to_vec());
    for (audience, expected) in [
        (Audience::Everybody, vec![1, 3, 5, 6]),
        (Audience::Departments(vec![lab, 99]), vec![5, 6]),
        (Audience::Departments(vec![]), vec![]),
        (named, vec![1, 6]),
    ] {
        let count = store.count_audience(user(2), &audience).await.unwrap();
        assert_eq!(count as usize, expected.len(), "{audience:?}");
        let id = make(store, audience.clone()).await;
        let row = store.announcement(id).await.unwrap().unwrap();
        assert_eq!((row.total, row.state), (count, AnnouncementState::Waiting));
        assert_eq!(row.announcement.audience, audience);
        assert_eq!(turns(store, id, 0, 9).await, expected);
        let some: Vec<u32> = { expected.iter() }.copied().filter(|id| *id > 1).collect();
        assert_eq!(turns(store, id, 1, 9).await, some);
        assert_eq!(
            turns(store, id, 0, 1).await,
            expected[..expected.len().min(1)]
        );
        assert!(store.cancel_announcement(id, at(60)).await.unwrap());
    }
    let nobody = store.announcement_people(99, 0, 9).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

pub async fn an_announcement_goes_on_where_it_was_until_it_is_done(store: &dyn Store) {
    people(store).await;
    assert_eq!(store.begin_announcement().await.unwrap(), None);
    let mut log = Log::default();
    log.send(1, pair(1, 3), 100, "before");
    log.commit(store).await.unwrap();
    let first = make(store, Audience::Everybody).await;
    let second = make(store, Audience::Everybody).await;
    let begun = store.begin_announcement().await.unwrap().unwrap();
    assert_eq!((begun.id, begun.state), (first, AnnouncementState::Running));
    assert_eq!(
        begun.position,
        CommitSeq::from_wire(1),
        "the end of the log"
    );
    assert_eq!(begun.announcement, new(Audience::Everybody));
    assert!(
        store
            .step_announcement(&step(first, 0, 3, false))
            .await
            .unwrap()
    );
    log.send(1, pair(1, 3), 101, "meanwhile");
    log.commit(store).await.unwrap();
    let again = store.begin_announcement().await.unwrap().unwrap();
    assert_eq!((again.reached, again.sent, again.refused), (3, 2, 1));
    assert_eq!(again.position, CommitSeq::from_wire(9), "as the step said");
    let repeated = store.step_announcement(&step(first, 0, 3, false)).await;
    assert!(matches!(repeated, Err(StoreError::Outdated)));
    assert!(
        !store
            .step_announcement(&step(first, 3, 6, true))
            .await
            .unwrap()
    );
    let done = store.announcement(first).await.unwrap().unwrap();
    assert_eq!(
        (done.state, done.ended),
        (AnnouncementState::Done, Some(at(70)))
    );
    assert_eq!((done.reached, done.sent), (6, 4));
    assert!(!store.cancel_announcement(first, at(80)).await.unwrap());
    let next = store.begin_announcement().await.unwrap().unwrap();
    assert_eq!((next.id, next.position), (second, CommitSeq::from_wire(2)));
    let nobody = store.step_announcement(&step(99, 0, 1, false)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

pub async fn a_cancelled_announcement_counts_what_was_under_way_and_ends(store: &dyn Store) {
    people(store).await;
    let id = make(store, Audience::Everybody).await;
    store.begin_announcement().await.unwrap().unwrap();
    assert!(store.cancel_announcement(id, at(60)).await.unwrap());
    assert!(
        !store
            .step_announcement(&step(id, 0, 3, false))
            .await
            .unwrap()
    );
    let row = store.announcement(id).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.ended),
        (AnnouncementState::Cancelled, Some(at(60)))
    );
    assert_eq!(row.sent, 2);
    // The step that would have been the last one makes it no other.
    assert!(
        !store
            .step_announcement(&step(id, 3, 6, true))
            .await
            .unwrap()
    );
    let row = store.announcement(id).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.ended),
        (AnnouncementState::Cancelled, Some(at(60)))
    );
    assert_eq!(store.begin_announcement().await.unwrap(), None);
    let nobody = store.cancel_announcement(99, at(60)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

pub async fn an_announcement_that_has_failed_says_why_and_the_next_has_its_turn(store: &dyn Store) {
    people(store).await;
    let first = make(store, Audience::Everybody).await;
    let second = make(store, Audience::Everybody).await;
    store.begin_announcement().await.unwrap().unwrap();
    let fail = || store.fail_announcement(first, "too long", at(60));
    assert!(fail().await.unwrap());
    assert!(!fail().await.unwrap(), "it has ended");
    let row = store.announcement(first).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.ended, row.failure.as_str()),
        (AnnouncementState::Failed, Some(at(60)), "too long")
    );
    assert!(!store.cancel_announcement(first, at(70)).await.unwrap());
    let next = store.begin_announcement().await.unwrap().unwrap();
    assert_eq!((next.id, next.failure.as_str()), (second, ""));
    let nobody = store.fail_announcement(99, "", at(60)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

pub async fn so_many_announcements_are_open_and_so_many_that_ended_are_kept(store: &dyn Store) {
    people(store).await;
    let mut made = Vec::new();
    for _ in 0..4 {
        let id = make(store, Audience::Everybody).await;
        store.cancel_announcement(id, at(60)).await.unwrap();
        made.push(id);
    }
    let open = [
        make(store, Audience::Everybody).await,
        make(store, Audience::Everybody).await,
    ];
    let third = new(Audience::Everybody);
    let third = store.create_announcement(&third, BOUNDS);
    let full = third.await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    let kept = store.announcements().await.unwrap();
    assert!(kept.iter().all(|row| row.announcement.body.is_empty()));
    let kept: Vec<u32> = kept.into_iter().map(|row| row.id).collect();
    assert_eq!(kept, [open[1], open[0], made[3], made[2]]);
}

pub async fn keys_of_messages_are_found_behind_a_position(store: &dyn Store) {
    people(store).await;
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "early").key = Some(key(1));
    log.send(1, pair(1, 3), 100, "late").key = Some(key(2));
    log.send(1, pair(1, 5), 100, "none").key = None;
    log.send(3, pair(3, 5), 100, "of another").key = Some(key(3));
    log.commit(store).await.unwrap();
    let keys = [key(1), key(2), key(3), key(4)];
    let behind = async |position: u64| {
        let position = CommitSeq::from_wire(position);
        store.keys_behind(user(1), position, &keys).await.unwrap()
    };
    assert_eq!(behind(0).await, [key(1), key(2)]);
    assert_eq!(behind(1).await, [key(2)]);
    assert_eq!(behind(2).await, []);
    let none = store.keys_behind(user(1), CommitSeq::START, &[]).await;
    assert_eq!(none.unwrap(), []);
}
