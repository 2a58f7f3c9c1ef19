//! Databases of an original TeamTalk installation, of any size, with everything that is odd about real ones: as SQL.
//!
//! People are those of [`people`], so that terminals of the tests log in. What is odd stands in a story of people 1 to 4
//! and of groups 1 and 2, whose outcome is [`EXPECTED`]; everybody else only writes much.

mod schema;
mod story;

use std::collections::BTreeMap;
use std::io::{self, Write};

use im_client::Password;
use im_codec::text::TextCipher;

use crate::people;

pub use story::{EXPECTED, GROUP, LATER, SOUND, STORY, later};

/// Where the sound of the story's audio message is in the folder of the original msfs.
pub const SOUND_FILE: &str = "000/001/1.amr";

/// When the first message of the crowd was sent, unix seconds: behind the story.
const BEGIN: u32 = 1_450_000_000;
/// Rows of one statement.
const ROWS: usize = 500;
/// Tables of each kind of messages.
const SHARDS: u32 = 8;
/// Of so many messages of the crowd one is stored before the one before it.
const SWAPPED: u32 = 50;
/// People of the story.
const STORYTELLERS: u32 = 4;
/// Groups of the story.
const STORY_GROUPS: u32 = 2;

/// How large a database is.
#[derive(Clone, Copy, Debug)]
pub struct OldDatabase {
    /// People; at least 8.
    pub people: u32,
    /// Groups beside those of the story.
    pub groups: u32,
    /// Messages beside those of the story, a third of them in groups, if there are any.
    pub messages: u32,
}

impl OldDatabase {
    /// Writes the whole database. In memory is one counter for each conversation.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(schema::SCHEMA.as_bytes())?;
        for (kind, columns) in [
            ("IMMessage", schema::PAIR),
            ("IMGroupMessage", schema::GROUP),
        ] {
            for shard in 0..SHARDS {
                writeln!(
                    out,
                    "CREATE TABLE {kind}_{shard} ({columns}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;"
                )?;
            }
        }
        let mut rows = Rows::new(out);
        self.everybody(&mut rows)?;
        story::write(&mut rows)?;
        self.crowd(&mut rows)?;
        rows.end()
    }

    fn everybody<W: Write>(&self, rows: &mut Rows<'_, W>) -> io::Result<()> {
        let digest = Password::clear(people::PASSWORD);
        let stored = Password::clear(&format!("{}7", digest.as_wire()));
        let stored = stored.as_wire();
        for id in 1..=self.people.max(8) {
            let name = people::name(id);
            let department = 1 + id % 3;
            let nick = match id {
                3 => r#"O\'Neil \\ \"三\" 👩‍💻"#.to_owned(),
                _ => format!("Person {id}"),
            };
            rows.add(
                "IMUser",
                &format!("({id},1,'{name}','{name}','{nick}','{stored}','7','','','',{department},0,1400000000,1400000000,0,'')"),
            )?;
        }
        for group in STORY_GROUPS + 1..=STORY_GROUPS + self.groups {
            rows.add(
                "IMGroup",
                &format!("({group},'Group {group}','',5,2,4,0,1,0,{BEGIN},{BEGIN})"),
            )?;
            for user in self.members(group) {
                rows.add(
                    "IMGroupMember",
                    &format!("(NULL,{group},{user},0,{BEGIN},{BEGIN})"),
                )?;
            }
        }
        Ok(())
    }

    /// Four of the crowd.
    fn members(&self, group: u32) -> impl Iterator<Item = u32> {
        let crowd = self.people.max(8) - STORYTELLERS;
        (0..4).map(move |n| STORYTELLERS + 1 + (group + n) % crowd)
    }

    fn crowd<W: Write>(&self, rows: &mut Rows<'_, W>) -> io::Result<()> {
        let crowd = self.people.max(8) - STORYTELLERS;
        let cipher = TextCipher::default();
        let mut random = 1_u32;
        let mut last_ids: BTreeMap<(bool, u32), u32> = BTreeMap::new();
        let mut held: Option<(bool, u32, [u32; 2], u32, String)> = None;
        for n in 0..self.messages {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let chosen = random >> 8;
            let is_group = self.groups > 0 && chosen.is_multiple_of(3);
            let (of, [from, to]) = if is_group {
                let group = STORY_GROUPS + 1 + chosen / 3 % self.groups;
                let from = self.members(group).nth(usize::from(chosen & 4 == 0));
                (group, [from.unwrap_or(5), 0])
            } else {
                let step = 1 + chosen % 2;
                let low = STORYTELLERS + 1 + chosen / 4 % (crowd - 2);
                let high = low + step;
                let relation = story::RELATIONS + low * 4 + step;
                // One of both writes; the relation is the same.
                let turned = if n.is_multiple_of(3) {
                    [high, low]
                } else {
                    [low, high]
                };
                (relation, turned)
            };
            let last = last_ids.entry((is_group, of)).or_default();
            *last += 1;
            if *last == 1 && !is_group {
                let [low, high] = [from.min(to), from.max(to)];
                rows.add(
                    "IMRelationShip",
                    &format!("({of},{low},{high},0,{BEGIN},{BEGIN})"),
                )?;
            }
            let text = format!("message {n} 消息");
            let text = cipher.encrypt(text.as_bytes()).unwrap_or_default();
            let (id, time) = (*last, BEGIN + n / 10);
            // As if another worker had been quicker.
            if n % SWAPPED == 1 && held.is_none() {
                held = Some((is_group, of, [from, to], id, text));
                continue;
            }
            rows.message(is_group, of, [from, to], id, time, &text, None)?;
            if let Some((is_group, of, people, id, text)) = held.take() {
                rows.message(is_group, of, people, id, time, &text, None)?;
            }
        }
        if let Some((is_group, of, people, id, text)) = held.take() {
            rows.message(is_group, of, people, id, BEGIN + self.messages, &text, None)?;
        }
        Ok(())
    }
}

