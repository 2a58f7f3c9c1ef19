//! Everything that the store holds, out of it and into a new one.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use im_order::Fence;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, Sqlite, SqliteConnection,
    ValueRef as _,
};
use tokio::sync::mpsc::{Receiver, Sender};

use super::SqliteStore;
use super::rows::{outdated, unavailable, unsigned};
use super::tenures::hold;
use crate::contents::Gathering;
use crate::{
    COUNTERS, ColumnKind, Content, ContentPage, ContentStore, SECTIONS, Section, StoreError, Value,
};

/// Tables whose rows do not travel, and why.
#[cfg(test)]
const STAYING: [(&str, &str); 3] = [
    ("_sqlx_migrations", "each store has a schema of its own"),
    ("sqlite_sequence", "read as counters"),
    (
        "transfer_state",
        "how far an import from TeamTalk is, whose last run comes before the first server",
    ),
];

/// Counters that are rows of `meta`; the others are those of SQLite.
const META: [&str; 3] = ["directory_stamp", "greatest_group", "skipped_ids"];

const TRIGGERS: &str = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name";

/// A conversation's number, of its row `c`; and rows in the order of numbers.
const NUMBER: &str = "CASE c.kind WHEN 2 THEN c.a ELSE (c.a << 32) | c.b END";
const BY_NUMBER: &str = "c.kind DESC, c.a, c.b";

/// kind, a and b of a conversation by its number, the parameter `at`.
fn key(at: usize) -> [String; 3] {
    let is_group = format!("?{at} BETWEEN 0 AND 4294967295");
    [
        format!("CASE WHEN {is_group} THEN 2 ELSE 1 END"),
        format!("CASE WHEN {is_group} THEN ?{at} ELSE (?{at} >> 32) & 4294967295 END"),
        format!("CASE WHEN {is_group} THEN 0 ELSE ?{at} & 4294967295 END"),
    ]
}

/// Row of the conversation whose number is the parameter `at`.
fn row_of(at: usize) -> String {
    let [kind, a, b] = key(at);
    format!("(SELECT conv FROM conversation WHERE kind = {kind} AND a = {a} AND b = {b})")
}

fn names(section: &Section) -> Vec<&'static str> {
    section.columns.iter().map(|column| column.name).collect()
}

/// What lists the rows of a section in their order.
fn select(section: &Section) -> String {
    let columns = names(section);
    match section.name {
        "conversation" => format!(
            "SELECT {NUMBER}, c.conv, c.last_id, c.last_seq, c.last_time, c.low_sent
                FROM conversation AS c ORDER BY {BY_NUMBER}"
        ),
        "id_gap" => format!(
            "SELECT {NUMBER}, g.after, g.through FROM id_gap AS g
                JOIN conversation AS c ON c.conv = g.conv ORDER BY {BY_NUMBER}, g.after"
        ),
        "inbox" => format!(
            "SELECT m.user, {NUMBER}, m.read_id, m.removed_at, m.created FROM member AS m
                JOIN conversation AS c ON c.conv = m.conv ORDER BY m.user, {BY_NUMBER}"
        ),
        "member" => {
            "SELECT c.a, m.user, m.active, m.joined_id, m.shield, m.created, m.updated, m.changed_by
            FROM member AS m JOIN conversation AS c ON c.conv = m.conv
            WHERE m.grouped = 1 ORDER BY c.a, m.user"
                .to_owned()
        }
        "message" => format!(
            "SELECT m.seq, {NUMBER}, m.id, m.sender, m.type, m.time, m.low_sent, m.retry_key, m.body
                FROM message AS m CROSS JOIN conversation AS c ON c.conv = m.conv ORDER BY m.seq"
        ),
        "push_target" => {
            "SELECT rowid, token, user, type, session FROM push_target ORDER BY rowid".to_owned()
        }
        "counter" => {
            let counter = |name: &&str| {
                if META.contains(name) {
                    format!("SELECT '{name}', (SELECT value FROM meta WHERE name = '{name}')")
                } else {
                    format!(
                        "SELECT '{name}', coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{name}'), 0)"
                    )
                }
            };
            let counters: Vec<_> = COUNTERS.iter().map(counter).collect();
            counters.join(" UNION ALL ")
        }
        name => {
            let key: Vec<_> = columns.iter().take(section.key).copied().collect();
            let (columns, key) = (columns.join(", "), key.join(", "));
            format!("SELECT {columns} FROM {name} ORDER BY {key}")
        }
    }
}

