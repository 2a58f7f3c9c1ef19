-- The audit log of administration: one row per change, written in the transaction of the change. Numbers
-- are dense from 1; hash is BLAKE3 over the row and the hash of the row before. outcome 0: done, 1: refused.
CREATE TABLE audit_log (
    number     INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    credential TEXT NOT NULL,
    address    TEXT NOT NULL,
    request    TEXT NOT NULL,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    before     TEXT NOT NULL,
    after      TEXT NOT NULL,
    outcome    INTEGER NOT NULL,
    hash       BLOB NOT NULL
);
-- One row: the row behind which the log begins, because those before were old, and the newest one.
CREATE TABLE audit_ends (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    first      INTEGER NOT NULL,
    first_hash BLOB NOT NULL,
    last       INTEGER NOT NULL,
    last_hash  BLOB NOT NULL
);
INSERT INTO audit_ends VALUES (1, 0, zeroblob(32), 0, zeroblob(32));

-- What was answered to a change under a key, written in the transaction of the change. digest: of the
-- request; made: the number that the store gave; id: in the order of writing.
CREATE TABLE idempotency_key (
    id     INTEGER PRIMARY KEY,
    scope  TEXT NOT NULL,
    key    TEXT NOT NULL,
    digest BLOB NOT NULL,
    at     INTEGER NOT NULL,
    made   INTEGER NOT NULL,
    answer BLOB NOT NULL,
    UNIQUE (scope, key)
);

-- Tokens of the HTTP API. hash: BLAKE3 of the secret. scopes, addresses: words with spaces between.
-- revoked: when, 0 for not. used: the begin of the day of the last use, 0 for never.
CREATE TABLE api_token (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    hash      BLOB NOT NULL,
    owner     TEXT NOT NULL,
    label     TEXT NOT NULL,
    scopes    TEXT NOT NULL,
    addresses TEXT NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    revoked   INTEGER NOT NULL,
    used      INTEGER NOT NULL,
    made_by   TEXT NOT NULL
);

-- People by name, of a department or with a status.
DROP INDEX account_by_department;
CREATE INDEX account_by_department ON account (department, name);
CREATE INDEX account_by_status ON account (status, name);
