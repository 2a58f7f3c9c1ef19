//! Runs `cargo test` so that its output is short and a test that hangs is named.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::libtest::{Run, Running};
use crate::process::{self, End, Watch};
use crate::steps::root;

/// How often people hear that a run goes on when nothing else is printed.
const NEWS: Duration = Duration::from_secs(30);

/// How a run of tests ended, and what ran at that time.
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// Tests that ran when the command was ended, with their file.
    pub(crate) running: Vec<String>,
}

/// Runs a command that prints what `cargo test` prints: at most for `limit`, and no test of it longer
/// than `test_limit`, which is a minute at least. What people need to see goes to `show`, by line.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    test_limit: Duration,
    show: &mut dyn FnMut(&str),
) -> anyhow::Result<Outcome> {
    let mut watcher = Watcher::new(test_limit, show);
    let end = process::watched(command, limit, &mut watcher).context("run tests")?;
    watcher.finish();
    Ok(Outcome {
        end,
        running: watcher.running,
    })
}

struct Watcher<'a> {
    run: Run,
    /// The beginning of a line.
    unread: Vec<u8>,
    test_limit: Duration,
    show: &'a mut dyn FnMut(&str),
    /// When something was last shown.
    said: Duration,
    /// The file that runs, and its source.
    source: (String, String),
    /// Tests that run, as of the last look before the command ended.
    running: Vec<String>,
}

impl Watch for Watcher<'_> {
    fn output(&mut self, bytes: &[u8], now: Duration) {
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(line) = self.run.line(line.trim_end(), now) {
                self.say(&line, now);
            }
        }
        self.run
            .beginning(&String::from_utf8_lossy(&self.unread), now);
    }

    fn verdict(&mut self, now: Duration) -> Option<String> {
        let running = self.run.running(now);
        let file = self.source();
        let describe =
            |test: &Running| format!("{file}: {} ({} s)", test.test, test.time.as_secs());
        self.running = running.iter().map(describe).collect();
        let hangs = running.iter().filter(|test| test.time >= self.test_limit);
        let hung: Vec<&str> = hangs.map(|test| test.test.as_str()).collect();
        if !hung.is_empty() {
            let limit = self.test_limit.as_secs();
            let hung = hung.join(", ");
            return Some(format!(
                "not finished after {limit} s, the limit of a test: {hung}"
            ));
        }
        if now.saturating_sub(self.said) >= NEWS {
            let progress = self.run.progress();
            self.say(&format!("    {} s: {progress}", now.as_secs()), now);
        }
        None
    }
}

impl<'a> Watcher<'a> {
    fn new(test_limit: Duration, show: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            run: Run::default(),
            unread: Vec::new(),
            test_limit,
            show,
            said: Duration::ZERO,
            source: (String::new(), String::new()),
            running: Vec::new(),
        }
    }

    fn source(&mut self) -> String {
        if self.source.0 != self.run.binary() {
            let binary = self.run.binary().to_owned();
            self.source = (binary.clone(), source(&binary));
        }
        self.source.1.clone()
    }

    fn say(&mut self, line: &str, now: Duration) {
        self.said = now;
        let source = self.source();
        match self.run.binary() {
            "" => (self.show)(line),
            binary => (self.show)(&line.replace(binary, &source)),
        }
    }

    fn finish(&mut self) {
        let rest = std::mem::take(&mut self.unread);
        if !rest.is_empty() {
            (self.show)(&String::from_utf8_lossy(&rest));
        }
    }
}

/// The source file of a test program, which tells more than a name such as `it`: the compiler writes it
/// first into the list of files that it read, but for settings of lints.
fn source(binary: &str) -> String {
    let list = root().map(|root| root.join(binary).with_extension("d"));
    let listed = list.and_then(|list| Ok(fs::read_to_string(list)?));
    let source = listed.ok().and_then(|list| {
        let (_, files) = list.lines().next()?.split_once(": ")?;
        let is_source = |file: &&str| Path::new(file).extension() == Some(OsStr::new("rs"));
        let mut sources = files.split_whitespace().filter(is_source);
        sources.next().map(str::to_owned)
    });
    source.unwrap_or_else(|| binary.to_owned())
}

#[cfg(test)]
mod tests;
