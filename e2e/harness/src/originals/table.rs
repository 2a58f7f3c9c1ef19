//! The table of commands in the document of compatibility, from what scripts have met.
//!
//! First column, name and the last column are written by hand and kept; the rest is made. Each command of the
//! protocol is in one row.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use im_codec::{Command, Direction};

use super::{CLIENTS, Record};
use crate::fields;

/// The line before the table.
const BEGIN: &str = "<!-- commands -->\n";
/// The line behind it.
const END: &str = "<!-- end -->\n";
const HEAD: &str = "| Command | Name | State | Clients | Fields compared | Differences |\n\
                    |---|---|---|---|---|---|\n";

/// The same document with the table as the record has it.
///
/// # Errors
/// There is no such table, a row is not one, or a command is in no row or in two.
pub fn render(document: &str, record: &Record) -> anyhow::Result<String> {
    let (before, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("no line {}", BEGIN.trim()))?;
    let (table, after) = rest
        .split_once(END)
        .with_context(|| format!("no line {}", END.trim()))?;
    let mut rows = String::new();
    let mut times: BTreeMap<u16, u32> = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| 0x")) {
        let (row, numbers) = row(line, record)?;
        for number in numbers {
            *times.entry(number).or_default() += 1;
        }
        rows.push_str(&row);
    }
    for command in Command::ALL {
        let times = times.get(&command.id()).copied().unwrap_or_default();
        ensure!(times == 1, "{:#06x} is in {times} rows", command.id());
    }
    Ok(format!("{before}{BEGIN}{HEAD}{rows}{END}{after}"))
}

/// A row as it should be, and the numbers in it.
fn row(line: &str, record: &Record) -> anyhow::Result<(String, Vec<u16>)> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let (Some(first), Some(name), Some(differences), 4..) =
        (cells.first(), cells.get(1), cells.last(), cells.len())
    else {
        bail!("no row of the table: {line}");
    };
    let numbers = numbers(first).with_context(|| line.to_owned())?;
    let judged = Judged::of(&numbers, record);
    let Judged {
        state,
        clients,
        fields,
    } = judged;
    let mut row = String::new();
    for cell in [first, name, state, &clients, &fields, differences] {
        row.push_str(if cell.is_empty() { "|" } else { "| " });
        row.push_str(cell);
        row.push(' ');
    }
    row.push_str("|\n");
    Ok((row, numbers))
}

