-- Incoming hooks: whoever has the secret writes as the sender to one person (receiver) or group (grp); the other
-- one is 0. hash: BLAKE3 of the secret.
CREATE TABLE incoming_hook (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    hash     BLOB NOT NULL,
    sender   INTEGER NOT NULL,
    receiver INTEGER NOT NULL,
    grp      INTEGER NOT NULL,
    label    TEXT NOT NULL,
    created  INTEGER NOT NULL,
    made_by  TEXT NOT NULL
);
