//! Keys such as `msg.rate_limit` and the tables that they stand in.

use toml::{Table, Value};

use crate::{ImdConfig, nearest, renamed};

/// A table that holds one value, at this dotted key.
pub fn nest(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((first, rest)) => {
            Table::from_iter([(first.to_owned(), Value::Table(nest(rest, value)))])
        }
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

/// Puts everything of one table into another; what both have is that of `from`.
pub fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// Dotted keys of everything in a table that is no table.
pub fn leaves(table: &Table) -> Vec<String> {
    table
        .iter()
        .flat_map(|(key, value)| match value {
            Value::Table(inner) => leaves(inner)
                .into_iter()
                .map(|leaf| format!("{key}.{leaf}"))
                .collect(),
            _ => vec![key.clone()],
        })
        .collect()
}

/// A key of the configuration with a text as its value: a TOML value; or the text itself, or what stands
/// between its commas, where a text or a list of texts belongs. An old key stays one; it is judged by what
/// it is renewed to.
///
/// # Errors
/// When there is no such key, or the text is nothing that can stand there: says why.
pub fn entry(key: &str, text: &str) -> Result<Table, String> {
    let mut reason = None;
    for value in readings(text) {
        let entry = nest(key, value);
        match judge(entry.clone()) {
            Ok(()) => return Ok(entry),
            // The first reading is the most natural one.
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    Err(reason.unwrap_or_default())
}

fn judge(mut entry: Table) -> Result<(), String> {
    renamed::renew(&mut entry).map_err(|error| error.to_string())?;
    let config: Result<ImdConfig, _> = entry.try_into();
    config
        .map(drop)
        .map_err(|error| nearest::shorten(error.message()))
}

/// What a text can mean, the likeliest first.
fn readings(text: &str) -> Vec<Value> {
    let mut readings = Vec::with_capacity(3);
    if let Ok(mut parsed) = toml::from_str::<Table>(&format!("value = {text}"))
        && let Some(value) = parsed.remove("value")
        && parsed.is_empty()
    {
        readings.push(value);
    }
    readings.push(Value::String(text.to_owned()));
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    readings.push(Value::Array(
        parts.map(|part| Value::String(part.to_owned())).collect(),
    ));
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_value_of_a_key_stays_and_its_neighbours_too() {
        let mut table = nest("msg.backlog", Value::Integer(1));
        merge(&mut table, nest("msg.presence.notify", "all".into()));
        merge(&mut table, nest("msg.backlog", Value::Integer(2)));
        let expected = "[msg]\nbacklog = 2\npresence = {notify = \"all\"}\n";
        assert_eq!(table, toml::from_str(expected).unwrap());
        assert_eq!(leaves(&table), ["msg.backlog", "msg.presence.notify"]);
    }

    #[test]
    fn a_text_is_what_the_key_can_take() {
        let number = entry("msg.rate_limit", "50").unwrap();
        assert_eq!(number, nest("msg.rate_limit", Value::Integer(50)));
        let text = entry("log.filter", "debug").unwrap();
        assert_eq!(text, nest("log.filter", "debug".into()));
        let list = entry("peers.route", "a:1, b:2").unwrap();
        let both = vec!["a:1".to_owned(), "b:2".to_owned()];
        assert_eq!(list, nest("peers.route", both.into()));
        for (key, part) in [
            ("msg.nonsense", "unknown field"),
            ("msg.", "unknown field"),
            ("msg.rate_limit.x", "invalid type"),
        ] {
            let error = entry(key, "1").unwrap_err();
            assert!(error.contains(part), "{key}: {error}");
        }
    }
}
