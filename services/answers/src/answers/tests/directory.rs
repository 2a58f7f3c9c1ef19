use tokio::time::Instant;

use im_codec::Command;
use im_config::units::ByteSize;
use im_core::time::UnixSeconds;
use im_proto_teamtalk::buddy::{ImAllUserReq, ImAllUserRsp, ImDepartmentReq, ImDepartmentRsp};
use im_store::{AccountStore as _, DirectoryStore as _, ImportedUser};

use crate::testing::{Rig, Terminal, android, ios, small_config, user, windows};

async fn all_users(rig: &Rig, from: Terminal, since: u32) -> Vec<ImAllUserRsp> {
    let request = ImAllUserReq {
        user_id: 0,
        latest_update_time: since,
        attach_data: None,
    };
    let frames: Vec<ImAllUserRsp> = rig
        .frames(from, Command::AllUserReq, &request)
        .await
        .unwrap();
    assert!(frames.iter().all(|frame| frame.user_id == from.user));
    frames
}

async fn changed(rig: &Rig, since: u32) -> (Vec<u32>, u32) {
    let mut frames = all_users(rig, windows(1), since).await;
    assert_eq!(frames.len(), 1);
    let frame = frames.pop().unwrap();
    (
        frame.user_list.iter().map(|info| info.user_id).collect(),
        frame.latest_update_time,
    )
}

#[tokio::test]
async fn whoever_changed_since_is_returned_once() {
    let rig = Rig::new().await;
    let (everybody, first) = changed(&rig, 0).await;
    assert_eq!(everybody, (1..=9).collect::<Vec<_>>());
    assert_eq!(
        changed(&rig, first).await,
        (vec![], first),
        "nothing changed: the same time"
    );
    // Two changes in one second, and one after the answer in the same second.
    let now = UnixSeconds::now();
    rig.temp
        .store
        .set_signature(user(2), "a", now)
        .await
        .unwrap();
    rig.temp
        .store
        .set_signature(user(3), "b", now)
        .await
        .unwrap();
    let (some, second) = changed(&rig, first).await;
    assert_eq!(some, [2, 3]);
    rig.temp.store.set_avatar(user(4), "c", now).await.unwrap();
    let (some, third) = changed(&rig, second).await;
    assert_eq!(some, [4]);
    assert!(first < second && second < third);
}

#[tokio::test]
async fn people_who_left_are_told_to_whoever_may_know_them() {
    let rig = Rig::new().await;
    let (_, stamp) = changed(&rig, 0).await;
    rig.temp
        .store
        .set_status(user(5), 3, UnixSeconds::now())
        .await
        .unwrap();
    let frames = all_users(&rig, ios(1), stamp).await;
    let list = &frames.first().unwrap().user_list;
    assert_eq!(
        list.iter()
            .map(|info| (info.user_id, info.status))
            .collect::<Vec<_>>(),
        [(5, 3)]
    );
    let (everybody, _) = changed(&rig, 0).await;
    assert_eq!(everybody, [1, 2, 3, 4, 6, 7, 8, 9]);
}

#[tokio::test]
async fn pages_of_the_store_do_not_show_in_the_answer() {
    let mut config = small_config();
    config.answers.directory_page = 2;
    let rig = Rig::with(config).await;
    for (n, id) in (1..=6).enumerate() {
        let now = UnixSeconds::from_wire(2_000_000 + u32::try_from(n).unwrap());
        rig.temp
            .store
            .set_signature(user(id), "x", now)
            .await
            .unwrap();
    }
    rig.temp
        .store
        .set_status(user(2), 3, UnixSeconds::from_wire(3_000_000))
        .await
        .unwrap();
    let (everybody, last) = changed(&rig, 0).await;
    assert_eq!(everybody, [7, 8, 9, 1, 3, 4, 5, 6]);
    assert_eq!(changed(&rig, last).await, (vec![], last));
}

