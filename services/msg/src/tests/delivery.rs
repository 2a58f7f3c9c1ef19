//! Pushing: live, from the log, and everything that is not kept.

use bytes::Bytes;
use im_codec::Command;
use im_config::units::{ByteSize, Span};
use im_config::{MsgConfig, PresenceConfig, PresenceNotify};
use im_proto_rpc::v1::{Audience, Event, PresenceTick, route_item};
use im_proto_teamtalk::buddy::ImUserStatNotify;
use im_proto_teamtalk::message::ImMsgDataReadNotify;
use prost::Message;

use super::rig::*;

fn event(users: &[u32], audience: Audience, except: u64) -> route_item::Item {
    let body = ImMsgDataReadNotify {
        user_id: 7,
        session_id: 8,
        msg_id: 3,
        session_type: 1,
    };
    route_item::Item::Event(Event {
        users: users.to_vec(),
        broadcast: users.is_empty(),
        except,
        audience: audience as i32,
        command: u32::from(Command::MsgDataReadNotify.id()),
        body: body.encode_to_vec().into(),
    })
}

async fn expect_notify(client: &mut Client) {
    let notify: ImMsgDataReadNotify = client.expect(Command::MsgDataReadNotify, 0).await;
    assert_eq!(notify.msg_id, 3);
}

#[tokio::test]
async fn a_live_message_reaches_every_terminal_but_the_sending_one() {
    let rig = Rig::start().await;
    let mut sender = rig.client(7, WINDOWS).await;
    let mut phone = rig.client(7, IOS).await;
    let mut receiver = rig.client(8, ANDROID).await;
    rig.live().await;
    sender.send(Command::MsgData, 418, &text(8, "hello")).await;
    sender.expect_ack(418).await;
    let stored = rig.db.state().log[0].clone();
    rig.route().push(stored);
    for client in [&mut phone, &mut receiver] {
        let message = client.expect_message().await;
        assert_eq!(
            (message.from_user_id, message.to_session_id, message.msg_id),
            (7, 8, 1)
        );
        assert_eq!((message.create_time, message.msg_type), (1_700_000_000, 1));
        assert_eq!(message.msg_data, Bytes::from("hello"));
        assert_eq!((message.attach_data, message.client_msg_id), (None, None));
    }
    sender.expect_silence().await;
    assert!(rig.db.state().reads.is_empty(), "nothing had to be read");
}

#[tokio::test]
async fn a_message_that_comes_twice_is_pushed_once() {
    let rig = Rig::start().await;
    let mut client = rig.client(8, ANDROID).await;
    rig.live().await;
    let message = rig.db.commit(1, &[1, 8]);
    rig.route().push(message.clone());
    rig.route().push(message);
    assert_eq!(client.expect_message().await.msg_id, 1);
    client.expect_silence().await;
}

#[tokio::test]
async fn what_a_batch_leaves_out_is_read_from_the_log() {
    let rig = Rig::start().await;
    let mut client = rig.client(8, ANDROID).await;
    rig.live().await;
    let first = rig.db.commit(1, &[8]);
    rig.route().push(first);
    for _ in 0..5 {
        rig.db.commit(1, &[8]);
    }
    let last = rig.db.commit(1, &[8]);
    rig.route()
        .send_after(6, 7, vec![route_item::Item::Message(last)]);
    for id in 1..=7 {
        assert_eq!(client.expect_message().await.msg_id, id);
    }
    rig.live().await;
    assert_eq!(rig.gateway.env.metrics.gaps.get(), 1);
    assert!(rig.db.state().reads.starts_with(&[1]));
    rig.route().push(rig.db.commit(1, &[8]));
    assert_eq!(client.expect_message().await.msg_id, 8);
}

#[tokio::test]
async fn a_loss_at_the_end_is_found_by_a_bare_position() {
    let rig = Rig::start().await;
    let mut client = rig.client(8, ANDROID).await;
    rig.live().await;
    rig.db.commit(1, &[8]);
    rig.route().send_after(1, 1, vec![]);
    assert_eq!(client.expect_message().await.msg_id, 1);
}

