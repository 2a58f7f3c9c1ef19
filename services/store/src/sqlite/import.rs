//! Importing a directory file: whole or not at all, in one transaction.

use std::collections::HashMap;

use im_core::time::UnixSeconds;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::SqliteStore;
use super::accounts::{profile, profile_columns};
use super::directory::next_stamp;
use super::rows::{json_array, number, text};
use crate::{
    Departments, DirectoryImport, ImportOutcome, ImportPlan, ImportedAccount, ImportedUser,
    KnownIds, StoreError,
};

/// Changed users or departments that share a stamp: clients fetch pages that end between stamps.
const ROWS_PER_STAMP: usize = 1000;
/// Rows per statement: 256 × 14 = 3,584 bound values of the 32,766 that SQLite takes.
const ROWS_AT_ONCE: usize = 256;

const BY_NAMES: &str = concat!(
    "SELECT ",
    profile_columns!(),
    ", hash FROM account WHERE name IN (VALUES "
);
const NAMES_OF_IDS: &str =
    "SELECT id, name FROM account WHERE id IN (SELECT value FROM json_each(?))";
const GREATEST_ID: &str = "SELECT coalesce(max(id), 0) FROM account";
const DEPARTMENTS: &str = "SELECT id, parent, name, status FROM department";
/// A department that was removed comes back when somebody is put into it.
const REVIVE_DEPARTMENT: &str = "UPDATE department SET status = 0, stamp = ? WHERE id = ?";
const INSERT_DEPARTMENT: &str = "INSERT INTO department
    (id, parent, name, priority, status, stamp) VALUES (?1, ?2, ?3, ?1, 0, ?4)";
const UPSERT: &str = concat!(
    "INSERT INTO account (",
    profile_columns!(),
    ", hash, stamp) VALUES "
);
const OR_UPDATE: &str = " ON CONFLICT (id) DO UPDATE SET nick = excluded.nick, sex = excluded.sex,
    department = excluded.department, phone = excluded.phone, email = excluded.email,
    domain = excluded.domain, avatar = excluded.avatar, signature = excluded.signature,
    status = excluded.status, hash = excluded.hash, stamp = excluded.stamp,
    remembered = CASE WHEN account.hash = excluded.hash AND account.status = excluded.status
                      THEN account.remembered END";
const FORGET_FAILURES: &str = "DELETE FROM login_failure WHERE name = ?";

impl SqliteStore {
    pub(super) async fn import_directory(
        &self,
        import: &DirectoryImport,
        rehearsal: bool,
    ) -> Result<ImportOutcome, StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        let existing = existing_accounts(&mut tx, &import.users).await?;
        let known = known_ids(&mut tx, &import.users).await?;
        let mut departments = departments(&mut tx).await?;
        let plan = ImportPlan::of(import, known, &existing, &mut departments)?;
        if !plan.outcome.conflicts.is_empty() {
            return Ok(plan.outcome);
        }
        for name in &plan.new_passwords {
            sqlx::query(FORGET_FAILURES)
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        store(&mut tx, import.now, &departments, &plan.changed).await?;
        if !rehearsal {
            self.write_note(&mut tx, plan.made(import).into()).await?;
            tx.commit().await?;
        }
        Ok(plan.outcome)
    }
}

/// Accounts with the names of the file.
async fn existing_accounts(
    connection: &mut SqliteConnection,
    users: &[ImportedUser],
) -> Result<HashMap<String, ImportedAccount>, StoreError> {
    let mut existing = HashMap::new();
    for users in users.chunks(ROWS_AT_ONCE) {
        let text = statement(BY_NAMES, "(?)", users.len(), ")");
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for user in users {
            query = query.bind(user.name.clone());
        }
        for row in &query.fetch_all(&mut *connection).await? {
            let account = ImportedAccount {
                profile: profile(row)?,
                hash: text_at_hash(row)?,
            };
            existing.insert(account.profile.name.clone(), account);
        }
    }
    Ok(existing)
}

