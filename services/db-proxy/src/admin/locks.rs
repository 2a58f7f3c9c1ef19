//! Names with too many failed logins, and why logins were refused.

use im_proto_rpc::v1::{
    ClearLockReply, ClearLockRequest, LockList, LockRecord, RefusalList, RefusalRecord,
};

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

    /// Of a name, whether somebody has it or not.
    pub(super) fn refusals(&self, name: &str) -> RefusalList {
        let refused = self.accounts.refusals(name).into_iter();
        RefusalList {
            refusals: refused
                .map(|refused| RefusalRecord {
                    time: refused.at.get(),
                    address: refused.address,
                    client_version: refused.client_version,
                    reason: refused.reason.text().to_owned(),
                })
                .collect(),
        }
    }

    /// Names that nobody has can be locked too.
    pub(super) async fn unlock(
        &self,
        request: ClearLockRequest,
    ) -> Result<ClearLockReply, AdminError> {
        let forgotten = if request.dry_run {
            let locks = self.accounts.locks().await?;
            let held = locks.iter().filter(|lock| lock.name == request.name);
            held.map(|_| 1_u64).sum()
        } else {
            self.accounts.unlock(&request.name).await?
        };
        Ok(ClearLockReply {
            forgotten: u32::try_from(forgotten).unwrap_or(u32::MAX),
        })
    }
}
