//! Names with too many failed logins, and why logins were refused.

use im_accounts::names;
use im_proto_rpc::v1::{
    ClearLockReply, ClearLockRequest, ListLocksRequest, LockList, LockRecord, RefusalList,
    RefusalRecord,
};
use serde_json::json;

use super::cursor::{List, Listed};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::{AdminError, AdminService};

/// Locks in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 1_000,
    most: 10_000,
};

impl AdminService {
    /// Of one name, whether somebody has it or not, or of all.
    pub(super) async fn locks(&self, request: ListLocksRequest) -> Result<LockList, AdminError> {
        let limit = LIMITS.of(request.limit);
        let filters = [request.name.as_str()];
        let listed = Listed {
            list: List::Locks,
            filters: &filters,
        };
        let behind = self.cursors.read(listed, &request.cursor)?;
        let name = names::canonical(&request.name);
        let mut page = Page::new(limit);
        for failures in self.accounts.locks(&name, behind, limit + 1).await? {
            let record = LockRecord {
                ends: self.accounts.lock_ends(failures.newest).get(),
                name: failures.name,
                address: failures.address,
                failures: failures.count,
                newest: failures.newest.get(),
            };
            if !page.takes(failures.place, record) {
                break;
            }
        }
        let (locks, next) = self.end_page(listed, page);
        Ok(LockList { locks, next })
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
        let name = names::canonical(&request.name);
        if name.is_empty() {
            return Err(AdminError::Invalid("the name is missing".to_owned()));
        }
        let locks = self.accounts.locks(&name, None, LIMITS.most).await?;
        let locked = u64::try_from(locks.len()).unwrap_or(u64::MAX);
        let forgotten = if request.dry_run {
            locked
        } else {
            let changed = Changed::of(format!("name {name}"))
                .before(json!({ "locks": locked }))
                .after(json!({ "locks": 0 }))
                .answer(&ClearLockReply {
                    forgotten: u32::try_from(locked).unwrap_or(u32::MAX),
                });
            let store = self.noting(changed);
            self.accounts.unlock(store.as_ref(), &name).await?
        };
        Ok(ClearLockReply {
            forgotten: u32::try_from(forgotten).unwrap_or(u32::MAX),
        })
    }
}
