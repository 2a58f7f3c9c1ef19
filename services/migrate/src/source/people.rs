//! People, departments, groups and members of the original, in pages.

use super::{Source, number, number_of, numbers_of, text, texts_of};
use crate::MigrateError;

/// Rows of one page.
const PAGE: u32 = 1_000;

/// A row of IMUser. Texts: name, nick, domain, phone, e-mail, avatar, signature, password, salt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserSource {
    pub(crate) id: u32,
    pub(crate) sex: u32,
    pub(crate) department: u32,
    pub(crate) status: u32,
    pub(crate) push_shield: u32,
    pub(crate) name: String,
    pub(crate) nick: String,
    pub(crate) domain: String,
    pub(crate) phone: String,
    pub(crate) email: String,
    pub(crate) avatar: String,
    pub(crate) signature: String,
    pub(crate) password: String,
    pub(crate) salt: String,
}

/// A row of IMDepart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DepartmentSource {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) priority: u32,
    pub(crate) status: u32,
    pub(crate) name: String,
}

/// A row of IMDiscovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemSource {
    pub(crate) id: u32,
    pub(crate) priority: u32,
    pub(crate) name: String,
    pub(crate) url: String,
}

/// A row of IMGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupSource {
    pub(crate) id: u32,
    pub(crate) creator: u32,
    pub(crate) group_type: u32,
    pub(crate) status: u32,
    pub(crate) version: u32,
    pub(crate) created: u32,
    pub(crate) updated: u32,
    pub(crate) name: String,
    pub(crate) avatar: String,
}

/// All rows of IMGroupMember of one user in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberSource {
    pub(crate) group: u32,
    pub(crate) user: u32,
    /// 0: one of them says that they are a member.
    pub(crate) status: u32,
    pub(crate) rows: u32,
    pub(crate) created: u32,
    /// The last joining.
    pub(crate) joined: u32,
    pub(crate) updated: u32,
}

/// A session that its user has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionSource {
    pub(crate) user: u32,
    pub(crate) peer: u32,
    pub(crate) kind: u32,
}

