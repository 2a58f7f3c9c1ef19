use im_order::Partition;
use tokio::sync::mpsc::{Receiver, channel};

use crate::contract::log::{Log, id, pair, standing, user};
use crate::{
    COUNTERS, ColumnKind, Content, ContentPage, MESSAGES, PAGE_ROWS, ReadLimit, SECTIONS, Section,
    Store, StoreError, Value,
};

/// Messages of the pair of users 7 and 8: more than a page.
const OF_PAIR: u64 = 1_200;
const GROUP: u64 = 5;
const PAIR: u64 = 7 << 32 | 8;

/// Columns that hold as many bytes as a store has room for.
const WIDTHS: [(&str, usize); 6] = [
    ("hash", 32),
    ("digest", 32),
    ("remembered", 32),
    ("first_hash", 32),
    ("last_hash", 32),
    ("retry_key", 16),
];

/// What is special in a row, where a section's rows cannot be just any.
fn special(section: &Section, column: &str, n: u64) -> Option<Value> {
    let number = |number| Some(Value::Number(number));
    let last = OF_PAIR + 1;
    match (section.name, column) {
        ("conversation" | "id_gap", "conv") => number([GROUP, PAIR][at(n)]),
        ("conversation", "last_id") => number([1, OF_PAIR][at(n)]),
        ("conversation", "last_seq") => number([1, last][at(n)]),
        ("chat_group", "id") | ("member", "conv") => number(GROUP),
        ("inbox", "user") => number([7, 7, 8][at(n)]),
        ("inbox", "conv") => number([GROUP, PAIR, PAIR][at(n)]),
        ("inbox" | "member", "created") => number(11),
        ("inbox", "read_id") | ("account", "kind") | ("part", "part") => number(0),
        ("member", "user") | ("message", "sender") => number(7),
        ("member", "active") | ("audit_ends", "id") => number(1),
        ("message", "seq") => number(n + 1),
        ("message", "conv") => number(if n == 0 { GROUP } else { PAIR }),
        ("message", "id") => number(n.max(1)),
        ("account", "id") => number(7 + n),
        // All 64 bits.
        ("push_target", "session") => number(u64::MAX - n),
        ("counter", "name") => Some(Value::Bytes(COUNTERS[at(n)].as_bytes().to_vec())),
        ("part", "last_seq") => number(last),
        _ => None,
    }
}

