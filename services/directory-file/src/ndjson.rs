//! JSON by lines: one object per line, with the names of the columns as keys. Blank lines are passed over.

use std::collections::BTreeMap;

use im_proto_rpc::v1::DirectoryRow;
use serde_json::Value;

use super::columns::{self, Column};
use super::row::{BadLine, Reading};

/// Reads all people, or names all bad lines.
pub(super) fn rows(text: &str, reading: &Reading) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let lines = (1..).zip(text.lines());
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        match row(number, line, reading) {
            Ok(row) => rows.push(row),
            Err(line) => bad.push(line),
        }
    }
    if rows.is_empty() && bad.is_empty() {
        bad.push(BadLine::new(1, "the file is empty"));
    }
    if bad.is_empty() { Ok(rows) } else { Err(bad) }
}

fn row(number: u64, line: &str, reading: &Reading) -> Result<DirectoryRow, BadLine> {
    let bad = |message: String| BadLine::new(number, message);
    let person: BTreeMap<String, Value> = serde_json::from_str(line)
        .map_err(|error| bad(format!("is no object of JSON: {error}")))?;
    let mut cells = Vec::with_capacity(person.len());
    for (key, value) in &person {
        let column = Column::of(key).ok_or_else(|| bad(columns::unknown(key)))?;
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(bad(format!("{key} must be a text or a number"))),
        };
        cells.push((column, text));
    }
    let cells = cells.iter().map(|(column, text)| (*column, text.as_str()));
    reading.build(number, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
        super::rows(text, &Reading::default())
    }

    #[test]
    fn people_are_objects_and_numbers_are_taken_as_their_text() {
        let text = "{\"name\": \"ann\", \"id\": 7, \"nick\": null}\n\n\
                    {\"name\": \"ben\", \"sex\": \"male\", \"department\": \"Company/Sales\"}\n";
        let rows = rows(text).unwrap();
        assert_eq!((rows[0].line, rows[0].id), (1, 7));
        assert_eq!((rows[0].name.as_str(), &rows[0].nick), ("ann", &None));
        assert_eq!((rows[1].line, rows[1].sex), (3, Some(1)));
        assert_eq!(rows[1].department.as_deref(), Some("Company/Sales"));
    }

    #[test]
    fn every_bad_line_is_named() {
        let bad =
            rows("{\"name\": \"ann\", \"sex\": []}\n[1]\n{\"nmae\": \"c\"}\n{\n").unwrap_err();
        let lines: Vec<u32> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
        assert_eq!(rows("\n").unwrap_err()[0].message, "the file is empty");
        assert_eq!(bad[0].message, "sex must be a text or a number");
    }
}
