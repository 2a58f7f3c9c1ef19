//! S-96: what the engine does every so often, under load, and not after the end of what it is for.

use im_config::units::Span;
use tokio::time::Instant;

use super::*;
use crate::metrics::LinkEnd;

/// Announces its position once a second.
fn announcing() -> Route {
    Route::with(|config| config.announce_interval = Span::seconds(1))
}

/// Messages for others all the time, and the engine is late by up to twenty milliseconds each time.
#[tokio::test(start_paused = true)]
async fn announcements_a_second_apart_are_sixty_in_a_minute_of_load() {
    let route = announcing();
    let mut writer = route.writer(0).await;
    let mut idle = route.msg("m1").await;
    let mut busy = route.msg("m2").await;
    busy.log_in(session(1, ANDROID, 1)).await;
    let (begin, mut announced, mut passed) = (Instant::now(), 0, 0);
    for seq in 1.. {
        if begin.elapsed() >= Duration::from_mins(1) {
            break;
        }
        writer.publish(vec![live(seq, 9, 9, &[1])]).await;
        writer.confirmed().await;
        tokio::time::advance(Duration::from_millis(seq * 7 % 20)).await;
        while let Ok(batch) = idle.link.rx.try_recv() {
            assert_eq!(batch.items, [], "a position, and nothing else");
            announced += 1;
        }
        while let Ok(batch) = busy.link.rx.try_recv() {
            passed += batch.items.len();
        }
    }
    assert!((59..=61).contains(&announced), "{announced}");
    assert!(passed > 5_000, "{passed}");
}

/// The announcement itself finds that the link is gone and removes it. Its server is lost then, and that
/// ends once.
#[tokio::test(start_paused = true)]
async fn a_link_that_its_announcement_finds_gone_is_removed_and_the_others_hear_on() {
    let route = announcing();
    let _writer = route.writer(0).await;
    let mut gone = route.msg("m1").await;
    let mut stays = route.msg("m2").await;
    gone.link.rx.close();
    assert_eq!(route.metrics.link_ends(LinkEnd::Gone), 0, "nobody knows");
    let begin = Instant::now();
    for _ in 0..60 {
        stays.batch().await;
    }
    let minute = Duration::from_mins(1);
    assert!(begin.elapsed() <= minute, "{:?}", begin.elapsed());
    assert_eq!(route.metrics.link_ends(LinkEnd::Gone), 1);
    assert_eq!(route.metrics.expired_servers.get(), 1);
    let mut queued = 0;
    while gone.link.rx.try_recv().is_ok() {
        queued += 1;
    }
    assert_eq!(queued, 0, "nothing came after its end");
    gone.closed().await;
}
