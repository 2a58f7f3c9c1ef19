//! Commits whose answer is lost, and servers that are killed.

use std::time::Duration;

use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_store::contract::accounts::{import, person};
use im_store::contract::log::{Log, pair, standing};
use im_store::{
    AccountStore as _, DirectoryStore as _, GroupStore as _, GroupType, MessageStore as _,
    NewGroup, ReadLimit, StoreError, TenureStore as _, TokenStore as _,
};
use im_store_mysql::{MysqlOptions, MysqlStore};

use tokio::time::Instant;

use crate::proxy::{Fault, Proxy};
use crate::server::{Server, TempStore, at, run};

/// A store that is reached through a proxy, and the same without it.
struct Between {
    store: MysqlStore,
    proxy: Proxy,
    direct: TempStore,
}

impl Between {
    async fn open() -> Self {
        let direct = TempStore::open().await;
        let proxy = Proxy::start(Server::shared().await.socket());
        let reached = at(&proxy.socket(), &direct.lease.name);
        let store = MysqlStore::open(reached, MysqlOptions::default()).await;
        Self {
            store: store.unwrap(),
            proxy,
            direct,
        }
    }

    /// Bodies of the log, whose positions must have no hole.
    async fn bodies(&self) -> Vec<String> {
        let log = self
            .direct
            .store
            .read_log(CommitSeq::START, ReadLimit::rows(1_000))
            .await
            .unwrap();
        let seqs: Vec<u64> = log
            .iter()
            .map(|entry| entry.message.seq.to_wire())
            .collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>());
        let owned = self.direct.store.ownership(Partition::ONLY).await.unwrap();
        assert_eq!(owned.end.to_wire(), log.len() as u64);
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        log.iter().map(|entry| text(&entry.message.body)).collect()
    }
}

