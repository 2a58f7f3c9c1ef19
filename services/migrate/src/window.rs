//! Rows of several tables in the order of their times, though each table is read in the order of its keys.
//!
//! Of each table a window of rows is looked at, those from the first that is not given yet. The row with the least time
//! of all windows is next, with equal times that of the lower table and key. A row that half of a window has overtaken goes
//! first, so that one with a wrong time holds nothing up. What is to be read again after a kill
//! is [`Position`]: it does not depend on how much was read ahead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

/// Rows that a window holds.
pub(crate) const WINDOW: usize = 500;

/// How far a table is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// All rows up to this key were given.
    pub(crate) from: u32,
    /// And these behind it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) above: BTreeSet<u32>,
}

/// A row by its key and time.
pub(crate) trait Timed {
    fn key(&self) -> u32;
    fn time(&self) -> u32;
}

/// The window of one table.
#[derive(Debug)]
pub(crate) struct Window<T> {
    position: Position,
    /// In the window, not given, by time and key; and their times by key.
    waiting: BTreeMap<(u32, u32), T>,
    keys: BTreeMap<u32, u32>,
    /// Behind the window.
    ahead: VecDeque<T>,
    /// Key of the last row that was read.
    read: u32,
    ended: bool,
}

impl<T: Timed> Window<T> {
    /// Goes on from a position.
    pub(crate) fn at(position: Position) -> Self {
        Self {
            read: position.from,
            position,
            waiting: BTreeMap::new(),
            keys: BTreeMap::new(),
            ahead: VecDeque::new(),
            ended: false,
        }
    }

    /// Behind which key a page is to be read before the next row is chosen; `None` when none is needed.
    pub(crate) fn wants(&self) -> Option<u32> {
        let is_full = self.keys.len() + self.position.above.len() >= WINDOW;
        (!is_full && !self.ended && self.ahead.is_empty()).then_some(self.read)
    }

    /// Takes a page, in the order of keys. An empty one is the end.
    pub(crate) fn add(&mut self, page: Vec<T>) {
        match page.last() {
            Some(last) => self.read = last.key(),
            None => self.ended = true,
        }
        self.ahead.extend(page);
        self.fill();
    }

    /// Time and key of the row that is next in this table.
    pub(crate) fn next(&self) -> Option<(u32, u32)> {
        let (time, key) = self.chosen()?;
        Some((if self.is_overtaken() { 0 } else { time }, key))
    }

    /// Gives that row.
    pub(crate) fn take(&mut self) -> Option<T> {
        let (time, key) = self.chosen()?;
        let row = self.waiting.remove(&(time, key))?;
        self.keys.remove(&key);
        self.position.above.insert(key);
        self.settle(key);
        self.fill();
        Some(row)
    }

    /// So many have gone before the first row of the window that it is the next one, whatever its time.
    fn is_overtaken(&self) -> bool {
        self.position.above.len() >= WINDOW / 2
    }

    fn chosen(&self) -> Option<(u32, u32)> {
        if self.is_overtaken() {
            let (key, time) = self.keys.first_key_value()?;
            return Some((*time, *key));
        }
        self.waiting.first_key_value().map(|(place, _)| *place)
    }

    /// How far it is.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Keys that no row before waits behind need not be named.
    fn settle(&mut self, given: u32) {
        let Some(first) = self.keys.first_key_value().map(|(key, _)| *key) else {
            // Nothing waits, so that all that was read into the window was given.
            let last = self.position.above.last().copied().unwrap_or(given);
            self.position.from = self.position.from.max(last);
            self.position.above.clear();
            return;
        };
        self.position.from = self.position.from.max(first - 1);
        let above = &mut self.position.above;
        while above.first().is_some_and(|given| *given < first) {
            above.pop_first();
        }
    }

