//! Names that are one, and names that look alike.

use im_proto_rpc::v1::ListLocksRequest;

use super::*;

async fn add(rig: &Rig, name: &str) -> Result<String, String> {
    let added = rig.admin.add_person(request(row(0, name))).await;
    added
        .map(|record| record.name)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn blanks_around_a_login_name_and_its_unicode_form_do_not_count_but_case_does() {
    let rig = Rig::new().await;
    for name in ["ann", "rené"] {
        let person = DirectoryRow {
            password: "secret".to_owned(),
            ..row(0, name)
        };
        rig.admin.add_person(request(person)).await.unwrap();
    }
    for name in [
        "ann",
        "ann ",
        " ann",
        "ann\u{3000}",
        "rené",
        "rene\u{301}",
        "rene\u{301} ",
    ] {
        assert_eq!(login(&rig, name, "secret").await, 0, "{name:?}");
    }
    for name in ["Ann", "an n", "rene"] {
        assert_eq!(login(&rig, name, "secret").await, 1, "{name:?}");
    }
}

#[tokio::test]
async fn a_name_that_an_old_database_has_in_another_form_still_logs_in() {
    let rig = Rig::new().await;
    let import = im_store::DirectoryImport {
        users: vec![im_store::ImportedUser {
            name: "rene\u{301}".to_owned(),
            hash: Some("$teamtalk$4321$ebd291c31af7a8496cfd0a94f89b757b".to_owned()),
            ..im_store::ImportedUser::default()
        }],
        now: im_core::time::UnixSeconds::now(),
    };
    im_store::DirectoryStore::import(&rig.temp.store, &import)
        .await
        .unwrap();
    assert_eq!(login(&rig, "rené", "123456").await, 0);
    assert_eq!(login(&rig, "rene\u{301}", "123456").await, 0);
    // An import means the same person.
    let (_, report) = super::import(&rig, vec![row(2, "rené")]).await;
    assert_eq!((report.added, report.unchanged), (0, 1), "{report:?}");
}

#[tokio::test]
async fn wrong_passwords_with_blanks_around_the_name_count_for_the_name() {
    let rig = Rig::new().await;
    let person = DirectoryRow {
        password: "secret".to_owned(),
        ..row(0, "ann")
    };
    rig.admin.add_person(request(person)).await.unwrap();
    for n in 0..40 {
        let name = format!("{}ann{}", " ".repeat(n % 5), " ".repeat(n / 5));
        assert_ne!(login(&rig, &name, "wrong").await, 0);
    }
    let locks = rig.admin.locks(ListLocksRequest::default()).await;
    assert_eq!(locks.unwrap().locks[0].name, "ann");
}

#[tokio::test]
async fn user_add_refuses_names_that_look_like_somebody_elses_and_names_the_owner() {
    let rig = Rig::new().await;
    assert_eq!(add(&rig, " ann ").await.as_deref(), Ok("ann"));
    assert_eq!(
        add(&rig, "ann ").await.unwrap_err(),
        "there is a user \"ann\" already"
    );
    let refused = "name \"ANN\" differs only in case or form from that of \"ann\" (#10)";
    assert_eq!(add(&rig, "ANN").await.unwrap_err(), refused);
    assert!(add(&rig, "ａｎｎ").await.is_err());
    assert!(
        add(&rig, "a\u{200b}nn")
            .await
            .unwrap_err()
            .contains("U+200B")
    );
}

#[tokio::test]
async fn an_import_refuses_new_twins_and_reports_old_ones() {
    let rig = Rig::new().await;
    let (_, report) =
        super::import(&rig, vec![row(2, "Ned"), row(3, "ned"), row(4, "USER1")]).await;
    assert!(!report.applied);
    let errors: Vec<_> = report
        .errors
        .iter()
        .map(|error| (error.line, error.message.as_str()))
        .collect();
    assert_eq!(
        errors,
        [
            (
                3,
                "name \"ned\" differs only in case or form from that of \"Ned\" in another line"
            ),
            (
                4,
                "name \"USER1\" differs only in case or form from that of \"user1\" (#1)"
            ),
        ]
    );
    // Twins of an old database.
    let users = ["ned", "Ned"].map(|name| im_store::ImportedUser {
        name: name.to_owned(),
        ..im_store::ImportedUser::default()
    });
    let import = im_store::DirectoryImport {
        users: users.to_vec(),
        now: im_core::time::UnixSeconds::now(),
    };
    im_store::DirectoryStore::import(&rig.temp.store, &import)
        .await
        .unwrap();
    let (_, report) = super::import(&rig, vec![row(2, "Ned"), row(3, "ned")]).await;
    assert_eq!((report.applied, report.unchanged), (true, 2));
    assert_eq!(report.twins.len(), 1);
    assert_eq!(report.twins[0].names, ["ned", "Ned"]);
}

#[tokio::test]
async fn a_dry_run_tells_everything_and_changes_nothing() {
    let rig = Rig::new().await;
    let file = || {
        vec![
            DirectoryRow {
                password: "secret".to_owned(),
                department: Some("Company".to_owned()),
                status: Some("trial".to_owned()),
                ..row(2, "ann")
            },
            DirectoryRow {
                sex: Some(1),
                ..row(3, "user2")
            },
            row(4, "user1"),
        ]
    };
    let (items, report) = run(&rig, true, file()).await;
    assert_eq!((report.applied, report.dry_run), (false, true));
    assert_eq!((report.added, report.updated, report.unchanged), (1, 1, 1));
    let changes: Vec<_> = items.iter().flat_map(|item| &item.changes).collect();
    let fields: Vec<Vec<(&str, &str)>> = changes
        .iter()
        .map(|change| {
            let fields = change.fields.iter();
            fields
                .map(|field| (field.field.as_str(), field.after.as_str()))
                .collect()
        })
        .collect();
    assert_eq!(
        fields,
        [
            vec![
                ("department", "Company"),
                ("status", "trial"),
                ("password", "set")
            ],
            vec![("sex", "male")]
        ]
    );
    assert_eq!(items.last().unwrap().hashed, 0, "nothing to compare with");
    assert_eq!(code(rig.admin.person("ann").await), Code::NotFound);
    let (real, report) = run(&rig, false, file()).await;
    assert_eq!((report.applied, report.added), (true, 1));
    let real: Vec<_> = real.iter().flat_map(|item| &item.changes).collect();
    assert_eq!(real, changes);
}

#[tokio::test]
async fn an_unchanged_person_costs_no_hash() {
    let keys = RememberKeys::new("the key of the tests, long enough for one");
    let rig = Rig::remembering(keys.unwrap()).await;
    let file = || {
        let people = (0..5).map(|n| DirectoryRow {
            password: format!("secret{n}"),
            ..row(n + 2, &format!("p{n}"))
        });
        people.collect::<Vec<_>>()
    };
    let (items, report) = super::import(&rig, file()).await;
    assert_eq!((items.last().unwrap().hashed, report.added), (5, 5));
    for dry_run in [true, false] {
        let (items, report) = run(&rig, dry_run, file()).await;
        assert_eq!((items.last().unwrap().hashed, report.unchanged), (0, 5));
    }
    // Another password is seen, and counts.
    let mut changed = file();
    changed[3].password = "other".to_owned();
    let (items, report) = super::import(&rig, changed).await;
    assert_eq!((items.last().unwrap().hashed, report.updated), (1, 1));
    assert_eq!(login(&rig, "p3", "other").await, 0);
    assert_eq!(login(&rig, "p3", "secret3").await, 1);
}
