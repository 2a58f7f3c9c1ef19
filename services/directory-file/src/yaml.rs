//! YAML: a list of people, each a mapping with the names of the columns as keys.

use std::collections::BTreeMap;

use im_proto_rpc::v1::DirectoryRow;
use serde_saphyr::{Options, Spanned};

use super::columns::{self, Column};
use super::row::{BadLine, Reading};

/// Every value is taken as its text, so that `phone: 0170` keeps its zero.
type Person = Spanned<BTreeMap<String, Option<String>>>;

/// Parts of a file: keys, values and people of the largest file that is read.
const MAX_NODES: usize = 16_000_000;

/// Reads all people, or names all bad lines.
pub(super) fn rows(text: &str, reading: &Reading) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
    let people: Vec<Person> =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            vec![BadLine::new(line, error.to_string())]
        })?;
    if people.is_empty() {
        return Err(vec![BadLine::new(1, "the file is empty")]);
    }
    let mut rows = Vec::with_capacity(people.len());
    let mut bad = Vec::new();
    for person in &people {
        let line = person.referenced.line();
        match cells(line, person).and_then(|cells| reading.build(line, cells.into_iter())) {
            Ok(row) => rows.push(row),
            Err(line) => bad.push(line),
        }
    }
    if bad.is_empty() { Ok(rows) } else { Err(bad) }
}

fn cells(line: u64, person: &Person) -> Result<Vec<(Column, &str)>, BadLine> {
    let cells = person.value.iter().map(|(key, value)| {
        let column = Column::of(key).ok_or_else(|| BadLine::new(line, columns::unknown(key)))?;
        Ok((column, value.as_deref().unwrap_or_default()))
    });
    cells.collect()
}

fn options() -> Options {
    let mut options = Options::default();
    options.with_snippet = false;
    if let Some(budget) = &mut options.budget {
        budget.max_nodes = MAX_NODES;
        budget.max_events = 3 * MAX_NODES;
        budget.max_total_scalar_bytes = usize::MAX;
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
        super::rows(text, &Reading::default())
    }

    #[test]
    fn people_are_mappings_and_values_keep_their_text() {
        let text = "- name: ann\n  id: 7\n  phone: 0170\n  nick:\n\
                    - {name: ben, password: 123456, department: Company/Sales}\n";
        let rows = rows(text).unwrap();
        let ann = DirectoryRow {
            line: 1,
            id: 7,
            name: "ann".to_owned(),
            phone: Some("0170".to_owned()),
            ..DirectoryRow::default()
        };
        let ben = DirectoryRow {
            line: 5,
            name: "ben".to_owned(),
            password: "123456".to_owned(),
            department: Some("Company/Sales".to_owned()),
            ..DirectoryRow::default()
        };
        assert_eq!(rows, [ann, ben]);
    }

    #[test]
    fn every_bad_person_is_named_by_line() {
        let bad =
            rows("- name: ann\n  sex: x\n- nick: Ben\n- name: cleo\n  nmae: c\n").unwrap_err();
        assert_eq!(
            bad.iter().map(|bad| bad.line).collect::<Vec<_>>(),
            [1, 3, 4]
        );
        assert_eq!(bad[1].message, "name is missing");
    }

    #[test]
    fn text_that_is_no_list_of_people_is_told() {
        assert_eq!(rows("name: ann\n").unwrap_err().len(), 1);
        assert_eq!(rows("- name: [").unwrap_err().len(), 1);
        for nothing in ["", "null", "[]", "# nobody\n"] {
            assert_eq!(rows(nothing).unwrap_err()[0].message, "the file is empty");
        }
    }

    #[test]
    fn fifty_thousand_people_fit() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for n in 1..=50_000 {
            writeln!(
                text,
                "- {{id: {n}, name: u{n}, nick: U {n}, department: A/B, sex: 1}}"
            )
            .unwrap();
        }
        assert_eq!(rows(&text).unwrap().len(), 50_000);
    }
}
