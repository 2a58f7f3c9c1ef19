//! What is odd about databases of the original, and what has to become of it.

use std::io::{self, Write};

use im_codec::text::TextCipher;

use super::{Rows, SHARDS};
use crate::people;

/// Relations of the crowd have greater numbers.
pub(super) const RELATIONS: u32 = 1_000;
/// Rows of the story in the tables of messages.
#[cfg(test)]
pub(super) const ROWS: usize = 32;
/// Messages of the story that are taken over.
pub const STORY: u64 = 28;
/// Messages that [`later`] adds.
pub const LATER: u64 = 4;
/// The name of group 1.
pub const GROUP: &str = "群 \"one\" 🎉";
/// The sound of the audio message whose file is there.
pub const SOUND: &[u8] = b"#!AMR\nsound";

/// How often an import counts each oddity, as its report calls it.
pub const EXPECTED: [(&str, u64); 23] = [
    ("same_name", 1),
    ("no_name", 1),
    ("no_password", 2),
    ("relative_avatar", 1),
    ("same_department", 1),
    ("lost_department", 1),
    ("unknown_department", 1),
    ("removed_group", 1),
    ("no_member", 1),
    ("same_member", 1),
    ("same_relation", 1),
    ("self_relation", 1),
    ("removed_message", 1),
    ("message_type", 1),
    ("no_group", 1),
    ("no_relation", 1),
    ("unknown_user", 1),
    ("empty_message", 1),
    ("no_number", 1),
    ("renumbered", 3),
    ("unfinished", 1),
    ("no_audio", 1),
    ("no_audio_file", 1),
];

/// Relations of the story.
const RELATED: [(u32, u32, u32); 8] = [
    (1, 1, 2),
    (2, 1, 2),
    (3, 1, 3),
    (4, 1, 4),
    (5, 2, 3),
    (6, 2, 4),
    (7, 4, 4),
    (8, 1, 5),
];

/// Messages of pairs: relation, sender, receiver, id, time, text.
const PAIRS: [(u32, u32, u32, u32, u32, &str); 24] = [
    // Two relations of one pair, numbered apart.
    (1, 1, 2, 1, 1_000, "old 1"),
    (1, 2, 1, 2, 1_002, "old 2"),
    (1, 1, 2, 3, 1_004, "old 3"),
    (2, 2, 1, 1, 1_001, "new 1"),
    (2, 1, 2, 2, 1_003, "new 2"),
    // A gap; the row with id 3 is marked as deleted.
    (3, 1, 3, 1, 1_010, "one"),
    (3, 3, 1, 2, 1_011, "two"),
    (3, 3, 1, 3, 1_012, "deleted"),
    (3, 1, 3, 4, 1_013, "four"),
    // Redis was away for a moment.
    (4, 1, 4, 1, 1_020, "one"),
    (4, 4, 1, u32::MAX, 1_021, "without a number"),
    (4, 1, 4, 2, 1_022, "two"),
    // Dense, but stored in another order; then audio, an empty text, and an unknown type.
    (5, 2, 3, 1, 1_030, "first"),
    (5, 2, 3, 3, 1_031, "third"),
    (5, 3, 2, 2, 1_031, "second"),
    (5, 3, 2, 4, 1_032, "audio 1"),
    (5, 3, 2, 5, 1_033, "audio 2"),
    (5, 3, 2, 6, 1_034, "audio 99"),
    (5, 2, 3, 7, 1_035, ""),
    (5, 2, 3, 8, 1_036, "unknown type"),
    (5, 2, 3, 9, 1_037, "ninth"),
    // Redis was flushed.
    (6, 2, 4, 1, 1_040, "one"),
    (6, 4, 2, 1, 1_041, "one again"),
    (6, 2, 4, 2, 1_042, "two"),
];

fn cipher(text: &str) -> String {
    let encrypted = TextCipher::default().encrypt(text.as_bytes());
    encrypted.unwrap_or_default()
}

