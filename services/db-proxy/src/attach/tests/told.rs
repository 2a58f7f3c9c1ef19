//! What msg servers tell: files that wait, sessions that come and go.

use im_core::time::UnixSeconds;
use im_store::{ChangeLogStore as _, Changed};

use super::*;

#[tokio::test]
async fn a_file_is_noted_once_however_often_it_is_told_and_none_that_is_too_old() {
    let mut rig = rig(|_| {}).await;
    let now = UnixSeconds::now().get();
    let kept = |task: &str, from: u32, stored: u32| {
        let file = v1::StoredFile {
            task: task.to_owned(),
            from,
            to: 2,
            name: "a".to_owned(),
            size: 1,
            stored,
        };
        Call::FileKept(v1::FileKept { file: Some(file) })
    };
    let week = 7 * 24 * 3_600;
    let begin = rig.temp.store.change_log_end().await.unwrap();
    let calls = [
        kept("a", 1, now),
        kept("a", 1, now),
        kept("b", 1, now - week - 5),
        kept("c", 0, now),
        kept("", 1, now),
        kept(&"x".repeat(65), 1, now),
        Call::FileKept(v1::FileKept { file: None }),
    ];
    for (n, call) in calls.into_iter().enumerate() {
        let tag = n as u64 + 1;
        rig.call(vec![(tag, call)]).await;
        let done = rig.results(1).await.remove(0);
        assert!(
            matches!(done, (it, Done::Noted(_)) if it == tag),
            "{done:?}"
        );
    }
    let noted = rig.temp.store.changes_after(begin, 9).await.unwrap();
    assert_eq!(noted.len(), 1);
    assert!(matches!(&noted[0].changed, Changed::File(file) if file.task == "a"));
}

#[tokio::test]
async fn sessions_are_told_while_they_are_wanted() {
    let mut rig = rig(|_| {}).await;
    rig.comings.want(true);
    let (tag, said) = rig.results(1).await.remove(0);
    assert_eq!(tag, 0);
    assert!(matches!(said, Done::SessionsWanted(said) if said.wanted));
    let event = v1::SessionEvent {
        up: true,
        session: Some(v1::SessionInfo::default()),
    };
    let told = v1::SessionsTold {
        events: vec![event],
        left_out: 3,
    };
    rig.call(vec![(5, Call::Sessions(told))]).await;
    assert!(matches!(
        rig.results(1).await.remove(0),
        (5, Done::Noted(_))
    ));
    assert_eq!(rig.comings.end(), 4);
    rig.comings.want(false);
    let (_, said) = rig.results(1).await.remove(0);
    assert!(matches!(said, Done::SessionsWanted(said) if !said.wanted));
}
