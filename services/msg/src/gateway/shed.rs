//! Orders to shed sessions: which is under way, and what became of the last ones.
//!
//! Pure bookkeeping; `server::shed` carries an order out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Orders that are remembered: one that comes again is known by its key.
const REMEMBERED: usize = 16;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Names it.
    pub(crate) key: String,
    /// How many sessions are to go.
    pub(crate) sessions: u32,
    /// At most so many a second.
    pub(crate) per_second: u32,
}

/// An order and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shedding {
    pub(crate) order: Order,
    /// Sessions that there were for it.
    pub(crate) chosen: u32,
    /// Of them, those that were closed for it.
    pub(crate) gone: u32,
    /// Of them, those that ended by themselves before.
    pub(crate) ended: u32,
    /// Nobody else is to be closed for it.
    pub(crate) is_stopped: bool,
    /// Nothing more happens for it.
    pub(crate) is_over: bool,
}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Another one is under way.
    Busy,
    /// Another one came under this key.
    OtherUnderKey,
}

/// The orders of this run of the server. The last one alone may be under way.
#[derive(Default)]
pub(crate) struct Sheds(Mutex<VecDeque<Shedding>>);

impl Sheds {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Shedding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an order; false when it has come before. Whoever gets true carries it out.
    pub(crate) fn begin(&self, order: Order) -> Result<bool, NotTaken> {
        let mut orders = self.lock();
        if let Some(known) = orders.iter().find(|known| known.order.key == order.key) {
            return if known.order == order {
                Ok(false)
            } else {
                Err(NotTaken::OtherUnderKey)
            };
        }
        if orders.back().is_some_and(|last| !last.is_over) {
            return Err(NotTaken::Busy);
        }
        if orders.len() >= REMEMBERED {
            orders.pop_front();
        }
        orders.push_back(Shedding {
            order,
            chosen: 0,
            gone: 0,
            ended: 0,
            is_stopped: false,
            is_over: false,
        });
        Ok(true)
    }

    /// Nobody else is to be closed for the order that is under way.
    pub(crate) fn stop(&self) {
        self.change(|last| last.is_stopped = true);
    }

    /// Changes the last order.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Shedding)) {
        if let Some(last) = self.lock().back_mut() {
            change(last);
        }
    }

    /// The last order, if there was one.
    pub(crate) fn last(&self) -> Option<Shedding> {
        self.lock().back().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(key: &str, sessions: u32) -> Order {
        Order {
            key: key.to_owned(),
            sessions,
            per_second: 10,
        }
    }

    #[test]
    fn an_order_counts_once_and_one_at_a_time_is_under_way() {
        let sheds = Sheds::default();
        assert_eq!(sheds.last(), None);
        assert_eq!(sheds.begin(order("a", 5)), Ok(true));
        assert_eq!(sheds.begin(order("a", 5)), Ok(false));
        assert_eq!(sheds.begin(order("a", 6)), Err(NotTaken::OtherUnderKey));
        assert_eq!(sheds.begin(order("b", 5)), Err(NotTaken::Busy));
        sheds.stop();
        assert_eq!(sheds.begin(order("b", 5)), Err(NotTaken::Busy), "not over");
        sheds.change(|last| last.is_over = true);
        assert_eq!(sheds.begin(order("b", 5)), Ok(true));
        assert_eq!(sheds.begin(order("a", 5)), Ok(false), "also later");
        assert!(sheds.last().is_some_and(|last| last.order.key == "b"));
    }

    #[test]
    fn sixteen_orders_are_remembered_and_no_more() {
        let sheds = Sheds::default();
        for n in 0..=REMEMBERED {
            assert_eq!(sheds.begin(order(&n.to_string(), 1)), Ok(true));
            sheds.change(|last| last.is_over = true);
        }
        assert_eq!(sheds.lock().len(), REMEMBERED);
        assert_eq!(sheds.begin(order("1", 1)), Ok(false));
        assert_eq!(sheds.begin(order("0", 1)), Ok(true), "forgotten");
    }
}
