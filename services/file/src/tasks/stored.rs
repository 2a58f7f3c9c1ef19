//! Files that wait for their receivers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use im_config::FileConfig;
use im_core::UserId;
use im_core::time::UnixSeconds;

use super::{Asked, ConnId, Entered, Pull, Violation};
use crate::TaskId;
use crate::id::FileId;

/// What a file costs in a list beside its name, bytes.
const LISTED: usize = 64;

/// Files that one page of administrators looks at, at most.
const LOOKED: usize = 10_000;

/// Which files an administrator asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Behind this one.
    pub(crate) after: Option<FileId>,
    pub(crate) from: Option<UserId>,
    pub(crate) to: Option<UserId>,
    /// Most files.
    pub(crate) limit: usize,
}

/// Files that were found, in the order of their ids.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) files: Vec<(FileId, &'a File)>,
    /// Those behind this one were not looked at; none when all were.
    pub(crate) through: Option<FileId>,
}

/// A file that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) from: UserId,
    pub(crate) to: UserId,
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u32,
    pub(crate) stored: UnixSeconds,
    /// Who is fetching it.
    pub(crate) reader: Option<ConnId>,
}

/// All of them, by task and by receiver.
#[derive(Debug, Default)]
pub(super) struct Stored {
    files: HashMap<TaskId, File>,
    waiting: HashMap<UserId, BTreeSet<(UnixSeconds, TaskId)>>,
    by_id: BTreeMap<FileId, TaskId>,
}

impl Stored {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn get(&self, task: TaskId) -> Option<&File> {
        self.files.get(&task)
    }

    pub(super) fn insert(&mut self, task: TaskId, file: File) {
        let waiting = self.waiting.entry(file.to).or_default();
        waiting.insert((file.stored, task));
        self.by_id.insert(FileId::of(task), task);
        self.files.insert(task, file);
    }

    pub(super) fn remove(&mut self, task: TaskId) -> Option<File> {
        let file = self.files.remove(&task)?;
        self.by_id.remove(&FileId::of(task));
        if let Some(waiting) = self.waiting.get_mut(&file.to) {
            waiting.remove(&(file.stored, task));
            if waiting.is_empty() {
                self.waiting.remove(&file.to);
            }
        }
        Some(file)
    }

    /// A receiver wants a file: one connection at a time.
    pub(super) fn enter(&mut self, conn: ConnId, task: TaskId, user: UserId) -> Option<Entered> {
        let file = self.files.get_mut(&task)?;
        if file.to != user || file.reader.is_some() {
            return None;
        }
        file.reader = Some(conn);
        Some(Entered::Download)
    }

    pub(super) fn left(&mut self, conn: ConnId, task: TaskId) {
        if let Some(file) = self.files.get_mut(&task)
            && file.reader == Some(conn)
        {
            file.reader = None;
        }
    }

    pub(super) fn pull(&self, task: TaskId, user: UserId, pull: Pull) -> Result<Asked, Violation> {
        let file = self.files.get(&task).ok_or(Violation)?;
        if file.to != user {
            return Err(Violation);
        }
        read(file, pull).ok_or(Violation)
    }

    pub(super) fn waiting(&self, user: UserId, bytes: usize) -> Vec<(TaskId, &File)> {
        let mut left = bytes;
        let waiting = self.waiting.get(&user).into_iter().flatten();
        let files = waiting.filter_map(|(_, task)| Some((*task, self.files.get(task)?)));
        let fitting = files.take_while(|(_, file)| {
            let rest = left.checked_sub(LISTED + file.name.len());
            left = rest.unwrap_or_default();
            rest.is_some()
        });
        fitting.collect()
    }

    /// The task of a file.
    pub(super) fn by_id(&self, id: FileId) -> Option<TaskId> {
        self.by_id.get(&id).copied()
    }

    /// Looks at a bounded number of files.
    pub(super) fn search(&self, search: &Search) -> Found<'_> {
        let start = search.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_id.range((start, Bound::Unbounded));
        let (mut files, mut last) = (Vec::new(), None);
        for (id, task) in rest.by_ref().take(LOOKED) {
            last = Some(*id);
            let is_meant = |file: &&File| {
                search.from.is_none_or(|from| from == file.from)
                    && search.to.is_none_or(|to| to == file.to)
            };
            if let Some(file) = self.files.get(task).filter(is_meant) {
                files.push((*id, file));
                if files.len() >= search.limit {
                    break;
                }
            }
        }
        Found {
            files,
            through: last.filter(|_| rest.next().is_some()),
        }
    }

    pub(super) fn older_than(&self, time: UnixSeconds) -> Vec<TaskId> {
        let files = self.files.iter();
        let old = files.filter(|(_, file)| file.stored < time && file.reader.is_none());
        old.map(|(task, _)| *task).collect()
    }
}

/// The block of a file that is given: of the usual length, whatever more was asked for.
pub(super) fn read(file: &File, pull: Pull) -> Option<Asked> {
    let left = file
        .size
        .checked_sub(pull.offset)
        .filter(|left| *left > 0)?;
    let wanted = match pull.size {
        0 => FileConfig::STORED_BLOCK,
        size => size.min(FileConfig::STORED_BLOCK),
    };
    let size = wanted.min(left);
    Some(Asked::Read {
        pull: Pull { size, ..pull },
        is_last: size == left,
        sender: file.from,
    })
}
