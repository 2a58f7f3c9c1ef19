//! The Windows client: number 0 for nearly everything, tags for history, one retry of a message, and files.

use im_client::Profile;
use im_e2e::originals::Original;
use im_proto_teamtalk::base::KickReasonType;

use super::world::{PEOPLE, World, info, met};
use super::{account, groups, http, people, talk, transfers};
use crate::files::client::content;
use crate::support::*;

/// Tags under which it asks for history, history to scroll to, and unread messages.
const HISTORY: u16 = 0xff01;
const SCROLL: u16 = 0xff02;
const UNREAD: u16 = 0xff03;

#[tokio::test]
async fn the_windows_client_has_its_conversation() {
    let mut world = World::new().await;
    let at_files = world.files;
    // It asks for the configured URL as it is, at each login by hand.
    let here = http::dispatch(&mut world, "Accept: */*\r\n").await;
    let there = world.other(here);
    let mut peer = world.come(Profile::Windows, there, 2).await;
    let mut phone = world.come(Profile::Android, there, 1).await;
    let (me, two) = (with_user(1), with_user(2));

    // While its user has only a phone: two texts, a group, a file.
    let to_me = |text| talk::text(me, text);
    let one = talk::says(&mut peer, me, to_me("早上好"), 1, &mut [&mut phone]).await;
    let other = talk::says(&mut peer, me, to_me("are you there?"), 2, &mut [&mut phone]).await;
    let team = groups::makes(&mut peer, "team 组", &[1, 2]).await;
    let file = content(100_000);
    let waiting = transfers::offers(&mut peer, 1, &file, transfers::STORED, at_files).await;
    transfers::stores(&mut peer, &waiting).await;

    // The login, and what it asks then.
    let mut pc = Original::connect(&world.script, Profile::Windows, here).await;
    pc.log_in(&info(1)).await;
    pc.beat().await;
    for client in [&mut pc, &mut peer] {
        people::sees(client, 1, people::ONLINE).await;
    }
    people::pc_is(&mut phone, people::ONLINE).await;
    let request = people::departments_since(&pc, 0);
    let seq = pc.send(Command::DepartmentReq, &request).await;
    let departments = people::all_departments(&mut pc, seq).await;
    let request = people::people_since(&pc, 0);
    let seq = pc.send(Command::AllUserReq, &request).await;
    people::all_people(&mut pc, seq).await;
    let request = groups::own(&pc);
    let seq = pc.send(Command::NormalGroupListReq, &request).await;
    groups::listed(&mut pc, seq, &[(team, 1)]).await;
    let request = talk::recent_since(&pc, 0);
    let seq = pc.send(Command::RecentContactSessionReq, &request).await;
    talk::recent(&mut pc, seq, vec![other.recent(two)]).await;
    let request = talk::unread_counts(&pc);
    let seq = pc.send(Command::UnreadMsgCntReq, &request).await;
    talk::unread(&mut pc, seq, vec![other.unread(two, 2)]).await;
    transfers::asks_files(&mut pc, at_files, &[&waiting]).await;
    talk::history(&mut pc, Some(UNREAD), two, (2, 2), &[&other, &one]).await;
    let known = (1..=PEOPLE).map(|user| {
        let is_there = matches!(user, 1 | 2);
        let status = if is_there {
            people::ONLINE
        } else {
            people::OFFLINE
        };
        (user, status)
    });
    people::statuses(&mut pc, &known.collect::<Vec<_>>()).await;
    let newer = vec![groups::group(team, 1, "team 组", 2, &[1, 2])];
    groups::infos(&mut pc, &[(team, 0)], newer).await;
    account::asks_time(&mut pc).await;
    people::no_departments_since(&mut pc, departments).await;

    // The conversation is opened.
    talk::reads(&mut pc, two, 2).await;
    talk::is_read(&mut phone, two, 2).await;
    let request = talk::unread_counts(&pc);
    let seq = pc.send(Command::UnreadMsgCntReq, &request).await;
    talk::unread(&mut pc, seq, Vec::new()).await;
    talk::history(&mut pc, Some(HISTORY), two, (2, 20), &[&other, &one]).await;
    talk::history(&mut pc, Some(SCROLL), two, (1, 20), &[&one]).await;

    // A text whose acknowledgement is late is sent once more as it was, and stored once (D15).
    let (kind, data) = talk::text(two, "你好");
    let message = pc.message(two, kind, data.clone());
    let seq = pc.send(Command::MsgData, &message).await;
    talk::stored(&mut pc, seq, two, 3).await;
    pc.send_under(Command::MsgData, seq, &message).await;
    talk::stored(&mut pc, seq, two, 3).await;
    let sent = (kind, data);
    for client in [&mut peer, &mut phone] {
        talk::hears(client, 1, two, 3, &sent).await;
    }
    let audience = &mut [&mut pc, &mut phone];
    let answer = talk::says(&mut peer, me, to_me("hello"), 4, audience).await;
    talk::receipt(&mut pc, 1, two, answer.id).await;
    talk::receipt(&mut peer, 2, me, 3).await;

    // Voice, and a picture among words.
    let spoken = talk::voice(two, 3);
    talk::says(&mut pc, two, spoken, 5, &mut [&mut peer, &mut phone]).await;
    let (url, bytes) = http::upload(&world, "Windows", 400).await;
    let words = format!("look: {} nice", http::mark(&url));
    let audience = &mut [&mut peer, &mut phone];
    let shown = talk::says(&mut pc, two, talk::text(two, &words), 6, audience).await;
    assert_eq!(shown.text(), words);
    assert_eq!(http::fetch(&world, &shown.text(), "").await, bytes);

    // Groups.
    let group = in_group(team);
    let audience = &mut [&mut peer, &mut phone];
    talk::says(&mut pc, group, talk::text(group, "to all"), 1, audience).await;
    let audience = &mut [&mut pc, &mut phone];
    talk::says(&mut peer, group, talk::voice(group, 2), 2, audience).await;
    let own = groups::makes(&mut pc, "windows", &[1, 2]).await;
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
        groups::changes(&mut pc, change, &mut [&mut peer, &mut phone]).await;
    }

    // What everybody sees of its user, and what only the other one does.
    people::sign(&mut pc, "今天 ✓").await;
    for client in [&mut pc, &mut peer, &mut phone] {
        people::sees_sign(client, 1, "今天 ✓").await;
    }
    let (avatar, _) = http::upload(&world, "Windows", 310).await;
    people::show(&mut pc, &avatar).await;
    for client in [&mut pc, &mut peer] {
        people::sees_avatar(client, 1, &avatar).await;
    }
    for (cmd, text) in [(131_073, "writing"), (131_074, "stop writing")] {
        let json = format!("{{\"cmd_id\":{cmd},\"content\":\"{text}\",\"service_id\":2}}\n");
        talk::signals(&mut pc, 2, &json, &mut [&mut peer, &mut phone]).await;
    }

    // Files: from one PC to the other, for somebody who is away, and that which waited.
    let direct = transfers::offers(&mut pc, 2, &file, transfers::DIRECT, at_files).await;
    transfers::is_offered(&mut peer, &direct, 0).await;
    transfers::passes(&pc, &peer, &direct).await;
    let stored = transfers::offers(&mut pc, 2, &file, transfers::STORED, at_files).await;
    transfers::is_offered(&mut peer, &stored, 0).await;
    transfers::stores(&mut pc, &stored).await;
    transfers::is_offered(&mut peer, &stored, 1).await;
    transfers::asks_files(&mut peer, at_files, &[&stored]).await;
    transfers::fetches(&mut peer, &stored).await;
    transfers::asks_files(&mut peer, at_files, &[]).await;
    transfers::fetches(&mut pc, &waiting).await;
    transfers::asks_files(&mut pc, at_files, &[]).await;

    // Nothing else came to anybody; then its user logs in at a Mac.
    pc.beat().await;
    for client in [&mut pc, &mut peer, &mut phone] {
        client.nothing_but(&[]).await;
    }
    let mut mac = Original::connect(&world.script, Profile::Mac, there).await;
    let mut changed = info(1);
    changed.sign_info = Some("今天 ✓".to_owned());
    changed.avatar_url = avatar;
    mac.log_in(&changed).await;
    account::leaves(&mut pc, KickReasonType::KickReasonDuplicateUser, &[]).await;
    world.script.hold(&met().join("windows.txt")).unwrap();
}
