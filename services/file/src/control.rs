//! What administrators see of a file server and may do there.

use std::sync::Arc;

use im_core::UserId;
use im_proto_rpc::v1::{DeleteFile, FilesAsk, MonitorFiles, WaitingFile};

use crate::hub::Hub;
use crate::id::FileId;
use crate::tasks::Search;

/// Files of one page, at most.
const PAGE: u32 = 1_000;

/// A handle to the files that wait at a server; clones are the same.
#[derive(Clone)]
pub struct Control {
    hub: Arc<Hub>,
}

/// A question that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The id of a file has another length.
    #[error("the id of a file has 16 bytes")]
    Id,
    /// A page has no rows, or too many.
    #[error("a page has 1 to {PAGE} files")]
    Limit,
}

impl Control {
    pub(crate) fn new(hub: &Arc<Hub>) -> Self {
        Self {
            hub: Arc::clone(hub),
        }
    }

    /// A page of the files that wait for their receivers.
    ///
    /// # Errors
    /// The question is out of bounds.
    pub fn files(&self, ask: &FilesAsk) -> Result<MonitorFiles, ControlError> {
        if !ask.id.is_empty() {
            let found = self.hub.found(id(&ask.id)?);
            return Ok(one(found));
        }
        if !(1..=PAGE).contains(&ask.limit) {
            return Err(ControlError::Limit);
        }
        let after = match ask.after.as_ref() {
            [] => None,
            after => Some(id(after)?),
        };
        let search = Search {
            after,
            from: UserId::from_wire(ask.from),
            to: UserId::from_wire(ask.to),
            limit: usize::try_from(ask.limit).unwrap_or(usize::MAX),
        };
        Ok(self.hub.search(&search))
    }

    /// Deletes a file: it is in no list any more, and whoever fetches it gets no further block.
    ///
    /// # Errors
    /// The question is out of bounds.
    pub fn delete(&self, order: &DeleteFile) -> Result<MonitorFiles, ControlError> {
        Ok(one(self.hub.delete_by_id(id(&order.id)?)))
    }
}

fn id(bytes: &[u8]) -> Result<FileId, ControlError> {
    let bytes = bytes.try_into().map_err(|_| ControlError::Id)?;
    Ok(FileId(bytes))
}

fn one(file: Option<WaitingFile>) -> MonitorFiles {
    MonitorFiles {
        files: file.into_iter().collect(),
        ..MonitorFiles::default()
    }
}