impl Source {
    /// Users behind an id.
    pub(crate) async fn users(&mut self, after: u32) -> Result<Vec<UserSource>, MigrateError> {
        let table = "IMUser";
        let or = |column: &'static str, otherwise| {
            if self.has(table, column) {
                column
            } else {
                otherwise
            }
        };
        let shield = or("push_shield_status", "0");
        let signature = or("sign_info", "''");
        let statement = format!(
            "SELECT {}, {} FROM {table} WHERE id > {after} ORDER BY id LIMIT {PAGE}",
            numbers_of(&["id", "sex", "departId", "status", shield]),
            texts_of(&[
                "name", "nick", "domain", "phone", "email", "avatar", signature, "password",
                "salt",
            ]),
        );
        let rows = self.rows(table, statement).await?;
        let user = |row| {
            let number = |at| number(row, at, table);
            let text = |at| text(row, at, table);
            Ok(UserSource {
                id: number(0)?,
                sex: number(1)?,
                department: number(2)?,
                status: number(3)?,
                push_shield: number(4)?,
                name: text(5)?,
                nick: text(6)?,
                domain: text(7)?,
                phone: text(8)?,
                email: text(9)?,
                avatar: text(10)?,
                signature: text(11)?,
                password: text(12)?,
                salt: text(13)?,
            })
        };
        rows.iter().map(user).collect()
    }

    /// Names that several users have: the id of the one whom the original lets in, or else the greatest.
    pub(crate) async fn doubled_names(&mut self) -> Result<Vec<(String, u32)>, MigrateError> {
        let table = "IMUser";
        let statement = format!(
            "SELECT {}, CAST(TRIM(COALESCE(name, '')) AS CHAR) AS said FROM {table}
                GROUP BY said HAVING COUNT(*) > 1",
            number_of("COALESCE(MAX(CASE WHEN COALESCE(status, 0) = 0 THEN id END), MAX(id))"),
        );
        let rows = self.rows(table, statement).await?;
        let name = |row| Ok((text(row, 1, table)?, number(row, 0, table)?));
        rows.iter().map(name).collect()
    }

    /// All departments.
    pub(crate) async fn departments(&mut self) -> Result<Vec<DepartmentSource>, MigrateError> {
        let table = "IMDepart";
        if !self.has(table, "id") {
            return Ok(Vec::new());
        }
        let statement = format!(
            "SELECT {}, {} FROM {table} ORDER BY id",
            numbers_of(&["id", "parentId", "priority", "status"]),
            texts_of(&["departName"]),
        );
        let rows = self.rows(table, statement).await?;
        let department = |row| {
            Ok(DepartmentSource {
                id: number(row, 0, table)?,
                parent: number(row, 1, table)?,
                priority: number(row, 2, table)?,
                status: number(row, 3, table)?,
                name: text(row, 4, table)?,
            })
        };
        rows.iter().map(department).collect()
    }

    /// All links that clients show and that are not removed.
    pub(crate) async fn items(&mut self) -> Result<Vec<ItemSource>, MigrateError> {
        let table = "IMDiscovery";
        if !self.has(table, "id") {
            return Ok(Vec::new());
        }
        let statement = format!(
            "SELECT {}, {} FROM {table} WHERE status = 0 AND id > 0 ORDER BY id",
            numbers_of(&["id", "itemPriority"]),
            texts_of(&["itemName", "itemUrl"]),
        );
        let rows = self.rows(table, statement).await?;
        let item = |row| {
            Ok(ItemSource {
                id: number(row, 0, table)?,
                priority: number(row, 1, table)?,
                name: text(row, 2, table)?,
                url: text(row, 3, table)?,
            })
        };
        rows.iter().map(item).collect()
    }

    /// Groups behind an id.
    pub(crate) async fn groups(&mut self, after: u32) -> Result<Vec<GroupSource>, MigrateError> {
        let table = "IMGroup";
        let statement = format!(
            "SELECT {}, {} FROM {table} WHERE id > {after} ORDER BY id LIMIT {PAGE}",
            numbers_of(&[
                "id", "creator", "type", "status", "version", "created", "updated"
            ]),
            texts_of(&["name", "avatar"]),
        );
        let rows = self.rows(table, statement).await?;
        let group = |row| {
            let number = |at| number(row, at, table);
            Ok(GroupSource {
                id: number(0)?,
                creator: number(1)?,
                group_type: number(2)?,
                status: number(3)?,
                version: number(4)?,
                created: number(5)?,
                updated: number(6)?,
                name: text(row, 7, table)?,
                avatar: text(row, 8, table)?,
            })
        };
        rows.iter().map(group).collect()
    }

    /// Members behind a group and a user.
    pub(crate) async fn members(
        &mut self,
        after: (u32, u32),
    ) -> Result<Vec<MemberSource>, MigrateError> {
        let table = "IMGroupMember";
        let (group, user) = after;
        let statement = format!(
            "SELECT {} FROM {table} WHERE groupId > {group} OR (groupId = {group} AND userId > {user})
                GROUP BY groupId, userId ORDER BY groupId, userId LIMIT {PAGE}",
            numbers_of(&[
                "groupId",
                "userId",
                "MIN(status)",
                "COUNT(*)",
                "MIN(created)",
                "MAX(CASE WHEN status = 0 THEN IF(updated = 0, created, updated) END)",
                "MAX(updated)",
            ])
        );
        let rows = self.rows(table, statement).await?;
        let member = |row| {
            let number = |at| number(row, at, table);
            Ok(MemberSource {
                group: number(0)?,
                user: number(1)?,
                status: number(2)?,
                rows: number(3)?,
                created: number(4)?,
                joined: number(5)?,
                updated: number(6)?,
            })
        };
        rows.iter().map(member).collect()
    }

    /// Sessions behind one that their users have removed and that have not come back.
    pub(crate) async fn removed_sessions(
        &mut self,
        after: SessionSource,
    ) -> Result<Vec<SessionSource>, MigrateError> {
        let table = "IMRecentSession";
        if !self.has(table, "id") {
            return Ok(Vec::new());
        }
        let SessionSource { user, peer, kind } = after;
        let statement = format!(
            "SELECT {} FROM {table} WHERE userId > {user} OR (userId = {user} AND (peerId > {peer}
                OR (peerId = {peer} AND type > {kind})))
                GROUP BY userId, peerId, type HAVING MIN(COALESCE(status, 0)) > 0
                ORDER BY userId, peerId, type LIMIT {PAGE}",
            numbers_of(&["userId", "peerId", "type"])
        );
        let rows = self.rows(table, statement).await?;
        let session = |row| {
            Ok(SessionSource {
                user: number(row, 0, table)?,
                peer: number(row, 1, table)?,
                kind: number(row, 2, table)?,
            })
        };
        rows.iter().map(session).collect()
    }
}
