//! What an import asks for, apart from any database: who gets which id, what changes, which departments are made.

use std::collections::{HashMap, HashSet};

use im_core::UserId;

use crate::{
    AccountKind, DirectoryImport, FieldChange, ImportChange, ImportOutcome, ImportedUser,
    StoreError, UserProfile,
};

/// A user as the table holds him.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportedAccount {
    /// What everybody sees.
    pub profile: UserProfile,
    /// As [`crate::Credentials::hash`]; empty without a password.
    pub hash: String,
}

/// Ids that are not free.
#[derive(Debug, Default)]
pub struct KnownIds {
    /// Login names by id, of the ids that a file names.
    pub owners: HashMap<u32, String>,
    /// The greatest one in use.
    pub greatest: u32,
}

/// What an import changes.
pub struct ImportPlan {
    /// What is told of it.
    pub outcome: ImportOutcome,
    /// Rows to write.
    pub changed: Vec<ImportedAccount>,
    /// Names that get another password: their failed logins are forgotten.
    pub new_passwords: Vec<String>,
}

impl ImportPlan {
    /// What a file asks for. `existing` has the accounts of its names.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when ids of departments are used up.
    pub fn of(
        import: &DirectoryImport,
        mut known: KnownIds,
        existing: &HashMap<String, ImportedAccount>,
        departments: &mut Departments,
    ) -> Result<Self, StoreError> {
        let mut plan = Self {
            outcome: ImportOutcome::default(),
            changed: Vec::new(),
            new_passwords: Vec::new(),
        };
        let outcome = &mut plan.outcome;
        let ids = match assign_ids(&mut known, &import.users, existing) {
            Ok(ids) => ids,
            Err(conflicts) => {
                outcome.conflicts = conflicts;
                return Ok(plan);
            }
        };
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
                        plan.new_passwords.push(user.name.clone());
                    }
                }
            }
            outcome.changes.push(ImportChange {
                place,
                added: old.is_none(),
                fields: differences(old, &new, departments),
            });
            plan.changed.push(new);
        }
        outcome.departments_added = u32::try_from(departments.added.len()).unwrap_or(u32::MAX);
        Ok(plan)
    }

    /// Id of the one person that the file is about, who has changed; 0 for others.
    pub fn made(&self, import: &DirectoryImport) -> u32 {
        match (import.users.as_slice(), self.changed.as_slice()) {
            ([_], [one]) => one.profile.id.get(),
            _ => 0,
        }
    }
}

/// Ids in file order, or why some cannot be given.
fn assign_ids(
    known: &mut KnownIds,
    users: &[ImportedUser],
    existing: &HashMap<String, ImportedAccount>,
) -> Result<Vec<UserId>, Vec<(usize, String)>> {
    let owners = &mut known.owners;
    // New ids follow the greatest one known, so that those that the file names stay free.
    let wanted = users.iter().filter_map(|user| user.id);
    let mut greatest = known.greatest.max(wanted.max().unwrap_or(0));
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
    if conflicts.is_empty() {
        Ok(ids)
    } else {
        Err(conflicts)
    }
}

/// What is new of somebody. Hashes are not shown.
fn differences(
    old: Option<&ImportedAccount>,
    new: &ImportedAccount,
    departments: &Departments,
) -> Vec<FieldChange> {
    let values = |account: &ImportedAccount| {
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

/// The row that the file asks for.
fn wanted(
    user: &ImportedUser,
    id: UserId,
    department: Option<u32>,
    old: Option<&ImportedAccount>,
) -> ImportedAccount {
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
fn new_account(id: UserId, name: &str) -> ImportedAccount {
    ImportedAccount {
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
#[derive(Debug, Default)]
pub struct Departments {
    ids: HashMap<(u32, String), u32>,
    /// Parent and name by id.
    places: HashMap<u32, (u32, String)>,
    removed: HashSet<u32>,
    /// Removed ones that somebody is put into.
    pub revived: Vec<u32>,
    greatest: u32,
    /// New ones, parents first.
    pub added: Vec<NewDepartment>,
}

/// A department that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDepartment {
    /// Its id.
    pub id: u32,
    /// That of the one above it, 0 for none.
    pub parent: u32,
    /// Its name.
    pub name: String,
}

impl Departments {
    /// From the rows of the table: id, parent, name, and whether it was removed.
    pub fn new(rows: impl IntoIterator<Item = (u32, u32, String, bool)>) -> Self {
        let mut departments = Self::default();
        for (id, parent, name, is_removed) in rows {
            let place = (parent, name);
            departments.ids.insert(place.clone(), id);
            departments.places.insert(id, place);
            if is_removed {
                departments.removed.insert(id);
            }
            departments.greatest = departments.greatest.max(id);
        }
        departments
    }

    /// Whether it was made or came back since.
    pub fn is_made(&self, id: u32) -> bool {
        self.added.iter().any(|added| added.id == id) || self.revived.contains(&id)
    }

    /// The department at the end of a path of names, made with those above it when missing; 0 for an
    /// empty path.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when ids are used up.
    pub fn id_of(&mut self, path: &[String]) -> Result<u32, StoreError> {
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
