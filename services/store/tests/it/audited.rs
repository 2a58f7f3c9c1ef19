//! The audit log of the embedded store when somebody changes it in the file, and stores from before there
//! was one.

use im_store::{
    AdministrationStore as _, AuditStore as _, DataDir, PeopleQuery, SqliteOptions, SqliteStore,
    TokenStore as _, follow_audit, testing::TempStore,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::partitions::of_version_four;
use im_store::contract::audit::note;

async fn file(store: &SqliteStore) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(store.data_dir().database());
    options.connect().await.unwrap()
}

/// The first row that was touched, and why.
async fn bad(store: &SqliteStore) -> Option<(u64, &'static str)> {
    let (rows, ends) = store.read_audit(0, 1_000).await.unwrap();
    let (_, bad) = follow_audit(ends.begin, &rows, &ends, true);
    bad.map(|bad| (bad.number, bad.reason))
}

#[tokio::test]
async fn whatever_somebody_does_to_a_row_in_the_file_names_it() {
    for (statement, expected) in [
        ("UPDATE audit_log SET actor = 'eve' WHERE number = 3", (3, "it was edited")),
        ("UPDATE audit_log SET at = at + 1 WHERE number = 5", (5, "it was edited")),
        ("UPDATE audit_log SET outcome = 1 WHERE number = 1", (1, "it was edited")),
        ("UPDATE audit_log SET hash = zeroblob(32) WHERE number = 2", (2, "it was edited")),
        ("DELETE FROM audit_log WHERE number = 1", (1, "it was removed")),
        ("DELETE FROM audit_log WHERE number = 3", (3, "it was removed")),
        ("DELETE FROM audit_log WHERE number >= 4", (4, "it was removed")),
        ("DELETE FROM audit_log", (1, "it was removed")),
        (
            "INSERT INTO audit_log SELECT 6, at, actor, credential, address, request, action, target,
             before, after, outcome, hash FROM audit_log WHERE number = 5",
            (6, "it was added"),
        ),
        (
            "UPDATE audit_ends SET last_hash = zeroblob(32)",
            (5, "it is not the row that was written last"),
        ),
    ] {
        let temp = TempStore::open().await;
        for number in 1..=5 {
            temp.store.note(&note("Call", "x", number)).await.unwrap();
        }
        assert_eq!(bad(&temp.store).await, None);
        let mut file = file(&temp.store).await;
        sqlx::query(statement).execute(&mut file).await.unwrap();
        file.close().await.unwrap();
        assert_eq!(bad(&temp.store).await, Some(expected), "{statement}");
    }
}

#[tokio::test]
async fn a_store_from_before_the_audit_log_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = of_version_four(dir.path()).await;
    let person = "INSERT INTO account (id, name, hash, nick, sex, department, phone, email, domain,
        avatar, signature, status, stamp) VALUES (7, 'ann', '', 'Ann', 0, 0, '', '', '', '', '', 0, 5)";
    sqlx::query(person).execute(&mut old).await.unwrap();
    old.close().await.unwrap();

    let data_dir = DataDir::open(dir.path()).unwrap();
    let store = SqliteStore::open(data_dir, SqliteOptions::default())
        .await
        .unwrap();
    assert_eq!(bad(&store).await, None);
    store.note(&note("Call", "x", 5)).await.unwrap();
    assert_eq!(bad(&store).await, None);
    assert_eq!(store.tokens("", u32::MAX, 10).await.unwrap(), []);
    let query = PeopleQuery {
        prefix: "a".to_owned(),
        limit: 10,
        ..PeopleQuery::default()
    };
    let found = store.people_by_name(&query).await.unwrap();
    assert_eq!(found.len(), 1);
    store.close().await.unwrap();
}