#[tokio::test]
async fn an_answer_about_everybody_is_kept_until_somebody_changes() {
    let rig = Rig::new().await;
    let ask = async |from| all_users(&rig, from, 0).await.pop().unwrap();
    let first = ask(windows(1)).await;
    assert_eq!(ask(windows(1)).await, first);
    let other = ask(ios(2)).await;
    assert_eq!((other.user_id, &other.user_list), (2, &first.user_list));
    rig.temp
        .store
        .set_signature(user(3), "new", UnixSeconds::now())
        .await
        .unwrap();
    let second = ask(windows(1)).await;
    assert!(second.latest_update_time > first.latest_update_time);
    assert_eq!(
        second.user_list.last().unwrap().sign_info.as_deref(),
        Some("new")
    );
    rig.temp
        .store
        .set_status(user(4), 3, UnixSeconds::now())
        .await
        .unwrap();
    assert_eq!(ask(windows(1)).await.user_list.len(), 8);
}

#[tokio::test]
async fn fifty_thousand_people_reach_pcs_in_one_answer_and_android_in_short_frames() {
    let rig = Rig::new().await;
    let people = (0..50_000).map(|n| ImportedUser {
        name: format!("person{n}"),
        nick: Some(format!("Person {n}")),
        email: Some(format!("person{n}@example.org")),
        phone: Some(format!("{n:011}")),
        avatar: Some(format!(
            "http://files.example.org/g0/000/000/{n}_140002.png"
        )),
        department: Some(vec!["Company".to_owned(), format!("Department {}", n % 50)]),
        ..ImportedUser::default()
    });
    let started = Instant::now();
    rig.import(people.collect()).await;
    let imported = started.elapsed();

    let started = Instant::now();
    for terminal in [windows(1), ios(1)] {
        let frames = all_users(&rig, terminal, 0).await;
        assert_eq!(frames.len(), 1);
        assert_eq!(frames.first().unwrap().user_list.len(), 50_009);
    }
    println!(
        "imported in {imported:?}, two answers in {:?}",
        started.elapsed()
    );

    let frames = all_users(&rig, android(1), 0).await;
    assert!(frames.len() > 10, "{} frames", frames.len());
    assert_eq!(
        frames
            .iter()
            .map(|frame| frame.user_list.len())
            .sum::<usize>(),
        50_009
    );
    // Whoever loses the connection after any frame and asks with its time misses nobody.
    let times: Vec<u32> = frames
        .iter()
        .map(|frame| frame.latest_update_time)
        .collect();
    assert!(times.is_sorted());
    let mut seen = std::collections::HashSet::new();
    for frame in frames.iter().take(3) {
        seen.extend(frame.user_list.iter().map(|info| info.user_id));
    }
    let rest = all_users(&rig, windows(1), times[2]).await;
    seen.extend(
        rest.first()
            .unwrap()
            .user_list
            .iter()
            .map(|info| info.user_id),
    );
    assert_eq!(seen.len(), 50_009);
    // Nobody comes twice when the frame ended between stamps.
    let last = times.last().unwrap();
    assert_eq!(changed(&rig, *last).await, (vec![], *last));
}

