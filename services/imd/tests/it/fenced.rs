//! Another process takes the log of a server that runs: the server stores nothing more, ends, and says so.

use std::time::Duration;

use im_client::{Client, ClientConfig, Password};
use im_core::{Peer, UserId};
use im_order::Partition;
use im_store::{DataDir, MessageStore as _, SqliteOptions, SqliteStore, TenureStore as _};

use crate::platform::{start, tool};
use crate::world::Server;

async fn ann(server: &Server) -> Client {
    let address = server.address("msg", "client");
    let config = ClientConfig::new(address.as_str(), "ann", Password::clear("a"));
    Client::connect(config).await.unwrap().0
}

/// The store as a process opens it for which the directory's lock does not hold.
async fn past_the_lock(data: &std::path::Path) -> SqliteStore {
    std::fs::remove_file(data.join("lock")).unwrap();
    let dir = DataDir::open(data).unwrap();
    SqliteStore::open(dir, SqliteOptions::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_log_was_taken_acknowledges_nothing_and_ends_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = start(&data);
    let people = dir.path().join("people.csv");
    std::fs::write(&people, "name,password\nann,a\nben,b\n").unwrap();
    let import = ["directory", "import", people.to_str().unwrap()];
    assert_eq!(tool(&server, &data, &import).0, 0);
    let ben = Peer::User(UserId::from_wire(2).unwrap());
    let client = ann(&server).await;
    client.send_text(ben, "before").await.unwrap();

    let store = past_the_lock(&data).await;
    let taken = store.take(Partition::ONLY).await.unwrap();
    assert_eq!(taken.end.to_wire(), 1);
    let late = tokio::spawn(async move { client.send_text(ben, "late").await });
    let code = tokio::task::spawn_blocking(move || server.wait());
    let code = tokio::time::timeout(Duration::from_secs(120), code);
    assert_ne!(code.await.unwrap().unwrap(), 0);
    late.abort();
    assert_eq!(store.log_end().await.unwrap().0.to_wire(), 1);
    store.close().await.unwrap();
    drop(store);

    let server = start(&data);
    let stored = ann(&server).await.send_text(ben, "after").await.unwrap();
    assert_eq!(stored.msg_id, 2);
    assert_eq!(server.terminate(), 0);
}
