//! Importing a directory file: whole or not at all, in one transaction.

use std::collections::{HashMap, HashSet};

use im_core::UserId;
use im_core::time::UnixSeconds;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::SqliteStore;
use super::accounts::{profile, profile_columns};
use super::directory::next_stamp;
use super::rows::{json_array, number, text};
use crate::{
    AccountKind, DirectoryImport, FieldChange, ImportChange, ImportOutcome, ImportedUser,
    StoreError, UserProfile,
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

/// A user as the table holds him.
#[derive(Clone, PartialEq, Eq)]
struct Account {
    profile: UserProfile,
    hash: String,
}

impl SqliteStore {
    pub(super) async fn import_directory(
        &self,
        import: &DirectoryImport,
        rehearsal: bool,
    ) -> Result<ImportOutcome, StoreError> {
        let mut writer = self.inner.writer.lock().await?;
        let mut tx = writer.begin().await?;
        let existing = existing_accounts(&mut tx, &import.users).await?;
        let ids = match assign_ids(&mut tx, &import.users, &existing).await? {
            Ok(ids) => ids,
            Err(conflicts) => {
                return Ok(ImportOutcome {
                    conflicts,
                    ..ImportOutcome::default()
                });
            }
        };
        let mut departments = Departments::load(&mut tx).await?;
        let mut outcome = ImportOutcome::default();
        let mut changed = Vec::new();
        for (place, (user, id)) in import.users.iter().zip(ids).enumerate() {
            let department = match &user.department {
                Some(path) => Some(departments.id_of(path)?),
                None => None,
            };
            let old = existing.get(user.name.as_str());
            let new = wanted(user, id, department, old);
            if old == Some(&new) {
                outcome.unchanged += 1;
                continue;
            }
            match old {
                None => outcome.added += 1,
                Some(old) => {
                    outcome.updated += 1;
                    if old.profile.status == 0 && new.profile.status != 0 {
                        outcome.disabled.push(id);
                    }
                    if old.hash != new.hash {
                        sqlx::query(FORGET_FAILURES)
                            .bind(user.name.clone())
                            .execute(&mut *tx)
                            .await?;
                    }
                }
            }
            outcome.changes.push(ImportChange {
                place,
                added: old.is_none(),
                fields: differences(old, &new, &departments),
            });
            changed.push(new);
        }
        outcome.departments_added = u32::try_from(departments.added.len()).unwrap_or(u32::MAX);
        store(&mut tx, import.now, &departments, &changed).await?;
        if !rehearsal {
            let made = match (import.users.as_slice(), changed.as_slice()) {
                ([_], [one]) => one.profile.id.get(),
                _ => 0,
            };
            self.write_note(&mut tx, made.into()).await?;
            tx.commit().await?;
        }
        Ok(outcome)
    }
}

/// What is new of somebody. Hashes are not shown.
fn differences(
    old: Option<&Account>,
    new: &Account,
    departments: &Departments,
) -> Vec<FieldChange> {
    let values = |account: &Account| {
        let profile = &account.profile;
        let password = if account.hash.is_empty() { "" } else { "set" };
        [
            ("nick", profile.nick.clone()),
            ("sex", profile.sex.to_string()),
            ("department", departments.path_of(profile.department)),
            ("phone", profile.phone.clone()),
            ("email", profile.email.clone()),
            ("domain", profile.domain.clone()),
            ("avatar", profile.avatar.clone()),
            ("status", profile.status.to_string()),
            ("signature", profile.signature.clone()),
            ("password", password.to_owned()),
        ]
    };
    let nothing = || new_account(new.profile.id, &new.profile.name);
    let before = old.map_or_else(|| values(&nothing()), values);
    let mut fields = Vec::new();
    for ((field, before), (_, after)) in before.into_iter().zip(values(new)) {
        let is_new_hash = field == "password" && old.is_none_or(|old| old.hash != new.hash);
        if before != after || (is_new_hash && !after.is_empty()) {
            fields.push(FieldChange {
                field,
                before,
                after,
            });
        }
    }
    fields
}

/// Accounts with the names of the file.
async fn existing_accounts(
    connection: &mut SqliteConnection,
    users: &[ImportedUser],
) -> Result<HashMap<String, Account>, StoreError> {
    let mut existing = HashMap::new();
    for users in users.chunks(ROWS_AT_ONCE) {
        let text = statement(BY_NAMES, "(?)", users.len(), ")");
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for user in users {
            query = query.bind(user.name.clone());
        }
        for row in &query.fetch_all(&mut *connection).await? {
            let account = Account {
                profile: profile(row)?,
                hash: text_at_hash(row)?,
            };
            existing.insert(account.profile.name.clone(), account);
        }
    }
    Ok(existing)
}

/// Ids in file order, or why some cannot be given.
async fn assign_ids(
    connection: &mut SqliteConnection,
    users: &[ImportedUser],
    existing: &HashMap<String, Account>,
) -> Result<Result<Vec<UserId>, Vec<(usize, String)>>, StoreError> {
    let wanted = || users.iter().filter_map(|user| user.id);
    let rows = sqlx::query(NAMES_OF_IDS)
        .bind(json_array(wanted()))
        .fetch_all(&mut *connection)
        .await?;
    let mut owners = HashMap::new();
    for row in &rows {
        owners.insert(number(row, 0)?, text(row, 1)?);
    }
    let row = sqlx::query(GREATEST_ID).fetch_one(&mut *connection).await?;
    // New ids follow the greatest one known, so that those that the file names stay free.
    let mut greatest = number(&row, 0)?.max(wanted().max().unwrap_or(0));

    let mut ids = Vec::with_capacity(users.len());
    let mut conflicts = Vec::new();
    let mut names = HashSet::with_capacity(users.len());
    for (index, user) in users.iter().enumerate() {
        if !names.insert(user.name.as_str()) {
            conflicts.push((index, "the name occurs twice".to_owned()));
            continue;
        }
        let old = existing.get(&user.name).map(|account| &account.profile);
        if old.is_some_and(|old| old.kind != AccountKind::Person) {
            conflicts.push((index, "the name is that of a bot".to_owned()));
            continue;
        }
        let old = old.map(|old| old.id);
        let id = match (old, user.id) {
            (Some(old), None) => Some(old),
            (Some(old), Some(id)) if old.get() == id => Some(old),
            (Some(old), Some(id)) => {
                conflicts.push((index, format!("the id is {old}, not {id}")));
                continue;
            }
            (None, Some(id)) => {
                if let Some(owner) = owners.get(&id) {
                    conflicts.push((index, format!("the id {id} belongs to {owner}")));
                    continue;
                }
                owners.insert(id, user.name.clone());
                UserId::from_wire(id)
            }
            (None, None) => {
                greatest = greatest.saturating_add(1);
                UserId::from_wire(greatest).filter(|id| id.get() < u32::MAX)
            }
        };
        match id {
            Some(id) => ids.push(id),
            None => conflicts.push((index, "no id is left for it".to_owned())),
        }
    }
    Ok(if conflicts.is_empty() {
        Ok(ids)
    } else {
        Err(conflicts)
    })
}

/// The row that the file asks for.
fn wanted(
    user: &ImportedUser,
    id: UserId,
    department: Option<u32>,
    old: Option<&Account>,
) -> Account {
    let mut account = old.cloned().unwrap_or_else(|| new_account(id, &user.name));
    let profile = &mut account.profile;
    replace(&mut account.hash, user.hash.as_ref());
    replace(&mut profile.nick, user.nick.as_ref());
    replace(&mut profile.sex, user.sex.as_ref());
    replace(&mut profile.department, department.as_ref());
    replace(&mut profile.phone, user.phone.as_ref());
    replace(&mut profile.email, user.email.as_ref());
    replace(&mut profile.domain, user.domain.as_ref());
    replace(&mut profile.avatar, user.avatar.as_ref());
    replace(&mut profile.status, user.status.as_ref());
    replace(&mut profile.signature, user.signature.as_ref());
    account
}

/// A new account is active and, without a hash, cannot log in.
fn new_account(id: UserId, name: &str) -> Account {
    Account {
        profile: UserProfile {
            id,
            name: name.to_owned(),
            nick: name.to_owned(),
            sex: 0,
            department: 0,
            phone: String::new(),
            email: String::new(),
            domain: String::new(),
            avatar: String::new(),
            signature: String::new(),
            status: 0,
            kind: AccountKind::Person,
        },
        hash: String::new(),
    }
}

fn replace<T: Clone>(slot: &mut T, wanted: Option<&T>) {
    if let Some(wanted) = wanted {
        slot.clone_from(wanted);
    }
}

/// All departments by place, and those that the file adds.
struct Departments {
    ids: HashMap<(u32, String), u32>,
    /// Parent and name by id.
    places: HashMap<u32, (u32, String)>,
    removed: HashSet<u32>,
    /// Removed ones that somebody is put into.
    revived: Vec<u32>,
    greatest: u32,
    added: Vec<NewDepartment>,
}

struct NewDepartment {
    id: u32,
    parent: u32,
    name: String,
}

impl Departments {
    async fn load(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let mut departments = Self {
            ids: HashMap::new(),
            places: HashMap::new(),
            removed: HashSet::new(),
            revived: Vec::new(),
            greatest: 0,
            added: Vec::new(),
        };
        for row in &sqlx::query(DEPARTMENTS).fetch_all(connection).await? {
            let id = number(row, 0)?;
            let place = (number(row, 1)?, text(row, 2)?);
            departments.ids.insert(place.clone(), id);
            departments.places.insert(id, place);
            if number(row, 3)? != 0 {
                departments.removed.insert(id);
            }
            departments.greatest = departments.greatest.max(id);
        }
        Ok(departments)
    }

    /// The department at the end of a path of names, made with those above it when missing; 0 for an
    /// empty path.
    fn id_of(&mut self, path: &[String]) -> Result<u32, StoreError> {
        let mut parent = 0;
        for name in path {
            parent = match self.ids.get(&(parent, name.clone())) {
                Some(id) => *id,
                None => self.add(parent, name)?,
            };
            if self.removed.remove(&parent) {
                self.revived.push(parent);
            }
        }
        Ok(parent)
    }

    /// Names from the root, such as Company/Research.
    fn path_of(&self, mut id: u32) -> String {
        let mut names = Vec::new();
        while let Some((parent, name)) = self.places.get(&id)
            && names.len() < self.places.len()
        {
            names.push(name.as_str());
            id = *parent;
        }
        names.reverse();
        names.join("/")
    }

    fn add(&mut self, parent: u32, name: &str) -> Result<u32, StoreError> {
        let id = self
            .greatest
            .checked_add(1)
            .ok_or_else(|| StoreError::Corrupt("department ids are used up".into()))?;
        self.greatest = id;
        self.ids.insert((parent, name.to_owned()), id);
        self.places.insert(id, (parent, name.to_owned()));
        self.added.push(NewDepartment {
            id,
            parent,
            name: name.to_owned(),
        });
        Ok(id)
    }
}

/// Makes the department at the end of a path, with those above it that are missing; its id.
pub(super) async fn create_department(
    connection: &mut SqliteConnection,
    path: &[String],
    now: UnixSeconds,
) -> Result<u32, StoreError> {
    let mut departments = Departments::load(connection).await?;
    let id = departments.id_of(path)?;
    let is_new = departments.added.iter().any(|added| added.id == id);
    if !is_new && !departments.revived.contains(&id) {
        return Err(StoreError::Taken { what: "name" });
    }
    store(connection, now, &departments, &[]).await?;
    Ok(id)
}

async fn store(
    connection: &mut SqliteConnection,
    now: UnixSeconds,
    departments: &Departments,
    accounts: &[Account],
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
            for Account { profile, hash } in accounts {
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
