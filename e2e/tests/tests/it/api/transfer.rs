//! Files of people over HTTP: in, out, and what is refused.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::calls::{Call, get, problem};
use super::whole;
use crate::pictures::web::{Answer, Connection};
use crate::support::*;

fn import(token: &str, query: &str, kind: &str, file: &[u8]) -> Call {
    let path = format!("/api/v1/users:import{query}");
    Call::new("POST", &path).token(token).raw(kind, file)
}

/// The body of an answer that came in chunks, as long as its last chunk came.
fn whole_body(answer: &Answer) -> String {
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let (mut rest, mut body) = (&*answer.body, Vec::new());
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return String::from_utf8(body).unwrap();
        }
        body.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

/// The lines of an import's answer.
async fn lines(api: SocketAddr, call: &Call) -> Vec<Value> {
    let answer = call.expect(api, 200).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let body = whole_body(&answer);
    let lines = body.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// The report of an import.
async fn report(api: SocketAddr, call: &Call) -> Value {
    let mut lines = lines(api, call).await;
    lines.pop().unwrap()["report"].take()
}

/// The refusal of an import while another one is under way.
pub(super) async fn refused_beside_another(api: SocketAddr, token: &str) -> Answer {
    let begun = import(token, "", "text/csv", &[b'x'; 1_000]).bytes();
    let begun = &begun[..begun.len() - 1];
    im_e2e::wait::until("a second import is refused", WAIT, || async {
        let mut first = Connection::open(api).await;
        first.write(begun).await;
        let second = import(token, "?dry_run=true", "text/csv", b"name\nx\n");
        let answer = second.send(api).await;
        (answer.status == 409).then_some(answer)
    })
    .await
    .unwrap()
}

/// S-68: people come in as a file and can log in, go out as a file in each form, and that file changes
/// nothing when it comes in again.
#[tokio::test]
async fn people_come_in_as_a_file_and_what_goes_out_changes_nothing_when_it_comes_in() {
    let (mut platform, api, token) = whole(2, &[]).await;
    let file = "login;password;nick;Gender;department\n\
                ann;a good one;\"Ann; the first\";female;Company/Archive\n\
                ben;;Ben;;\n";
    let call = import(&token, "", "text/csv; charset=utf-8", file.as_bytes());
    let done = report(api, &call).await;
    assert_eq!(
        (&done["applied"], &done["added"], &done["departments_added"]),
        (&json!(true), &json!(2), &json!(1))
    );
    let mut terminal = Terminal::connect(platform.msg_address("all")).await;
    let mut login = login_request(1, Windows);
    "ann".clone_into(&mut login.user_name);
    login.password = Password::clear("a good one").as_wire().to_owned();
    let known = terminal.try_login(&login).await.user_info.unwrap();
    assert_eq!(known.user_nick_name, "Ann; the first");

    for (query, kind) in [
        ("", "text/csv"),
        ("?format=csv", "text/csv"),
        ("?format=yaml", "application/yaml"),
        ("?format=ndjson", "application/x-ndjson"),
    ] {
        let out = get(&format!("/api/v1/users:export{query}")).token(&token);
        let out = out.expect(api, 200).await;
        assert!(out.header("content-type").unwrap().starts_with(kind));
        let out = whole_body(&out);
        assert!(
            out.contains("Company/Archive") && !out.contains("a good one"),
            "{out}"
        );
        let again = report(api, &import(&token, "", kind, out.as_bytes())).await;
        assert_eq!(
            (&again["added"], &again["updated"], &again["unchanged"]),
            (&json!(0), &json!(0), &json!(4)),
            "{kind}: {again}"
        );
    }
    let audit = get("/api/v1/audit?limit=1").token(&token);
    let audit = audit.expect(api, 200).await.json();
    assert_eq!(audit["items"][0]["action"], "ImportDirectory");
    assert_eq!(audit["items"][0]["actor"], "tests");
}

/// A dry run says what would happen, field by field, and nothing does.
#[tokio::test]
async fn a_dry_run_tells_every_change_and_makes_none() {
    let (_platform, api, token) = whole(1, &[]).await;
    let file =
        "{\"name\": \"u1\", \"nick\": \"Somebody\"}\n{\"name\": \"new\", \"password\": \"x\"}\n";
    let dry = import(
        &token,
        "?dry_run=true",
        "application/x-ndjson",
        file.as_bytes(),
    );
    let lines = lines(api, &dry).await;
    let changes = lines.iter().filter_map(|line| line["changes"].as_array());
    let changes: Vec<&Value> = changes.flatten().collect();
    let find = |name: &str| changes.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(find("u1")["added"], false);
    assert_eq!(find("u1")["fields"][0]["field"], "nick");
    assert_eq!(find("u1")["fields"][0]["after"], "Somebody");
    assert_eq!(
        (&find("new")["added"], &find("new")["line"]),
        (&json!(true), &json!(2))
    );
    let report = &lines.last().unwrap()["report"];
    assert_eq!(
        (
            &report["applied"],
            &report["dry_run"],
            &report["added"],
            &report["updated"]
        ),
        (&json!(false), &json!(true), &json!(1), &json!(1))
    );
    let gone = get("/api/v1/users/new").token(&token);
    gone.expect(api, 404).await;
    let same = get("/api/v1/users/u1").token(&token).expect(api, 200).await;
    assert_ne!(same.json()["nick"], "Somebody");
}

/// A file with bad lines changes nothing, whoever finds them: the reader of the file or db-proxy.
#[tokio::test]
async fn a_file_with_bad_lines_is_refused_and_each_is_named() {
    let (_platform, api, token) = whole(1, &[]).await;
    for (file, bad) in [
        (
            "name,sex\nann,x\nben,male\ncleo,y\n",
            vec!["line 2", "line 4"],
        ),
        ("name,status\nann,active\nben,nonsense\n", vec!["line 3"]),
        (
            "name,password\nann,0123456789abcdef0123456789abcdef\n",
            vec!["line 2"],
        ),
        ("nick\nAnn\n", vec!["line 1"]),
    ] {
        let refused = import(&token, "", "text/csv", file.as_bytes());
        let refused = refused.expect(api, 422).await;
        assert_eq!(problem(&refused), "invalid");
        let errors = refused.json()["errors"].clone();
        let errors = errors.as_array().unwrap();
        let named: Vec<&str> = errors
            .iter()
            .map(|it| it["field"].as_str().unwrap())
            .collect();
        assert_eq!(named, bad, "{file}");
    }
    get("/api/v1/users/ann")
        .token(&token)
        .expect(api, 404)
        .await;
    let latin = import(&token, "", "text/csv", b"name,nick\nann,G\xe9rard\n");
    let latin = latin.expect(api, 422).await.json();
    assert!(
        latin["detail"].as_str().unwrap().contains("charset"),
        "{latin}"
    );
    let latin = "text/csv; charset=windows-1252";
    let named = import(&token, "", latin, b"name,nick\nann,G\xe9rard\n");
    report(api, &named).await;
    let ann = get("/api/v1/users/ann")
        .token(&token)
        .expect(api, 200)
        .await;
    assert_eq!(ann.json()["nick"], "G\u{e9}rard");
}

/// Files are taken to the bound, one at a time, and what was begun and left is no hindrance.
#[tokio::test]
async fn files_are_taken_to_the_bound_and_one_at_a_time() {
    let (_platform, api, token) = whole(0, &["http_api.max_import=1KiB"]).await;
    let file = |bytes: usize| {
        let mut file = b"name,nick\nann,Ann\n".to_vec();
        file.resize(bytes, b'\n');
        import(&token, "?dry_run=true", "text/csv", &file)
    };
    let refused = file(1_025).expect(api, 413).await;
    assert_eq!(problem(&refused), "body-too-large");
    file(1_024).expect(api, 200).await;
    let refused = refused_beside_another(api, &token).await;
    assert_eq!(problem(&refused), "conflict");
    im_e2e::wait::until("the next import is taken", WAIT, || async {
        let next = import(&token, "?dry_run=true", "text/csv", b"name\nx\n");
        (next.send(api).await.status == 200).then_some(())
    })
    .await
    .unwrap();
}

/// The answer comes while passwords are hashed, and says how far it is.
#[tokio::test]
async fn an_import_with_many_passwords_tells_how_far_it_is() {
    let (_platform, api, token) = whole(0, &[]).await;
    let mut file = "name,password\n".to_owned();
    for person in 0..70 {
        file.push_str(&format!("p{person},a good one {person}\n"));
    }
    let call = import(&token, "", "text/csv", file.as_bytes());
    let lines = lines(api, &call).await;
    let told = lines.iter().filter(|line| line["to_hash"] == 70);
    let told: Vec<u64> = told.map(|line| line["hashed"].as_u64().unwrap()).collect();
    assert_eq!(told, [32, 64]);
    assert_eq!(lines.last().unwrap()["report"]["added"], 70);
}

/// A file of fifty thousand people: a dry run counts them and adds nobody, the next run adds all of them, and once more
/// it changes nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_lines_are_judged_added_and_then_unchanged() {
    const PEOPLE: u32 = 50_000;
    let (_platform, api, token) = whole(0, &[]).await;
    let mut file = "name,nick,department\n".to_owned();
    for person in 0..PEOPLE {
        file.push_str(&format!(
            "p{person},Person {person},Company/{}\n",
            person % 50
        ));
    }
    let counts = |report: &Value| {
        let count = |key: &str| report[key].as_u64().unwrap();
        [count("added"), count("updated"), count("unchanged")]
    };
    let all = u64::from(PEOPLE);
    for (query, expected) in [
        ("?dry_run=true", [all, 0, 0]),
        ("", [all, 0, 0]),
        ("", [0, 0, all]),
    ] {
        let begin = Instant::now();
        let call = import(&token, query, "text/csv", file.as_bytes());
        let report = report(api, &call).await;
        println!("{query:?}: {:?}", begin.elapsed());
        assert_eq!(counts(&report), expected, "{query}: {report}");
        let last = format!("/api/v1/users/p{}", PEOPLE - 1);
        let status = if query.is_empty() { 200 } else { 404 };
        get(&last).token(&token).expect(api, status).await;
    }
}
