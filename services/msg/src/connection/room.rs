//! Room for what waits of all connections together, and the connections that wait for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts bytes against one bound. Beyond it connections are read later: whoever has waited for longest
/// goes on first, and lets the next one go on while there is room.
pub(crate) struct Room {
    used: AtomicU64,
    most: u64,
    /// Connections that wait.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            most,
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Counts bytes, within the bound or not.
    pub(crate) fn take(&self, bytes: u32) {
        self.used.fetch_add(bytes.into(), Ordering::SeqCst);
    }

    /// Bytes that were counted have left.
    pub(crate) fn give_back(&self, bytes: u32) {
        self.used.fetch_sub(bytes.into(), Ordering::SeqCst);
        self.pass_on();
    }

    /// Bytes that are counted.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    /// Whether nobody may add anything.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.most
    }

    /// Waits until there is room, or until `is_over` when `closing` says to look.
    pub(super) async fn wait(&self, closing: &Notify, is_over: impl Fn() -> bool) {
        let _counted = Waiting::of(self);
        loop {
            let freed = self.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // Whatever is freed from here on is noticed.
            freed.as_mut().enable();
            if is_over() || !self.is_full() {
                break;
            }
            tokio::select! {
                () = freed => {}
                () = closing.notified() => {}
            }
        }
    }

    /// Lets one of those who wait look again, if there is room.
    fn pass_on(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 && !self.is_full() {
            self.freed.notify_one();
        }
    }
}

/// One that waits. What it does not use is for the next one.
struct Waiting<'a>(&'a Room);

impl<'a> Waiting<'a> {
    fn of(room: &'a Room) -> Self {
        room.waiting.fetch_add(1, Ordering::SeqCst);
        Self(room)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_room_goes_on_when_bytes_leave_and_at_the_bound_nobody_does() {
        let room = Room::new(10);
        room.take(9);
        assert!(!room.is_full());
        room.take(2);
        let closing = Notify::new();
        let mut first = Box::pin(room.wait(&closing, || false));
        let mut second = Box::pin(room.wait(&closing, || false));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        room.give_back(1);
        assert!(poll!(&mut first).is_pending(), "at the bound");
        room.give_back(1);
        assert!(poll!(&mut second).is_pending(), "one after the other");
        assert!(poll!(&mut first).is_ready());
        drop(first);
        assert!(poll!(&mut second).is_ready(), "there is still room");
    }

    #[tokio::test]
    async fn whoever_goes_away_keeps_no_room_from_the_next() {
        let room = Room::new(10);
        room.take(10);
        let closing = Notify::new();
        let mut first = Box::pin(room.wait(&closing, || false));
        let mut second = Box::pin(room.wait(&closing, || false));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        room.give_back(1);
        drop(first);
        assert!(poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn a_connection_that_closes_does_not_wait_for_room() {
        let room = Room::new(10);
        room.take(10);
        let (closing, is_over) = (Notify::new(), Cell::new(false));
        let mut waiting = Box::pin(room.wait(&closing, || is_over.get()));
        assert!(poll!(&mut waiting).is_pending());
        is_over.set(true);
        closing.notify_one();
        assert!(poll!(&mut waiting).is_ready());
        drop(waiting);
        assert_eq!(room.waiting.load(Ordering::SeqCst), 0);
    }
}
