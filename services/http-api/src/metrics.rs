//! What an http-api server counts.

use im_http::Meter;
use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// What a request was for, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Group {
        /// The API of our own.
        Api,
        /// The calls of the original server.
        Original,
        /// A message through an incoming hook.
        Hook,
        /// Nothing that there is.
        Other,
    }
}

im_core::label_values! {
    /// How it was answered, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Class {
        /// 2xx.
        Done,
        /// 401 and 403.
        Refused,
        /// 429.
        Limited,
        /// Other 4xx.
        Wrong,
        /// 5xx.
        Failed,
    }
}

im_core::label_values! {
    /// Which bound a request met, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Limited {
        /// The rate of its address.
        Address,
        /// The rate of its token.
        Token,
        /// The rate of its incoming hook.
        Hook,
        /// The caller has its part of the requests that are worked on.
        Caller,
        /// So many requests are worked on.
        Total,
        /// Its time.
        Time,
        /// The size of its body.
        Body,
        /// Subscribers of events, or questions to a server.
        Monitor,
    }
}

im_core::label_values! {
    /// Why a server that reports has lost its link, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Cut {
        /// It has not reported in time.
        Silent,
        /// It does not take its questions.
        Slow,
        /// It has said more than it may.
        Flood,
        /// It has said what is none of its.
        Malformed,
        /// Its server has a later link.
        Outdated,
        /// So many servers report.
        TooMany,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabel {
    reason: Cut,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    group: Group,
    answer: Class,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitedLabel {
    bound: Limited,
}

/// Seconds in which a request is answered.
const SECONDS: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

/// Counters and gauges of one http-api server. `Default` counts without showing it to anybody.
#[derive(Clone, Debug)]
pub struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    limited: Family<LimitedLabel, Counter>,
    pub(crate) seconds: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) waiting_bots: Gauge,
    pub(crate) remembered_tokens: Gauge,
    pub(crate) counted_callers: Gauge,
    pub(crate) lost_notes: Counter,
    pub(crate) certificate_failing: Gauge,
    pub(crate) certificate_end: Gauge,
    pub(crate) monitored_servers: Gauge,
    pub(crate) subscribers: Gauge,
    pub(crate) left_out_events: Counter,
    cut: Family<CutLabel, Counter>,
    pub(crate) meter: Meter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            answers: Family::default(),
            limited: Family::default(),
            seconds: Histogram::new(SECONDS),
            in_flight: Gauge::default(),
            waiting_bots: Gauge::default(),
            remembered_tokens: Gauge::default(),
            counted_callers: Gauge::default(),
            lost_notes: Counter::default(),
            certificate_failing: Gauge::default(),
            certificate_end: Gauge::default(),
            monitored_servers: Gauge::default(),
            subscribers: Gauge::default(),
            left_out_events: Counter::default(),
            cut: Family::default(),
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
            limited,
            seconds,
            in_flight,
            waiting_bots,
            remembered_tokens,
            counted_callers,
            lost_notes,
            certificate_failing,
            certificate_end,
            monitored_servers,
            subscribers,
            left_out_events,
            cut,
            meter,
        } = &this;
        for &group in Group::ALL {
            init_series(answers, Class::ALL, |answer| AnswerLabels { group, answer });
        }
        init_series(limited, Limited::ALL, |bound| LimitedLabel { bound });
        init_series(cut, Cut::ALL, |reason| CutLabel { reason });
        registry.register("im_http_api_answers", "Answers to callers", answers.clone());
        registry.register(
            "im_http_api_limited",
            "Requests that met a bound",
            limited.clone(),
        );
        registry.register(
            "im_http_api_request_seconds",
            "Time from the head of a request to the head of its answer",
            seconds.clone(),
        );
        registry.register(
            "im_http_api_in_flight",
            "Requests that are worked on",
            in_flight.clone(),
        );
        registry.register(
            "im_http_api_waiting_bots",
            "Requests of bots that wait for messages",
            waiting_bots.clone(),
        );
        registry.register(
            "im_http_api_remembered_tokens",
            "Tokens that are remembered",
            remembered_tokens.clone(),
        );
        registry.register(
            "im_http_api_counted_callers",
            "Addresses and tokens whose requests are counted",
            counted_callers.clone(),
        );
        registry.register(
            "im_http_api_lost_notes",
            "Refusals and uses of tokens that db-proxy could not be told",
            lost_notes.clone(),
        );
        registry.register(
            "im_http_api_certificate_failing",
            "1 while the files hold no certificate that can be used, and the former one is",
            certificate_failing.clone(),
        );
        registry.register(
            "im_http_api_certificate_end_seconds",
            "Unix time at which the certificate in use ends; 0 without one",
            certificate_end.clone(),
        );
        registry.register(
            "im_http_api_monitored_servers",
            "Servers that report",
            monitored_servers.clone(),
        );
        registry.register(
            "im_http_api_subscribers",
            "Subscribers of events",
            subscribers.clone(),
        );
        registry.register(
            "im_http_api_left_out_events",
            "Events that subscribers missed because they were behind",
            left_out_events.clone(),
        );
        registry.register(
            "im_http_api_cut_reporters",
            "Servers that lost the link on which they report",
            cut.clone(),
        );
        meter.register(registry, "http_api");
        this
    }

    pub(crate) fn answered(&self, group: Group, answer: Class) {
        self.answers
            .get_or_create(&AnswerLabels { group, answer })
            .inc();
    }

    pub(crate) fn limit(&self, bound: Limited) {
        self.limited.get_or_create(&LimitedLabel { bound }).inc();
    }

    pub(crate) fn cut(&self, reason: Cut) {
        self.cut.get_or_create(&CutLabel { reason }).inc();
    }

    #[cfg(test)]
    pub(crate) fn cuts(&self, reason: Cut) -> u64 {
        self.cut.get_or_create(&CutLabel { reason }).get()
    }
}
