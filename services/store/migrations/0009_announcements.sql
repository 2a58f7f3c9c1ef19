-- Announcements: one message to many people, sent by steps. state 0: waits for its turn, 1: is being sent,
-- 2: done, 3: cancelled. audience 0: everybody, 1: the departments, 2: the people; named: their ids as a JSON
-- array. reached: the greatest user id that has its message; position: where the log ended before the step
-- behind it. body is emptied when it ends.
CREATE TABLE announcement (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    sender   INTEGER NOT NULL,
    body     BLOB NOT NULL,
    audience INTEGER NOT NULL,
    named    TEXT NOT NULL,
    state    INTEGER NOT NULL,
    reached  INTEGER NOT NULL,
    position INTEGER NOT NULL,
    total    INTEGER NOT NULL,
    sent     INTEGER NOT NULL,
    refused  INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    ended    INTEGER NOT NULL,
    made_by  TEXT NOT NULL
);
CREATE INDEX announcement_by_state ON announcement (state, id);
