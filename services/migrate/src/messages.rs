//! The messages: read in the order of their times, numbered, and written with how far that is.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use im_core::time::UnixSeconds;
use im_core::{Cache, Conversation, MsgId, UserId};
use im_store::{
    AppendBatch, ConversationRow, MessageRow, NewConversation, StoreError, TransferredMessages,
};

use crate::import::{Target, most};
use crate::judge::{Judge, Judged, MESSAGE_BYTES, Message, conversation_of, name_of};
use crate::oddities::OddityKind;
use crate::people::count;
use crate::progress::{Saved, turned};
use crate::report::{Counts, Progress, Stage as At};
use crate::sequence::{HELD_BYTES, Numbered, Sequencer};
use crate::source::{MessageSource, Shard, Source};
use crate::window::{Position, Window, earliest};
use crate::{ImportOptions, MigrateError, audio};

/// Audio messages of one transaction, which may be long.
const AUDIO: usize = 64;
/// Bytes of texts of one transaction.
const BYTES: usize = 16 << 20;
/// Conversations whose states are remembered.
const STATES: usize = 100_000;
/// Conversations that are looked up at once.
const ASKED: usize = 500;

/// What a row becomes for those that number messages.
#[derive(Debug)]
pub(crate) enum Item {
    Message(Message),
    /// A message is left out whose id others of the conversation count.
    Hole(u64),
}

/// Rows that were read, in their order, and how far that is.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) items: Vec<Item>,
    pub(crate) rows: u64,
    positions: Vec<Position>,
}

/// Reads the sixteen tables.
pub(crate) struct Reader {
    source: Source,
    pub(crate) judge: Judge,
    windows: Vec<Window<MessageSource>>,
    /// Last keys that are read.
    through: Vec<u32>,
    files: Option<PathBuf>,
    max_body: usize,
}

impl Reader {
    /// Goes on from these places of the tables; from the beginning without any.
    pub(crate) fn new(
        source: Source,
        judge: Judge,
        from: &[Position],
        through: Vec<u32>,
        options: &ImportOptions,
    ) -> Self {
        let at = |shard: Shard| from.get(shard.place()).cloned().unwrap_or_default();
        Self {
            source,
            judge,
            windows: Shard::all().map(|shard| Window::at(at(shard))).collect(),
            through,
            files: options.files.clone(),
            max_body: options.max_body,
        }
    }

    pub(crate) fn into_parts(self) -> (Source, Judge) {
        (self.source, self.judge)
    }

    /// The next rows, at most so many. None is the end.
    pub(crate) async fn chunk(&mut self, most: usize) -> Result<Chunk, MigrateError> {
        let mut judged = Vec::with_capacity(most);
        let (mut rows, mut voices, mut bytes) = (0, 0, 0);
        while judged.len() < most && voices < AUDIO && bytes < BYTES {
            for ((window, shard), through) in
                self.windows.iter_mut().zip(Shard::all()).zip(&self.through)
            {
                while let Some(after) = window.wants() {
                    window.add(self.source.page(shard, after, *through).await?);
                }
            }
            let Some(place) = earliest(&self.windows) else {
                break;
            };
            let row = self.windows.get_mut(place).and_then(Window::take);
            let Some(row) = row else { break };
            rows += 1;
            bytes += row.content.len();
            let one = self.judge.judge(Shard::at(place), row);
            voices += usize::from(matches!(one, Judged::Audio(..)));
            judged.push(one);
        }
        let positions = self.windows.iter().map(|window| window.position().clone());
        Ok(Chunk {
            positions: positions.collect(),
            items: self.items(judged).await?,
            rows,
        })
    }

    /// Rows that an earlier import has read and not written.
    async fn held(&mut self, held: &[(usize, u32)]) -> Result<Vec<Item>, MigrateError> {
        let mut items = Vec::new();
        for shard in Shard::all() {
            let held = held.iter().filter(|(place, _)| *place == shard.place());
            let keys: Vec<u32> = held.map(|(_, key)| *key).collect();
            let rows = self.source.by_keys(shard, &keys).await?;
            let rows = rows.into_iter().map(|row| self.judge.judge(shard, row));
            let judged = rows.collect();
            items.extend(self.items(judged).await?);
        }
        Ok(items)
    }

