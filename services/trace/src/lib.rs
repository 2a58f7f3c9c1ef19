//! Traces of sampled messages and requests: which are followed, and what each process says of them.
//!
//! A msg server decides with [`Trace::sample`] whether what a client sent is followed. The id of what is
//! followed travels with it between processes; what is not carries 0, which costs no byte on the wire.
//! Whoever has done its part says so with [`hop!`]. A hop is an event of `tracing` with the target
//! [`TARGET`], not a span: nothing is kept while the work is done, and nothing at all happens for what is
//! not followed. The process's telemetry makes spans of OpenTelemetry of them.
//!
//! Knows no exporter, no role and no protocol.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[doc(hidden)]
pub use tracing;

/// Target of the events that [`hop!`] makes.
pub const TARGET: &str = "im_trace";

/// A part of a piece of work, which is followed or not: the id of the whole, and since when this process
/// has been at its part. Takes a word where it is not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(Option<Box<Part>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    id: NonZeroU64,
    since: Instant,
}

impl Trace {
    /// Not followed.
    pub const NONE: Self = Self(None);

    /// Decides whether a new piece of work is followed, which begins now. Without a ratio it costs one
    /// load.
    pub fn sample() -> Self {
        let below = BELOW.load(Ordering::Relaxed);
        if below == 0 || rand::random::<u64>() > below {
            return Self::NONE;
        }
        Self::from_wire(rand::random::<u64>().max(1))
    }

    /// The part that begins now of work with an id that came from elsewhere; 0 is [`Self::NONE`].
    pub fn from_wire(id: u64) -> Self {
        let id = NonZeroU64::new(id);
        Self(id.map(|id| {
            let since = Instant::now();
            Box::new(Part { id, since })
        }))
    }

    /// What travels with the work; 0 when it is not followed.
    pub fn to_wire(&self) -> u64 {
        self.0.as_ref().map_or(0, |part| part.id.get())
    }

    /// Microseconds since the part began, if it is followed.
    pub fn micros(&self) -> Option<u64> {
        let passed = self.0.as_ref()?.since.elapsed();
        Some(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Random numbers up to it are followed; 0 follows nothing.
static BELOW: AtomicU64 = AtomicU64::new(0);

/// Follows this part of what [`Trace::sample`] is asked about from now on, in the whole process: 0
/// nothing, 1 everything.
pub fn set_ratio(ratio: f64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of the numbers; the cast ends at the greatest of them"
    )]
    let below = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    BELOW.store(below, Ordering::Relaxed);
}

/// Says that a part of a piece of work is done: `hop!(trace, "commit", field = value, …)`.
///
/// Fields are those of `tracing`'s macros. The part that began it all, which the others belong to, is
/// `hop!(root: trace, …)`. Nothing happens, and fields are not computed, when the work is not followed.
#[macro_export]
macro_rules! hop {
    (root: $trace:expr, $name:expr $(, $($fields:tt)+)?) => {
        $crate::hop!(@ true, $trace, $name $(, $($fields)+)?)
    };
    (@ $root:literal, $trace:expr, $name:expr $(, $($fields:tt)+)?) => {{
        let trace: &$crate::Trace = &$trace;
        if let Some(micros) = trace.micros() {
            $crate::tracing::trace!(
                target: $crate::TARGET,
                trace = trace.to_wire(),
                hop = $name,
                root = $root,
                micros
                $(, $($fields)+)?
            );
        }
    }};
    ($trace:expr, $name:expr $(, $($fields:tt)+)?) => {
        $crate::hop!(@ false, $trace, $name $(, $($fields)+)?)
    };
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// The events as text, without their times.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() != "micros" {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut text = Text(format!("{} ", event.metadata().target()));
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0.trim_end().to_owned());
        }
    }

    #[test]
    fn only_what_is_followed_is_told_and_its_fields_computed() {
        let heard = Heard::default();
        let subscriber = tracing_subscriber::registry().with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            let mut computed = 0;
            let mut count = || {
                computed += 1;
                computed
            };
            hop!(Trace::NONE, "commit", seq = count());
            hop!(Trace::from_wire(7), "commit", seq = count());
            hop!(root: Trace::from_wire(7), "message");
            assert_eq!(computed, 1);
        });
        let heard = heard.0.lock().unwrap().clone();
        assert_eq!(
            heard,
            [
                "im_trace trace=7 hop=\"commit\" root=false seq=1",
                "im_trace trace=7 hop=\"message\" root=true",
            ]
        );
    }

    /// One test: the ratio is that of the process.
    #[test]
    fn a_ratio_of_what_is_asked_about_is_followed() {
        let is_followed = |trace: Trace| trace != Trace::NONE;
        let followed = || (0..10_000).filter(|_| is_followed(Trace::sample())).count();
        assert_eq!(followed(), 0, "nothing by itself");
        set_ratio(1.0);
        assert_eq!(followed(), 10_000);
        // The standard deviation of the number is 30.
        set_ratio(0.1);
        assert!((700..1_300).contains(&followed()));
        set_ratio(0.0);
        assert_eq!(followed(), 0);
    }

    #[test]
    fn what_is_not_followed_is_0_on_the_wire() {
        assert_eq!(Trace::NONE.to_wire(), 0);
        assert_eq!(Trace::from_wire(0), Trace::NONE);
        assert_eq!(Trace::from_wire(u64::MAX).to_wire(), u64::MAX);
    }
}
