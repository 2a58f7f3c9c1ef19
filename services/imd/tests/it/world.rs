//! Runs the program.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A command of the program, without the caller's settings.
pub(crate) fn imd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imd"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("IMD_") {
            command.env_remove(name);
        }
    }
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn finish(mut command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A server that has said it is ready. Ends with the value.
pub(crate) struct Server {
    child: Child,
    pub(crate) addresses: Value,
}

impl Server {
    pub(crate) fn start(args: &[&str], ready_file: &Path) -> Self {
        let mut command = imd(args);
        command
            .arg("--ready-file")
            .arg(ready_file)
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The file is written before a line says so, and lines end when the process does.
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        for line in lines {
            let line = line.unwrap();
            let ready = line.contains("wrote the ready file");
            seen.push(line);
            if ready {
                let text = std::fs::read(ready_file).unwrap();
                return Self {
                    child,
                    addresses: serde_json::from_slice(&text).unwrap(),
                };
            }
        }
        child.wait().unwrap();
        panic!("the server ended:\n{}", seen.join("\n"));
    }

    pub(crate) fn address(&self, role: &str, listener: &str) -> String {
        self.addresses[role][listener].as_str().unwrap().to_owned()
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(self) -> i32 {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Waits until it has ended; the exit code.
    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
