//! One line of a directory file, by column names.

use im_proto_rpc::v1::{DirectoryRow, ImportError};

/// Names of the columns.
pub(super) const COLUMNS: [&str; 13] = [
    "id",
    "name",
    "password",
    "password_hash",
    "nick",
    "sex",
    "department",
    "phone",
    "email",
    "domain",
    "avatar",
    "status",
    "signature",
];

/// A line that cannot be imported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: u32,
    pub(super) message: String,
}

impl BadLine {
    pub(super) fn new(line: u64, message: impl Into<String>) -> Self {
        Self {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            message: message.into(),
        }
    }

    pub(super) fn into_error(self) -> ImportError {
        ImportError {
            line: self.line,
            message: self.message,
        }
    }
}

/// Builds a row from its cells; what is empty is not given. Passwords keep their spaces.
pub(super) fn build<'a>(
    line: u64,
    cells: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<DirectoryRow, BadLine> {
    let bad = |message: String| BadLine::new(line, message);
    let number = |column: &str, text: &str| {
        text.parse::<u32>()
            .map_err(|_| bad(format!("{column} must be a number, is {text:?}")))
    };
    let mut row = DirectoryRow {
        line: bad(String::new()).line,
        ..DirectoryRow::default()
    };
    for (column, raw) in cells {
        let text = raw.trim();
        if text.is_empty() {
            continue;
        }
        let given = || Some(text.to_owned());
        match column {
            "id" => row.id = number(column, text)?,
            "name" => text.clone_into(&mut row.name),
            "password" => raw.clone_into(&mut row.password),
            "password_hash" => text.clone_into(&mut row.password_hash),
            "nick" => row.nick = given(),
            "sex" => row.sex = Some(number(column, text)?),
            "department" => row.department = given(),
            "phone" => row.phone = given(),
            "email" => row.email = given(),
            "domain" => row.domain = given(),
            "avatar" => row.avatar = given(),
            "status" => row.status = given(),
            "signature" => row.signature = given(),
            _ => return Err(bad(unknown(column))),
        }
    }
    if row.name.is_empty() {
        return Err(bad("name is missing".to_owned()));
    }
    Ok(row)
}

pub(super) fn unknown(column: &str) -> String {
    format!(
        "unknown column {column:?}, known are {}",
        COLUMNS.join(", ")
    )
}