    /// Reads the sound of audio messages.
    async fn items(&mut self, judged: Vec<Judged>) -> Result<Vec<Item>, MigrateError> {
        let numbers = judged.iter().filter_map(|one| match one {
            Judged::Audio(_, number) => *number,
            _ => None,
        });
        let numbers: Vec<u32> = numbers.collect();
        let found = self.source.audio(&numbers).await?;
        let mut items = Vec::with_capacity(judged.len());
        for one in judged {
            items.push(match one {
                Judged::Message(message) => Item::Message(message),
                Judged::LeftOut(None) => continue,
                Judged::LeftOut(Some(conversation)) => Item::Hole(conversation),
                Judged::Audio(mut message, number) => {
                    let row = number.and_then(|number| found.get(&number));
                    let folder = self.files.as_deref();
                    let path = row.map_or("", |row| row.path.as_str());
                    // Four bytes say how long it is.
                    let most = self.max_body.saturating_sub(4);
                    let sound = audio::read(folder, path, most).await?;
                    self.judge.voice(&mut message, row, sound);
                    Item::Message(message)
                }
            });
        }
        Ok(items)
    }
}

/// What must be known of a conversation to add to it.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    row: Option<ConversationRow>,
    last_id: u32,
    low_sent: u32,
}

/// The import of messages.
pub(crate) struct Stage {
    reader: Reader,
    sequencer: Sequencer,
    states: Cache<u64, State>,
    rows: usize,
}

/// What is written next, and what is known of it.
struct Ready {
    messages: TransferredMessages,
    saved: Saved,
    renumbered: u64,
}

impl Stage {
    pub(crate) fn new(reader: Reader, renumbered: HashSet<u64>, rows: usize) -> Self {
        let rows = rows.max(1);
        Self {
            reader,
            sequencer: Sequencer::new(renumbered),
            // What one transaction is about is all there, and so is all that waits.
            states: Cache::new(STATES, (4 * rows).max(HELD_BYTES / MESSAGE_BYTES)),
            rows,
        }
    }

    pub(crate) fn into_parts(self) -> (Source, Judge) {
        self.reader.into_parts()
    }

