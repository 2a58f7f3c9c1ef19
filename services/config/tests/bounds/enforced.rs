//! The bounds of the schema against what is enforced.

use im_config::units::{ByteSize, Span};
use im_config::{Check as _, ImdConfig, Rule, table};
use serde_json::Value;
use toml::Value as Toml;

/// A key that holds a number, a time or a size, and its bounds in the schema.
#[derive(Debug)]
struct Bounded {
    key: String,
    least: Number,
    most: Number,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i64),
    Part(f64),
    Millis(u64),
    Bytes(u64),
}

impl Number {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => {
                let span = text
                    .parse()
                    .ok()
                    .map(|span: Span| Self::Millis(span.as_millis()));
                let size = || {
                    text.parse()
                        .ok()
                        .map(|size: ByteSize| Self::Bytes(size.as_u64()))
                };
                span.or_else(size)
            }
            Value::Number(number) => {
                let part = || number.as_f64().map(Self::Part);
                number.as_i64().map(Self::Whole).or_else(part)
            }
            _ => None,
        }
    }

    /// The next one beyond, if there is any that can be written.
    fn beyond(self, up: bool) -> Option<Self> {
        let step = |value: u64| {
            if up {
                value.checked_add(1)
            } else {
                value.checked_sub(1)
            }
        };
        match self {
            Self::Whole(value) => Some(Self::Whole(if up { value + 1 } else { value - 1 })),
            Self::Part(value) => Some(Self::Part(if up { value + 0.001 } else { value - 0.001 })),
            Self::Millis(value) => step(value).map(Self::Millis),
            Self::Bytes(value) => step(value).map(Self::Bytes),
        }
    }

    fn toml(self) -> Toml {
        match self {
            Self::Whole(value) => value.into(),
            Self::Part(value) => value.into(),
            Self::Millis(value) => Span::millis(value).to_string().into(),
            Self::Bytes(value) => ByteSize::bytes(value).to_string().into(),
        }
    }
}

/// All of them. A key without bounds is an error.
fn all() -> Vec<Bounded> {
    let mut all = Vec::new();
    let mut unbounded = Vec::new();
    let schema = ImdConfig::schema();
    walk(&schema, &schema, "", &mut |key, node| {
        let of = |names: [&str; 2]| names.iter().find_map(|name| node.get(*name));
        let least = of(["minimum", "x-minimum"]).and_then(Number::read);
        let most = of(["maximum", "x-maximum"]).and_then(Number::read);
        match (least, most) {
            (Some(least), Some(most)) => {
                let key = key.to_owned();
                all.push(Bounded { key, least, most });
            }
            _ => unbounded.push(key.to_owned()),
        }
    });
    assert!(unbounded.is_empty(), "keys without bounds: {unbounded:#?}");
    all
}

fn walk(schema: &Value, node: &Value, path: &str, found: &mut impl FnMut(&str, &Value)) {
    let target = match node.get("$ref").and_then(Value::as_str) {
        Some(name) => schema.pointer(name.trim_start_matches('#')).unwrap(),
        None => node,
    };
    let fields = target.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        walk(schema, field, &path, found);
    }
    let kind = target.get("type").and_then(Value::as_str);
    let is_number = matches!(kind, Some("integer" | "number"));
    let carries_unit = kind == Some("string") && target.get("pattern").is_some();
    if is_number || carries_unit {
        found(path, target);
    }
}

/// What is wrong with one key of a configuration that is the default otherwise.
fn judge(key: &str, value: Number) -> Result<(), Refused> {
    // A table that has no defaults for its fields gets both.
    let mut all = toml::Table::try_from(ImdConfig::default()).unwrap();
    table::merge(&mut all, table::nest(key, value.toml()));
    let config: ImdConfig = all.try_into().map_err(|_| Refused::Type)?;
    let violations = config.validate().err().map(|all| all.0).unwrap_or_default();
    let mut own = violations.into_iter().filter(|found| found.key == key);
    // What another key asks for is not the key's own bound.
    let relative = |rule: &Rule| matches!(rule, Rule::NotBelow { .. } | Rule::NotAbove { .. });
    match own.find(|found| !relative(&found.rule)) {
        Some(found) => Err(Refused::Rule(found.rule)),
        None => Ok(()),
    }
}

#[derive(Debug)]
enum Refused {
    /// The type cannot hold it.
    Type,
    Rule(#[allow(dead_code, reason = "for the message of a failure")] Rule),
}

#[test]
fn every_key_is_accepted_at_its_bounds_and_refused_one_beyond() {
    let all = all();
    assert!(all.len() > 150, "{}", all.len());
    for Bounded { key, least, most } in all {
        for (at, up) in [(least, false), (most, true)] {
            judge(&key, at).unwrap_or_else(|refused| panic!("{key} = {at:?}: {refused:?}"));
            if let Some(beyond) = at.beyond(up) {
                let is_refused = judge(&key, beyond).is_err();
                assert!(is_refused, "{key} = {beyond:?}, bound {at:?}");
            }
        }
    }
}

#[test]
fn no_number_hides_its_unit_in_its_name() {
    let schema = ImdConfig::schema();
    walk(&schema, &schema, "", &mut |key, node| {
        let ends = ["_ms", "_s", "_secs", "_seconds", "_bytes", "_kib", "_mib"];
        let is_number = node.get("pattern").is_none();
        let hides = is_number && ends.iter().any(|end| key.ends_with(end));
        assert!(!hides, "{key}");
    });
}
