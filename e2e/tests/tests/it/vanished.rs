//! Receivers who vanish while messages for them are under way (S-38, S-50).

use std::time::Duration;

use im_e2e::proxy::Cable;
use im_e2e::{gauges, wait};
use nix::sys::signal::Signal;

use crate::history::{ids, unread};
use crate::support::*;
use crate::takeovers::World;

/// So many messages of this person are unread, each is there once, and none of them is pushed.
async fn finds(receiver: &mut Terminal, from: u32, count: u32) {
    let info = unread(receiver, with_user(from)).await.unwrap();
    assert_eq!((info.unread_cnt, info.latest_msg_id), (count, count));
    let newest_first: Vec<u32> = (1..=count).rev().collect();
    let found = ids(receiver, with_user(from), count, 2 * count).await;
    assert_eq!(found, newest_first);
    let pushed = commands(&receiver.settle().await);
    assert!(!pushed.contains(&Command::MsgData), "{pushed:?}");
}

/// S-38: the route server holds a session that has ended, since the msg server's word of it does not get
/// through. A hundred messages follow it there. Their receiver finds each of them once at the next login,
/// and not again when the word has got through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_messages_to_a_session_that_has_ended_are_there_at_the_next_login() {
    let mut world = World::new().await;
    let address = world.platform.msg_address("msg1");
    let mut sender = Terminal::login(address, 2, Windows).await;
    let receiver = world.login("msg2").await;
    world.sessions(2.0).await;
    world.cables[1].set(Cable::Silent);
    drop(receiver);
    let msg2 = &*world.platform.process("msg2").unwrap();
    wait::until("the end of the session", wait::SOON, || async {
        let dump = gauges::dump(msg2).await.ok()?;
        (dump["msg"]["sessions"] == 0).then_some(())
    })
    .await
    .unwrap();
    for n in 1..=100 {
        assert_eq!(sender.say(with_user(1), "are you there?").await.msg_id, n);
    }
    world.sessions(2.0).await;
    let mut again = world.login("msg1").await;
    finds(&mut again, 2, 100).await;
    world.cables[1].set(Cable::Whole);
    // Whoever logs in there now does so behind the word.
    let address = world.platform.msg_address("msg2");
    let _third = Terminal::login(address, 3, Windows).await;
    world.sessions(3.0).await;
    let pushed = commands(&again.fence(&mut sender).await);
    assert!(!pushed.contains(&Command::MsgData), "{pushed:?}");
}

/// S-50: a msg server stands still with a hundred messages under way to the people on it, and is killed.
/// Nobody else waits for that; a minute later at most the route server keeps nothing for it, and its people
/// find each message once on another server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_messages_queued_for_a_killed_msg_server_are_there_and_no_queue_is_left() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let options = Options::people(4).set("msg.rate_limit=0");
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let [m1, m2] = ["msg1", "msg2"].map(|name| platform.msg_address(name));
    let mut sender = Terminal::login(m1, 1, Windows).await;
    let mut near = Terminal::login(m1, 2, Windows).await;
    let far = [
        Terminal::login(m2, 3, Windows).await,
        Terminal::login(m2, 4, Android).await,
    ];
    let second = platform.process("msg2").unwrap();
    second.signal(Signal::SIGSTOP).unwrap();
    for n in 1..=50 {
        for user in [3, 4, 2] {
            assert_eq!(sender.say(with_user(user), "hello").await.msg_id, n);
        }
        assert_eq!(near.message().await.msg_id, n);
    }
    second.kill9().unwrap();
    drop(far);
    let route = &*platform.process("route1").unwrap();
    wait::until("no queue for it", Duration::from_mins(1), || async {
        let dump = gauges::dump(route).await.ok()?;
        let mut servers = dump["route"]["servers"].as_array()?.iter();
        let is_gone =
            servers.all(|server| server["name"] == "msg1" && server["waiting_items"] == 0);
        is_gone.then_some(())
    })
    .await
    .unwrap();
    for user in [3, 4] {
        let mut again = Terminal::login(m1, user, Windows).await;
        finds(&mut again, 1, 50).await;
    }
    let pushed = commands(&near.settle().await);
    assert!(!pushed.contains(&Command::MsgData), "{pushed:?}");
}