#[tokio::test]
async fn without_a_route_server_messages_arrive_by_the_log() {
    let rig = Rig::start_with(MsgConfig {
        pull_interval: Span::seconds(10),
        ..config()
    })
    .await;
    let mut sender = rig.client(7, WINDOWS).await;
    let mut receiver = rig.client(8, ANDROID).await;
    rig.live().await;
    rig.route().cut(false);
    until("the route server is missed", || rig.dump("live") == false).await;
    // Long poll interval: only the local store can be the reason to read.
    until("the log is read once", || !rig.db.state().reads.is_empty()).await;
    for seq in 1..=20 {
        sender.send(Command::MsgData, seq, &text(8, "hello")).await;
        sender.expect_ack(seq).await;
        assert_eq!(receiver.expect_message().await.msg_id, u32::from(seq));
    }
    sender.expect_silence().await;
}

#[tokio::test]
async fn messages_of_other_servers_are_polled_while_the_route_server_is_gone() {
    let rig = Rig::start().await;
    let mut client = rig.client(8, ANDROID).await;
    rig.live().await;
    rig.route().cut(false);
    until("the route server is missed", || rig.dump("live") == false).await;
    for id in 1..=3 {
        rig.db.commit(1, &[8]);
        assert_eq!(client.expect_message().await.msg_id, id);
    }
    rig.route().state().sent = 3;
    rig.route().accept_again();
    rig.live().await;
    assert_eq!(
        rig.route().state().sessions.len(),
        1,
        "the session is announced again"
    );
    rig.route().push(rig.db.commit(1, &[8]));
    assert_eq!(client.expect_message().await.msg_id, 4);
}

#[tokio::test]
async fn while_the_writer_knows_other_route_servers_the_log_is_read() {
    let rig = Rig::start().await;
    let mut client = rig.client(8, ANDROID).await;
    rig.live().await;
    let ring = std::mem::replace(&mut rig.route().state().ring, 0x4711);
    let message = rig.db.commit(1, &[8]);
    rig.route().push(message);
    assert_eq!(client.expect_message().await.msg_id, 1);
    assert_eq!(rig.dump("live"), false);
    rig.db.commit(1, &[8]);
    assert_eq!(client.expect_message().await.msg_id, 2, "polled");
    rig.route().state().ring = ring;
    rig.route().send(2, vec![]);
    rig.live().await;
    client.expect_silence().await;
}

#[tokio::test]
async fn sessions_are_announced_anew_when_a_route_server_joins() {
    let rig = Rig::start_alone(config(), &["route-a", "route-b"]).await;
    rig.routes[1].cut(false);
    // The writer's ring is that of both; with one of them sessions are announced all the same.
    until("one is enough to be ready", || {
        rig.context.readiness.is_ready()
    })
    .await;
    until("it is alone", || {
        rig.dump("routes").as_array().unwrap().len() == 1
    })
    .await;
    let mut clients = Vec::new();
    for user in 1..=8 {
        clients.push(rig.client(user, WINDOWS).await);
    }
    assert_eq!(rig.routes[0].state().sessions.len(), 8);
    assert_eq!(rig.dump("live"), false, "another ring than the writer's");
    rig.routes[1].accept_again();
    rig.live().await;
    let (a, b) = (
        rig.routes[0].state().sessions.clone(),
        rig.routes[1].state().sessions.clone(),
    );
    assert_eq!(a.len() + b.len(), 8);
    assert!(!a.is_empty() && !b.is_empty());
    // A message comes on the link of each recipient's shard.
    let users: Vec<u32> = (1..=8).collect();
    let message = rig.db.commit(99, &users);
    rig.routes[0].push(message.clone());
    for session in &a {
        let client = &mut clients[session.user as usize - 1];
        assert_eq!(client.expect_message().await.msg_id, 1);
    }
    for session in &b {
        clients[session.user as usize - 1].expect_silence().await;
    }
    rig.routes[1].push(message);
    for session in &b {
        let client = &mut clients[session.user as usize - 1];
        assert_eq!(client.expect_message().await.msg_id, 1);
    }
}

