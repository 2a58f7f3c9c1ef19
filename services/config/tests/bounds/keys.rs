//! The keys of the configuration that hold a number, a time or a size.

use im_config::ImdConfig;
use serde_json::Value;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Path, such as `msg.max_connections`; `*.link.…` when every role has the same one.
    pub(crate) path: String,
    /// Unit of the value; empty for a plain number and for values that carry their unit.
    pub(crate) unit: &'static str,
    /// Default as a person reads it.
    pub(crate) default: String,
    /// The description, on one line.
    pub(crate) meaning: String,
}

/// All keys, by path.
pub(crate) fn keys() -> Vec<Key> {
    let schema = serde_json::to_value(ImdConfig::schema()).unwrap();
    let defaults = serde_json::to_value(ImdConfig::default()).unwrap();
    let mut keys = Vec::new();
    walk(&schema, &schema, &defaults, "", &mut keys);
    let links = shared_links(&keys);
    keys.retain(|key| !key.path.contains(".link.") || !links.iter().any(|l| same(l, key)));
    keys.extend(links);
    keys.sort();
    keys
}

/// Keys of the links, which are the same in every role, under one path.
fn shared_links(keys: &[Key]) -> Vec<Key> {
    let of = |role: &str| -> Vec<Key> {
        let prefix = format!("{role}.link.");
        keys.iter()
            .filter_map(|key| {
                let rest = key.path.strip_prefix(&prefix)?;
                Some(Key {
                    path: format!("*.link.{rest}"),
                    ..key.clone()
                })
            })
            .collect()
    };
    let mut shared = of("msg");
    for role in ["login", "route", "db_proxy"] {
        let other = of(role);
        shared.retain(|key| other.contains(key));
    }
    shared
}

fn same(shared: &Key, key: &Key) -> bool {
    shared.path.rsplit('.').next() == key.path.rsplit('.').next()
        && (shared.unit, &shared.default, &shared.meaning) == (key.unit, &key.default, &key.meaning)
}

fn walk(schema: &Value, node: &Value, default: &Value, path: &str, keys: &mut Vec<Key>) {
    let target = resolved(schema, node);
    if let Some(default) = rate(default) {
        let meaning = node.get("description").and_then(Value::as_str);
        keys.push(Key {
            path: path.to_owned(),
            unit: "",
            default,
            meaning: one_line(meaning.unwrap_or_default()),
        });
        return;
    }
    if let Some(fields) = target.get("properties").and_then(Value::as_object) {
        for (name, field) in fields {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let default = default.get(name).unwrap_or(&Value::Null);
            walk(schema, field, default, &path, keys);
        }
        return;
    }
    // Times and sizes are texts of a pattern; other texts are free.
    let is_text = target.get("type").and_then(Value::as_str) == Some("string");
    let carries_unit = is_text && target.get("pattern").is_some();
    if !carries_unit && !is_number(target) {
        return;
    }
    // The description of the field, not of its type.
    let meaning = node.get("description").and_then(Value::as_str);
    let meaning = meaning.unwrap_or_default();
    let unit = if carries_unit {
        ""
    } else {
        unit(path, meaning)
    };
    keys.push(Key {
        path: path.to_owned(),
        unit,
        default: shown(default, unit),
        meaning: one_line(meaning),
    });
}

/// A rate, whose two numbers are one bound.
fn rate(default: &Value) -> Option<String> {
    let fields = default.as_object().filter(|fields| fields.len() == 2)?;
    let burst = fields.get("burst")?;
    let per_minute = fields.get("per_minute")?;
    let (burst, per_minute) = (shown(burst, ""), shown(per_minute, ""));
    Some(format!("{burst} at once, {per_minute} a minute"))
}

/// The type behind a reference, or behind an option.
fn resolved<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(name) = node.get("$ref").and_then(Value::as_str) {
        let target = schema.pointer(name.trim_start_matches('#')).unwrap();
        return resolved(schema, target);
    }
    let options = node.get("anyOf").and_then(Value::as_array);
    let some = options
        .into_iter()
        .flatten()
        .find(|option| option.get("type").and_then(Value::as_str) != Some("null"));
    match some {
        Some(option) if node.get("properties").is_none() => resolved(schema, option),
        _ => node,
    }
}

fn is_number(node: &Value) -> bool {
    let is = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number"));
    match node.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is),
        Some(kind) => is(kind),
        None => false,
    }
}

fn unit(path: &str, meaning: &str) -> &'static str {
    let name = path.rsplit('.').next().unwrap_or_default();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(&["_ms"]) {
        "ms"
    } else if ends(&["_s", "_secs", "_seconds"]) {
        "s"
    } else if ends(&["_bytes"]) {
        "bytes"
    } else if ends(&["_kib"]) {
        "KiB"
    } else if ends(&["_rate", "rate_limit", "_per_second"]) {
        "per second"
    } else if meaning.contains(", bytes") {
        "bytes"
    } else {
        ""
    }
}

/// A default as a person reads it, sizes in their largest whole unit, digits in groups.
fn shown(value: &Value, unit: &str) -> String {
    let shift = |number: u64| {
        [30_u32, 20, 10]
            .into_iter()
            .find(|s| number.trailing_zeros() >= *s)
    };
    match value {
        Value::Null => "none".to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(0) => "0".to_owned(),
            Some(number) if unit == "bytes" => match shift(number) {
                Some(30) => format!("{} GiB", number >> 30),
                Some(20) => format!("{} MiB", number >> 20),
                Some(_) => format!("{} KiB", number >> 10),
                None => grouped(number),
            },
            Some(number) => grouped(number),
            None => number.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}
