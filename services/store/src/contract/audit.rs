use std::sync::Arc;

use crate::{
    AuditNote, AuditOutcome, AuditQuery, AuditRetention, ChangeNote, ConversationRow,
    DirectoryImport, GroupChange, GroupType, KeyNote, MemberChange, NewGroup, NewToken, Store,
    StoreError, follow_audit,
};
use im_core::time::UnixSeconds;

use super::accounts::{import, person};
use crate::contract::log::{at, standing, user};

const KEEP: AuditRetention = AuditRetention {
    rows: 1_000,
    since: UnixSeconds::EPOCH,
};

pub fn note(action: &str, target: &str, second: u32) -> ChangeNote {
    ChangeNote {
        row: AuditNote {
            at: at(second),
            actor: "ann".to_owned(),
            credential: "token 1".to_owned(),
            address: "192.0.2.1".to_owned(),
            request: "r".to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            before: "{}".to_owned(),
            after: "{}".to_owned(),
            outcome: AuditOutcome::Done,
        },
        is_numbered: false,
        keep: KEEP,
        key: None,
    }
}

fn under_key(key: &str, second: u32) -> ChangeNote {
    ChangeNote {
        key: Some(KeyNote {
            scope: "token 1".to_owned(),
            key: key.to_owned(),
            digest: [7; 32],
            answer: b"answer".to_vec(),
            since: at(second.saturating_sub(100)),
            most: 3,
        }),
        ..note("Call", "user eve", second)
    }
}

/// Targets of the rows, oldest first; the chain must be good.
async fn targets(store: &dyn Store) -> Vec<String> {
    let (rows, ends) = store.read_audit(0, 10_000).await.unwrap();
    let (good, bad) = follow_audit(ends.begin, &rows, &ends, true);
    assert_eq!((good, bad), (ends.end, None));
    rows.into_iter().map(|row| row.note.target).collect()
}

pub async fn every_change_of_a_noting_store_writes_its_row(store: &dyn Store) {
    import(store, vec![person("ann"), person("ben")], 50).await;
    let noting = |target: &str| store.noting(note("Call", target, 60));
    let users = vec![person("eve")];
    let wanted = DirectoryImport { users, now: at(60) };
    noting("import").import(&wanted).await.unwrap();
    noting("hash").set_hash(user(1), "h").await.unwrap();
    noting("status")
        .set_status(user(1), 1, at(60))
        .await
        .unwrap();
    noting("rename")
        .rename_account(user(2), "bob", at(60))
        .await
        .unwrap();
    noting("remove")
        .remove_account(user(2), "bob#2", at(60))
        .await
        .unwrap();
    noting("locks").forget_login_failures("ann").await.unwrap();
    let path = ["C".to_owned(), "R".to_owned()];
    let department = ChangeNote {
        is_numbered: true,
        ..note("Call", "department ", 60)
    };
    let made = store
        .noting(department)
        .create_department(&path, at(60))
        .await
        .unwrap();
    noting("rename d")
        .rename_department(made, "S", at(60))
        .await
        .unwrap();
    noting("move d")
        .move_department(made, 0, at(60))
        .await
        .unwrap();
    noting("remove d")
        .remove_department(made, 0, at(60))
        .await
        .unwrap();
    let fence = standing(store).await;
    let group = NewGroup {
        row: ConversationRow(1),
        name: "g".to_owned(),
        avatar: String::new(),
        creator: None,
        group_type: GroupType::Normal,
        members: vec![user(1)],
        now: at(60),
    };
    let numbered = ChangeNote {
        is_numbered: true,
        ..note("Call", "group ", 60)
    };
    let made_group = store
        .noting(numbered)
        .create_group(fence, &group)
        .await
        .unwrap();
    let change = GroupChange {
        group: made_group,
        change: MemberChange::Add,
        users: vec![user(3)],
        by: None,
        last_id: 0,
        now: at(60),
    };
    noting("members")
        .change_members(fence, &change)
        .await
        .unwrap();
    noting("rename g")
        .rename_group(made_group, "h", at(60))
        .await
        .unwrap();
    noting("owner")
        .set_group_owner(made_group, user(3), at(60))
        .await
        .unwrap();
    let targets = targets(store).await;
    assert_eq!(
        targets,
        [
            "import",
            "hash",
            "status",
            "rename",
            "remove",
            "locks",
            "department 2",
            "rename d",
            "move d",
            "remove d",
            "group 1",
            "members",
            "rename g",
            "owner"
        ]
    );
}

