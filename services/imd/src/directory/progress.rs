//! How far an import is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use im_proto_rpc::v1::ImportProgress;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { begun: Instant, last: Instant },
}

impl Progress {
    pub(super) fn start() -> Self {
        if std::io::stderr().is_terminal() {
            return Self::Bar(bar());
        }
        let now = Instant::now();
        Self::Lines {
            begun: now,
            last: now,
        }
    }

    /// Tells what has come.
    pub(super) fn show(&mut self, item: &ImportProgress) {
        match self {
            Self::Bar(bar) => {
                if item.to_hash > 0 {
                    bar.set_length(item.to_hash.into());
                }
                if item.received > 0 {
                    bar.set_position(item.hashed.into());
                    bar.set_message(format!("{} lines", item.received));
                }
            }
            Self::Lines { begun, last } if last.elapsed() >= LINE_EVERY && item.received > 0 => {
                *last = Instant::now();
                output::note(&line(item, begun.elapsed()));
            }
            Self::Lines { .. } => {}
        }
    }

    pub(super) fn end(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(item: &ImportProgress, elapsed: Duration) -> String {
    let ImportProgress {
        received,
        hashed,
        to_hash,
        ..
    } = item;
    let seconds = elapsed.as_secs();
    format!("{received} lines received, {hashed} of {to_hash} passwords hashed after {seconds} s")
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} passwords, {msg} {elapsed}")
    {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let item = ImportProgress {
            received: 600,
            hashed: 64,
            to_hash: 600,
            ..ImportProgress::default()
        };
        assert_eq!(
            line(&item, Duration::from_millis(5_300)),
            "600 lines received, 64 of 600 passwords hashed after 5 s"
        );
    }
}