pub(super) fn write<W: Write>(rows: &mut Rows<'_, W>) -> io::Result<()> {
    let first = 1_000_000;
    for (n, odd) in [
        // The original lets in whoever comes last and is there.
        format!("'{}','','Left','','','','',NULL,1,3", people::name(1)),
        "'','','Nameless','0123456789abcdef0123456789abcdef','1','','','g0/000/001/a.png',1,0"
            .to_owned(),
        "'broken','','Broken','ABC','1','','','http://old/a.png',77,0".to_owned(),
        "'blank  ','','Blank','0123456789abcdef0123456789abcdef','12','','','',1,NULL".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let id = first + n;
        rows.add(
            "IMUser",
            &format!("({id},0,{odd},1400000000,1400000000,1,'odd')"),
        )?;
    }
    for (id, low, high) in RELATED {
        rows.add(
            "IMRelationShip",
            &format!("({id},{low},{high},0,1000,{id})"),
        )?;
    }
    for (id, from, path, seconds) in [
        (1, 3, "g0/000/001/1.amr", 7),
        (2, 3, "g0/000/001/gone.amr", 2),
    ] {
        rows.add(
            "IMAudio",
            &format!("({id},{from},2,'http://127.0.0.1:8700/{path}',11,{seconds},1032)"),
        )?;
    }
    for (relation, from, to, id, time, text) in PAIRS {
        let (content, odd) = match text {
            "" => (String::new(), None),
            "deleted" => (cipher(text), Some([1, 1])),
            "unknown type" => (cipher(text), Some([9, 0])),
            _ => match text.strip_prefix("audio ") {
                Some(number) => (number.to_owned(), Some([2, 0])),
                None => (cipher(text), None),
            },
        };
        rows.message(false, relation, [from, to], id, time, &content, odd)?;
    }
    rows.message(false, 7, [4, 4], 1, 1_050, &cipher("to myself"), None)?;
    rows.message(
        false,
        999,
        [3, 4],
        1,
        1_060,
        &cipher("without a relation"),
        None,
    )?;

    let name = GROUP.replace('"', "\\\"");
    rows.add(
        "IMGroup",
        &format!("(1,'{name}','',1,1,9,0,3,2003,2000,1999)"),
    )?;
    rows.add("IMGroup", "(2,'Removed','',1,2,9,1,1,2010,2010,2000)")?;
    for (group, user, status, joined) in [
        (1, 1, 0, 1_999),
        (1, 2, 1, 1_999),
        (1, 2, 0, 1_999),
        (1, 3, 1, 1_999),
        (1, 4, 0, 2_002),
        (2, 1, 0, 2_000),
        (777, 1, 0, 2_000),
    ] {
        rows.add(
            "IMGroupMember",
            &format!("(NULL,{group},{user},{status},{joined},{joined})"),
        )?;
    }
    for (group, from, id, time, text) in [
        (1, 1, 1, 2_000, "to all 1"),
        (1, 2, 2, 2_001, "to all 2"),
        (1, 1, 3, 2_003, "to all 3"),
        (1, 4_000_000, 4, 2_004, "of somebody who is gone"),
        (2, 1, 1, 2_010, "in a removed group"),
        (777, 1, 1, 2_011, "in no group"),
    ] {
        rows.message(true, group, [from, 0], id, time, &cipher(text), None)?;
    }
    // One that came back, and one that did not.
    for (user, peer, status) in [(2, 1, 1), (2, 1, 0), (2, 3, 1)] {
        rows.add(
            "IMRecentSession",
            &format!("(NULL,{user},{peer},1,{status},1000,1000)"),
        )?;
    }
    Ok(())
}

/// What the original stores after the first import: statements.
pub fn later() -> String {
    let message = |table: &str, of: u32, people: &str, id: u32, text: &str| {
        format!(
            "INSERT INTO {table}_{} VALUES (NULL,{of},{people},{id},'{}',{},0,1500000000,1500000000);\n",
            of % SHARDS,
            cipher(text),
            if table == "IMMessage" { 1 } else { 17 }
        )
    };
    [
        message("IMMessage", 2, "1,2", 3, "later in a merged pair"),
        message("IMMessage", 5, "3,2", 10, "later in a numbered one"),
        message("IMMessage", 8, "1,5", 1, "the first of a pair"),
        message("IMGroupMessage", 1, "2", 5, "later to all"),
    ]
    .concat()
}
