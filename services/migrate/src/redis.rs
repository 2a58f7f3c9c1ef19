//! Unread counts and silenced groups, which the original has in its Redis alone: lines of key, field and value.

use std::collections::HashMap;
use std::path::Path;

use im_core::{Conversation, GroupId, MsgId, Peer, UserId};
use im_store::{OpenStore, ReadLimit, TransferBatch, TransferredView};
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::MigrateError;
use crate::import::Target;
use crate::judge::Judge;
use crate::members::states;
use crate::oddities::OddityKind;
use crate::report::Counts;

/// Longest line, bytes; keys of the original and their values are far shorter.
const LINE: usize = 1 << 10;

/// Views that are written at once.
const AT_ONCE: usize = 500;
/// Messages that are looked at at once.
const LOOKED_AT: ReadLimit = ReadLimit {
    rows: 500,
    bytes: 4 << 20,
};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// So many messages of the other one are unread.
    Unread { user: u32, from: u32, count: u32 },
    /// So many messages were ever stored in the group.
    Stored { group: u32, count: u32 },
    /// So many had been when the user read last.
    Read { user: u32, group: u32, count: u32 },
    /// Pushes of the group are silenced.
    Silenced { user: u32, group: u32, is: bool },
    /// A key of another kind.
    Other,
}

/// Reads a line; `None` when a number is missing in it.
fn parse(line: &str) -> Option<Said> {
    let mut words = line.split_whitespace();
    let (Some(key), Some(field), Some(value)) = (words.next(), words.next(), words.next()) else {
        return if line.trim().is_empty() {
            Some(Said::Other)
        } else {
            None
        };
    };
    let count = || value.parse::<u32>().ok();
    if let Some(user) = key.strip_prefix("unread_") {
        let (user, from, count) = (user.parse().ok()?, field.parse().ok()?, count()?);
        return Some(Said::Unread { user, from, count });
    }
    if let Some(group) = key.strip_prefix("group_set_") {
        let user = field.strip_suffix("_1")?.parse().ok()?;
        let (group, is) = (group.parse().ok()?, count()? != 0);
        return Some(Said::Silenced { user, group, is });
    }
    if field != "count" {
        return Some(Said::Other);
    }
    if let Some(both) = key.strip_suffix("_im_user_group") {
        let (user, group) = both.split_once('_')?;
        let (user, group, count) = (user.parse().ok()?, group.parse().ok()?, count()?);
        return Some(Said::Read { user, group, count });
    }
    match key.strip_suffix("_im_group_msg") {
        Some(group) => {
            let (group, count) = (group.parse().ok()?, count()?);
            Some(Said::Stored { group, count })
        }
        None => Some(Said::Other),
    }
}

/// The lines of the file.
struct Keys<'f, R> {
    file: &'f Path,
    lines: R,
    line: u64,
}

impl<'f> Keys<'f, BufReader<File>> {
    async fn open(file: &'f Path) -> Result<Self, MigrateError> {
        let opened = File::open(file)
            .await
            .map_err(|source| failed(file, source))?;
        Ok(Self {
            file,
            lines: BufReader::new(opened),
            line: 0,
        })
    }
}

impl<R: AsyncBufRead + Unpin> Keys<'_, R> {
    async fn next(&mut self) -> Result<Option<Said>, MigrateError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(u64::try_from(LINE + 1).unwrap_or(u64::MAX));
        let read = bounded.read_until(b'\n', &mut line).await;
        let read = read.map_err(|source| failed(self.file, source))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        let bad = |why| MigrateError::Line {
            file: self.file.to_owned(),
            line: self.line,
            why,
        };
        if read > LINE && line.last() != Some(&b'\n') {
            return Err(bad("it is longer than 1 KiB"));
        }
        let said = std::str::from_utf8(&line).ok().and_then(parse);
        let said = said.ok_or_else(|| bad("it is no key, field and value of the original"))?;
        Ok(Some(said))
    }
}

fn failed(file: &Path, source: std::io::Error) -> MigrateError {
    let file = file.to_owned();
    MigrateError::File { file, source }
}

/// Takes them over.
pub(crate) async fn run(
    file: &Path,
    target: &Target<'_>,
    judge: &mut Judge,
    counts: &mut Counts,
) -> Result<(), MigrateError> {
    let mut stored = HashMap::new();
    let mut keys = Keys::open(file).await?;
    while let Some(said) = keys.next().await? {
        if let Said::Stored { group, count } = said {
            stored.insert(group, count);
        }
    }
    let mut keys = Keys::open(file).await?;
    let mut views = Vec::new();
    while let Some(said) = keys.next().await? {
        let view = match said {
            Said::Stored { .. } | Said::Other => continue,
            Said::Unread { user, from, count } => unread(target, user, from, count).await?,
            Said::Read { user, group, count } => {
                let all = stored.get(&group).copied().unwrap_or(count);
                group_view(target, user, group, Some(all.saturating_sub(count)), None).await?
            }
            Said::Silenced { user, group, is } => {
                group_view(target, user, group, None, Some(is)).await?
            }
        };
        match view {
            Some(view) => {
                counts.unread += u64::from(view.read_id.is_some());
                counts.silenced += u64::from(view.shield == Some(true));
                views.push(view);
            }
            None => judge
                .oddities
                .note(OddityKind::UnknownCount, || format!("{said:?}")),
        }
        if views.len() >= AT_ONCE {
            write(target, std::mem::take(&mut views)).await?;
        }
    }
    write(target, views).await
}

