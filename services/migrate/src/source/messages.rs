//! Messages of the original: pages by key, and what is to be known of all of them.

use std::collections::HashMap;

use super::{Shard, Source, number, number_of, numbers_of, text, texts_of, wide};
use crate::MigrateError;
use crate::judge::pair;
use crate::window::Timed;

/// Rows of one page.
const PAGE: usize = 2_000;

/// A row of a table of messages. `from` wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageSource {
    pub(crate) key: u32,
    /// The group, or the relation of a pair.
    pub(crate) of: u32,
    /// The two people of the relation; zeros where it is missing.
    pub(crate) relation: [u32; 2],
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) msg_id: u32,
    pub(crate) msg_type: u32,
    pub(crate) status: u32,
    pub(crate) time: u32,
    pub(crate) content: String,
}

impl Timed for MessageSource {
    fn key(&self) -> u32 {
        self.key
    }

    fn time(&self) -> u32 {
        self.time
    }
}

/// A row of IMAudio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audio {
    pub(crate) seconds: u32,
    pub(crate) path: String,
}

/// Conversations of a table whose ids are not unique and dense.
const ODD: &str = "COUNT(*) <> MAX(msgId) OR MIN(msgId) <> 1 OR COUNT(DISTINCT msgId) <> COUNT(*)";

impl Source {
    /// The greatest key of a table.
    pub(crate) async fn last_key(&mut self, shard: Shard) -> Result<u32, MigrateError> {
        let table = shard.table();
        let last = format!("SELECT {} FROM {table}", number_of("MAX(id)"));
        let last = self.one_number(&table, last).await?;
        u32::try_from(last).map_err(|_| MigrateError::Row {
            table,
            row: last,
            why: "the key is beyond what the original can have".to_owned(),
        })
    }

    /// Rows behind a key and up to another one, in the order of keys.
    pub(crate) async fn page(
        &mut self,
        shard: Shard,
        after: u32,
        through: u32,
    ) -> Result<Vec<MessageSource>, MigrateError> {
        let bounds = format!("m.id > {after} AND m.id <= {through}");
        self.messages(shard, &bounds).await
    }

    /// Some rows by their keys.
    pub(crate) async fn by_keys(
        &mut self,
        shard: Shard,
        keys: &[u32],
    ) -> Result<Vec<MessageSource>, MigrateError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PAGE) {
            let keys: Vec<String> = keys.iter().map(u32::to_string).collect();
            let bounds = format!("m.id IN ({})", keys.join(","));
            found.extend(self.messages(shard, &bounds).await?);
        }
        Ok(found)
    }

    async fn messages(
        &mut self,
        shard: Shard,
        bounds: &str,
    ) -> Result<Vec<MessageSource>, MigrateError> {
        let table = shard.table();
        let (columns, join) = if shard.is_group {
            (["m.groupId", "m.userId", "0", "0", "0"], "")
        } else {
            (
                ["m.relateId", "m.fromId", "m.toId", "r.smallId", "r.bigId"],
                "LEFT JOIN IMRelationShip AS r ON r.id = m.relateId",
            )
        };
        let statement = format!(
            "SELECT {}, {}, {}, {} FROM {table} AS m {join} WHERE {bounds} ORDER BY m.id LIMIT {PAGE}",
            number_of("m.id"),
            numbers_of(&columns),
            numbers_of(&["m.msgId", "m.type", "m.status", "m.created"]),
            texts_of(&["m.content"]),
        );
        let rows = self.rows(table.as_str(), statement).await?;
        let message = |row| {
            let number = |at| number(row, at, &table);
            Ok(MessageSource {
                key: number(0)?,
                of: number(1)?,
                from: number(2)?,
                to: number(3)?,
                relation: [number(4)?, number(5)?],
                msg_id: number(6)?,
                msg_type: number(7)?,
                status: number(8)?,
                time: number(9)?,
                content: text(row, 10, &table)?,
            })
        };
        rows.iter().map(message).collect()
    }

    /// Rows of IMAudio by their numbers.
    pub(crate) async fn audio(
        &mut self,
        numbers: &[u32],
    ) -> Result<HashMap<u32, Audio>, MigrateError> {
        let table = "IMAudio";
        if numbers.is_empty() || !self.has(table, "id") {
            return Ok(HashMap::new());
        }
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        let statement = format!(
            "SELECT {}, {} FROM {table} WHERE id IN ({})",
            numbers_of(&["id", "duration"]),
            texts_of(&["path"]),
            numbers.join(",")
        );
        let rows = self.rows(table, statement).await?;
        let audio = |row| {
            let seconds = number(row, 1, table)?;
            let path = text(row, 2, table)?;
            Ok((number(row, 0, table)?, Audio { seconds, path }))
        };
        rows.iter().map(audio).collect()
    }

    /// Groups of a table whose ids are not unique and dense among the rows up to a key; of a table of pairs those of the
    /// relations.
    pub(crate) async fn odd_conversations(
        &mut self,
        shard: Shard,
        through: u32,
    ) -> Result<Vec<u64>, MigrateError> {
        let (table, of) = (shard.table(), shard.of());
        let found = format!(
            "SELECT {of} AS conversation FROM {table} WHERE status = 0 AND id <= {through} GROUP BY {of} HAVING {ODD}"
        );
        let statement = if shard.is_group {
            format!(
                "SELECT {}, 0, 0 FROM ({found}) AS odd",
                number_of("conversation")
            )
        } else {
            format!(
                "SELECT {}, {} FROM ({found}) AS odd
                    LEFT JOIN IMRelationShip AS r ON r.id = odd.conversation",
                number_of("conversation"),
                numbers_of(&["r.smallId", "r.bigId"]),
            )
        };
        let rows = self.rows(table.as_str(), statement).await?;
        let mut odd = Vec::with_capacity(rows.len());
        for row in &rows {
            let of = wide(row, 0, &table)?;
            if shard.is_group {
                odd.push(of);
            } else {
                // Without a relation its messages are numbered as they come, since each tells its pair: see `turn`.
                odd.extend(pair(number(row, 1, &table)?, number(row, 2, &table)?));
            }
        }
        Ok(odd)
    }

    /// Pairs with several relations, and how many of each are marked as deleted.
    pub(crate) async fn doubled_relations(&mut self) -> Result<Vec<(u64, bool)>, MigrateError> {
        let table = "IMRelationShip";
        let statement = format!(
            "SELECT {} FROM (SELECT LEAST(smallId, bigId) AS low, GREATEST(smallId, bigId) AS high,
                COUNT(*) AS many, MIN(COALESCE(status, 0)) AS removed
                FROM {table} GROUP BY low, high HAVING many > 1 OR removed > 0) AS found",
            numbers_of(&["low", "high", "many", "removed"])
        );
        let rows = self.rows(table, statement).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let pair = pair(number(row, 0, table)?, number(row, 1, table)?);
            let (many, removed) = (wide(row, 2, table)?, wide(row, 3, table)?);
            if let Some(pair) = pair {
                if many > 1 {
                    found.push((pair, false));
                }
                if removed > 0 {
                    found.push((pair, true));
                }
            }
        }
        Ok(found)
    }
}
