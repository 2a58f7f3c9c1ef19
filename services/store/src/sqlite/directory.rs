//! Directory reads and stamps.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::accounts::{profile, profile_columns};
use super::rows::{number, text, time};
use crate::{
    DepartmentRecord, DirectoryEntry, DirectoryImport, DirectoryPage, DirectoryStore,
    ImportOutcome, StoreError,
};

const LAST_STAMP: &str = "SELECT value FROM meta WHERE name = 'directory_stamp'";
const STAMP_BEFORE: &str = "SELECT coalesce(max(stamp), 0) FROM account WHERE stamp <= ?";
const SET_STAMP: &str = "UPDATE meta SET value = ? WHERE name = 'directory_stamp'";

/// ?1 after this stamp (0 = people who have left are not wanted), ?2 rows.
const PAGE: &str = concat!(
    "SELECT ",
    profile_columns!(),
    ", stamp FROM account WHERE stamp > ?1 AND (?1 > 0 OR status <> 3)
      ORDER BY stamp, id LIMIT ?2"
);
/// The rows of one stamp.
const ONE_STAMP: &str = concat!(
    "SELECT ",
    profile_columns!(),
    ", stamp FROM account WHERE stamp = ?2 AND (?1 > 0 OR status <> 3) ORDER BY id"
);
const ANY_AFTER: &str = "SELECT EXISTS
    (SELECT 1 FROM account WHERE stamp > ?2 AND (?1 > 0 OR status <> 3))";
const DEPARTMENTS: &str = "SELECT id, parent, name, priority, status, stamp FROM department
    WHERE stamp > ? ORDER BY stamp, id";

#[async_trait]
impl DirectoryStore for SqliteStore {
    async fn users_since(
        &self,
        stamp: UnixSeconds,
        limit: u32,
    ) -> Result<DirectoryPage, StoreError> {
        let limit = limit.max(1);
        let mut reader = self.inner.readers.begin().await?;
        let rows = sqlx::query(PAGE)
            .bind(i64::from(stamp))
            .bind(i64::from(limit) + 1)
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
            .bind(i64::from(stamp))
            .bind(i64::from(first))
            .fetch_all(&mut *reader)
            .await?;
        let users = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let row = sqlx::query(ANY_AFTER)
            .bind(i64::from(stamp))
            .bind(i64::from(first))
            .fetch_one(&mut *reader)
            .await?;
        Ok(DirectoryPage {
            users,
            more: number(&row, 0)? != 0,
        })
    }

    async fn directory_stamp(&self) -> Result<UnixSeconds, StoreError> {
        let row = sqlx::query(LAST_STAMP)
            .fetch_one(&self.inner.readers)
            .await?;
        time(&row, 0)
    }

    async fn stamp_before(&self, stamp: UnixSeconds) -> Result<UnixSeconds, StoreError> {
        let row = sqlx::query(STAMP_BEFORE)
            .bind(i64::from(stamp))
            .fetch_one(&self.inner.readers)
            .await?;
        time(&row, 0)
    }

    async fn departments_since(
        &self,
        stamp: UnixSeconds,
    ) -> Result<Vec<DepartmentRecord>, StoreError> {
        let rows = sqlx::query(DEPARTMENTS)
            .bind(i64::from(stamp))
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

/// Takes the stamp of a directory change in an open transaction: later than every stamp before.
pub(super) async fn next_stamp(
    connection: &mut SqliteConnection,
    now: UnixSeconds,
) -> Result<UnixSeconds, StoreError> {
    let row = sqlx::query(LAST_STAMP).fetch_one(&mut *connection).await?;
    let stamp = time(&row, 0)?.saturating_add(1).max(now);
    sqlx::query(SET_STAMP)
        .bind(i64::from(stamp))
        .execute(connection)
        .await?;
    Ok(stamp)
}

fn entry(row: &sqlx::sqlite::SqliteRow) -> Result<DirectoryEntry, StoreError> {
    Ok(DirectoryEntry {
        profile: profile(row)?,
        stamp: time(row, 12)?,
    })
}
