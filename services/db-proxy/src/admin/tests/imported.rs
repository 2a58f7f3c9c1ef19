//! Imports: what they add, change and refuse.

use std::time::Duration;

use super::super::import::{CHANGES_PER_ITEM, PROGRESS_QUEUE};
use super::*;

#[tokio::test]
async fn an_import_adds_updates_and_leaves_alone() {
    let rig = Rig::new().await;
    let ann = DirectoryRow {
        password: "secret".to_owned(),
        nick: Some("Ann".to_owned()),
        department: Some("Company/Research".to_owned()),
        status: Some("active".to_owned()),
        ..row(2, "ann")
    };
    let bob = DirectoryRow {
        password_hash: "$teamtalk$4321$ebd291c31af7a8496cfd0a94f89b757b".to_owned(),
        department: Some("Company".to_owned()),
        ..row(3, "bob")
    };
    let (items, report) = import(&rig, vec![ann.clone(), bob.clone()]).await;
    let expected = ImportReport {
        applied: true,
        added: 2,
        departments_added: 2,
        ..report.clone()
    };
    assert_eq!(report, expected);
    assert_eq!(
        (report.updated, report.unchanged, report.errors.len()),
        (0, 0, 0)
    );
    assert_eq!(
        items.last().map(|item| (item.received, item.hashed)),
        Some((2, 1))
    );
    assert_eq!(login(&rig, "ann", "secret").await, 0);
    assert_eq!(login(&rig, "bob", "123456").await, 0);

    // The same again changes nothing; a plain password that he has already is no change.
    let (_, report) = import(&rig, vec![ann.clone()]).await;
    assert_eq!((report.added, report.updated, report.unchanged), (0, 0, 1));
    let (_, report) = import(
        &rig,
        vec![DirectoryRow {
            password: "changed".to_owned(),
            ..ann
        }],
    )
    .await;
    assert_eq!((report.added, report.updated, report.unchanged), (0, 1, 0));
    assert_eq!(login(&rig, "ann", "secret").await, 1);
    assert_eq!(login(&rig, "ann", "changed").await, 0);
}

#[tokio::test]
async fn a_file_with_a_bad_line_changes_nothing_and_names_every_bad_line() {
    let rig = Rig::new().await;
    let (_, report) = import(
        &rig,
        vec![
            row(2, "good"),
            DirectoryRow {
                status: Some("fired".to_owned()),
                ..row(3, "bad")
            },
            row(4, ""),
            row(5, "good"),
        ],
    )
    .await;
    assert!(!report.applied);
    assert_eq!(
        report
            .errors
            .iter()
            .map(|error| error.line)
            .collect::<Vec<_>>(),
        [3, 4, 5]
    );
    assert!(
        rig.temp
            .store
            .profile_by_name("good")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_line_that_contradicts_the_store_is_reported_with_its_number() {
    let rig = Rig::new().await;
    let (_, report) = import(
        &rig,
        vec![
            row(2, "good"),
            DirectoryRow {
                id: 3,
                ..row(3, "user1")
            },
            DirectoryRow {
                id: 2,
                ..row(7, "new")
            },
        ],
    )
    .await;
    assert!(!report.applied);
    let lines: Vec<_> = report.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [3, 7], "{:?}", report.errors);
    assert!(
        rig.temp
            .store
            .profile_by_name("good")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn too_many_lines_end_the_import() {
    let mut config = small_config();
    config.accounts.max_import_rows = 3;
    let rig = Rig::with(config).await;
    let rows = (0..4).map(|n| {
        let item = Some(Item::Row(row(n + 2, &format!("p{n}"))));
        Ok::<_, Status>(ImportItem { item })
    });
    let items: Vec<_> = rig
        .admin
        .import(stream::iter(rows), Entry::of_test())
        .collect()
        .await;
    assert_eq!(
        items.last().unwrap().as_ref().unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn whoever_is_not_active_any_more_after_an_import_loses_his_sessions() {
    let mut rig = Rig::new().await;
    let left = DirectoryRow {
        status: Some("left".to_owned()),
        ..row(2, "user4")
    };
    let (_, report) = import(&rig, vec![left]).await;
    assert_eq!((report.applied, report.updated), (true, 1));
    let kick = rig.kicked().await;
    assert_eq!(
        (kick.user, kick.epoch, kick.audience()),
        (4, 0, Audience::All)
    );
    assert_ne!(kick.reason, 0);
}

#[tokio::test]
async fn fifty_thousand_lines_with_hashes_take_seconds() {
    let rig = Rig::new().await;
    let rows = (0..50_000).map(|n| DirectoryRow {
        password_hash: "$teamtalk$4321$ebd291c31af7a8496cfd0a94f89b757b".to_owned(),
        nick: Some(format!("Person {n}")),
        department: Some(format!("Company/Department {}", n % 50)),
        ..row(n + 2, &format!("person{n}"))
    });
    let rows: Vec<_> = rows.collect();
    let started = Instant::now();
    let (items, report) = import(&rig, rows.clone()).await;
    println!("imported in {:?}", started.elapsed());
    assert_eq!((report.added, report.errors.len()), (50_000, 0));
    assert!(items.len() > 40, "progress is told");
    // The same again changes nobody.
    let stamp = rig.admin.store.directory_stamp().await.unwrap();
    let (_, report) = import(&rig, rows).await;
    assert_eq!((report.unchanged, report.updated), (50_000, 0));
    assert_eq!(rig.admin.store.directory_stamp().await.unwrap(), stamp);
    assert_eq!(login(&rig, "person49999", "123456").await, 0);
}

/// Who leaves the answer of an import unread holds up nobody, and what it ended is ended: a name can be added
/// beside it, and somebody who may not log in any more is told so.
#[tokio::test]
async fn an_answer_that_nobody_reads_holds_up_no_other_change() {
    let mut rig = Rig::new().await;
    let left = DirectoryRow {
        status: Some("left".to_owned()),
        ..row(2, "user2")
    };
    // More people than the answer has room for before somebody reads it.
    let most = PROGRESS_QUEUE * CHANGES_PER_ITEM + 2_000;
    let others = (0..most).map(|n| row(3 + u32::try_from(n).unwrap(), &format!("p{n}")));
    let items = std::iter::once(left).chain(others).map(|row| {
        let item = Some(Item::Row(row));
        Ok::<_, Status>(ImportItem { item })
    });
    let items: Vec<_> = items.collect();
    let answer = rig.admin.import(stream::iter(items), Entry::of_test());
    let mut answer = std::pin::pin!(answer);
    while let Some(item) = answer.next().await {
        if !item.unwrap().changes.is_empty() {
            break;
        }
    }
    let added = rig.admin.add_person(request(row(0, "ann")));
    let added = tokio::time::timeout(Duration::from_secs(60), added).await;
    assert_eq!(added.expect("it waits for nobody").unwrap().name, "ann");
    assert_eq!(rig.kicked().await.user, 2);
}
