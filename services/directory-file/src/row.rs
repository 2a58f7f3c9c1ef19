//! One line of a directory file, by its columns.

use std::collections::HashMap;

use im_proto_rpc::v1::{DirectoryRow, ImportError};

use super::columns::Column;

/// A line that cannot be imported.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number in the file, from 1; 0 where nobody knows.
    pub line: u32,
    /// What is wrong with it.
    pub message: String,
}

impl BadLine {
    pub(super) fn new(line: u64, message: impl Into<String>) -> Self {
        Self {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            message: message.into(),
        }
    }

    /// As a report of an import has it.
    #[must_use]
    pub fn into_error(self) -> ImportError {
        ImportError {
            line: self.line,
            message: self.message,
        }
    }
}

/// How values are understood.
#[derive(Debug, Default)]
pub struct Reading {
    /// What looks like a hash in `password` is a password.
    pub clear_passwords: bool,
    /// Paths of departments by their ids in a TeamTalk table.
    pub departments: HashMap<u32, String>,
}

/// What a database writes where there is nothing.
const NOTHING: [&str; 2] = ["\\N", "NULL"];

/// Words for sexes, as their numbers.
const SEXES: [&[&str]; 3] = [
    &["0", "unknown", "none", "-", "?", "u", "未知"],
    &["1", "male", "m", "man", "男"],
    &["2", "female", "f", "w", "woman", "女"],
];

/// Words for statuses; the first is what the server takes.
const STATUSES: [&[&str]; 5] = [
    &["active", "0", "enabled", "在职"],
    &["trial", "1", "试用"],
    &["regular", "2", "正式"],
    &["left", "3", "disabled", "离职"],
    &["intern", "4", "实习"],
];

impl Reading {
    /// Builds a row from its cells; what is empty is not given, blanks around a value do not count.
    pub(super) fn build<'a>(
        &self,
        line: u64,
        cells: impl Iterator<Item = (Column, &'a str)>,
    ) -> Result<DirectoryRow, BadLine> {
        let bad = |message: String| BadLine::new(line, message);
        let mut row = DirectoryRow {
            line: bad(String::new()).line,
            ..DirectoryRow::default()
        };
        let (mut seen, mut salt) = (Vec::new(), None);
        for (column, raw) in cells {
            if column != Column::Unused && seen.contains(&column) {
                return Err(bad(format!("{} is given twice", column.name())));
            }
            seen.push(column);
            let text = raw.trim();
            let is_nothing = match column {
                Column::Name => false,
                // Somebody may have chosen the word.
                Column::Password => text == "\\N",
                _ => NOTHING.contains(&text),
            };
            if text.is_empty() || is_nothing {
                if column == Column::Salt {
                    salt = Some(String::new());
                }
                continue;
            }
            let given = || Some(text.to_owned());
            match column {
                Column::Id => row.id = number(column, text).map_err(bad)?,
                Column::Name => text.clone_into(&mut row.name),
                Column::Password => text.clone_into(&mut row.password),
                Column::PasswordHash => text.clone_into(&mut row.password_hash),
                Column::Salt => salt = given(),
                Column::Nick => row.nick = given(),
                Column::Sex => row.sex = Some(sex(text).map_err(bad)?),
                Column::Department => row.department = given(),
                Column::DepartmentId => {
                    row.department = self.department(text).map_err(bad)?;
                }
                Column::Phone => row.phone = given(),
                Column::Email => row.email = given(),
                Column::Domain => row.domain = given(),
                Column::Avatar => row.avatar = given(),
                Column::Status => row.status = Some(status(text)),
                Column::Signature => row.signature = given(),
                Column::Unused => {}
            }
        }
        if row.name.is_empty() {
            return Err(bad("name is missing".to_owned()));
        }
        if row.password.is_empty() {
            return Ok(row);
        }
        match salt {
            Some(salt) => {
                row.password_hash = salted(&row.password, &salt).map_err(bad)?;
                row.password.clear();
            }
            None if !self.clear_passwords => check_clear(&row.password).map_err(bad)?,
            None => {}
        }
        Ok(row)
    }

    fn department(&self, text: &str) -> Result<Option<String>, String> {
        let id = number(Column::DepartmentId, text)?;
        if id == 0 || self.departments.is_empty() {
            return Ok(None);
        }
        match self.departments.get(&id) {
            Some(path) => Ok(Some(path.clone())),
            None => Err(format!("departId {id} is in no line of --departments")),
        }
    }
}

fn number(column: Column, text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{} must be a number, is {text:?}", column.name()))
}

fn sex(text: &str) -> Result<u32, String> {
    let word = text.to_lowercase();
    let place = SEXES
        .iter()
        .position(|words| words.contains(&word.as_str()));
    place
        .and_then(|place| u32::try_from(place).ok())
        .ok_or_else(|| {
            format!("sex must be 0 (unknown), 1 (male), 2 (female) or a word for it, is {text:?}")
        })
}

/// A word that the server takes; it refuses others and says which there are.
fn status(text: &str) -> String {
    let word = text.to_lowercase();
    let known = STATUSES.iter().find(|words| words.contains(&word.as_str()));
    match known.and_then(|words| words.first()) {
        Some(first) => (*first).to_owned(),
        None => text.to_owned(),
    }
}

