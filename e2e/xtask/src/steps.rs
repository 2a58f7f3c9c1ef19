//! How a step is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock::Clock;
use crate::limits::{self, Budget, Step};
use crate::process::{self, End, Watch};
use crate::testing;

/// A call of cargo.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args);
    command
}

/// The same call, made by another program, whose arguments end with it.
pub(crate) fn made_by(mut outer: Command, call: &Command) -> Command {
    outer.arg(call.get_program()).args(call.get_args());
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// Runs a step: a command, at most as long as [`Ledger::allow`] says, in the workspace's root unless it
/// names another folder.
pub(crate) fn step(step: &Step, command: &mut Command) -> anyhow::Result<()> {
    timed(step, |limit| {
        if command.get_current_dir().is_none() {
            command.current_dir(root()?);
        }
        let end = process::run(command, limit);
        judge(
            step,
            limit,
            end.with_context(|| format!("start: {}", step.name))?,
            &[],
        )
    })
}

/// Runs a step that is `cargo test`: each test of it has a limit too.
pub(crate) fn test_step(step: &Step, command: &mut Command) -> anyhow::Result<()> {
    timed(step, |limit| {
        let show = &mut |line: &str| println!("{line}");
        let command = command.current_dir(root()?);
        let outcome = testing::run(command, limit, step.test_limit(), show)?;
        judge(step, limit, outcome.end, &outcome.running)
    })
}

/// Runs a step for what it prints; its messages go to the terminal.
pub(crate) fn printed(step: &Step, command: &mut Command) -> anyhow::Result<String> {
    struct Text(Vec<u8>);
    impl Watch for Text {
        fn output(&mut self, bytes: &[u8], _now: Duration) {
            self.0.extend_from_slice(bytes);
        }

        fn verdict(&mut self, _now: Duration) -> Option<String> {
            None
        }
    }
    let mut text = Text(Vec::new());
    timed(step, |limit| {
        let end = process::captured(command, limit, &mut text);
        judge(
            step,
            limit,
            end.with_context(|| format!("start: {}", step.name))?,
            &[],
        )
    })?;
    Ok(String::from_utf8(text.0)?)
}

/// Runs a command that a person talks to, without a limit.
pub(crate) fn by_hand(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let status = process::foreground(command.current_dir(root()?));
    let status = status.with_context(|| format!("start: {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// What was run so far.
static RUN: LazyLock<Mutex<Ledger>> =
    LazyLock::new(|| Mutex::new(Ledger::new(limits::budget(false))));

/// The run has every step of `make test`: call it before the first.
pub(crate) fn whole_run() {
    if let Ok(mut ledger) = RUN.lock() {
        *ledger = Ledger::new(limits::budget(true));
    }
}

/// Steps so far, what each took, and what the run still has: on a machine that is slow today every step is
/// late, so each may take more than its limit, as long as all together take no more than the run may.
struct Ledger {
    times: Vec<(&'static str, Duration)>,
    budget: Budget,
}

impl Ledger {
    const fn new(budget: Budget) -> Self {
        Self {
            times: Vec::new(),
            budget,
        }
    }

    /// What a step with this limit may take now.
    fn allow(&self, limit: Duration) -> Duration {
        let late = limit.saturating_mul(2).saturating_add(self.budget.late);
        late.min(self.budget.run)
    }

    /// A step took this long.
    fn took(&mut self, name: &'static str, time: Duration) {
        self.times.push((name, time));
        self.budget.run = self.budget.run.saturating_sub(time);
    }
}

fn timed(step: &Step, run: impl FnOnce(Duration) -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("==> {}", step.name);
    let limit = RUN
        .lock()
        .map_or_else(|_| step.limit(), |ledger| ledger.allow(step.limit()));
    let clock = Clock::start();
    let result = run(limit);
    let time = clock.elapsed();
    if let Ok(mut ledger) = RUN.lock() {
        ledger.took(step.name, time);
    }
    result?;
    println!("    {:.1} s", time.as_secs_f64());
    Ok(())
}

/// What the end of a step means. `running`: tests that ran then.
fn judge(step: &Step, limit: Duration, end: End, running: &[String]) -> anyhow::Result<()> {
    let Step { name, why, .. } = step;
    let tests = if running.is_empty() {
        String::new()
    } else {
        format!("\n  running then:\n    {}", running.join("\n    "))
    };
    match end {
        End::Exit(status) if status.success() => Ok(()),
        End::Exit(status) => bail!("step failed: {name} ({status})"),
        End::Limit => bail!(
            "step hangs: {name}: ended after {} s, what it may take or the run has left ({why}); a slow \
             machine gets more with {}=2{tests}",
            limit.as_secs(),
            limits::FACTOR
        ),
        End::Watched(reason) => bail!("step hangs: {name}: {reason}{tests}"),
        End::Signal(signal) => bail!("step ended: {name}: {signal}{tests}"),
    }
}

/// Prints what each step took; the same step twice is one line.
pub(crate) fn print_times() {
    let times = RUN.lock().map(|run| run.times.clone()).unwrap_or_default();
    if times.len() < 2 {
        return;
    }
    println!("\nseconds per step");
    for line in table(&times) {
        println!("{line}");
    }
}

fn table(times: &[(&str, Duration)]) -> Vec<String> {
    let mut sums: Vec<(&str, Duration)> = Vec::new();
    for (name, time) in times {
        match sums.iter_mut().find(|(other, _)| other == name) {
            Some((_, sum)) => *sum += *time,
            None => sums.push((name, *time)),
        }
    }
    sums.push(("together", times.iter().map(|(_, time)| *time).sum()));
    sums.iter()
        .map(|(name, time)| format!("{:>9.1}  {name}", time.as_secs_f64()))
        .collect()
}

pub(crate) fn root() -> anyhow::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("find the workspace root")
}

/// The folder of programs that cargo builds with a profile: beside that of this program.
pub(crate) fn programs(profile: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let folder = this.ancestors().nth(2).context("find its folder")?;
    Ok(folder.join(profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_ran_twice_is_one_line_and_the_last_line_is_the_sum() {
        let times = [("a", 1.5), ("b", 2.0), ("a", 3.25)];
        let times = times.map(|(name, seconds)| (name, Duration::from_secs_f64(seconds)));
        assert_eq!(
            table(&times),
            ["      4.8  a", "      2.0  b", "      6.8  together"]
        );
    }

    #[test]
    fn a_step_may_take_twice_its_limit_and_more_while_the_run_has_it() {
        let seconds = Duration::from_secs;
        let mut ledger = Ledger::new(Budget {
            run: seconds(300),
            late: seconds(7),
        });
        assert_eq!(ledger.allow(seconds(60)), seconds(127));
        ledger.took("a", seconds(100));
        assert_eq!(ledger.allow(seconds(60)), seconds(127));
        assert_eq!(ledger.allow(seconds(100)), seconds(200));
        // What is over its limit is ended a moment late.
        ledger.took("b", seconds(201));
        assert_eq!(ledger.allow(seconds(5)), Duration::ZERO);
        assert_eq!(ledger.times, [("a", seconds(100)), ("b", seconds(201))]);
    }

    #[test]
    fn what_hangs_is_named_with_its_limit_and_what_ran() {
        let running = ["x.rs: a (130 s)".to_owned(), "x.rs: b (61 s)".to_owned()];
        let reason = End::Watched("not finished: a".to_owned());
        let error = judge(&limits::UNIT, limits::UNIT.limit(), reason, &running).unwrap_err();
        assert_eq!(
            error.to_string(),
            "step hangs: lints, unit and one-process tests: not finished: a\n  running then:\n    \
             x.rs: a (130 s)\n    x.rs: b (61 s)"
        );
        let limit = limits::FORMAT.limit();
        let error = judge(&limits::FORMAT, limit, End::Limit, &[])
            .unwrap_err()
            .to_string();
        let limit = limit.as_secs();
        assert_eq!(
            error,
            format!(
                "step hangs: format: ended after {limit} s, what it may take or the run has left (reads \
                 every source file); a slow machine gets more with IM_LIMITS=2"
            )
        );
    }
}
