//! Scripted conversations of the original clients.
//!
//! A script imitates a Windows, Mac, iOS or Android client by the description of what it sends, in which
//! order, under which numbers and with which quirks; none of those programs runs here. Whatever comes back is
//! compared field by field: the script writes down the whole message that it expects, and the compiler sees
//! to it that no field is left out.
//!
//! - [`Original`]: one client with its numbers and its header.
//! - [`Record`]: who sent which command, and which fields of what came were compared.
//! - [`table`]: the commands of the table in the document of compatibility, from such records.

mod client;
mod record;
pub mod table;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};
use im_core::time::UnixSeconds;

pub use client::Original;
pub use record::Record;

/// Clients by their names, in the order of the documents.
pub const CLIENTS: [&str; 4] = ["Windows", "Mac", "iOS", "Android"];

/// How far a server's clock may be from the test's, seconds.
const CLOCKS: u32 = 1;

/// How far a stamp of the directory may be ahead of the clock, seconds.
const AHEAD: u32 = 60;

/// One conversation: what all clients in it have met.
#[derive(Clone, Debug)]
pub struct Script {
    begun: u32,
    record: Arc<Mutex<Record>>,
}

impl Script {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            begun: UnixSeconds::now().get(),
            record: Arc::default(),
        }
    }

    /// A time that a server told, which must lie within this conversation.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn now(&self, told: u32) -> u32 {
        let now = UnixSeconds::now().get();
        let fits = self.begun - CLOCKS <= told && told <= now + CLOCKS;
        assert!(fits, "{told} is not within {} to {now}", self.begun);
        told
    }

    /// A time by which changes are asked for: it counts seconds, and runs ahead of the clock where several
    /// changes had to be told apart.
    ///
    /// # Panics
    /// When it lies before this conversation or far behind now.
    #[must_use]
    pub fn stamp(&self, told: u32) -> u32 {
        let now = UnixSeconds::now().get();
        let fits = self.begun - CLOCKS <= told && told <= now + AHEAD;
        assert!(fits, "{told} is no stamp between {} and {now}", self.begun);
        told
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds what was met against a file; with `IM_UPDATE` in the environment writes it.
    ///
    /// # Errors
    /// It differs, or the file cannot be read or written.
    pub fn hold(&self, file: &Path) -> anyhow::Result<()> {
        let met = self.record().render();
        if std::env::var_os("IM_UPDATE").is_some() {
            std::fs::write(file, &met).with_context(|| format!("write {}", file.display()))?;
        }
        let kept = std::fs::read_to_string(file)
            .with_context(|| format!("read {}; IM_UPDATE=1 writes it", file.display()))?;
        ensure!(
            kept == met,
            "{} is not what the script has met; with IM_UPDATE=1 it writes:\n{met}",
            file.display()
        );
        Ok(())
    }
}
