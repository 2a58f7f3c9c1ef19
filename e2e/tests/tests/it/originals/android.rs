//! The Android client: all questions of its first login at once, answers matched by their numbers alone, frames
//! below its bound, receipts whose ids are the wrong way round, and a logout.

use im_client::Profile;
use im_e2e::originals::Original;
use im_proto_teamtalk::base::KickReasonType;

use super::world::{World, info, met};
use super::{account, groups, http, people, talk};
use crate::support::*;

/// Messages of a page.
const PAGE: u32 = 18;

#[tokio::test]
async fn the_android_client_has_its_conversation() {
    let mut world = World::new().await;
    let here = http::dispatch(&mut world, "User-Agent: Android-TT\r\n").await;
    let there = world.other(here);
    let mut peer = world.come(Profile::Ios, there, 2).await;
    let mut pc = world.come(Profile::Mac, there, 1).await;
    let (me, two) = (with_user(1), with_user(2));
    let mut said = Vec::new();
    for id in 1..=20 {
        let content = talk::text(me, &format!("text {id}"));
        said.push(talk::says(&mut peer, me, content, id, &mut [&mut pc]).await);
    }
    let newest_first: Vec<&talk::Said> = said.iter().rev().collect();
    let newest = newest_first[0];
    let team = groups::makes(&mut peer, "team", &[1, 2]).await;
    let group = in_group(team);

    // The login, and everything at once.
    let mut phone = Original::connect(&world.script, Profile::Android, here).await;
    phone.log_in(&info(1)).await;
    people::pc_is(&mut phone, people::ONLINE).await;
    let request = people::departments_since(&phone, 0);
    let departments = phone.send(Command::DepartmentReq, &request).await;
    let request = people::people_since(&phone, 0);
    let everybody = phone.send(Command::AllUserReq, &request).await;
    let request = talk::recent_since(&phone, 0);
    let recent = phone.send(Command::RecentContactSessionReq, &request).await;
    let request = groups::own(&phone);
    let own = phone.send(Command::NormalGroupListReq, &request).await;
    let request = talk::unread_counts(&phone);
    let unread = phone.send(Command::UnreadMsgCntReq, &request).await;
    talk::unread(&mut phone, unread, vec![newest.unread(two, 20)]).await;
    groups::listed(&mut phone, own, &[(team, 1)]).await;
    talk::recent(&mut phone, recent, vec![newest.recent(two)]).await;
    people::all_people(&mut phone, everybody).await;
    people::all_departments(&mut phone, departments).await;
    let newer = vec![groups::group(team, 1, "team", 2, &[1, 2])];
    groups::infos(&mut phone, &[(team, 0)], newer).await;
    people::details(&mut phone, vec![info(2)]).await;
    phone.beat().await;

    // A page, more when it is pulled down, and single messages for gaps.
    let begin = |id| (id, PAGE);
    talk::history(&mut phone, None, two, begin(20), &newest_first[..18]).await;
    talk::history(&mut phone, None, two, (20, 3 * PAGE), &newest_first).await;
    talk::by_ids(&mut phone, two, &newest_first[5..8]).await;
    talk::reads(&mut phone, two, 20).await;
    talk::is_read(&mut pc, two, 20).await;

    // Texts and pictures by themselves; voice; receipts.
    let audience = &mut [&mut peer, &mut pc];
    talk::says(&mut phone, two, talk::text(two, "从手机"), 21, audience).await;
    let (url, bytes) = http::upload(&world, "Android", 400).await;
    let content = talk::text(two, &http::mark(&url));
    let shown = talk::says(&mut phone, two, content, 22, &mut [&mut peer, &mut pc]).await;
    assert_eq!(http::fetch(&world, &shown.text(), "").await, bytes);
    for behind in ["_100x100.jpg", "_200x200.jpg"] {
        let scaled = http::fetch(&world, &shown.text(), behind).await;
        assert!(!scaled.is_empty() && scaled != bytes, "{behind}");
    }
    let spoken = talk::voice(two, 2);
    talk::says(&mut phone, two, spoken, 23, &mut [&mut peer, &mut pc]).await;
    let audience = &mut [&mut phone, &mut pc];
    let answer = talk::says(&mut peer, me, talk::text(me, "hello"), 24, audience).await;
    talk::receipt(&mut phone, 2, me, answer.id).await;
    talk::reads(&mut phone, two, answer.id).await;
    talk::is_read(&mut pc, two, answer.id).await;

    // Groups.
    let audience = &mut [&mut peer, &mut pc];
    talk::says(&mut phone, group, talk::text(group, "to all"), 1, audience).await;
    let audience = &mut [&mut phone, &mut pc];
    let content = talk::text(group, "and back");
    let back = talk::says(&mut peer, group, content, 2, audience).await;
    talk::receipt(&mut phone, 2, group, back.id).await;
    talk::reads(&mut pc, group, 2).await;
    talk::is_read(&mut phone, group, 2).await;
    // It may say so, too, when it counted one as unread: no news to the PC.
    talk::reads(&mut phone, group, 2).await;
    let made = groups::makes(&mut phone, "android", &[1, 2]).await;
    for (kind, members) in [
        (GroupModifyType::Add, &[1, 2, 3][..]),
        (GroupModifyType::Del, &[1, 2][..]),
    ] {
        let change = groups::Change {
            kind,
            group: made,
            who: &[3],
            members,
        };
        groups::changes(&mut phone, change, &mut [&mut peer, &mut pc]).await;
    }
    let change = groups::Change {
        kind: GroupModifyType::Add,
        group: team,
        who: &[3],
        members: &[1, 2, 3],
    };
    groups::changes(&mut peer, change, &mut [&mut phone, &mut pc]).await;
    groups::silences(&mut phone, team, 1).await;
    groups::silences(&mut phone, team, 0).await;

    // It hides a conversation, which no original client hears of and the server tells all the same.
    talk::hides(&mut phone, Command::RemoveSessionReq, two).await;
    talk::is_hidden(&mut pc, two).await;
    let request = talk::recent_since(&phone, 0);
    let seq = phone.send(Command::RecentContactSessionReq, &request).await;
    talk::recent(&mut phone, seq, vec![back.recent(group)]).await;
    phone.beat().await;
    for client in [&mut phone, &mut pc, &mut peer] {
        client.nothing_but(&[]).await;
    }

    // Its user's iPhone takes its place; it does not come back by itself. When its user acts it does, sends the
    // PC away, and logs out.
    let mut iphone = world.come(Profile::Ios, there, 1).await;
    let duplicate = KickReasonType::KickReasonDuplicateUser;
    // The notice of the PC, which is on its way to phones of this user, may come before.
    account::leaves(&mut phone, duplicate, &[Command::PcLoginStatusNotify]).await;
    let mut phone = world.come(Profile::Android, here, 1).await;
    account::leaves(&mut iphone, duplicate, &[Command::PcLoginStatusNotify]).await;
    people::pc_is(&mut phone, people::ONLINE).await;
    account::kicks_pc(&mut phone).await;
    account::leaves(&mut pc, KickReasonType::KickReasonMobileKick, &[]).await;
    people::pc_is(&mut phone, people::OFFLINE).await;
    account::logs_out(&mut phone).await;
    world.script.hold(&met().join("android.txt")).unwrap();
}
