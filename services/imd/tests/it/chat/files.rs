//! Files and pictures between people at terminals, over every server that takes part.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::World;
use crate::world::imd;

/// How long a line may take on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// A picture that decoders accept.
const PICTURE: &[u8] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\
\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// A script whose next lines are not known yet.
struct Running {
    child: Child,
    input: ChildStdin,
    said: Receiver<String>,
    user: &'static str,
}

impl Running {
    /// Logs somebody in, who then is online.
    fn begin(world: &World, user: &'static str, more: &[&str]) -> Self {
        let url = format!("http://{}", world.server.address("login", "http"));
        let password = world.dir.path().join("password");
        let mut command = imd(&["script", user, "--server", &url, "--password-file"]);
        command.arg(password).args(more);
        command.arg("--files").arg(folder(world, user));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        let mut running = Self {
            child,
            input,
            said,
            user,
        };
        running.until("Logged in as");
        running
    }

    fn line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits until it says this; gives the whole line.
    fn until(&mut self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.said.recv_timeout(WAIT) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("{} waits for {text:?} ({error}): {before:#?}", self.user),
            }
        }
    }

    /// The most memory that it has had, KiB.
    fn peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().trim_end_matches(" kB");
        peak.parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where somebody keeps what they get.
fn folder(world: &World, user: &str) -> PathBuf {
    world.dir.path().join(format!("{user} received"))
}

/// A file of so many bytes, none of which repeats its neighbours.
fn file(world: &World, name: &str, bytes: u32) -> (String, Vec<u8>) {
    let content: Vec<u8> = (0..bytes)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    let path = world.dir.path().join(name);
    std::fs::write(&path, &content).unwrap();
    (path.to_str().unwrap().to_owned(), content)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

impl World {
    /// A script of somebody who keeps what they get in their folder.
    fn script_with(&self, user: &str, more: &[&str], lines: &str) -> (bool, String) {
        let password = self.dir.path().join("password");
        let folder = folder(self, user);
        let mut args = vec!["script", user, "--password-file"];
        args.push(password.to_str().unwrap());
        args.extend(["--files", folder.to_str().unwrap()]);
        args.extend(more);
        self.run(&args, lines.as_bytes())
    }
}

#[test]
fn a_file_goes_each_way_byte_for_byte_and_never_as_a_whole_into_memory() {
    let world = World::new();
    let mut ann = Running::begin(&world, "ann", &[]);
    let mut ben = Running::begin(&world, "ben", &[]);
    let (path, content) = file(&world, "annual report 年.bin", 64 << 20);
    let before = [ann.peak(), ben.peak()];
    ann.line("/with ben");
    ann.line(&format!("/file {path}"));
    ann.until("Ben has annual report 年.bin");
    ben.until("annual report 年.bin is from Ann");
    let got = folder(&world, "ben").join("annual report 年.bin");
    assert!(std::fs::read(got).unwrap() == content, "the same bytes");
    for (peak, before) in [ann.peak(), ben.peak()].into_iter().zip(before) {
        assert!(peak - before < 32 << 10, "{before} KiB, then {peak} KiB");
    }
    let (path, content) = file(&world, "answer.txt", 70_001);
    ben.line("/with ann");
    ben.line(&format!("/file \"{path}\""));
    ben.until("Ann has answer.txt");
    ann.until("answer.txt is from Ben");
    let got = folder(&world, "ann").join("answer.txt");
    assert_eq!(std::fs::read(got).unwrap(), content);
    assert_eq!(names(&folder(&world, "ann")), ["answer.txt"]);
}

#[test]
fn a_file_for_somebody_away_is_fetched_at_their_next_login_and_once() {
    let world = World::new();
    let (path, content) = file(&world, "plan.bin", 100_000);
    for _ in 0..2 {
        let (good, text) = world.script("ann", &format!("/with ben\n/file {path}\n"));
        assert!(good && text.contains("plan.bin waits for Ben"), "{text}");
    }
    // It ends when both are here.
    let (good, text) = world.script_with("ben", &[], "");
    assert!(good && text.contains("plan.bin is from Ann"), "{text}");
    let folder = folder(&world, "ben");
    assert_eq!(names(&folder), ["plan (1).bin", "plan.bin"]);
    for name in names(&folder) {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), content);
    }
    let (good, text) = world.script_with("ben", &[], "");
    assert!(good && !text.contains("plan"), "{text}");
}

/// More than are carried at a time.
#[test]
fn many_files_that_wait_all_come() {
    let world = World::new();
    let mut lines = "/with ben\n".to_owned();
    for n in 0..20 {
        let (path, _) = file(&world, &format!("f{n:02}"), 1_000 + n);
        lines += &format!("/file {path}\n");
    }
    let (good, text) = world.script("ann", &lines);
    assert!(good, "{text}");
    let (good, text) = world.script_with("ben", &[], "");
    assert!(good, "{text}");
    let folder = folder(&world, "ben");
    let expected: Vec<String> = (0..20).map(|n| format!("f{n:02}")).collect();
    assert_eq!(names(&folder), expected, "{text}");
}

