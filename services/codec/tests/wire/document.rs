//! The description of the protocol in `docs/protocol.md`: its golden frames, and whether it agrees with
//! the table of commands.

use im_codec::{Command, Direction, Header};

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");

/// A published frame.
pub(crate) struct Golden {
    pub(crate) name: String,
    /// Whether the body has all required fields.
    pub(crate) complete: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The part of the document about one command.
struct Section {
    /// The heading without its marks: number and name.
    heading: String,
    body: String,
}

fn sections() -> Vec<Section> {
    let parts = DOCUMENT.split("\n### ").skip(1);
    parts
        .map(|part| {
            let part = part.split("\n## ").next().expect("a first part");
            let (heading, body) = part.split_once('\n').expect("a body");
            Section {
                heading: heading.to_owned(),
                body: body.trim().to_owned(),
            }
        })
        .collect()
}

/// The frames of a text: blocks that begin with "frame", the name, and "incomplete" when the original
/// sends the body without a required field; a line that says what it is; then the bytes.
fn frames(text: &str) -> Vec<Golden> {
    let blocks = text.split("```frame ").skip(1);
    blocks
        .map(|block| {
            let (block, _) = block.split_once("\n```").expect("an end of the block");
            let mut lines = block.lines();
            let mut words = lines.next().expect("a name").split(' ');
            let name = words.next().expect("a name").to_owned();
            let complete = match words.next() {
                None => true,
                Some("incomplete") => false,
                Some(word) => unreachable!("{name}: {word}"),
            };
            lines.next().expect("description");
            let bytes = lines
                .flat_map(str::split_whitespace)
                .map(|digits| u8::from_str_radix(digits, 16).expect("hexadecimal"))
                .collect();
            Golden {
                name,
                complete,
                bytes,
            }
        })
        .collect()
}

/// All golden frames, by their numbers.
pub(crate) fn golden_frames() -> Vec<Golden> {
    let mut frames = frames(DOCUMENT);
    frames.sort_by_key(|golden| {
        let number = golden.name.strip_prefix('F').expect("F and a number");
        number.parse::<u32>().expect("a number")
    });
    frames
}

fn between(direction: Direction) -> &'static str {
    match direction {
        Direction::ClientToLogin => "client to login server",
        Direction::LoginToClient => "login server to client",
        Direction::ClientToMsg => "client to msg server",
        Direction::Answer => "msg server to client",
        Direction::Push => "msg server to client, unasked",
        Direction::ClientAndMsg => "client and msg server, both ways",
        Direction::ClientAndFile => "client and file server, both ways",
        Direction::Servers => "between original servers",
    }
}

#[test]
fn every_command_has_a_section_that_says_what_the_table_says() {
    let sections = sections();
    let expected: Vec<_> = Command::ALL
        .iter()
        .map(|command| format!("{:#06x} {command:?}", command.id()))
        .collect();
    let headings: Vec<_> = sections
        .iter()
        .map(|section| section.heading.as_str())
        .collect();
    assert_eq!(headings, expected);
    for (command, section) in Command::ALL.iter().zip(&sections) {
        let mut line = format!(
            "`{}`, `{}`, {}",
            command.name(),
            command.message().rule().name,
            between(command.direction())
        );
        if let Some(answer) = command.answer() {
            line.push_str(&format!(", answered by {:#06x}", answer.id()));
        }
        line.push('.');
        let (first, rest) = section.body.split_once("\n\n").expect("text");
        assert_eq!(first, line);
        assert!(!rest.starts_with("```"), "{}: no text", section.heading);
    }
}

#[test]
fn every_frame_stands_in_the_section_of_its_command() {
    let mut seen = 0;
    for (command, section) in Command::ALL.iter().zip(sections()) {
        for golden in frames(&section.body) {
            let header = golden.bytes.first_chunk().expect("a header");
            assert_eq!(
                Header::parse(header).command(),
                Some(*command),
                "{}",
                golden.name
            );
            seen += 1;
        }
    }
    assert_eq!(seen, golden_frames().len());
}
