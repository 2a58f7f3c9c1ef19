//! How far data has moved, on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use im_migrate::{Progress as Told, Stage};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output;

/// Time between two lines of one stage where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines {
        begun: Instant,
        last: Option<(Stage, Instant)>,
    },
}

impl Progress {
    pub(crate) fn start() -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            let form = "{msg} {bar:40} {pos}/{len} {per_sec} {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style);
            }
            return Self::Bar(bar);
        }
        Self::Lines {
            begun: Instant::now(),
            last: None,
        }
    }

    /// Tells what has come. The first of each stage is told at once.
    pub(crate) fn show(&mut self, told: Told) {
        match self {
            Self::Bar(bar) => {
                bar.set_message(name(told.stage));
                bar.set_length(told.most.max(told.done));
                bar.set_position(told.done);
            }
            Self::Lines { begun, last } => {
                let is_due = last
                    .is_none_or(|(stage, at)| stage != told.stage || at.elapsed() >= LINE_EVERY);
                if is_due {
                    *last = Some((told.stage, Instant::now()));
                    output::note(&line(told, begun.elapsed()));
                }
            }
        }
    }

    pub(crate) fn end(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Looking => "looking at all ids",
        Stage::People => "people and groups",
        Stage::Messages => "messages",
        Stage::Members => "members and sessions",
        Stage::Comparing => "comparing both sides",
        Stage::Reading => "reading",
        Stage::Filling => "filling the store",
    }
}

fn line(told: Told, elapsed: Duration) -> String {
    let Told { stage, done, most } = told;
    let seconds = elapsed.as_secs();
    let name = name(stage);
    if most == 0 {
        return format!("{name}, after {seconds} s");
    }
    let rate = done / seconds.max(1);
    format!("{name}: {done} of at most {most} rows after {seconds} s, {rate} a second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let told = |stage, done, most| {
            let told = Told { stage, done, most };
            line(told, Duration::from_millis(5_300))
        };
        assert_eq!(
            told(Stage::Messages, 600, 900),
            "messages: 600 of at most 900 rows after 5 s, 120 a second"
        );
        assert_eq!(told(Stage::Looking, 0, 0), "looking at all ids, after 5 s");
    }
}
