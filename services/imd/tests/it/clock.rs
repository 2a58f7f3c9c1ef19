//! A server whose clock was ahead, and is right again: what it has stored then hides nothing and locks
//! nobody; and messages that are too old to be kept. Its rows are put into the store as it would have put them there, then the program is started.

use std::path::Path;

use im_client::{Client, ClientConfig, Error, Password};
use im_core::time::UnixSeconds;
use im_core::{Conversation, MsgId, Peer, UserId};
use im_order::Partition;
use im_store::{
    AccountStore as _, AppendBatch, ConversationRow, DataDir, EVERY_ADDRESS, MessageRow,
    MessageStore as _, NewConversation, NewFailure, SqliteOptions, SqliteStore, TenureStore as _,
};

use crate::platform::{get, start, start_with, tool};
use crate::world::Server;

/// How far the clock was ahead, seconds.
const AHEAD: u32 = 24 * 3_600;

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

async fn open(data: &Path) -> SqliteStore {
    let dir = DataDir::open(data).unwrap();
    let options = SqliteOptions::default();
    SqliteStore::open(dir, options).await.unwrap()
}

async fn log_in(server: &Server, name: &str, password: &str) -> Result<Client, Error> {
    let address = server.address("msg", "client");
    let config = ClientConfig::new(address.as_str(), name, Password::clear(password));
    Client::connect(config).await.map(|(client, _)| client)
}

/// What is said to a wrong password.
async fn refused(server: &Server, name: &str) -> String {
    match log_in(server, name, "wrong").await {
        Err(Error::Refused { text, .. }) => text,
        Err(error) => panic!("{name}: {error}"),
        Ok(_) => panic!("{name}: a wrong password was taken"),
    }
}

/// More failures of a name than are let pass, from this machine and everywhere.
async fn fail(store: &SqliteStore, name: &str, now: UnixSeconds) {
    for _ in 0..70 {
        let failure = NewFailure {
            name,
            known: true,
            addresses: &["127.0.0.1", EVERY_ADDRESS],
            now,
            since: now.saturating_sub(1_800),
            max_pairs: 10_000,
            kept_above: 10,
        };
        store.add_login_failure(&failure).await.unwrap();
    }
}

/// Ann and Ben, who have ids 1 and 2, and Cleo.
fn with_people(dir: &Path, data: &Path) {
    let server = start(data);
    let people = dir.join("people.csv");
    std::fs::write(&people, "name,password\nann,a\nben,b\ncleo,c\n").unwrap();
    let import = ["directory", "import", people.to_str().unwrap()];
    assert_eq!(tool(&server, data, &import).0, 0);
    assert_eq!(server.terminate(), 0);
}

/// The first message of Ann to Ben, as if it had been stored then.
async fn put(store: &SqliteStore, time: UnixSeconds) {
    let row = ConversationRow(1);
    let owned = store.take(Partition::ONLY).await.unwrap();
    let seq = owned.end.next();
    let batch = AppendBatch {
        fence: owned.adding(seq),
        new_conversations: vec![NewConversation {
            row,
            conversation: Conversation::of(user(1), Peer::User(user(2))).unwrap(),
        }],
        messages: vec![MessageRow {
            seq,
            row,
            msg_id: MsgId::from_wire(1).unwrap(),
            sender: user(1),
            msg_type: 1,
            time,
            low_sent: 1,
            key: None,
            body: "x".into(),
        }],
    };
    store.append(&batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_that_lie_in_the_future_lock_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    with_people(dir.path(), &data);
    let store = open(&data).await;
    fail(&store, "ann", UnixSeconds::now().saturating_add(AHEAD)).await;
    // The same failures of now do lock.
    fail(&store, "cleo", UnixSeconds::now()).await;
    store.close().await.unwrap();
    drop(store);

    let server = start(&data);
    let locks = ["admin", "--json", "user", "locks"];
    let (_, said, _) = tool(&server, &data, &locks);
    assert!(said.contains("cleo") && !said.contains("ann"), "{said}");
    let (ann, cleo) = (
        refused(&server, "ann").await,
        refused(&server, "cleo").await,
    );
    assert!(cleo.contains("次数太多"), "too many failures: {cleo}");
    assert!(!ann.contains("次数太多"), "just wrong: {ann}");
    let ann = log_in(&server, "ann", "a").await.unwrap();
    ann.close().await;
    assert_eq!(server.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_lies_in_the_future_hides_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    with_people(dir.path(), &data);
    let ahead = UnixSeconds::now().saturating_add(AHEAD);
    let store = open(&data).await;
    put(&store, ahead).await;
    store.close().await.unwrap();
    drop(store);

    let server = start(&data);
    let ben = log_in(&server, "ben", "b").await.unwrap();
    let recent = async |since: u32| {
        let answer = ben.recent_sessions(since).await.unwrap();
        let lines = answer.contact_session_list.into_iter();
        lines
            .map(|line| (line.latest_msg_id, line.updated_time))
            .collect::<Vec<_>>()
    };
    let told = recent(0).await;
    let [(1, time)] = told[..] else {
        panic!("{told:?}");
    };
    assert!(
        time <= UnixSeconds::now().get(),
        "{time} lies in the future"
    );

    // A second later there is something new, which is later than what was told.
    while UnixSeconds::now().get() <= time {
        tokio::task::yield_now().await;
    }
    let ann = log_in(&server, "ann", "a").await.unwrap();
    let sent = ann.send_text(Peer::User(user(2)), "later").await.unwrap();
    assert_eq!(sent.msg_id, 2);
    for since in [time, ahead.get()] {
        let told = recent(since).await;
        assert!(matches!(told[..], [(2, _)]), "since {since}: {told:?}");
    }
    ann.close().await;
    ben.close().await;
    assert_eq!(server.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_configuration_says_loses_its_body_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    with_people(dir.path(), &data);
    let store = open(&data).await;
    put(&store, UnixSeconds::now().saturating_sub(2 * 86_400)).await;
    store.close().await.unwrap();
    drop(store);

    let server = start_with(&data, &["--set", "db_proxy.retention.pairs=1d"]);
    let ben = log_in(&server, "ben", "b").await.unwrap();
    let with_ann = Peer::User(user(1));
    let ids = async || {
        let page = ben.history(with_ann, 0, 10).await.unwrap().msg_list;
        page.iter().map(|it| it.msg_id).collect::<Vec<_>>()
    };
    while !ids().await.is_empty() {
        tokio::task::yield_now().await;
    }
    let ann = log_in(&server, "ann", "a").await.unwrap();
    let sent = ann.send_text(Peer::User(user(2)), "now").await.unwrap();
    assert_eq!(sent.msg_id, 2);
    assert_eq!(ids().await, [2]);
    let shown = get(&server.address("admin", "http"), "/metrics");
    let counted = "im_db_proxy_expired_bodies_total{kind=\"pairs\"} 1\n";
    assert!(shown.contains(counted), "{shown}");
    ann.close().await;
    ben.close().await;
    assert_eq!(server.terminate(), 0);
}
