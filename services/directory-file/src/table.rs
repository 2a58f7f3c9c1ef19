//! Tables: the first row that is not blank names the columns, in any order. Commas, semicolons or tabs
//! separate; blank rows, and blank columns without a heading, are passed over.

use csv::StringRecord;
use im_proto_rpc::v1::DirectoryRow;

use super::columns::{self, Column};
use super::row::{BadLine, Reading};

/// What may stand between the cells.
const SEPARATORS: [u8; 3] = *b",;\t";

/// A row of the table with its line in the file.
pub(super) struct TableRow {
    pub(super) line: u64,
    pub(super) cells: StringRecord,
}

/// Reads all rows, or names all bad lines.
pub(super) fn rows(text: &str, reading: &Reading) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
    let (heading, table) = table(text)?;
    let columns = columns(&heading)?;
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for row in &table {
        match cells(&columns, row).and_then(|cells| reading.build(row.line, cells)) {
            Ok(row) => rows.push(row),
            Err(line) => bad.push(line),
        }
    }
    if bad.is_empty() { Ok(rows) } else { Err(bad) }
}

/// The heading and the rows below it, blank ones left out.
pub(super) fn table(text: &str) -> Result<(TableRow, Vec<TableRow>), Vec<BadLine>> {
    let (text, skipped, separator) = separator(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let (mut all, mut bad) = (Vec::new(), Vec::new());
    for record in reader.records() {
        match record {
            Ok(cells) if cells.iter().all(|cell| cell.trim().is_empty()) => {}
            Ok(cells) => {
                let line = skipped + line_of(text, cells.position());
                all.push(TableRow { line, cells });
            }
            Err(error) => {
                let line = skipped + line_of(text, error.position());
                bad.push(BadLine::new(line, error.to_string()));
            }
        }
    }
    if !bad.is_empty() {
        return Err(bad);
    }
    let mut all = all.into_iter();
    match all.next() {
        Some(heading) => Ok((heading, all.collect())),
        None => Err(vec![BadLine::new(1, "the file is empty")]),
    }
}

/// The text behind a line such as `sep=;` that spreadsheets write, how many lines that were, and what
/// separates.
fn separator(text: &str) -> (&str, u64, u8) {
    if let Some((first, rest)) = text.split_once('\n')
        && let Some(named) = first.trim_matches('"').strip_prefix("sep=")
        && let [separator] = named.as_bytes()
        && SEPARATORS.contains(separator)
    {
        return (rest, 1, *separator);
    }
    let heading = text.lines().find(|line| {
        line.bytes()
            .any(|byte| !byte.is_ascii_whitespace() && !SEPARATORS.contains(&byte))
    });
    let mut quoted = false;
    let mut counts = [0_usize; SEPARATORS.len()];
    for byte in heading.unwrap_or_default().bytes() {
        quoted ^= byte == b'"';
        for (count, separator) in counts.iter_mut().zip(SEPARATORS) {
            *count += usize::from(!quoted && byte == separator);
        }
    }
    let mut best = (0, b',');
    for (count, separator) in counts.into_iter().zip(SEPARATORS) {
        if count > best.0 {
            best = (count, separator);
        }
    }
    (text, 0, best.1)
}

/// What each column holds; `None` where there is no heading.
fn columns(heading: &TableRow) -> Result<Vec<Option<Column>>, Vec<BadLine>> {
    let mut bad = Vec::new();
    let mut columns: Vec<Option<Column>> = Vec::new();
    for name in &heading.cells {
        let name = name.trim();
        let column = Column::of(name);
        if !name.is_empty() && column.is_none() {
            bad.push(BadLine::new(heading.line, columns::unknown(name)));
        }
        if let Some(known) = column
            && known != Column::Unused
            && columns.contains(&column)
        {
            let known = known.name();
            let message = format!("column {name:?} is given twice: both mean {known}");
            bad.push(BadLine::new(heading.line, message));
        }
        columns.push(column);
    }
    if !columns.contains(&Some(Column::Name)) {
        bad.push(BadLine::new(heading.line, "column \"name\" is missing"));
    }
    let [path, id] = [Column::Department, Column::DepartmentId].map(Some);
    if columns.contains(&path) && columns.contains(&id) {
        let message = "columns department and departId exclude each other";
        bad.push(BadLine::new(heading.line, message));
    }
    if bad.is_empty() {
        Ok(columns)
    } else {
        Err(bad)
    }
}

/// The cells of a row with their columns.
fn cells<'a>(
    columns: &[Option<Column>],
    row: &'a TableRow,
) -> Result<impl Iterator<Item = (Column, &'a str)>, BadLine> {
    let (has, wanted) = (row.cells.len(), columns.len());
    // Spreadsheets leave blank cells out at the end, or add some.
    let filled = (0..)
        .zip(&row.cells)
        .filter(|(_, cell)| !cell.trim().is_empty());
    let last = filled.map(|(place, _): (usize, _)| place).last();
    let last_column = columns.iter().rposition(Option::is_some);
    if last.is_some_and(|last| last >= wanted) || last_column.is_some_and(|last| has <= last) {
        let message = format!("has {has} columns instead of {wanted}");
        return Err(BadLine::new(row.line, message));
    }
    let mut cells = Vec::with_capacity(has);
    for (n, (column, cell)) in (1..).zip(columns.iter().zip(row.cells.iter())) {
        match column {
            Some(column) => cells.push((*column, cell)),
            None if cell.trim().is_empty() => {}
            None => {
                let message = format!("column {n} has no heading and holds {cell:?}");
                return Err(BadLine::new(row.line, message));
            }
        }
    }
    Ok(cells.into_iter())
}

