use super::*;
use crate::libtest::NAMED_AFTER;

const HEAD: &str =
    "     Running unittests src/lib.rs (target/debug/deps/im_none-01)\nrunning 3 tests\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs a script as if it were `cargo test`.
fn script(text: &str, test_limit: Duration) -> (Outcome, Vec<String>) {
    let mut shown = Vec::new();
    let mut command = Command::new("sh");
    command.args(["-c", text]).env("HEAD", HEAD);
    let outcome = run(&mut command, seconds(50), test_limit, &mut |line| {
        shown.push(line.to_owned());
    });
    (outcome.unwrap(), shown)
}

fn told(outcome: &Outcome) -> &str {
    match &outcome.end {
        End::Watched(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_test_that_hangs_is_named_and_its_program_ended() {
    let text = r#"printf '%s' "$HEAD"; echo "test quick ... ok"
        echo "test m::hangs has been running for over 60 seconds"; exec sleep 600"#;
    let (outcome, shown) = script(text, NAMED_AFTER);
    assert_eq!(
        told(&outcome),
        "not finished after 60 s, the limit of a test: m::hangs"
    );
    let [running] = outcome.running.as_slice() else {
        panic!("{:?}", outcome.running);
    };
    assert!(
        running.starts_with("target/debug/deps/im_none-01: m::hangs (6"),
        "{running}"
    );
    assert_eq!(
        shown,
        ["    target/debug/deps/im_none-01 test m::hangs has been running for over 60 seconds"]
    );
}

#[test]
fn with_one_thread_too() {
    let text = r#"printf '%s' "$HEAD"; printf 'test m::hangs ... '; exec sleep 600"#;
    let (outcome, _) = script(text, Duration::from_millis(300));
    assert!(told(&outcome).ends_with("of a test: m::hangs"));
}

#[test]
fn a_program_that_hangs_before_its_tests_ends_at_the_limit_of_the_step() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec sleep 600"]);
    let outcome = run(&mut command, seconds(1), seconds(120), &mut |_| {});
    assert!(matches!(outcome.unwrap().end, End::Limit));
}

#[test]
fn the_exit_status_of_cargo_is_kept() {
    let text = r#"printf '%s' "$HEAD"; echo "test a ... ok"
        echo "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"; exit 101"#;
    let (outcome, shown) = script(text, seconds(120));
    assert!(matches!(outcome.end, End::Exit(status) if status.code() == Some(101)));
    assert_eq!(
        shown,
        [
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out | \
             target/debug/deps/im_none-01"
        ]
    );
}

#[test]
fn only_tests_beyond_the_limit_hang_and_the_others_are_still_running() {
    let mut shown = Vec::new();
    let mut show = |line: &str| shown.push(line.to_owned());
    let mut watcher = Watcher::new(seconds(120), &mut show);
    watcher.output(HEAD.as_bytes(), seconds(0));
    let slow = |name| format!("test {name} has been running for over 60 seconds\n");
    watcher.output(slow("first").as_bytes(), seconds(60));
    let (begin, end) = ("test second has been ru", "nning for over 60 seconds\n");
    watcher.output(begin.as_bytes(), seconds(89));
    watcher.output(end.as_bytes(), seconds(90));
    assert_eq!(watcher.verdict(seconds(119)), None);
    let verdict = watcher.verdict(seconds(120)).unwrap();
    assert!(verdict.ends_with("of a test: first"), "{verdict}");
    let file = "target/debug/deps/im_none-01";
    assert_eq!(
        watcher.running,
        [
            format!("{file}: first (120 s)"),
            format!("{file}: second (90 s)")
        ]
    );
}

#[test]
fn people_hear_that_a_silent_run_goes_on() {
    let mut shown = Vec::new();
    let mut show = |line: &str| shown.push(line.to_owned());
    let mut watcher = Watcher::new(seconds(120), &mut show);
    watcher.output(b"   Compiling a v1\n   Compiling b v1\n", seconds(1));
    for now in 0..50 {
        assert_eq!(watcher.verdict(seconds(now)), None);
    }
    watcher.output(HEAD.as_bytes(), seconds(50));
    watcher.output(b"test a ... ok\n", seconds(51));
    for now in 51..70 {
        assert_eq!(watcher.verdict(seconds(now)), None);
    }
    assert_eq!(
        shown,
        [
            "    30 s: 2 crates compiled",
            "    60 s: target/debug/deps/im_none-01: 1 of 3 tests done"
        ]
    );
}

#[test]
fn a_test_program_is_named_by_its_source() {
    let this = std::env::current_exe().unwrap();
    assert_eq!(source(this.to_str().unwrap()), "e2e/xtask/src/main.rs");
    assert_eq!(source("target/none-01"), "target/none-01");
}
