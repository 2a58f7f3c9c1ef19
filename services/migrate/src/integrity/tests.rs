use im_store::SECTIONS;

use super::*;

const PAIR: u64 = 1 << 32 | 2;
const GROUP: u64 = 5;

fn rows(name: &str, rows: &[&[u64]]) -> Content {
    let section = SECTIONS.iter().position(|section| section.name == name);
    let section = section.unwrap();
    let columns = SECTIONS[section].columns;
    let rows = rows.iter().map(|given| {
        let mut given = given.iter();
        let mut value = |column: &im_store::Column| match column.kind {
            im_store::ColumnKind::Number => Value::Number(given.next().copied().unwrap_or(0)),
            _ => Value::Bytes(b"x".to_vec()),
        };
        columns.iter().map(&mut value).collect()
    });
    Content::Rows(ContentPage {
        section,
        rows: rows.collect(),
    })
}

/// A store with one pair and one group, in which everything fits.
fn whole() -> Vec<Content> {
    vec![
        rows("account", &[&[1], &[2]]),
        rows(
            CONVERSATION,
            &[&[PAIR, 1, 3, 4, 40, 2], &[GROUP, 2, 11, 3, 30, 0]],
        ),
        rows("id_gap", &[&[GROUP, 0, 10]]),
        rows("chat_group", &[&[GROUP]]),
        rows("inbox", &[&[1, PAIR], &[2, PAIR]]),
        rows("member", &[&[GROUP, 1], &[GROUP, 2]]),
        rows(
            MESSAGES,
            &[
                // seq, conv, id, sender, type, time, low_sent
                &[1, PAIR, 1, 1, 1, 10, 1],
                &[2, PAIR, 2, 2, 1, 20, 1],
                &[3, GROUP, 11, 2, 17, 30, 0],
                &[4, PAIR, 3, 1, 1, 40, 2],
            ],
        ),
        rows("part", &[&[0, 4]]),
        Content::End,
    ]
}

fn inspect(contents: &[Content]) -> Option<Integrity> {
    let mut inspector = Inspector::default();
    for content in contents {
        inspector.take(content).unwrap();
    }
    inspector.end()
}

/// What is found when one field of the row of a section has another value.
fn changed(name: &str, row: usize, column: usize, to: u64) -> Vec<Flaw> {
    let mut contents = whole();
    let section = SECTIONS.iter().position(|section| section.name == name);
    for content in &mut contents {
        if let Content::Rows(page) = content
            && Some(page.section) == section
        {
            page.rows[row][column] = Value::Number(to);
        }
    }
    let found = inspect(&contents).unwrap();
    assert!(!found.is_good());
    assert!(found.words().iter().any(|line| line.contains("DAMAGED")));
    found.flaws.keys().copied().collect()
}

#[test]
fn a_store_in_which_everything_fits_is_good() {
    let good = inspect(&whole()).unwrap();
    assert!(good.is_good(), "{good:?}");
    assert_eq!((good.messages, good.last_seq), (4, 4));
    assert_eq!((good.conversations, good.accounts), (2, 2));
    assert_eq!(inspect(&[Content::End]), Some(Integrity::default()));
}

#[test]
fn rows_that_end_early_say_nothing() {
    let mut cut = whole();
    cut.pop();
    assert_eq!(inspect(&cut), None);
}

#[test]
fn every_kind_of_flaw_is_found() {
    assert_eq!(changed("part", 0, 1, 5), [Flaw::LogHole]);
    // The last message of the pair at another position: the log has a hole, and the pair says something else.
    let moved = changed(MESSAGES, 3, 0, 5);
    assert_eq!(moved, [Flaw::LogHole, Flaw::Newest]);
    assert_eq!(changed("id_gap", 0, 2, 9), [Flaw::IdHole]);
    assert_eq!(changed(CONVERSATION, 0, 4, 41), [Flaw::Newest]);
    assert_eq!(
        changed(MESSAGES, 2, 1, 6),
        [Flaw::NoConversation],
        "of another group"
    );
    assert_eq!(
        changed("inbox", 0, 1, PAIR + 1),
        [Flaw::NoConversation, Flaw::NoInbox]
    );
    assert_eq!(changed("chat_group", 0, 0, 6), [Flaw::NoGroup]);
    assert_eq!(changed("member", 1, 1, 3), [Flaw::NoAccount]);
    assert_eq!(changed(MESSAGES, 1, 6, 2), [Flaw::Count]);
}

#[test]
fn a_clock_that_stepped_back_and_bodies_that_were_taken_away_are_no_flaws() {
    let mut contents = whole();
    for content in &mut contents {
        if let Content::Rows(page) = content
            && SECTIONS[page.section].name == MESSAGES
        {
            page.rows[1][5] = Value::Number(5);
            page.rows[0][8] = Value::Bytes(Vec::new());
        }
    }
    let found = inspect(&contents).unwrap();
    assert!(found.is_good());
    assert_eq!((found.earlier, found.expired), (1, 1));
}