#[test]
fn a_picture_is_shown_by_its_url_and_fetched_from_the_platform_only() {
    let world = World::new();
    let path = world.dir.path().join("dot.gif");
    std::fs::write(&path, PICTURE).unwrap();
    let send = format!("/with ben\n/picture {}\n", path.display());
    let mut ben = Running::begin(&world, "ben", &[]);
    let (good, text) = world.script("ann", &send);
    assert!(good, "{text}");
    let shown = ben.until("(picture http://");
    assert!(!shown.contains("&$#@"), "{shown}");
    ben.until("is a picture from Ann");
    let names_now = names(&folder(&world, "ben"));
    let [name] = names_now.as_slice() else {
        panic!("{names_now:?}");
    };
    let extension = std::path::Path::new(&name).extension();
    assert_eq!(extension, Some("gif".as_ref()), "{name}");
    let got = folder(&world, "ben").join(name);
    assert_eq!(std::fs::read(got).unwrap(), PICTURE);

    let elsewhere = "/with ben\nsee &$#@~^@[{:http://127.0.0.1:1/a.png:}]&$~@#@\n";
    assert!(world.script("ann", elsewhere).0);
    ben.until("elsewhere and was not fetched");
    drop(ben);
    // What came while somebody was away is fetched when they look at it; so is, once more, what they saw go by
    // without opening the conversation, as it counts as unread.
    assert!(world.script("ann", &send).0);
    let lines = "/with ann\n/expect picture 60\n";
    let (good, text) = world.script_with("ben", &[], lines);
    assert!(good, "{text}");
    let all = names(&folder(&world, "ben"));
    assert_eq!(all.len(), 3, "{all:?}");
    for name in all {
        let got = folder(&world, "ben").join(name);
        assert_eq!(std::fs::read(got).unwrap(), PICTURE);
    }
}

#[test]
fn what_is_too_large_is_refused_or_stays_at_the_server() {
    let world = World::new();
    let (path, content) = file(&world, "large.bin", 5_000);
    let send = format!("/with ben\n/file {path}\n");
    let mut ben = Running::begin(&world, "ben", &["--max-file", "4KiB"]);
    let (good, text) = world.script("ann", &send);
    assert!(!good, "{text}");
    let refused = "large.bin did not reach Ben: the other side refused the file";
    assert!(text.contains(refused), "{text}");
    ben.until("has 5000 bytes, more than --max-file");
    drop(ben);
    assert!(world.script("ann", &send).0, "it waits");
    let (good, text) = world.script_with("ben", &["--max-file", "4KiB"], "");
    assert!(good && text.contains("left at the server"), "{text}");
    let (good, text) = world.script_with("ben", &["--max-file", "5kB"], "");
    assert!(good, "{text}");
    let got = folder(&world, "ben").join("large.bin");
    assert_eq!(std::fs::read(got).unwrap(), content);
    let (good, text) = world.run(
        &["script", "ben", "--password-file", "p", "--max-file", "4"],
        b"",
    );
    assert!(!good && text.contains("a size with its unit"), "{text}");
}

#[test]
fn what_cannot_be_sent_is_said_at_once() {
    let world = World::with(&["--set", "file.enabled=false"]);
    let (path, _) = file(&world, "a.bin", 10);
    let (empty, _) = file(&world, "empty.bin", 0);
    let large = world.dir.path().join("large.png");
    std::fs::write(&large, vec![7; (10 << 20) + 1]).unwrap();
    for (lines, expected) in [
        (format!("/file {path}\n"), "choose a conversation first"),
        (format!("/with ann\n/file {path}\n"), "is with yourself"),
        (
            format!("/create team ben\n/file {path}\n"),
            "a file goes to one person",
        ),
        (format!("/with ben\n/file {empty}\n"), "is empty"),
        (
            "/with ben\n/file /nowhere/a\n".to_owned(),
            "read /nowhere/a",
        ),
        (format!("/with ben\n/file {path}\n"), "has no file server"),
        (
            format!("/with ben\n/picture {}\n", large.display()),
            "more than 10485760 bytes",
        ),
    ] {
        let (good, text) = world.script("ann", &lines);
        assert!(!good && text.contains(expected), "{lines}: {text}");
    }
    // A chat goes on.
    let lines = format!("/with ben\n/file {path}\nstill here\n");
    let text = world.chat("ann", lines.as_bytes());
    assert!(text.contains("has no file server"), "{text}");
    assert!(text.contains("✓ still here"), "{text}");
}
