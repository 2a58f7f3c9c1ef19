//! Departments: seen, made, renamed, moved, taken out of the tree. Imports make them too.

use std::collections::HashMap;

use im_core::text::{first_unseen, unseen_kind};
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    CreateDepartmentRequest, DepartmentList, DepartmentRecord, ListDepartmentsRequest,
    MoveDepartmentRequest, RemoveDepartmentRequest, RenameDepartmentRequest,
};
use im_store::StoreError;
use serde_json::json;

use super::cursor::{List, Listed, id_of};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::records::path;
use super::rows::{MAX_DEPARTMENT_DEPTH, MAX_DEPARTMENT_NAME};
use super::{AdminError, AdminService};

/// Departments in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 1_000,
    most: 1_000,
};

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

    fn children(&self, id: u32) -> impl Iterator<Item = u32> {
        let below = self.0.iter().filter(move |(_, (parent, _))| *parent == id);
        below.map(|(child, _)| *child)
    }

    /// This department and all below it.
    pub(super) fn below(&self, id: u32) -> Vec<u32> {
        let mut found = vec![id];
        let mut looked_at = 0;
        while let Some(above) = found.get(looked_at).copied() {
            looked_at += 1;
            // A tree that contradicts itself has no end.
            let new: Vec<u32> = { self.children(above) }
                .filter(|child| !found.contains(child))
                .collect();
            found.extend(new);
        }
        found
    }

    /// This department and those above it, upwards.
    fn upwards(&self, id: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut next = id;
        while let Some((parent, _)) = self.0.get(&next)
            && !found.contains(&next)
        {
            found.push(next);
            next = *parent;
        }
        found
    }

    /// How many departments lie above one another from this one down.
    fn height(&self, id: u32) -> usize {
        let levels = std::iter::successors(Some(vec![id]), |level| {
            let below: Vec<u32> = level.iter().flat_map(|id| self.children(*id)).collect();
            (!below.is_empty()).then_some(below)
        });
        // A tree that contradicts itself has no end.
        levels.take(self.0.len()).count()
    }

    /// Whether a department can be put under another one, 0 for none.
    fn judge_move(&self, id: u32, into: u32) -> Result<(), AdminError> {
        let above = self.upwards(into);
        if above.contains(&id) {
            let (moved, into) = (path(id, &self.0), path(into, &self.0));
            return Err(AdminError::Refused(if moved == into {
                format!("{moved:?} cannot lie below itself")
            } else {
                format!("{moved:?} cannot be put under {into:?}, which lies below it")
            }));
        }
        let depth = above.len() + self.height(id);
        if depth > MAX_DEPARTMENT_DEPTH {
            return Err(AdminError::Refused(format!(
                "departments lie at most {MAX_DEPARTMENT_DEPTH} deep, these would {depth}"
            )));
        }
        Ok(())
    }
}

/// A department that gets another path.
fn moved(was: &DepartmentRecord, path: String) -> Changed {
    let is = DepartmentRecord {
        path,
        ..was.clone()
    };
    Changed::of(format!("department {}", was.id))
        .before(json!({ "path": was.path }))
        .after(json!({ "path": is.path }))
        .answer(&is)
}

