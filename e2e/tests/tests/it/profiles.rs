//! Clients that behave as the originals do, together in one conversation (S-23, S-24, S-29, S-108).

use std::time::Duration;

use im_client::{Client, ClientConfig, Event, Events, Profile};
use im_core::{Peer, UserId};
use im_e2e::people;
use im_proto_teamtalk::base::MsgType;

use crate::support::*;

const ALL: [Profile; 5] = [
    Profile::Own,
    Profile::Windows,
    Profile::Mac,
    Profile::Ios,
    Profile::Android,
];

async fn client(url: &str, user: u32, profile: Profile) -> (Client, Events) {
    let password = Password::clear(people::PASSWORD);
    let mut config = ClientConfig::new(url, people::name(user), password).with_profile(profile);
    // What the Windows client does to pace its user has nothing to do with the protocol.
    config.sending.pace = Duration::ZERO;
    config.event_capacity = 16_384;
    Client::connect(config)
        .await
        .unwrap_or_else(|error| panic!("{profile:?}: {error}"))
}

async fn next_message(events: &mut Events) -> im_client::Message {
    let next = async {
        loop {
            match events.recv().await.expect("the client lives") {
                Event::Message(message) => return message,
                Event::Unmatched(frame) => panic!("nobody waits for {frame:?}"),
                event @ (Event::Missed { .. } | Event::Closed { .. } | Event::Kick { .. }) => {
                    panic!("{event:?}")
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(WAIT, next)
        .await
        .expect("a message in time")
}

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

/// Each original's requests after login, all at once and in any order, are answered as
/// it expects.
#[tokio::test]
async fn the_requests_of_every_client_after_login_are_answered() {
    let shared = platform().await;
    for profile in ALL {
        let [id, friend] = users();
        let (client, _events) = client(&shared.url, id, profile).await;
        let peer = Peer::User(user(friend));
        client.send_text(peer, "first").await.unwrap();
        let (departments, everybody, groups, recent, unread, list, newest, shield) = tokio::join!(
            client.departments(0),
            client.all_users(0),
            client.normal_groups(),
            client.recent_sessions(0),
            client.unread(),
            client.history(peer, 0, 20),
            client.latest_msg_id(peer),
            client.push_shield(),
        );
        assert!(departments.unwrap().dept_list.len() >= 3, "{profile:?}");
        assert!(!everybody.unwrap().user_list.is_empty(), "{profile:?}");
        assert!(groups.unwrap().is_empty(), "{profile:?}");
        assert_eq!(recent.unwrap().contact_session_list.len(), 1, "{profile:?}");
        assert_eq!(unread.unwrap().total_cnt, 0, "{profile:?}");
        assert_eq!(list.unwrap().msg_list.len(), 1, "{profile:?}");
        assert_eq!(newest.unwrap(), 1, "{profile:?}");
        assert_eq!(shield.unwrap().shield_status, Some(0), "{profile:?}");
        let presence = client.presence(&[user(id)]).await.unwrap();
        assert_eq!(presence.len(), 1, "{profile:?}");
        client.heartbeat().await.unwrap();
        client.close().await;
    }
}

/// S-29, S-42: every client to every other, text with every kind of character and voice, both
/// byte for byte.
#[tokio::test]
async fn every_client_understands_every_other() {
    let shared = platform().await;
    let ids: [u32; 5] = users();
    let mut clients = Vec::new();
    for (profile, id) in ALL.into_iter().zip(ids) {
        clients.push(client(&shared.url, id, profile).await);
    }
    let texts = [
        "plain",
        "汉字与标点。",
        "😀👩‍👩‍👧 e\u{301}",
        "&$#@~^@[{:http://a/1_2x2.png:}]&$~@#@",
        "[牙牙撒花]",
    ];
    let voice: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    for from in 0..5 {
        for to in (0..5).filter(|to| *to != from) {
            let peer = Peer::User(user(ids[to]));
            for text in texts {
                let sender = clients[from].0.clone();
                let ack = sender.send_text(peer, text).await.unwrap();
                let message = next_message(&mut clients[to].1).await;
                assert_eq!(message.data.msg_id, ack.msg_id);
                assert_eq!(message.data.from_user_id, ids[from]);
                assert_eq!(
                    text_of(&message.data),
                    text,
                    "{:?} to {:?}",
                    ALL[from],
                    ALL[to]
                );
            }
            clients[from].0.send_voice(peer, 7, &voice).await.unwrap();
            let message = next_message(&mut clients[to].1).await;
            assert_eq!(message.data.msg_type, i32::from(MsgType::SingleAudio));
            let (seconds, sound) = message.voice().unwrap();
            assert_eq!((seconds, sound.as_ref()), (7, voice.as_slice()));
        }
    }
    for (client, _) in clients {
        client.close().await;
    }
}

/// S-29, I3: a thousand each way at the same time, on one server and across two: all of them, once,
/// in order, unchanged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_each_way_arrive_once_and_in_order() {
    const COUNT: u32 = 1_000;
    let shape = Shape {
        login: 2,
        msg: 2,
        route: 2,
    };
    let options = Options::people(3).set("msg.rate_limit=0");
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let servers = [
        ("msg1", 1, Profile::Own),
        ("msg1", 2, Profile::Mac),
        ("msg2", 3, Profile::Ios),
    ];
    let mut clients = Vec::new();
    for (server, id, profile) in servers {
        let address = platform.msg_address(server).to_string();
        clients.push(client(&address, id, profile).await);
    }
    let text = |from: u32, to: u32, n: u32| format!("{from}→{to} 第{n}条 🎈");
    let pairs = [(1, 2), (2, 1), (1, 3), (3, 1)];
    let send = pairs.map(|(from, to)| {
        let sender = clients[from as usize - 1].0.clone();
        async move {
            let mut acks = Vec::new();
            for n in 0..COUNT {
                let peer = Peer::User(user(to));
                acks.push(sender.post_text(peer, &text(from, to, n)).await.unwrap());
            }
            for ack in acks {
                ack.await.unwrap();
            }
        }
    });
    let receive = clients
        .iter_mut()
        .zip(1_u32..)
        .map(|((_, events), me)| async move {
            let mut next = std::collections::BTreeMap::<u32, u32>::new();
            let expected = pairs.iter().filter(|(_, to)| *to == me).count() as u32 * COUNT;
            for _ in 0..expected {
                let message = next_message(events).await;
                let from = message.data.from_user_id;
                let n = next.entry(from).or_default();
                assert_eq!(text_of(&message.data), text(from, me, *n), "user {me}");
                *n += 1;
            }
        });
    tokio::join!(
        futures::future::join_all(send),
        futures::future::join_all(receive)
    );
    for (client, events) in &mut clients {
        client.heartbeat().await.unwrap();
        while let Some(event) = events.try_recv() {
            assert!(
                !matches!(event, Event::Message(_)),
                "one too many: {event:?}"
            );
        }
    }
    let stored = clients[0]
        .0
        .latest_msg_id(Peer::User(user(3)))
        .await
        .unwrap();
    assert_eq!(stored, 2 * COUNT);
}
