//! A model of a disk that loses power: what was synced stays, of the rest anything may be there.
//!
//! After a power failure a file holds what it held at its last sync, plus any of the later writes,
//! whole or cut at any byte. A name made or removed since the last sync of its directory may be
//! there or not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::{Rng, rngs::StdRng};

/// File in which the child says how far the next batch reaches.
pub(super) const INTENDED: &str = "intended";
/// File in which the child says how far it got an answer.
pub(super) const ACKNOWLEDGED: &str = "acknowledged";

/// What a child did, in order.
pub(super) struct Recording {
    pub(super) events: Vec<Event>,
}

pub(super) enum Event {
    Intended(u64),
    Acknowledged(u64),
    Change(Change),
}

/// A change of a file, or of the directory (empty name).
pub(super) struct Change {
    name: PathBuf,
    what: What,
}

#[derive(Clone)]
enum What {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
    Create,
    Remove,
    Sync,
}

impl Recording {
    pub(super) fn read(log: &Path, dir: &Path) -> Self {
        let bytes = std::fs::read(log).unwrap();
        let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let op = take(&mut rest, 1)[0];
            let path_len = u32::from_ne_bytes(take(&mut rest, 4).try_into().unwrap());
            let offset = u64::from_ne_bytes(take(&mut rest, 8).try_into().unwrap());
            let data_len = u64::from_ne_bytes(take(&mut rest, 8).try_into().unwrap());
            let path = take(&mut rest, usize::try_from(path_len).unwrap());
            let path = PathBuf::from(std::str::from_utf8(path).unwrap());
            let data = take(&mut rest, usize::try_from(data_len).unwrap()).to_vec();
            let Ok(name) = path.strip_prefix(dir) else {
                continue;
            };
            let offset = usize::try_from(offset).unwrap();
            let what = match op {
                b'w' => What::Write { offset, data },
                b't' => What::Truncate(offset),
                b'c' => What::Create,
                b'u' => What::Remove,
                b's' => What::Sync,
                other => panic!("op {other}"),
            };
            let kept = name.to_str().unwrap();
            match (kept, &what) {
                (INTENDED, What::Write { data, .. }) => events.push(Event::Intended(number(data))),
                (ACKNOWLEDGED, What::Write { data, .. }) => {
                    events.push(Event::Acknowledged(number(data)));
                }
                // Shared memory means nothing after a crash; a lock ends with its holder.
                (INTENDED | ACKNOWLEDGED | "lock" | "im.db-shm", _) => {}
                _ => events.push(Event::Change(Change {
                    name: name.to_path_buf(),
                    what,
                })),
            }
        }
        Self { events }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(len);
    *rest = left;
    taken
}

fn number(data: &[u8]) -> u64 {
    u64::from_ne_bytes(data.try_into().unwrap())
}

/// Files as a power failure would find them.
#[derive(Default)]
pub(super) struct Disk {
    files: BTreeMap<PathBuf, Content>,
}

#[derive(Default)]
struct Content {
    /// Content at the last sync.
    synced: Vec<u8>,
    /// Changes since.
    pending: Vec<What>,
    /// Whether the name was there at the last sync of the directory.
    name_synced: bool,
    removed: bool,
}

impl Disk {
    pub(super) fn apply(&mut self, change: &Change) {
        let is_dir = change.name.as_os_str().is_empty();
        match &change.what {
            What::Sync if is_dir => {
                self.files.retain(|_, file| !file.removed);
                for file in self.files.values_mut() {
                    file.name_synced = true;
                }
            }
            What::Sync => {
                let file = self.files.entry(change.name.clone()).or_default();
                for what in std::mem::take(&mut file.pending) {
                    perform(&mut file.synced, &what);
                }
            }
            What::Create => {
                self.files.insert(change.name.clone(), Content::default());
            }
            What::Remove => {
                self.files.entry(change.name.clone()).or_default().removed = true;
            }
            what => {
                let file = self.files.entry(change.name.clone()).or_default();
                file.pending.push(what.clone());
            }
        }
    }

    /// Writes what is left after a failure now into a new directory.
    pub(super) fn after_power_failure(&self, random: &mut StdRng, dir: &Path) {
        std::fs::create_dir(dir).unwrap();
        for (name, file) in &self.files {
            let name_in_doubt = file.removed || !file.name_synced;
            if name_in_doubt && random.random_bool(0.5) {
                continue;
            }
            let mut content = file.synced.clone();
            let kept = random.random_range(0..=file.pending.len());
            // Either the first ones and a part of the next, or any.
            let any = random.random_bool(0.5);
            for (n, what) in file.pending.iter().enumerate() {
                if any && random.random_bool(0.5) {
                    perform(&mut content, &torn(what, random, 0.2));
                } else if !any && n < kept {
                    perform(&mut content, what);
                } else if !any && n == kept {
                    perform(&mut content, &torn(what, random, 1.0));
                }
            }
            std::fs::write(dir.join(name), content).unwrap();
        }
    }
}

fn torn(what: &What, random: &mut StdRng, probability: f64) -> What {
    match what {
        What::Write { offset, data } if random.random_bool(probability) => {
            let cut = random.random_range(0..=data.len());
            let data = data[..cut].to_vec();
            What::Write {
                offset: *offset,
                data,
            }
        }
        what => what.clone(),
    }
}

fn perform(content: &mut Vec<u8>, what: &What) {
    match what {
        What::Write { offset, data } if !data.is_empty() => {
            let end = offset + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(data);
        }
        What::Truncate(len) => content.resize(*len, 0),
        _ => {}
    }
}
