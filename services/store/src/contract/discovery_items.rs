use crate::{DiscoveryItem, Store, StoreError};

use crate::contract::log::at;

pub async fn discovery_items_are_kept_listed_changed_and_removed(store: &dyn Store) {
    let item = |name: &str, priority| DiscoveryItem {
        name: name.to_owned(),
        url: format!("https://{name}.example/"),
        priority,
    };
    let make = |name, now| {
        let item = item(name, 7);
        async move { store.create_discovery_item(&item, at(now), 2).await }
    };
    let first = make("wiki", 5).await.unwrap();
    let second = make("mail", 6).await.unwrap();
    let full = make("more", 7).await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    let changed = item("news", 9);
    store
        .change_discovery_item(first, &changed, at(8))
        .await
        .unwrap();
    let listed = store.discovery_items().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|row| row.id).collect();
    assert_eq!(ids, [first, second]);
    assert_eq!(listed[0].item, changed);
    assert_eq!((listed[0].created, listed[0].updated), (at(5), at(8)));
    let found = store.discovery_item(second).await.unwrap().unwrap();
    assert_eq!(found, listed[1]);
    store.remove_discovery_item(second).await.unwrap();
    assert_eq!(store.discovery_item(second).await.unwrap(), None);
    for gone in [
        store.remove_discovery_item(second).await,
        store.change_discovery_item(second, &changed, at(9)).await,
    ] {
        assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    }
    assert!(
        make("again", 9).await.unwrap() > second,
        "no id comes again"
    );
}
