//! Traces of sampled messages and requests: which are followed, and what each process says of them.
//!
//! A msg server decides with [`Trace::sample`] whether what a client sent is followed. The id of what is
//! followed travels with it between processes; what is not carries 0, which costs no byte on the wire.
//! Whoever has done its part says so with [`hop!`]. A hop is an event of `tracing` with the target
//! [`TARGET`], not a span: nothing is kept while the work is done, and nothing at all happens for what is
//! not followed. The process's telemetry makes spans of OpenTelemetry of them.
//!
//! Beside that part of everything, an administrator may [`arm`] a trace of some messages for some minutes.
//! The path of those is remembered too, with [`note`], in a ring of each process ([`hops`]), which forgets
//! the oldest. Ids of such messages tell of which trace they are, so that only the process that they come
//! to needs to know of it, and nobody keeps a list.
//!
//! Knows no exporter, no role and no protocol.

mod armed;
mod path;
mod ring;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

pub use armed::{About, ArmError, MAX_ARMED, MAX_PER_SECOND, MAX_TIME, MAX_TRACE, Order, State};
pub use path::{Hop, Step, arm, hops, note, set_ring, state, stop};
pub use ring::{Page, Wanted};
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
        Self::sampled(FOLLOWED.load(Ordering::Relaxed))
    }

    /// The same of a message, for which a trace may be armed. Without a ratio and such a trace it costs one
    /// load.
    pub fn of_message(about: About) -> Self {
        let followed = FOLLOWED.load(Ordering::Relaxed);
        if followed & ARMED != 0
            && let Some(id) = path::follow(about)
        {
            return Self::from_wire(id);
        }
        Self::sampled(followed)
    }

    fn sampled(followed: u64) -> Self {
        let below = followed & !ARMED;
        if below == 0 || rand::random::<u64>() > below {
            return Self::NONE;
        }
        // Ids of armed traces have the mark.
        Self::from_wire((rand::random::<u64>() & !armed::MARK).max(1))
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

/// What is followed; 0 is nothing. Random numbers up to it are; the lowest bit, [`ARMED`], is not part of
/// that bound, but says that a trace is armed.
static FOLLOWED: AtomicU64 = AtomicU64::new(0);

const ARMED: u64 = 1;

/// Whether messages are asked about at [`path::follow`].
fn set_armed(any: bool) {
    if any {
        FOLLOWED.fetch_or(ARMED, Ordering::Relaxed);
    } else {
        FOLLOWED.fetch_and(!ARMED, Ordering::Relaxed);
    }
}

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
    let changed = FOLLOWED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |followed| {
        Some(below & !ARMED | followed & ARMED)
    });
    // It cannot fail: there is always a next value.
    changed.ok();
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
    use std::time::Duration;

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

    /// One test: the ratio and the armed traces are those of the process.
    #[tokio::test(start_paused = true)]
    async fn a_ratio_of_what_is_asked_about_is_followed_and_messages_of_armed_traces() {
        let is_followed = |trace: &Trace| *trace != Trace::NONE;
        let followed = || {
            (0..10_000)
                .filter(|_| is_followed(&Trace::sample()))
                .count()
        };
        assert_eq!(followed(), 0, "nothing by itself");
        set_ratio(1.0);
        assert_eq!(followed(), 10_000);
        // The standard deviation of the number is 30.
        set_ratio(0.1);
        assert!((700..1_300).contains(&followed()));

        let about = About {
            from: 1,
            to: 2,
            is_group: false,
        };
        let order = Order {
            trace: 5,
            user: 1,
            with: 0,
            group: 0,
            one_in: 1,
            per_second: 100,
            time: Duration::from_secs(60),
        };
        let steps = [Step::Received, Step::Committed];
        let wanted = Wanted {
            trace: 5,
            steps: &steps,
            after: 0,
            messages: 100,
            hops: 100,
        };
        arm(order).unwrap();
        set_ratio(0.0);
        assert_eq!(
            FOLLOWED.load(Ordering::Relaxed),
            ARMED,
            "the ratio leaves it"
        );
        assert_eq!(followed(), 0, "other work is none of its business");
        let message = Trace::of_message(about);
        assert!(is_followed(&message));
        note(message.to_wire(), Hop::of(Step::Received));
        let committed = Hop {
            position: 9,
            ..Hop::of(Step::Committed)
        };
        note(message.to_wire(), committed);
        note(0, Hop::of(Step::Received));
        // Followed for another reason: there are spans of it, and no hops here.
        note(7, Hop::of(Step::Received));
        let page = hops(&wanted);
        let told: Vec<_> = page
            .hops
            .iter()
            .map(|hop| (hop.step, hop.position))
            .collect();
        assert_eq!(told, [(Step::Received, 0), (Step::Committed, 9)]);
        assert!(page.hops.is_sorted_by_key(|hop| hop.at_us) && !page.more);
        let (active, over) = (state(5).unwrap(), Duration::from_secs(60));
        assert!(active.is_active && active.followed == 1);

        tokio::time::advance(over).await;
        assert_eq!(Trace::of_message(about), Trace::NONE);
        assert_eq!(FOLLOWED.load(Ordering::Relaxed), 0, "one load again");
        assert!(!state(5).unwrap().is_active);
        assert_eq!(hops(&wanted).hops.len(), 2, "what it has found stays");
        let again = Order { trace: 6, ..order };
        arm(again).unwrap();
        assert_eq!(FOLLOWED.load(Ordering::Relaxed), ARMED);
        assert!(!stop(6).unwrap().is_active && stop(7).is_none());
        assert_eq!(FOLLOWED.load(Ordering::Relaxed), 0, "at once");
        assert_eq!(Trace::of_message(about), Trace::NONE);
        set_ring(0);
        assert!(hops(&wanted).hops.is_empty());
    }

    #[test]
    fn what_is_not_followed_is_0_on_the_wire() {
        assert_eq!(Trace::NONE.to_wire(), 0);
        assert_eq!(Trace::from_wire(0), Trace::NONE);
        assert_eq!(Trace::from_wire(u64::MAX).to_wire(), u64::MAX);
    }
}
