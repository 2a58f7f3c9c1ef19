-- The log in partitions, clustered by place: rows are only ever added. `conv` is the conversation's number: a group's id, or
-- of a pair the lower user id << 32 | the higher one. by_conv is the fence that keeps ids dense and unrepeated.
CREATE TABLE IF NOT EXISTS message (
    part      SMALLINT UNSIGNED NOT NULL,
    seq       BIGINT UNSIGNED NOT NULL,
    conv      BIGINT UNSIGNED NOT NULL,
    id        INT UNSIGNED NOT NULL,
    sender    INT UNSIGNED NOT NULL,
    type      INT UNSIGNED NOT NULL,
    time      INT UNSIGNED NOT NULL,
    low_sent  INT UNSIGNED NOT NULL,
    retry_key BINARY(16) NULL,
    body      LONGBLOB NOT NULL,
    PRIMARY KEY (part, seq),
    UNIQUE KEY by_conv (conv, id)
);

-- number: what the writer calls it. The last_ columns and low_sent copy the newest message; prior_id is the newest id before
-- the batch that has added it.
CREATE TABLE IF NOT EXISTS conversation (
    part      SMALLINT UNSIGNED NOT NULL,
    conv      BIGINT UNSIGNED NOT NULL,
    number    BIGINT UNSIGNED NOT NULL,
    prior_id  INT UNSIGNED NOT NULL,
    last_id   INT UNSIGNED NOT NULL,
    last_seq  BIGINT UNSIGNED NOT NULL,
    last_time INT UNSIGNED NOT NULL,
    low_sent  INT UNSIGNED NOT NULL,
    PRIMARY KEY (part, conv),
    UNIQUE KEY by_number (part, number)
);

-- Ids that a conversation skips: no message has one above `after` up to `through`.
CREATE TABLE IF NOT EXISTS id_gap (
    conv    BIGINT UNSIGNED NOT NULL,
    after   INT UNSIGNED NOT NULL,
    through INT UNSIGNED NOT NULL,
    PRIMARY KEY (conv, after)
);

-- Whose turn it is to add, and where the log ends: every transaction that adds messages, or changes groups and members,
-- changes its row only as it expects to find it.
CREATE TABLE IF NOT EXISTS part (
    part     SMALLINT UNSIGNED NOT NULL,
    epoch    BIGINT UNSIGNED NOT NULL,
    last_seq BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (part)
);

-- One row per transaction that writes, forgotten after some minutes: whoever lost the answer to a COMMIT finds it here, or
-- writes it in its place (void = 1) and so keeps that transaction from ever being stored.
CREATE TABLE IF NOT EXISTS receipt (
    id   BIGINT UNSIGNED NOT NULL,
    at   INT UNSIGNED NOT NULL,
    void TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    KEY by_age (at)
);

CREATE TABLE IF NOT EXISTS chat_group (
    part    SMALLINT UNSIGNED NOT NULL,
    id      INT UNSIGNED NOT NULL,
    name    TEXT NOT NULL,
    avatar  TEXT NOT NULL,
    creator INT UNSIGNED NOT NULL,
    type    TINYINT UNSIGNED NOT NULL,
    version INT UNSIGNED NOT NULL,
    created INT UNSIGNED NOT NULL,
    updated INT UNSIGNED NOT NULL,
    PRIMARY KEY (part, id),
    KEY by_creator (creator, type)
);

-- Whoever has left stays with active = 0.
CREATE TABLE IF NOT EXISTS group_member (
    part       SMALLINT UNSIGNED NOT NULL,
    conv       BIGINT UNSIGNED NOT NULL,
    user       INT UNSIGNED NOT NULL,
    active     TINYINT UNSIGNED NOT NULL,
    joined_id  INT UNSIGNED NOT NULL,
    shield     TINYINT UNSIGNED NOT NULL,
    created    INT UNSIGNED NOT NULL,
    updated    INT UNSIGNED NOT NULL,
    changed_by INT UNSIGNED NULL,
    PRIMARY KEY (part, conv, user)
);