    fn fill(&mut self) {
        while self.keys.len() + self.position.above.len() < WINDOW {
            let Some(row) = self.ahead.pop_front() else {
                return;
            };
            // Given before a kill.
            if self.position.above.contains(&row.key()) {
                continue;
            }
            self.keys.insert(row.key(), row.time());
            self.waiting.insert((row.time(), row.key()), row);
        }
    }
}

/// Which of the tables has the next row.
pub(crate) fn earliest<T: Timed>(windows: &[Window<T>]) -> Option<usize> {
    let next = windows
        .iter()
        .enumerate()
        .filter_map(|(table, window)| window.next().map(|(time, key)| (time, table, key)));
    next.min().map(|(_, table, _)| table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Row(u32, u32);

    impl Timed for Row {
        fn key(&self) -> u32 {
            self.0
        }

        fn time(&self) -> u32 {
            self.1
        }
    }

    /// Gives up to `most` rows of tables from these positions, reading pages of a size; and where that ends.
    fn run(
        tables: &[Vec<Row>],
        from: Vec<Position>,
        page: usize,
        most: usize,
    ) -> (Vec<(usize, u32)>, Vec<Position>) {
        let mut windows: Vec<_> = from.into_iter().map(Window::at).collect();
        let mut given = Vec::new();
        while given.len() < most {
            for (window, table) in windows.iter_mut().zip(tables) {
                while let Some(after) = window.wants() {
                    let rows = table.iter().filter(|row| row.0 > after).take(page);
                    window.add(rows.copied().collect());
                }
            }
            let Some(table) = earliest(&windows) else {
                break;
            };
            given.push((table, windows[table].take().unwrap().0));
        }
        let positions = windows.iter().map(|window| window.position().clone());
        (given, positions.collect())
    }

    /// Two tables whose times are out of order here and there, and one wrong altogether.
    fn tables() -> Vec<Vec<Row>> {
        let mut random = 7_u32;
        let mut next = move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 16
        };
        let table = |every: u32, odd: u32, next: &mut dyn FnMut() -> u32| -> Vec<Row> {
            let rows = (1..=2_000_u32).map(|n| {
                let time = if n == odd {
                    u32::MAX
                } else {
                    n * every + next() % 40
                };
                Row(n * 3, time)
            });
            rows.collect()
        };
        vec![table(2, 100, &mut next), table(3, 0, &mut next), Vec::new()]
    }

    #[test]
    fn rows_come_once_in_the_order_of_time_and_one_with_a_wrong_time_holds_nothing_up() {
        let tables = tables();
        let (given, ends) = run(&tables, vec![Position::default(); 3], 64, usize::MAX);
        assert_eq!(given.len(), 4_000);
        let unique: BTreeSet<_> = given.iter().collect();
        assert_eq!(unique.len(), 4_000);
        let at = given.iter().position(|row| *row == (0, 300)).unwrap();
        assert!(at > 400 && at < 800, "{at}");
        let times: Vec<u32> = given
            .iter()
            .filter(|row| **row != (0, 300))
            .map(|(table, key)| tables[*table].iter().find(|row| row.0 == *key).unwrap().1)
            .collect();
        assert!(times.is_sorted());
        let from: Vec<_> = ends.iter().map(|end| (end.from, end.above.len())).collect();
        assert_eq!(from, [(6_000, 0), (6_000, 0), (0, 0)]);
    }

    #[test]
    fn whoever_goes_on_from_any_place_gives_the_same() {
        let tables = tables();
        let start = || vec![Position::default(); 3];
        let (whole, _) = run(&tables, start(), 64, usize::MAX);
        for cut in [1, 57, 300, 1_111, 2_500, 3_999] {
            let (mut given, positions) = run(&tables, start(), 64, cut);
            // As it is written and read again.
            let text = serde_json::to_string(&positions).unwrap();
            let (rest, _) = run(
                &tables,
                serde_json::from_str(&text).unwrap(),
                1_000,
                usize::MAX,
            );
            given.extend(rest);
            assert_eq!(given, whole, "cut at {cut}");
        }
    }
}
