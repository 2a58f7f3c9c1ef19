-- A MAC over the credentials that were verified last, and when (unix seconds); NULL: nothing is known.
ALTER TABLE account ADD COLUMN remembered BLOB;
ALTER TABLE account ADD COLUMN remembered_at INTEGER NOT NULL DEFAULT 0;

-- address: an address, a network, or '*' for all. kind 0: nobody has the name; 1: somebody has it;
-- 2: as 1, and it must not be forgotten before its time. Failures within half an hour: not carried over.
DROP TABLE login_failure;
CREATE TABLE login_failure (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    address TEXT NOT NULL,
    kind    INTEGER NOT NULL,
    newest  INTEGER NOT NULL,
    times   BLOB NOT NULL,
    UNIQUE (name, address)
);
CREATE INDEX login_failure_by_age ON login_failure (kind, newest);
