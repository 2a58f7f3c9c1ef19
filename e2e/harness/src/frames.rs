//! Frames that a client might send: made from the table of commands and the rules of their messages,
//! good, nearly good and hopeless.

use im_codec::{Command, Header, encode_raw};
use im_proto_teamtalk::{FieldKind, FieldRule, Label, MessageRule};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngCore, SeedableRng};

/// Numbers at which something might break.
const EDGES: [u64; 13] = [
    0,
    1,
    2,
    17,
    127,
    128,
    65_535,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 63,
    u64::MAX,
];
/// Lengths at which something might break, bytes.
const SHORT: [usize; 5] = [0, 1, 16, 127, 128];
/// The same, of what takes time and seldom breaks anything.
const LONG: [usize; 5] = [129, 512, 513, 4_097, 70_000];
/// Ids up to here belong to somebody, so that requests reach what they ask for.
const IDS: u64 = 150;

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// A frame, or a piece of one.
    pub bytes: Vec<u8>,
    /// Whether nothing that follows can be read as frames any more.
    pub ends: bool,
}

/// An endless supply, the same for the same seed.
#[derive(Debug)]
pub struct Frames {
    random: StdRng,
    commands: Vec<Command>,
}

impl Frames {
    /// Frames of all commands except these.
    pub fn new(seed: u64, except: &[Command]) -> Self {
        let commands = Command::ALL.into_iter();
        Self {
            random: StdRng::seed_from_u64(seed),
            commands: commands
                .filter(|command| !except.contains(command))
                .collect(),
        }
    }

