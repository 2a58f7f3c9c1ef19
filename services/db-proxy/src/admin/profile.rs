//! A person changed field by field.

use im_accounts::ACTIVE;
use im_core::text::{first_unseen, unseen_kind};
use im_proto_rpc::v1::{DirectoryRow, UpdateUserRequest, UserRecord};
use im_store::{ImportedUser, UserProfile};
use im_writer::Publication;
use serde_json::{Map, Value};

use super::notes::Changed;
use super::records::{fields, record};
use super::rows::Rows;
use super::sessions::kick_everywhere;
use super::{AdminError, AdminService};

impl AdminService {
    /// Clients learn of it as of every change of the directory. Whoever is not active any more loses
    /// their sessions.
    pub(super) async fn update_person(
        &self,
        request: UpdateUserRequest,
    ) -> Result<UserRecord, AdminError> {
        // Nobody gives them another name meanwhile.
        let _changing = self.changing.lock().await;
        let old = self.person_or_id(&request.name, request.id).await?;
        let dry_run = request.dry_run;
        let wanted = self.wanted(&old, request)?;
        let departments = self.departments().await?;
        let department = match &wanted.department {
            None => old.department,
            Some(path) if path.is_empty() => 0,
            Some(path) => self.tree().await?.find(&path.join("/"))?,
        };
        let new = after(&old, &wanted, department);
        let (was, is) = (
            record(old.clone(), &departments),
            record(new.clone(), &departments),
        );
        if dry_run {
            return Ok(was);
        }
        let (before, after) = differences(&was, &is);
        let changed = Changed::of(format!("user {}", old.name))
            .before(before)
            .after(after)
            .answer(&is);
        self.put(wanted, false, changed).await?;
        if old.status == ACTIVE && new.status != ACTIVE {
            self.publisher
                .publish(vec![Publication::Kick(kick_everywhere(new.id))]);
        }
        Ok(is)
    }

    /// What the request wants of somebody, judged as a line of a file is.
    fn wanted(
        &self,
        old: &UserProfile,
        request: UpdateUserRequest,
    ) -> Result<ImportedUser, AdminError> {
        for (name, field) in [("nick", &request.nick), ("status", &request.status)] {
            if field.as_ref().is_some_and(|text| text.trim().is_empty()) {
                return Err(AdminError::Invalid(format!("the {name} is empty")));
            }
        }
        if let Some(path) = &request.department
            && let Some((_, c)) = first_unseen(path, true)
        {
            let (code, kind) = (u32::from(c), unseen_kind(c));
            return Err(AdminError::Invalid(format!(
                "department has U+{code:04X}, {kind}"
            )));
        }
        let emptied = |field: &Option<String>| {
            let is_emptied = field.as_ref().is_some_and(|text| text.trim().is_empty());
            is_emptied.then(String::new)
        };
        let UpdateUserRequest {
            nick,
            sex,
            department,
            phone,
            email,
            domain,
            avatar,
            status,
            signature,
            ..
        } = request;
        // A line's empty field is one that is not given.
        let empty = [&phone, &email, &domain, &avatar, &signature].map(emptied);
        let leaves = department
            .as_ref()
            .is_some_and(|path| path.trim().is_empty());
        let mut rows = Rows::new(&self.config.accounts, &self.config.answers);
        rows.push(DirectoryRow {
            name: old.name.clone(),
            nick,
            sex,
            department,
            phone,
            email,
            domain,
            avatar,
            status,
            signature,
            ..DirectoryRow::default()
        });
        if let Some(error) = rows.errors.first() {
            return Err(AdminError::Invalid(error.message.clone()));
        }
        let line = rows.lines.pop();
        let user = line.ok_or_else(|| AdminError::Invalid("nothing is wanted".to_owned()))?;
        let [phone, email, domain, avatar, signature] = empty;
        let judged = user.user;
        Ok(ImportedUser {
            id: Some(old.id.get()),
            // As it is stored, whatever form of it a line would have.
            name: old.name.clone(),
            department: judged.department.or_else(|| leaves.then(Vec::new)),
            phone: judged.phone.or(phone),
            email: judged.email.or(email),
            domain: judged.domain.or(domain),
            avatar: judged.avatar.or(avatar),
            signature: judged.signature.or(signature),
            ..judged
        })
    }
}

fn after(old: &UserProfile, wanted: &ImportedUser, department: u32) -> UserProfile {
    let text = |new: &Option<String>, old: &String| new.clone().unwrap_or_else(|| old.clone());
    UserProfile {
        id: old.id,
        name: old.name.clone(),
        nick: text(&wanted.nick, &old.nick),
        sex: wanted.sex.unwrap_or(old.sex),
        department,
        phone: text(&wanted.phone, &old.phone),
        email: text(&wanted.email, &old.email),
        domain: text(&wanted.domain, &old.domain),
        avatar: text(&wanted.avatar, &old.avatar),
        signature: text(&wanted.signature, &old.signature),
        status: wanted.status.unwrap_or(old.status),
        kind: old.kind,
    }
}

/// The fields that differ, as they were and as they are.
fn differences(was: &UserRecord, is: &UserRecord) -> (Value, Value) {
    let (mut before, mut after) = (Map::new(), Map::new());
    for ((name, old), (_, new)) in fields(was).into_iter().zip(fields(is)) {
        if old != new {
            before.insert(name.to_owned(), old.into());
            after.insert(name.to_owned(), new.into());
        }
    }
    (Value::Object(before), Value::Object(after))
}
