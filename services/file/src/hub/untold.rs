//! Files of which nobody has said yet that it is noted that they wait.
//!
//! Pure.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::TaskId;

/// How long one msg server has to say that a file is noted before another one is told of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// As many as there are stored files at most.
#[derive(Debug, Default)]
pub(super) struct Untold {
    files: HashSet<TaskId>,
    /// When each is to be told, the earliest first; those that are noted meanwhile stand here until then.
    due: VecDeque<(Instant, TaskId)>,
}

impl Untold {
    /// One more, to be told at once.
    pub(super) fn add(&mut self, task: TaskId, now: Instant) {
        if self.files.insert(task) {
            self.due.push_front((now, task));
        }
    }

    /// It is noted, or there is no such file any more.
    pub(super) fn remove(&mut self, task: TaskId) {
        self.files.remove(&task);
    }

    /// Those that are to be told now, which are not told again before others had their time.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Vec<TaskId> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some((_, task)) = self.due.pop_front_if(|(due, _)| *due <= now) else {
                break;
            };
            if self.files.contains(&task) {
                self.due.push_back((now + PATIENCE, task));
                taken.push(task);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_told_again_until_it_is_noted_and_by_one_at_a_time() {
        let [a, b] = std::array::from_fn(|_| TaskId::random());
        let mut untold = Untold::default();
        let now = Instant::now();
        untold.add(a, now);
        untold.add(b, now);
        untold.add(b, now);
        assert_eq!(untold.take(1, now), [b]);
        assert_eq!(untold.take(9, now), [a]);
        assert!(untold.take(9, now).is_empty());
        untold.remove(a);
        let later = now + PATIENCE;
        assert_eq!(untold.take(9, later), [b]);
        untold.remove(b);
        assert!(untold.take(9, later + PATIENCE).is_empty());
        assert!(untold.due.is_empty() && untold.files.is_empty());
    }
}
