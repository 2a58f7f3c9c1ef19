use crate::{
    ConversationRow, DirectoryImport, FieldChange, GroupChange, GroupType, ImportChange,
    ImportedUser, ListPage, MemberChange, NewGroup, PeopleQuery, Store, StoreError,
};

use super::accounts::{import, person};
use crate::contract::log::{at, standing, user};

fn group(id: u32) -> im_core::GroupId {
    im_core::GroupId::from_wire(id).unwrap()
}

fn in_department(name: &str, path: &[&str]) -> ImportedUser {
    ImportedUser {
        department: Some(path.iter().map(|part| (*part).to_owned()).collect()),
        ..person(name)
    }
}

pub async fn a_rehearsed_import_tells_field_by_field_and_changes_nothing(store: &dyn Store) {
    let ben = ImportedUser {
        phone: Some("1".into()),
        ..in_department("ben", &["Company"])
    };
    import(store, vec![ben, person("cy")], 50).await;
    let users = vec![
        person("cy"),
        ImportedUser {
            phone: Some("2".into()),
            hash: Some("hash".into()),
            ..in_department("ben", &["Company", "Sales"])
        },
        person("ann"),
    ];
    let wanted = DirectoryImport { users, now: at(60) };
    let told = store.rehearse_import(&wanted).await.unwrap();
    assert_eq!((told.added, told.updated, told.unchanged), (1, 1, 1));
    let field = |field, before: &str, after: &str| FieldChange {
        field,
        before: before.to_owned(),
        after: after.to_owned(),
    };
    assert_eq!(
        told.changes,
        [
            ImportChange {
                place: 1,
                added: false,
                fields: vec![
                    field("department", "Company", "Company/Sales"),
                    field("phone", "1", "2"),
                    field("password", "", "set"),
                ],
            },
            ImportChange {
                place: 2,
                added: true,
                fields: vec![],
            },
        ]
    );
    assert_eq!(store.login_names().await.unwrap().len(), 2);
    assert_eq!(store.directory_stamp().await.unwrap(), at(50));
    // The real one does what was told.
    let done = store.import(&wanted).await.unwrap();
    assert_eq!(done, told);
}

pub async fn people_are_renamed_and_taken_out(store: &dyn Store) {
    let ann = ImportedUser {
        hash: Some("hash".into()),
        nick: Some("Ann".into()),
        phone: Some("1".into()),
        ..person("ann")
    };
    import(store, vec![ann, person("ben")], 50).await;
    store.rename_account(user(1), "anna", at(60)).await.unwrap();
    let changed = store.users_since(at(50), 9).await.unwrap().users;
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].profile.name, "anna");
    let taken = store.rename_account(user(2), "anna", at(70)).await;
    assert!(matches!(taken, Err(StoreError::Taken { .. })), "{taken:?}");
    let nobody = store.rename_account(user(9), "x", at(70)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));

    store
        .remove_account(user(1), "anna#1", at(80))
        .await
        .unwrap();
    let left = store.profile_by_name("anna#1").await.unwrap().unwrap();
    assert_eq!(
        (left.nick.as_str(), left.phone.as_str(), left.status),
        ("Ann", "", 3)
    );
    assert_eq!(store.credentials("anna#1").await.unwrap().unwrap().hash, "");
    assert_eq!(store.profile_by_name("anna").await.unwrap(), None);
    let names = store.login_names().await.unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|(id, name)| (id.get(), name.as_str()))
        .collect();
    assert_eq!(names, [(1, "anna#1"), (2, "ben")]);
}

