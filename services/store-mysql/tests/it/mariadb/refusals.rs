//! Servers and databases that are not used, and what is said of each.

use std::time::Duration;

use im_core::Chain;
use im_store::{OpenError, StoreKind, store_at};
use im_store_mysql::{MysqlOptions, MysqlStore, kind};
use sqlx::ConnectOptions as _;

use crate::server::{Server, run};

/// The error of opening the database `im`, with its causes.
async fn refused(server: &Server) -> String {
    let opened = MysqlStore::open(server.database("im"), MysqlOptions::default()).await;
    Chain(&opened.map(drop).unwrap_err()).to_string()
}

/// What a server may be that is not used: each is named by its setting, and used once that is right.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_server_that_loses_commits_or_takes_none_is_refused() {
    let server = Server::start().await;
    let mut root = server.root().await;
    for (setting, says) in [
        (
            "innodb_flush_log_at_trx_commit = 2",
            "set innodb_flush_log_at_trx_commit = 1 at the server, it is 2",
        ),
        ("read_only = 1", "is read-only"),
    ] {
        let (name, _) = setting.split_once(" = ").unwrap();
        run(&mut root, format!("SET GLOBAL {setting}")).await;
        let said = refused(&server).await;
        assert!(said.contains(says), "{said}");
        let right = u8::from(name != "read_only");
        run(&mut root, format!("SET GLOBAL {name} = {right}")).await;
    }
    let store = MysqlStore::open(server.database("im"), MysqlOptions::default()).await;
    store.unwrap().close().await.unwrap();
}

/// A database that is somebody else's, or not as it was made.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_database_of_something_else_is_refused_and_left_as_it_is() {
    let server = Server::shared().await;
    let lease = server.lease().await;
    let mut beside = server.database(&lease.name).connect().await.unwrap();
    let opened = async || {
        let connect = server.database(&lease.name);
        let opened = MysqlStore::open(connect, MysqlOptions::default()).await;
        opened.map(drop).map_err(|error| Chain(&error).to_string())
    };
    let drop_all = format!(
        "DROP DATABASE {0}; CREATE DATABASE {0}; USE {0}",
        lease.name
    );
    for (made, table) in [
        ("CREATE TABLE IMUser (id INT)", "IMUser"),
        // Other programs have a table of this name.
        ("CREATE TABLE migration (version INT)", "migration"),
        ("CREATE TABLE account (id INT)", "account"),
    ] {
        run(&mut beside, format!("{drop_all}; {made}")).await;
        let said = opened().await.unwrap_err();
        let says = format!("has the table {table}, which is none of ours");
        assert!(said.contains(&says), "{said}");
        let count =
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = database()";
        let count: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut beside)
            .await
            .unwrap();
        assert_eq!(count, 1, "nothing was made beside it");
    }

    // Two processes at once.
    run(&mut beside, drop_all.clone()).await;
    assert_eq!(tokio::join!(opened(), opened()), (Ok(()), Ok(())));
    // Tables of our names, which nobody has noted as ours.
    run(&mut beside, "DELETE FROM migration".to_owned()).await;
    let said = opened().await.unwrap_err();
    assert!(said.contains("which is none of ours"), "{said}");
    // Cut short behind the first table; and one of somebody else that came later is none of our business.
    run(&mut beside, format!("{drop_all}; CREATE TABLE migration (step INT UNSIGNED NOT NULL, applied INT UNSIGNED NOT NULL, PRIMARY KEY (step))")).await;
    assert_eq!(opened().await, Ok(()));
    run(
        &mut beside,
        "CREATE TABLE notes (text VARCHAR(9) CHARACTER SET latin1)".to_owned(),
    )
    .await;
    assert_eq!(opened().await, Ok(()));

    run(
        &mut beside,
        "ALTER TABLE department CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
            .to_owned(),
    )
    .await;
    let said = opened().await.unwrap_err();
    assert!(
        said.contains(
            "department.name has the collation utf8mb4_general_ci, not utf8mb4_nopad_bin"
        ),
        "{said}"
    );
    run(
        &mut beside,
        "ALTER TABLE department CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
            .to_owned(),
    )
    .await;
    assert_eq!(opened().await, Ok(()));

    run(
        &mut beside,
        "INSERT INTO migration VALUES (100000, 0)".to_owned(),
    )
    .await;
    let said = opened().await.unwrap_err();
    assert!(said.contains("the database is at step 100000"), "{said}");
    run(&mut beside, drop_all).await;
}

/// Who is not let in, by name and password.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_user_who_is_not_let_in_or_may_not_make_tables_is_told_what_to_do() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "wrong").unwrap();
    let opened = async |user: &str, database: &str, password_file: std::path::PathBuf| {
        let options = MysqlOptions {
            password_file: Some(password_file),
            // An error that does not pass is told at once.
            start_wait: Duration::from_secs(600),
            ..MysqlOptions::default()
        };
        let kinds: [StoreKind; 1] = [kind(options)];
        let url = format!("mysql://{user}@{}/{database}", server.address());
        match store_at(&url, &kinds).unwrap().open().await {
            Ok(store) => store.close().await.map_err(|error| error.to_string()),
            Err(OpenError::Server(error)) => Err(Chain(error.as_ref()).to_string()),
            Err(error) => Err(Chain(&error).to_string()),
        }
    };
    let said = opened("im", "im", wrong.clone()).await.unwrap_err();
    assert!(
        said.contains("as im: the server refuses this name, the password"),
        "{said}"
    );
    let right = server.password_file();
    let said = opened("im", "other", right.clone()).await.unwrap_err();
    assert!(
        said.contains("use the database other: make it with CREATE DATABASE"),
        "{said}"
    );
    let mut root = server.root().await;
    run(
        &mut root,
        "CREATE USER reader IDENTIFIED BY 'wrong'; GRANT SELECT ON im.* TO reader".to_owned(),
    )
    .await;
    let said = opened("reader", "im", wrong).await.unwrap_err();
    assert!(
        said.contains("make the tables in im: grant reader all privileges on it"),
        "{said}"
    );
    opened("im", "im", right).await.unwrap();
}

/// A server that is not there yet is waited for.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_server_that_starts_late_or_takes_no_writes_yet_is_waited_for() {
    let server = Server::start().await;
    let mut root = server.root().await;
    run(&mut root, "SET GLOBAL read_only = 1".to_owned()).await;
    let options = MysqlOptions {
        password_file: Some(server.password_file()),
        start_wait: Duration::from_secs(60),
        ..MysqlOptions::default()
    };
    let url = format!("mysql://im@{}/im", server.address());
    let place = store_at(&url, &[kind(options)]).unwrap();
    let (opened, ()) = tokio::join!(place.open(), async {
        // It comes back, and takes writes then.
        server.kill();
    });
    opened.unwrap().close().await.unwrap();
}
