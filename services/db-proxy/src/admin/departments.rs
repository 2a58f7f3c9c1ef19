//! Departments: seen, renamed, taken out of the tree. Imports make them.

use std::collections::HashMap;

use im_core::text::{first_unseen, unseen_kind};
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    DepartmentList, DepartmentRecord, RemoveDepartmentRequest, RenameDepartmentRequest,
};

use super::people::path;
use super::rows::MAX_DEPARTMENT_NAME;
use super::{AdminError, AdminService};

/// Departments that clients are told to forget.
const REMOVED: u32 = 1;

/// The tree as administrators see it: those that were removed are left out.
pub(super) struct Tree(HashMap<u32, (u32, String)>);

impl Tree {
    /// The department of a path such as `Company/Research`.
    pub(super) fn find(&self, wanted: &str) -> Result<u32, AdminError> {
        let mut parent = 0;
        for part in wanted.split('/').map(str::trim) {
            let child = self
                .0
                .iter()
                .find(|(_, (above, name))| *above == parent && name == part);
            parent = *child
                .ok_or_else(|| AdminError::NotFound(format!("there is no department {wanted:?}")))?
                .0;
        }
        Ok(parent)
    }

    fn has_children(&self, id: u32) -> bool {
        self.0.values().any(|(parent, _)| *parent == id)
    }
}

impl AdminService {
    pub(super) async fn tree(&self) -> Result<Tree, AdminError> {
        let records = self.store.departments_since(UnixSeconds::EPOCH).await?;
        let records = records.into_iter().filter(|one| one.status != REMOVED);
        Ok(Tree(
            records
                .map(|one| (one.id, (one.parent, one.name)))
                .collect(),
        ))
    }

    async fn department(&self, id: u32, tree: &Tree) -> Result<DepartmentRecord, AdminError> {
        let sizes: HashMap<u32, u32> = self.store.department_sizes().await?.into_iter().collect();
        Ok(DepartmentRecord {
            id,
            path: path(id, &tree.0),
            people: sizes.get(&id).copied().unwrap_or(0),
        })
    }

    pub(super) async fn all_departments(&self) -> Result<DepartmentList, AdminError> {
        let tree = self.tree().await?;
        let sizes: HashMap<u32, u32> = self.store.department_sizes().await?.into_iter().collect();
        let mut departments: Vec<_> = tree
            .0
            .keys()
            .map(|id| DepartmentRecord {
                id: *id,
                path: path(*id, &tree.0),
                people: sizes.get(id).copied().unwrap_or(0),
            })
            .collect();
        departments.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(DepartmentList { departments })
    }

    /// Only the last name of the path changes; people and whatever is below stay in it.
    pub(super) async fn rename_a_department(
        &self,
        request: RenameDepartmentRequest,
    ) -> Result<DepartmentRecord, AdminError> {
        let tree = self.tree().await?;
        let id = tree.find(&request.path)?;
        let name = request.name.trim();
        if !(1..=MAX_DEPARTMENT_NAME).contains(&name.len()) || name.contains('/') {
            return Err(AdminError::Invalid(format!(
                "the name of a department has 1 to {MAX_DEPARTMENT_NAME} bytes and no \"/\", is {name:?}"
            )));
        }
        if let Some((_, c)) = first_unseen(name, true) {
            return Err(AdminError::Invalid(format!(
                "the name has U+{:04X}, {}",
                u32::from(c),
                unseen_kind(c)
            )));
        }
        let taken = || {
            AdminError::Exists(format!(
                "a department {name:?} is, or was, beside {:?}: move people there by an import, and \
                 remove this one",
                request.path
            ))
        };
        if request.dry_run {
            let records = self.store.departments_since(UnixSeconds::EPOCH).await?;
            let parent = tree.0.get(&id).map_or(0, |(parent, _)| *parent);
            let is_same = |one: &im_store::DepartmentRecord| {
                one.id != id && one.parent == parent && one.name == name
            };
            if records.iter().any(is_same) {
                return Err(taken());
            }
            return self.department(id, &tree).await;
        }
        let renamed = self.store.rename_department(id, name, UnixSeconds::now());
        renamed.await.map_err(|error| match error {
            im_store::StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
        self.department(id, &self.tree().await?).await
    }

    pub(super) async fn remove_a_department(
        &self,
        request: RemoveDepartmentRequest,
    ) -> Result<DepartmentRecord, AdminError> {
        let tree = self.tree().await?;
        let id = tree.find(&request.path)?;
        let into = match request.into.as_str() {
            "" => 0,
            path => tree.find(path)?,
        };
        let record = self.department(id, &tree).await?;
        if tree.has_children(id) {
            return Err(AdminError::Refused(format!(
                "{:?} has departments below it: remove those first",
                record.path
            )));
        }
        if into == id {
            return Err(AdminError::Invalid(format!(
                "people cannot move from {:?} into itself",
                record.path
            )));
        }
        if into == 0 && record.people > 0 {
            return Err(AdminError::Refused(format!(
                "{} people are in {:?}: say where they move to",
                record.people, record.path
            )));
        }
        if request.dry_run {
            return Ok(record);
        }
        self.store
            .remove_department(id, into, UnixSeconds::now())
            .await?;
        self.accounts.forget_everybody();
        Ok(record)
    }
}
