use super::*;

const LIB: &str = "     Running unittests src/lib.rs (target/debug/deps/im_x-01)";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What is shown of these lines, each a second after the one before.
fn shown(run: &mut Run, lines: &[&str]) -> Vec<String> {
    let lines = lines.iter().zip(0..);
    lines
        .filter_map(|(line, now)| run.line(line, seconds(now)))
        .collect()
}

fn names(run: &Run, now: u64) -> Vec<(String, u64)> {
    let running = run.running(seconds(now)).into_iter();
    running
        .map(|running| (running.test, running.time.as_secs()))
        .collect()
}

#[test]
fn a_binary_whose_tests_pass_is_one_line() {
    let lines = [
        "   Compiling im-x v0.1.0 (/x)",
        "    Finished `test` profile [optimized] target(s) in 1.2s",
        LIB,
        "",
        "running 3 tests",
        "test a ... ok",
        "test b - should panic ... ok",
        "test c ... ignored, needs a lamp",
        "",
        "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "",
        "   Doc-tests im_x",
        "",
        "running 0 tests",
        "",
        "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "",
        "all doctests ran in 0.40s; merged doctests compilation took 0.35s",
    ];
    let shown = shown(&mut Run::default(), &lines);
    assert_eq!(
        shown,
        [
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in \
          0.00s | target/debug/deps/im_x-01"
        ]
    );
}

#[test]
fn failures_and_what_is_not_understood_are_shown_whole() {
    let lines = [
        "warning: unused variable",
        LIB,
        "running 1 test",
        "test a ... FAILED",
        "",
        "failures:",
        "",
        "---- a stdout ----",
        "test b ... ok",
        "",
        "failures:",
        "    a",
        "",
        "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "",
        "error: test failed, to rerun pass `-p im-x --lib`",
    ];
    let shown = shown(&mut Run::default(), &lines);
    assert_eq!(
        shown,
        [
            "warning: unused variable",
            "    target/debug/deps/im_x-01 test a ... FAILED",
            "failures: target/debug/deps/im_x-01",
            "",
            "---- a stdout ----",
            "test b ... ok",
            "",
            "failures:",
            "    a",
            "",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished \
             in 0.00s | target/debug/deps/im_x-01",
            "error: test failed, to rerun pass `-p im-x --lib`",
        ]
    );
}

#[test]
fn a_test_that_was_named_as_slow_runs_until_its_outcome_is_printed() {
    let mut run = Run::default();
    run.line(LIB, seconds(5));
    run.line("running 3 tests", seconds(5));
    let slow = |name| format!("test {name} has been running for over 60 seconds");
    assert!(run.line(&slow("m::a"), seconds(65)).is_some());
    run.line(&slow("m::b - should panic"), seconds(70));
    assert_eq!(names(&run, 95), [("m::a".into(), 90), ("m::b".into(), 85)]);
    run.line("test m::c ... ok", seconds(96));
    run.line("test m::b - should panic ... ok", seconds(96));
    assert_eq!(names(&run, 100), [("m::a".into(), 95)]);
    assert_eq!(
        run.progress(),
        "target/debug/deps/im_x-01: 2 of 3 tests done"
    );
    run.line("half a line of a childtest m::a ... ok", seconds(101));
    assert_eq!(names(&run, 102), []);
}

#[test]
fn doc_tests_have_names_with_blanks() {
    let mut run = Run::default();
    run.line("   Doc-tests im_x", seconds(0));
    let name = "services/x/src/lib.rs - Thing::new (line 7)";
    run.line(
        &format!("test {name} - compile has been running for over 60 seconds"),
        seconds(60),
    );
    assert_eq!(names(&run, 61), [(name.to_owned(), 61)]);
    run.line(&format!("test {name} - compile ... ok"), seconds(62));
    assert_eq!(names(&run, 63), []);
}

#[test]
fn with_one_thread_the_name_without_an_outcome_runs() {
    let mut run = Run::default();
    run.line(LIB, seconds(0));
    run.beginning("test a ... ", seconds(10));
    run.beginning("test a ... ", seconds(11));
    assert_eq!(names(&run, 12), [("a".into(), 2)]);
    run.line("test a ... a child says something", seconds(13));
    assert_eq!(names(&run, 14), [("a".into(), 4)]);
    run.line("ok", seconds(15));
    assert_eq!(names(&run, 16), []);
    run.beginning("test b ... ", seconds(17));
    run.line("test b ... ok", seconds(18));
    assert_eq!(names(&run, 19), []);
}

#[test]
fn the_end_of_a_binary_and_the_start_of_the_next_end_its_tests() {
    let mut run = Run::default();
    run.line(LIB, seconds(0));
    let slow = "test a has been running for over 60 seconds";
    run.line(slow, seconds(60));
    run.line("test result: FAILED. 0 passed; 1 failed", seconds(61));
    assert_eq!(names(&run, 62), []);
    run.line(slow, seconds(63));
    run.line(
        "     Running tests/it/main.rs (target/debug/deps/it-02)",
        seconds(64),
    );
    assert_eq!(names(&run, 65), []);
    assert_eq!(run.binary(), "target/debug/deps/it-02");
}