-- What of a conversation is the user's alone. His groups are those below 2^32.
CREATE TABLE IF NOT EXISTS inbox (
    user       INT UNSIGNED NOT NULL,
    conv       BIGINT UNSIGNED NOT NULL,
    read_id    INT UNSIGNED NOT NULL,
    removed_at INT UNSIGNED NULL,
    created    INT UNSIGNED NOT NULL,
    PRIMARY KEY (user, conv)
);

-- kind 0: a person, 1: a bot, 2: a bot that was removed. remembered: a MAC over the credentials that were verified last.
CREATE TABLE IF NOT EXISTS account (
    id            INT UNSIGNED NOT NULL,
    name          VARCHAR(255) NOT NULL,
    hash          TEXT NOT NULL,
    nick          TEXT NOT NULL,
    sex           INT UNSIGNED NOT NULL,
    department    INT UNSIGNED NOT NULL,
    phone         TEXT NOT NULL,
    email         TEXT NOT NULL,
    domain        TEXT NOT NULL,
    avatar        TEXT NOT NULL,
    signature     TEXT NOT NULL,
    status        INT UNSIGNED NOT NULL,
    kind          TINYINT UNSIGNED NOT NULL DEFAULT 0,
    push_shield   INT UNSIGNED NOT NULL DEFAULT 0,
    stamp         INT UNSIGNED NOT NULL,
    remembered    BINARY(32) NULL,
    remembered_at INT UNSIGNED NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    UNIQUE KEY by_name (name),
    KEY by_stamp (stamp),
    KEY by_department (department, name),
    KEY by_status (status, name),
    KEY by_kind (kind, name)
);

CREATE TABLE IF NOT EXISTS department (
    id       INT UNSIGNED NOT NULL,
    parent   INT UNSIGNED NOT NULL,
    name     VARCHAR(255) NOT NULL,
    priority INT UNSIGNED NOT NULL,
    status   INT UNSIGNED NOT NULL,
    stamp    INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY by_place (parent, name),
    KEY by_stamp (stamp)
);

-- address: an address, a network, or '*' for all. kind 0: nobody has the name; 1: somebody has it; 2: as 1, and it must not
-- be forgotten before its time. times: unix seconds, four bytes each, oldest first.
CREATE TABLE IF NOT EXISTS login_failure (
    id      BIGINT UNSIGNED NOT NULL,
    name    VARBINARY(2900) NOT NULL,
    address VARBINARY(64) NOT NULL,
    kind    TINYINT UNSIGNED NOT NULL,
    newest  INT UNSIGNED NOT NULL,
    times   BLOB NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY by_name (name, address),
    KEY by_age (kind, newest)
);

CREATE TABLE IF NOT EXISTS stored_level (
    user  INT UNSIGNED NOT NULL,
    bytes BIGINT UNSIGNED NOT NULL,
    at    INT UNSIGNED NOT NULL,
    PRIMARY KEY (user)
);

-- id: in the order of storing. session: the epoch of the session that registered it.
CREATE TABLE IF NOT EXISTS push_target (
    id      BIGINT UNSIGNED NOT NULL,
    token   VARBINARY(3000) NOT NULL,
    user    INT UNSIGNED NOT NULL,
    type    INT UNSIGNED NOT NULL,
    session BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY by_token (token),
    KEY by_user (user)
);

-- The audit log: numbers are dense from 1; hash is BLAKE3 over the row and the hash of the row before. outcome 0: done, 1: refused.
CREATE TABLE IF NOT EXISTS audit_log (
    number     BIGINT UNSIGNED NOT NULL,
    at         INT UNSIGNED NOT NULL,
    actor      TEXT NOT NULL,
    credential TEXT NOT NULL,
    address    TEXT NOT NULL,
    request    TEXT NOT NULL,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    was        LONGTEXT NOT NULL,
    became     LONGTEXT NOT NULL,
    outcome    TINYINT UNSIGNED NOT NULL,
    hash       BINARY(32) NOT NULL,
    PRIMARY KEY (number)
);

