use im_core::ClientType;
use im_store::{DeviceToken, Store};

use crate::log::user;

fn token(owner: u32, client_type: ClientType, token: &str) -> DeviceToken {
    DeviceToken {
        user: user(owner),
        client_type,
        token: token.into(),
    }
}

pub(super) async fn keeps_one_token_per_user(store: &dyn Store) {
    store
        .set_device_token(&token(1, ClientType::Ios, "a"))
        .await
        .unwrap();
    store
        .set_device_token(&token(1, ClientType::Android, "b"))
        .await
        .unwrap();
    let tokens = store.device_tokens(&[user(2), user(1)]).await.unwrap();
    assert_eq!(tokens, [token(1, ClientType::Android, "b")]);
    store.clear_device_token(user(1)).await.unwrap();
    store.clear_device_token(user(1)).await.unwrap();
    assert_eq!(store.device_tokens(&[user(1)]).await.unwrap(), []);
}

pub(super) async fn a_token_has_one_owner(store: &dyn Store) {
    store
        .set_device_token(&token(1, ClientType::Ios, "phone"))
        .await
        .unwrap();
    store
        .set_device_token(&token(2, ClientType::Ios, "tablet"))
        .await
        .unwrap();
    store
        .set_device_token(&token(2, ClientType::Ios, "phone"))
        .await
        .unwrap();
    let tokens = store.device_tokens(&[user(1), user(2)]).await.unwrap();
    assert_eq!(tokens, [token(2, ClientType::Ios, "phone")]);
    store
        .set_device_token(&token(2, ClientType::Ios, "phone"))
        .await
        .unwrap();
    assert_eq!(store.device_tokens(&[user(2)]).await.unwrap().len(), 1);
}
