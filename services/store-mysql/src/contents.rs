//! Everything that the store holds, out of it and into a new one. Text becomes part of statements as hexadecimal digits only.

use async_trait::async_trait;
use futures::TryStreamExt as _;
use im_order::Fence;
use im_store::{
    COUNTERS, ColumnKind, Content, ContentPage, ContentStore, Gathering, SECTIONS, Section,
    StoreError, Value,
};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

use crate::MysqlStore;
use crate::change::{new_receipt, receipt_text, run};
use crate::connect::session;
use crate::rows::{bytes, count, is_definite, optional, outdated, text, unavailable};
use crate::tenures::hold;
use crate::transfer::{hex, quoted};

/// Tables whose rows do not travel, and why.
#[cfg(test)]
const STAYING: [(&str, &str); 3] = [
    ("receipt", "asked for by whoever has just lost an answer"),
    ("replica", "processes that are there"),
    (
        "tenure",
        "who had this log, for people; tenures go on as they are",
    ),
];

/// Rows of one statement.
const ROWS_AT_ONCE: usize = 1_000;

/// One moment of all tables. A receiver may be slow: a file on a slow disk.
const SNAPSHOT: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET SESSION net_write_timeout = 3600",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];
const VERSION: &str = "SELECT @@version";
/// Counters of what only has an order: other kinds of stores have none.
const ORDER_COUNTERS: [&str; 3] = ["idempotency_key", "login_failure", "push_target"];

/// A section's table here.
#[derive(Debug)]
struct Table {
    name: &'static str,
    /// In the order of the section's columns.
    columns: Vec<&'static str>,
    /// Columns that no other kind of store has, and what is in them.
    fixed: &'static [(&'static str, &'static str)],
}

const PART: &[(&str, &str)] = &[("part", "0")];

fn table(section: &Section) -> Table {
    let columns = section.columns.iter();
    let columns = columns.map(|column| match (section.name, column.name) {
        ("audit_log", "before") => "was",
        ("audit_log", "after") => "became",
        ("idempotency_key", "key") => "name",
        ("follower_retry", "key") => "item",
        (_, name) => name,
    });
    let (name, fixed): (_, &[_]) = match section.name {
        "conversation" => ("conversation", &[("part", "0"), ("prior_id", "0")]),
        "chat_group" => ("chat_group", PART),
        "member" => ("group_member", PART),
        "message" => ("message", PART),
        "counter" => ("meta", &[]),
        "part" => ("part", &[("epoch", "0")]),
        name => (name, &[]),
    };
    Table {
        name,
        columns: columns.collect(),
        fixed,
    }
}

/// Which rows of its table are those of a section.
fn filter(section: &Section) -> String {
    if section.name != "counter" {
        return String::new();
    }
    let names = COUNTERS.map(|name| format!("'{name}'"));
    format!(" WHERE name IN ({})", names.join(","))
}

fn select(section: &Section) -> String {
    let table = table(section);
    let key: Vec<_> = table.columns.iter().take(section.key).copied().collect();
    format!(
        "SELECT {} FROM {}{} ORDER BY {}",
        table.columns.join(", "),
        table.name,
        filter(section),
        key.join(", ")
    )
}

fn how_many(section: &Section) -> String {
    format!(
        "SELECT count(*) FROM {}{}",
        table(section).name,
        filter(section)
    )
}

/// The beginning of what writes rows, and its end.
fn insert(section: &Section) -> (String, String) {
    let table = table(section);
    let fixed = table.fixed.iter().map(|(name, _)| *name);
    let all: Vec<_> = fixed.chain(table.columns.iter().copied()).collect();
    let head = format!("INSERT INTO {} ({}) VALUES ", table.name, all.join(", "));
    if !section.is_preset {
        return (head, String::new());
    }
    let sets = table.columns.iter().skip(section.key);
    let sets: Vec<_> = sets
        .map(|name| format!("{name} = VALUES({name})"))
        .collect();
    (
        head,
        format!(" ON DUPLICATE KEY UPDATE {}", sets.join(", ")),
    )
}