fn is_unavailable(result: &Result<impl Sized, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_batch_whose_commit_is_not_answered_is_stored_once_or_never() {
    let between = Between::open().await;
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "first");
    log.commit(&between.store).await.unwrap();

    between.proxy.arrange(Fault::LoseAnswer);
    log.send(1, pair(1, 2), 100, "answered to nobody");
    log.send(1, pair(1, 3), 100, "with a new pair");
    log.commit(&between.store).await.unwrap();
    between.proxy.happened().await;
    assert_eq!(
        between.bodies().await,
        ["first", "answered to nobody", "with a new pair"]
    );

    // The COMMIT is on its way when the connection dies, and comes when the writer has been told that it is not stored.
    between.proxy.arrange(Fault::HoldCommit);
    let before = log.clone();
    log.send(1, pair(1, 2), 100, "late");
    let held = log.commit(&between.store).await;
    assert!(is_unavailable(&held), "{held:?}");
    let mut log = before;
    log.send(1, pair(1, 2), 100, "in its place");
    log.commit(&between.store).await.unwrap();
    between.proxy.release().await;
    let expected = [
        "first",
        "answered to nobody",
        "with a new pair",
        "in its place",
    ];
    assert_eq!(between.bodies().await, expected);
    log.send(1, pair(1, 2), 100, "last");
    log.commit(&between.store).await.unwrap();
    assert_eq!(between.bodies().await.len(), 5);
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_held_batch_is_not_stored_when_it_comes_before_any_other() {
    let between = Between::open().await;
    let mut log = Log::default();
    log.own(&between.store).await.unwrap();
    between.proxy.arrange(Fault::HoldCommit);
    log.send(1, pair(1, 2), 100, "late");
    let held = log.commit(&between.store).await;
    assert!(is_unavailable(&held), "{held:?}");
    // Nothing but what says that it is not stored is in its way.
    between.proxy.release().await;
    assert_eq!(between.bodies().await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_change_whose_commit_is_not_answered_is_made_once_or_never() {
    let between = Between::open().await;
    import(&between.direct.store, vec![person("ann")], 10).await;
    let ann = UserId::from_wire(1).unwrap();
    let now = UnixSeconds::from_wire(20);
    let signature = async || {
        between
            .direct
            .store
            .profiles(&[ann])
            .await
            .unwrap()
            .remove(0)
            .signature
    };

    between.proxy.arrange(Fault::LoseAnswer);
    between
        .store
        .set_signature(ann, "answered to nobody", now)
        .await
        .unwrap();
    between.proxy.happened().await;
    assert_eq!(signature().await, "answered to nobody");

    between.proxy.arrange(Fault::HoldCommit);
    let held = between.store.set_signature(ann, "late", now).await;
    assert!(is_unavailable(&held), "{held:?}");
    between.proxy.release().await;
    assert_eq!(signature().await, "answered to nobody");
    between.store.set_signature(ann, "last", now).await.unwrap();
    assert_eq!(signature().await, "last");

    // What is made is made once, and has its number.
    let token = im_store::NewToken {
        hash: [7; 32],
        owner: "ann".to_owned(),
        label: String::new(),
        scopes: Vec::new(),
        addresses: Vec::new(),
        created: now,
        expires: UnixSeconds::from_wire(1_000),
        made_by: "ann".to_owned(),
        bot: None,
    };
    between.proxy.arrange(Fault::LoseAnswer);
    let id = between.store.create_token(&token, now, 9).await.unwrap();
    let tokens = between.direct.store.tokens("", u32::MAX, 9).await.unwrap();
    assert_eq!(tokens.iter().map(|row| row.id).collect::<Vec<_>>(), [id]);

    let mut log = Log::default();
    log.own(&between.store).await.unwrap();
    let group = NewGroup {
        row: im_store::ConversationRow(1),
        name: "group".to_owned(),
        avatar: String::new(),
        creator: Some(ann),
        group_type: GroupType::Temporary,
        members: vec![ann],
        now,
    };
    let fence = standing(&between.store).await;
    between.proxy.arrange(Fault::LoseAnswer);
    let made = between.store.create_group(fence, &group).await.unwrap();
    let groups = between.direct.store.groups_of(Some(ann)).await.unwrap();
    assert_eq!(
        groups.iter().map(|group| group.id).collect::<Vec<_>>(),
        [made]
    );
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn whoever_stops_in_the_middle_of_a_batch_keeps_nobody_from_taking_the_log() {
    let direct = TempStore::open().await;
    let proxy = Proxy::start(Server::shared().await.socket());
    // So short that the batch takes several texts: between two of them the transaction is open.
    let options = MysqlOptions {
        text_bytes: 10_000,
        ..MysqlOptions::default()
    };
    let store = MysqlStore::open(at(&proxy.socket(), &direct.lease.name), options)
        .await
        .unwrap();
    let mut log = Log::default();
    log.own(&store).await.unwrap();
    for _ in 0..20 {
        log.send(1, pair(1, 2), 100, &"x".repeat(1_000));
    }
    proxy.arrange(Fault::HoldCommit);
    let batch = log.fenced();
    let former = tokio::spawn(async move { store.append(&batch).await });
    proxy.happened().await;
    let taken = direct.store.take(Partition::ONLY).await.unwrap();
    assert_eq!(taken.end, CommitSeq::START);
    let former = former.await.unwrap();
    assert!(former.is_err(), "{former:?}");
    proxy.release().await;
    let owned = direct.store.ownership(Partition::ONLY).await.unwrap();
    assert_eq!(owned, taken);
    assert_eq!(
        direct
            .store
            .read_log(CommitSeq::START, ReadLimit::rows(9))
            .await
            .unwrap(),
        []
    );
}

/// With one connection for reads there is none beside it: each must come back, or be replaced.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_read_that_is_not_answered_costs_its_time_and_no_place() {
    let options = MysqlOptions {
        readers: 1,
        read_timeout: Duration::from_secs(1),
        acquire_timeout: Duration::from_secs(30),
        ..MysqlOptions::default()
    };
    let temp = TempStore::open_with(options).await;
    import(&temp.store, vec![person("ann")], 10).await;
    let ann = [UserId::from_wire(1).unwrap()];
    let mut other = temp.connection().await;
    run(&mut other, "LOCK TABLES account WRITE".to_owned()).await;
    for _ in 0..3 {
        let read = temp.store.profiles(&ann).await;
        assert!(is_unavailable(&read), "{read:?}");
        // Nobody else is held up.
        temp.store.log_end().await.unwrap();
    }
    let page = temp.store.users_since(UnixSeconds::default(), 9).await;
    assert!(is_unavailable(&page), "{page:?}");
    run(&mut other, "UNLOCK TABLES".to_owned()).await;
    assert_eq!(temp.store.profiles(&ann).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn nothing_is_lost_or_doubled_while_the_server_is_killed() {
    const KILLS: usize = 4;
    let server = Server::start().await;
    let store = MysqlStore::open(server.database("im"), MysqlOptions::default())
        .await
        .unwrap();
    let mut log = Log::default();
    log.own(&store).await.unwrap();
    let (mut stored, mut kills) = (0_u32, 0);
    let end = Instant::now() + Duration::from_secs(60);
    while kills < KILLS || stored < 300 {
        assert!(Instant::now() < end, "{stored} messages, {kills} kills");
        let before = log.clone();
        log.send(1, pair(1, 2 + stored % 5), 100, &stored.to_string());
        let sending = log.commit(&store);
        let sent = if stored / 60 > kills.try_into().unwrap() {
            kills += 1;
            let (sent, ()) = tokio::join!(sending, async { server.kill() });
            sent
        } else {
            sending.await
        };
        match sent {
            Ok(()) => stored += 1,
            // It says that nothing is stored: the same again.
            Err(StoreError::Unavailable(_)) => log = before,
            Err(other) => panic!("{other}"),
        }
    }
    let read = store
        .read_log(CommitSeq::START, ReadLimit::rows(10_000))
        .await
        .unwrap();
    let bodies: Vec<String> = read
        .iter()
        .map(|entry| String::from_utf8(entry.message.body.to_vec()).unwrap())
        .collect();
    assert_eq!(
        bodies,
        (0..stored).map(|n| n.to_string()).collect::<Vec<_>>()
    );
}
