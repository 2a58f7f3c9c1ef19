//! People and departments (D11, D12; S-48).

use im_client::Profile;
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::buddy::{
    ImAllUserReq, ImAllUserRsp, ImAvatarChangedNotify, ImChangeAvatarReq, ImChangeAvatarRsp,
    ImChangeSignInfoReq, ImChangeSignInfoRsp, ImDepartmentReq, ImDepartmentRsp,
    ImSignInfoChangedNotify, ImUsersInfoReq, ImUsersInfoRsp,
};

use crate::support::*;

/// Largest frame that Android takes.
const ANDROID_FRAME: usize = 409_600;

async fn all_users(asker: &mut Terminal, since: u32) -> ImAllUserRsp {
    let request = ImAllUserReq {
        user_id: 0,
        latest_update_time: since,
        attach_data: None,
    };
    asker.ask(Command::AllUserReq, &request).await
}

pub(crate) async fn departments(asker: &mut Terminal, since: u32) -> ImDepartmentRsp {
    let request = ImDepartmentReq {
        user_id: 0,
        latest_update_time: since,
        attach_data: None,
    };
    asker.ask(Command::DepartmentReq, &request).await
}

async fn details(asker: &mut Terminal, wanted: &[u32]) -> Vec<UserInfo> {
    let request = ImUsersInfoReq {
        user_id: 0,
        user_id_list: wanted.to_vec(),
        attach_data: None,
    };
    let answer: ImUsersInfoRsp = asker.ask(Command::UsersInfoReq, &request).await;
    assert_eq!(answer.user_id, asker.user());
    answer.user_info_list
}

pub(crate) fn import(platform: &Platform, csv: &str) {
    let file = platform.dir().join("change.csv");
    std::fs::write(&file, csv).unwrap();
    platform.import_file(&file).unwrap();
}

/// D11: everybody at first, then strictly what changed; those who left are told
/// to who may know them, and to nobody else.
#[tokio::test]
async fn the_directory_comes_in_full_and_then_by_changes() {
    let mut platform = own_platform(20, &[]).await;
    let address = platform.msg_address("all");
    let mut pc = Terminal::login(address, 1, Windows).await;

    let all = all_users(&mut pc, 0).await;
    assert_eq!(all.user_id, 1);
    let mut found: Vec<u32> = all.user_list.iter().map(|user| user.user_id).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=20).collect::<Vec<_>>());
    let structure = departments(&mut pc, 0).await;
    let names: Vec<&str> = structure
        .dept_list
        .iter()
        .map(|department| department.dept_name.as_str())
        .collect();
    for name in ["Company", "Research", "Sales"] {
        assert_eq!(
            names.iter().filter(|found| **found == name).count(),
            1,
            "{names:?}"
        );
    }
    let company = structure
        .dept_list
        .iter()
        .find(|one| one.dept_name == "Company")
        .unwrap();
    assert_eq!(company.parent_dept_id, 0);
    for part in structure
        .dept_list
        .iter()
        .filter(|one| one.dept_name != "Company")
    {
        assert_eq!(part.parent_dept_id, company.dept_id);
        assert!(found.contains(&1) && part.dept_status == 0);
        assert!(
            all.user_list
                .iter()
                .any(|user| user.department_id == part.dept_id)
        );
    }

    let mut since = all.latest_update_time;
    let nothing = all_users(&mut pc, since).await;
    assert_eq!(
        (nothing.user_list.len(), nothing.latest_update_time),
        (0, since)
    );
    let nothing = departments(&mut pc, structure.latest_update_time).await;
    assert_eq!(nothing.dept_list, []);
    assert_eq!(nothing.latest_update_time, structure.latest_update_time);

    // Three changes within one second, each asked for at once: none is missed, none comes twice.
    for (id, status) in [(3, "active"), (4, "left"), (5, "active")] {
        import(
            &platform,
            &format!("id,name,nick,status\n{id},u{id},Changed {id},{status}\n"),
        );
        let changed = all_users(&mut pc, since).await;
        let ids: Vec<u32> = changed.user_list.iter().map(|user| user.user_id).collect();
        assert_eq!(ids, [id]);
        assert_eq!(changed.user_list[0].user_nick_name, format!("Changed {id}"));
        assert_eq!(
            changed.user_list[0].status,
            if status == "left" { 3 } else { 0 }
        );
        assert!(changed.latest_update_time > since);
        since = changed.latest_update_time;
    }
    import(&platform, "name,department\nu6,Company/Research/Lab\n");
    let changed = departments(&mut pc, structure.latest_update_time).await;
    assert_eq!(changed.dept_list.len(), 1);
    assert_eq!(changed.dept_list[0].dept_name, "Lab");
    // Somebody new does not learn of those who had left.
    let fresh = all_users(&mut pc, 0).await;
    assert!(
        fresh
            .user_list
            .iter()
            .all(|user| user.user_id != 4 && user.status != 3)
    );
    assert_eq!(fresh.user_list.len(), 19);
    // An import that changes nothing tells nothing.
    let before = all_users(&mut pc, 0).await.latest_update_time;
    import(&platform, "id,name,nick,status\n3,u3,Changed 3,active\n");
    assert_eq!(all_users(&mut pc, before).await.user_list.len(), 0);
}

/// Details of those who exist.
#[tokio::test]
async fn details_are_given_for_those_who_exist() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut found: Vec<u32> = details(&mut pc, &[b, 3_999_999, 0, a, b])
        .await
        .iter()
        .map(|user| user.user_id)
        .collect();
    found.sort_unstable();
    let mut expected = vec![a, b];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(details(&mut pc, &[]).await, []);
}

