//! People, departments, links and groups.

use std::collections::{HashMap, HashSet};

use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, UserId};
use im_store::{
    AccountKind, ConversationRow, DepartmentRecord, DiscoveryItem, GroupRecord, GroupType,
    TransferBatch, TransferredAccount, TransferredGroup, UserProfile,
};

use crate::MigrateError;
use crate::import::Target;
use crate::judge::Judge;
use crate::oddities::{Oddities, OddityKind};
use crate::report::Counts;
use crate::source::{DepartmentSource, GroupSource, Source, UserSource};

/// Hexadecimal digits of a password.
const DIGITS: usize = 32;

/// Reads all of them, and writes them if there is a target. `judge` knows afterwards who is there.
pub(crate) async fn run(
    source: &mut Source,
    mut target: Option<&mut Target<'_>>,
    avatar_base: Option<&str>,
    judge: &mut Judge,
    counts: &mut Counts,
) -> Result<HashSet<u32>, MigrateError> {
    let departments = departments(source.departments().await?, &mut judge.oddities);
    let known: HashSet<u32> = departments.iter().map(|one| one.id).collect();
    counts.departments = count(&departments);
    let items = source.items().await?;
    counts.discovery_items = count(&items);
    let items = items.into_iter().map(|item| {
        let (name, url, priority) = (item.name, item.url, item.priority);
        (
            item.id,
            DiscoveryItem {
                name,
                url,
                priority,
            },
        )
    });
    let batch = TransferBatch {
        departments,
        discovery_items: items.collect(),
        ..TransferBatch::default()
    };
    write(&mut target, batch).await?;

    let keepers: HashMap<String, u32> = source.doubled_names().await?.into_iter().collect();
    let accounts = Accounts {
        keepers,
        departments: known,
        avatar_base,
    };
    let mut after = 0;
    loop {
        let users = source.users(after).await?;
        let Some(last) = users.last() else { break };
        after = last.id;
        judge.known.users.extend(users.iter().map(|user| user.id));
        let users = users.into_iter();
        let made = users.filter_map(|user| accounts.account(user, &mut judge.oddities));
        let accounts: Vec<_> = made.collect();
        counts.accounts += count(&accounts);
        let batch = TransferBatch {
            accounts,
            ..TransferBatch::default()
        };
        write(&mut target, batch).await?;
    }

    let mut removed = HashSet::new();
    let mut after = 0;
    loop {
        let groups = source.groups(after).await?;
        let Some(last) = groups.last() else { break };
        after = last.id;
        judge
            .known
            .groups
            .extend(groups.iter().map(|group| group.id));
        let gone = groups.iter().filter(|group| group.status != 0);
        removed.extend(gone.map(|group| group.id));
        let groups = groups.into_iter();
        let made = groups.filter_map(|one| group(one, avatar_base, &mut judge.oddities));
        let mut groups: Vec<_> = made.collect();
        counts.groups += count(&groups);
        if let Some(target) = &mut target {
            target.give_rows(&mut groups).await?;
        }
        let batch = TransferBatch {
            groups,
            ..TransferBatch::default()
        };
        write(&mut target, batch).await?;
    }
    Ok(removed)
}

async fn write(
    target: &mut Option<&mut Target<'_>>,
    batch: TransferBatch,
) -> Result<(), MigrateError> {
    match target {
        Some(target) => target.transfer(batch).await,
        None => Ok(()),
    }
}

pub(crate) fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// Departments as ours: no two of one name at one place, none below one that is missing.
fn departments(rows: Vec<DepartmentSource>, oddities: &mut Oddities) -> Vec<DepartmentRecord> {
    let ids: HashSet<u32> = rows.iter().map(|row| row.id).collect();
    let mut places = HashSet::new();
    let mut made = Vec::with_capacity(rows.len());
    for row in rows {
        let DepartmentSource { id, mut name, .. } = row;
        let mut parent = row.parent;
        let here = || format!("IMDepart row {id}");
        if parent == id || (parent != 0 && !ids.contains(&parent)) {
            oddities.note(OddityKind::LostDepartment, here);
            parent = 0;
        }
        if !places.insert((parent, name.clone())) {
            oddities.note(OddityKind::SameDepartment, here);
            name = format!("{name}#{id}");
            places.insert((parent, name.clone()));
        }
        made.push(DepartmentRecord {
            id,
            parent,
            name,
            priority: row.priority,
            status: u32::from(row.status != 0),
            stamp: UnixSeconds::default(),
        });
    }
    made
}

struct Accounts<'a> {
    /// Of names that several have, who keeps it.
    keepers: HashMap<String, u32>,
    departments: HashSet<u32>,
    avatar_base: Option<&'a str>,
}

impl Accounts<'_> {
    fn account(&self, user: UserSource, oddities: &mut Oddities) -> Option<TransferredAccount> {
        let id = UserId::from_wire(user.id)?;
        let here = || format!("IMUser row {id}");
        let mut name = user.name.trim().to_owned();
        if name.is_empty() {
            oddities.note(OddityKind::NoName, here);
            name = format!("user#{id}");
        } else if self
            .keepers
            .get(&name)
            .is_some_and(|keeper| *keeper != id.get())
        {
            oddities.note(OddityKind::SameName, || format!("{} ({name})", here()));
            name = format!("{name}#{id}");
        }
        let hash = hash(&user.password, &user.salt).unwrap_or_else(|| {
            oddities.note(OddityKind::NoPassword, here);
            String::new()
        });
        if user.department != 0 && !self.departments.contains(&user.department) {
            oddities.note(OddityKind::UnknownDepartment, here);
        }
        Some(TransferredAccount {
            profile: UserProfile {
                id,
                name,
                nick: user.nick,
                sex: user.sex,
                department: user.department,
                phone: user.phone,
                email: user.email,
                domain: user.domain,
                avatar: avatar(user.avatar, self.avatar_base, oddities, &here),
                signature: user.signature,
                status: user.status,
                kind: AccountKind::Person,
            },
            hash,
            push_shield: user.push_shield,
        })
    }
}