#[tokio::test]
async fn departments_changed_later_are_returned() {
    let rig = Rig::new().await;
    let person = |name: &str, path: &[&str]| ImportedUser {
        name: name.to_owned(),
        department: Some(path.iter().map(|part| (*part).to_owned()).collect()),
        ..ImportedUser::default()
    };
    rig.import(vec![person("ann", &["Company", "Research"])])
        .await;
    let request = |latest_update_time| ImDepartmentReq {
        user_id: 0,
        latest_update_time,
        attach_data: None,
    };
    let rsp: ImDepartmentRsp = rig
        .ask(windows(1), Command::DepartmentReq, &request(0))
        .await;
    assert_eq!(rsp.user_id, 1);
    let [company, research] = rsp.dept_list.as_slice() else {
        panic!("two departments")
    };
    assert_eq!(
        (company.dept_name.as_str(), company.parent_dept_id),
        ("Company", 0)
    );
    assert_eq!(
        (
            research.dept_name.as_str(),
            research.parent_dept_id,
            research.dept_status
        ),
        ("Research", company.dept_id, 0)
    );
    let stamp = rsp.latest_update_time;
    let rsp: ImDepartmentRsp = rig
        .ask(windows(1), Command::DepartmentReq, &request(stamp))
        .await;
    assert_eq!((rsp.dept_list.len(), rsp.latest_update_time), (0, stamp));
    rig.import(vec![person("bob", &["Company", "Sales"])]).await;
    let rsp: ImDepartmentRsp = rig
        .ask(windows(1), Command::DepartmentReq, &request(stamp))
        .await;
    let names: Vec<_> = rsp
        .dept_list
        .iter()
        .map(|dept| dept.dept_name.as_str())
        .collect();
    assert_eq!(names, ["Sales"]);
    assert!(rsp.latest_update_time > stamp);
    let all = UnixSeconds::EPOCH;
    let records = rig.temp.store.departments_since(all).await.unwrap();
    assert_eq!(records.len(), 3);
}

#[tokio::test]
async fn who_asks_again_gets_the_departments_that_an_answer_had_no_room_for() {
    const DEPARTMENTS: usize = 2_500;
    let mut config = small_config();
    // Room for about 1,600 of them.
    config.answers.max_list_bytes = ByteSize::kib(48);
    let rig = Rig::with(config).await;
    let people = (0..DEPARTMENTS).map(|n| ImportedUser {
        name: format!("person{n}"),
        department: Some(vec![format!("Department {n}")]),
        ..ImportedUser::default()
    });
    rig.import(people.collect()).await;
    for terminal in [windows(1), android(1)] {
        let (mut found, mut since) = (Vec::new(), 0);
        loop {
            let request = ImDepartmentReq {
                user_id: 0,
                latest_update_time: since,
                attach_data: None,
            };
            let frames: Vec<ImDepartmentRsp> = rig
                .frames(terminal, Command::DepartmentReq, &request)
                .await
                .unwrap();
            let last = frames.last().unwrap().latest_update_time;
            found.extend(frames.into_iter().flat_map(|frame| frame.dept_list));
            if last == since {
                break;
            }
            since = last;
        }
        let mut ids: Vec<u32> = found.iter().map(|dept| dept.dept_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), DEPARTMENTS);
        assert!(found.len() < 2 * DEPARTMENTS, "most are given once");
    }
}

#[tokio::test]
async fn an_answer_is_built_once_for_all_who_ask_the_same_while_nothing_changes() {
    let rig = Rig::new().await;
    let builds = || rig.answers.directory_builds();
    let (_, newest) = changed(&rig, 0).await;
    for user in [windows(2), ios(3)] {
        all_users(&rig, user, 0).await;
    }
    assert_eq!(builds(), 1);
    // Times between two stamps ask for the same, and each gets back its own or a later one.
    for since in [newest - 1, newest - 2, 1] {
        let (everybody, latest) = changed(&rig, since).await;
        assert_eq!((everybody.len(), latest), (9, newest));
    }
    assert_eq!(builds(), 2);
    for since in [newest, newest + 5] {
        assert_eq!(changed(&rig, since).await, (vec![], since));
    }
    assert_eq!(builds(), 3);
    for user in [android(2), android(3)] {
        all_users(&rig, user, 0).await;
    }
    assert_eq!(builds(), 4);
    let now = UnixSeconds::now();
    rig.temp
        .store
        .set_signature(user(4), "new", now)
        .await
        .unwrap();
    let frames = all_users(&rig, windows(1), 0).await;
    let told = frames[0].user_list.iter().find(|info| info.user_id == 4);
    assert_eq!(told.unwrap().sign_info.as_deref(), Some("new"));
    assert_eq!(builds(), 5);
}
