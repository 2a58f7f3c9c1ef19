//! The database of the original, which is only read.

mod messages;
mod people;

use std::collections::HashSet;

use im_store_mysql::{MysqlOptions, MysqlServer, connect};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};

pub(crate) use messages::{Audio, MessageSource};
pub(crate) use people::{DepartmentSource, GroupSource, MemberSource, SessionSource, UserSource};

use crate::MigrateError;

/// Tables of each kind of messages.
const SHARDS: u8 = 8;

/// Tables without which it is no TeamTalk database, beside those of messages.
const NEEDED: [&str; 4] = ["IMUser", "IMGroup", "IMGroupMember", "IMRelationShip"];

const COLUMNS: &str = "SELECT LOWER(table_name), LOWER(column_name) FROM information_schema.columns
    WHERE table_schema = DATABASE()";
/// Nobody can write on this connection.
const SESSION: &str = "SET SESSION TRANSACTION READ ONLY";

/// One of the sixteen tables of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) is_group: bool,
    number: u8,
}

impl Shard {
    /// All of them, by their places.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of = |is_group| (0..SHARDS).map(move |number| Self { is_group, number });
        of(false).chain(of(true))
    }

    #[cfg(test)]
    pub(crate) fn pair(relation: u32) -> Self {
        Self {
            is_group: false,
            number: u8::try_from(relation % 8).unwrap(),
        }
    }

    #[cfg(test)]
    pub(crate) fn group(group: u32) -> Self {
        Self {
            is_group: true,
            number: u8::try_from(group % 8).unwrap(),
        }
    }

    /// The one at a place.
    pub(crate) fn at(place: usize) -> Self {
        let place = u8::try_from(place).unwrap_or(0);
        Self {
            is_group: place >= SHARDS,
            number: place % SHARDS,
        }
    }

    pub(crate) fn place(self) -> usize {
        usize::from(self.number + if self.is_group { SHARDS } else { 0 })
    }

    pub(crate) fn table(self) -> String {
        let kind = if self.is_group {
            "IMGroupMessage"
        } else {
            "IMMessage"
        };
        format!("{kind}_{}", self.number)
    }

    /// The column of the relation or group.
    fn of(self) -> &'static str {
        if self.is_group { "groupId" } else { "relateId" }
    }

    pub(crate) fn text_type(self) -> u32 {
        if self.is_group { 0x11 } else { 0x01 }
    }

    pub(crate) fn audio_type(self) -> u32 {
        self.text_type() + 1
    }
}

/// A connection to it.
pub(crate) struct Source {
    connection: MySqlConnection,
    columns: HashSet<(String, String)>,
}

impl Source {
    /// Connects, and sees whether the tables are there.
    pub(crate) async fn open(
        server: &MysqlServer,
        options: &MysqlOptions,
    ) -> Result<Self, MigrateError> {
        let connection = connect(server, options).await;
        let connection = connection.map_err(|error| MigrateError::Open(Box::new(error)))?;
        let mut source = Self {
            connection,
            columns: HashSet::new(),
        };
        let said = sqlx::raw_sql(SESSION).execute(&mut source.connection).await;
        said.map_err(|source| MigrateError::Read {
            table: "the session".to_owned(),
            source,
        })?;
        for row in source
            .rows("the list of tables", COLUMNS.to_owned())
            .await?
        {
            let names = (text(&row, 0, "columns")?, text(&row, 1, "columns")?);
            source.columns.insert(names);
        }
        let needed = NEEDED.iter().map(|table| (*table).to_owned());
        for table in needed.chain(Shard::all().map(Shard::table)) {
            if !source.has(&table, "id") {
                return Err(MigrateError::NoTable(table));
            }
        }
        Ok(source)
    }

    /// Whether there is a column: later versions of the original have more of them.
    fn has(&self, table: &str, column: &str) -> bool {
        let names = (table.to_lowercase(), column.to_lowercase());
        self.columns.contains(&names)
    }

    /// Runs a statement of our own words and integers.
    async fn rows(
        &mut self,
        table: impl Into<String>,
        statement: String,
    ) -> Result<Vec<MySqlRow>, MigrateError> {
        let rows = sqlx::query(AssertSqlSafe(statement))
            .persistent(false)
            .fetch_all(&mut self.connection)
            .await;
        rows.map_err(|source| MigrateError::Read {
            table: table.into(),
            source,
        })
    }

    /// Reads one number.
    async fn one_number(&mut self, table: &str, statement: String) -> Result<u64, MigrateError> {
        let rows = self.rows(table, statement).await?;
        rows.first().map_or(Ok(0), |row| wide(row, 0, table))
    }
}

/// A column as a number that is never null.
fn number_of(column: &str) -> String {
    format!("CAST(COALESCE({column}, 0) AS UNSIGNED)")
}

/// Columns as numbers.
fn numbers_of(columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| number_of(column)).collect();
    columns.join(", ")
}

/// Columns as text that is never null.
fn texts_of(columns: &[&str]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("COALESCE({column}, '')"))
        .collect();
    columns.join(", ")
}

/// Of rows whose first column is their key, why one cannot be read.
fn odd(row: &MySqlRow, table: &str, why: impl std::fmt::Display) -> MigrateError {
    MigrateError::Row {
        table: table.to_owned(),
        row: row.try_get(0).unwrap_or(0),
        why: why.to_string(),
    }
}

fn wide(row: &MySqlRow, at: usize, table: &str) -> Result<u64, MigrateError> {
    row.try_get(at).map_err(|error| odd(row, table, error))
}

fn number(row: &MySqlRow, at: usize, table: &str) -> Result<u32, MigrateError> {
    let number = wide(row, at, table)?;
    u32::try_from(number)
        .map_err(|_| odd(row, table, format!("{number} is no number of the original")))
}

fn text(row: &MySqlRow, at: usize, table: &str) -> Result<String, MigrateError> {
    let bytes: Vec<u8> = row
        .try_get_unchecked(at)
        .map_err(|error| odd(row, table, error))?;
    String::from_utf8(bytes).map_err(|_| odd(row, table, "text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_known_by_their_places() {
        let tables: Vec<String> = Shard::all().map(Shard::table).collect();
        assert_eq!((tables.len(), tables[0].as_str()), (16, "IMMessage_0"));
        assert_eq!(tables[15], "IMGroupMessage_7");
        for (place, shard) in Shard::all().enumerate() {
            assert_eq!((shard.place(), Shard::at(place)), (place, shard));
        }
        assert_eq!(Shard::group(9).audio_type(), 18);
        assert_eq!(Shard::pair(10).table(), "IMMessage_2");
    }
}
