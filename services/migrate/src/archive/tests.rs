use im_store::{COUNTERS, Content, ContentPage, Value};

use super::read::read;
use super::sums::Sums;
use super::write::Writer;
use super::*;
use crate::MigrateError;

fn place(name: &str) -> usize {
    let place = SECTIONS.iter().position(|section| section.name == name);
    place.unwrap()
}

fn number(number: u64) -> Value {
    Value::Number(number)
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn message(seq: u64, conversation: u64, id: u64, body: &str) -> Vec<Value> {
    let mut row: Vec<_> = [seq, conversation, id, 7, 1, 1_000, 0].map(number).into();
    let key = if seq == 1 {
        Value::Null
    } else {
        bytes(&[9; 16])
    };
    row.extend([key, bytes(body.as_bytes())]);
    row
}

/// A small store: two messages and a counter.
fn contents() -> Vec<Content> {
    let mut counts = vec![0; SECTIONS.len()];
    counts[place("message")] = 2;
    counts[place("counter")] = 1;
    let rows = |name, rows| {
        Content::Rows(ContentPage {
            section: place(name),
            rows,
        })
    };
    let messages = vec![message(1, 5, 1, "a"), message(2, 7 << 32 | 8, 1, "你好")];
    vec![
        Content::Counts(counts),
        rows("message", messages),
        rows(
            "counter",
            vec![vec![bytes(COUNTERS[0].as_bytes()), number(300)]],
        ),
        Content::End,
    ]
}

fn written(contents: &[Content]) -> (Vec<u8>, Sums) {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    for content in contents {
        writer
            .put(content, "sqlite, step 14", 1_700_000_000)
            .unwrap();
    }
    let (sums, _) = writer.finish().unwrap();
    (out, sums)
}

fn read_all(from: &[u8]) -> Result<(Vec<Content>, Sums), MigrateError> {
    let mut all = Vec::new();
    let (_, sums) = read(from, &mut |content| {
        all.push(content);
        Ok(())
    })?;
    all.push(Content::End);
    Ok((all, sums))
}

fn refused(from: &[u8]) -> String {
    read_all(from).unwrap_err().to_string()
}

#[test]
fn what_is_read_is_what_was_written() {
    let (archive, sums) = written(&contents());
    assert_eq!(read_all(&archive).unwrap(), (contents(), sums.clone()));
    assert_eq!(sums.messages(5), 1);
    assert_eq!(sums.sections[place("message")].0, 2);
}

#[test]
fn the_form_is_what_it_was() {
    let (archive, _) = written(&contents());
    let json = serde_json::to_vec(&Header::new("sqlite, step 14", 1_700_000_000, &{
        let Content::Counts(counts) = &contents()[0] else {
            panic!("no counts");
        };
        counts.clone()
    }));
    let json = json.unwrap();
    let text = String::from_utf8(json.clone()).unwrap();
    assert!(text.starts_with("{\"form\":1,\"program\":\""), "{text}");
    assert!(text.contains("{\"name\":\"id_gap\",\"columns\":[[\"conv\",\"number\"],[\"after\",\"number\"],[\"through\",\"number\"]],\"rows\":0}"));
    assert!(text.contains("[\"retry_key\",\"bytes?\"]"));
    let mut expected = b"imarch\r\n\x01".to_vec();
    expected.extend_from_slice(&u32::try_from(json.len()).unwrap().to_le_bytes());
    expected.extend_from_slice(&json);
    assert!(archive.starts_with(&expected));

    // Each section that has no rows ends at once; then rows, and their end.
    let mut rest = &archive[expected.len()..];
    let empty = blake3::hash(b"");
    for place in 0..place("message") {
        let end = [
            &[3, 34, 0, 0, 0, u8::try_from(place).unwrap(), 0][..],
            empty.as_bytes(),
        ];
        rest = rest.strip_prefix(end.concat().as_slice()).unwrap();
    }
    let place = u8::try_from(place("message")).unwrap();
    let mut rows = vec![1, 5, 1, 7, 1, 0xe8, 0x07, 0, 0, 1, b'a'];
    rows.extend([
        2, 0x88, 0x80, 0x80, 0x80, 0x70, 1, 7, 1, 0xe8, 0x07, 0, 1, 16,
    ]);
    rows.extend([9; 16]);
    rows.push(6);
    rows.extend("你好".as_bytes());
    let length = u8::try_from(rows.len() + 1).unwrap();
    let frame = [&[2, length, 0, 0, 0, place][..], &rows].concat();
    let rest = rest.strip_prefix(frame.as_slice()).unwrap();
    let hash = blake3::hash(&rows);
    let end = [&[3, 34, 0, 0, 0, place, 2][..], hash.as_bytes()].concat();
    assert!(rest.starts_with(&end));

    // The last frame vouches for everything before it.
    let (before, last) = archive.split_at(archive.len() - 37);
    let sum = blake3::hash(before);
    assert_eq!(last, [&[4, 32, 0, 0, 0][..], sum.as_bytes()].concat());
}

#[test]
fn an_archive_that_is_cut_anywhere_is_refused() {
    let (archive, _) = written(&contents());
    for length in 0..archive.len() {
        refused(&archive[..length]);
    }
    let mut longer = archive;
    longer.push(0);
    assert!(refused(&longer).contains("something follows its end"));
}

#[test]
fn an_archive_with_a_changed_byte_is_refused() {
    let (archive, _) = written(&contents());
    for at in 0..archive.len() {
        let mut changed = archive.clone();
        changed[at] ^= 1 << (at % 8);
        refused(&changed);
    }
}

#[test]
fn an_archive_of_another_version_says_what_to_do() {
    let (archive, _) = written(&contents());
    let length = u32::from_le_bytes(archive[9..13].try_into().unwrap());
    let end = 13 + usize::try_from(length).unwrap();
    let header: Header = serde_json::from_slice(&archive[13..end]).unwrap();
    let with = |header: &Header| {
        let json = serde_json::to_vec(header).unwrap();
        let mut changed = archive[..9].to_vec();
        changed.extend_from_slice(&u32::try_from(json.len()).unwrap().to_le_bytes());
        changed.extend_from_slice(&json);
        changed.extend_from_slice(&archive[end..]);
        changed
    };
    let mut later = header.clone();
    later.form = 2;
    assert!(refused(&with(&later)).contains("it has form 2"));
    let mut other = header;
    other.sections[1].columns.pop();
    let said = refused(&with(&other));
    assert!(
        said.contains("section account is of another version"),
        "{said}"
    );
    assert!(refused(b"something else entirely").contains("does not begin as one"));
}

#[test]
fn what_differs_is_named() {
    let (_, sums) = written(&contents());
    let mut other = contents();
    let Content::Rows(page) = &mut other[1] else {
        panic!("no rows");
    };
    page.rows[1] = message(2, 7 << 32 | 8, 1, "other");
    let (_, other) = written(&other);
    assert_eq!(sums.different_sections(&other), ["message"]);
    let different = sums.different_conversations(&other);
    assert_eq!(different.into_iter().collect::<Vec<_>>(), [7 << 32 | 8]);
    assert!(sums.different_conversations(&sums).is_empty());
}