pub async fn groups_are_listed_by_page_renamed_and_given_to_a_member(store: &dyn Store) {
    for (row, name, members) in [
        (1, "Team A", &[1, 2][..]),
        (2, "Lunch", &[1]),
        (3, "Team B", &[2]),
    ] {
        let group = NewGroup {
            row: ConversationRow(row),
            name: name.to_owned(),
            avatar: String::new(),
            creator: Some(user(1)),
            group_type: GroupType::Temporary,
            members: members.iter().map(|id| user(*id)).collect(),
            now: at(10),
        };
        store
            .create_group(standing(store).await, &group)
            .await
            .unwrap();
    }
    let page = |matching: &str, after, limit| ListPage {
        matching: matching.to_owned(),
        after,
        limit,
    };
    let list = async |of: Option<u32>, page: ListPage| {
        let groups = store.list_groups(of.map(user), &page).await.unwrap();
        groups
            .iter()
            .map(|group| group.id.get())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, page("", 0, 2)).await, [1, 2]);
    assert_eq!(list(None, page("", 2, 2)).await, [3]);
    assert_eq!(list(None, page("team", 0, 9)).await, [1, 3]);
    assert_eq!(list(Some(1), page("", 0, 9)).await, [1, 2]);

    store
        .rename_group(group(2), "Dinner", at(90))
        .await
        .unwrap();
    let renamed = store.groups(&[group(2)]).await.unwrap().remove(0);
    assert_eq!((renamed.name.as_str(), renamed.version), ("Dinner", 2));
    assert!(store.rename_group(group(9), "x", at(90)).await.is_err());

    // A member becomes its creator; nobody else does.
    store
        .set_group_owner(group(1), user(2), at(91))
        .await
        .unwrap();
    let given = store.groups(&[group(1)]).await.unwrap().remove(0);
    assert_eq!((given.creator, given.version), (Some(user(2)), 2));
    assert_eq!(
        store
            .groups_created_by(user(1), GroupType::Temporary)
            .await
            .unwrap(),
        2
    );
    for (of, owner) in [(2, 2), (9, 1)] {
        let refused = store.set_group_owner(group(of), user(owner), at(92)).await;
        assert!(
            matches!(refused, Err(StoreError::NotFound { .. })),
            "{refused:?}"
        );
    }

    // Without members a group is in no list.
    let change = GroupChange {
        group: group(2),
        change: MemberChange::Remove,
        users: vec![user(1)],
        by: None,
        last_id: 0,
        now: at(95),
    };
    store
        .change_members(standing(store).await, &change)
        .await
        .unwrap();
    assert_eq!(list(None, page("", 0, 9)).await, [1, 3]);
}

pub async fn departments_are_renamed_moved_and_removed_and_come_back(store: &dyn Store) {
    let users = vec![
        in_department("ann", &["Company", "Salse"]),
        in_department("ben", &["Company"]),
    ];
    import(store, users, 50).await;
    assert_eq!(store.department_sizes().await.unwrap(), [(1, 1), (2, 1)]);
    store.rename_department(2, "Sales", at(60)).await.unwrap();
    let changed = store.departments_since(at(50)).await.unwrap();
    assert_eq!((changed.len(), changed[0].name.as_str()), (1, "Sales"));
    import(store, vec![in_department("cy", &["Company", "Lab"])], 70).await;
    let taken = store.rename_department(3, "Sales", at(80)).await;
    assert!(matches!(taken, Err(StoreError::Taken { .. })), "{taken:?}");

    // Under another parent, and back; not beside one of the same name.
    store.move_department(3, 2, at(81)).await.unwrap();
    let moved = store.departments_since(at(80)).await.unwrap();
    assert_eq!((moved.len(), moved[0].id, moved[0].parent), (1, 3, 2));
    import(store, vec![in_department("cy", &["Company", "Lab"])], 82).await;
    let taken = store.move_department(3, 1, at(83)).await;
    assert!(matches!(taken, Err(StoreError::Taken { .. })), "{taken:?}");
    let nothing = store.move_department(9, 1, at(83)).await;
    assert!(
        matches!(nothing, Err(StoreError::NotFound { .. })),
        "{nothing:?}"
    );

    assert_eq!(store.remove_department(2, 1, at(90)).await.unwrap(), 1);
    let removed = store.departments_since(at(85)).await.unwrap();
    assert_eq!((removed[0].id, removed[0].status), (2, 1));
    let moved = store.profile_by_name("ann").await.unwrap().unwrap();
    assert_eq!(moved.department, 1);
    assert!(store.remove_department(9, 0, at(90)).await.is_err());

    // An import that names it brings it back.
    import(store, vec![in_department("ann", &["Company", "Sales"])], 99).await;
    let back = store.departments_since(at(95)).await.unwrap();
    assert_eq!((back[0].id, back[0].status), (2, 0));
}

