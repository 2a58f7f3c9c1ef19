//! Announcements over a real store and writer.

use bytes::Bytes;
use im_answers::testing::{Rig, small_config, user};
use im_store::{
    AnnouncementBounds, AnnouncementState, AnnouncementStore as _, Audience, MessageStore as _,
    NewAnnouncement, ReadLimit,
};

use super::*;

const BOUNDS: AnnouncementBounds = AnnouncementBounds { open: 9, ended: 9 };

/// Its writer recognises the very last message only.
async fn forgetful() -> Rig {
    let mut config = small_config();
    config.writer.retry_keys = 1;
    config.administration.announcement_rate = 10_000;
    Rig::with(config).await
}

async fn make(rig: &Rig, audience: Audience) -> u32 {
    let new = NewAnnouncement {
        sender: user(1),
        body: Bytes::from_static(b"lunch"),
        audience,
        created: UnixSeconds::now(),
        made_by: "a test".to_owned(),
    };
    let made = rig.temp.store.create_announcement(&new, BOUNDS).await;
    made.unwrap()
}

fn announcer(rig: &Rig) -> Announcer {
    Announcer::new(&rig.context, AnnounceMetrics::default())
}

/// How many messages somebody has from user 1.
async fn has(rig: &Rig, id: u32) -> usize {
    let conversation = Conversation::of(user(1), Peer::User(user(id))).unwrap();
    let limit = ReadLimit::rows(99);
    let found = rig.temp.store.history(conversation, None, 0, limit).await;
    found.unwrap().len()
}

#[tokio::test]
async fn a_step_that_was_cut_short_is_made_again_and_nobody_gets_it_twice() {
    let rig = forgetful().await;
    let id = make(&rig, Audience::Everybody).await;
    let first = announcer(&rig);
    let row = rig.temp.store.begin_announcement().await.unwrap().unwrap();
    let some = [user(2), user(4), user(5)];
    // These have theirs when the process ends, and nothing says so but the log.
    let sent = first.send(&row, &some, row.position, true).await.unwrap();
    assert_eq!((sent.sent, sent.refused), (3, 0));
    assert!(announcer(&rig).send_one().await.unwrap());
    for id in 2..=9 {
        assert_eq!(has(&rig, id).await, 1, "user {id}");
    }
    let done = rig.temp.store.announcement(id).await.unwrap().unwrap();
    assert_eq!((done.state, done.sent), (AnnouncementState::Done, 8));
}

#[tokio::test]
async fn announcements_are_sent_one_after_the_other_and_each_is_a_message_of_its_own() {
    let rig = forgetful().await;
    let people = Audience::People(vec![user(1), user(3), user(7)]);
    let ids = [make(&rig, people.clone()).await, make(&rig, people).await];
    let announcer = announcer(&rig);
    for id in ids {
        assert!(announcer.send_one().await.unwrap());
        let row = rig.temp.store.announcement(id).await.unwrap().unwrap();
        assert_eq!((row.state, row.sent), (AnnouncementState::Done, 2));
    }
    assert!(!announcer.send_one().await.unwrap(), "there is none left");
    assert_eq!((has(&rig, 3).await, has(&rig, 7).await), (2, 2));
    assert_eq!(has(&rig, 2).await, 0);
}

/// The rate holds over the end of an announcement too.
#[tokio::test]
async fn messages_come_at_their_rate() {
    let mut config = small_config();
    config.administration.announcement_rate = 20;
    let rig = Rig::with(config).await;
    make(&rig, Audience::Everybody).await;
    let begun = Instant::now();
    assert!(announcer(&rig).send_one().await.unwrap());
    assert!(begun.elapsed() >= Duration::from_millis(400), "8 people");
}

/// A bound may be lowered while announcements wait.
#[tokio::test]
async fn one_that_can_never_be_stored_ends_with_its_reason_and_holds_up_nobody() {
    let mut config = small_config();
    config.writer.max_body = im_config::units::ByteSize::bytes(10);
    let rig = Rig::with(config).await;
    let new = |body: &'static [u8]| NewAnnouncement {
        sender: user(1),
        body: Bytes::from_static(body),
        audience: Audience::People(vec![user(3)]),
        created: UnixSeconds::now(),
        made_by: "a test".to_owned(),
    };
    let store = &rig.temp.store;
    let long = new(b"eleven byte");
    let long = store.create_announcement(&long, BOUNDS).await.unwrap();
    let short = new(b"ten bytes.");
    let short = store.create_announcement(&short, BOUNDS).await.unwrap();
    let announcer = announcer(&rig);
    assert!(announcer.send_one().await.unwrap());
    let row = store.announcement(long).await.unwrap().unwrap();
    assert_eq!(row.state, AnnouncementState::Failed);
    assert!(
        row.failure.contains("db_proxy.writer.max_body"),
        "{}",
        row.failure
    );
    assert!(announcer.send_one().await.unwrap());
    let row = store.announcement(short).await.unwrap().unwrap();
    assert_eq!((row.state, row.sent), (AnnouncementState::Done, 1));
    assert!(!announcer.send_one().await.unwrap());
}
