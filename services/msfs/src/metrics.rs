//! What an msfs server counts.

use im_http::Meter;
use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

im_core::label_values! {
    /// What a client asked for, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Request {
        /// A picture.
        Picture,
        /// A scaled picture.
        Variant,
        /// To store one, as the original clients do it.
        Form,
        /// To store one, by PUT.
        Put,
        /// Anything else.
        Other,
    }
}

im_core::label_values! {
    /// What it was answered, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Answered {
        /// With all of it.
        Whole,
        /// With a part.
        Part,
        /// That it has it already.
        NotModified,
        /// That it is stored.
        Stored,
        /// With the picture as it is, since it cannot be scaled.
        Unscaled,
        /// That there is no such thing.
        NotFound,
        /// That the part it asks for is not there.
        NoPart,
        /// That this is not done here.
        NotAllowed,
        /// That it is too large in bytes.
        TooLarge,
        /// That it is too large in pixels.
        TooManyPixels,
        /// That the form cannot be read.
        BadForm,
        /// That there is no room.
        NoRoom,
        /// That its address has sent too much.
        Limited,
        /// That too much waits to be scaled.
        Busy,
        /// That the store does not answer, or has a damaged file.
        Failed,
        /// Not at all: it went while it sent.
        Gone,
    }
}

im_core::label_values! {
    /// What became of a picture that was to be scaled, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Scaled {
        Made,
        Unscalable,
        Failed,
        Busy,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    request: Request,
    answer: Answered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScaledLabel {
    outcome: Scaled,
}

/// Seconds in which a picture is scaled.
const SCALE_SECONDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Counters and gauges of one msfs server. `Default` counts without showing it to anybody.
#[derive(Clone, Debug)]
pub struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    scaled: Family<ScaledLabel, Counter>,
    scale_seconds: Histogram,
    scaling: Gauge,
    too_large: Counter,
    pub(crate) counted_addresses: Gauge,
    pub(crate) certificate_failing: Gauge,
    pub(crate) certificate_end: Gauge,
    pub(crate) meter: Meter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            answers: Family::default(),
            scaled: Family::default(),
            scale_seconds: Histogram::new(SCALE_SECONDS),
            scaling: Gauge::default(),
            too_large: Counter::default(),
            counted_addresses: Gauge::default(),
            certificate_failing: Gauge::default(),
            certificate_end: Gauge::default(),
            meter: Meter::default(),
        }
    }
}

impl Metrics {
    /// Metrics that this registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let Self {
            answers,
            scaled,
            scale_seconds,
            scaling,
            too_large,
            counted_addresses,
            certificate_failing,
            certificate_end,
            meter,
        } = &this;
        for &request in Request::ALL {
            init_series(answers, Answered::ALL, |answer| AnswerLabels {
                request,
                answer,
            });
        }
        init_series(scaled, Scaled::ALL, |outcome| ScaledLabel { outcome });
        registry.register("im_msfs_answers", "Answers to clients", answers.clone());
        registry.register(
            "im_msfs_counted_addresses",
            "Addresses whose uploads are counted",
            counted_addresses.clone(),
        );
        registry.register(
            "im_msfs_certificate_failing",
            "1 while the files hold no certificate that can be used, and the former one is",
            certificate_failing.clone(),
        );
        registry.register(
            "im_msfs_certificate_end_seconds",
            "Unix time at which the certificate in use ends; 0 without one",
            certificate_end.clone(),
        );
        registry.register(
            "im_msfs_scaled",
            "Pictures that were to be scaled",
            scaled.clone(),
        );
        registry.register(
            "im_msfs_scaling",
            "Pictures that wait to be scaled or are at work",
            scaling.clone(),
        );
        registry.register(
            "im_msfs_scale_seconds",
            "Time in which a picture is scaled",
            scale_seconds.clone(),
        );
        registry.register(
            "im_msfs_scale_too_large",
            "Pictures not scaled because of their pixels or the memory that these take",
            too_large.clone(),
        );
        meter.register(registry, "msfs");
        this
    }

    pub(crate) fn answered(&self, request: Request, answer: Answered) {
        self.answers
            .get_or_create(&AnswerLabels { request, answer })
            .inc();
    }

    /// How many requests of this kind were answered so.
    pub fn answers(&self, request: Request, answer: Answered) -> u64 {
        self.answers
            .get_or_create(&AnswerLabels { request, answer })
            .get()
    }

    pub(crate) fn scaled(&self, outcome: Scaled) {
        self.scaled.get_or_create(&ScaledLabel { outcome }).inc();
    }

    pub(crate) fn scaling(&self, jobs: usize) {
        self.scaling.set(i64::try_from(jobs).unwrap_or(i64::MAX));
    }

    pub(crate) fn too_large(&self) {
        self.too_large.inc();
    }

    /// How many pictures were scaled, or tried to be.
    #[cfg(test)]
    pub(crate) fn scale_count(&self) -> u64 {
        let mut text = String::new();
        let mut registry = Registry::default();
        registry.register("seconds", "for a test", self.scale_seconds.clone());
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap_or_default();
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("seconds_count "));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Measures how long a picture takes.
    pub(crate) fn scale_timer(&self) -> ScaleTimer {
        ScaleTimer {
            since: Instant::now(),
            seconds: self.scale_seconds.clone(),
        }
    }
}

/// A picture at work.
#[derive(Debug)]
pub(crate) struct ScaleTimer {
    since: Instant,
    seconds: Histogram,
}

impl ScaleTimer {
    /// It is done.
    pub(crate) fn stop(self) {
        self.seconds.observe(self.since.elapsed().as_secs_f64());
    }
}
