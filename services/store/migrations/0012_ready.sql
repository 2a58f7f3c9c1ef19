-- Files for people who are away, as long as the log of changes tells of them (what 4, by id): each is noted once,
-- however often a file server tells it.
CREATE TABLE ready_file (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    task     TEXT NOT NULL UNIQUE,
    sender   INTEGER NOT NULL,
    receiver INTEGER NOT NULL,
    name     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    stored   INTEGER NOT NULL
);
CREATE TRIGGER file_ready AFTER INSERT ON ready_file BEGIN
    INSERT INTO change_log (at, what, id, value) VALUES (unixepoch(), 4, NEW.id, 0);
END;
CREATE TRIGGER file_forgotten AFTER DELETE ON change_log WHEN OLD.what = 4 BEGIN
    DELETE FROM ready_file WHERE id = OLD.id;
END;

-- Why an announcement has failed (state 4): its message can never be stored.
ALTER TABLE announcement ADD COLUMN failure TEXT NOT NULL DEFAULT '';
