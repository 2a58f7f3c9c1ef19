//! What administrators move and give to others, as clients read it, and lists that say when there is more.

use serde_json::Value;

use crate::directory::{departments, import};
use crate::groups::infos;
use crate::support::*;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Rows of a list, and the cursor that its end tells on standard error, in pages of two.
fn pages(platform: &Platform, list: &[&str]) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut program = std::process::Command::new(im_e2e::process::imd_binary().unwrap());
        let data = platform.data_dir();
        program.arg("admin").args(list);
        program
            .args(["--json", "--limit", "2", "--data-dir"])
            .arg(data);
        if !cursor.is_empty() {
            program.args(["--cursor", &cursor]);
        }
        let done = program.output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{told}");
        let rows = json(&String::from_utf8(done.stdout).unwrap());
        pages.push(rows.as_array().unwrap().clone());
        let Some((_, rest)) = told.split_once("--cursor ") else {
            return pages;
        };
        rest.split(' ').next().unwrap().clone_into(&mut cursor);
    }
}

#[tokio::test]
async fn a_department_that_was_moved_is_read_by_clients_under_its_new_parent() {
    let mut platform = own_platform(3, &[]).await;
    import(
        &platform,
        "name,department\nu1,Company/Lab/Optics\nu2,Company/Research\n",
    );
    let mut pc = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    let before = departments(&mut pc, 0).await;
    let id = |name: &str| {
        let mut found = before.dept_list.iter().filter(|one| one.dept_name == name);
        found.next().unwrap().dept_id
    };
    let shift = |path: &str, into: &str, more: &[&str]| {
        platform.imd(&[&["admin", "--json", "department", "move", path, into], more].concat())
    };
    let circle = shift("Company", "Company/Lab/Optics", &[]).unwrap_err();
    let circle = circle.to_string();
    let why = "\"Company\" cannot be put under \"Company/Lab/Optics\", which lies below it";
    assert!(circle.contains(why), "{circle}");
    let (lab, research) = ("Company/Lab", "Company/Research");
    assert_eq!(
        json(&shift(lab, research, &["--dry-run"]).unwrap())["path"],
        lab
    );
    let since = before.latest_update_time;
    assert_eq!(departments(&mut pc, since).await.dept_list, []);

    let moved = json(&shift(lab, research, &[]).unwrap());
    assert_eq!(moved["path"], "Company/Research/Lab");
    let told = departments(&mut pc, since).await.dept_list;
    let told: Vec<_> = told
        .iter()
        .map(|one| (one.dept_id, one.parent_dept_id))
        .collect();
    assert_eq!(told, [(id("Lab"), id("Research"))]);

    let listed = pages(&platform, &["department", "list"]);
    let paths = listed
        .iter()
        .map(|page| page.iter().map(|row| row["path"].as_str().unwrap()));
    let paths: Vec<Vec<_>> = paths.map(Iterator::collect).collect();
    assert_eq!(
        paths,
        [
            vec!["Company", "Company/Research"],
            vec!["Company/Research/Lab", "Company/Research/Lab/Optics"],
            vec!["Company/Sales"]
        ]
    );
}

#[tokio::test]
async fn a_group_that_was_given_to_a_member_has_a_new_version_and_creator_who_may_change_it() {
    let mut platform = own_platform(4, &[]).await;
    let address = platform.msg_address("all");
    let mut before = Terminal::login(address, 1, Windows).await;
    let mut after = Terminal::login(address, 2, Windows).await;
    let command = [
        "admin", "--json", "group", "create", "Team", "--owner", "u1",
    ];
    let made = [&command[..], &["--member", "u2", "--member", "u3"]].concat();
    let made = json(&platform.imd(&made).unwrap());
    let group = u32::try_from(made["id"].as_u64().unwrap()).unwrap();
    let give = |owner: &str, more: &[&str]| {
        let number = group.to_string();
        let command = ["admin", "--json", "group", "set-owner", &number, owner];
        platform.imd(&[&command, more].concat())
    };
    let stranger = give("u4", &[]).unwrap_err().to_string();
    let why = format!("\"u4\" is no member of group {group}: add them first");
    assert!(stranger.contains(&why), "{stranger}");
    give("u2", &["--dry-run"]).unwrap();
    assert_eq!(infos(&mut after, &[(group, 1)]).await, []);

    assert_eq!(json(&give("u2", &[]).unwrap())["owner"], "u2");
    let told = infos(&mut after, &[(group, 1)]).await;
    assert_eq!((told[0].version, told[0].group_creator_id), (2, 2));
    let refused = change_members(&mut before, group, GroupModifyType::Del, &[3]).await;
    assert_eq!(refused.result_code, 1, "they gave it away");
    let done = change_members(&mut after, group, GroupModifyType::Del, &[3]).await;
    assert_eq!((done.result_code, done.cur_user_id_list), (0, vec![1, 2]));
}

#[tokio::test]
async fn locks_are_listed_in_pages_and_by_name() {
    let mut platform = own_platform(3, &["db_proxy.accounts.lockout_failures=1"]).await;
    let address = platform.msg_address("all");
    for user in [1, 2, 3] {
        for _ in 0..2 {
            let request = im_proto_teamtalk::login::ImLoginReq {
                password: "0".repeat(32),
                ..login_request(user, Windows)
            };
            let mut guess = Terminal::connect(address).await;
            assert_ne!(guess.try_login(&request).await.result_code, 0);
        }
    }
    let names = |list: &[&str]| {
        let pages = pages(&platform, list).into_iter();
        let names = pages.map(|page| {
            let names = page
                .iter()
                .map(|row| row["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&["user", "locks"]), [vec!["u3", "u2"], vec!["u1"]]);
    assert_eq!(names(&["user", "locks", "u2"]), [["u2"]]);
}