/// A row as a part of a statement.
fn row_text(section: &Section, table: &Table, row: &[Value]) -> Result<String, StoreError> {
    let mut fields: Vec<String> = Vec::with_capacity(row.len() + table.fixed.len());
    fields.extend(table.fixed.iter().map(|(_, value)| (*value).to_owned()));
    for (column, value) in section.columns.iter().zip(row) {
        fields.push(match (value, column.kind) {
            (Value::Null, _) => "NULL".to_owned(),
            (Value::Number(number), _) => number.to_string(),
            (Value::Bytes(bytes), ColumnKind::Text) => quoted(
                std::str::from_utf8(bytes)
                    .map_err(|error| StoreError::Corrupt(error.to_string()))?,
            ),
            (Value::Bytes(bytes), _) => hex(bytes),
        });
    }
    Ok(format!("({})", fields.join(",")))
}

#[async_trait]
impl ContentStore for MysqlStore {
    async fn read_contents(&self, to: Sender<Content>) -> Result<(), StoreError> {
        let mut connection = self.inner.connect().await?;
        for text in SNAPSHOT {
            run(&mut connection, text.to_owned()).await?;
        }
        let mut counts = Vec::with_capacity(SECTIONS.len());
        for section in SECTIONS {
            counts.push(one_number(&mut connection, how_many(section)).await?);
        }
        send(&to, Content::Counts(counts)).await?;
        for (place, section) in SECTIONS.iter().enumerate() {
            let mut gathering = Gathering::of(place);
            let mut rows = sqlx::query(AssertSqlSafe(select(section))).fetch(&mut connection);
            while let Some(row) = rows.try_next().await? {
                if let Some(page) = gathering.add(values(section, &row)?) {
                    send(&to, Content::Rows(page)).await?;
                }
            }
            drop(rows);
            if let Some(page) = gathering.rest() {
                send(&to, Content::Rows(page)).await?;
            }
        }
        connection.close().await?;
        send(&to, Content::End).await
    }

    async fn fill(&self, fence: Fence, from: Receiver<Content>) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut connection = inner.connect().await?;
        let row = sqlx::query(VERSION).fetch_one(&mut connection).await?;
        // Without a limit for standing still: rows may come from a slow disk.
        let session = session(&text(&row, 0)?, &inner.options, None);
        run(&mut connection, session).await?;
        run(&mut connection, "START TRANSACTION".to_owned()).await?;
        if let Err(error) = self.put_all(&mut connection, &fence, from).await {
            // Ends the transaction too.
            drop(connection.close().await);
            return Err(error);
        }
        let receipt = new_receipt();
        let committing = run(
            &mut connection,
            format!("{}; COMMIT", receipt_text(receipt)),
        );
        let error = match timeout(inner.options.change_timeout, committing).await {
            Ok(Ok(_)) => {
                drop(connection.close().await);
                self.forget_numbers();
                return Ok(());
            }
            Ok(Err(error)) if is_definite(&error) => return Err(error.into()),
            Ok(Err(error)) => error.into(),
            Err(_) => unavailable("a commit is not answered"),
        };
        drop(connection);
        inner.settle(receipt, error).await
    }
}

impl MysqlStore {
    async fn put_all(
        &self,
        connection: &mut MySqlConnection,
        fence: &Fence,
        mut from: Receiver<Content>,
    ) -> Result<(), StoreError> {
        hold(&mut *connection, fence).await?;
        for section in SECTIONS.iter().filter(|section| !section.is_preset) {
            let text = format!("SELECT EXISTS(SELECT 1 FROM {})", table(section).name);
            if one_number(&mut *connection, text).await? > 0 {
                return Err(StoreError::NotEmpty {
                    table: section.name,
                });
            }
        }
        loop {
            match from.recv().await {
                Some(Content::Counts(_)) => {}
                Some(Content::Rows(page)) => self.put_page(&mut *connection, &page).await?,
                Some(Content::End) => break,
                None => return Err(unavailable("what fills the store has ended early")),
            }
        }
        for table in ORDER_COUNTERS {
            let counter = format!(
                "UPDATE meta SET value = (SELECT coalesce(max(id), 0) FROM {table}) WHERE name = '{table}'"
            );
            run(&mut *connection, counter).await?;
        }
        Ok(())
    }

