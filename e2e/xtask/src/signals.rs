//! Requests to stop: a step that runs is ended with all that it started before this program ends.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// The latest request that nobody has taken; 0: none.
static ASKED: AtomicI32 = AtomicI32::new(0);

fn requests() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// From now on requests are kept for [`take`]. Called before any other thread is started.
pub(crate) fn keep() -> io::Result<()> {
    requests().thread_block()?;
    std::thread::spawn(|| {
        while let Ok(signal) = requests().wait() {
            ASKED.store(signal as i32, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// The latest request, once.
pub(crate) fn take() -> Option<Signal> {
    Signal::try_from(ASKED.swap(0, Ordering::Relaxed)).ok()
}

/// Starts a child so that requests reach it: it inherits what its parent's thread holds back.
pub(crate) fn let_through<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = SigSet::thread_get_mask()?;
    requests().thread_unblock()?;
    let started = start();
    before.thread_set_mask()?;
    started
}
