//! Who is who: the people and groups that a session knows, and how they are called.

use std::collections::BTreeMap;

use im_client::proto::base::{GroupInfo, UserInfo};

/// A name that does not lead to exactly one thing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("nobody is called {0}")]
    Nobody(String),
    #[error("no group is called {0}")]
    NoGroup(String),
    #[error("{name} may be {}", candidates.join(", "))]
    Ambiguous {
        name: String,
        candidates: Vec<String>,
    },
}

/// Employment status of people who left.
const LEFT: u32 = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct People {
    users: BTreeMap<u32, UserInfo>,
    groups: BTreeMap<u32, GroupInfo>,
}

impl People {
    pub(super) fn learn_users(&mut self, users: impl IntoIterator<Item = UserInfo>) {
        self.users
            .extend(users.into_iter().map(|user| (user.user_id, user)));
    }

    pub(super) fn learn_groups(&mut self, groups: impl IntoIterator<Item = GroupInfo>) {
        self.groups
            .extend(groups.into_iter().map(|group| (group.group_id, group)));
    }

    pub(super) fn forget_group(&mut self, id: u32) {
        self.groups.remove(&id);
    }

    pub(super) fn knows_user(&self, id: u32) -> bool {
        self.users.contains_key(&id)
    }

    pub(super) fn group(&self, id: u32) -> Option<&GroupInfo> {
        self.groups.get(&id)
    }

    /// Everybody who still works here, by id.
    pub(super) fn users(&self) -> impl Iterator<Item = &UserInfo> {
        self.users.values().filter(|user| user.status != LEFT)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupInfo> {
        self.groups.values()
    }

    /// What to call somebody; of two people with one nick each by the login name too.
    pub(super) fn user_name(&self, id: u32) -> String {
        let Some(user) = self.users.get(&id) else {
            return format!("#{id}");
        };
        let name = display_name(user);
        let others = self.users.values();
        let mut others = others.filter(|other| other.user_id != id);
        if others.any(|other| display_name(other) == name) {
            format!("{name} ({})", user.user_real_name)
        } else {
            name.to_owned()
        }
    }

    /// What to call a group.
    pub(super) fn group_name(&self, id: u32) -> String {
        match self.groups.get(&id) {
            Some(group) => group.group_name.clone(),
            None => format!("group #{id}"),
        }
    }

    /// The person whom a name means: `#ID`, a login name or nickname, or the beginning of one. Whoever
    /// has left is found when nobody who is there is meant.
    pub(super) fn find_user(&self, name: &str) -> Result<u32, NameError> {
        let find_among = |left: bool| {
            let users = self.users.values();
            let users = users.filter(move |user| (user.status == LEFT) == left);
            let named = users.map(|user| {
                let called = [user.user_real_name.as_str(), user.user_nick_name.as_str()];
                (user.user_id, called)
            });
            find(name, named, NameError::Nobody)
        };
        match find_among(false) {
            Err(NameError::Nobody(_)) => find_among(true),
            found => found,
        }
    }

    /// The group that a name means.
    pub(super) fn find_group(&self, name: &str) -> Result<u32, NameError> {
        let names = self.groups.values().map(|group| {
            let name = group.group_name.as_str();
            (group.group_id, [name, name])
        });
        find(name, names, NameError::NoGroup)
    }
}

fn display_name(user: &UserInfo) -> &str {
    if user.user_nick_name.is_empty() {
        &user.user_real_name
    } else {
        &user.user_nick_name
    }
}

fn find<'a>(
    name: &str,
    things: impl Iterator<Item = (u32, [&'a str; 2])>,
    missing: fn(String) -> NameError,
) -> Result<u32, NameError> {
    let wanted = name.to_lowercase();
    let wanted_id: Option<u32> = name.strip_prefix('#').and_then(|id| id.parse().ok());
    let mut exact = Vec::new();
    let mut beginning = Vec::new();
    for (id, names) in things {
        let lower = names.map(str::to_lowercase);
        if wanted_id == Some(id) {
            return Ok(id);
        }
        if lower.contains(&wanted) {
            exact.push((id, names));
        } else if lower.iter().any(|name| name.starts_with(&wanted)) {
            beginning.push((id, names));
        }
    }
    let found = if exact.is_empty() { beginning } else { exact };
    match found.as_slice() {
        [] => Err(missing(name.to_owned())),
        [(id, _)] => Ok(*id),
        several => Err(NameError::Ambiguous {
            name: name.to_owned(),
            candidates: several
                .iter()
                .take(8)
                .map(|(id, [first, _])| format!("{first} (#{id})"))
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> People {
        let mut people = People::default();
        let user = |user_id, login: &str, nick: &str, status| UserInfo {
            user_id,
            user_real_name: login.into(),
            user_nick_name: nick.into(),
            status,
            ..UserInfo::default()
        };
        people.learn_users([
            user(1, "bob", "Bob", 0),
            user(2, "bobby", "Robert", 0),
            user(3, "anna", "Anna K", 0),
            user(4, "anneli", "", 0),
            user(5, "zoe", "Zoe", LEFT),
        ]);
        people
    }

    #[test]
    fn an_exact_name_wins_over_beginnings() {
        assert_eq!(people().find_user("BOB"), Ok(1));
        assert_eq!(people().find_user("bobb"), Ok(2));
        assert_eq!(people().find_user("robert"), Ok(2));
        assert_eq!(people().find_user("#3"), Ok(3));
    }

    #[test]
    fn a_name_of_several_or_none_is_refused() {
        assert!(matches!(
            people().find_user("ann"),
            Err(NameError::Ambiguous { candidates, .. }) if candidates.len() == 2
        ));
        assert!(matches!(
            people().find_user("nobody"),
            Err(NameError::Nobody(_))
        ));
    }

    #[test]
    fn people_who_left_are_found_when_nobody_else_is_meant() {
        assert_eq!(people().find_user("zoe"), Ok(5));
        assert_eq!(people().find_user("#5"), Ok(5));
        assert!(people().users().all(|user| user.user_id != 5));
    }

    #[test]
    fn two_people_of_one_nick_are_told_apart() {
        let mut people = people();
        people.learn_users([UserInfo {
            user_id: 6,
            user_real_name: "bob2".into(),
            user_nick_name: "Bob".into(),
            ..UserInfo::default()
        }]);
        assert_eq!(people.user_name(1), "Bob (bob)");
        assert_eq!(people.user_name(6), "Bob (bob2)");
        assert_eq!(people.user_name(3), "Anna K");
    }

    #[test]
    fn people_without_nickname_are_called_by_login_name() {
        assert_eq!(people().user_name(4), "anneli");
        assert_eq!(people().user_name(99), "#99");
    }
}