    /// The next one.
    #[allow(
        clippy::should_implement_trait,
        reason = "it never ends, and no adapter of iterators is wanted"
    )]
    pub fn next(&mut self) -> Made {
        let command = one_of(&mut self.random, &self.commands).unwrap_or(Command::HeartBeat);
        let mut body = Vec::new();
        self.body(command.message().rule(), 0, &mut body);
        if self.one_in(12) {
            let length = self.random.random_range(0..=body.len());
            body.truncate(length);
        }
        if self.one_in(12) {
            let mut noise = vec![0; self.random.random_range(0..20)];
            self.random.fill_bytes(&mut noise);
            body.extend(noise);
        }
        if self.one_in(20) {
            // Groups of the obsolete kind, opened and never closed.
            let deep = one_of(&mut self.random, &[5, 15, 16, 17, 40]).unwrap_or_default();
            body.extend(std::iter::repeat_n(0x0b, deep));
        }
        let mut bytes = encode_raw(command, self.random.random(), &body).to_vec();
        if self.one_in(16) {
            bytes = self.odd_header(command, &body);
        }
        if self.one_in(25) {
            for _ in 0..3 {
                let at = self.random.random_range(16..bytes.len().max(17));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.random.random_range(0..8);
                }
            }
        }
        let ends = self.one_in(60);
        if ends {
            self.spoil(&mut bytes);
        }
        Made { bytes, ends }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    /// Unknown commands, foreign services, odd values.
    fn odd_header(&mut self, command: Command, body: &[u8]) -> Vec<u8> {
        let random = &mut self.random;
        let header = Header {
            service_id: random.random_range(0..0x60),
            command_id: match random.random_range(0..3) {
                0 => random.random(),
                1 => random.random_range(0..0x20),
                _ => command.id(),
            },
            version: random.random(),
            flag: random.random(),
            reserved: random.random(),
            ..Header::new(command, random.random(), body.len())
        };
        [&header.to_bytes()[..], body].concat()
    }

    /// A length that cannot be, or more announced than comes.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        let length: u32 = match random.random_range(0..4) {
            0 => random.random_range(0..16),
            1 => random.random_range((1 << 20) + 1..=u32::MAX),
            2 => u32::MAX,
            _ => {
                let kept = random.random_range(1..bytes.len().max(2));
                bytes.truncate(kept);
                return;
            }
        };
        bytes.splice(..4, length.to_be_bytes());
    }

    fn body(&mut self, rule: &'static MessageRule, depth: usize, out: &mut Vec<u8>) {
        for field in rule.fields {
            let times = match field.label {
                Label::Required if self.one_in(15) => 0,
                Label::Required => 1,
                Label::Optional => self.random.random_range(0..2),
                Label::Repeated => one_of(&mut self.random, &[0, 1, 1, 3, 40]).unwrap_or_default(),
            };
            for _ in 0..times {
                self.field(field, depth, out);
            }
        }
    }

    fn field(&mut self, field: &FieldRule, depth: usize, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        let mut wire = match field.kind {
            FieldKind::Number => {
                let number = self.number();
                varint(number, &mut value);
                0
            }
            FieldKind::Enum(declared) => {
                let number = if self.one_in(10) {
                    self.number()
                } else {
                    self.declared(declared)
                };
                varint(number, &mut value);
                0
            }
            FieldKind::Text => {
                self.bytes(b"aA0\xc3\xa9", &mut value);
                2
            }
            FieldKind::Bytes => {
                self.bytes(b"a\0\xff", &mut value);
                2
            }
            FieldKind::Message(rule) => {
                let mut inner = Vec::new();
                if depth < 4 {
                    self.body(rule, depth + 1, &mut inner);
                }
                varint(inner.len() as u64, &mut value);
                value.extend(inner);
                2
            }
        };
        if self.one_in(40) {
            wire = one_of(&mut self.random, &[0, 1, 2, 3, 5]).unwrap_or_default();
        }
        varint(u64::from(field.number) << 3 | wire, out);
        out.extend(value);
    }

    fn number(&mut self) -> u64 {
        if self.one_in(3) {
            one_of(&mut self.random, &EDGES).unwrap_or_default()
        } else {
            self.random.random_range(0..IDS)
        }
    }

    fn declared(&mut self, declared: u64) -> u64 {
        let values: Vec<u64> = (0..64).filter(|n| declared >> n & 1 == 1).collect();
        one_of(&mut self.random, &values).unwrap_or_default()
    }

    fn bytes(&mut self, alphabet: &[u8], out: &mut Vec<u8>) {
        let lengths = if self.one_in(50) { &LONG } else { &SHORT };
        let length = one_of(&mut self.random, lengths).unwrap_or_default();
        varint(length as u64, out);
        let first = self.random.random_range(0..alphabet.len());
        out.extend(alphabet.iter().cycle().skip(first).take(length));
    }
}

fn one_of<T: Copy>(random: &mut StdRng, choice: &[T]) -> Option<T> {
    choice.choose(random).copied()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use im_proto_teamtalk::validate;

    use super::*;

    /// A generator whose frames were all refused, or all accepted, would test one branch.
    #[test]
    fn every_command_comes_with_good_bodies_and_with_bad_ones() {
        let mut frames = Frames::new(7, &[]);
        let mut good = std::collections::BTreeMap::new();
        for _ in 0..40_000 {
            let made = frames.next();
            let Some(header) = made.bytes.first_chunk().map(Header::parse) else {
                continue;
            };
            let Some(command) = header.command().filter(|_| !made.ends) else {
                continue;
            };
            let is_good = validate(command.message(), &made.bytes[16..]).is_ok();
            let (bad, ok) = good.entry(command).or_insert((0, 0));
            *(if is_good { ok } else { bad }) += 1;
        }
        assert_eq!(good.len(), Command::ALL.len());
        for (command, (bad, ok)) in good {
            assert!(bad > 5 && ok > 20, "{command:?}: {bad} bad, {ok} good");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_frames() {
        let [mut a, mut b] = [3, 3].map(|seed| Frames::new(seed, &[]));
        for _ in 0..100 {
            assert_eq!(a.next().bytes, b.next().bytes);
        }
    }
}