/// The numbers of a first cell: `0x0101 / 0x0102`, `0x0702 – 0x0712, 0x0731`. What has another form is
/// skipped.
fn numbers(cell: &str) -> anyhow::Result<Vec<u16>> {
    let number = |text: &str| {
        let digits = text.trim().strip_prefix("0x").filter(|it| it.len() == 4);
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let mut found = Vec::new();
    for part in cell.split([',', '/']) {
        match part.split_once('–') {
            None => found.extend(number(part)),
            Some((from, to)) => {
                let (from, to) = number(from)
                    .zip(number(to))
                    .with_context(|| format!("from where to where is {part}?"))?;
                let all = Command::ALL.iter().map(|command| command.id());
                found.extend(all.filter(|it| (from..=to).contains(it)));
            }
        }
    }
    ensure!(!found.is_empty(), "no number of a command");
    Ok(found)
}

/// Whether clients send a command, and whether servers do.
fn travels(command: Command) -> (bool, bool) {
    // Both of these travel "client and file server"; each goes one way.
    match command {
        Command::FileLoginReq => return (true, false),
        Command::FileLoginRsp => return (false, true),
        _ => {}
    }
    match command.direction() {
        Direction::ClientToLogin | Direction::ClientToMsg => (true, false),
        Direction::LoginToClient | Direction::Answer | Direction::Push => (false, true),
        Direction::ClientAndMsg | Direction::ClientAndFile => (true, true),
        Direction::Servers => (false, false),
    }
}

/// The cells that are made.
struct Judged {
    state: &'static str,
    clients: String,
    fields: String,
}

impl Judged {
    fn of(numbers: &[u16], record: &Record) -> Self {
        let met = |client: &&&str| {
            let mut numbers = numbers.iter();
            numbers.any(|it| record.is_sent(*it, client) || record.is_compared(*it, client))
        };
        let clients: Vec<&str> = CLIENTS.iter().filter(met).copied().collect();
        let (mut all, mut compared, mut answers) = (0, 0, 0);
        let mut complete = true;
        let commands: Vec<Command> = numbers
            .iter()
            .filter_map(|number| Command::from_id(*number))
            .collect();
        for command in &commands {
            let id = command.id();
            let by = |is: &dyn Fn(&str) -> bool| CLIENTS.iter().any(|client| is(client));
            let (from_client, from_server) = travels(*command);
            complete &= !from_client || by(&|client| record.is_sent(id, client));
            if from_server {
                answers += 1;
                all += fields::all(command.message().rule()).len();
                compared += record.fields(id).len();
                complete &= by(&|client| record.is_compared(id, client));
            }
        }
        let between = |command: &Command| command.direction() == Direction::Servers;
        let state = if commands.is_empty() {
            "ignored"
        } else if commands.iter().all(between) {
            "internal"
        } else if clients.is_empty() {
            "unused"
        } else if complete && all == compared {
            "yes"
        } else {
            "no"
        };
        let is_judged = matches!(state, "yes" | "no");
        let fields = match (is_judged, answers, all) {
            (false, ..) => String::new(),
            (true, 0, _) => "no answer".to_owned(),
            (true, _, 0) => "the empty body".to_owned(),
            _ => format!("{compared} of {all}"),
        };
        Self {
            state,
            clients: clients.join(", "),
            fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is judged of these numbers.
    fn judged(first: &str, record: &str) -> String {
        let mut all = Record::default();
        all.add(record).unwrap();
        row(&format!("| {first} | name | old | D1 |"), &all)
            .unwrap()
            .0
    }

    #[test]
    fn a_row_is_yes_only_where_every_field_was_compared() {
        let first = "0x010a / 0x010b";
        let sent = "0x010a iOS sent\n";
        let one = "0x010b iOS compared user_id\n";
        let other = "0x010b Android compared result_code\n";
        for (record, made) in [
            (String::new(), "unused | | |"),
            (sent.to_owned(), "no | iOS | 0 of 2 |"),
            (format!("{sent}{one}"), "no | iOS | 1 of 2 |"),
            (format!("{one}{other}"), "no | iOS, Android | 2 of 2 |"),
            (
                format!("{sent}{one}{other}"),
                "yes | iOS, Android | 2 of 2 |",
            ),
        ] {
            let expected = format!("| {first} | name | {made} D1 |\n");
            assert_eq!(judged(first, &record), expected, "{record}");
        }
    }

    #[test]
    fn what_has_no_answer_no_body_or_no_client_says_so() {
        for (first, record, made) in [
            (
                "0x050b",
                "0x050b Windows sent",
                "yes | Windows | no answer |",
            ),
            (
                "0x0701",
                "0x0701 Mac sent\n0x0701 Mac compared",
                "yes | Mac | the empty body |",
            ),
            ("0x0701", "0x0701 Mac sent", "no | Mac | the empty body |"),
            ("0x0702 – 0x0712, 0x0731 – 0x0734", "", "internal | | |"),
            (
                "0x0012, 0x0735, services 0x52 and 0x5a",
                "0x0735 iOS sent",
                "ignored | iOS | |",
            ),
        ] {
            let expected = format!("| {first} | name | {made} D1 |\n");
            assert_eq!(judged(first, record), expected);
        }
    }

    #[test]
    fn every_command_has_one_row() {
        let row = |command: &Command| format!("| {:#06x} | a | | | | |\n", command.id());
        let rows: Vec<String> = Command::ALL.iter().map(row).collect();
        let document = |rows: &[String]| format!("a\n{BEGIN}{}{END}b\n", rows.concat());
        let record = Record::default();
        let made = render(&document(&rows), &record).unwrap();
        assert!(made.starts_with("a\n") && made.ends_with("b\n"));
        assert_eq!(render(&made, &record).unwrap(), made, "made again");
        let missing = document(rows.get(1..).unwrap());
        let error = render(&missing, &record).unwrap_err().to_string();
        assert_eq!(error, "0x0101 is in 0 rows");
        let twice = document(&[rows.concat(), rows.concat()]);
        assert!(render(&twice, &record).is_err());
        assert!(render("no table", &record).is_err());
    }
}
