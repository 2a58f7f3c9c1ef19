//! Who has how much.

use std::collections::HashMap;

use im_core::UserId;

use super::{Bounds, File, Offer, Unopened};

/// What one sender has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    tasks: u32,
    files: u32,
    bytes: u64,
}

/// Tasks, files and bytes, of each sender and in all. A file counts from the moment in which its task is
/// opened.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    all: Account,
    people: HashMap<UserId, Account>,
    pairs: HashMap<(UserId, UserId), u32>,
}

impl Ledger {
    pub(super) fn bytes(&self) -> u64 {
        self.all.bytes
    }

    /// Counts a task and, if it is to be stored, its file.
    pub(super) fn open(&mut self, offer: &Offer, bounds: &Bounds) -> Result<(), Unopened> {
        let own = self.people.get(&offer.from).copied().unwrap_or_default();
        let size = u64::from(offer.size);
        if own.tasks >= bounds.tasks_per_user {
            return Err(Unopened::Person);
        }
        if offer.offline {
            let pair = self.pairs.get(&(offer.from, offer.to)).copied();
            if own.files >= bounds.files_per_user
                || own.bytes.saturating_add(size) > bounds.stored_per_user
                || pair.unwrap_or_default() >= bounds.files_per_pair
            {
                return Err(Unopened::Person);
            }
            if self.all.files >= bounds.files || self.all.bytes.saturating_add(size) > bounds.stored
            {
                return Err(Unopened::Full);
            }
        }
        if self.all.tasks >= bounds.tasks {
            return Err(Unopened::Full);
        }
        self.all.tasks += 1;
        self.people.entry(offer.from).or_default().tasks += 1;
        if offer.offline {
            self.add_file(offer.from, offer.to, offer.size);
        }
        Ok(())
    }

    /// Counts a file that is there already, whatever the bounds.
    pub(super) fn restore(&mut self, file: &File) {
        self.add_file(file.from, file.to, file.size);
    }

    fn add_file(&mut self, from: UserId, to: UserId, size: u32) {
        for account in [&mut self.all, self.people.entry(from).or_default()] {
            account.files += 1;
            account.bytes += u64::from(size);
        }
        *self.pairs.entry((from, to)).or_default() += 1;
    }

    /// A task is no longer open.
    pub(super) fn close_task(&mut self, offer: &Offer) {
        self.all.tasks = self.all.tasks.saturating_sub(1);
        self.change(offer.from, |own| own.tasks = own.tasks.saturating_sub(1));
    }

    /// A file is gone, or will not come.
    pub(super) fn close_file(&mut self, from: UserId, to: UserId, size: u32) {
        let less = |account: &mut Account| {
            account.files = account.files.saturating_sub(1);
            account.bytes = account.bytes.saturating_sub(u64::from(size));
        };
        less(&mut self.all);
        self.change(from, less);
        if let Some(pair) = self.pairs.get_mut(&(from, to)) {
            *pair = pair.saturating_sub(1);
            if *pair == 0 {
                self.pairs.remove(&(from, to));
            }
        }
    }

    fn change(&mut self, user: UserId, change: impl FnOnce(&mut Account)) {
        if let Some(own) = self.people.get_mut(&user) {
            change(own);
            if *own == Account::default() {
                self.people.remove(&user);
            }
        }
    }

    /// Whether nothing is counted.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all == Account::default() && self.people.is_empty() && self.pairs.is_empty()
    }
}
