//! Names of tasks.

use std::fmt;
use std::str::FromStr;

use im_blob::BlobName;

/// A task: 128 random bits, written like the UUID that original servers give.
///
/// Whoever knows it and one of its people's numbers may take part, so it is not logged as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId([u8; 16]);

/// Where the hyphens are.
const GROUPS: [usize; 4] = [8, 12, 16, 20];

impl TaskId {
    /// A task that nobody can guess.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The blob that has the file of this task.
    pub(crate) const fn blob(self) -> BlobName {
        BlobName::from_bytes(self.0)
    }

    /// The task whose file this blob has.
    pub(crate) const fn of_blob(name: BlobName) -> Self {
        Self(*name.as_bytes())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", u128::from_be_bytes(self.0));
        let mut from = 0;
        for to in GROUPS {
            write!(f, "{}-", digits.get(from..to).unwrap_or_default())?;
            from = to;
        }
        f.write_str(digits.get(from..).unwrap_or_default())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "TaskId({first:02x}{second:02x}…)")
    }
}

/// Names a stored file to administrators: it follows from the file's task and does not tell it, so that who
/// reads a list cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) [u8; 16]);

impl FileId {
    /// The file of a task.
    pub(crate) fn of(task: TaskId) -> Self {
        let mut id = [0; 16];
        blake3::Hasher::new()
            .update(&task.0)
            .finalize_xof()
            .fill(&mut id);
        Self(id)
    }
}

/// A text that names no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name a task with 32 digits of lower-case hexadecimal in groups of 8, 4, 4, 4 and 12")]
pub struct TaskIdError;

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let name: BlobName = digits.parse().map_err(|_| TaskIdError)?;
        let task = Self::of_blob(name);
        // One way to write it: hyphens elsewhere are none of ours.
        (task.to_string() == text)
            .then_some(task)
            .ok_or(TaskIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_written_and_read_like_a_uuid() {
        let text = "00010203-0405-0607-0809-0a0b0c0d0eff";
        let task: TaskId = text.parse().unwrap();
        assert_eq!(task.to_string(), text);
        assert_eq!(TaskId::of_blob(task.blob()), task);
        let random = TaskId::random();
        assert_eq!(random.to_string().parse(), Ok(random));
        assert_ne!(random, TaskId::random());
        for bad in [
            "",
            "000102030405060708090a0b0c0d0eff",
            "00010203-0405-0607-0809-0A0B0C0D0EFF",
            "0001020-30405-0607-0809-0a0b0c0d0eff",
            "00010203-0405-0607-0809-0a0b0c0d0ef",
            "../../../../etc/passwd",
        ] {
            assert_eq!(bad.parse::<TaskId>(), Err(TaskIdError), "{bad}");
        }
    }

    #[test]
    fn the_id_of_a_file_follows_from_its_task_and_is_another_number() {
        let (task, other) = (TaskId::random(), TaskId::random());
        assert_eq!(FileId::of(task), FileId::of(task));
        assert_ne!(FileId::of(task), FileId::of(other));
        assert_ne!(FileId::of(task).0, task.0);
    }

    #[test]
    fn logs_do_not_show_a_whole_task() {
        let task: TaskId = "abcd0203-0405-0607-0809-0a0b0c0d0eff".parse().unwrap();
        assert_eq!(format!("{task:?}"), "TaskId(abcd…)");
    }
}