/// A password as the original stores it, the MD5 of the client's digest and a salt, as ours; the first login makes a better
/// one of it.
fn hash(password: &str, salt: &str) -> Option<String> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_ours = password.len() == DIGITS && password.bytes().all(is_hex) && !salt.contains('$');
    is_ours.then(|| format!("$teamtalk${salt}${password}"))
}

/// Clients use it as a URL as it stands.
fn avatar(
    avatar: String,
    base: Option<&str>,
    oddities: &mut Oddities,
    here: &dyn Fn() -> String,
) -> String {
    if avatar.is_empty() || avatar.contains("://") {
        return avatar;
    }
    match base {
        Some(base) => format!(
            "{}/{}",
            base.trim_end_matches('/'),
            avatar.trim_start_matches('/')
        ),
        None => {
            oddities.note(OddityKind::RelativeAvatar, here);
            avatar
        }
    }
}

fn group(
    row: GroupSource,
    avatar_base: Option<&str>,
    oddities: &mut Oddities,
) -> Option<TransferredGroup> {
    let id = GroupId::from_wire(row.id)?;
    let here = || format!("IMGroup row {id}");
    if row.status != 0 {
        oddities.note(OddityKind::RemovedGroup, here);
    }
    let group_type = match row.group_type {
        1 => GroupType::Normal,
        2 => GroupType::Temporary,
        _ => {
            oddities.note(OddityKind::GroupType, here);
            GroupType::Temporary
        }
    };
    Some(TransferredGroup {
        record: GroupRecord {
            id,
            name: row.name,
            avatar: avatar(row.avatar, avatar_base, oddities, &here),
            creator: UserId::from_wire(row.creator),
            group_type,
            version: row.version.max(1),
        },
        // Given when it is written.
        row: ConversationRow(0),
        created: UnixSeconds::from_wire(row.created),
        updated: UnixSeconds::from_wire(row.updated.max(row.created)),
    })
}

/// The conversation of a group that is taken over.
pub(crate) fn conversation(group: &TransferredGroup) -> Conversation {
    Conversation::Group(group.record.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_if_it_is_of_the_original_form() {
        let md5 = "4e66e8c029d64e67f7aadf045ca45851";
        assert_eq!(hash(md5, "1234").unwrap(), format!("$teamtalk$1234${md5}"));
        for (password, salt) in [
            (md5, "1$2"),
            ("", "1"),
            ("4E66E8C029D64E67F7AADF045CA45851", "1"),
            ("21232f297a57a5a743894a0e4a801f", "1"),
        ] {
            assert_eq!(hash(password, salt), None, "{password}");
        }
    }

    #[test]
    fn names_are_ones_own_and_avatars_have_a_host() {
        let mut oddities = Oddities::default();
        let accounts = Accounts {
            keepers: HashMap::from([("ann".to_owned(), 2)]),
            departments: HashSet::from([1]),
            avatar_base: Some("http://pictures/"),
        };
        let mut name = |id, name: &str| {
            let user = UserSource {
                id,
                name: name.to_owned(),
                avatar: "/g0/000/a.png".to_owned(),
                department: id,
                ..UserSource::default()
            };
            let made = accounts.account(user, &mut oddities).unwrap();
            assert_eq!(made.profile.avatar, "http://pictures/g0/000/a.png");
            made.profile.name
        };
        assert_eq!(name(1, " ann "), "ann#1");
        assert_eq!(name(2, "ann"), "ann");
        assert_eq!(name(3, "李雷 👩‍💻"), "李雷 👩‍💻");
        assert_eq!(name(4, "  "), "user#4");
        for (kind, count) in [
            (OddityKind::SameName, 1),
            (OddityKind::NoName, 1),
            (OddityKind::NoPassword, 4),
            (OddityKind::UnknownDepartment, 3),
            (OddityKind::RelativeAvatar, 0),
        ] {
            assert_eq!(oddities.count(kind), count, "{kind:?}");
        }
    }

    #[test]
    fn departments_have_a_place_and_a_name_of_their_own() {
        let row = |id, parent, name: &str, status| DepartmentSource {
            id,
            parent,
            priority: id,
            status,
            name: name.to_owned(),
        };
        let mut oddities = Oddities::default();
        let rows = vec![
            row(1, 0, "a", 0),
            row(2, 0, "a", 1),
            row(3, 9, "b", 0),
            row(4, 4, "c", 7),
        ];
        let made = departments(rows, &mut oddities);
        let places: Vec<_> = made
            .iter()
            .map(|one| (one.parent, one.name.as_str(), one.status))
            .collect();
        assert_eq!(
            places,
            [(0, "a", 0), (0, "a#2", 1), (0, "b", 0), (0, "c", 1)]
        );
        assert_eq!(oddities.count(OddityKind::LostDepartment), 2);
        assert_eq!(oddities.count(OddityKind::SameDepartment), 1);
    }
}
