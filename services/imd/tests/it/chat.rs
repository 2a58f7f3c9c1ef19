//! The terminal client, as a person and as a script use it.

mod files;

use std::io::Write as _;
use std::process::Stdio;

use crate::platform::{start_with, tool};
use crate::world::{Server, imd};

/// A platform with Ann, Ben and two people called Alex; everybody's password is "secret".
struct World {
    dir: tempfile::TempDir,
    server: Server,
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    /// The same with more arguments.
    fn with(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = start_with(&dir.path().join("data"), more);
        let people = dir.path().join("people.csv");
        let text = "name,password,nick\nann,secret,Ann\nben,secret,Ben\n\
                    alex1,secret,Alex\nalex2,secret,Alex\n";
        std::fs::write(&people, text).unwrap();
        std::fs::write(dir.path().join("password"), "secret\n").unwrap();
        let world = Self { dir, server };
        world.admin(&["directory", "import", people.to_str().unwrap()]);
        world
    }

    fn admin(&self, args: &[&str]) -> String {
        let (code, said, complaint) = tool(&self.server, &self.dir.path().join("data"), args);
        assert_eq!(code, 0, "{complaint}");
        said
    }

    /// `imd chat` or `imd script` with this input: whether it succeeded, and what it said.
    fn run(&self, args: &[&str], input: &[u8]) -> (bool, String) {
        let url = format!("http://{}", self.server.address("login", "http"));
        let mut command = imd(args);
        command.args(["--server", &url]);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may have ended because of a line before.
        drop(stdin.write_all(input));
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// A chat whose input is a pipe: its first line is the password.
    fn chat(&self, user: &str, lines: &[u8]) -> String {
        let (good, text) = self.run(&["chat", user], &[b"secret\n", lines].concat());
        assert!(good, "{text}");
        text
    }

    fn script(&self, user: &str, lines: &str) -> (bool, String) {
        let password = self.dir.path().join("password");
        let args = [
            "script",
            user,
            "--password-file",
            password.to_str().unwrap(),
        ];
        self.run(&args, lines.as_bytes())
    }
}

#[test]
fn what_the_server_would_drop_is_refused_at_once_and_the_chat_goes_on() {
    let world = World::new();
    let long = "x".repeat(300_000);
    let lines = format!("/with ann\nnote\n/with ben\n{long}\nhello\n");
    let begun = tokio::time::Instant::now();
    let text = world.chat("ann", lines.as_bytes());
    assert!(
        begun.elapsed().as_secs() < 30,
        "nothing waits for an ack in vain"
    );
    assert!(
        text.contains("this conversation is with yourself"),
        "{text}"
    );
    assert!(
        text.contains("the text has 300000 bytes, a message takes at most"),
        "{text}"
    );
    assert!(text.contains("✓ hello (stored as 1)"), "{text}");
    let (good, text) = world.script("ann", &format!("/with ben\n{long}\n"));
    assert!(!good && text.len() < 1_000, "the line is not repeated");
}

#[test]
fn unread_messages_of_somebody_who_left_can_be_opened() {
    let world = World::new();
    assert!(world.script("ben", "/with ann\nmy last word\n").0);
    world.admin(&["admin", "user", "disable", "ben"]);
    for name in ["ben", "#2"] {
        let text = world.chat("ann", format!("/with {name}\n/history\n").as_bytes());
        assert!(
            text.contains("talking to Ben") && text.contains("my last word"),
            "{text}"
        );
    }
    let text = world.chat("ann", b"/unread\n");
    assert!(text.contains("nothing unread"), "{text}");
}

#[test]
fn a_new_group_is_listed_at_the_next_login_before_anybody_writes() {
    let world = World::new();
    assert!(world.script("ann", "/create \"The team\" ben\n").0);
    for user in ["ann", "ben"] {
        let (good, text) = world.script(user, "/groups\n/group The team\n");
        assert!(good && text.contains("#1 The team, 2 members"), "{text}");
    }
    // And so does who is added later.
    assert!(world.script("ann", "/group The team\n/add alex1\n").0);
    let (good, text) = world.script("alex1", "/group The team\n");
    assert!(good && text.contains("talking to The team"), "{text}");
}

#[test]
fn a_line_that_is_not_utf_8_is_told_and_the_chat_goes_on() {
    let world = World::new();
    let text = world.chat("ann", b"/with ben\n\xc4\xe3\xba\xc3\n  indented\n");
    assert!(
        text.contains("line 2 is no UTF-8 and was not sent"),
        "{text}"
    );
    assert!(text.contains("indented (stored as 1)"), "{text}");
    let (_, text) = world.script("ben", "/with ann\n");
    assert!(
        text.contains(":   indented"),
        "blanks before a line stay: {text}"
    );
}

#[test]
fn two_people_of_one_nick_are_told_apart() {
    let world = World::new();
    assert!(world.script("alex1", "/with ann\none\n").0);
    assert!(world.script("alex2", "/with ann\ntwo\n").0);
    let text = world.chat("ann", b"/with alex2\n");
    assert!(
        text.contains("1 unread from Alex (alex1)") && text.contains("talking to Alex (alex2)"),
        "{text}"
    );
}

#[test]
fn a_wrong_password_says_who_knows_the_reason() {
    let world = World::new();
    let (good, text) = world.run(&["chat", "ann"], b"wrong\n");
    assert!(
        !good && text.contains("imd admin user refusals ann"),
        "{text}"
    );
    assert!(!text.contains("wrong\n"), "{text}");
    let said = world.admin(&["admin", "user", "refusals", "ann"]);
    assert!(said.contains("wrong password"), "{said}");
}

#[test]
fn history_goes_back_page_by_page_to_the_first_message() {
    let world = World::new();
    let lines: Vec<String> = (1..=250).map(|n| format!("text {n}")).collect();
    let lines = lines.join("\n");
    assert!(world.script("ann", &format!("/with ben\n{lines}")).0);
    let shown = |lines: &str| {
        let (good, text) = world.script("ben", &format!("/with ann\n{lines}"));
        assert!(good, "{text}");
        let texts = text.lines().filter_map(|line| line.split_once(": text "));
        texts
            .map(|(_, number)| number.parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    // Whatever was unread comes first, whole.
    assert_eq!(shown(""), (1..=250).collect::<Vec<_>>());
    // A read mark has no answer: it may be on its way when the next session asks.
    let is_read = || world.chat("ben", b"/unread\n").contains("nothing unread");
    assert!((0..100).any(|_| is_read()), "it was read");
    let mut expected: Vec<u32> = (226..=250).collect();
    expected.extend(206..=225);
    expected.extend(1..=205);
    assert_eq!(shown("/history 25\n/older\n/older 1000\n"), expected);
    let (_, text) = world.script("ben", "/with ann\n/older 10000\n/older\n");
    assert!(text.contains("-- nothing is older"), "{text}");
    let text = world.chat("ben", b"/with ann\n/history 10001\n");
    assert!(text.contains("1 to 10000 messages at a time"), "{text}");
}
