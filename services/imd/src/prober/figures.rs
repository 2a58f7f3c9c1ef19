//! What rounds amount to.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds of a step.
const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Part of a round.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the values of a label")]
pub(super) enum Step {
    /// An address is told, and both people are logged in there.
    login,
    /// The message is acknowledged.
    send,
    /// It has arrived.
    deliver,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabel {
    step: Step,
}

/// How long the steps of a round took that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Both logins.
    pub(super) login: Duration,
    /// From the sending to the acknowledgement.
    pub(super) send: Duration,
    /// From the sending to the arrival.
    pub(super) deliver: Duration,
}

fn times() -> Histogram {
    Histogram::new(SECONDS)
}

/// Counters of all rounds. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    seconds: Family<StepLabel, Histogram, fn() -> Histogram>,
    failures: Family<StepLabel, Counter>,
    addresses: Gauge,
}

impl Figures {
    /// Figures that this registry shows. Every step is there from the beginning, so that its first failure is an
    /// increase.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let this = Self {
            seconds: Family::new_with_constructor(times),
            failures: Family::default(),
            addresses: Gauge::default(),
        };
        let steps = [Step::login, Step::send, Step::deliver];
        im_runtime::init_series(&this.seconds, &steps, |step| StepLabel { step });
        im_runtime::init_series(&this.failures, &steps, |step| StepLabel { step });
        registry.register(
            "im_probe_seconds",
            "Time of each step of messages that have arrived: both logins, the acknowledgement, the delivery",
            this.seconds.clone(),
        );
        registry.register(
            "im_probe_failures",
            "Messages that have not passed, by the step that failed",
            this.failures.clone(),
        );
        registry.register(
            "im_probe_addresses",
            "Addresses of msg servers that clients were told in the last round",
            this.addresses.clone(),
        );
        this
    }

    /// Notes a message that has arrived.
    pub(super) fn took(&self, times: &Times) {
        for (step, time) in [
            (Step::login, times.login),
            (Step::send, times.send),
            (Step::deliver, times.deliver),
        ] {
            let label = StepLabel { step };
            self.seconds
                .get_or_create(&label)
                .observe(time.as_secs_f64());
        }
    }

    /// Notes one that has not.
    pub(super) fn failed(&self, step: Step) {
        self.failures.get_or_create(&StepLabel { step }).inc();
    }

    /// Notes how many addresses there are.
    pub(super) fn addresses(&self, count: usize) {
        self.addresses.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_shown_before_anything_happens_and_moves_alone() {
        let metrics = im_runtime::Metrics::default();
        let figures = metrics.register(Figures::register);
        let text = metrics.encode().unwrap();
        for step in ["login", "send", "deliver"] {
            for name in ["im_probe_failures_total", "im_probe_seconds_count"] {
                let line = format!("{name}{{step=\"{step}\"}} 0\n");
                assert!(text.contains(&line), "{line} in {text}");
            }
        }
        figures.failed(Step::send);
        figures.addresses(3);
        figures.took(&Times {
            login: Duration::from_millis(20),
            send: Duration::from_millis(2),
            deliver: Duration::from_millis(3),
        });
        let text = metrics.encode().unwrap();
        for line in [
            "im_probe_failures_total{step=\"send\"} 1\n",
            "im_probe_failures_total{step=\"login\"} 0\n",
            "im_probe_seconds_bucket{le=\"0.01\",step=\"login\"} 0\n",
            "im_probe_seconds_bucket{le=\"0.025\",step=\"login\"} 1\n",
            "im_probe_seconds_bucket{le=\"0.005\",step=\"deliver\"} 1\n",
            "im_probe_addresses 3\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
