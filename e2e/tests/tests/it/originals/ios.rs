//! The iOS client: heartbeats from the connection on, user 0 in requests and messages, receipts for everything,
//! and the number of an answer for one of its requests.

use im_client::Profile;
use im_e2e::originals::Original;
use im_proto_teamtalk::base::KickReasonType;

use super::world::{World, info, met};
use super::{account, groups, http, people, talk};
use crate::support::*;

#[tokio::test]
async fn the_ios_client_has_its_conversation() {
    let mut world = World::new().await;
    let here = http::dispatch(&mut world, "User-Agent: TeamTalk/1.2 CFNetwork\r\n").await;
    let there = world.other(here);
    let mut peer = world.come(Profile::Mac, there, 2).await;
    let mut pc = world.come(Profile::Windows, there, 1).await;
    people::sees(&mut peer, 1, people::ONLINE).await;
    let (me, two) = (with_user(1), with_user(2));
    let to_me = |text| talk::text(me, text);
    let one = talk::says(&mut peer, me, to_me("one"), 1, &mut [&mut pc]).await;
    let other = talk::says(&mut peer, me, to_me("two"), 2, &mut [&mut pc]).await;
    let team = groups::makes(&mut peer, "team", &[1, 2]).await;
    let group = in_group(team);
    let to_all = talk::text(group, "hello all");
    let in_team = talk::says(&mut peer, group, to_all, 1, &mut [&mut pc]).await;

    // The login, with a heartbeat before it.
    let mut ios = Original::connect(&world.script, Profile::Ios, here).await;
    ios.beat().await;
    ios.log_in(&info(1)).await;
    people::pc_is(&mut ios, people::ONLINE).await;
    // Twice when it knows nobody yet.
    let request = people::people_since(&ios, 0);
    let first = ios.send(Command::AllUserReq, &request).await;
    let second = ios.send(Command::AllUserReq, &request).await;
    for seq in [first, second] {
        people::all_people(&mut ios, seq).await;
    }
    account::registers(&mut ios, &"ab".repeat(32)).await;
    let request = talk::recent_since(&ios, 0);
    let seq = ios.send(Command::RecentContactSessionReq, &request).await;
    let newest_first = vec![in_team.recent(group), other.recent(two)];
    talk::recent(&mut ios, seq, newest_first).await;
    let request = talk::unread_counts(&ios);
    let seq = ios.send(Command::UnreadMsgCntReq, &request).await;
    let counts = vec![in_team.unread(group, 1), other.unread(two, 2)];
    talk::unread(&mut ios, seq, counts).await;
    people::statuses(&mut ios, &[(1, people::ONLINE)]).await;
    let newer = vec![groups::group(team, 1, "team", 2, &[1, 2])];
    groups::infos(&mut ios, &[(team, 0)], newer).await;
    let request = groups::own(&ios);
    let seq = ios.send(Command::NormalGroupListReq, &request).await;
    groups::listed(&mut ios, seq, &[(team, 1)]).await;
    people::details(&mut ios, vec![info(2), info(3)]).await;

    // A conversation is opened; what is read elsewhere it says to have read, too, and that ends there.
    talk::newest(&mut ios, two, 2).await;
    talk::history(&mut ios, None, two, (2, 20), &[&other, &one]).await;
    talk::by_ids(&mut ios, two, &[&other, &one]).await;
    talk::reads(&mut ios, two, 2).await;
    talk::is_read(&mut pc, two, 2).await;
    talk::reads(&mut pc, group, 1).await;
    talk::is_read(&mut ios, group, 1).await;
    talk::reads(&mut ios, group, 1).await;
    ios.beat().await;

    // Messages have no author and no time of the client.
    let audience = &mut [&mut peer, &mut pc];
    talk::says(&mut ios, two, talk::text(two, "hi 😀"), 3, audience).await;
    let (url, bytes) = http::upload(&world, "iOS", 400).await;
    let content = talk::text(two, &http::mark(&url));
    let shown = talk::says(&mut ios, two, content, 4, &mut [&mut peer, &mut pc]).await;
    assert_eq!(http::fetch(&world, &shown.text(), "").await, bytes);
    let scaled = http::fetch(&world, &shown.text(), "_310x310.jpg").await;
    assert!(!scaled.is_empty() && scaled != bytes, "as it shows avatars");
    let spoken = talk::voice(two, 5);
    talk::says(&mut ios, two, spoken, 5, &mut [&mut peer, &mut pc]).await;
    let audience = &mut [&mut ios, &mut pc];
    let answer = talk::says(&mut peer, me, to_me("hello"), 6, audience).await;
    talk::receipt(&mut ios, 0, two, answer.id).await;
    let audience = &mut [&mut peer, &mut pc];
    talk::says(&mut ios, group, talk::text(group, "to all"), 2, audience).await;
    let audience = &mut [&mut ios, &mut pc];
    let content = talk::voice(group, 1);
    let answer = talk::says(&mut peer, group, content, 3, audience).await;
    talk::receipt(&mut ios, 0, group, answer.id).await;
    let json = "{\"cmd_id\":65537,\"content\":\"shakewindow\",\"service_id\":1}";
    talk::signals(&mut ios, 2, json, &mut [&mut peer, &mut pc]).await;

    // Groups.
    let own = groups::makes(&mut ios, "ios", &[1, 2]).await;
    let change = groups::Change {
        kind: GroupModifyType::Add,
        group: own,
        who: &[3],
        members: &[1, 2, 3],
    };
    groups::changes(&mut ios, change, &mut [&mut peer, &mut pc]).await;
    groups::silences(&mut ios, own, 1).await;
    let mut silent = groups::group(own, 2, "ios", 1, &[1, 2, 3]);
    silent.shield_status = 1;
    groups::infos(&mut ios, &[(own, 1)], vec![silent]).await;
    groups::silences(&mut ios, own, 0).await;

    // Its page of the user: the night, and the signature, of which PCs and phones hear.
    account::asks_rest(&mut ios, 0).await;
    account::rests(&mut ios, 1).await;
    account::asks_rest(&mut ios, 1).await;
    people::sign(&mut ios, "on the road").await;
    for client in [&mut ios, &mut pc, &mut peer] {
        people::sees_sign(client, 1, "on the road").await;
    }

    // It hides a conversation under the number of the answer (D10); a report of a call is nobody's.
    talk::hides(&mut ios, Command::RemoveSessionRsp, two).await;
    talk::is_hidden(&mut pc, two).await;
    let request = talk::recent_since(&ios, 0);
    let seq = ios.send(Command::RecentContactSessionReq, &request).await;
    talk::recent(&mut ios, seq, vec![answer.recent(group)]).await;
    ios.send_stray(7, 0x0735, &[8, 1, 16, 2, 24, 17]).await;
    ios.send_stray(2, 0x0012, &[]).await;
    ios.beat().await;
    for client in [&mut ios, &mut pc, &mut peer] {
        client.nothing_but(&[]).await;
    }

    // Another phone of its user takes its place; then it comes back by the whole way, sends the PC away, and
    // logs out.
    let mut signed = info(1);
    signed.sign_info = Some("on the road".to_owned());
    let mut android = Original::connect(&world.script, Profile::Android, there).await;
    android.log_in(&signed).await;
    let duplicate = KickReasonType::KickReasonDuplicateUser;
    // The notice of the PC, which is on its way to phones of this user, may come before.
    account::leaves(&mut ios, duplicate, &[Command::PcLoginStatusNotify]).await;
    let again = http::dispatch(&mut world, "User-Agent: TeamTalk/1.2 CFNetwork\r\n").await;
    let mut ios = Original::connect(&world.script, Profile::Ios, again).await;
    ios.beat().await;
    ios.log_in(&signed).await;
    account::leaves(&mut android, duplicate, &[Command::PcLoginStatusNotify]).await;
    people::pc_is(&mut ios, people::ONLINE).await;
    account::kicks_pc(&mut ios).await;
    account::leaves(&mut pc, KickReasonType::KickReasonMobileKick, &[]).await;
    people::pc_is(&mut ios, people::OFFLINE).await;
    people::sees(&mut peer, 1, people::OFFLINE).await;
    account::logs_out(&mut ios).await;
    world.script.hold(&met().join("ios.txt")).unwrap();
}
