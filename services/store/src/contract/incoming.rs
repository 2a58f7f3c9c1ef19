use crate::{NewIncomingHook, Store, StoreError};
use im_core::Peer;
use im_core::time::UnixSeconds;

use crate::contract::log::user;

fn new(label: &str, to: Peer) -> NewIncomingHook {
    NewIncomingHook {
        hash: [7; 32],
        sender: user(1),
        to,
        label: label.into(),
        created: UnixSeconds::from_wire(5),
        made_by: "ann".into(),
    }
}

pub async fn incoming_hooks_are_kept_listed_and_removed(store: &dyn Store) {
    let (to_user, to_group) = (
        new("builds", Peer::User(user(2))),
        new(
            "alarms",
            Peer::Group(im_core::GroupId::from_wire(3).unwrap()),
        ),
    );
    let first = store.create_incoming_hook(&to_user, 2).await.unwrap();
    let second = store.create_incoming_hook(&to_group, 2).await.unwrap();
    let full = store.create_incoming_hook(&to_user, 2).await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    let listed = store.incoming_hooks(u32::MAX, 9).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|row| (row.id, row.hook)).collect();
    assert_eq!(listed, [(second, to_group), (first, to_user.clone())]);
    let older = store.incoming_hooks(second, 9).await.unwrap();
    assert_eq!(older.len(), 1);
    assert_eq!(
        store.incoming_hooks(u32::MAX, 1).await.unwrap()[0].id,
        second
    );
    let found = store.incoming_hook(first).await.unwrap().unwrap();
    assert_eq!(found.hook, to_user);
    store.remove_incoming_hook(second).await.unwrap();
    assert_eq!(store.incoming_hook(second).await.unwrap(), None);
    let gone = store.remove_incoming_hook(second).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound { .. }), "{gone}");
    let third = store.create_incoming_hook(&to_user, 2).await.unwrap();
    assert!(third > second, "no id comes again");
}
