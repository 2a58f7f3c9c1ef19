//! The store is chosen by a URL.

use crate::platform::{PORTS, tool};
use crate::world::{Server, finish, imd};

#[test]
fn a_kind_of_store_that_there_is_not_is_refused_with_those_that_there_are() {
    for args in [
        &["config", "check", "--store", "mysql://im:pass@db/im"][..],
        &[
            "config",
            "check",
            "--set",
            "store.url=mysql://im:pass@db/im",
        ],
        &["all-in-one", "--data-dir", "/nowhere", "--store", "mysql:x"],
        &["backup", "--store", "mysql:x", "--to", "/nowhere/f"],
    ] {
        let (code, said, error) = finish(imd(args));
        assert_ne!(code, 0, "{said}");
        assert!(
            error.contains("instead of \"mysql\", one of: sqlite:///DIRECTORY"),
            "{error}"
        );
        assert!(!error.contains("pass"), "{error}");
    }
    let (_, _, error) = finish(imd(&["config", "check", "--store", "/var/lib/im"]));
    assert!(error.contains("store.url"), "{error}");
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