fn at(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

fn rows_of(section: &Section) -> u64 {
    match section.name {
        "chat_group" | "member" | "audit_ends" | "part" => 1,
        "inbox" => 3,
        "message" => OF_PAIR + 1,
        "counter" => u64::try_from(COUNTERS.len()).unwrap(),
        _ => 2,
    }
}

fn field(section: &Section, at: usize, n: u64) -> Value {
    let column = section.columns[at];
    if let Some(value) = special(section, column.name, n) {
        return value;
    }
    if column.is_optional && n % 2 == 1 {
        return Value::Null;
    }
    let seed = 3 + u64::try_from(at).unwrap() + n;
    match column.kind {
        ColumnKind::Number => Value::Number(seed),
        ColumnKind::Text => Value::Bytes(format!("{} {seed} 言'\\", column.name).into_bytes()),
        ColumnKind::Bytes => {
            let width = WIDTHS.iter().find(|(name, _)| *name == column.name);
            let width = width.map_or(5, |(_, width)| *width);
            let byte = u8::try_from(250 - seed % 200).unwrap();
            Value::Bytes(
                [0].into_iter()
                    .chain(std::iter::repeat_n(byte, width - 1))
                    .collect(),
            )
        }
    }
}

/// Something in every column of every section.
fn everything() -> Vec<Content> {
    let mut all = vec![Content::Counts(SECTIONS.iter().map(rows_of).collect())];
    for (place, section) in SECTIONS.iter().enumerate() {
        let row = |n| {
            (0..section.columns.len())
                .map(|at| field(section, at, n))
                .collect()
        };
        let rows: Vec<Vec<Value>> = (0..rows_of(section)).map(row).collect();
        all.extend(rows.chunks(PAGE_ROWS).map(|rows| {
            Content::Rows(ContentPage {
                section: place,
                rows: rows.to_vec(),
            })
        }));
    }
    all.push(Content::End);
    all
}

async fn fill(store: &dyn Store, with: Vec<Content>) -> Result<(), StoreError> {
    let fence = standing(store).await;
    let (to, from) = channel(1);
    let sending = async move {
        for content in with {
            // Whoever refuses it receives no more.
            if to.send(content).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(sending, store.fill(fence, from)).1
}

async fn received(mut from: Receiver<Content>) -> Vec<Content> {
    let mut all = Vec::new();
    while let Some(content) = from.recv().await {
        all.push(content);
    }
    all
}

async fn read(store: &dyn Store) -> Vec<Content> {
    let (to, from) = channel(1);
    let (all, done) = tokio::join!(received(from), store.read_contents(to));
    done.unwrap();
    all
}

pub async fn what_fills_a_store_is_what_is_read_of_it(store: &dyn Store) {
    fill(store, everything()).await.unwrap();
    let found = read(store).await;
    assert_eq!(found.len(), everything().len());
    for (found, expected) in found.iter().zip(everything()) {
        let Content::Rows(page) = &expected else {
            assert_eq!(*found, expected);
            continue;
        };
        let name = SECTIONS[page.section].name;
        assert!(*found == expected, "{name}: {found:?} is not {expected:?}");
    }

    // A server can use it, and goes on behind it.
    let owned = store.take(Partition::ONLY).await.unwrap();
    assert_eq!(owned.end.to_wire(), OF_PAIR + 1);
    let newest = store.latest_id(pair(7, 8)).await.unwrap();
    assert_eq!(newest.map(im_core::MsgId::get), u32::try_from(OF_PAIR).ok());
    let history = store.history(pair(7, 8), None, 0, ReadLimit::rows(3));
    assert_eq!(history.await.unwrap().len(), 3);
    let unread = store.read_position(user(8), pair(7, 8)).await.unwrap();
    assert_eq!(unread, 0);
    let members = store.members(im_core::GroupId::from_wire(5).unwrap()).await;
    assert_eq!(members.unwrap().len(), 1);
}

pub async fn a_store_that_has_rows_is_not_filled(store: &dyn Store) {
    let mut log = Log::default();
    log.own(store).await.unwrap();
    log.send(7, pair(7, 8), 40, "text");
    store.append(&log.fenced()).await.unwrap();
    let before = read(store).await;
    let refused = fill(store, everything()).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::NotEmpty {
                table: "conversation"
            })
        ),
        "{refused:?}"
    );
    assert_eq!(read(store).await, before);
    assert_eq!(store.latest_id(pair(7, 8)).await.unwrap(), Some(id(1)));
}

pub async fn what_fills_a_store_is_there_as_a_whole_or_not_at_all(store: &dyn Store) {
    let before = read(store).await;
    // Cut off before its end; with a row that cannot be; about a conversation that there is not.
    let mut cut = everything();
    cut.pop();
    let mut wrong = everything();
    let place = SECTIONS.iter().position(|section| section.name == MESSAGES);
    for content in &mut wrong {
        if let Content::Rows(page) = content
            && Some(page.section) == place
        {
            page.rows[0][0] = Value::Null;
        }
    }
    let mut twice = everything();
    let doubled = twice[twice.len() - 4].clone();
    twice.insert(twice.len() - 4, doubled);
    for contents in [cut, wrong, twice] {
        fill(store, contents).await.unwrap_err();
        assert_eq!(read(store).await, before);
    }
    // Nor by somebody who has not the log any more.
    let fence = standing(store).await;
    store.take(Partition::ONLY).await.unwrap();
    let (to, from) = channel(1);
    drop(to);
    let refused = store.fill(fence, from).await;
    assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
    fill(store, everything()).await.unwrap();
    assert_eq!(read(store).await, everything());
}

pub async fn reading_is_one_moment_and_waits_for_whoever_receives(store: &dyn Store) {
    fill(store, everything()).await.unwrap();
    let (to, mut from) = channel(1);
    let watching = async {
        let mut all = vec![from.recv().await.unwrap()];
        // Behind the counts nothing that is changed shows any more.
        store.set_hash(user(7), "changed").await.unwrap();
        all.extend(received(from).await);
        all
    };
    let (all, done) = tokio::join!(watching, store.read_contents(to));
    done.unwrap();
    assert!(all == everything());
    assert!(read(store).await != everything());
    let (to, from) = channel(1);
    drop(from);
    let refused = store.read_contents(to).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
}