/// How many rows a section has.
fn count(section: &Section) -> String {
    match section.name {
        "inbox" => "SELECT count(*) FROM member".to_owned(),
        "member" => "SELECT count(*) FROM member WHERE grouped = 1".to_owned(),
        "counter" => format!("SELECT {}", COUNTERS.len()),
        name => format!("SELECT count(*) FROM {name}"),
    }
}

/// What writes a row, whose fields are the parameters. Every one of them changes one row.
fn insert(section: &Section) -> String {
    let columns = names(section);
    let places = |from: usize| -> String {
        let places = (from..=columns.len()).map(|at| format!("?{at}"));
        places.collect::<Vec<_>>().join(", ")
    };
    match section.name {
        "conversation" => {
            let [kind, a, b] = key(1);
            format!(
                "INSERT INTO conversation (kind, a, b, conv, last_id, last_seq, last_time, low_sent)
                    VALUES ({kind}, {a}, {b}, {})",
                places(2)
            )
        }
        "id_gap" => format!(
            "INSERT INTO id_gap (conv, after, through) VALUES ({}, ?2, ?3)",
            row_of(1)
        ),
        "chat_group" => format!(
            "INSERT INTO chat_group (conv, {}) VALUES ({}, {})",
            columns.join(", "),
            row_of(1),
            places(1)
        ),
        // Of a group, its section `member` says the rest.
        "inbox" => format!(
            "INSERT INTO member (user, conv, grouped, active, shield, read_id, joined_id, removed_at, created, updated,
                changed_by) VALUES (?1, {}, ?2 BETWEEN 0 AND 4294967295, 1, 0, ?3, 0, ?4, ?5, ?5, NULL)",
            row_of(2)
        ),
        "member" => format!(
            "UPDATE member SET active = ?3, joined_id = ?4, shield = ?5, created = ?6, updated = ?7, changed_by = ?8
                WHERE user = ?2 AND grouped = 1 AND conv = {}",
            row_of(1)
        ),
        "message" => format!(
            "INSERT INTO message (seq, conv, id, sender, type, time, low_sent, retry_key, body)
                VALUES (?1, {}, {})",
            row_of(2),
            places(3)
        ),
        "push_target" => format!(
            "INSERT INTO push_target (rowid, token, user, type, session) VALUES ({})",
            places(1)
        ),
        "audit_ends" => "UPDATE audit_ends SET first = ?2, first_hash = ?3, last = ?4, last_hash = ?5 WHERE id = ?1"
            .to_owned(),
        "part" => "UPDATE part SET last_seq = ?2 WHERE part = ?1".to_owned(),
        name => format!(
            "INSERT INTO {name} ({}) VALUES ({})",
            columns.join(", "),
            places(1)
        ),
    }
}

/// What sets a counter.
fn set_counter(name: &str) -> &'static [&'static str] {
    if META.contains(&name) {
        &["UPDATE meta SET value = ?2 WHERE name = ?1"]
    } else {
        // SQLite has no key there.
        &[
            "DELETE FROM sqlite_sequence WHERE name = ?1 AND ?2 >= 0",
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
        ]
    }
}