pub async fn a_change_that_fails_writes_no_row(store: &dyn Store) {
    import(store, vec![person("ann"), person("ben")], 50).await;
    let noting = || store.noting(note("Call", "x", 60));
    let group = im_core::GroupId::from_wire(9).unwrap();
    let refused = [
        noting().rename_account(user(1), "ben", at(60)).await,
        noting().rename_account(user(9), "x", at(60)).await,
        noting().remove_account(user(9), "x", at(60)).await,
        noting().set_hash(user(9), "h").await,
        noting().set_status(user(9), 1, at(60)).await,
        noting().rename_group(group, "x", at(60)).await,
        noting().set_group_owner(group, user(1), at(60)).await,
        noting().rename_department(9, "x", at(60)).await,
        noting().revoke_token(9, at(60)).await,
    ];
    for (place, result) in refused.into_iter().enumerate() {
        assert!(result.is_err(), "{place}");
    }
    let wanted = DirectoryImport {
        users: vec![person("eve")],
        now: at(60),
    };
    noting().rehearse_import(&wanted).await.unwrap();
    assert_eq!(targets(store).await, Vec::<String>::new());
}

pub async fn the_log_is_listed_newest_first_filtered_and_by_page(store: &dyn Store) {
    for number in 1..=7 {
        let action = if number % 2 == 0 { "Even" } else { "Odd" };
        let note = note(action, &format!("user {number}"), number);
        store.note(&note).await.unwrap();
    }
    let list = |query: AuditQuery| async move {
        let page = store.list_audit(&query).await.unwrap();
        let numbers: Vec<u64> = page.rows.iter().map(|row| row.number).collect();
        (numbers, page.next)
    };
    let all = AuditQuery {
        limit: 3,
        scan: 100,
        ..AuditQuery::default()
    };
    assert_eq!(list(all.clone()).await, (vec![7, 6, 5], Some(5)));
    let behind = |before| AuditQuery {
        before,
        ..all.clone()
    };
    assert_eq!(list(behind(Some(5))).await, (vec![4, 3, 2], Some(2)));
    assert_eq!(list(behind(Some(2))).await, (vec![1], None));
    assert_eq!(list(behind(Some(1))).await, (vec![], None));
    let even = AuditQuery {
        action: "Even".to_owned(),
        actor: "ann".to_owned(),
        ..all.clone()
    };
    assert_eq!(list(even.clone()).await, (vec![6, 4, 2], Some(2)));
    let one = AuditQuery {
        target: "user 1".to_owned(),
        ..all.clone()
    };
    assert_eq!(list(one.clone()).await, (vec![1], None));
    // It looks at so many rows, and says where it stopped.
    let short = AuditQuery { scan: 4, ..one };
    assert_eq!(list(short.clone()).await, (vec![], Some(4)));
    let rest = AuditQuery {
        before: Some(4),
        ..short
    };
    assert_eq!(list(rest).await, (vec![1], None));
    let nobody = AuditQuery {
        actor: "ben".to_owned(),
        ..all
    };
    assert_eq!(list(nobody).await, (vec![], None));
}

pub async fn old_rows_are_dropped_and_the_chain_goes_on(store: &dyn Store) {
    let write = |number: u32, keep| async move {
        let note = ChangeNote {
            keep,
            ..note("Call", &format!("user {number}"), number)
        };
        store.note(&note).await.unwrap();
    };
    let ten = AuditRetention { rows: 10, ..KEEP };
    for number in 1..=30 {
        write(number, ten).await;
        let kept = targets(store).await.len();
        assert_eq!(kept, usize::try_from(number.min(10)).unwrap());
    }
    let (_, ends) = store.read_audit(0, 1).await.unwrap();
    assert_eq!((ends.begin.number, ends.end.number), (20, 30));
    let since = AuditRetention {
        since: at(29),
        ..KEEP
    };
    write(31, since).await;
    assert_eq!(targets(store).await, ["user 29", "user 30", "user 31"]);
    // Everything is old; the newest stays.
    let since = AuditRetention {
        since: at(1_000),
        ..KEEP
    };
    write(32, since).await;
    assert_eq!(targets(store).await, ["user 32"]);
}

/// Rows stand in the order in which they were written, and the chain holds, whatever a clock that was put back or
/// ahead says; none is dropped from the middle.
pub async fn a_clock_that_steps_breaks_no_chain(store: &dyn Store) {
    for (second, since) in [
        (300, 0),
        (100, 0),
        (900, 0),
        (200, 0),
        (201, 150),
        (202, 250),
    ] {
        let keep = AuditRetention {
            since: at(since),
            ..KEEP
        };
        let target = format!("user {second}");
        let note = ChangeNote {
            keep,
            ..note("Call", &target, second)
        };
        store.note(&note).await.unwrap();
        assert_eq!(targets(store).await.last(), Some(&target));
    }
    let written = [300, 100, 900, 200, 201, 202].map(|second| format!("user {second}"));
    let kept = targets(store).await;
    assert!(written.ends_with(&kept), "{kept:?}");
}

