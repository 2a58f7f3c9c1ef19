//! Files of people that this crate reads again.

use im_proto_rpc::v1::UserRecord;
use serde::Serialize;

use super::Format;

/// Words for sexes, by their numbers.
const SEXES: [&str; 3] = ["unknown", "male", "female"];

/// Headings of a table, in the order of the fields of [`Person`].
const COLUMNS: [&str; 11] = [
    "id",
    "name",
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

/// Somebody as they stand in a file: every field that can be read again, and no password.
#[derive(Serialize)]
struct Person<'a> {
    id: u32,
    name: &'a str,
    nick: &'a str,
    sex: &'a str,
    department: &'a str,
    phone: &'a str,
    email: &'a str,
    domain: &'a str,
    avatar: &'a str,
    status: &'a str,
    signature: &'a str,
}

impl<'a> Person<'a> {
    fn of(user: &'a UserRecord) -> Self {
        let sex = usize::try_from(user.sex).unwrap_or_default();
        Self {
            id: user.id,
            name: &user.name,
            nick: &user.nick,
            sex: SEXES.get(sex).copied().unwrap_or("unknown"),
            department: &user.department,
            phone: &user.phone,
            email: &user.email,
            domain: &user.domain,
            avatar: &user.avatar,
            status: &user.status,
            signature: &user.signature,
        }
    }
}

/// Writes people, part by part.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    /// The heading is written.
    begun: bool,
}

impl Writer {
    /// A file of this form. A mapping of YAML is written as JSON, which is YAML too.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self {
            format,
            begun: false,
        }
    }

    /// The next part of the file, with these people.
    ///
    /// # Errors
    /// A text cannot be written in this form; none that a store holds is one.
    pub fn part(&mut self, people: &[UserRecord]) -> Result<Vec<u8>, String> {
        let people = people.iter().map(Person::of);
        match self.format {
            Format::Table => {
                let mut table = csv::WriterBuilder::new()
                    .has_headers(false)
                    .from_writer(Vec::new());
                if !std::mem::replace(&mut self.begun, true) {
                    table
                        .write_record(COLUMNS)
                        .map_err(|error| error.to_string())?;
                }
                for person in people {
                    table.serialize(person).map_err(|error| error.to_string())?;
                }
                table.into_inner().map_err(|error| error.to_string())
            }
            Format::Yaml | Format::Ndjson => {
                let mut text = Vec::new();
                for person in people {
                    if self.format == Format::Yaml {
                        text.extend_from_slice(b"- ");
                    }
                    serde_json::to_writer(&mut text, &person).map_err(|error| error.to_string())?;
                    text.push(b'\n');
                }
                Ok(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reading, rows};

    #[test]
    fn what_is_written_is_read_again_in_every_form() {
        let ann = UserRecord {
            id: 7,
            name: "ann".to_owned(),
            nick: "Ann, \"the first\"\n: - #".to_owned(),
            sex: 2,
            department: "Company/Research".to_owned(),
            phone: "0170".to_owned(),
            status: "active".to_owned(),
            ..UserRecord::default()
        };
        let ben = UserRecord {
            id: 8,
            name: "ben".to_owned(),
            ..UserRecord::default()
        };
        for format in [Format::Table, Format::Yaml, Format::Ndjson] {
            let mut writer = Writer::new(format);
            let mut file = writer.part(&[]).unwrap();
            file.extend(writer.part(std::slice::from_ref(&ann)).unwrap());
            file.extend(writer.part(std::slice::from_ref(&ben)).unwrap());
            let text = String::from_utf8(file).unwrap();
            let read = rows(&text, format, &Reading::default()).unwrap();
            assert_eq!(read.len(), 2, "{text}");
            let (first, second) = (&read[0], &read[1]);
            assert_eq!((first.id, first.name.as_str()), (7, "ann"));
            assert_eq!(first.nick.as_deref(), Some(ann.nick.as_str()), "{format:?}");
            assert_eq!((first.sex, first.phone.as_deref()), (Some(2), Some("0170")));
            assert_eq!(first.department.as_deref(), Some("Company/Research"));
            assert_eq!((second.id, second.nick.as_deref()), (8, None));
        }
    }
}