    async fn put_page(
        &self,
        connection: &mut MySqlConnection,
        page: &ContentPage,
    ) -> Result<(), StoreError> {
        let section = page.checked()?;
        let table = table(section);
        let (head, tail) = insert(section);
        let longest = self.inner.max_text / 2;
        let mut statement = String::new();
        let mut rows = 0;
        for row in &page.rows {
            let row = row_text(section, &table, row)?;
            if rows > 0 && (rows >= ROWS_AT_ONCE || statement.len() + row.len() > longest) {
                self.put_rows(&mut *connection, statement + &tail).await?;
                (statement, rows) = (String::new(), 0);
            }
            statement.push_str(if rows == 0 { &head } else { "," });
            statement.push_str(&row);
            rows += 1;
        }
        if rows > 0 {
            self.put_rows(connection, statement + &tail).await?;
        }
        Ok(())
    }

    async fn put_rows(
        &self,
        connection: &mut MySqlConnection,
        statement: String,
    ) -> Result<(), StoreError> {
        let writing = run(connection, statement);
        let written = timeout(self.inner.options.change_timeout, writing).await;
        let written = written.map_err(|_| unavailable("the database does not answer"))?;
        written.map(drop).map_err(outdated)
    }
}

async fn one_number(connection: &mut MySqlConnection, text: String) -> Result<u64, StoreError> {
    let row = sqlx::query(AssertSqlSafe(text))
        .fetch_one(connection)
        .await?;
    count(&row, 0)
}

async fn send(to: &Sender<Content>, content: Content) -> Result<(), StoreError> {
    let sent = to.send(content).await;
    sent.map_err(|_| unavailable("nobody takes what the store holds any more"))
}

fn values(section: &Section, row: &MySqlRow) -> Result<Vec<Value>, StoreError> {
    let mut values = Vec::with_capacity(section.columns.len());
    for (at, column) in section.columns.iter().enumerate() {
        let value = if column.kind == ColumnKind::Number {
            optional(row, at)?.map(Value::Number)
        } else if column.is_optional {
            let found: Option<Vec<u8>> = row.try_get_unchecked(at)?;
            found.map(Value::Bytes)
        } else {
            Some(Value::Bytes(bytes(row, at)?))
        };
        values.push(value.unwrap_or(Value::Null));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::schema;

    #[test]
    fn no_table_and_no_column_is_forgotten() {
        let steps = schema::steps("10.11.19-MariaDB");
        let mut known = BTreeSet::new();
        for section in SECTIONS {
            let table = table(section);
            known.insert(table.name);
            let step = steps
                .iter()
                .find(|step| schema::table_of(step) == Some(table.name));
            let step = step.unwrap_or_else(|| panic!("there is no table {}", table.name));
            let lines = step.lines().filter_map(|line| line.strip_prefix("    "));
            let names = lines.filter_map(|line| line.split_whitespace().next());
            let keys = ["PRIMARY", "UNIQUE", "KEY"];
            let columns: BTreeSet<_> = names.filter(|name| !keys.contains(name)).collect();
            let fixed = table.fixed.iter().map(|(name, _)| *name);
            let set: BTreeSet<_> = table.columns.iter().copied().chain(fixed).collect();
            assert_eq!(columns, set, "{}", table.name);
        }
        for made in steps.iter().filter_map(|step| schema::table_of(step)) {
            let stays = STAYING.iter().any(|(name, _)| *name == made);
            assert!(known.contains(made) != stays, "{made}");
        }
        let meta = steps
            .iter()
            .find(|step| step.contains("INSERT IGNORE INTO meta"));
        let counters = COUNTERS.iter().chain(&ORDER_COUNTERS).chain(&["probe"]);
        let meta = meta.unwrap();
        assert!(
            counters
                .clone()
                .all(|name| meta.contains(&format!("('{name}', 0)")))
        );
        assert_eq!(meta.matches(", 0)").count(), counters.count());
    }

    #[test]
    fn rows_become_text_without_any_of_their_bytes() {
        let section = SECTIONS
            .iter()
            .find(|section| section.name == "counter")
            .unwrap();
        let row = [Value::Bytes(b"');--".to_vec()), Value::Number(7)];
        let text = row_text(section, &table(section), &row).unwrap();
        assert_eq!(text, "(_utf8mb4 x'27293b2d2d',7)");
        let (head, tail) = insert(section);
        assert_eq!(head, "INSERT INTO meta (name, value) VALUES ");
        assert_eq!(tail, " ON DUPLICATE KEY UPDATE value = VALUES(value)");
    }
}