    /// Writes all of them; how far it is then.
    pub(crate) async fn run(
        &mut self,
        target: &mut Target<'_>,
        from: Saved,
        counts: &mut Counts,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Saved, MigrateError> {
        let most = most(&from.tables, &self.reader.through);
        let held = self.reader.held(&from.held).await?;
        let mut chunk = Chunk {
            items: held,
            rows: 0,
            positions: from.tables,
        };
        let mut has_ended = false;
        loop {
            let positions = std::mem::take(&mut chunk.positions);
            let rows = chunk.rows;
            let numbered = self.number(target, chunk.items, has_ended).await?;
            let ready = self.ready(target, numbered, positions)?;
            // The next rows are read while these are written.
            let (end, next) = if has_ended {
                (target.append(&ready.messages).await?, Chunk::default())
            } else {
                let appending = target.append(&ready.messages);
                let (end, next) = tokio::join!(appending, self.reader.chunk(self.rows));
                (end?, next?)
            };
            target.owned.end = end;
            counts.rows += rows;
            counts.messages += count(&ready.messages.batch.messages);
            counts.renumbered += ready.renumbered;
            if rows > 0 {
                tell(Progress {
                    stage: At::Messages,
                    done: counts.rows,
                    most,
                });
            }
            if has_ended {
                return Ok(ready.saved);
            }
            has_ended = next.rows == 0;
            chunk = next;
        }
    }

    /// Gives ids; with the last ones also to what still waits.
    async fn number(
        &mut self,
        target: &Target<'_>,
        items: Vec<Item>,
        is_last: bool,
    ) -> Result<Vec<Numbered>, MigrateError> {
        let waiting = if is_last {
            self.sequencer.waiting()
        } else {
            Vec::new()
        };
        let of = |item: &Item| match item {
            Item::Message(message) => message.conversation,
            Item::Hole(conversation) => *conversation,
        };
        self.know(target, items.iter().map(of).chain(waiting.iter().copied()))
            .await?;
        let mut numbered = Vec::with_capacity(items.len());
        for item in items {
            let conversation = of(&item);
            let last = &mut state(&mut self.states, conversation)?.last_id;
            match item {
                Item::Message(message) => self.sequencer.take(message, last, &mut numbered),
                Item::Hole(_) if self.sequencer.is_renumbered(conversation) => {}
                Item::Hole(_) => self.sequencer.turn(conversation, last, &mut numbered),
            }
        }
        for conversation in waiting {
            let last = &mut state(&mut self.states, conversation)?.last_id;
            self.sequencer.turn(conversation, last, &mut numbered);
        }
        Ok(numbered)
    }

    /// Looks up the states of conversations that are not remembered.
    async fn know(
        &mut self,
        target: &Target<'_>,
        numbers: impl Iterator<Item = u64>,
    ) -> Result<(), MigrateError> {
        let mut missing: Vec<u64> = numbers
            .filter(|number| !self.states.touch(number))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        for numbers in missing.chunks(ASKED) {
            let wanted = numbers.iter().map(|number| conversation(*number));
            let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
            let found = target.store.conversation_states(&wanted).await?;
            for (number, found) in numbers.iter().zip(found) {
                let found = found.map(|found| State {
                    row: Some(found.row),
                    last_id: found.last_id,
                    low_sent: found.low_sent,
                });
                self.states.insert(*number, found.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Makes the transaction.
    fn ready(
        &mut self,
        target: &mut Target<'_>,
        numbered: Vec<Numbered>,
        tables: Vec<Position>,
    ) -> Result<Ready, MigrateError> {
        let mut end = target.owned.end;
        let mut batch = AppendBatch::default();
        let mut read = BTreeMap::new();
        let mut renumbered = 0;
        batch.messages.reserve(numbered.len());
        for Numbered { id, message } in numbered {
            let of = conversation(message.conversation)?;
            let state = state(&mut self.states, message.conversation)?;
            let row = match state.row {
                Some(row) => row,
                None => {
                    let row = target.new_row();
                    state.row = Some(row);
                    let conversation = of;
                    batch
                        .new_conversations
                        .push(NewConversation { row, conversation });
                    row
                }
            };
            end = end.next();
            let odd = || {
                corrupt(format!(
                    "a message of nobody in {}",
                    name_of(message.conversation)
                ))
            };
            let sender = UserId::from_wire(message.sender).ok_or_else(odd)?;
            let msg_id = MsgId::from_wire(id).ok_or_else(odd)?;
            if let Conversation::Pair(low, high) = of {
                state.low_sent += u32::from(sender == low);
                read.insert(row, ([low, high], msg_id));
            }
            renumbered += u64::from(id != message.msg_id);
            batch.messages.push(MessageRow {
                seq: end,
                row,
                msg_id,
                sender,
                msg_type: message.msg_type,
                time: UnixSeconds::from_wire(message.time),
                low_sent: if matches!(of, Conversation::Pair(..)) {
                    state.low_sent
                } else {
                    0
                },
                key: None,
                body: message.body,
            });
        }
        batch.fence = target.owned.adding(end);
        let saved = Saved {
            end: end.to_wire(),
            tables,
            held: self
                .sequencer
                .held()
                .map(|one| (one.shard, one.key))
                .collect(),
        };
        let mut states = vec![saved.state()?];
        for conversation in self.sequencer.turned() {
            let oddities = &mut self.reader.judge.oddities;
            oddities.note(OddityKind::Unfinished, || name_of(conversation));
            states.push(turned(conversation));
        }
        let read = read.into_iter();
        Ok(Ready {
            messages: TransferredMessages {
                batch,
                read: read.map(|(row, (users, id))| (row, users, id)).collect(),
                states,
            },
            saved,
            renumbered,
        })
    }
}

fn state(states: &mut Cache<u64, State>, conversation: u64) -> Result<&mut State, MigrateError> {
    let found = states.get(&conversation);
    found.ok_or_else(|| corrupt(format!("{} was forgotten", name_of(conversation))))
}

fn conversation(number: u64) -> Result<Conversation, MigrateError> {
    conversation_of(number).ok_or_else(|| corrupt(format!("conversation {number}")))
}

fn corrupt(what: String) -> MigrateError {
    MigrateError::Store(StoreError::Corrupt(what))
}
