//! Those who only ask who is online.

use im_proto_rpc::v1::{PresenceAnswer, PresenceAnswers, PresenceAsk, PresenceAsks};

use super::*;
use crate::engine::questions::SLICE;
use crate::metrics::Refusal;

const LEAVE: u32 = 3;

type Asking = Link<PresenceAsks, PresenceAnswers>;

async fn asking(route: &Route, queue: usize) -> Asking {
    let (near, far) = link::pair("push", "route", queue);
    route.links.send(NewLink::Asker(far)).await.unwrap();
    near
}

async fn ask(link: &mut Asking, tag: u64, users: &[u32]) -> Option<PresenceAnswer> {
    let asks = vec![PresenceAsk {
        tag,
        users: users.to_vec(),
    }];
    link.tx.send(PresenceAsks { asks }).await.ok()?;
    let answers = timeout(Duration::from_secs(30), link.rx.recv()).await;
    let answers = answers.expect("an answer or the end")?.answers;
    assert_eq!(answers.len(), 1);
    answers.into_iter().next()
}

#[tokio::test(start_paused = true)]
async fn they_hear_by_which_terminals_people_are_reached() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(10, WINDOWS, 1)).await;
    m1.log_in(session(11, ANDROID, 2)).await;
    m1.log_in(session(12, WINDOWS, 3)).await;
    m1.log_in(session(12, ANDROID, 4)).await;
    let away = SessionInfo {
        status: LEAVE,
        ..session(13, ANDROID, 5)
    };
    m1.log_in(away).await;
    let mut push = asking(&route, 4).await;
    let answer = ask(&mut push, 7, &[10, 11, 12, 13, 14]).await.unwrap();
    let expected = PresenceAnswer {
        tag: 7,
        pc: vec![10, 12],
        mobile: vec![11, 12],
    };
    assert_eq!(answer, expected);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_reached_through_a_msg_server_that_was_lost() {
    let route = Route::start();
    let _writer = route.writer(0).await;
    let mut m1 = route.msg("m1").await;
    m1.log_in(session(10, WINDOWS, 1)).await;
    let mut push = asking(&route, 4).await;
    assert_eq!(ask(&mut push, 1, &[10]).await.unwrap().pc, [10]);
    drop(m1);
    let gone = async {
        while !ask(&mut push, 2, &[10]).await.unwrap().pc.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let before = tokio::time::Instant::now();
    gone.await;
    assert!(before.elapsed() < RouteConfig::default().lost_server_grace.duration());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_too_many_at_once_loses_the_link_and_nobody_else_does() {
    let route = Route::start();
    let (mut greedy, mut modest) = (asking(&route, 4).await, asking(&route, 4).await);
    let most: Vec<u32> = (1..).take(SLICE).collect();
    let more: Vec<u32> = (1..).take(SLICE + 1).collect();
    assert!(ask(&mut greedy, 1, &most).await.is_some());
    assert_eq!(route.metrics.refused(Refusal::Asks), 0);
    assert!(ask(&mut greedy, 2, &more).await.is_none());
    greedy.closed.cancelled().await;
    assert_eq!(route.metrics.refused(Refusal::Asks), 1);
    assert!(ask(&mut modest, 3, &most).await.is_some());
}