-- One row: the row behind which the log begins, because those before were old, and the newest one.
CREATE TABLE IF NOT EXISTS audit_ends (
    id         TINYINT UNSIGNED NOT NULL,
    first      BIGINT UNSIGNED NOT NULL,
    first_hash BINARY(32) NOT NULL,
    last       BIGINT UNSIGNED NOT NULL,
    last_hash  BINARY(32) NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS idempotency_key (
    id       BIGINT UNSIGNED NOT NULL,
    scope    VARBINARY(1024) NOT NULL,
    name     VARBINARY(1024) NOT NULL,
    digest   BINARY(32) NOT NULL,
    at       INT UNSIGNED NOT NULL,
    made     BIGINT UNSIGNED NOT NULL,
    answer   LONGBLOB NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY by_name (scope, name)
);

-- revoked: when, 0 for not. used: the begin of the day of the last use. bot: whose it is, 0 for nobody's account.
CREATE TABLE IF NOT EXISTS api_token (
    id        INT UNSIGNED NOT NULL,
    hash      BINARY(32) NOT NULL,
    owner     VARCHAR(512) NOT NULL,
    label     TEXT NOT NULL,
    scopes    TEXT NOT NULL,
    addresses TEXT NOT NULL,
    created   INT UNSIGNED NOT NULL,
    expires   INT UNSIGNED NOT NULL,
    revoked   INT UNSIGNED NOT NULL,
    used      INT UNSIGNED NOT NULL,
    made_by   TEXT NOT NULL,
    bot       INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    KEY by_bot (bot)
);

CREATE TABLE IF NOT EXISTS follower (
    name     VARBINARY(255) NOT NULL,
    part     SMALLINT UNSIGNED NOT NULL,
    epoch    BIGINT UNSIGNED NOT NULL,
    position BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (name, part)
);

CREATE TABLE IF NOT EXISTS follower_retry (
    name  VARBINARY(255) NOT NULL,
    part  SMALLINT UNSIGNED NOT NULL,
    item  VARBINARY(1024) NOT NULL,
    lane  INT UNSIGNED NOT NULL,
    due   BIGINT UNSIGNED NOT NULL,
    tries INT UNSIGNED NOT NULL,
    body  LONGBLOB NOT NULL,
    PRIMARY KEY (name, part, item),
    KEY by_due (name, part, lane, due)
);

CREATE TABLE IF NOT EXISTS subscription (
    id            INT UNSIGNED NOT NULL,
    url           TEXT NOT NULL,
    label         TEXT NOT NULL,
    kinds         TEXT NOT NULL,
    of_groups     TEXT NOT NULL,
    of_senders    TEXT NOT NULL,
    secret        TEXT NOT NULL,
    former_secret TEXT NOT NULL,
    former_until  INT UNSIGNED NOT NULL,
    created       INT UNSIGNED NOT NULL,
    made_by       TEXT NOT NULL,
    bot           INT UNSIGNED NOT NULL,
    PRIMARY KEY (id)
);

-- state 0: being delivered, 1: delivered, 2: given up, 3: to be delivered again. log 0: messages, 1: changes.
CREATE TABLE IF NOT EXISTS delivery (
    id           BIGINT UNSIGNED NOT NULL,
    subscription INT UNSIGNED NOT NULL,
    log          TINYINT UNSIGNED NOT NULL,
    state        TINYINT UNSIGNED NOT NULL,
    after        BIGINT UNSIGNED NOT NULL,
    through      BIGINT UNSIGNED NOT NULL,
    events       INT UNSIGNED NOT NULL,
    tries        INT UNSIGNED NOT NULL,
    first        INT UNSIGNED NOT NULL,
    last         INT UNSIGNED NOT NULL,
    status       INT UNSIGNED NOT NULL,
    answer       TEXT NOT NULL,
    PRIMARY KEY (id),
    KEY by_state (subscription, state, id)
);

-- state 0: waits for its turn, 1: is being sent, 2: done, 3: cancelled, 4: failed. audience 0: everybody, 1: the departments,
-- 2: the people; named: their ids.
CREATE TABLE IF NOT EXISTS announcement (
    id       INT UNSIGNED NOT NULL,
    sender   INT UNSIGNED NOT NULL,
    body     LONGBLOB NOT NULL,
    audience TINYINT UNSIGNED NOT NULL,
    named    LONGTEXT NOT NULL,
    state    TINYINT UNSIGNED NOT NULL,
    reached  INT UNSIGNED NOT NULL,
    position BIGINT UNSIGNED NOT NULL,
    total    INT UNSIGNED NOT NULL,
    sent     INT UNSIGNED NOT NULL,
    refused  INT UNSIGNED NOT NULL,
    created  INT UNSIGNED NOT NULL,
    ended    INT UNSIGNED NOT NULL,
    made_by  TEXT NOT NULL,
    failure  TEXT NOT NULL,
    PRIMARY KEY (id),
    KEY by_state (state, id)
);

CREATE TABLE IF NOT EXISTS incoming_hook (
    id       INT UNSIGNED NOT NULL,
    hash     BINARY(32) NOT NULL,
    sender   INT UNSIGNED NOT NULL,
    receiver INT UNSIGNED NOT NULL,
    grp      INT UNSIGNED NOT NULL,
    label    TEXT NOT NULL,
    created  INT UNSIGNED NOT NULL,
    made_by  TEXT NOT NULL,
    PRIMARY KEY (id)
);

-- What was changed beside messages. what 1: a group, 2: a person, 3: a department, 4: a file, by id; value: the version of the
-- group, the directory stamp of the others.
CREATE TABLE IF NOT EXISTS change_log (
    seq   BIGINT UNSIGNED NOT NULL,
    at    INT UNSIGNED NOT NULL,
    what  TINYINT UNSIGNED NOT NULL,
    id    INT UNSIGNED NOT NULL,
    value INT UNSIGNED NOT NULL,
    PRIMARY KEY (seq)
);

CREATE TABLE IF NOT EXISTS ready_file (
    id       INT UNSIGNED NOT NULL,
    task     VARBINARY(255) NOT NULL,
    sender   INT UNSIGNED NOT NULL,
    receiver INT UNSIGNED NOT NULL,
    name     TEXT NOT NULL,
    size     INT UNSIGNED NOT NULL,
    stored   INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY by_task (task)
);

CREATE TABLE IF NOT EXISTS discovery_item (
    id       INT UNSIGNED NOT NULL,
    name     TEXT NOT NULL,
    url      TEXT NOT NULL,
    priority INT UNSIGNED NOT NULL,
    created  INT UNSIGNED NOT NULL,
    updated  INT UNSIGNED NOT NULL,
    PRIMARY KEY (id)
);

-- Counters: the newest number of each kind that was given, so that none comes again.
CREATE TABLE IF NOT EXISTS meta (
    name  VARCHAR(64) NOT NULL,
    value BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (name)
);

INSERT IGNORE INTO meta (name, value) VALUES
    ('directory_stamp', 0), ('skipped_ids', 0), ('greatest_group', 0), ('change_log', 0), ('announcement', 0),
    ('api_token', 0), ('delivery', 0), ('discovery_item', 0), ('idempotency_key', 0), ('incoming_hook', 0),
    ('login_failure', 0), ('push_target', 0), ('ready_file', 0), ('subscription', 0), ('probe', 0);

INSERT IGNORE INTO part (part, epoch, last_seq) VALUES (0, 0, 0);

INSERT IGNORE INTO audit_ends (id, first, first_hash, last, last_hash)
    VALUES (1, 0, REPEAT(CHAR(0), 32), 0, REPEAT(CHAR(0), 32));