/// Whether a department can have this name.
fn judge_name(name: &str) -> Result<(), AdminError> {
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
    Ok(())
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

    /// The department that a request names by id or, when that is 0, by path.
    fn named(path: &str, id: u32, tree: &Tree) -> Result<u32, AdminError> {
        match id {
            0 => tree.find(path),
            id if tree.0.contains_key(&id) => Ok(id),
            id => Err(AdminError::NotFound(format!(
                "there is no department #{id}"
            ))),
        }
    }

    /// Makes whatever is missing of a path; what was removed comes back.
    pub(super) async fn make_department(
        &self,
        request: CreateDepartmentRequest,
    ) -> Result<DepartmentRecord, AdminError> {
        let names: Vec<String> = request
            .path
            .split('/')
            .map(|name| name.trim().to_owned())
            .collect();
        if names.len() > MAX_DEPARTMENT_DEPTH {
            return Err(AdminError::Invalid(format!(
                "departments lie at most {MAX_DEPARTMENT_DEPTH} deep, this one would {}",
                names.len()
            )));
        }
        for name in &names {
            judge_name(name)?;
        }
        let path = names.join("/");
        let taken = || AdminError::Exists(format!("there is a department {path:?} already"));
        let _changing = self.changing.lock().await;
        if self.tree().await?.find(&path).is_ok() {
            return Err(taken());
        }
        let would_be = DepartmentRecord {
            path: path.clone(),
            ..DepartmentRecord::default()
        };
        if request.dry_run {
            return Ok(would_be);
        }
        let changed = Changed::new_of("department")
            .after(json!({ "path": path }))
            .answer(&would_be);
        let store = self.noting(changed);
        let made = store.create_department(&names, UnixSeconds::now());
        let id = made.await.map_err(|error| match error {
            StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
        self.department(id, &self.tree().await?).await
    }

    /// By path. Who renames or moves departments between two pages may see one twice, or not at all.
    pub(super) async fn list_tree(
        &self,
        request: ListDepartmentsRequest,
    ) -> Result<DepartmentList, AdminError> {
        let listed = Listed {
            list: List::Departments,
            filters: &[],
        };
        let behind = self.cursors.read(listed, &request.cursor)?.map(id_of);
        let tree = self.tree().await?;
        // The last one of a page may have been removed since.
        let all = self.departments().await?;
        let behind = behind.map(|id| (path(id, &all), id));
        let sizes: HashMap<u32, u32> = self.store.department_sizes().await?.into_iter().collect();
        let paths = tree.0.keys().map(|id| (path(*id, &tree.0), *id));
        let mut found: Vec<_> = paths.filter(|one| Some(one) > behind.as_ref()).collect();
        found.sort();
        let mut page = Page::new(LIMITS.of(request.limit));
        for (path, id) in found {
            let people = sizes.get(&id).copied().unwrap_or(0);
            if !page.takes(id.into(), DepartmentRecord { id, path, people }) {
                break;
            }
        }
        let (departments, next) = self.end_page(listed, page);
        Ok(DepartmentList { departments, next })
    }

    /// Whether a department, removed or not, other than `id` has this name under this parent. Removed
    /// ones keep theirs, since an import brings them back.
    async fn is_taken(&self, id: u32, parent: u32, name: &str) -> Result<bool, AdminError> {
        let records = self.store.departments_since(UnixSeconds::EPOCH).await?;
        let is_same = |one: &im_store::DepartmentRecord| {
            one.id != id && one.parent == parent && one.name == name
        };
        Ok(records.iter().any(is_same))
    }

    /// Only the last name of the path changes; people and whatever is below stay in it.
    pub(super) async fn rename_a_department(
        &self,
        request: RenameDepartmentRequest,
    ) -> Result<DepartmentRecord, AdminError> {
        let tree = self.tree().await?;
        let id = Self::named(&request.path, request.id, &tree)?;
        let was = self.department(id, &tree).await?;
        let name = request.name.trim();
        judge_name(name)?;
        let taken = || {
            AdminError::Exists(format!(
                "a department {name:?} is, or was, beside {:?}: move people there by an import, and \
                 remove this one",
                was.path
            ))
        };
        if request.dry_run {
            let parent = tree.0.get(&id).map_or(0, |(parent, _)| *parent);
            if self.is_taken(id, parent, name).await? {
                return Err(taken());
            }
            return Ok(was);
        }
        let above = was.path.rsplit_once('/').map(|(above, _)| above);
        let path = above.map_or_else(|| name.to_owned(), |above| format!("{above}/{name}"));
        let store = self.noting(moved(&was, path));
        let renamed = store.rename_department(id, name, UnixSeconds::now());
        renamed.await.map_err(|error| match error {
            StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
        self.department(id, &self.tree().await?).await
    }

    /// People and whatever is below the department stay in it. Clients read the new place in the tree when
    /// they ask for departments after their next login.
    pub(super) async fn move_a_department(
        &self,
        request: MoveDepartmentRequest,
    ) -> Result<DepartmentRecord, AdminError> {
        // Two that are moved under each other at once would be a circle.
        let _changing = self.changing.lock().await;
        let tree = self.tree().await?;
        let id = Self::named(&request.path, request.id, &tree)?;
        let into = match request.into.trim() {
            "" => 0,
            path => tree.find(path)?,
        };
        tree.judge_move(id, into)?;
        let (parent, name) = tree.0.get(&id).cloned().unwrap_or_default();
        let taken = || {
            AdminError::Exists(format!(
                "a department {name:?} is, or was, under {:?}: move people there by an import, and \
                 remove this one",
                request.into
            ))
        };
        if request.dry_run || parent == into {
            if self.is_taken(id, into, &name).await? {
                return Err(taken());
            }
            return self.department(id, &tree).await;
        }
        let was = self.department(id, &tree).await?;
        let above = path(into, &tree.0);
        let path = if into == 0 {
            name.clone()
        } else {
            format!("{above}/{name}")
        };
        let store = self.noting(moved(&was, path));
        let moved = store.move_department(id, into, UnixSeconds::now());
        moved.await.map_err(|error| match error {
            StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
        self.department(id, &self.tree().await?).await
    }

    pub(super) async fn remove_a_department(
        &self,
        request: RemoveDepartmentRequest,
    ) -> Result<DepartmentRecord, AdminError> {
        // Nothing is put below it meanwhile.
        let _changing = self.changing.lock().await;
        let tree = self.tree().await?;
        let id = Self::named(&request.path, request.id, &tree)?;
        let into = match request.into.as_str() {
            "" => 0,
            path => tree.find(path)?,
        };
        let record = self.department(id, &tree).await?;
        if tree.children(id).next().is_some() {
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
        let changed = Changed::of(format!("department {id}"))
            .before(json!({ "path": record.path, "people": record.people }))
            .after(json!({ "removed": true, "people_into": request.into }))
            .answer(&record);
        self.noting(changed)
            .remove_department(id, into, UnixSeconds::now())
            .await?;
        self.accounts.forget_everybody();
        Ok(record)
    }
}