/// The reader's position is before the empty lines that precede a record.
fn line_of(text: &str, position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| **byte == b'\n').count();
    position.line() + empty as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<DirectoryRow>, Vec<(u32, String)>> {
        rows(text, &Reading::default())
            .map_err(|bad| bad.into_iter().map(|bad| (bad.line, bad.message)).collect())
    }

    fn refusals(text: &str) -> Vec<(u32, String)> {
        read(text).unwrap_err()
    }

    #[test]
    fn columns_come_in_any_order_and_what_is_empty_is_not_given() {
        let text = "name,id,department,nick,sex,password\n\
                    ann,7,Company/Research,\"Ann, the first\",2, pass word \n\
                    \n\
                    ben,,,,,\n";
        let ann = DirectoryRow {
            line: 2,
            id: 7,
            name: "ann".to_owned(),
            password: "pass word".to_owned(),
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
        assert_eq!(read(text).unwrap(), [ann, ben]);
    }

    #[test]
    fn semicolons_and_tabs_separate_as_well_as_commas() {
        let expected = read("name,nick\nann,Ann A\nben,Ben\n").unwrap();
        for text in [
            "name;nick\nann;Ann A\nben;Ben\n",
            "name\tnick\nann\tAnn A\nben\tBen\n",
            "name;\"a,b,c\"\n",
        ] {
            if text.contains("a,b,c") {
                assert!(refusals(text)[0].1.contains("unknown column \"a,b,c\""));
            } else {
                assert_eq!(read(text).unwrap(), expected, "{text}");
            }
        }
        let marked = read("sep=;\nname;nick\nann;Ann A\nben;Ben\n").unwrap();
        assert_eq!(
            marked.iter().map(|row| row.line).collect::<Vec<_>>(),
            [3, 4]
        );
    }

    #[test]
    fn blank_rows_and_columns_of_a_spreadsheet_are_passed_over() {
        let text = ",,\nname,nick,\n,,\nann,Ann,\n , ,\nben,Ben\n,,,,\ncleo,C,,,\n";
        let rows = read(text).unwrap();
        let lines: Vec<_> = rows
            .iter()
            .map(|row| (row.line, row.name.as_str()))
            .collect();
        assert_eq!(lines, [(4, "ann"), (6, "ben"), (8, "cleo")]);
        assert_eq!(
            refusals("name,nick,\nann,Ann,x\n"),
            [(2, "column 3 has no heading and holds \"x\"".to_owned())]
        );
        assert_eq!(refusals("\n,\n"), [(1, "the file is empty".to_owned())]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let bad = refusals("id,name,sex\n1,ann,x\n2,ben\n3,,0\n4,cleo,1\nfive,dan,1\n6,e,1,z\n");
        let lines: Vec<_> = bad
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                (
                    2,
                    "sex must be 0 (unknown), 1 (male), 2 (female) or a word for it, is \"x\""
                ),
                (3, "has 2 columns instead of 3"),
                (4, "name is missing"),
                (6, "id must be a number, is \"five\""),
                (7, "has 4 columns instead of 3"),
            ]
        );
    }

    #[test]
    fn an_unknown_column_a_missing_name_and_a_column_given_twice_are_told() {
        let bad = refusals("id,nmae\n");
        assert!(bad[0].1.starts_with("unknown column \"nmae\""), "{bad:?}");
        assert_eq!(bad[1].1, "column \"name\" is missing");
        assert_eq!(
            refusals("name,nick,Login\na,b,c\n"),
            [(
                1,
                "column \"Login\" is given twice: both mean name".to_owned()
            )]
        );
    }

    #[test]
    fn a_dump_of_the_table_imuser_is_read_as_it_is() {
        let text = "id\tsex\tname\tdomain\tnick\tpassword\tsalt\tphone\temail\tavatar\tdepartId\t\
                    status\tcreated\tupdated\tpush_shield_status\tsign_info\n\
                    7\t1\tben\tbangben\tBen\t0123456789abcdef0123456789abcdef\t4321\t\\N\t\tNULL\t\
                    2\t0\t1\t1\t0\thello\n";
        let row = read(text).unwrap().remove(0);
        let expected = DirectoryRow {
            line: 2,
            id: 7,
            name: "ben".to_owned(),
            password_hash: "$teamtalk$4321$0123456789abcdef0123456789abcdef".to_owned(),
            nick: Some("Ben".to_owned()),
            sex: Some(1),
            domain: Some("bangben".to_owned()),
            status: Some("active".to_owned()),
            signature: Some("hello".to_owned()),
            ..DirectoryRow::default()
        };
        assert_eq!(row, expected);
    }
}
