//! The Mac client: counts its requests, leaves its user's id out of most, asks for everybody at once, and lives
//! with a phone that can send it away.

use im_client::Profile;
use im_e2e::originals::Original;
use im_proto_teamtalk::base::KickReasonType;

use super::world::{PEOPLE, World, info, met};
use super::{account, groups, http, people, talk};
use crate::support::*;

/// Messages that it asks for when a conversation is opened.
const PAGE: u32 = 20;

#[tokio::test]
async fn the_mac_client_has_its_conversation() {
    let mut world = World::new().await;
    let here = http::dispatch(&mut world, "User-Agent: TeamTalk/1.2 (Mac)\r\n").await;
    let there = world.other(here);
    let mut peer = world.come(Profile::Windows, there, 2).await;
    let mut phone = world.come(Profile::Ios, there, 1).await;
    let (me, two) = (with_user(1), with_user(2));
    let to_me = talk::text(me, "good morning");
    let one = talk::says(&mut peer, me, to_me, 1, &mut [&mut phone]).await;
    let team = groups::makes(&mut peer, "team", &[1, 2]).await;
    let group = in_group(team);
    let to_all = talk::text(group, "hello all");
    let other = talk::says(&mut peer, group, to_all, 1, &mut [&mut phone]).await;

    // The login, and what it asks then: departments always from the beginning.
    let mut mac = Original::connect(&world.script, Profile::Mac, here).await;
    mac.log_in(&info(1)).await;
    for client in [&mut mac, &mut peer] {
        people::sees(client, 1, people::ONLINE).await;
    }
    people::pc_is(&mut phone, people::ONLINE).await;
    let departments = people::departments_since(&mac, 0);
    let departments = mac.send(Command::DepartmentReq, &departments).await;
    let everybody = people::people_since(&mac, 0);
    let everybody = mac.send(Command::AllUserReq, &everybody).await;
    let own = groups::own(&mac);
    let own = mac.send(Command::NormalGroupListReq, &own).await;
    people::all_departments(&mut mac, departments).await;
    people::all_people(&mut mac, everybody).await;
    let request = talk::recent_since(&mac, 0);
    let recent = mac.send(Command::RecentContactSessionReq, &request).await;
    let known = (1..=PEOPLE).map(|user| match user {
        1 | 2 => (user, people::ONLINE),
        _ => (user, people::OFFLINE),
    });
    people::statuses(&mut mac, &known.collect::<Vec<_>>()).await;
    let newest_first = vec![other.recent(group), one.recent(two)];
    talk::recent(&mut mac, recent, newest_first).await;
    let newer = vec![groups::group(team, 1, "team", 2, &[1, 2])];
    groups::infos(&mut mac, &[(team, 0)], newer).await;
    let request = talk::unread_counts(&mac);
    let seq = mac.send(Command::UnreadMsgCntReq, &request).await;
    let counts = vec![other.unread(group, 1), one.unread(two, 1)];
    talk::unread(&mut mac, seq, counts).await;
    groups::listed(&mut mac, own, &[(team, 1)]).await;
    groups::infos(&mut mac, &[(team, 1)], Vec::new()).await;
    mac.beat().await;

    // Conversations are opened: it wants ids without a gap down to the first.
    talk::newest(&mut mac, two, 1).await;
    talk::history(&mut mac, None, two, (1, PAGE), &[&one]).await;
    talk::reads(&mut mac, two, 1).await;
    talk::is_read(&mut phone, two, 1).await;
    talk::newest(&mut mac, group, 1).await;
    talk::history(&mut mac, None, group, (1, PAGE), &[&other]).await;
    talk::reads(&mut mac, group, 1).await;
    talk::is_read(&mut phone, group, 1).await;
    // iOS says again what it is told was read, which is no news to the Mac.
    talk::reads(&mut phone, two, 1).await;

    // Texts, with a picture among words, and voice.
    let audience = &mut [&mut peer, &mut phone];
    talk::says(&mut mac, two, talk::text(two, "早"), 2, audience).await;
    let (url, bytes) = http::upload(&world, "Mac", 400).await;
    let words = format!("{}{}", http::mark(&url), "之后");
    let audience = &mut [&mut peer, &mut phone];
    let shown = talk::says(&mut mac, two, talk::text(two, &words), 3, audience).await;
    assert_eq!(http::fetch(&world, &shown.text(), "").await, bytes);
    let audience = &mut [&mut mac, &mut phone];
    let spoken = talk::says(&mut peer, me, talk::voice(me, 4), 4, audience).await;
    talk::history(&mut mac, None, two, (4, 1), &[&spoken]).await;
    let request = talk::unread_counts(&mac);
    let seq = mac.send(Command::UnreadMsgCntReq, &request).await;
    talk::unread(&mut mac, seq, vec![spoken.unread(two, 1)]).await;

    // Groups.
    let audience = &mut [&mut peer, &mut phone];
    talk::says(
        &mut mac,
        group,
        talk::text(group, "from a Mac"),
        2,
        audience,
    )
    .await;
    let own = groups::makes(&mut mac, "mac", &[1, 2]).await;
    for (kind, members) in [
        (GroupModifyType::Add, &[1, 2, 3][..]),
        (GroupModifyType::Del, &[1, 2][..]),
    ] {
        let change = groups::Change {
            kind,
            group: own,
            who: &[3],
            members,
        };
        groups::changes(&mut mac, change, &mut [&mut peer, &mut phone]).await;
    }
    let change = groups::Change {
        kind: GroupModifyType::Add,
        group: team,
        who: &[4],
        members: &[1, 2, 4],
    };
    groups::changes(&mut peer, change, &mut [&mut mac, &mut phone]).await;

    // Typing, to and fro, without the line end that Windows writes.
    let json = "{\"cmd_id\":131073,\"content\":\"writing\",\"service_id\":2}";
    talk::signals(&mut mac, 2, json, &mut [&mut peer, &mut phone]).await;
    let json = "{\"cmd_id\":65537,\"content\":\"shakewindow\",\"service_id\":1}\n";
    talk::signals(&mut peer, 1, json, &mut [&mut mac, &mut phone]).await;

    // Its change of the avatar is from another time: ignored, and the connection stays.
    mac.send_stray(2, 0x0014, &[0, 0, 0, 1, 0, 0, 0, 3, b'a', b'b', b'c'])
        .await;
    mac.beat().await;
    for client in [&mut mac, &mut peer, &mut phone] {
        client.nothing_but(&[]).await;
    }

    // Its user sends it away from the phone.
    account::kicks_pc(&mut phone).await;
    account::leaves(&mut mac, KickReasonType::KickReasonMobileKick, &[]).await;
    people::pc_is(&mut phone, people::OFFLINE).await;
    people::sees(&mut peer, 1, people::OFFLINE).await;
    world.script.hold(&met().join("mac.txt")).unwrap();
}