pub async fn a_key_is_kept_with_its_change_and_known_from_then_on(store: &dyn Store) {
    import(store, vec![person("ann")], 50).await;
    let kept = |key: &'static str, second: u32| async move {
        let since = at(second.saturating_sub(100));
        store
            .kept_answer("token 1", key, since, at(second))
            .await
            .unwrap()
    };
    assert_eq!(kept("k", 200).await, None);
    let path = ["C".to_owned()];
    let noting = store.noting(under_key("k", 200));
    let made = noting.create_department(&path, at(200)).await.unwrap();
    let answer = kept("k", 200).await.unwrap();
    assert_eq!(
        (answer.digest, answer.made, answer.answer.as_slice()),
        ([7; 32], u64::from(made), &b"answer"[..])
    );
    assert_eq!(
        store
            .kept_answer("token 2", "k", at(100), at(200))
            .await
            .unwrap(),
        None
    );

    let again = store.noting(under_key("k", 201));
    let result = again.set_hash(user(1), "new").await;
    assert!(matches!(result, Err(StoreError::Repeated)), "{result:?}");
    let hash = store.credentials("ann").await.unwrap().unwrap().hash;
    assert_ne!(hash, "new", "nothing of it is stored");
    assert_eq!(targets(store).await.len(), 1);

    // In time, and not from later than now.
    assert!(kept("k", 300).await.is_some());
    assert_eq!(kept("k", 301).await, None);
    assert_eq!(kept("k", 199).await, None);
    let later = store.noting(under_key("k", 301));
    later.set_hash(user(1), "new").await.unwrap();
    assert!(kept("k", 301).await.is_some());
}

pub async fn so_many_keys_are_kept_and_old_ones_make_room(store: &dyn Store) {
    import(store, vec![person("ann")], 50).await;
    let change = |key: &'static str, second| {
        let noting: Arc<dyn Store> = store.noting(under_key(key, second));
        async move { noting.set_hash(user(1), key).await }
    };
    for key in ["a", "b", "c"] {
        change(key, 200).await.unwrap();
    }
    let full = change("d", 300).await;
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    change("d", 301).await.unwrap();
    change("e", 301).await.unwrap();
    // A clock that was put back: keys from later than now are in nobody's way.
    for key in ["a", "b", "c"] {
        change(key, 150).await.unwrap();
    }
}

pub async fn tokens_are_kept_listed_and_revoked(store: &dyn Store) {
    let token = |owner: &str, created: u32| NewToken {
        hash: [9; 32],
        owner: owner.to_owned(),
        label: "l l".to_owned(),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        addresses: vec!["::1".to_owned()],
        created: at(created),
        expires: at(created + 100),
        made_by: "ann".to_owned(),
        bot: None,
    };
    let create = |owner: &'static str, now: u32| async move {
        let wanted = token(owner, now);
        store
            .create_token(&wanted, at(now.saturating_sub(50)), 2)
            .await
    };
    assert_eq!(create("x", 100).await.unwrap(), 1);
    assert_eq!(create("y", 101).await.unwrap(), 2);
    let full = create("z", 102).await;
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    let row = store.token(1).await.unwrap().unwrap();
    assert_eq!((row.id, row.revoked, row.used), (1, None, None));
    assert_eq!(row.token, token("x", 100));

    store.revoke_token(1, at(150)).await.unwrap();
    store.revoke_token(1, at(160)).await.unwrap();
    store.note_token_use(2, at(120)).await.unwrap();
    store.note_token_use(2, at(110)).await.unwrap();
    let list = store.tokens("", u32::MAX, 10).await.unwrap();
    let states: Vec<_> = list
        .iter()
        .map(|row| (row.id, row.revoked, row.used))
        .collect();
    assert_eq!(states, [(2, None, Some(at(120))), (1, Some(at(150)), None)]);
    assert_eq!(store.tokens("x", u32::MAX, 10).await.unwrap().len(), 1);
    assert_eq!(store.tokens("", 2, 10).await.unwrap()[0].id, 1);
    assert_eq!(store.tokens("", u32::MAX, 1).await.unwrap()[0].id, 2);

    // What was revoked or ended long ago makes room; an id is not given again.
    assert!(create("z", 200).await.is_err());
    assert_eq!(create("z", 201).await.unwrap(), 3);
    assert_eq!(create("z", 252).await.unwrap(), 4);
    let ids: Vec<_> = store.tokens("", u32::MAX, 10).await.unwrap();
    assert_eq!(ids.iter().map(|row| row.id).collect::<Vec<_>>(), [4, 3]);
}