#[tokio::test]
async fn events_reach_their_audience() {
    let rig = Rig::start().await;
    let mut pc = rig.client(7, WINDOWS).await;
    let mut phone = rig.client(7, IOS).await;
    let mut other = rig.client(8, WINDOWS).await;
    let epoch = rig.route().state().sessions[0].epoch;
    rig.route().send(0, vec![event(&[7], Audience::All, epoch)]);
    expect_notify(&mut phone).await;
    pc.expect_silence().await;
    rig.route().send(0, vec![event(&[7], Audience::Pc, 0)]);
    expect_notify(&mut pc).await;
    phone.expect_silence().await;
    rig.route().send(0, vec![event(&[], Audience::All, 0)]);
    for client in [&mut pc, &mut phone, &mut other] {
        expect_notify(client).await;
    }
}

fn tick(online: &[u32], offline: &[u32]) -> route_item::Item {
    route_item::Item::Presence(PresenceTick {
        online: online.to_vec(),
        offline: offline.to_vec(),
    })
}

async fn expect_status(client: &mut Client, user: u32, status: i32) {
    let notify: ImUserStatNotify = client.expect(Command::UserStatNotify, 0).await;
    assert_eq!(
        (notify.user_stat.user_id, notify.user_stat.status),
        (user, status)
    );
}

#[tokio::test]
async fn every_pc_hears_of_every_pc_and_phones_do_not() {
    let rig = Rig::start().await;
    let mut pc = rig.client(7, WINDOWS).await;
    let mut mac = rig.client(8, MAC).await;
    let mut phone = rig.client(9, IOS).await;
    rig.route().send(0, vec![tick(&[7, 8], &[3])]);
    for client in [&mut pc, &mut mac] {
        expect_status(client, 3, 2).await;
        expect_status(client, 7, 1).await;
        expect_status(client, 8, 1).await;
    }
    phone.expect_silence().await;
}

#[tokio::test]
async fn related_pcs_alone_hear_of_changes_when_so_configured() {
    let presence = PresenceConfig {
        notify: PresenceNotify::Related,
    };
    let rig = Rig::start_with(MsgConfig {
        presence,
        ..config()
    })
    .await;
    let mut friend = rig.client(7, WINDOWS).await;
    let mut stranger = rig.client(8, WINDOWS).await;
    let mut phone = rig.client(7, IOS).await;
    rig.db.state().related.insert(3, vec![7, 100]);
    rig.route().send(0, vec![tick(&[3], &[4])]);
    expect_status(&mut friend, 3, 1).await;
    friend.expect_silence().await;
    stranger.expect_silence().await;
    phone.expect_silence().await;
    assert_eq!(rig.db.state().related_asked, [3, 4]);
}

#[tokio::test]
async fn nobody_hears_of_changes_when_so_configured() {
    let presence = PresenceConfig {
        notify: PresenceNotify::None,
    };
    let rig = Rig::start_with(MsgConfig {
        presence,
        ..config()
    })
    .await;
    let mut pc = rig.client(7, WINDOWS).await;
    rig.route()
        .send(0, vec![tick(&[3], &[4]), event(&[7], Audience::All, 0)]);
    expect_notify(&mut pc).await;
    pc.expect_silence().await;
}

#[tokio::test]
async fn a_great_many_changes_come_in_portions_that_a_normal_reader_takes() {
    let rig = Rig::start_with(MsgConfig {
        push_budget: ByteSize::kib(64),
        ..config()
    })
    .await;
    let mut pc = rig.client(7, WINDOWS).await;
    let users: Vec<u32> = (100_000..105_000).collect();
    rig.route().send(0, vec![tick(&[], &users)]);
    for user in users {
        expect_status(&mut pc, user, 2).await;
    }
    assert_eq!(rig.gateway.env.metrics.slow_readers.get(), 0);
}

#[tokio::test]
async fn large_deliveries_are_paced_and_lose_nothing() {
    let config = MsgConfig {
        fanout_connections: 4,
        fanout_gap: Span::millis(3),
        ..config()
    };
    let rig = Rig::start_with(config).await;
    let users: Vec<u32> = (1..=20).collect();
    let mut clients = Vec::new();
    for user in &users {
        clients.push(rig.client(*user, WINDOWS).await);
    }
    rig.live().await;
    for _ in 0..50 {
        rig.route().push(rig.db.commit(99, &users));
        tokio::task::yield_now().await;
    }
    for client in &mut clients {
        for id in 1..=50 {
            assert_eq!(client.expect_message().await.msg_id, id);
        }
    }
}
