//! CSV: the first line names the columns, in any order.

use im_proto_rpc::v1::DirectoryRow;

use super::row::{self, BadLine, COLUMNS};

/// Reads all rows, or names all bad lines.
pub(super) fn rows(text: &str) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = match reader.headers() {
        Ok(headers) => headers
            .iter()
            .map(|name| name.trim().to_lowercase())
            .collect::<Vec<_>>(),
        Err(error) => return Err(vec![BadLine::new(1, error.to_string())]),
    };
    let mut bad: Vec<BadLine> = columns
        .iter()
        .filter(|name| !COLUMNS.contains(&name.as_str()))
        .map(|name| BadLine::new(1, row::unknown(name)))
        .collect();
    if !columns.iter().any(|name| name == "name") {
        bad.push(BadLine::new(1, "column \"name\" is missing"));
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = line_of(text, record.position());
                let cells = columns.iter().map(String::as_str).zip(record.iter());
                match row::build(line, cells) {
                    Ok(row) => rows.push(row),
                    Err(line) => bad.push(line),
                }
            }
            Err(error) => bad.push(bad_record(text, &error)),
        }
    }
    if bad.is_empty() { Ok(rows) } else { Err(bad) }
}

/// The reader's position is before the empty lines that precede a record.
fn line_of(text: &str, position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

fn bad_record(text: &str, error: &csv::Error) -> BadLine {
    let line = line_of(text, error.position());
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => BadLine::new(line, format!("has {len} columns instead of {expected_len}")),
        _ => BadLine::new(line, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_any_order_and_what_is_empty_is_not_given() {
        let text = "name,id,department,nick,sex,password\n\
                    ann,7,Company/Research,\"Ann, the first\",2, pass word \n\
                    \n\
                    ben,,,,,\n";
        let rows = rows(text).unwrap();
        let ann = DirectoryRow {
            line: 2,
            id: 7,
            name: "ann".to_owned(),
            password: " pass word ".to_owned(),
            nick: Some("Ann, the first".to_owned()),
            sex: Some(2),
            department: Some("Company/Research".to_owned()),
            ..DirectoryRow::default()
        };
        let ben = DirectoryRow {
            line: 4,
            name: "ben".to_owned(),
            ..DirectoryRow::default()
        };
        assert_eq!(rows, [ann, ben]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = "id,name,sex\n1,ann,x\n2,ben\n3,,0\n4,cleo,1\nfive,dan,1\n";
        let bad = rows(text).unwrap_err();
        let lines: Vec<_> = bad
            .iter()
            .map(|bad| (bad.line, bad.message.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                (2, "sex must be a number, is \"x\""),
                (3, "has 2 columns instead of 3"),
                (4, "name is missing"),
                (6, "id must be a number, is \"five\""),
            ]
        );
    }

    #[test]
    fn an_unknown_column_and_a_missing_name_are_told() {
        let bad = rows("id,nmae\n").unwrap_err();
        assert!(
            bad[0].message.starts_with("unknown column \"nmae\""),
            "{bad:?}"
        );
        assert_eq!(bad[1].message, "column \"name\" is missing");
    }
}