async fn known_ids(
    connection: &mut SqliteConnection,
    users: &[ImportedUser],
) -> Result<KnownIds, StoreError> {
    let rows = sqlx::query(NAMES_OF_IDS)
        .bind(json_array(users.iter().filter_map(|user| user.id)))
        .fetch_all(&mut *connection)
        .await?;
    let mut owners = HashMap::new();
    for row in &rows {
        owners.insert(number(row, 0)?, text(row, 1)?);
    }
    let row = sqlx::query(GREATEST_ID).fetch_one(connection).await?;
    let greatest = number(&row, 0)?;
    Ok(KnownIds { owners, greatest })
}

async fn departments(connection: &mut SqliteConnection) -> Result<Departments, StoreError> {
    let rows = sqlx::query(DEPARTMENTS).fetch_all(connection).await?;
    let department = |row| {
        Ok((
            number(row, 0)?,
            number(row, 1)?,
            text(row, 2)?,
            number(row, 3)? != 0,
        ))
    };
    let rows = rows
        .iter()
        .map(department)
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Departments::new(rows))
}

/// Makes the department at the end of a path, with those above it that are missing; its id.
pub(super) async fn create_department(
    connection: &mut SqliteConnection,
    path: &[String],
    now: UnixSeconds,
) -> Result<u32, StoreError> {
    let mut departments = departments(connection).await?;
    let id = departments.id_of(path)?;
    if !departments.is_made(id) {
        return Err(StoreError::Taken { what: "name" });
    }
    store(connection, now, &departments, &[]).await?;
    Ok(id)
}

async fn store(
    connection: &mut SqliteConnection,
    now: UnixSeconds,
    departments: &Departments,
    accounts: &[ImportedAccount],
) -> Result<(), StoreError> {
    let Departments { added, revived, .. } = departments;
    if added.is_empty() && revived.is_empty() && accounts.is_empty() {
        return Ok(());
    }
    let mut stamp = next_stamp(connection, now).await?;
    for id in revived {
        sqlx::query(REVIVE_DEPARTMENT)
            .bind(i64::from(stamp))
            .bind(i64::from(*id))
            .execute(&mut *connection)
            .await?;
    }
    for (index, department) in added.iter().enumerate() {
        if index > 0 && index % ROWS_PER_STAMP == 0 {
            stamp = next_stamp(connection, now).await?;
        }
        sqlx::query(INSERT_DEPARTMENT)
            .bind(i64::from(department.id))
            .bind(i64::from(department.parent))
            .bind(department.name.clone())
            .bind(i64::from(stamp))
            .execute(&mut *connection)
            .await?;
    }
    for (index, accounts) in accounts.chunks(ROWS_PER_STAMP).enumerate() {
        if index > 0 {
            stamp = next_stamp(connection, now).await?;
        }
        for accounts in accounts.chunks(ROWS_AT_ONCE) {
            let text = statement(
                UPSERT,
                "(?,?,?,?,?,?,?,?,?,?,?,0,?,?)",
                accounts.len(),
                OR_UPDATE,
            );
            let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
            for ImportedAccount { profile, hash } in accounts {
                query = query
                    .bind(i64::from(profile.id.get()))
                    .bind(profile.name.clone())
                    .bind(profile.nick.clone())
                    .bind(i64::from(profile.sex))
                    .bind(i64::from(profile.department))
                    .bind(profile.phone.clone())
                    .bind(profile.email.clone())
                    .bind(profile.domain.clone())
                    .bind(profile.avatar.clone())
                    .bind(profile.signature.clone())
                    .bind(i64::from(profile.status))
                    .bind(hash.clone())
                    .bind(i64::from(stamp));
            }
            query.execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// A statement with a number of equal rows, built from constants only.
fn statement(head: &str, row: &str, rows: usize, tail: &str) -> String {
    let mut sql = String::with_capacity(head.len() + rows * (row.len() + 1) + tail.len());
    sql.push_str(head);
    for index in 0..rows {
        if index > 0 {
            sql.push(',');
        }
        sql.push_str(row);
    }
    sql.push_str(tail);
    sql
}

fn text_at_hash(row: &sqlx::sqlite::SqliteRow) -> Result<String, StoreError> {
    Ok(row.try_get("hash")?)
}
