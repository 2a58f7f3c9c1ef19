//! Bounds of values: what checks them also tells the schema and the reference.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::units::{ByteSize, Span};

/// A value that can be bounded, as a message or a schema shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A whole number.
    Whole(u64),
    /// A part, such as 0.5.
    Part(f64),
    /// A length of time.
    Span(Span),
    /// A number of bytes.
    Size(ByteSize),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Part(number) => number.fmt(f),
            Self::Span(span) => span.fmt(f),
            Self::Size(size) => size.fmt(f),
        }
    }
}

impl Amount {
    /// Whether it is a whole number of these; amounts of different kinds never are.
    pub(crate) fn is_multiple_of(&self, step: &Self) -> bool {
        match (self, step) {
            (Self::Whole(is), Self::Whole(step)) => is.is_multiple_of(*step),
            (Self::Span(is), Self::Span(step)) => is.as_millis().is_multiple_of(step.as_millis()),
            (Self::Size(is), Self::Size(step)) => is.as_u64().is_multiple_of(step.as_u64()),
            _ => false,
        }
    }
}

macro_rules! amount {
    ($($type:ty => $value:ident, $amount:expr;)+) => {$(
        impl From<$type> for Amount {
            fn from($value: $type) -> Self {
                $amount
            }
        }
    )+};
}

amount! {
    u16 => value, Self::Whole(value.into());
    u32 => value, Self::Whole(value.into());
    u64 => value, Self::Whole(value);
    usize => value, Self::Whole(value as u64);
    f64 => value, Self::Part(value);
    Span => value, Self::Span(value);
    ByteSize => value, Self::Size(value);
}

/// What a key declares about its values.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// From the least to the most, both allowed.
    Range {
        /// The least.
        least: Amount,
        /// The most.
        most: Amount,
    },
    /// A text has at most so many bytes.
    Length(usize),
    /// A whole number of such steps.
    Steps(Amount),
    /// No less than another key of the same table, or what is said in words.
    NotBelow(String),
    /// No more than another key of the same table, or what is said in words.
    NotAbove(String),
}

/// A key and what it declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// Dotted path of the key.
    pub key: String,
    /// Its bound.
    pub bound: Bound,
}

/// Writes bounds into the schema of the configuration.
///
/// Numbers get `minimum` and `maximum`, texts `maxLength`. JSON Schema cannot compare times and sizes:
/// they get `x-minimum`, `x-maximum` and `x-multiple-of`, in the form of the value. What depends on another key stands in
/// `x-at-least` and `x-at-most`.
pub(crate) fn write(schema: &mut Value, declared: &[Declared]) {
    for Declared { key, bound } in declared {
        if let Some(property) = property(schema, key) {
            for (keyword, value) in keywords(bound) {
                property.insert(keyword.to_owned(), value);
            }
        }
    }
}

fn keywords(bound: &Bound) -> Vec<(&'static str, Value)> {
    let (names, least, most) = match bound {
        Bound::Range { least, most } => {
            let names = match least {
                Amount::Whole(_) | Amount::Part(_) => ["minimum", "maximum"],
                Amount::Span(_) | Amount::Size(_) => ["x-minimum", "x-maximum"],
            };
            (names, least, most)
        }
        Bound::Steps(step) => return vec![("x-multiple-of", shown(step))],
        Bound::Length(most) => return vec![("maxLength", json!(most))],
        Bound::NotBelow(other) => return vec![("x-at-least", json!(other))],
        Bound::NotAbove(other) => return vec![("x-at-most", json!(other))],
    };
    vec![(names[0], shown(least)), (names[1], shown(most))]
}

fn shown(amount: &Amount) -> Value {
    match amount {
        Amount::Whole(number) => json!(number),
        Amount::Part(number) => json!(number),
        Amount::Span(span) => json!(span),
        Amount::Size(size) => json!(size),
    }
}

/// The schema of a key, through references.
fn property<'a>(schema: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let mut pointer = String::new();
    for part in key.split('.') {
        let node = schema.pointer(&pointer)?;
        if let Some(target) = node.get("$ref").and_then(Value::as_str) {
            target.trim_start_matches('#').clone_into(&mut pointer);
        }
        pointer.push_str("/properties/");
        pointer.push_str(part);
    }
    schema.pointer_mut(&pointer)?.as_object_mut()
}