async fn write(target: &Target<'_>, views: Vec<TransferredView>) -> Result<(), MigrateError> {
    let batch = TransferBatch {
        views,
        ..TransferBatch::default()
    };
    target.transfer(batch).await
}

async fn group_view(
    target: &Target<'_>,
    user: u32,
    group: u32,
    unread: Option<u32>,
    shield: Option<bool>,
) -> Result<Option<TransferredView>, MigrateError> {
    let Some((user, group)) = UserId::from_wire(user).zip(GroupId::from_wire(group)) else {
        return Ok(None);
    };
    let conversation = Conversation::Group(group);
    let states = states(target, &[conversation]).await?;
    let view = states.get(&conversation).map(|state| TransferredView {
        user,
        conversation,
        read_id: unread.map(|unread| state.last_id.saturating_sub(unread)),
        removed_at: None,
        shield,
    });
    Ok(view)
}

/// Up to where a user has read whom so many of the other one's messages are unread.
async fn unread(
    target: &Target<'_>,
    user: u32,
    from: u32,
    count: u32,
) -> Result<Option<TransferredView>, MigrateError> {
    let Some((user, from)) = UserId::from_wire(user).zip(UserId::from_wire(from)) else {
        return Ok(None);
    };
    let Some(conversation) = Conversation::of(user, Peer::User(from)) else {
        return Ok(None);
    };
    let states = states(target, &[conversation]).await?;
    let Some(state) = states.get(&conversation) else {
        return Ok(None);
    };
    let read_id = oldest_unread(target.store, conversation, from, count, state.last_id).await?;
    Ok(Some(TransferredView {
        user,
        conversation,
        read_id: Some(read_id),
        removed_at: None,
        shield: None,
    }))
}

/// The id before the oldest of somebody's newest `count` messages.
async fn oldest_unread(
    store: &dyn OpenStore,
    conversation: Conversation,
    from: UserId,
    count: u32,
    last: u32,
) -> Result<u32, MigrateError> {
    let (mut left, mut begin) = (count, last);
    while left > 0 {
        let Some(at) = MsgId::from_wire(begin) else {
            break;
        };
        let page = store.history(conversation, Some(at), 0, LOOKED_AT).await?;
        let Some(oldest) = page.last() else { break };
        begin = oldest.msg_id.get() - 1;
        for message in page.iter().filter(|message| message.sender == from) {
            left -= 1;
            if left == 0 {
                return Ok(message.msg_id.get() - 1);
            }
        }
    }
    Ok(if count == 0 { last } else { begin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_original_are_understood_and_others_passed_over() {
        for (line, said) in [
            (
                "unread_7 3 12",
                Some(Said::Unread {
                    user: 7,
                    from: 3,
                    count: 12,
                }),
            ),
            (
                "5_im_group_msg count 40",
                Some(Said::Stored {
                    group: 5,
                    count: 40,
                }),
            ),
            (
                "7_5_im_user_group count 38",
                Some(Said::Read {
                    user: 7,
                    group: 5,
                    count: 38,
                }),
            ),
            (
                "group_set_5\t7_1\t1",
                Some(Said::Silenced {
                    user: 7,
                    group: 5,
                    is: true,
                }),
            ),
            ("group_member_5 7 1400000000", Some(Said::Other)),
            ("", Some(Said::Other)),
            ("unread_7 3", None),
            ("unread_7 3 -1", None),
            ("unread_x 3 1", None),
            ("7_im_user_group count 1", None),
        ] {
            assert_eq!(parse(line), said, "{line}");
        }
    }

    #[tokio::test]
    async fn a_line_is_read_up_to_1_kib_and_named_when_it_is_longer() {
        let long = "x".repeat(LINE - 4);
        for (text, reads) in [
            (format!("{long} 7 1"), true),
            (format!("{long} 7 1\n"), true),
            (format!("{long} 7 12"), false),
            (format!("{long} 7 12\n"), false),
        ] {
            let text = format!("unread_7 3 1\n{text}");
            let mut keys = Keys {
                file: Path::new("keys"),
                lines: text.as_bytes(),
                line: 0,
            };
            assert!(keys.next().await.unwrap().is_some());
            let second = keys.next().await;
            assert_eq!(second.is_ok(), reads, "{second:?}");
            if let Err(error) = second {
                assert!(error.to_string().contains('2'), "{error}");
            }
        }
    }
}