/// D11: a directory far beyond Android's frame reaches Windows in one answer and
/// Android in frames that it takes, complete and with a time that misses nothing.
#[tokio::test]
async fn a_large_directory_reaches_every_client() {
    const PEOPLE: u32 = 6_000;
    let mut platform = own_platform(1, &[]).await;
    let address = platform.msg_address("all");
    let filler = "长".repeat(40);
    let mut csv = String::from("id,name,nick,email,avatar,signature,status\n");
    for id in 2..=PEOPLE {
        csv += &format!("{id},p{id},N{id},{id}@example.org,http://a/{id}.png,{filler},active\n");
    }
    import(&platform, &csv);
    let mut pc = Terminal::login(address, 1, Windows).await;
    let whole = all_users(&mut pc, 0).await;
    assert_eq!(whole.user_list.len() as u32, PEOPLE);
    let size = prost::Message::encoded_len(&whole);
    assert!(
        size > 2 * ANDROID_FRAME,
        "the test needs a larger directory: {size}"
    );

    let mut phone = Terminal::login(address, 1, Android)
        .await
        .with_profile(Profile::Android);
    // As the original: ask once, take every 0x0209 that comes.
    let request = ImAllUserReq {
        user_id: 1,
        latest_update_time: 0,
        attach_data: None,
    };
    phone.send(Command::AllUserReq, &request).await;
    let mut known = std::collections::BTreeSet::new();
    let mut latest = 0;
    while known.len() < PEOPLE as usize {
        let frame = phone
            .find("a page", |frame| {
                frame.command() == Some(Command::AllUserRsp)
            })
            .await;
        assert!((frame.header.length as usize) < ANDROID_FRAME);
        let page: ImAllUserRsp = body(&frame);
        assert!(
            page.latest_update_time >= latest,
            "a later page has a later time"
        );
        latest = page.latest_update_time;
        known.extend(page.user_list.iter().map(|user| user.user_id));
    }
    assert_eq!(latest, whole.latest_update_time);
    assert_eq!(all_users(&mut pc, latest).await.user_list.len(), 0);
}

/// D12, S-48: answered, told to everybody's terminals, the asking one too; at most 128
/// bytes; visible in the records.
#[tokio::test]
async fn a_changed_signature_is_told_to_everybody() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.pc(a).await;
    let mut other_pc = shared.pc(b).await;
    let mut other_phone = shared.phone(b).await;
    let request = |text: &str| ImChangeSignInfoReq {
        user_id: b,
        sign_info: text.to_owned(),
        attach_data: None,
    };
    let sign = "今天 ✓".to_owned();
    let answer: ImChangeSignInfoRsp = pc.ask(Command::ChangeSignInfoReq, &request(&sign)).await;
    assert_eq!((answer.user_id, answer.result_code), (a, 0));
    for terminal in [&mut pc, &mut other_pc, &mut other_phone] {
        let about_a = |frame: &Frame| {
            frame.command() == Some(Command::SignInfoChangedNotify)
                && body::<ImSignInfoChangedNotify>(frame).changed_user_id == a
        };
        let frame = terminal.find("the signature", about_a).await;
        assert_eq!(body::<ImSignInfoChangedNotify>(&frame).sign_info, sign);
    }
    let record = details(&mut other_pc, &[a]).await.remove(0);
    assert_eq!(record.sign_info.as_deref(), Some(sign.as_str()));
    let answer: ImChangeSignInfoRsp = pc
        .ask(Command::ChangeSignInfoReq, &request(&"x".repeat(129)))
        .await;
    assert_eq!((answer.result_code, answer.sign_info), (1, None));
    let answer: ImChangeSignInfoRsp = pc
        .ask(Command::ChangeSignInfoReq, &request(&"x".repeat(128)))
        .await;
    assert_eq!(answer.result_code, 0);
    let mut again = shared.pc(a).await;
    let record = details(&mut again, &[a]).await.remove(0);
    assert_eq!(record.sign_info, Some("x".repeat(128)));
}

/// D12: an avatar is stored, answered by 0x020d and told to PCs by 0x0212.
#[tokio::test]
async fn a_changed_avatar_is_answered_and_told_to_pcs() {
    let shared = platform().await;
    let [a, b] = users();
    let mut pc = shared.login(a, Mac).await;
    let mut other_pc = shared.pc(b).await;
    let mut other_phone = shared.phone(b).await;
    let request = ImChangeAvatarReq {
        user_id: 0,
        avatar_url: "http://127.0.0.1:8700/g0/000/000/9.png".to_owned(),
        attach_data: None,
    };
    let answer: ImChangeAvatarRsp = pc.ask(Command::ChangeAvatarReq, &request).await;
    assert_eq!((answer.user_id, answer.result_code), (a, 0));
    let about_a = |frame: &Frame| {
        frame.command() == Some(Command::AvatarChangedNotify)
            && body::<ImAvatarChangedNotify>(frame).changed_user_id == a
    };
    let frame = other_pc.find("the avatar", about_a).await;
    assert_eq!(
        body::<ImAvatarChangedNotify>(&frame).avatar_url,
        request.avatar_url
    );
    assert_eq!(
        details(&mut other_pc, &[a]).await[0].avatar_url,
        request.avatar_url
    );
    other_phone.fence(&mut pc).await;
    assert!(
        !other_phone.take_notices().iter().any(about_a),
        "phones do not understand it"
    );
}
