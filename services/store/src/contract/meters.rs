//! Levels of meters.

use crate::{Store, StoredLevel};

use crate::contract::log::{at, user};

fn level(id: u32, bytes: u64, seconds: u32) -> StoredLevel {
    StoredLevel {
        user: user(id),
        bytes,
        at: at(seconds),
    }
}

pub async fn levels_are_replaced_and_forgotten(store: &dyn Store) {
    assert_eq!(store.stored_levels().await.unwrap(), []);
    let large = 1 << 40;
    let first = [level(2, 5, 100), level(1, large, 101), level(3, 7, 102)];
    store.store_levels(&first).await.unwrap();
    assert_eq!(
        store.stored_levels().await.unwrap(),
        [level(1, large, 101), level(2, 5, 100), level(3, 7, 102)]
    );
    let then = [level(1, 9, 200), level(2, 0, 200), level(4, 0, 200)];
    store.store_levels(&then).await.unwrap();
    assert_eq!(
        store.stored_levels().await.unwrap(),
        [level(1, 9, 200), level(3, 7, 102)]
    );
    store.store_levels(&[]).await.unwrap();
    assert_eq!(store.stored_levels().await.unwrap().len(), 2);
}
