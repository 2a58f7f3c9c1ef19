//! Having the log of the store alone while data moves.

use std::time::Duration;

use im_order::{Candidate, Ownership, Partition, Standing};
use im_store::{OpenStore, Start};
use tokio::time::{Instant, sleep};

use crate::MigrateError;

/// Time between two rounds, and while nobody has the log.
const ROUNDS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];
/// An owner who beats for so long is alive.
const ALIVE: Duration = Duration::from_secs(8);

/// Who has the log.
pub(crate) struct Owner<'s> {
    store: &'s dyn OpenStore,
    candidate: Candidate,
    begun: Instant,
}

impl<'s> Owner<'s> {
    /// Takes the log, once whoever had it is gone. `name` is what this process is called among those that share the
    /// store.
    ///
    /// # Errors
    /// A process that uses the store is there.
    pub(crate) async fn take(
        store: &'s dyn OpenStore,
        name: &str,
    ) -> Result<(Self, Ownership), MigrateError> {
        let mut owner = Self {
            store,
            candidate: Candidate::new(name, rand::random()),
            begun: Instant::now(),
        };
        if let Some(roster) = store.roster() {
            roster.join(owner.me()).await?;
            loop {
                match owner.round().await? {
                    Standing::Owner => break,
                    Standing::Take(seen) => {
                        roster.claim(owner.me(), seen).await?;
                        continue;
                    }
                    Standing::Replaced => return Err(MigrateError::Lost),
                    Standing::Standby if owner.begun.elapsed() > ALIVE => {
                        let read = roster.beat(owner.me()).await?;
                        let name = read
                            .owner
                            .map_or_else(|| "another process".into(), |one| one.0);
                        return Err(MigrateError::Busy(name));
                    }
                    Standing::Standby => {}
                }
                sleep(owner.pause()).await;
            }
        }
        let owned = store.take(Partition::ONLY).await?;
        Ok((owner, owned))
    }

    /// Says that the import is there, until the log is lost.
    pub(crate) async fn keep(&mut self) -> MigrateError {
        loop {
            sleep(self.pause()).await;
            match self.round().await {
                // Whether the log is still ours is decided with every commit.
                Ok(Standing::Owner) | Err(_) => {}
                Ok(_) => return MigrateError::Lost,
            }
        }
    }

    /// Leaves the log to others.
    pub(crate) async fn give(&self) -> Result<(), MigrateError> {
        match self.store.roster() {
            Some(roster) => Ok(roster.give(self.me()).await?),
            None => Ok(()),
        }
    }

    async fn round(&mut self) -> Result<Standing, MigrateError> {
        let Some(roster) = self.store.roster() else {
            return Ok(Standing::Owner);
        };
        let begun = Instant::now();
        let read = roster.beat(start(&self.candidate)).await?;
        let (took, now) = (begun.elapsed(), self.begun.elapsed());
        Ok(self.candidate.round(&read, took, now))
    }

    fn pause(&self) -> Duration {
        let [usual, vacant] = ROUNDS;
        if self.candidate.is_vacant() {
            vacant
        } else {
            usual
        }
    }

    fn me(&self) -> Start<'_> {
        start(&self.candidate)
    }
}

fn start(candidate: &Candidate) -> Start<'_> {
    Start {
        name: candidate.name(),
        instance: candidate.instance(),
    }
}
