//! Directory reads and stamps.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MysqlStore;
use crate::accounts::{profile, profile_columns};
use crate::rows::{number, text, time};
use im_store::{
    DepartmentRecord, DirectoryEntry, DirectoryImport, DirectoryPage, DirectoryStore,
    ImportOutcome, StoreError,
};

const LAST_STAMP: &str = "SELECT value FROM meta WHERE name = 'directory_stamp'";
/// The same, locked up to the commit: nobody takes a stamp meanwhile.
pub(crate) const LOCK_STAMP: &str =
    "SELECT value FROM meta WHERE name = 'directory_stamp' FOR UPDATE";
const STAMP_BEFORE: &str = "SELECT coalesce(max(stamp), 0) FROM account WHERE stamp <= ?";
const SET_STAMP: &str = "UPDATE meta SET value = ? WHERE name = 'directory_stamp'";

/// After this stamp (0 = people who have left are not wanted) twice, rows.
const PAGE: &str = concat!(
    "SELECT ",
    profile_columns!(),
    ", stamp FROM account WHERE stamp > ? AND (? > 0 OR status <> 3)
      ORDER BY stamp, id LIMIT ?"
);
/// The rows of one stamp.
const ONE_STAMP: &str = concat!(
    "SELECT ",
    profile_columns!(),
    ", stamp FROM account WHERE (? > 0 OR status <> 3) AND stamp = ? ORDER BY id"
);
const ANY_AFTER: &str = "SELECT EXISTS
    (SELECT 1 FROM account WHERE (? > 0 OR status <> 3) AND stamp > ?)";
const DEPARTMENTS: &str = "SELECT id, parent, name, priority, status, stamp FROM department
    WHERE stamp > ? ORDER BY stamp, id";

#[async_trait]
impl DirectoryStore for MysqlStore {
    async fn users_since(
        &self,
        stamp: UnixSeconds,
        limit: u32,
    ) -> Result<DirectoryPage, StoreError> {
        let page = self
            .inner
            .readers
            .in_snapshot(async |reader| users_since(reader, stamp, limit.max(1)).await);
        page.await
    }

    async fn directory_stamp(&self) -> Result<UnixSeconds, StoreError> {
        let row = sqlx::query(LAST_STAMP)
            .fetch_one(&self.inner.readers)
            .await?;
        time(&row, 0)
    }

    async fn stamp_before(&self, stamp: UnixSeconds) -> Result<UnixSeconds, StoreError> {
        let row = sqlx::query(STAMP_BEFORE)
            .bind(stamp.get())
            .fetch_one(&self.inner.readers)
            .await?;
        time(&row, 0)
    }

    async fn departments_since(
        &self,
        stamp: UnixSeconds,
    ) -> Result<Vec<DepartmentRecord>, StoreError> {
        let rows = sqlx::query(DEPARTMENTS)
            .bind(stamp.get())
            .fetch_all(&self.inner.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(DepartmentRecord {
                    id: number(row, 0)?,
                    parent: number(row, 1)?,
                    name: text(row, 2)?,
                    priority: number(row, 3)?,
                    status: number(row, 4)?,
                    stamp: time(row, 5)?,
                })
            })
            .collect()
    }

    async fn import(&self, import: &DirectoryImport) -> Result<ImportOutcome, StoreError> {
        self.import_directory(import, false).await
    }

    async fn rehearse_import(&self, import: &DirectoryImport) -> Result<ImportOutcome, StoreError> {
        self.import_directory(import, true).await
    }
}

/// A page of people behind a stamp, all of one moment.
async fn users_since(
    reader: &mut MySqlConnection,
    stamp: UnixSeconds,
    limit: u32,
) -> Result<DirectoryPage, StoreError> {
    let rows = sqlx::query(PAGE)
        .bind(stamp.get())
        .bind(stamp.get())
        .bind(u64::from(limit) + 1)
        .fetch_all(&mut *reader)
        .await?;
    let mut users = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let full = usize::try_from(limit).is_ok_and(|limit| users.len() > limit);
    let (Some(first), Some(last)) = (users.first(), users.last()) else {
        return Ok(DirectoryPage { users, more: false });
    };
    if !full {
        return Ok(DirectoryPage { users, more: false });
    }
    // The last stamp may go on behind the limit: leave it to the next page, unless it is the
    // only one, which then comes whole.
    let (first, last) = (first.stamp, last.stamp);
    if first < last {
        users.retain(|user| user.stamp < last);
        return Ok(DirectoryPage { users, more: true });
    }
    let rows = sqlx::query(ONE_STAMP)
        .bind(stamp.get())
        .bind(first.get())
        .fetch_all(&mut *reader)
        .await?;
    let users = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let row = sqlx::query(ANY_AFTER)
        .bind(stamp.get())
        .bind(first.get())
        .fetch_one(&mut *reader)
        .await?;
    Ok(DirectoryPage {
        users,
        more: number(&row, 0)? != 0,
    })
}

/// Takes the stamp of a directory change in an open transaction: later than every stamp before.
pub(crate) async fn next_stamp(
    connection: &mut MySqlConnection,
    now: UnixSeconds,
) -> Result<UnixSeconds, StoreError> {
    let row = sqlx::query(LOCK_STAMP).fetch_one(&mut *connection).await?;
    let stamp = time(&row, 0)?.saturating_add(1).max(now);
    sqlx::query(SET_STAMP)
        .bind(stamp.get())
        .execute(connection)
        .await?;
    Ok(stamp)
}

fn entry(row: &MySqlRow) -> Result<DirectoryEntry, StoreError> {
    Ok(DirectoryEntry {
        profile: profile(row)?,
        stamp: time(row, 12)?,
    })
}
