//! Judges the lines of a directory file, without the store.

use std::collections::HashMap;

use im_config::{AccountsConfig, AnswersConfig};
use im_core::text::{first_unseen, unseen_kind};
use im_proto_rpc::v1::{DirectoryRow, ImportError};
use im_store::ImportedUser;

use im_accounts::{HashPolicy, names};

use super::AdminError;

/// Android takes ids from here on for its own.
const FIRST_LOCAL_ID: u32 = 90_000_000;

/// Bounds of texts, bytes.
const MAX_TEXT: usize = 255;
const MAX_PASSWORD: usize = 1_024;
pub(super) const MAX_DEPARTMENT_NAME: usize = 64;
pub(super) const MAX_DEPARTMENT_DEPTH: usize = 16;

/// Words for `IM.BaseDefine.UserInfo.status`.
const STATUSES: [&str; 5] = ["active", "trial", "regular", "left", "intern"];

/// The number of a status word.
fn status_number(word: &str) -> Option<u32> {
    let place = STATUSES.iter().position(|status| *status == word)?;
    u32::try_from(place).ok()
}

/// The number of a status that somebody asks for.
pub(super) fn status_of(word: &str) -> Result<u32, AdminError> {
    status_number(word).ok_or_else(|| {
        AdminError::Invalid(format!(
            "status must be one of {}, is {word:?}",
            STATUSES.join(", ")
        ))
    })
}

/// The word for a status number.
pub(super) fn status_word(number: u32) -> &'static str {
    usize::try_from(number)
        .ok()
        .and_then(|place| STATUSES.get(place))
        .copied()
        .unwrap_or("unknown")
}

/// The word for a number of `IM.BaseDefine.UserInfo.user_gender`.
pub(super) const fn sex_word(number: u32) -> &'static str {
    match number {
        1 => "male",
        2 => "female",
        _ => "unknown",
    }
}

/// A good line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) user: ImportedUser,
    /// To be hashed.
    pub(super) password: Option<String>,
}

/// The lines of one file.
pub(super) struct Rows {
    policy: HashPolicy,
    max_name: usize,
    max_avatar: usize,
    max_signature: usize,
    max_errors: usize,
    pub(super) lines: Vec<Line>,
    pub(super) errors: Vec<ImportError>,
    /// Errors beyond the bound.
    pub(super) errors_left_out: u32,
    /// Line of each name and id.
    names: HashMap<String, u32>,
    ids: HashMap<u32, u32>,
}

