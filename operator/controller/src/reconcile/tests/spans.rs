//! The span around each look.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::*;

/// Spans as they begin, and messages with the spans that they are in.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Heard {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let within = context.event_scope(event).into_iter().flatten();
        let within: Vec<_> = within.map(|span| span.name()).collect();
        let mut text = Text(format!("{within:?}"));
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
}

#[tokio::test]
async fn a_look_is_a_span_that_names_the_object_and_what_is_logged_in_it_inherits_it() {
    // With a second one, an event that another test's thread meets first is kept for ours too.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let heard = Heard::default();
    let subscriber = tracing_subscriber::registry().with(heard.clone());
    let subscribed = tracing::subscriber::set_default(subscriber);
    let world = World::new();
    world.look().await;
    world.look().await;
    drop(subscribed);
    let heard = heard.0.lock().unwrap();
    let spans = heard
        .iter()
        .filter(|line| *line == "reconcile namespace=\"chat\" name=\"demo\"");
    assert_eq!(spans.count(), 2, "{heard:#?}");
    let within = heard
        .iter()
        .filter(|line| line.starts_with("[\"reconcile\"]"));
    assert!(within.count() > 0, "{heard:#?}");
}
