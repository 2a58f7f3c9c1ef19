//! Spans of OpenTelemetry out of the hops of followed work ([`im_trace`]).
//!
//! The id that travels between processes is both the lower half of the trace's id and the id of the span
//! that began it, so that each process can name the parent of its own span without having been told.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SamplingResult, SdkTracer, ShouldSample,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;

thread_local! {
    /// The work whose first span this thread is about to make.
    static BEGINS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Upper half of the ids of traces that began with a sample of ours, so that they are valid whatever
/// the lower half is.
const UPPER: u64 = 0x696d_0000_0000_0000;

fn trace_id(work: u64) -> TraceId {
    TraceId::from((u128::from(UPPER) << 64) | u128::from(work))
}

/// Gives the first span of followed work its ids, and others random ones.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        match BEGINS.get() {
            Some(work) => trace_id(work),
            None => self.0.new_trace_id(),
        }
    }

    fn new_span_id(&self) -> SpanId {
        match BEGINS.get() {
            Some(work) => SpanId::from(work),
            None => self.0.new_span_id(),
        }
    }
}

/// Keeps what has been sampled already, and a part of the rest.
#[derive(Clone, Debug)]
pub(super) struct Sampling(Sampler);

impl Sampling {
    pub(super) fn of(ratio: f64) -> Self {
        Self(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampler = match BEGINS.get() {
            Some(_) => &Sampler::AlwaysOn,
            None => &self.0,
        };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Makes a span of each hop.
pub(super) struct Hops(pub(super) SdkTracer);

impl<S: Subscriber> Layer<S> for Hops {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let mut hop = Hop::default();
        event.record(&mut hop);
        hop.tell(&self.0, SystemTime::now());
    }
}

/// The fields of a hop.
#[derive(Debug, Default)]
struct Hop {
    work: u64,
    name: String,
    is_root: bool,
    time: Duration,
    attributes: Vec<KeyValue>,
}

impl Hop {
    fn tell(self, tracer: &SdkTracer, end: SystemTime) {
        let builder = tracer
            .span_builder(self.name)
            .with_start_time(end.checked_sub(self.time).unwrap_or(end))
            .with_attributes(self.attributes);
        let mut span = if self.is_root {
            BEGINS.set(Some(self.work));
            let span = tracer.build_with_context(builder, &Context::new());
            BEGINS.set(None);
            span
        } else {
            let began = SpanContext::new(
                trace_id(self.work),
                SpanId::from(self.work),
                TraceFlags::SAMPLED,
                true,
                TraceState::NONE,
            );
            let parent = Context::new().with_remote_span_context(began);
            tracer.build_with_context(builder, &parent)
        };
        span.end_with_timestamp(end);
    }
}

impl Visit for Hop {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "trace" => self.work = value,
            "micros" => self.time = Duration::from_micros(value),
            // Ids and counts are far below; what is not is shown as text.
            name => match i64::try_from(value) {
                Ok(value) => self.attributes.push(KeyValue::new(name, value)),
                Err(_) => self.attributes.push(KeyValue::new(name, value.to_string())),
            },
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "root" => self.is_root = value,
            name => self.attributes.push(KeyValue::new(name, value)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "hop" => value.clone_into(&mut self.name),
            name => self.attributes.push(KeyValue::new(name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.attributes.push(KeyValue::new(field.name(), value));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};
    use std::sync::{Arc, Mutex};

    use im_trace::{Trace, hop};
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Keeps what is exported.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
            self.0.lock().unwrap().extend(batch);
            ready(Ok(()))
        }
    }

    #[test]
    fn hops_of_one_message_are_one_trace_below_the_span_that_began_it() {
        let exporter = Kept::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_id_generator(Ids::default())
            // Nothing else is kept.
            .with_sampler(Sampling::of(0.0))
            .build();
        let hops = Hops(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(hops);
        tracing::subscriber::with_default(subscriber, || {
            hop!(Trace::from_wire(7), "commit", seq = 5_u64, ok = true);
            hop!(root: Trace::from_wire(7), "message", client = ?Some("x"));
        });
        provider.tracer("test").start("not followed").end();
        let spans = exporter.0.lock().unwrap().clone();
        let [commit, message] = spans.as_slice() else {
            panic!("two spans: {spans:?}");
        };
        assert_eq!((&*commit.name, &*message.name), ("commit", "message"));
        assert_eq!(
            commit.span_context.trace_id(),
            message.span_context.trace_id()
        );
        assert_eq!(commit.parent_span_id, message.span_context.span_id());
        assert_eq!(message.parent_span_id, SpanId::INVALID);
        assert_ne!(
            commit.span_context.span_id(),
            message.span_context.span_id()
        );
        assert!(commit.start_time <= commit.end_time);
        assert_eq!(
            commit.attributes,
            [KeyValue::new("seq", 5), KeyValue::new("ok", true)]
        );
        assert_eq!(
            message.attributes,
            [KeyValue::new("client", "Some(\"x\")".to_owned())]
        );
    }
}