impl Rows {
    pub(super) fn new(accounts: &AccountsConfig, answers: &AnswersConfig) -> Self {
        Self {
            policy: HashPolicy::from(accounts),
            max_name: accounts.max_name.as_usize(),
            max_avatar: answers.max_avatar.as_usize(),
            max_signature: answers.max_signature.as_usize(),
            max_errors: accounts.max_import_errors,
            lines: Vec::new(),
            errors: Vec::new(),
            errors_left_out: 0,
            names: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    /// Adds a line or its errors.
    pub(super) fn push(&mut self, row: DirectoryRow) {
        let line = row.line;
        let mut found = Vec::new();
        let parsed = self.judge(row, &mut found);
        if found.is_empty() {
            self.lines.push(parsed);
        } else {
            for message in found {
                self.error(line, message);
            }
        }
    }

    /// Notes an error, up to a number of them.
    pub(super) fn error(&mut self, line: u32, message: String) {
        if self.errors.len() < self.max_errors {
            self.errors.push(ImportError { line, message });
        } else {
            self.errors_left_out = self.errors_left_out.saturating_add(1);
        }
    }

    fn judge(&mut self, mut row: DirectoryRow, found: &mut Vec<String>) -> Line {
        let line = row.line;
        row.name = names::canonical(&row.name).into_owned();
        if row.name.is_empty() {
            found.push("name is missing".to_owned());
        } else {
            check_text("name", &row.name, self.max_name, false, found);
            if let Some(first) = self.names.insert(row.name.clone(), line) {
                found.push(format!("name {:?} is in line {first} already", row.name));
            }
        }
        let id = (row.id != 0).then_some(row.id);
        if let Some(id) = id {
            if id >= FIRST_LOCAL_ID {
                found.push(format!("id must be below {FIRST_LOCAL_ID}, is {id}"));
            }
            if let Some(first) = self.ids.insert(id, line) {
                found.push(format!("id {id} is in line {first} already"));
            }
        }
        let hash = given(Some(row.password_hash));
        if let Some(hash) = &hash
            && let Err(error) = self.policy.check(hash)
        {
            found.push(format!("password_hash {error}"));
        }
        let password = given(Some(row.password));
        if password
            .as_ref()
            .is_some_and(|password| password.len() > MAX_PASSWORD)
        {
            found.push(format!("password is longer than {MAX_PASSWORD} bytes"));
        }
        if let Some(password) = &password {
            check_unseen("password", password, true, found);
        }
        if hash.is_some() && password.is_some() {
            found.push("password and password_hash exclude each other".to_owned());
        }
        if let Some(sex) = row.sex
            && sex > 2
        {
            found.push(format!("sex must be 0, 1 or 2, is {sex}"));
        }
        let mut text = |name: &str, value: Option<String>, max: usize| {
            let value = value.map(|value| value.trim().to_owned());
            given(value).inspect(|value| check_text(name, value, max, true, found))
        };
        let nick = text("nick", row.nick, MAX_TEXT);
        let phone = text("phone", row.phone, MAX_TEXT);
        let email = text("email", row.email, MAX_TEXT);
        let domain = text("domain", row.domain, MAX_TEXT);
        let avatar = text("avatar", row.avatar, self.max_avatar);
        let signature = text("signature", row.signature, self.max_signature);
        let department = given(row.department).and_then(|path| department(&path, found));
        let status = given(row.status).and_then(|word| {
            let number = status_number(&word);
            if number.is_none() {
                found.push(format!(
                    "status must be one of {}, is {word:?}",
                    STATUSES.join(", ")
                ));
            }
            number
        });
        let user = ImportedUser {
            id,
            name: row.name,
            hash,
            nick,
            sex: row.sex,
            department,
            phone,
            email,
            domain,
            avatar,
            status,
            signature,
        };
        Line {
            number: line,
            user,
            password,
        }
    }
}

/// Empty text means that nothing is given.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// With `joiners`, those that spell emoji and some scripts may be in the text.
fn check_text(name: &str, value: &str, max: usize, joiners: bool, found: &mut Vec<String>) {
    if value.len() > max {
        found.push(format!("{name} is longer than {max} bytes"));
    }
    check_unseen(name, value, joiners, found);
}

fn check_unseen(name: &str, value: &str, joiners: bool, found: &mut Vec<String>) {
    if let Some((place, c)) = first_unseen(value, joiners) {
        let (code, kind) = (u32::from(c), unseen_kind(c));
        found.push(format!(
            "{name} has U+{code:04X}, {kind}, as character {place}"
        ));
    }
}

fn department(path: &str, found: &mut Vec<String>) -> Option<Vec<String>> {
    let names: Vec<String> = path.split('/').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        found.push(format!(
            "department {path:?} has an empty name, wanted is Company/Research"
        ));
        return None;
    }
    if names.len() > MAX_DEPARTMENT_DEPTH {
        found.push(format!("department is deeper than {MAX_DEPARTMENT_DEPTH}"));
    }
    for name in &names {
        check_text("department", name, MAX_DEPARTMENT_NAME, true, found);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rows: impl IntoIterator<Item = DirectoryRow>) -> Rows {
        let mut judged = Rows::new(&AccountsConfig::default(), &AnswersConfig::default());
        for (line, row) in (2..).zip(rows) {
            judged.push(DirectoryRow { line, ..row });
        }
        judged
    }

    fn ann() -> DirectoryRow {
        DirectoryRow {
            name: "ann".to_owned(),
            ..DirectoryRow::default()
        }
    }

    #[test]
    fn a_name_is_enough_and_empty_means_not_given() {
        let row = DirectoryRow {
            nick: Some(String::new()),
            department: Some(String::new()),
            status: Some(String::new()),
            ..ann()
        };
        let rows = judge([row]);
        assert_eq!(rows.errors, []);
        let line = rows.lines.first().unwrap();
        assert_eq!(
            line.user,
            ImportedUser {
                name: "ann".to_owned(),
                ..ImportedUser::default()
            }
        );
        assert_eq!((line.number, line.password.as_deref()), (2, None));
    }

    #[test]
    fn every_kind_of_bad_line_is_reported_with_its_number() {
        let long = "x".repeat(300);
        let text = |text: &str| Some(text.to_owned());
        for (row, message) in [
            (DirectoryRow::default(), "name is missing"),
            (
                DirectoryRow {
                    name: long.clone(),
                    ..ann()
                },
                "name is longer than 128 bytes",
            ),
            (
                DirectoryRow {
                    name: "a\tb".to_owned(),
                    ..ann()
                },
                "name has U+0009, a tab, as character 2",
            ),
            (
                DirectoryRow {
                    name: "nn\u{202e}a".to_owned(),
                    ..ann()
                },
                "name has U+202E, a mark of direction, as character 3",
            ),
            (
                DirectoryRow {
                    nick: text("A\u{200b}nn"),
                    ..ann()
                },
                "nick has U+200B, an invisible character, as character 2",
            ),
            (
                DirectoryRow {
                    password: "a\u{7}".to_owned(),
                    ..ann()
                },
                "password has U+0007, a control character, as character 2",
            ),
            (
                DirectoryRow {
                    id: 90_000_000,
                    ..ann()
                },
                "id must be below 90000000, is 90000000",
            ),
            (
                DirectoryRow {
                    sex: Some(3),
                    ..ann()
                },
                "sex must be 0, 1 or 2, is 3",
            ),
            (
                DirectoryRow {
                    nick: Some(long.clone()),
                    ..ann()
                },
                "nick is longer than 255 bytes",
            ),
            (
                DirectoryRow {
                    signature: Some(long),
                    ..ann()
                },
                "signature is longer than 128 bytes",
            ),
            (
                DirectoryRow {
                    status: text("fired"),
                    ..ann()
                },
                "status must be one of active, trial, regular, left, intern, is \"fired\"",
            ),
            (
                DirectoryRow {
                    department: text("Company//Research"),
                    ..ann()
                },
                "department \"Company//Research\" has an empty name, wanted is Company/Research",
            ),
            (
                DirectoryRow {
                    password_hash: "md5".to_owned(),
                    ..ann()
                },
                "password_hash is neither a PHC string nor $teamtalk$SALT$MD5HEX",
            ),
            (
                DirectoryRow {
                    password: "a".to_owned(),
                    password_hash: "$teamtalk$1$0123456789abcdef0123456789abcdef".to_owned(),
                    ..ann()
                },
                "password and password_hash exclude each other",
            ),
        ] {
            let rows = judge([row]);
            let messages: Vec<_> = rows
                .errors
                .iter()
                .map(|error| (error.line, error.message.as_str()))
                .collect();
            assert_eq!(messages, [(2, message)]);
            assert!(rows.lines.is_empty());
        }
    }

    #[test]
    fn names_and_ids_may_occur_once() {
        let bob = DirectoryRow {
            name: "bob".to_owned(),
            id: 7,
            ..DirectoryRow::default()
        };
        let eve = DirectoryRow {
            name: "eve".to_owned(),
            id: 7,
            ..DirectoryRow::default()
        };
        let rows = judge([ann(), bob, ann(), eve]);
        let messages: Vec<_> = rows
            .errors
            .iter()
            .map(|error| (error.line, error.message.as_str()))
            .collect();
        assert_eq!(
            messages,
            [
                (4, "name \"ann\" is in line 2 already"),
                (5, "id 7 is in line 3 already")
            ]
        );
    }

    #[test]
    fn statuses_are_words_for_0_to_4() {
        for (number, word) in (0..).zip(STATUSES) {
            assert_eq!(status_number(word), Some(number));
            assert_eq!(status_word(number), word);
        }
        assert_eq!(status_number("0"), None);
    }

    #[test]
    fn the_number_of_reported_errors_is_bounded() {
        let rows = judge((0..2_000).map(|_| DirectoryRow::default()));
        assert_eq!(
            rows.errors.len(),
            AccountsConfig::default().max_import_errors
        );
    }
}
