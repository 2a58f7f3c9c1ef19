//! People as administrators see them.

use std::collections::HashMap;

use im_accounts::ACTIVE;
use im_proto_rpc::v1::UserRecord;
use im_store::{ImportedUser, UserProfile};

use super::rows::{sex_word, status_word};

/// Departments above one another that a path shows.
const MAX_DEPTH: usize = 32;

/// Somebody new as they would be; the id is 0 where none is asked for.
pub(super) fn would_be(user: &ImportedUser) -> UserRecord {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    UserRecord {
        id: user.id.unwrap_or(0),
        name: user.name.clone(),
        nick: user.nick.clone().unwrap_or_else(|| user.name.clone()),
        status: status_word(user.status.unwrap_or(ACTIVE)).to_owned(),
        department: user.department.clone().unwrap_or_default().join("/"),
        sex: user.sex.unwrap_or(0),
        phone: text(&user.phone),
        email: text(&user.email),
        domain: text(&user.domain),
        avatar: text(&user.avatar),
        signature: text(&user.signature),
        department_id: 0,
    }
}

pub(super) fn record(
    profile: UserProfile,
    departments: &HashMap<u32, (u32, String)>,
) -> UserRecord {
    UserRecord {
        id: profile.id.get(),
        name: profile.name,
        nick: profile.nick,
        status: status_word(profile.status).to_owned(),
        department: path(profile.department, departments),
        sex: profile.sex,
        phone: profile.phone,
        email: profile.email,
        domain: profile.domain,
        avatar: profile.avatar,
        signature: profile.signature,
        department_id: profile.department,
    }
}

pub(super) fn path(mut id: u32, departments: &HashMap<u32, (u32, String)>) -> String {
    let mut names = Vec::new();
    while let Some((parent, name)) = departments.get(&id)
        && names.len() < MAX_DEPTH
    {
        names.push(name.as_str());
        id = *parent;
    }
    names.reverse();
    names.join("/")
}

/// Fields of a person, under the names of a file's columns.
pub(super) fn fields(user: &UserRecord) -> [(&'static str, &str); 9] {
    [
        ("nick", &user.nick),
        ("sex", sex_word(user.sex)),
        ("department", &user.department),
        ("phone", &user.phone),
        ("email", &user.email),
        ("domain", &user.domain),
        ("avatar", &user.avatar),
        ("status", &user.status),
        ("signature", &user.signature),
    ]
}