#[async_trait]
impl ContentStore for SqliteStore {
    async fn read_contents(&self, to: Sender<Content>) -> Result<(), StoreError> {
        let mut connection = self.reading_all().connect().await?;
        // What follows sees one moment: the first read begins it.
        sqlx::query("BEGIN").execute(&mut connection).await?;
        let mut counts = Vec::with_capacity(SECTIONS.len());
        for section in SECTIONS {
            let row = sqlx::query(AssertSqlSafe(count(section)))
                .fetch_one(&mut connection)
                .await?;
            counts.push(unsigned(row.try_get(0)?)?);
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

    async fn fill(&self, fence: Fence, mut from: Receiver<Content>) -> Result<(), StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        hold(&mut tx, &fence).await?;
        for section in SECTIONS.iter().filter(|section| !section.is_preset) {
            let row = sqlx::query(AssertSqlSafe(count(section)))
                .fetch_one(&mut *tx)
                .await?;
            if unsigned(row.try_get(0)?)? > 0 {
                return Err(StoreError::NotEmpty {
                    table: section.name,
                });
            }
        }
        // They would note every row as a change that is made now.
        let rows = sqlx::query(TRIGGERS).fetch_all(&mut *tx).await?;
        let mut triggers = Vec::with_capacity(rows.len());
        for row in &rows {
            let (name, sql): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let drop = AssertSqlSafe(format!("DROP TRIGGER {name}"));
            sqlx::query(drop).execute(&mut *tx).await?;
            triggers.push(sql);
        }
        loop {
            match from.recv().await {
                Some(Content::Counts(_)) => {}
                Some(Content::Rows(page)) => put(&mut tx, &page).await?,
                Some(Content::End) => break,
                None => return Err(unavailable("what fills the store has ended early")),
            }
        }
        for trigger in triggers {
            sqlx::query(AssertSqlSafe(trigger))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn send(to: &Sender<Content>, content: Content) -> Result<(), StoreError> {
    let sent = to.send(content).await;
    sent.map_err(|_| unavailable("nobody takes what the store holds any more"))
}

fn values(section: &Section, row: &SqliteRow) -> Result<Vec<Value>, StoreError> {
    let mut values = Vec::with_capacity(section.columns.len());
    for (at, column) in section.columns.iter().enumerate() {
        values.push(if row.try_get_raw(at)?.is_null() {
            Value::Null
        } else {
            match column.kind {
                // Some are 64 bits that SQLite takes for a negative number.
                ColumnKind::Number => Value::Number(row.try_get::<i64, _>(at)?.cast_unsigned()),
                ColumnKind::Text => Value::Bytes(row.try_get::<String, _>(at)?.into_bytes()),
                ColumnKind::Bytes => Value::Bytes(row.try_get(at)?),
            }
        });
    }
    Ok(values)
}

/// Writes a page.
async fn put(connection: &mut SqliteConnection, page: &ContentPage) -> Result<(), StoreError> {
    let section = page.checked()?;
    let text: Arc<str> = insert(section).into();
    for row in &page.rows {
        if section.name == "counter" {
            let name = match row.first() {
                Some(Value::Bytes(name)) => String::from_utf8_lossy(name),
                _ => continue,
            };
            for text in set_counter(&name) {
                bound(sqlx::query(*text), section, row)?
                    .execute(&mut *connection)
                    .await?;
            }
            continue;
        }
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&text)));
        let done = bound(query, section, row)?
            .execute(&mut *connection)
            .await
            .map_err(outdated)?;
        if done.rows_affected() != 1 {
            let name = section.name;
            return Err(StoreError::Corrupt(format!(
                "a row of {name} about something that there is not"
            )));
        }
    }
    Ok(())
}

fn bound<'q>(
    mut query: Query<'q, Sqlite, SqliteArguments>,
    section: &Section,
    row: &[Value],
) -> Result<Query<'q, Sqlite, SqliteArguments>, StoreError> {
    for (column, value) in section.columns.iter().zip(row) {
        query = match (value, column.kind) {
            (Value::Null, _) => query.bind(None::<i64>),
            (Value::Number(number), _) => query.bind(number.cast_signed()),
            (Value::Bytes(bytes), ColumnKind::Text) => {
                let text = String::from_utf8(bytes.clone());
                query.bind(text.map_err(|error| StoreError::Corrupt(error.to_string()))?)
            }
            (Value::Bytes(bytes), _) => query.bind(bytes.clone()),
        };
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::TempStore;

    /// Columns that no section has under their name, and where what they say is.
    const ELSEWHERE: [(&str, &[&str]); 5] = [
        ("conversation", &["kind", "a", "b", "conv"]),
        ("member", &["grouped", "read_id", "removed_at"]),
        ("chat_group", &["conv"]),
        // Tenures go on as they are.
        ("part", &["tenure"]),
        ("meta", &["name", "value"]),
    ];

    #[tokio::test]
    async fn no_table_and_no_column_is_forgotten() {
        let temp = TempStore::open().await;
        let mut connection = temp.store.reading_all().connect().await.unwrap();
        let columns = sqlx::query(
            "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'",
        );
        let rows = columns.fetch_all(&mut connection).await.unwrap();
        let mut tables = BTreeSet::new();
        for row in rows {
            let (table, column): (String, String) = (row.get(0), row.get(1));
            tables.insert(table.clone());
            if STAYING.iter().any(|(name, _)| *name == table) {
                continue;
            }
            let section = SECTIONS.iter().find(|section| section.name == table);
            let travels = section.is_some_and(|section| names(section).contains(&column.as_str()));
            let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == table);
            let elsewhere =
                elsewhere.is_some_and(|(_, columns)| columns.contains(&column.as_str()));
            assert!(travels || elsewhere, "{table}.{column} does not travel");
        }
        for section in SECTIONS {
            let is_there =
                tables.contains(section.name) || ["inbox", "counter"].contains(&section.name);
            assert!(is_there, "there is no table {}", section.name);
        }
        // Every counter that SQLite keeps, and every one of ours.
        let kept = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%' UNION SELECT name FROM meta";
        let rows = sqlx::query(kept).fetch_all(&mut connection).await.unwrap();
        let kept: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(
            kept,
            COUNTERS.iter().map(|name| (*name).to_owned()).collect()
        );
    }
}
