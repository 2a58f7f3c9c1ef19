//! The keys of the configuration that hold a number, a time or a size.

use im_config::ImdConfig;
use serde_json::Value;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Path, such as `msg.max_connections`; `*.link.…` when every role has the same one.
    pub(crate) path: String,
    /// What the schema allows, as a person reads it.
    pub(crate) range: String,
    /// Default as a person reads it.
    pub(crate) default: String,
    /// The description, on one line.
    pub(crate) meaning: String,
}

/// All keys, by path.
pub(crate) fn keys() -> Vec<Key> {
    let schema = ImdConfig::schema();
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
    for role in ["login", "route", "db_proxy", "file"] {
        let other = of(role);
        shared.retain(|key| other.contains(key));
    }
    shared
}

fn same(shared: &Key, key: &Key) -> bool {
    shared.path.rsplit('.').next() == key.path.rsplit('.').next()
        && (&shared.range, &shared.default, &shared.meaning)
            == (&key.range, &key.default, &key.meaning)
}

fn walk(schema: &Value, node: &Value, default: &Value, path: &str, keys: &mut Vec<Key>) {
    let target = resolved(schema, node);
    if let Some(default) = rate(default) {
        let meaning = node.get("description").and_then(Value::as_str);
        let of = |field: &str| range(target.pointer(&format!("/properties/{field}")).unwrap());
        keys.push(Key {
            path: path.to_owned(),
            range: format!("{} at once, {} a minute", of("burst"), of("per_minute")),
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
    keys.push(Key {
        path: path.to_owned(),
        range: range(target),
        default: shown(default),
        meaning: one_line(meaning),
    });
}

/// What a key may be, by its schema.
fn range(node: &Value) -> String {
    let of = |keywords: [&str; 2]| keywords.iter().find_map(|keyword| node.get(*keyword));
    let (least, most) = (of(["minimum", "x-minimum"]), of(["maximum", "x-maximum"]));
    let least = least.map(|least| format!("{} to ", shown(least)));
    let most = most.map(shown);
    let mut range = least.unwrap_or_default() + &most.unwrap_or_default();
    for (keyword, words) in [
        ("x-multiple-of", "a multiple of"),
        ("x-at-least", "at least"),
        ("x-at-most", "at most"),
    ] {
        if let Some(other) = node.get(keyword).and_then(Value::as_str) {
            range.push_str(&format!("; {words} {other}"));
        }
    }
    range
}

/// A rate, whose two numbers are one bound.
fn rate(default: &Value) -> Option<String> {
    let fields = default.as_object().filter(|fields| fields.len() == 2)?;
    let burst = fields.get("burst")?;
    let per_minute = fields.get("per_minute")?;
    let (burst, per_minute) = (shown(burst), shown(per_minute));
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

/// A value as a person reads it, digits in groups.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Number(number) => match number.as_u64() {
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
