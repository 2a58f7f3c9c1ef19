//! Moving from an original TeamTalk: its database in MariaDB, taken over into either store by `imd import-teamtalk`; then
//! clients find what they had (S-67).

use std::io::Write as _;
use std::process::{Command as Program, Stdio};

use im_e2e::old_database::{EXPECTED, GROUP, LATER, OldDatabase, SOUND, SOUND_FILE, STORY, later};
use im_e2e::process::imd_binary;
use im_e2e::wait;
use serde_json::Value;

use super::*;
use crate::history::list;

/// Messages of the crowd: more than some transactions.
const CROWD: u32 = 6_000;
/// All that are taken over.
const ALL: u64 = STORY + 6_000;

/// An original's database beside that of the store, its folder of sounds, and its unread counts.
struct Old {
    mariadb: MariaDb,
    dir: tempfile::TempDir,
}

impl Old {
    async fn new() -> Self {
        let mariadb = MariaDb::start().await.unwrap();
        mariadb.make_database("teamtalk").unwrap();
        let old = OldDatabase {
            people: 40,
            groups: 6,
            messages: CROWD,
        };
        mariadb.run("teamtalk", |out| old.write(out)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let sound = dir.path().join("msfs").join(SOUND_FILE);
        std::fs::create_dir_all(sound.parent().unwrap()).unwrap();
        std::fs::write(sound, SOUND).unwrap();
        // Of the newest: two of person 1 to person 2, one in the group; and the group is silent for person 2.
        let keys = "unread_2 1 2\n1_im_group_msg count 4\n2_1_im_user_group count 3\ngroup_set_1 2_1 1\nunread_2 777 1\n";
        std::fs::write(dir.path().join("keys"), keys).unwrap();
        Self { mariadb, dir }
    }

    fn statements(&self, text: &str) {
        let run = self
            .mariadb
            .run("teamtalk", |out| out.write_all(text.as_bytes()));
        run.unwrap();
    }

    /// `imd import-teamtalk` from it.
    fn import(&self, into: &[String], more: &[&str]) -> Program {
        let mut program = Program::new(imd_binary().unwrap());
        let password = self.mariadb.password_file();
        program
            .args(["import-teamtalk", "--json", "--from"])
            .arg(self.mariadb.url_of("teamtalk"))
            .arg("--from-password-file")
            .arg(password)
            .arg("--files")
            .arg(self.dir.path().join("msfs"))
            .arg("--redis")
            .arg(self.dir.path().join("keys"))
            .args(into.iter().flat_map(|set| ["--set", set.as_str()]))
            .args(more)
            .stdin(Stdio::null());
        program
    }

    /// The same to its end: whether all was well, the report, and what it said on the way.
    fn imported(&self, into: &[String], more: &[&str]) -> (bool, Value, String) {
        let ended = self.import(into, more).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let report = serde_json::from_slice(&ended.stdout);
        (
            ended.status.success(),
            report.unwrap_or_else(|error| panic!("{error}: {said}")),
            said,
        )
    }

    fn sqlite(&self, name: &str) -> Vec<String> {
        let place = self.dir.path().join(name);
        vec![format!("store.url=\"sqlite://{}\"", place.display())]
    }
}

fn count(report: &Value, name: &str) -> u64 {
    report["counts"][name].as_u64().unwrap()
}

fn assert_oddities(report: &Value) {
    let found = report["oddities"].as_array().unwrap();
    let found = found.iter().map(|odd| {
        assert!(!odd["examples"].as_array().unwrap().is_empty(), "{odd}");
        (
            odd["kind"].as_str().unwrap().to_owned(),
            odd["count"].as_u64().unwrap(),
        )
    });
    let found: std::collections::BTreeMap<String, u64> = found.collect();
    let expected = EXPECTED.map(|(kind, count)| (kind.to_owned(), count));
    let unknown = [("unknown_count".to_owned(), 1)];
    let expected = expected.into_iter().chain(unknown).collect();
    assert_eq!(found, expected);
}

fn assert_same(report: &Value, messages: u64) {
    let found = &report["verification"];
    assert_eq!(
        (&found["different"], &found["whole"]),
        (&0.into(), &true.into()),
        "{found}"
    );
    assert_eq!(found["messages"], messages);
}

/// What person 2 finds, who had all of the story.
async fn finds_everything(settings: &[String], later: bool) {
    let mut platform = Platform::all_in_one(options(0, settings)).await.unwrap();
    let msg = platform.msg_address("all");
    let mut two = Terminal::login(msg, 2, Windows).await;
    let history = list(&mut two, with_user(1), 0, 20).await.msg_list;
    let texts: Vec<String> = history
        .iter()
        .rev()
        .map(|message| clear_text(&message.msg_data))
        .collect();
    let mut expected = vec!["old 1", "new 1", "old 2", "new 2", "old 3"];
    if later {
        expected.push("later in a merged pair");
    }
    assert_eq!(texts, expected);
    let ids: Vec<u32> = history.iter().rev().map(|message| message.msg_id).collect();
    assert_eq!(
        ids,
        (1..=u32::try_from(expected.len()).unwrap()).collect::<Vec<_>>()
    );
    let audio = list(&mut two, with_user(3), 4, 1).await.msg_list;
    assert_eq!(audio[0].msg_data[..4], 7_u32.to_be_bytes());
    assert_eq!(&audio[0].msg_data[4..], SOUND);
    expect_unread(&mut two, with_user(1), 2).await;
    expect_unread(&mut two, with_user(3), 0).await;
    if !later {
        expect_unread(&mut two, in_group(1), 1).await;
    }
    assert_eq!(infos(&mut two, &[(1, 0)]).await[0].group_name, GROUP);
    // Who came later sees what came then; who has left sees nothing.
    let mut four = Terminal::login(msg, 4, Windows).await;
    let newest = if later { 5 } else { 4 };
    assert_eq!(
        ids_of(&mut four).await,
        (3..=newest).rev().collect::<Vec<_>>()
    );
    let mut three = Terminal::login(msg, 3, Windows).await;
    assert_eq!(ids_of(&mut three).await, [0_u32; 0]);
    // It goes on behind what was there.
    assert_eq!(four.say(in_group(1), "and now").await.msg_id, newest + 1);
    let ack = two.say(with_user(1), "and now").await;
    assert_eq!(ack.msg_id, u32::try_from(expected.len()).unwrap() + 1);
    // The old password has become a better hash, which a login finds again.
    drop(two);
    Terminal::login(msg, 2, Windows).await;
}

async fn ids_of(terminal: &mut Terminal) -> Vec<u32> {
    ids(terminal, in_group(1), 0, 20).await
}

pub(super) fn clear_text(data: &[u8]) -> String {
    let clear = im_codec::text::TextCipher::default().decrypt(data).unwrap();
    String::from_utf8(clear).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn people_log_in_with_their_old_passwords_and_find_what_they_had() {
    let old = Old::new().await;
    let into = old.sqlite("new");
    let (good, report, _) = old.imported(&into, &["--dry-run"]);
    assert!(good && report["dry_run"] == true, "{report}");
    assert_eq!(
        (count(&report, "messages"), count(&report, "accounts")),
        (0, 44)
    );
    assert!(!old.dir.path().join("new").try_exists().unwrap());

    let (good, report, said) = old.imported(&into, &[]);
    assert!(good, "{report:#} {said}");
    assert_eq!(
        (count(&report, "messages"), count(&report, "renumbered")),
        (ALL, 10)
    );
    assert_eq!((count(&report, "groups"), count(&report, "unread")), (8, 2));
    assert_oddities(&report);
    assert_same(&report, ALL);
    assert!(said.contains("comparing both sides"), "{said}");

    // Run again: nothing; after the original has gone on: what is new.
    let (good, report, _) = old.imported(&into, &[]);
    assert!(good && report["resumed"] == true, "{report}");
    assert_eq!((count(&report, "messages"), count(&report, "rows")), (0, 0));
    old.statements(&later());
    let (good, report, _) = old.imported(&into, &[]);
    assert!(good, "{report}");
    assert_eq!(count(&report, "messages"), LATER);
    assert_same(&report, ALL + LATER);

    // A row that somebody changes is found, in its conversation.
    old.statements("UPDATE IMMessage_3 SET created = 7 WHERE relateId = 3 AND msgId = 2;");
    let (good, report, _) = old.imported(&into, &["--verify-only"]);
    assert!(!good, "{report}");
    let differences = report["verification"]["examples"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{report}");
    assert_eq!(differences[0]["conversation"], "people 1 and 3");
    finds_everything(&into, true).await;
    let used = old.import(&into, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&used.stderr).into_owned();
    assert!(
        !used.status.success() && said.contains("take a new store"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn an_import_that_is_killed_goes_on_where_it_was() {
    let old = Old::new().await;
    let into = old.mariadb.settings();
    let log = old.dir.path().join("log");
    let out = std::fs::File::create(&log).unwrap();
    let mut first = old.import(&into, &["--rows", "100"]);
    let mut first = first.stdout(Stdio::null()).stderr(out).spawn().unwrap();
    let begun = wait::until("messages", END, || async {
        let said = std::fs::read_to_string(&log).ok()?;
        said.contains("messages: ").then_some(())
    });
    begun.await.unwrap();
    first.kill().unwrap();
    first.wait().unwrap();

    let (good, report, said) = old.imported(&into, &[]);
    assert!(good && report["resumed"] == true, "{report:#} {said}");
    let rest = count(&report, "messages");
    assert!(rest > 0 && rest < ALL, "{rest}");
    assert_same(&report, ALL);
    finds_everything(&into, false).await;
}
