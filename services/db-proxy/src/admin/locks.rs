//! Names with too many failed logins.

use im_proto_rpc::v1::{ClearLockReply, ClearLockRequest, LockList, LockRecord};

use super::{AdminError, AdminService};

impl AdminService {
    pub(super) async fn locks(&self) -> Result<LockList, AdminError> {
        let failures = self.accounts.locks().await?;
        let locks = failures.into_iter().map(|failures| LockRecord {
            ends: self.accounts.lock_ends(failures.newest).get(),
            name: failures.name,
            address: failures.address,
            failures: failures.count,
            newest: failures.newest.get(),
        });
        Ok(LockList {
            locks: locks.collect(),
        })
    }

    /// Names that nobody has can be locked too.
    pub(super) async fn unlock(
        &self,
        request: ClearLockRequest,
    ) -> Result<ClearLockReply, AdminError> {
        let forgotten = self.accounts.unlock(&request.name).await?;
        Ok(ClearLockReply {
            forgotten: u32::try_from(forgotten).unwrap_or(u32::MAX),
        })
    }
}
