//! The tables of the original, as its installations have them: no foreign keys, hardly any unique ones.

/// Columns of a table of messages of pairs.
pub(super) const PAIR: &str = "id int(11) NOT NULL AUTO_INCREMENT, relateId int(11) unsigned NOT NULL,
    fromId int(11) unsigned NOT NULL, toId int(11) unsigned NOT NULL, msgId int(11) unsigned NOT NULL,
    content varchar(4096) DEFAULT '', type tinyint(2) unsigned NOT NULL DEFAULT 1,
    status tinyint(1) unsigned NOT NULL DEFAULT 0, updated int(11) unsigned NOT NULL, created int(11) unsigned NOT NULL,
    PRIMARY KEY (id), KEY idx_relateId_status_created (relateId, status, created),
    KEY idx_relateId_status_msgId_created (relateId, status, msgId, created)";

/// The same of groups.
pub(super) const GROUP: &str = "id int(11) NOT NULL AUTO_INCREMENT, groupId int(11) unsigned NOT NULL,
    userId int(11) unsigned NOT NULL, msgId int(11) unsigned NOT NULL, content varchar(4096) NOT NULL DEFAULT '',
    type tinyint(3) unsigned NOT NULL DEFAULT 2, status int(11) unsigned NOT NULL DEFAULT 0,
    updated int(11) unsigned NOT NULL DEFAULT 0, created int(11) unsigned NOT NULL DEFAULT 0,
    PRIMARY KEY (id), KEY idx_groupId_status_created (groupId, status, created),
    KEY idx_groupId_msgId_status_created (groupId, msgId, status, created)";

/// All other tables, and the departments.
pub(super) const SCHEMA: &str = "SET NAMES utf8mb4;
CREATE TABLE IMUser (id int(11) unsigned NOT NULL AUTO_INCREMENT, sex tinyint(1) unsigned NOT NULL DEFAULT 0,
    name varchar(32) NOT NULL DEFAULT '', domain varchar(32) NOT NULL DEFAULT '', nick varchar(32) NOT NULL DEFAULT '',
    password varchar(32) NOT NULL DEFAULT '', salt varchar(4) NOT NULL DEFAULT '', phone varchar(11) NOT NULL DEFAULT '',
    email varchar(64) NOT NULL DEFAULT '', avatar varchar(255) DEFAULT '', departId int(11) unsigned NOT NULL,
    status tinyint(2) unsigned DEFAULT 0, created int(11) unsigned NOT NULL, updated int(11) unsigned NOT NULL,
    push_shield_status tinyint(1) unsigned NOT NULL DEFAULT 0, sign_info varchar(128) NOT NULL DEFAULT '',
    PRIMARY KEY (id), KEY idx_name (name)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IMDepart (id int(11) unsigned NOT NULL AUTO_INCREMENT, departName varchar(64) NOT NULL DEFAULT '',
    priority int(11) unsigned NOT NULL DEFAULT 0, parentId int(11) unsigned NOT NULL, status int(11) unsigned NOT NULL DEFAULT 0,
    created int(11) unsigned NOT NULL, updated int(11) unsigned NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IMDiscovery (id int(11) unsigned NOT NULL AUTO_INCREMENT, itemName varchar(64) NOT NULL DEFAULT '',
    itemUrl varchar(64) NOT NULL DEFAULT '', itemPriority int(11) unsigned NOT NULL, status int(11) unsigned NOT NULL DEFAULT 0,
    created int(11) unsigned NOT NULL, updated int(11) unsigned NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IMGroup (id int(11) NOT NULL AUTO_INCREMENT, name varchar(256) NOT NULL DEFAULT '', avatar varchar(256) NOT NULL DEFAULT '',
    creator int(11) unsigned NOT NULL DEFAULT 0, type tinyint(3) unsigned NOT NULL DEFAULT 1, userCnt int(11) unsigned NOT NULL DEFAULT 0,
    status tinyint(3) unsigned NOT NULL DEFAULT 1, version int(11) unsigned NOT NULL DEFAULT 1, lastChated int(11) unsigned NOT NULL DEFAULT 0,
    updated int(11) unsigned NOT NULL DEFAULT 0, created int(11) unsigned NOT NULL DEFAULT 0, PRIMARY KEY (id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IMGroupMember (id int(11) NOT NULL AUTO_INCREMENT, groupId int(11) unsigned NOT NULL, userId int(11) unsigned NOT NULL,
    status tinyint(4) unsigned NOT NULL DEFAULT 1, created int(11) unsigned NOT NULL DEFAULT 0, updated int(11) unsigned NOT NULL DEFAULT 0,
    PRIMARY KEY (id), KEY idx_groupId_userId_status (groupId, userId, status)) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE IMRecentSession (id int(11) NOT NULL AUTO_INCREMENT, userId int(11) unsigned NOT NULL, peerId int(11) unsigned NOT NULL,
    type tinyint(1) unsigned DEFAULT 0, status tinyint(1) unsigned DEFAULT 0, created int(11) unsigned NOT NULL DEFAULT 0,
    updated int(11) unsigned NOT NULL DEFAULT 0, PRIMARY KEY (id), KEY idx_userId_peerId_type (userId, peerId, type)) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE IMRelationShip (id int(11) NOT NULL AUTO_INCREMENT, smallId int(11) unsigned NOT NULL, bigId int(11) unsigned NOT NULL,
    status tinyint(1) unsigned DEFAULT 0, created int(11) unsigned NOT NULL DEFAULT 0, updated int(11) unsigned NOT NULL DEFAULT 0,
    PRIMARY KEY (id), KEY idx_smallId_bigId_status_updated (smallId, bigId, status, updated)) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE IMAudio (id int(11) NOT NULL AUTO_INCREMENT, fromId int(11) unsigned NOT NULL, toId int(11) unsigned NOT NULL,
    path varchar(255) DEFAULT '', size int(11) unsigned NOT NULL DEFAULT 0, duration int(11) unsigned NOT NULL DEFAULT 0,
    created int(11) unsigned NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO IMDepart VALUES (1,'Company',1,0,0,0,0),(2,'Research 研究',2,1,0,0,0),(3,'Sales',3,1,0,0,0),(4,'Sales',4,1,1,0,0),(5,'Lost',5,99,0,0,0);
INSERT INTO IMDiscovery VALUES (3,'Handbook','http://intranet/',1,0,0,0),(4,'Gone','http://old/',2,1,0,0);
";
