//! A text that others changed replaces the old one by an overlap of both.
//!
//! Servers present the first value of a Secret and accept all of them, and each takes a change over
//! when its node brings it. So the new value is accepted everywhere before anybody presents it, and the
//! old one is presented by nobody before it is accepted no more. Where this is, stands in annotations of
//! the Secret: another process goes on with it.

use im_operator_api::labels::{ROTATION_SINCE as SINCE, ROTATION_STEP as STEP};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;

use super::Text;

/// Within this time every node has brought a change to its pods.
const SPREAD: SignedDuration = SignedDuration::from_secs(120);

/// How far the way to a new text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Everybody learns to accept the new value.
    Accept,
    /// Everybody learns to present it.
    Present,
}

/// A way to a new text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    pub(super) step: Step,
    pub(super) since: Timestamp,
}

impl Rotation {
    /// The way on which a Secret with this text is.
    pub(super) fn of(live: &Secret, text: &Text) -> Option<Self> {
        let annotations = live.metadata.annotations.as_ref()?;
        let step = match annotations.get(STEP)?.as_str() {
            "Accept" => Step::Accept,
            "Present" => Step::Present,
            _ => return None,
        };
        let since = annotations.get(SINCE)?.parse().ok()?;
        // Somebody else has ended it.
        (values(text).len() > 1).then_some(Self { step, since })
    }

    /// What follows with the time: the text, and the way from there, if it is not at its end.
    pub(super) fn next(&self, text: &Text, now: Timestamp) -> Option<(Text, Option<Self>)> {
        if now.duration_since(self.since) < SPREAD {
            return None;
        }
        let values = values(text);
        let (first, last) = (values.first()?, values.last()?);
        Some(match self.step {
            Step::Accept => (joined(last, first), Some(Self::new(Step::Present, now))),
            Step::Present => (Text((*first).to_owned()), None),
        })
    }

    fn new(step: Step, since: Timestamp) -> Self {
        Self { step, since }
    }

    /// How it is written on the Secret.
    pub(super) fn annotations(&self) -> [(String, String); 2] {
        let step = match self.step {
            Step::Accept => "Accept",
            Step::Present => "Present",
        };
        [(STEP, step.to_owned()), (SINCE, self.since.to_string())]
            .map(|(key, value)| (key.to_owned(), value))
    }
}

/// The way from one text to another; none where they share a value, as on a way that somebody goes by
/// hand.
pub(super) fn begin(
    before: &Text,
    text: &Text,
    now: Timestamp,
) -> Option<(Text, Option<Rotation>)> {
    let (old, new) = (values(before), values(text));
    if old.iter().any(|value| new.contains(value)) {
        return None;
    }
    let both = joined(old.first()?, new.first()?);
    Some((both, Some(Rotation::new(Step::Accept, now))))
}

fn joined(first: &str, second: &str) -> Text {
    Text(format!("{first}\n{second}"))
}

/// The values of a text, one a line.
fn values(text: &Text) -> Vec<&str> {
    let lines = text.0.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn text(text: &str) -> Text {
        Text(text.to_owned())
    }

    #[test]
    fn at_every_step_what_servers_present_is_accepted_by_those_one_step_behind_or_ahead() {
        let (mut now, old, new) = (at(0), text("old"), text("new"));
        let mut seen = vec![old.clone()];
        let mut next = begin(&old, &new, now);
        while let Some((text, rotation)) = next {
            seen.push(text.clone());
            let Some(rotation) = rotation else { break };
            assert_eq!(rotation.next(&text, at(now.as_second() + 119)), None);
            now = at(now.as_second() + 120);
            next = rotation.next(&text, now);
        }
        let texts: Vec<&str> = seen.iter().map(|text| text.0.as_str()).collect();
        assert_eq!(texts, ["old", "old\nnew", "new\nold", "new"]);
        for pair in seen.windows(2) {
            for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                assert!(values(to).contains(&values(from)[0]), "{texts:?}");
            }
        }
    }

    #[test]
    fn whoever_goes_the_way_by_hand_is_left_alone() {
        for (before, after) in [
            ("old", "old\nnew"),
            ("old\nnew", "new\nold"),
            ("new\nold", "new"),
        ] {
            assert_eq!(begin(&text(before), &text(after), at(0)), None);
        }
    }

    #[test]
    fn a_way_that_a_tool_began_with_both_values_is_gone_to_its_end() {
        // As `kubectl im rotate` writes it, in one step.
        let mut secret = Secret::default();
        let step = [(STEP, "Accept"), (SINCE, "1970-01-01T00:00:00Z")];
        let step = step.map(|(key, value)| (key.to_owned(), value.to_owned()));
        secret.metadata.annotations = Some(step.into());
        let both = text("old\nnew");
        assert_eq!(begin(&text("old"), &both, at(0)), None);
        let begun = Rotation::of(&secret, &both).unwrap();
        assert_eq!(begun.next(&both, at(119)), None);
        let (text_then, then) = begun.next(&both, at(120)).unwrap();
        assert_eq!(text_then, text("new\nold"));
        let end = then.unwrap().next(&text_then, at(240));
        assert_eq!(end, Some((text("new"), None)));
    }

    #[test]
    fn another_process_reads_where_it_is_from_the_secret() {
        let rotation = Rotation::new(Step::Present, at(77));
        let mut secret = Secret::default();
        secret.metadata.annotations = Some(rotation.annotations().into());
        assert_eq!(Rotation::of(&secret, &text("new\nold")), Some(rotation));
        assert_eq!(Rotation::of(&secret, &text("new")), None, "ended by hand");
        assert_eq!(Rotation::of(&Secret::default(), &text("a\nb")), None);
    }
}
