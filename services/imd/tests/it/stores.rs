//! The store is chosen by a URL.

use crate::platform::{PORTS, tool};
use crate::world::{Server, finish, imd};

#[test]
fn a_kind_of_store_that_there_is_not_is_refused_with_those_that_there_are() {
    for args in [
        &["config", "check", "--store", "oracle://im:pass@db/im"][..],
        &[
            "config",
            "check",
            "--set",
            "store.url=oracle://im:pass@db/im",
        ],
        &[
            "all-in-one",
            "--data-dir",
            "/nowhere",
            "--store",
            "oracle:x",
        ],
        &["backup", "--store", "oracle:x", "--to", "/nowhere/f"],
    ] {
        let (code, said, error) = finish(imd(args));
        assert_ne!(code, 0, "{said}");
        assert!(
            error.contains(
                "instead of \"oracle\", one of: sqlite:///DIRECTORY, mysql://USER@HOST:PORT/DATABASE"
            ),
            "{error}"
        );
        assert!(!error.contains("pass"), "{error}");
    }
    let (_, _, error) = finish(imd(&["config", "check", "--store", "/var/lib/im"]));
    assert!(error.contains("store.url"), "{error}");
}

/// What a command says of a store on a server, which ends it.
fn refused(args: &[&str]) -> String {
    let (code, said, error) = finish(imd(args));
    assert_ne!(code, 0, "{said}");
    error
}

#[test]
fn a_store_on_a_server_is_refused_with_what_is_wrong_and_without_its_password() {
    let says = |args: &[&str], what: &str| {
        let error = refused(args);
        assert!(error.contains(what), "{args:?}: {error}");
        assert!(!error.contains("hidden"), "{error}");
    };
    let url = "mysql://im:hidden@db/im";
    says(&["config", "check", "--store", url], "mysql.password_file");
    says(
        &["config", "check", "--store", "mysql://im@db"],
        "name the database",
    );
    let key = ["config", "check", "--set", "mysql.ca_file=ca.pem"];
    says(&key, "mysql.ca_file");
    let key = ["config", "check", "--set", "mysql.tls=verify_ca"];
    says(&key, "verify-ca");
    let server = "mysql://im@127.0.0.1:1/im";
    says(
        &["backup", "--store", server, "--to", "f"],
        "mariadb-backup",
    );
    says(
        &["restore", "--store", server, "--from", "/dev/null"],
        "mariadb-backup",
    );

    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let starts = |url: &str, set: &[&str], what: &str| {
        let mut args = vec![
            "all-in-one",
            "--data-dir",
            data.to_str().unwrap(),
            "--store",
            url,
        ];
        args.extend(PORTS);
        args.extend([
            "--set",
            "mysql.start_wait=0s",
            "--set",
            "mysql.acquire_timeout=60s",
        ]);
        args.extend(set.iter().flat_map(|set| ["--set", *set]));
        says(&args, what);
    };
    starts(server, &[], "reach the database server at 127.0.0.1:1");
    starts(
        "mysql://im@nowhere.invalid/im",
        &[],
        "find the host nowhere.invalid",
    );
    starts(
        server,
        &["mysql.password_file=/nowhere/password"],
        "read the password in /nowhere/password",
    );
}

#[test]
fn the_store_of_a_url_is_used_and_the_data_directory_keeps_the_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let (data, place) = (dir.path().join("data"), dir.path().join("place"));
    let url = format!("sqlite://{}", place.display());
    let ready = dir.path().join("ready");
    let mut args = vec!["all-in-one", "--data-dir", data.to_str().unwrap()];
    args.extend(["--store", &url]);
    args.extend(PORTS);
    let server = Server::start(&args, &ready);
    let people = dir.path().join("people.csv");
    std::fs::write(&people, "name,password\nann,a\n").unwrap();
    let import = ["directory", "import", people.to_str().unwrap()];
    assert_eq!(tool(&server, &data, &import).0, 0);
    let copy = dir.path().join("copy");
    let (code, said, error) = finish(imd(&[
        "backup",
        "--store",
        &url,
        "--to",
        copy.to_str().unwrap(),
    ]));
    assert_eq!(code, 0, "{said}{error}");
    assert!(copy.is_file());
    assert_eq!(server.terminate(), 0);
    assert!(place.join("im.db").is_file());
    assert!(!data.join("im.db").exists());
    assert!(data.join("secret").is_file());

    let server = Server::start(&args, &ready);
    let (_, said, _) = tool(&server, &data, &["admin", "user", "list"]);
    assert!(said.contains("ann"), "{said}");
    assert_eq!(server.terminate(), 0);
}
