//! What `cargo test` prints, read while it is printed: which tests run, and what people need to see.
//!
//! The harness prints a test when it has finished, "test NAME ... ok", and says "test NAME has been
//! running for over 60 seconds" of one that has not by then. With one thread it prints "test NAME ... "
//! first and the outcome behind it. Both tell what hangs, without any option of an unstable compiler.
//!
//! No input, no output, no clock: times are those since the start of the command.

use std::collections::BTreeMap;
use std::time::Duration;

/// When the harness names a test that has not finished.
pub(crate) const NAMED_AFTER: Duration = Duration::from_secs(60);

/// What cargo says of its own work.
const OF_CARGO: [&str; 11] = [
    "Updating ",
    "Locking ",
    "Downloading ",
    "Downloaded ",
    "Compiling ",
    "Checking ",
    "Fresh ",
    "Dirty ",
    "Finished `",
    "Executable ",
    "Adding ",
];

/// A test that has not finished, and how long it has been running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) test: String,
    pub(crate) time: Duration,
}

/// A run of `cargo test` as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The file that the harness runs, as cargo prints it, or "Doc-tests NAME".
    binary: String,
    tests: usize,
    done: usize,
    failed: bool,
    compiled: usize,
    /// When each test that runs was named as slow.
    slow: BTreeMap<String, Duration>,
    /// The test that was printed without an outcome, and since when.
    open: Option<(String, Duration)>,
    /// The list of failures is being printed.
    in_failures: bool,
}

impl Run {
    /// Takes a whole line; returns it if people need to see it.
    pub(crate) fn line(&mut self, line: &str, now: Duration) -> Option<String> {
        let trimmed = line.trim();
        if let Some(binary) = started_binary(trimmed) {
            *self = Self {
                binary,
                ..Self::default()
            };
            return None;
        }
        if let Some(summary) = trimmed.strip_prefix("test result: ") {
            return self.summary(summary);
        }
        if self.in_failures {
            return Some(line.to_owned());
        }
        if trimmed == "failures:" {
            self.in_failures = true;
            return Some(format!("{line} {}", self.binary));
        }
        if let Some(name) = line.strip_prefix("test ").and_then(slow_test) {
            self.slow.insert(name.to_owned(), now);
            return Some(format!("    {} {line}", self.binary));
        }
        if let Some((name, outcome)) = finished_test(line) {
            return self.test(name, outcome, line, now);
        }
        if self.open.is_some() && is_outcome(trimmed) {
            // What the test's children wrote stood between its name and its outcome.
            let name = self.open.take().map(|(name, _)| name).unwrap_or_default();
            return self.test(&name, trimmed, &format!("test {name} ... {trimmed}"), now);
        }
        // A child's text without an end may stand before it.
        self.slow
            .retain(|name, _| !line.contains(&format!("test {name} ... ")));
        if OF_CARGO.iter().any(|start| trimmed.starts_with(start)) {
            self.compiled += usize::from(trimmed.starts_with("Compiling "));
            return None;
        }
        if let Some(tests) = trimmed.strip_prefix("running ").and_then(number_of_tests) {
            self.tests += tests;
            return None;
        }
        let is_noise = trimmed.is_empty() || trimmed.starts_with("all doctests ran in ");
        (!is_noise).then(|| line.to_owned())
    }

    /// Takes the beginning of a line that goes on later.
    pub(crate) fn beginning(&mut self, text: &str, now: Duration) {
        let name = text.strip_prefix("test ");
        let name = name.and_then(|rest| rest.strip_suffix(" ... "));
        if let Some(name) = name.map(bare)
            && self.open.as_ref().is_none_or(|(open, _)| open != name)
        {
            self.open = Some((name.to_owned(), now));
        }
    }

    /// The file that runs, as cargo names it; empty before the first.
    pub(crate) fn binary(&self) -> &str {
        &self.binary
    }

    /// Tests that are known to run, the longest first.
    pub(crate) fn running(&self, now: Duration) -> Vec<Running> {
        let slow = self.slow.iter().map(|(test, named)| {
            let time = now.saturating_sub(*named) + NAMED_AFTER;
            (test, time)
        });
        let open = self.open.as_ref();
        let open = open.map(|(test, since)| (test, now.saturating_sub(*since)));
        let mut running: Vec<Running> = slow
            .chain(open)
            .map(|(test, time)| Running {
                test: test.clone(),
                time,
            })
            .collect();
        running.sort_by(|a, b| (b.time, &a.test).cmp(&(a.time, &b.test)));
        running
    }

    /// Where the run is, in a few words.
    pub(crate) fn progress(&self) -> String {
        if self.binary.is_empty() {
            return format!("{} crates compiled", self.compiled);
        }
        format!(
            "{}: {} of {} tests done",
            self.binary, self.done, self.tests
        )
    }

    fn test(&mut self, name: &str, outcome: &str, line: &str, now: Duration) -> Option<String> {
        let name = bare(name);
        if !is_outcome(outcome) {
            // With one thread the test runs now, and something wrote behind its name.
            self.beginning(&format!("test {name} ... "), now);
            return None;
        }
        self.open = None;
        self.slow.remove(name);
        self.done += 1;
        let has_failed = outcome.starts_with("FAILED");
        self.failed |= has_failed;
        has_failed.then(|| format!("    {} {line}", self.binary))
    }

    fn summary(&mut self, summary: &str) -> Option<String> {
        self.in_failures = false;
        self.open = None;
        self.slow.clear();
        let nothing =
            summary.starts_with("ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered");
        (!nothing).then(|| format!("test result: {summary} | {}", self.binary))
    }
}

/// "Running unittests src/lib.rs (target/debug/deps/im_msg-0123)", "Doc-tests im_msg".
fn started_binary(line: &str) -> Option<String> {
    if line.starts_with("Doc-tests ") {
        return Some(line.to_owned());
    }
    let (_, file) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    Some(file.strip_suffix(')')?.to_owned())
}

fn number_of_tests(rest: &str) -> Option<usize> {
    let (number, tests) = rest.split_once(' ')?;
    ["test", "tests"].contains(&tests).then_some(())?;
    number.parse().ok()
}

/// "NAME has been running for over 60 seconds".
fn slow_test(rest: &str) -> Option<&str> {
    let (name, after) = rest.rsplit_once(" has been running for over ")?;
    after.ends_with(" seconds").then(|| bare(name))
}

/// "test NAME ... ok" as name and outcome.
fn finished_test(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name, outcome.trim()))
}

fn is_outcome(text: &str) -> bool {
    ["ok", "ignored", "FAILED"].iter().any(|outcome| {
        let rest = text.strip_prefix(outcome);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([',', ' ']))
    })
}

/// The name without what the harness adds to it.
fn bare(name: &str) -> &str {
    let added = [" - should panic", " - compile fail", " - compile"];
    let name = name.trim_end();
    let found = added.iter().find_map(|end| name.strip_suffix(end));
    found.unwrap_or(name)
}

#[cfg(test)]
mod tests;
