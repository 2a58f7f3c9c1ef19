-- Devices that are told of messages, several per person: one row per token. `session` is the epoch of the
-- session that registered it (bits of an unsigned number).
CREATE TABLE push_target (
    token   TEXT PRIMARY KEY,
    user    INTEGER NOT NULL,
    type    INTEGER NOT NULL,
    session INTEGER NOT NULL
);
CREATE INDEX push_target_by_user ON push_target (user);
INSERT INTO push_target (token, user, type, session) SELECT token, user, type, 0 FROM device_token;
DROP TABLE device_token;

-- Followers of the log: how far each has come in each partition, and which of its holders is the last one.
CREATE TABLE follower (
    name     TEXT NOT NULL,
    part     INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (name, part)
) WITHOUT ROWID;

-- What a follower tries again, in its own words. Nothing is here but what could not be done at once.
CREATE TABLE follower_retry (
    name  TEXT NOT NULL,
    part  INTEGER NOT NULL,
    key   BLOB NOT NULL,
    lane  INTEGER NOT NULL,
    due   INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    body  BLOB NOT NULL,
    PRIMARY KEY (name, part, key)
);
CREATE INDEX follower_retry_by_due ON follower_retry (name, part, lane, due);
