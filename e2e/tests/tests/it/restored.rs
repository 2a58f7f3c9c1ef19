//! What clients see of a platform that was restored from a backup: ids that they may hold are not given
//! once more (I3).

mod blobs;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use im_e2e::platform::own_address;
use im_e2e::process::{Process, Spec, run_imd};
use im_e2e::traffic::{Plan, Traffic};

use crate::history::{expect_unread, ids, latest, read, recents, unread};
use crate::support::*;

/// What a restore skips unless told otherwise.
const SKIPPED: u32 = 100_000;

/// Copies the store of a platform that runs.
fn back_up(platform: &Platform, to: &str) -> String {
    let copy = platform.dir().join(to).display().to_string();
    let data = platform.data_dir().display().to_string();
    run_imd(
        platform.dir(),
        &["backup", "--data-dir", &data, "--to", &copy],
    )
    .unwrap();
    copy
}

/// A platform on a restored data directory.
pub(crate) struct Restored {
    process: Process,
    pub(crate) address: SocketAddr,
    place: String,
}

impl Restored {
    /// Restores a backup into `dir/name`, with further arguments, and starts everything on it.
    pub(crate) async fn start(dir: &Path, name: &str, copy: &str, args: &[&str]) -> Self {
        Self::start_beside(dir, name, copy, args, |_| {}).await
    }

    /// The same, with what else belongs into the data directory before the start.
    async fn start_beside(
        dir: &Path,
        name: &str,
        copy: &str,
        args: &[&str],
        put: impl FnOnce(&Path),
    ) -> Self {
        let place = dir.join(name).display().to_string();
        let restore = ["restore", "--data-dir", &place, "--from", copy];
        run_imd(dir, &[&restore, args].concat()).unwrap();
        put(place.as_ref());
        let own = own_address();
        let mut args = vec!["all-in-one".to_owned(), "--data-dir".to_owned()];
        args.extend([place.clone(), "--bind".to_owned(), own.to_string()]);
        for set in CHEAP_HASHES {
            args.extend(["--set".to_owned(), set.to_owned()]);
        }
        let mut process = Process::start(Spec {
            name: name.to_owned(),
            args,
            dir: dir.to_path_buf(),
            env: Vec::new(),
        })
        .unwrap();
        process.ready(Duration::from_mins(1)).await.unwrap();
        Self {
            process,
            address: (own, 8000).into(),
            place,
        }
    }

    fn back_up(&self, dir: &Path, to: &str) -> String {
        let copy = dir.join(to).display().to_string();
        run_imd(dir, &["backup", "--data-dir", &self.place, "--to", &copy]).unwrap();
        copy
    }
}

/// A backup at message 1, messages up to 6, a restore: the next message is none of those that a phone
/// holds, history leads over the gap without a hole, and nothing that was skipped counts as unread.
#[tokio::test]
async fn after_a_restore_a_new_message_has_an_id_that_no_phone_holds() {
    let mut platform = own_platform(2, &[]).await;
    let address = platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    assert_eq!(ann.say(with_user(2), "kept").await.msg_id, 1);
    let copy = back_up(&platform, "copy.db");
    let mut held = vec![1];
    for n in 2..=6 {
        held.push(ann.say(with_user(2), &format!("lost {n}")).await.msg_id);
    }
    platform.remove("all").unwrap().terminate().await.unwrap();

    let again = Restored::start(platform.dir(), "again", &copy, &[]).await;
    let mut ann = Terminal::login(again.address, 1, Windows).await;
    let mut phone = Terminal::login(again.address, 2, Android).await;
    // Before anything is written, nothing has changed for clients.
    assert_eq!(latest(&mut phone, with_user(1)).await, 1);
    expect_unread(&mut phone, with_user(1), 1).await;
    // The phone has read what it holds, of which the server knows one.
    read(&mut phone, with_user(1), 6).await;
    expect_unread(&mut phone, with_user(1), 0).await;

    let new = ann.say(with_user(2), "new").await.msg_id;
    assert_eq!(new, 1 + SKIPPED + 1);
    assert!(!held.contains(&new));
    let pushed = phone.message().await;
    assert_eq!((pushed.msg_id, text_of(&pushed).as_str()), (new, "new"));
    let next = ann.say(with_user(2), "next").await.msg_id;
    assert_eq!(next, new + 1);
    expect_unread(&mut phone, with_user(1), 2).await;
    // Also with a position inside the gap, as a client that reads what it holds sends it.
    read(&mut phone, with_user(1), 6).await;
    expect_unread(&mut phone, with_user(1), 2).await;
    let session = recents(&mut phone, 0).await.pop().unwrap();
    assert_eq!(session.latest_msg_id, next);
    assert_eq!(latest(&mut phone, with_user(1)).await, next);

    // Pages of two: the gap costs no page of its own, from wherever one comes.
    assert_eq!(ids(&mut phone, with_user(1), 0, 2).await, [next, new]);
    assert_eq!(ids(&mut phone, with_user(1), new - 1, 2).await, [1]);
    assert_eq!(ids(&mut phone, with_user(1), new, 2).await, [new, 1]);
    assert_eq!(ids(&mut phone, with_user(1), 6, 2).await, [1]);
    read(&mut phone, with_user(1), new).await;
    expect_unread(&mut phone, with_user(1), 1).await;
    // The sender has nothing to read.
    assert!(unread(&mut ann, with_user(2)).await.is_none());
}

