use super::*;

/// Longer than any of these tests, and no longer than a machine can bear what a broken one leaves.
const ENOUGH: Duration = Duration::from_secs(60);

/// Gathers the output; ends the child when it contains a word.
struct Until {
    word: &'static str,
    text: String,
}

impl Until {
    fn new(word: &'static str) -> Self {
        let text = String::new();
        Self { word, text }
    }
}

impl Watch for Until {
    fn output(&mut self, bytes: &[u8], _now: Duration) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
    }

    fn verdict(&mut self, _now: Duration) -> Option<String> {
        let is_seen = !self.word.is_empty() && self.text.contains(self.word);
        is_seen.then(|| format!("it said {}", self.word))
    }
}

fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]);
    shell
}

/// Whether a process has ended; the first process of a container may never wait for it.
fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

fn wait_until_gone(pid: i32) {
    let clock = Clock::start();
    while !is_gone(pid) {
        assert!(clock.elapsed() < ENOUGH, "{pid} is still there");
        std::thread::park_timeout(TICK);
    }
}

#[test]
fn a_command_in_time_ends_by_itself() {
    let end = run(&mut shell("exit 7"), ENOUGH).unwrap();
    assert!(matches!(end, End::Exit(status) if status.code() == Some(7)));
}

#[test]
fn both_streams_are_read_in_order_and_to_their_end() {
    let mut seen = Until::new("");
    let script = "echo one; echo two >&2; echo three; printf four";
    let end = watched(&mut shell(script), ENOUGH, &mut seen).unwrap();
    assert!(matches!(end, End::Exit(status) if status.success()));
    assert_eq!(seen.text, "one\ntwo\nthree\nfour");
}

#[test]
fn a_command_beyond_its_limit_is_ended() {
    let clock = Clock::start();
    let end = run(&mut shell("exec sleep 600"), Duration::from_millis(200)).unwrap();
    assert!(matches!(end, End::Limit), "{end:?}");
    assert!(clock.elapsed() < ENOUGH);
}

#[test]
fn what_a_command_started_ends_with_it_though_it_does_not_want_to() {
    // One in the group, one in a session of its own; neither listens to requests.
    let script =
        "trap '' TERM; sleep 600 & echo $!; setsid sleep 600 & echo $!; echo started; wait";
    let mut seen = Until::new("started");
    let end = watched(&mut shell(script), ENOUGH, &mut seen).unwrap();
    assert!(
        matches!(&end, End::Watched(reason) if reason == "it said started"),
        "{end:?}"
    );
    let pids: Vec<i32> = seen.text.lines().flat_map(str::parse).collect();
    assert_eq!(pids.len(), 2, "{}", seen.text);
    pids.into_iter().for_each(wait_until_gone);
}

#[test]
fn nobody_else_is_ended() {
    let mut bystander = shell("exec sleep 600").spawn().unwrap();
    let end = run(&mut shell("exec sleep 600"), Duration::from_millis(100)).unwrap();
    assert!(matches!(end, End::Limit), "{end:?}");
    let is_there = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(is_there);
}

#[test]
fn who_holds_the_output_does_not_hold_the_step() {
    let clock = Clock::start();
    let mut seen = Until::new("");
    let script = "sleep 600 & echo $!";
    let end = watched(&mut shell(script), ENOUGH, &mut seen).unwrap();
    assert!(matches!(end, End::Exit(status) if status.success()));
    assert!(clock.elapsed() < ENOUGH);
    let pid = seen.text.trim().parse().unwrap();
    assert!(!is_gone(pid));
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}
