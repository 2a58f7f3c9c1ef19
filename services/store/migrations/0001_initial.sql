-- The log. Rows are only ever added; seq is the commit sequence. The unique index is the fence that
-- keeps ids dense and unrepeated. retry_key has no index: it is read through (conv, id).
CREATE TABLE message (
    seq       INTEGER PRIMARY KEY,
    conv      INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    sender    INTEGER NOT NULL,
    type      INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    low_sent  INTEGER NOT NULL,
    retry_key BLOB,
    body      BLOB NOT NULL
);
CREATE UNIQUE INDEX message_by_id ON message (conv, id);

-- kind 1: pair, a < b. kind 2: group a, b = 0. The last_ columns and low_sent copy the newest message.
CREATE TABLE conversation (
    conv      INTEGER PRIMARY KEY,
    kind      INTEGER NOT NULL,
    a         INTEGER NOT NULL,
    b         INTEGER NOT NULL,
    last_id   INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    low_sent  INTEGER NOT NULL
);
CREATE UNIQUE INDEX conversation_by_key ON conversation (kind, a, b);

-- Written when made or changed, never per message. A member who left a group stays with active = 0.
CREATE TABLE member (
    user       INTEGER NOT NULL,
    conv       INTEGER NOT NULL,
    grouped    INTEGER NOT NULL,
    active     INTEGER NOT NULL,
    shield     INTEGER NOT NULL,
    read_id    INTEGER NOT NULL,
    joined_id  INTEGER NOT NULL,
    removed_at INTEGER,
    created    INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    changed_by INTEGER,
    PRIMARY KEY (user, conv)
) WITHOUT ROWID;
CREATE INDEX member_of_group ON member (conv) WHERE grouped = 1;

CREATE TABLE chat_group (
    id      INTEGER PRIMARY KEY,
    conv    INTEGER NOT NULL UNIQUE,
    name    TEXT NOT NULL,
    avatar  TEXT NOT NULL,
    creator INTEGER NOT NULL,
    type    INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
);
CREATE INDEX chat_group_by_creator ON chat_group (creator, type);

CREATE TABLE account (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    hash        TEXT NOT NULL,
    nick        TEXT NOT NULL,
    sex         INTEGER NOT NULL,
    department  INTEGER NOT NULL,
    phone       TEXT NOT NULL,
    email       TEXT NOT NULL,
    domain      TEXT NOT NULL,
    avatar      TEXT NOT NULL,
    signature   TEXT NOT NULL,
    status      INTEGER NOT NULL,
    push_shield INTEGER NOT NULL DEFAULT 0,
    stamp       INTEGER NOT NULL
);
CREATE INDEX account_by_stamp ON account (stamp);
CREATE INDEX account_by_department ON account (department);

CREATE TABLE department (
    id       INTEGER PRIMARY KEY,
    parent   INTEGER NOT NULL,
    name     TEXT NOT NULL,
    priority INTEGER NOT NULL,
    status   INTEGER NOT NULL,
    stamp    INTEGER NOT NULL,
    UNIQUE (parent, name)
);
CREATE INDEX department_by_stamp ON department (stamp);

CREATE TABLE device_token (
    user  INTEGER PRIMARY KEY,
    type  INTEGER NOT NULL,
    token TEXT NOT NULL UNIQUE
);

-- One row per (name, address); times holds unix seconds, four bytes each, oldest first.
CREATE TABLE login_failure (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    address TEXT NOT NULL,
    newest  INTEGER NOT NULL,
    times   BLOB NOT NULL,
    UNIQUE (name, address)
);
CREATE INDEX login_failure_by_newest ON login_failure (newest);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('directory_stamp', 0);