pub async fn a_department_is_made_with_those_above_it_and_comes_back(store: &dyn Store) {
    let path = |path: &[&str]| {
        path.iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let made = store.create_department(&path(&["C", "R"]), at(60)).await;
    assert_eq!(made.unwrap(), 2);
    for there in [&["C", "R"][..], &["C"]] {
        let taken = store.create_department(&path(there), at(61)).await;
        assert!(matches!(taken, Err(StoreError::Taken { .. })), "{taken:?}");
    }
    store.remove_department(2, 0, at(62)).await.unwrap();
    let back = store.create_department(&path(&["C", "R"]), at(63)).await;
    assert_eq!(back.unwrap(), 2);
    let told = store.departments_since(at(62)).await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.id, one.status)).collect();
    assert_eq!(told, [(2, 0)]);
}

pub async fn people_stand_by_name_in_pages(store: &dyn Store) {
    let people = vec![
        in_department("ada", &["R"]),
        in_department("adam", &["S"]),
        ImportedUser {
            status: Some(3),
            ..in_department("adele", &["R"])
        },
        in_department("bob", &["R"]),
        person("\u{10fffd}"),
    ];
    import(store, people, 50).await;
    let all = PeopleQuery {
        limit: 100,
        ..PeopleQuery::default()
    };
    let names = |query: PeopleQuery| async move {
        let people = store.people_by_name(&query).await.unwrap();
        people.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    let everybody = ["ada", "adam", "adele", "bob", "\u{10fffd}"];
    assert_eq!(names(all.clone()).await, everybody);
    let (research, left) = (Some(1), Some(3));
    for (prefix, department, status, expected) in [
        ("ad", None, None, &["ada", "adam", "adele"][..]),
        ("adam", None, None, &["adam"]),
        ("Ad", None, None, &[]),
        ("", research, None, &["ada", "adele", "bob"]),
        ("", None, left, &["adele"]),
        ("", research, Some(0), &["ada", "bob"]),
        ("b", research, Some(0), &["bob"]),
        ("", Some(9), None, &[]),
    ] {
        let query = PeopleQuery {
            prefix: prefix.to_owned(),
            department,
            status,
            ..all.clone()
        };
        assert_eq!(names(query.clone()).await, expected, "{query:?}");
        // One by one behind the last one.
        let mut paged = Vec::new();
        let mut one = PeopleQuery { limit: 1, ..query };
        while let Some(name) = names(one.clone()).await.pop() {
            one.after = Some(name.clone());
            paged.push(name);
        }
        assert_eq!(paged, expected, "{one:?}");
    }
}

pub async fn members_of_groups_are_counted_named_and_paged(store: &dyn Store) {
    let people = ["ann", "ben", "cy"].map(person);
    import(store, people.into(), 50).await;
    let make = |row: i64, members: &[u32]| NewGroup {
        row: ConversationRow(row),
        name: format!("g{row}"),
        avatar: String::new(),
        creator: None,
        group_type: GroupType::Normal,
        members: members.iter().copied().map(user).collect(),
        now: at(60),
    };
    let mut groups = Vec::new();
    for (row, members) in [(1, &[1, 2, 3][..]), (2, &[3])] {
        let made = store
            .create_group(standing(store).await, &make(row, members))
            .await;
        groups.push(made.unwrap());
    }
    let leave = GroupChange {
        group: groups[0],
        change: MemberChange::Remove,
        users: vec![user(2)],
        by: None,
        last_id: 0,
        now: at(61),
    };
    store
        .change_members(standing(store).await, &leave)
        .await
        .unwrap();
    let asked = [groups[0], groups[1], group(99)];
    let sizes = store.group_sizes(&asked).await.unwrap();
    assert_eq!(sizes, [(groups[0], 2), (groups[1], 1)]);
    let names = store.group_member_names(&asked).await.unwrap();
    let expected = [(groups[0], "ann"), (groups[0], "cy"), (groups[1], "cy")];
    assert_eq!(
        names,
        expected.map(|(group, name)| (group, name.to_owned()))
    );
    let page = |after, limit| async move {
        let members = store
            .group_members_after(group(1), after, limit)
            .await
            .unwrap();
        members
            .into_iter()
            .map(|member| member.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(page(0, 1).await, ["ann"]);
    assert_eq!(page(1, 10).await, ["cy"]);
    assert_eq!(page(3, 10).await, Vec::<String>::new());
    assert_eq!(store.groups(&groups[..1]).await.unwrap()[0].creator, None);
}