/// Rows of all tables, written some at once.
struct Rows<'o, W> {
    out: &'o mut W,
    tables: BTreeMap<String, Vec<String>>,
}

impl<'o, W: Write> Rows<'o, W> {
    fn new(out: &'o mut W) -> Self {
        Self {
            out,
            tables: BTreeMap::new(),
        }
    }

    fn add(&mut self, table: &str, row: &str) -> io::Result<()> {
        let rows = self.tables.entry(table.to_owned()).or_default();
        rows.push(row.to_owned());
        if rows.len() < ROWS {
            return Ok(());
        }
        let rows = std::mem::take(rows);
        self.put(table, &rows)
    }

    fn put(&mut self, table: &str, rows: &[String]) -> io::Result<()> {
        writeln!(self.out, "INSERT INTO {table} VALUES {};", rows.join(","))
    }

    /// A text message, or one of another type and status.
    #[allow(clippy::too_many_arguments, reason = "they are the columns")]
    fn message(
        &mut self,
        is_group: bool,
        of: u32,
        [from, to]: [u32; 2],
        id: u32,
        time: u32,
        content: &str,
        odd: Option<[u32; 2]>,
    ) -> io::Result<()> {
        let [kind, status] = odd.unwrap_or([if is_group { 17 } else { 1 }, 0]);
        let (table, people) = if is_group {
            ("IMGroupMessage", from.to_string())
        } else {
            ("IMMessage", format!("{from},{to}"))
        };
        let row = format!("(NULL,{of},{people},{id},'{content}',{kind},{status},{time},{time})");
        self.add(&format!("{table}_{}", of % SHARDS), &row)
    }

    fn end(mut self) -> io::Result<()> {
        for (table, rows) in std::mem::take(&mut self.tables) {
            if !rows.is_empty() {
                self.put(&table, &rows)?;
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_as_many_messages_as_was_asked_for() {
        let old = OldDatabase {
            people: 20,
            groups: 3,
            messages: 1_200,
        };
        let mut sql = Vec::new();
        old.write(&mut sql).unwrap();
        let sql = String::from_utf8(sql).unwrap();
        let rows = |table: &str| {
            let statements = sql
                .lines()
                .filter(|line| line.starts_with(&format!("INSERT INTO {table}")));
            statements
                .map(|line| line.matches("),(").count() + 1)
                .sum::<usize>()
        };
        let messages = rows("IMMessage_") + rows("IMGroupMessage_");
        assert_eq!(messages, 1_200 + story::ROWS);
        assert!(rows("IMGroupMessage_") > 300);
        // Four odd ones follow.
        assert_eq!(rows("IMUser"), 24);
    }
}