/// Groups: those that the backup knows, those that it does not know, whose number is not given once
/// more, and people who join after the restore.
#[tokio::test]
async fn after_a_restore_groups_go_on_above_what_members_hold() {
    let mut platform = own_platform(4, &[]).await;
    let address = platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let old = make_group(&mut ann, "old", &[1, 2]).await;
    assert_eq!(ann.say(in_group(old), "kept").await.msg_id, 1);
    let copy = back_up(&platform, "copy.db");
    for n in 2..=4 {
        assert_eq!(ann.say(in_group(old), "lost").await.msg_id, n);
    }
    let lost = make_group(&mut ann, "lost", &[1, 2]).await;
    platform.remove("all").unwrap().terminate().await.unwrap();

    let again = Restored::start(platform.dir(), "again", &copy, &[]).await;
    let mut ann = Terminal::login(again.address, 1, Windows).await;
    let mut ben = Terminal::login(again.address, 2, Windows).await;
    let mut cleo = Terminal::login(again.address, 3, Windows).await;
    let joined = change_members(&mut ann, old, GroupModifyType::Add, &[3]).await;
    assert_eq!(joined.result_code, 0);
    assert_eq!(ann.say(in_group(old), "new").await.msg_id, 1 + SKIPPED + 1);
    expect_unread(&mut ben, in_group(old), 2).await;
    expect_unread(&mut cleo, in_group(old), 1).await;
    assert_eq!(
        ids(&mut cleo, in_group(old), 0, 10).await,
        [1 + SKIPPED + 1],
        "what came after joining"
    );

    let made = make_group(&mut ann, "made", &[1, 2]).await;
    assert_ne!(
        made, lost,
        "members hold messages of a group of that number"
    );
    assert_eq!(made, old + SKIPPED + 1);
    assert_eq!(ann.say(in_group(made), "first").await.msg_id, SKIPPED + 1);
    expect_unread(&mut ben, in_group(made), 1).await;
    // A pair that the backup does not know may have spoken since.
    assert_eq!(ann.say(with_user(4), "first").await.msg_id, SKIPPED + 1);
    let mut dan = Terminal::login(again.address, 4, Windows).await;
    expect_unread(&mut dan, with_user(1), 1).await;
    assert_eq!(ids(&mut dan, with_user(1), 0, 10).await, [SKIPPED + 1]);
}

/// A second restore skips above what the first one skipped, whether somebody wrote in between or not;
/// with `--skip-ids 0` ids go on where the backup ended; too many are refused with what is wrong.
#[tokio::test]
async fn restores_follow_each_other_and_skip_as_many_ids_as_they_are_told() {
    let mut platform = own_platform(3, &[]).await;
    let address = platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    assert_eq!(ann.say(with_user(2), "one").await.msg_id, 1);
    assert_eq!(ann.say(with_user(3), "one").await.msg_id, 1);
    let copy = back_up(&platform, "copy.db");
    let dir = platform.dir().to_path_buf();
    platform.remove("all").unwrap().terminate().await.unwrap();

    let mut first = Restored::start(&dir, "first", &copy, &["--skip-ids", "10"]).await;
    let mut ann = Terminal::login(first.address, 1, Windows).await;
    assert_eq!(ann.say(with_user(2), "two").await.msg_id, 12);
    let second_copy = first.back_up(&dir, "second.db");
    first.process.terminate().await.unwrap();

    let mut second = Restored::start(&dir, "second", &second_copy, &["--skip-ids", "10"]).await;
    let mut ann = Terminal::login(second.address, 1, Windows).await;
    assert_eq!(ann.say(with_user(2), "three").await.msg_id, 23);
    assert_eq!(
        ann.say(with_user(3), "two").await.msg_id,
        22,
        "one gap of 20"
    );
    let mut ben = Terminal::login(second.address, 2, Windows).await;
    expect_unread(&mut ben, with_user(1), 3).await;
    assert_eq!(ids(&mut ben, with_user(1), 0, 10).await, [23, 12, 1]);
    read(&mut ben, with_user(1), 12).await;
    expect_unread(&mut ben, with_user(1), 1).await;
    second.process.terminate().await.unwrap();

    let third = Restored::start(&dir, "third", &copy, &["--skip-ids", "0"]).await;
    let mut ann = Terminal::login(third.address, 1, Windows).await;
    assert_eq!(ann.say(with_user(2), "two").await.msg_id, 2);

    let place = dir.join("fourth").display().to_string();
    let restore = ["restore", "--data-dir", &place, "--from", &copy];
    let error = run_imd(&dir, &[&restore[..], &["--skip-ids", "89999999"]].concat())
        .unwrap_err()
        .to_string();
    for said in [
        "skip 89999999 ids",
        "users 1 and 2 has used or skipped 1",
        "below 90000000",
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
    let left = dir.join("fourth/im.db").try_exists().unwrap();
    assert!(!left, "nothing is left behind");
    // One fewer is the bound.
    let bound = ["--skip-ids", "89999998"];
    run_imd(&dir, &[&restore[..], &bound].concat()).unwrap();
}

/// The checker over people who chat on a restored platform: pairs and groups start above the gap, and
/// unread counts agree with read positions inside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_chat_on_a_restored_platform_without_a_fault() {
    let mut platform = own_platform(6, &[]).await;
    let copy = back_up(&platform, "copy.db");
    platform.remove("all").unwrap().terminate().await.unwrap();
    let again = Restored::start(platform.dir(), "again", &copy, &[]).await;
    let traffic = Traffic::start(Plan {
        skipped: SKIPPED,
        ..Plan::small(&format!("http://{}:8080", again.address.ip()))
    })
    .await
    .unwrap();
    traffic.progress(200, Duration::from_mins(1)).await.unwrap();
    let outcome = traffic.finish(Duration::from_mins(1)).await.unwrap();
    assert_eq!(outcome.faults, []);
    assert!(outcome.stored >= 200);
}
