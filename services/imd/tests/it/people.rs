//! People as files bring them, and what an administrator can undo.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use im_client::{Client, ClientConfig, Password};
use im_core::UserId;

use crate::platform::{PORTS, get, start, tool};
use crate::world::{Server, finish, imd};

/// A platform in a temporary folder.
struct World {
    dir: tempfile::TempDir,
    server: Server,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = start(&dir.path().join("data"));
        Self { dir, server }
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        tool(&self.server, &self.dir.path().join("data"), args)
    }

    fn import(&self, name: &str, bytes: &[u8], more: &[&str]) -> (i32, String, String) {
        let file = self.dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let args = ["directory", "import", file.to_str().unwrap()];
        self.run(&[&args[..], more].concat())
    }

    fn added(&self, name: &str, bytes: &[u8]) -> String {
        let (code, said, complaint) = self.import(name, bytes, &["--dry-run"]);
        assert_eq!(code, 0, "{name}: {complaint}");
        assert!(
            said.contains("dry run, nothing imported: 2 added"),
            "{name}: {said}"
        );
        complaint
    }
}

/// Every separator, encoding, end of lines and layout that spreadsheets write; nothing is changed.
#[test]
fn people_files_are_taken_as_people_make_them() {
    let world = World::new();
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain("name\tnick\nlilei\t李雷\nhan\t韩梅梅\n".encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    // "name,nick\nlilei,李雷\nhan,韩梅梅\n"
    let gbk = b"name,nick\nlilei,\xc0\xee\xc0\xd7\nhan,\xba\xab\xc3\xb7\xc3\xb7\n";
    for (name, bytes) in [
        ("comma.csv", &b"name,password\nann,a\nben,b\n"[..]),
        ("semicolon.csv", b"Name;Password\r\nann;a\r\nben;b\r\n"),
        ("tab.tsv", b"USER NAME\tPasswd\nann\ta\nben\tb\n"),
        ("cr.csv", b"name,password\rann,a\rben,b\r"),
        ("bom.csv", b"\xef\xbb\xbfname,password\nann,a\nben,b\n"),
        (
            "blank.csv",
            b",,\nname, password,\nann, a,\n,,\nben,b,\n,,,\n",
        ),
        (
            "words.csv",
            b"login,gender,status\nann,F,0\nben,male,Left\n",
        ),
        ("utf16.csv", &utf16),
    ] {
        assert_eq!(world.added(name, bytes), "", "{name}");
    }
    let note = world.added("gbk.csv", gbk);
    assert!(note.contains("read as gb18030, which is a guess"), "{note}");
    let (_, users, _) = world.run(&["admin", "--json", "user", "list"]);
    assert_eq!(users, "[]\n");
}

#[test]
fn what_cannot_be_imported_is_told_by_line_with_what_to_do() {
    let world = World::new();
    for (bytes, part) in [
        (
            &b"name,nick\nrene,Ren\xe9\n"[..],
            "line 2 has the byte 0xE9",
        ),
        (
            b"name,nick,login\na,b,c\n",
            "column \"login\" is given twice",
        ),
        (
            "name\nnn\u{202e}a\n".as_bytes(),
            "line 2: name has U+202E, a mark of direction",
        ),
        (
            "name,nick\nann,A\u{200b}nn\n".as_bytes(),
            "line 2: nick has U+200B, an invisible character",
        ),
        (
            b"name,password\nann,0123456789abcdef0123456789abcdef\n",
            "line 2: password looks like an MD5 hash",
        ),
        (
            b"name\nNed\nned\n",
            "line 3: name \"ned\" differs only in case",
        ),
        (
            b"name,status\nann,fired\n",
            "line 2: status must be one of active",
        ),
    ] {
        let (code, _, complaint) = world.import("bad.csv", bytes, &[]);
        assert!(code == 1 && complaint.contains(part), "{part}: {complaint}");
    }
    let latin = b"name,nick\nrene,Ren\xe9\n";
    let (code, said, _) = world.import("latin.csv", latin, &["--encoding", "windows-1252"]);
    assert!(code == 0 && said.starts_with("1 added"), "{said}");
}

/// The tables of an original database, as `mysql --batch` writes them.
#[test]
fn an_md5_beside_its_salt_is_a_hash_and_departments_come_by_their_table() {
    let world = World::new();
    let departments = world.dir.path().join("departments.tsv");
    let table = "id\tdepartName\tpriority\tparentId\tstatus\tcreated\tupdated\n\
                 1\tCompany\t1\t0\t0\t1\t1\n2\tLab\t1\t1\t0\t1\t1\n";
    std::fs::write(&departments, table).unwrap();
    let users = "id\tsex\tname\tdomain\tnick\tpassword\tsalt\tphone\temail\tavatar\tdepartId\tstatus\t\
                 created\tupdated\tpush_shield_status\tsign_info\n\
                 7\t1\tben\tben\tBen\tebd291c31af7a8496cfd0a94f89b757b\t4321\t\t\tNULL\t2\t0\t1\t1\t0\t\n";
    let more = ["--departments", departments.to_str().unwrap()];
    let (code, said, complaint) = world.import("users.tsv", users.as_bytes(), &more);
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(
        said,
        "1 added, 0 updated, 0 unchanged, 2 departments added\n"
    );
    let (_, list, _) = world.run(&["admin", "user", "list"]);
    assert!(
        list.contains("7   ben   Ben   active  Company/Lab"),
        "{list}"
    );
}

#[test]
fn a_dry_run_tells_field_by_field_and_the_report_file_has_everything() {
    let world = World::new();
    let file = b"name,nick,department\nann,Ann,Company\nben,Ben,Company\n";
    assert_eq!(world.import("people.csv", file, &[]).0, 0);
    let report = world.dir.path().join("report.txt");
    let changed = b"name,nick,department\nann,Anna,Company/Lab\nben,Ben,Company\ncy,,\n";
    let more = ["--dry-run", "--report", report.to_str().unwrap()];
    let (code, said, _) = world.import("people.csv", changed, &more);
    let expected = "line 2: changed ann  nick \"Ann\" → \"Anna\"; department \"Company\" → \"Company/Lab\"\n\
                    line 4: added cy\n\
                    dry run, nothing imported: 1 added, 1 updated, 1 unchanged, 1 departments added\n";
    assert_eq!((code, said.as_str()), (0, expected));
    assert_eq!(std::fs::read_to_string(&report).unwrap(), expected);
    let (_, list, _) = world.run(&["admin", "user", "list", "ann"]);
    assert!(list.contains("Ann ") && !list.contains("Anna"), "{list}");
}

#[test]
fn a_list_says_when_it_leaves_people_out() {
    let world = World::new();
    let file = b"name\nu0\nu1\nu2\nu3\nu4\n";
    assert_eq!(world.import("people.csv", file, &[]).0, 0);
    let (_, said, note) = world.run(&["admin", "user", "list", "--limit", "2"]);
    assert_eq!(said.lines().count(), 3);
    let cursor = note
        .strip_prefix("there are more: the same with --cursor ")
        .and_then(|rest| rest.strip_suffix(" goes on\n"))
        .unwrap();
    let list = ["admin", "user", "list", "--cursor", cursor];
    let (_, said, note) = world.run(&list);
    assert_eq!((said.lines().count(), note.as_str()), (4, ""));
    // A cursor goes on with its own list only.
    let (code, _, note) = world.run(&[&list[..], &["u"]].concat());
    assert!(
        code == 1 && note.contains("not that of this list"),
        "{note}"
    );
}

#[test]
fn why_somebody_cannot_log_in_is_told_to_the_administrator() {
    let world = World::new();
    let file = b"name,password,status\nann,secret,regular\n";
    assert_eq!(world.import("people.csv", file, &[]).0, 0);
    let password = world.dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let url = format!("http://{}", world.server.address("login", "http"));
    let mut check = imd(&["check", "ann", "ben", "--within", "2", "--server", &url]);
    check.arg("--password-file").arg(&password);
    assert_eq!(finish(check).0, 1);
    let (_, said, _) = world.run(&["admin", "user", "refusals", "ann"]);
    assert!(said.contains("not active"), "{said}");
    let (_, said, _) = world.run(&["admin", "user", "refusals", "nobody"]);
    assert_eq!(said, "no login with this name was refused lately\n");
    let mut set = imd(&["admin", "user", "set-password", "ann"]);
    set.arg("--password-file").arg(&password);
    set.arg("--data-dir").arg(world.dir.path().join("data"));
    let (_, said, _) = finish(set);
    assert_eq!(
        said,
        "password of ann (#1) set; they cannot log in, because their status is regular\n"
    );
}

#[test]
fn people_groups_and_departments_are_renamed_and_removed() {
    let world = World::new();
    let file = b"name,department\nann,Company/Salse\nben,Company\n";
    assert_eq!(world.import("people.csv", file, &[]).0, 0);
    let ok = |args: &[&str]| {
        let (code, said, complaint) = world.run(args);
        assert_eq!(code, 0, "{args:?}: {complaint}");
        said
    };
    let said = ok(&["admin", "department", "rename", "Company/Salse", "Sales"]);
    assert!(said.contains("Company/Sales"), "{said}");
    let said = ok(&["admin", "user", "rename", "ann", "anna"]);
    assert!(said.contains("anna"), "{said}");
    ok(&[
        "admin", "group", "create", "Team", "--owner", "anna", "--member", "ben",
    ]);
    let said = ok(&["admin", "group", "rename", "1", "Crew"]);
    assert!(said.contains("Crew"), "{said}");
    let said = ok(&["admin", "user", "remove", "ben", "--dry-run"]);
    assert_eq!(said, "ben (#2) would be removed, from 1 groups too\n");
    let said = ok(&["admin", "user", "remove", "ben"]);
    assert_eq!(
        said,
        "removed, and out of 1 groups; the account is ben#2 now\n"
    );
    let said = ok(&[
        "admin",
        "department",
        "remove",
        "Company/Sales",
        "--into",
        "Company",
    ]);
    assert!(said.starts_with("removed:"), "{said}");
    ok(&["admin", "group", "dissolve", "1"]);
    let said = ok(&["admin", "--json", "group", "list"]);
    assert_eq!(said, "[]\n");
}

#[test]
fn the_store_is_private_also_in_a_folder_that_existed_and_an_open_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let set_mode = |mode| {
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(&data).unwrap();
    set_mode(0o777);
    let refused = imd(&["all-in-one", "--data-dir", data.to_str().unwrap()]);
    let (code, _, said) = finish(refused);
    assert!(
        code == 1 && said.contains("may be written by others") && said.contains("mode 777"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    set_mode(0o755);
    let _server = start(&data);
    let mut seen = 0;
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let name = entry.file_name();
        // Where the administrators' port is, is no secret.
        if name != "admin-address" {
            let is_folder = entry.metadata().unwrap().is_dir();
            let expected = if is_folder { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{name:?}");
            seen += 1;
        }
    }
    assert!(seen >= 7, "{seen} files");
}

#[test]
fn a_tool_waits_for_a_server_that_is_just_starting_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let people = dir.path().join("people.csv");
    std::fs::write(&people, "name\nann\n").unwrap();
    let mut import = imd(&[
        "directory",
        "import",
        people.to_str().unwrap(),
        "--wait",
        "60",
    ]);
    import.arg("--data-dir").arg(&data);
    import.stdout(std::process::Stdio::piped());
    import.stderr(std::process::Stdio::piped());
    let mut child = import.spawn().unwrap();
    // It has said that it waits, so it was there before the server.
    let mut line = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(
        line.starts_with("waiting up to 60 s for the server: "),
        "{line}"
    );
    let _server = start(&data);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 added, 0 updated, 0 unchanged, 0 departments added\n"
    );
}

#[test]
fn a_tool_gives_up_on_a_server_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin-secret"), "0123456789abcdef").unwrap();
    let list = |dir: &Path, server: &str| {
        let mut list = imd(&["admin", "user", "list", "--wait", "0", "--server", server]);
        list.arg("--data-dir").arg(dir);
        finish(list)
    };
    let (code, _, said) = list(dir.path(), "127.0.0.1:9");
    assert!(
        code == 1 && said.contains("reach db-proxy at 127.0.0.1:9"),
        "{said}"
    );
}

