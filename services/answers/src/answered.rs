//! What an answer may cost, and one that was made: how it leaves, whole or in parts.

use std::collections::VecDeque;

use bytes::Bytes;
use im_proto_rpc::v1;

/// Bytes that a body costs besides its contents.
const FIXED: usize = 64;

/// What a query may cost, known before it is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Most bytes that its answer takes while it is made, copies included.
    pub bytes: usize,
    /// It is about long lists, which have room of their own.
    pub large: bool,
    /// It changes something: once begun it is not given up half-way.
    pub changes: bool,
}

/// The body of one frame: what is the asker's own, and what may be shared with other answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The asker's own, or all of it.
    pub head: Bytes,
    /// What follows it and may be shared.
    pub rest: Bytes,
}

impl From<Bytes> for Body {
    fn from(head: Bytes) -> Self {
        let rest = Bytes::new();
        Self { head, rest }
    }
}

impl Body {
    fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    /// In one piece; copies what is in two.
    pub fn whole(self) -> Bytes {
        if self.rest.is_empty() {
            return self.head;
        }
        [self.head, self.rest].concat().into()
    }
}

/// What is answered to a query.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// Whether there are frames, and if not, why.
    pub outcome: v1::answer::Outcome,
    /// Of the frames.
    pub command: u32,
    /// One for each frame.
    pub bodies: Vec<Body>,
}

impl Answered {
    /// No frames.
    pub fn nothing(outcome: v1::answer::Outcome) -> Self {
        Self {
            outcome,
            ..Self::default()
        }
    }

    /// Its bytes, never less than it has on the link when it goes whole.
    pub fn weight(&self) -> usize {
        let bodies = self.bodies.iter();
        FIXED + bodies.map(|body| FIXED + body.len()).sum::<usize>()
    }

    /// All of it at once. Copies the bodies that are in two pieces.
    pub fn whole(self) -> v1::Answer {
        let mut bodies = self.bodies.into_iter().map(Body::whole);
        v1::Answer {
            outcome: self.outcome.into(),
            command: self.command,
            body: bodies.next().unwrap_or_default(),
            more: bodies.collect(),
            ..v1::Answer::default()
        }
    }

    /// What is to be sent of it, part by part.
    pub fn parts(self) -> Parts {
        let mut pieces = VecDeque::with_capacity(2 * self.bodies.len());
        for body in self.bodies {
            pieces.push_back((body.head, true));
            if !body.rest.is_empty() {
                pieces.push_back((body.rest, false));
            }
        }
        if let Some((_, begins)) = pieces.front_mut() {
            *begins = false;
        }
        Parts {
            outcome: self.outcome,
            command: self.command,
            pieces,
        }
    }
}

/// What is left of an answer that leaves in parts; nothing of it is copied.
#[derive(Debug)]
pub struct Parts {
    outcome: v1::answer::Outcome,
    command: u32,
    /// Each with whether it begins the body of another frame.
    pieces: VecDeque<(Bytes, bool)>,
}

impl Parts {
    /// Bytes of the next part, of at most `max` bytes of a body, never less than on the link.
    pub fn next_weight(&self, max: usize) -> usize {
        let next = self.pieces.front().map_or(0, |(piece, _)| piece.len());
        2 * FIXED + next.min(max)
    }

    /// The next part: at most `max` bytes of one body. The last one says that it is.
    pub fn next(&mut self, max: usize) -> v1::Answer {
        let mut part = v1::Answer {
            outcome: self.outcome.into(),
            command: self.command,
            ..v1::Answer::default()
        };
        if let Some((piece, begins)) = self.pieces.front_mut() {
            let slice = piece.split_to(piece.len().min(max));
            if std::mem::take(begins) {
                part.more.push(slice);
            } else {
                part.body = slice;
            }
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        part.unfinished = !self.pieces.is_empty();
        part
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn body(head: &'static [u8], rest: &'static [u8]) -> Body {
        Body {
            head: Bytes::from_static(head),
            rest: Bytes::from_static(rest),
        }
    }

    fn answered(bodies: Vec<Body>) -> Answered {
        Answered {
            command: 521,
            bodies,
            ..Answered::default()
        }
    }

    /// Puts the parts together as a msg server does.
    fn gathered(answer: Answered, max: usize) -> (Vec<Vec<u8>>, usize) {
        let mut parts = answer.parts();
        let (mut bodies, mut count) = (vec![Vec::new()], 0);
        loop {
            let weight = parts.next_weight(max);
            let part = parts.next(max);
            assert!(weight >= part.encoded_len());
            count += 1;
            bodies.last_mut().unwrap().extend_from_slice(&part.body);
            bodies.extend(part.more.iter().map(|body| body.to_vec()));
            if !part.unfinished {
                return (bodies, count);
            }
        }
    }

    #[test]
    fn parts_together_are_the_whole() {
        let cases = [
            (vec![], 1),
            (vec![body(b"", b"")], 1),
            (vec![body(b"abc", b"")], 1),
            (vec![body(b"abc", b"defghij")], 3),
            (
                vec![
                    body(b"abc", b"defg"),
                    body(b"h", b""),
                    body(b"i", b"jklmno"),
                ],
                6,
            ),
        ];
        for (bodies, count) in cases {
            let whole: Vec<Vec<u8>> = bodies
                .iter()
                .map(|body| body.clone().whole().to_vec())
                .collect();
            let answer = answered(bodies);
            let (gathered, parts) = gathered(answer.clone(), 5);
            assert_eq!(parts, count);
            let v1::Answer { body, more, .. } = answer.whole();
            let sent: Vec<_> = std::iter::once(body).chain(more).collect();
            assert_eq!(gathered, sent);
            assert!(whole.is_empty() || whole == sent);
        }
    }

    #[test]
    fn a_whole_answer_has_at_least_its_weight() {
        let answer = answered(vec![body(b"abc", b"defg"); 30]);
        assert!(answer.weight() >= answer.clone().whole().encoded_len());
    }
}