/// The hash of a TeamTalk table, as the server takes it.
fn salted(password: &str, salt: &str) -> Result<String, String> {
    if !is_hex(password, 32) {
        return Err(
            "password stands beside salt and is no MD5 of a TeamTalk table: leave the column salt out \
             when passwords are clear"
                .to_owned(),
        );
    }
    Ok(format!("$teamtalk${salt}${}", password.to_lowercase()))
}

/// Refuses what looks like a hash.
fn check_clear(password: &str) -> Result<(), String> {
    let way_out =
        "if it is the password itself, say so: --clear-passwords, over HTTP clear_passwords=true";
    if is_hex(password, 32) {
        return Err(format!(
            "password looks like an MD5 hash: with the column salt of a TeamTalk table beside it it is \
             taken for one; {way_out}"
        ));
    }
    if password.starts_with("$argon2") || password.starts_with("$teamtalk$") {
        return Err(format!(
            "password looks like a hash: such a column is called password_hash; {way_out}"
        ));
    }
    let is_other = [40, 56, 64, 96, 128]
        .iter()
        .any(|digits| is_hex(password, *digits))
        || [
            "$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$pbkdf2", "$scrypt", "{SSHA", "{SHA",
        ]
        .iter()
        .any(|head| password.starts_with(head));
    if is_other {
        return Err(format!(
            "password looks like a hash of a kind that cannot be taken over: leave it empty and set a \
             new one; {way_out}"
        ));
    }
    Ok(())
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "0123456789ABCDEF0123456789abcdef";

    fn build(reading: &Reading, cells: &[(&str, &str)]) -> Result<DirectoryRow, String> {
        let cells = cells
            .iter()
            .map(|(heading, value)| (Column::of(heading).unwrap(), *value));
        reading.build(2, cells).map_err(|bad| bad.message)
    }

    fn row(cells: &[(&str, &str)]) -> DirectoryRow {
        build(&Reading::default(), cells).unwrap()
    }

    #[test]
    fn blanks_around_values_do_not_count_and_nothing_is_nothing() {
        let row = row(&[
            ("name", " fay "),
            ("password", "\u{3000}secret "),
            ("phone", "\\N"),
            ("email", "NULL"),
        ]);
        assert_eq!(
            (row.name.as_str(), row.password.as_str()),
            ("fay", "secret")
        );
        assert_eq!((row.phone, row.email), (None, None));
    }

    #[test]
    fn sex_and_status_are_words_or_numbers() {
        for (text, number) in [("m", 1), ("Female", 2), ("女", 2), ("0", 0), ("1", 1)] {
            assert_eq!(
                row(&[("name", "a"), ("sex", text)]).sex,
                Some(number),
                "{text}"
            );
        }
        for (text, word) in [
            ("0", "active"),
            ("Left", "left"),
            ("3", "left"),
            ("实习", "intern"),
        ] {
            let row = row(&[("name", "a"), ("status", text)]);
            assert_eq!(row.status.as_deref(), Some(word), "{text}");
        }
        let error = build(&Reading::default(), &[("name", "a"), ("sex", "x")]).unwrap_err();
        assert!(error.ends_with("is \"x\""), "{error}");
    }

    #[test]
    fn what_looks_like_a_hash_is_refused_with_the_way_out() {
        let sha = "0".repeat(40);
        for (password, part) in [
            (MD5, "column salt"),
            ("$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA", "password_hash"),
            (sha.as_str(), "cannot be taken over"),
            ("$2y$10$abcdefghijklmnopqrstuv", "cannot be taken over"),
        ] {
            let cells = [("name", "a"), ("password", password)];
            let error = build(&Reading::default(), &cells).unwrap_err();
            assert!(
                error.contains(part) && error.contains("--clear-passwords"),
                "{error}"
            );
            let clear = Reading {
                clear_passwords: true,
                ..Reading::default()
            };
            assert_eq!(build(&clear, &cells).unwrap().password, password);
        }
        assert_eq!(
            row(&[("name", "a"), ("password", "deadbeef")]).password,
            "deadbeef"
        );
    }

    #[test]
    fn a_salted_md5_of_a_teamtalk_table_is_taken_for_what_it_is() {
        let row = row(&[("name", "a"), ("password", MD5), ("salt", "4321")]);
        let hash = format!("$teamtalk$4321${}", MD5.to_lowercase());
        assert_eq!((row.password.as_str(), row.password_hash), ("", hash));
        let cells = [("name", "a"), ("password", "clear"), ("salt", "1")];
        let error = build(&Reading::default(), &cells).unwrap_err();
        assert!(error.contains("leave the column salt out"), "{error}");
    }

    #[test]
    fn ids_of_departments_become_paths_where_the_table_is_given() {
        let mut reading = Reading::default();
        let cells = [("name", "a"), ("departId", "7")];
        assert_eq!(build(&reading, &cells).unwrap().department, None);
        reading.departments.insert(7, "Company/Research".to_owned());
        let row = build(&reading, &cells).unwrap();
        assert_eq!(row.department.as_deref(), Some("Company/Research"));
        let error = build(&reading, &[("name", "a"), ("departId", "8")]).unwrap_err();
        assert_eq!(error, "departId 8 is in no line of --departments");
    }

    #[test]
    fn a_column_that_is_given_twice_is_refused() {
        let cells = [("name", "a"), ("login", "b")];
        let error = build(&Reading::default(), &cells).unwrap_err();
        assert_eq!(error, "name is given twice");
    }
}