/// Whoever chats names groups and programs as they like; an administrator's terminal obeys none of it.
#[test]
fn names_of_chat_users_are_harmless_and_keep_their_row() {
    let world = World::new();
    assert_eq!(
        world.import("people.csv", b"name,password\nann,a\n", &[]).0,
        0
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let url = format!("http://{}", world.server.address("login", "http"));
    let mut config = ClientConfig::new(url.as_str(), "ann", Password::clear("a"));
    config.client_version = "v\u{1b}]0;owned\u{7}".to_owned();
    let (client, _events) = runtime.block_on(Client::connect(config)).unwrap();
    let me = UserId::from_wire(client.user_id()).unwrap();
    let name = "\u{1b}[2J\u{1b}[31mred\nline\u{202e}";
    let members = [me];
    let made = client.create_group(name, "", &members);
    assert_eq!(runtime.block_on(made).unwrap().result_code, 0);

    let unseen = |text: &str| {
        text.chars()
            .any(|c| c != '\n' && im_core::text::is_unseen(c))
    };
    for args in [["admin", "group", "list"], ["admin", "session", "list"]] {
        let (code, said, _) = world.run(&args);
        assert_eq!((code, said.lines().count()), (0, 2), "{said:?}");
        assert!(said.contains("\\u{1b}") && !unseen(&said), "{said:?}");
    }
    let (_, said, _) = world.run(&["admin", "--json", "group", "list"]);
    assert!(!unseen(&said), "{said:?}");
    let groups: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(groups[0]["name"], name);
    runtime.block_on(client.close());
}

#[test]
fn a_msg_server_of_the_same_process_is_where_the_client_came() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut args = vec!["all-in-one", "--data-dir", data.to_str().unwrap()];
    args.extend(PORTS);
    args.extend(["--bind", "127.0.0.3", "--set", "msg.public_ip1=*"]);
    let server = Server::start(&args, &dir.path().join("ready"));
    let answer = get(&server.address("login", "http"), "/msg_server");
    assert!(answer.contains("\"priorIP\" : \"127.0.0.3\""), "{answer}");
}
